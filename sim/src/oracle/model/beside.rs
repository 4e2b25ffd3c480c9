//! What no packet tells: who a client is, what an operator did, and requests without a connection.

use super::{Answered, Model, Moment, Request, Seen};
use crate::history::{Beside, ConnectionNumber};

impl Model {
    pub(super) fn beside(&mut self, beside: &Beside) -> Seen {
        let now = self.now;
        match beside {
            Beside::Identified { connection, identity } => {
                if let Some(found) = self.connections.get_mut(connection) {
                    found.identity = Some((now, identity.clone()));
                }
            }
            Beside::Permitted(permits) => self.permitted(permits),
            Beside::SessionEnded { client_id } => self.session_ended(client_id),
            Beside::ClockStepped { by_ms } => self.clock_stepped(*by_ms),
            Beside::TimeConfirmed => self.time_confirmed(),
            Beside::Requested { connection, once: _ } => {
                if let Some(found) = self.connections.get_mut(connection) {
                    found.is_request = true;
                }
            }
            Beside::Answered { connection, reason, is_repeated } => {
                return self.request_answered(*connection, *reason, *is_repeated);
            }
        }
        Seen::Nothing
    }

    /// Whether a crash may have undone what the broker did at `moment`.
    pub(super) fn may_be_undone(&self, moment: Moment) -> bool {
        self.outages.iter().any(|outage| {
            outage.stopped.index > moment.index && outage.durable_before_ms <= moment.at_ms
        })
    }

    /// Sessions that were ended by order shortly before a crash may be there again.
    pub(super) fn revive_ended(&mut self) {
        for place in 0..self.sessions.len() {
            let session = &self.sessions[place];
            let client = self.clients.get(&session.client_id);
            let is_last = client.is_some_and(|client| client.sessions.last() == Some(&place));
            let is_undone = session.ended_by_order.is_some_and(|ended| self.may_be_undone(ended));
            if !is_last || !is_undone {
                continue;
            }
            let session = &mut self.sessions[place];
            session.replaced = None;
            for subscription in session.subscriptions.values_mut().flatten() {
                subscription.is_certain = false;
            }
        }
    }

    /// The operator ended the session that the client has, if it has one. A CONNECT that is not answered
    /// may come after that.
    fn session_ended(&mut self, client_id: &str) {
        let now = self.now;
        let Some(client) = self.clients.get(client_id) else { return };
        for number in &client.attempts {
            let connection = self.connections.get_mut(number);
            let Some(connection) = connection.filter(|found| found.connack.is_some()) else {
                continue;
            };
            connection.ordered_out.get_or_insert(now);
            if let Some(session) = connection.session {
                let session = &mut self.sessions[session];
                session.replaced.get_or_insert(now);
                session.ended_by_order = Some(now);
            }
        }
    }

    fn request_answered(
        &mut self,
        number: ConnectionNumber,
        reason: u8,
        is_repeated: bool,
    ) -> Seen {
        let Some(connection) = self.connections.get_mut(&number) else { return Seen::Unasked };
        let open = connection.outstanding.pop_first().map(|(_, open)| open.request);
        let publication = match open {
            Some(Request::Publish(publication, _)) => Some(publication),
            Some(
                Request::Connect
                | Request::Ping
                | Request::Recorded(_)
                | Request::Release(_)
                | Request::Subscribe(_)
                | Request::Unsubscribe(_),
            )
            | None => connection.unsettled.pop(),
        };
        let Some(id) = publication.filter(|_| connection.is_request) else {
            return Seen::Unasked;
        };
        let publication = &mut self.publications[id];
        // It is the message that was there before.
        if is_repeated && reason < 0x80 {
            publication.instances = publication.instances.saturating_sub(1).max(1);
        }
        let (moment, qos) = (publication.last(), publication.qos);
        self.judged(id, reason);
        Seen::Answered(Answered { moment, request: Request::Publish(id, qos) })
    }
}
