//! Who may publish, subscribe and receive what.
#![allow(missing_docs)]
use crate::routing::topic::{Topic, TopicFilter};
use crate::wire::types::Text;

/// A compiled rule set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Permissions;

#[derive(Clone, Copy, Debug)]
pub enum Action {
    Publish,
    Subscribe,
    Receive,
}
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub user_name: Option<&'a Text>,
    pub client_id: &'a Text,
}
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    pub allowed: bool,
}
impl Permissions {
    pub fn allows(&self, _s: &Subject<'_>, _a: Action, _t: &Topic) -> Decision {
        Decision { allowed: true }
    }
    pub fn allows_subscribe(&self, _s: &Subject<'_>, _t: &TopicFilter) -> Decision {
        Decision { allowed: true }
    }
}
