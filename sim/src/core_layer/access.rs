//! A plan's denials as the broker takes them.

use signalhouse_core::permission::{Action, Actions, Effect, Pattern, Permissions, Rule, Who};
use signalhouse_core::wire::types::Text;

use crate::client::user_name;
use crate::plan::Denial;

/// The rules that deny this and allow the rest: by user name where clients have one that counts,
/// else by client identifier.
pub(super) fn permissions(denials: &[Denial], by_user: bool) -> Permissions {
    let rules = denials.iter().filter_map(|denial| rule(denial, by_user)).collect();
    Permissions::new(Effect::Allow, rules).expect("every rule is about an action")
}

/// Nothing, for what makes no rule.
fn rule(denial: &Denial, by_user: bool) -> Option<Rule> {
    let text = |text: String| Text::try_from(text).ok();
    let who = match (denial.client_id.as_str(), by_user) {
        ("", _) => Who::Any,
        (client_id, true) => Who::User(text(user_name(client_id))?),
        (client_id, false) => Who::Client(text(client_id.to_owned())?),
    };
    let actions = match (denial.publish, denial.read) {
        (true, true) => Actions::ALL,
        (true, false) => Action::Publish.into(),
        (false, true) => Actions::READ,
        (false, false) => return None,
    };
    let pattern = Pattern::new(&denial.filter).ok()?;
    Some(Rule { effect: Effect::Deny, who, actions, pattern })
}
