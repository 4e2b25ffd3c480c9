//! The operator's orders: clients that are sent away, sessions that are ended, copies of the store, from a stream of
//! their own.

use super::{Draft, Percent as _};
use crate::chance::Stream;
use crate::plan::{ClientIndex, Do, NetworkFault, Order, Profile};

impl Draft {
    /// Orders in a quarter of the plans; copies of the store where the disk fails, and now and then elsewhere.
    pub(super) fn give_orders(&mut self, profile: Profile) {
        let mut chance = self.stream("orders");
        if chance.percent(25) {
            for _ in 0..chance.between(1, 4) {
                self.give_order(&mut chance);
            }
        }
        if chance.percent(if profile == Profile::Disk { 30 } else { 10 }) {
            for _ in 0..chance.between(1, 3) {
                let at_ms = chance.between(300, self.now_ms);
                self.push(at_ms, Do::Order(Order::Backup));
            }
        }
    }

    /// To anybody at any moment, or to somebody who has just gone; in most cases the client comes back.
    fn give_order(&mut self, chance: &mut Stream) {
        let gone: Vec<(u64, ClientIndex)> = self
            .plan
            .steps
            .iter()
            .filter_map(|step| Some((step.at_ms, goes(&step.what)?)))
            .collect();
        let (at_ms, client) = if !gone.is_empty() && chance.percent(50) {
            let (at_ms, client) = *chance.pick(&gone);
            (at_ms + chance.between(1, 400), client)
        } else {
            let client = chance.below(self.plan.clients.len() as u64);
            (chance.between(300, self.now_ms), usize::try_from(client).unwrap_or(0))
        };
        let client_id = self.plan.clients[client].client_id.clone();
        // Nobody outside knows under which identifier such a client is.
        if client_id.is_empty() {
            return;
        }
        let order = if chance.percent(40) {
            Order::Disconnect { client_id }
        } else {
            Order::EndSession { client_id }
        };
        self.push(at_ms, Do::Order(order));
        if chance.percent(60) {
            let again_ms = at_ms + chance.between(1, 1_500);
            self.push(again_ms, Do::Connect { client, clean_start: false, will: None });
        }
    }
}

/// The client that a step has gone.
fn goes(what: &Do) -> Option<ClientIndex> {
    match what {
        Do::Vanish { client }
        | Do::Disconnect { client, .. }
        | Do::Network { client, fault: NetworkFault::Reset } => Some(*client),
        Do::Connect { .. }
        | Do::Subscribe { .. }
        | Do::Unsubscribe { .. }
        | Do::Publish { .. }
        | Do::Ping { .. }
        | Do::Misbehave { .. }
        | Do::Reading { .. }
        | Do::Acknowledging { .. }
        | Do::Pinging { .. }
        | Do::Network { .. }
        | Do::Broker(_)
        | Do::Frozen { .. }
        | Do::WallClock { .. }
        | Do::Deny(_)
        | Do::AllowAll
        | Do::Order(_)
        | Do::DiskSyncs { .. }
        | Do::Disk(_) => None,
    }
}
