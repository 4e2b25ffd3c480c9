//! What canaries do that takes more than a point in the code: see [`canary`](crate::canary).
//!
//! Without `--cfg signalhouse_sim` nothing calls any of it.

use alloc::vec::Vec;

use super::Broker;
use crate::input::ConnectionId;
use crate::outbox::Outbox;
use crate::session::SessionKey;
use crate::session::flight::Stage;
use crate::session::queue::Waiting;
use crate::wire::types::OutboundPacketId;

impl Broker {
    /// What `canary!(RefusedSentAgain)` and `canary!(RefusedGoesOn)` do with a refusal.
    pub(super) fn mistakes_refusal(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        id: OutboundPacketId,
        out: &mut Outbox,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if canary!(RefusedSentAgain)
            && let Some(exchange) = session.flight.get_mut(id)
        {
            if core::mem::take(&mut exchange.in_window)
                && let Some(link) = self.links.get_mut(connection)
            {
                link.in_window -= 1;
            }
            self.pump(key, out);
            return true;
        }
        if canary!(RefusedGoesOn)
            && let Some(Stage::Publish { entry, .. }) =
                session.flight.get(id).map(|exchange| &exchange.stage)
            && entry.group.is_some()
        {
            let entry = entry.clone();
            session.flight.remove(id);
            if let Some(link) = self.links.get_mut(connection) {
                link.in_window -= 1;
            }
            self.give_on(key, entry, out);
            return true;
        }
        false
    }

    /// Whether another client that is connected has more to come than it may have in flight.
    pub(super) fn has_other_backlog(&self, key: SessionKey) -> bool {
        self.sessions.iter().any(|(other, session)| {
            let has_backlog = session.flight.len() > 0 && !session.queue.is_empty();
            other != key && session.connection.is_some() && has_backlog
        })
    }

    /// Sends to everybody what may be sent, for `canary!(BacklogHoldsOthers)`.
    pub(super) fn pump_all(&mut self, out: &mut Outbox) {
        let keys: Vec<SessionKey> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.pump(key, out);
        }
    }

    /// Gives a message to another member at once.
    fn give_on(&mut self, key: SessionKey, entry: Waiting, out: &mut Outbox) {
        if let Some(group) = self.give_back(key, entry, out) {
            self.offer_queue(group, out);
        }
        self.pump(key, out);
    }
}
