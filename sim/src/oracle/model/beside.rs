//! What no packet tells: who a client is, what an operator did, and requests without a connection.

use super::{Answered, Connection, Model, Moment, Request, Seen, SentAway};
use crate::history::{Beside, ConnectionNumber};

/// What a client is told whose session the operator ends.
const ADMINISTRATIVE: u8 = 0x98;
const NOT_AUTHORIZED: u8 = 0x87;

impl Model {
    pub(super) fn beside(&mut self, beside: &Beside) -> Seen {
        let now = self.now;
        match beside {
            Beside::Identified { connection, identity } => {
                if let Some(found) = self.connections.get_mut(connection) {
                    let was_another =
                        found.identity.as_ref().is_some_and(|(_, before)| before != identity);
                    // Who proves to be somebody else may not stay.
                    if was_another && found.connack.is_some() {
                        found.sent_away.push(SentAway::refused(now, NOT_AUTHORIZED));
                    }
                    found.identity = Some((now, identity.clone()));
                }
            }
            Beside::Permitted(permits) => self.permitted(permits),
            Beside::SessionEnded { client_id } => self.session_ended(client_id),
            Beside::SentAway { client_id, reason } => {
                let order = SentAway::by_order(now, *reason);
                self.sent_away(client_id.as_deref(), order);
            }
            Beside::Refused { connection, reason } => {
                if let Some(found) = self.connections.get_mut(connection) {
                    found.sent_away.push(SentAway::refused(now, *reason));
                }
            }
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

    /// Whoever is connected under the identifier, or at all, is to be sent away; or has sent CONNECT by now.
    fn sent_away(&mut self, client_id: Option<&str>, order: SentAway) {
        // The broker may not have heard that its client has gone.
        let since_ms = self.now.at_ms.saturating_sub(self.bounds.latency_ms);
        let open = self.connections.values_mut();
        let open = open.filter(|one| one.ended.is_none_or(|(at, _)| at.at_ms >= since_ms));
        let is_meant = |one: &&mut Connection| client_id.is_none_or(|id| one.client_id == id);
        open.filter(is_meant).for_each(|one| one.sent_away.push(order));
    }

    /// The operator ended the session that the client has, if it has one. A CONNECT that is not answered
    /// may come before or after that.
    fn session_ended(&mut self, client_id: &str) {
        let now = self.now;
        let order = SentAway::with_session(now, ADMINISTRATIVE);
        self.sent_away(Some(client_id), order);
        let Some(client) = self.clients.get(client_id) else { return };
        for number in client.attempts.clone() {
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            if connection.connack.is_some() {
                self.ordered_out(number, now);
            } else {
                connection.may_be_ordered_out.get_or_insert(now);
            }
        }
    }

    /// The session that a connection served was ended by order at a moment.
    fn ordered_out(&mut self, number: ConnectionNumber, moment: Moment) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.ordered_out.get_or_insert(moment);
        if let Some(session) = connection.session {
            let session = &mut self.sessions[session];
            session.replaced.get_or_insert(moment);
            session.ended_by_order = Some(moment);
        }
    }

    /// A client read DISCONNECT. Where its CONNECT was not answered when the operator ended the session, this may show
    /// that the order came later.
    pub(super) fn dismissed(&mut self, number: ConnectionNumber, reason: u8) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.dismissed.get_or_insert((now, reason));
        let is_of_end = connection.sent_away.iter().all(|order| order.ends_session);
        if let Some(moment) = connection.may_be_ordered_out
            && reason == ADMINISTRATIVE
            && is_of_end
        {
            self.ordered_out(number, moment);
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
