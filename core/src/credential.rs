//! What a client showed of itself beyond its name: claims, a narrower permission, an end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::permission::{Permissions, Subject};
use crate::routing::topic::Topic;
use crate::time::Time;
use crate::wire::types::Text;

/// What a client was let in by, as far as the broker goes by it later.
///
/// The default claims nothing, narrows nothing, and does not end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// What rules may name as `{claim.NAME}`. They are the session's until the next CONNECT, and
    /// survive a restart with it.
    pub claims: Claims,
    /// What this connection may do at most; the broker's own rules must allow it as well. A session
    /// without connection after a restart is bound by the broker's rules alone.
    pub grants: Option<Arc<Permissions>>,
    /// The one topic that this connection may subscribe to and receive, whatever the rules and
    /// `grants` say. For what is addressed to nobody else: its name must not be guessed.
    pub inbox: Option<Box<Topic>>,
    /// The API key that it came in by, whose quotas count. A re-authentication does not change it.
    pub key: Option<Text>,
    /// When the connection is closed with 0xA0, unless a re-authentication brings another end.
    pub ends_at: Option<Time>,
}

impl Credential {
    /// Whom the rules are applied to where there is no session yet, or none at all.
    pub(crate) fn subject<'a>(
        &'a self,
        user_name: Option<&'a Text>,
        client_id: &'a Text,
    ) -> Subject<'a> {
        let Credential { claims, grants, inbox, key: _, ends_at: _ } = self;
        let (grants, inbox) = (grants.as_deref(), inbox.as_deref());
        Subject { user_name, client_id, claims, grants, inbox }
    }
}

/// Names and values that somebody trusted says of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Option<Arc<[(Text, Text)]>>);

impl Claims {
    /// No claim.
    pub const NONE: Claims = Claims(None);

    /// Takes the claims over. One with several values is there several times.
    #[must_use]
    pub fn new(claims: Vec<(Text, Text)>) -> Self {
        if claims.is_empty() { Claims::NONE } else { Claims(Some(claims.into())) }
    }

    /// The value of the claim `name`, if it has one and no more.
    #[must_use]
    pub fn value(&self, name: &Text) -> Option<&Text> {
        let mut values = self.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether `value` is among the values of the claim `name`.
    #[must_use]
    pub fn has(&self, name: &Text, value: &Text) -> bool {
        self.iter().any(|(known, claimed)| known == name && claimed == value)
    }

    /// All claims, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &(Text, Text)> {
        self.0.iter().flat_map(|claims| claims.iter())
    }

    /// Whether there is no claim.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::Claims;
    use crate::wire::types::Text;

    #[test]
    fn no_claims_are_empty_however_they_are_made() {
        assert!(Claims::NONE.is_empty());
        assert!(Claims::new(Vec::new()).is_empty());
        let text = Text::try_from("role").expect("a text");
        assert!(!Claims::new(alloc::vec![(text.clone(), text)]).is_empty());
    }
}
