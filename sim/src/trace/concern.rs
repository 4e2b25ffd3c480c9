//! Which lines of a trace concern one client: what it did, sent and read, what was done to its
//! connections and session, and what concerns everybody.

use std::collections::BTreeSet;

use crate::core_layer::Outcome;
use crate::history::{ConnectionNumber, What};
use crate::plan::{ClientIndex, Do, Plan};

/// The clients of a plan that bear one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern<'a> {
    plan: &'a Plan,
    clients: BTreeSet<ClientIndex>,
    /// Their client identifiers, and the filters of their shares.
    receivers: BTreeSet<&'a str>,
}

impl<'a> Concern<'a> {
    /// The clients with that client identifier, or, if there is none, the one with that number in
    /// the plan.
    ///
    /// # Errors
    /// Names the clients that there are.
    pub fn new(plan: &'a Plan, name: &str) -> Result<Self, String> {
        let named = |client: &ClientIndex| plan.clients[*client].client_id == name;
        let mut clients: BTreeSet<_> = (0..plan.clients.len()).filter(named).collect();
        if clients.is_empty() {
            let number = name.parse().ok().filter(|number: &usize| *number < plan.clients.len());
            clients.extend(number);
        }
        if clients.is_empty() {
            let known: BTreeSet<_> = plan.clients.iter().map(|spec| &*spec.client_id).collect();
            let known = Vec::from_iter(known).join(", ");
            return Err(format!("there is no client `{name}`; there are: {known}"));
        }
        let shares = plan.steps.iter().filter_map(|step| {
            let Do::Subscribe { client, filter, .. } = &step.what else { return None };
            let is_share = filter.starts_with("$share/") && clients.contains(client);
            is_share.then_some(&**filter)
        });
        let ids = clients.iter().map(|client| &*plan.clients[*client].client_id);
        let receivers = ids.chain(shares).collect();
        Ok(Concern { plan, clients, receivers })
    }

    /// Whether it is about this client.
    #[must_use]
    pub fn has(&self, client: ClientIndex) -> bool {
        self.clients.contains(&client)
    }

    /// The lines of a run that concern it. The run's lines and history must have been kept.
    #[must_use]
    pub fn lines<'b>(&self, outcome: &'b Outcome) -> Vec<&'b str> {
        let mut connections = BTreeSet::new();
        let mut lines = Vec::new();
        for line in &outcome.lines {
            let Some((_, rest)) = line.trim_start().split_once(' ') else { continue };
            let number =
                rest.strip_prefix('#').and_then(|rest| rest.split(' ').next()?.parse().ok());
            let event = number.and_then(|number: usize| outcome.history.get(number));
            let concerns = match event {
                Some(event) => self.event(&event.what, &mut connections),
                None => self.note(rest),
            };
            if concerns {
                lines.push(&**line);
            }
        }
        lines
    }

    fn event(&self, what: &What, connections: &mut BTreeSet<ConnectionNumber>) -> bool {
        match what {
            What::Opened { client, connection } => {
                self.has(*client) && connections.insert(*connection)
            }
            What::Sent { connection, .. }
            | What::Received { connection, .. }
            | What::Undecodable { connection, .. }
            | What::Ended { connection, .. }
            | What::Misbehaved { connection, .. } => connections.contains(connection),
            What::Holding { client, .. }
            | What::Network { client, .. }
            | What::Absent { client } => self.has(*client),
            What::Broker(_) | What::WallClock { .. } | What::Beside(_) | What::Calm | What::End => {
                true
            }
            What::Denied(denials) => denials
                .iter()
                .any(|denial| denial.client_id.is_empty() || self.receives(&denial.client_id)),
            What::Dropped { receiver, .. } => self.receives(receiver),
            What::Kept(kept) => kept.sessions.iter().any(|kept| self.receives(&kept.client_id)),
        }
    }

    fn receives(&self, receiver: &str) -> bool {
        self.receivers.contains(receiver)
    }

    /// What is not observed: steps of the plan, the broker's process, its notices, the disk.
    fn note(&self, rest: &str) -> bool {
        let place = rest.strip_prefix("step ").and_then(|place| place.parse().ok());
        if let Some(step) = place.and_then(|place: usize| self.plan.steps.get(place)) {
            return step.what.client().is_none_or(|client| self.has(client));
        }
        let names = |name: &&str| {
            let name = format!("{name:?}");
            rest.contains(&format!("client_id: {name},"))
                || rest.contains(&format!("receiver: {name},"))
        };
        rest.starts_with("broker ") || self.receivers.iter().any(names)
    }
}
