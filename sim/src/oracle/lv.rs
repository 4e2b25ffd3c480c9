//! LV: at the end every request is answered.

use crate::history::{Event, Violation};
use crate::oracle::model::{Connection, Model, Moment, Request, Seen};
use crate::oracle::owed::Owed;
use crate::oracle::rule::{Rule, violation};

/// Judges LV.
pub(crate) struct Liveness;

impl Rule for Liveness {
    fn look(&mut self, _model: &Model, _seen: &Seen, _event: &Event) -> Result<(), Violation> {
        Ok(())
    }

    fn finish(&mut self, model: &Model, _owed: &Owed) -> Vec<Violation> {
        if model.end.is_none() || !model.is_up() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for connection in model.connections.values() {
            let is_due = connection.is_open()
                && connection.misbehaved.is_none()
                && connection.goodbye.is_none()
                && model.is_prompt(connection, model.settled_by_ms())
                && !is_contested(model, connection);
            let Some((sent, request)) = oldest_request(connection).filter(|_| is_due) else {
                continue;
            };
            if sent.at_ms <= model.settled_by_ms() {
                let what = format!(
                    "{request} of {:?} on connection {} was never answered",
                    connection.client_id, connection.number,
                );
                found.push(violation("LV", what, [sent.index, model.now.index]));
            }
        }
        found
    }
}

/// Whether another connection of the same client may have ended this one.
fn is_contested(model: &Model, connection: &Connection) -> bool {
    model.clients.get(&connection.client_id).is_some_and(|client| {
        client.attempts.iter().any(|attempt| *attempt > connection.number)
            || !client.attempts.contains(&connection.number)
    })
}

/// The first request that waits for the broker.
fn oldest_request(connection: &Connection) -> Option<(Moment, &'static str)> {
    let (sent, _) = connection.connect.as_ref()?;
    if connection.connack.is_none() {
        return Some((*sent, "CONNECT"));
    }
    if connection.is_request && connection.is_unsettled() {
        return Some((*sent, "a request"));
    }
    let ping = connection.pings.front().map(|sent| (*sent, "PINGREQ"));
    let others = connection.outstanding.values().filter_map(|found| {
        let name = match &found.request {
            Request::Publish(..) => "PUBLISH",
            Request::Release(_) => "PUBREL",
            Request::Subscribe(_) => "SUBSCRIBE",
            Request::Unsubscribe(_) => "UNSUBSCRIBE",
            // It is the client's turn.
            Request::Recorded(_) | Request::Connect | Request::Ping => return None,
        };
        Some((found.moment, name))
    });
    ping.into_iter().chain(others).min()
}

#[cfg(test)]
mod tests {
    use super::Liveness;
    use crate::history::What;
    use crate::oracle::told::{Told, connect_of, fails, passes};
    use crate::packet::Packet;

    #[test]
    fn answers_in_time_are_right() {
        let mut told = Told::new();
        told.durable(1, "a").crash().resume(2, "a").ping(2).publish(2, "t", "one", 2).end();
        passes(Liveness, &told);
    }

    #[test]
    fn a_client_that_does_not_read_cannot_be_answered() {
        let mut told = Told::new();
        told.durable(1, "a").push(What::Holding { client: 1, serving: false });
        told.sent(1, Packet::PingReq).end();
        passes(Liveness, &told);
    }

    #[test]
    fn a_request_without_an_answer_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").publish_unanswered(1, "t", "one", 1, 5).end();
        fails(Liveness, &told, "LV");
    }

    #[test]
    fn a_client_that_waits_for_ever_is_wrong() {
        let mut told = Told::new();
        told.asks_in(1, connect_of("a")).end();
        fails(Liveness, &told, "LV");
    }

    #[test]
    fn a_request_without_an_answer_is_wrong_at_every_qos() {
        for qos in [0, 1] {
            let mut told = Told::new();
            told.request_at(7, qos, "t", "one").answered(7, 0x10, false).end();
            passes(Liveness, &told);
            let mut told = Told::new();
            fails(Liveness, told.request_at(7, qos, "t", "one").end(), "LV");
        }
    }
}
