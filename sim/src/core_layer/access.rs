//! A plan's denials, quotas and orders as the broker takes them.

use std::sync::Arc;

use signalhouse_core::input::Command;
use signalhouse_core::permission::{Action, Actions, Effect, Pattern, Permissions, Rule, Who};
use signalhouse_core::quota::{Holder, Quota, Quotas};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;

use super::setting;
use crate::client::user_name;
use crate::history::Beside;
use crate::plan::{Denial, Order, Plan};

/// The rules that deny this and allow the rest: by user name where clients have one that counts,
/// else by client identifier.
pub(crate) fn permissions(denials: &[Denial], by_user: bool) -> Permissions {
    let rules = denials.iter().filter_map(|denial| rule(denial, by_user)).collect();
    Permissions::new(Effect::Allow, rules).expect("every rule is about an action")
}

/// The quotas of every client, if the plan has any: by user name where clients have one that
/// counts, else by client identifier.
pub(crate) fn quotas(plan: &Plan, by_user: bool) -> Option<Arc<Quotas>> {
    let of = |name| setting(plan, name).unwrap_or(0);
    let small = |name| u32::try_from(of(name)).unwrap_or(u32::MAX);
    let quota = Quota {
        messages_per_second: small("quota.messages_per_second"),
        messages_per_day: of("quota.messages_per_day"),
        connections: small("quota.connections"),
        stored_bytes: of("quota.stored_bytes"),
        closes_at_qos0: false,
    };
    if quota == Quota::default() {
        return None;
    }
    let mut quotas = Quotas::default();
    if by_user {
        quotas.every_user = Some(quota);
    }
    for client in plan.clients.iter().filter(|_| !by_user) {
        let name = Text::try_from(client.client_id.clone()).ok();
        quotas.of.extend(name.map(|name| (Holder::Client(name), quota)));
    }
    Some(Arc::new(quotas))
}

/// An order as the broker takes it, and as the history tells of it. `None` for one that is not the broker's matter.
pub(crate) fn command(order: &Order) -> Option<(Command, Beside)> {
    let name = |client_id: &str| Text::try_from(client_id.to_owned()).ok();
    let reason = ReasonCode::AdministrativeAction;
    match order {
        Order::Disconnect { client_id } => {
            let command = Command::Disconnect { client_id: name(client_id)?, reason };
            let client_id = Some(client_id.clone());
            Some((command, Beside::SentAway { client_id, reason: reason as u8 }))
        }
        Order::EndSession { client_id } => {
            let command = Command::EndSession { client_id: name(client_id)? };
            Some((command, Beside::SessionEnded { client_id: client_id.clone() }))
        }
        Order::Backup => None,
    }
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
