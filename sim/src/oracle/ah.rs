//! AH: every request has one answer, of its kind, and the answer is true.

use crate::history::{Event, Violation};
use crate::oracle::model::{Answered, Connection, Model, Request, Seen};
use crate::oracle::rule::{Rule, read, violation};
use crate::packet::{AckKind, Packet};

/// No matching subscribers.
const NOBODY: u8 = 0x10;

/// Judges AH.
pub(crate) struct HonestAnswers;

impl Rule for HonestAnswers {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        let Some((connection, packet)) = read(event) else { return Ok(()) };
        let Some(connection) = model.connections.get(&connection) else { return Ok(()) };
        let is_hostile = connection.misbehaved.is_some()
            || model.session_of(connection.number).is_some_and(|found| found.hostile.is_some());
        if is_hostile {
            return Ok(());
        }
        let (wrong, sent) = match seen {
            Seen::Unasked => (Some("answers nothing that is open".to_owned()), None),
            Seen::Answered(answered) => {
                let wrong = untrue(model, &packet, &answered.request);
                let wrong = wrong.or_else(|| passes_over(connection, answered));
                (wrong, Some(answered.moment.index))
            }
            Seen::Nothing | Seen::Admitted(_) | Seen::Delivered(_) | Seen::Released(_) => {
                (None, None)
            }
        };
        let Some(wrong) = wrong else { return Ok(()) };
        let what = format!("{} to {:?} {wrong}", named(&packet), connection.client_id);
        Err(violation("AH", what, sent.into_iter().chain([model.now.index])))
    }
}

fn named(packet: &Packet) -> String {
    match packet {
        Packet::Ack { kind, id, reason, .. } => format!("{kind:?} {id} with {reason:#04x}"),
        Packet::SubAck { id, reasons, .. } => format!("SubAck {id} with {reasons:?}"),
        Packet::UnsubAck { id, reasons, .. } => format!("UnsubAck {id} with {reasons:?}"),
        Packet::PingResp => "PingResp".to_owned(),
        Packet::Connect(_)
        | Packet::ConnAck { .. }
        | Packet::Publish(_)
        | Packet::Subscribe { .. }
        | Packet::Unsubscribe { .. }
        | Packet::PingReq
        | Packet::Disconnect { .. }
        | Packet::Auth { .. } => "a packet".to_owned(),
    }
}

fn untrue(model: &Model, packet: &Packet, request: &Request) -> Option<String> {
    match (packet, request) {
        (Packet::SubAck { reasons, .. }, Request::Subscribe(filters)) => {
            if reasons.len() != filters.len() {
                return Some(format!("answers {} filters", filters.len()));
            }
            let mut granted = reasons.iter().zip(filters);
            let wrong =
                granted.find(|(reason, (_, options))| **reason < 0x80 && **reason > (options & 3));
            wrong.map(|(_, (filter, _))| format!("grants {filter:?} more than was asked for"))
        }
        (Packet::UnsubAck { reasons, .. }, Request::Unsubscribe(filters)) => {
            let is_short = !reasons.is_empty() && reasons.len() != filters.len();
            is_short.then(|| format!("answers {} filters", filters.len()))
        }
        (
            Packet::Ack { kind: AckKind::PubAck | AckKind::PubRec, reason: NOBODY, .. },
            Request::Publish(publication, _),
        ) => {
            let publication = &model.publications[*publication];
            let somebody = model.sessions.iter().find(|session| {
                let connection = session.connections.last();
                let connection = connection.and_then(|number| model.connections.get(number));
                let is_there = session.replaced.is_none()
                    && session.hostile.is_none()
                    && connection.is_some_and(|found| is_surely_there(model, found));
                is_there
                    && session
                        .possible(publication)
                        .any(|found| found.is_certain && found.is_stable(publication))
                    && model.may_always_read(&session.client_id, publication)
            })?;
            let name = &somebody.client_id;
            (publication.sends.len() == 1 && !publication.muddled)
                .then(|| format!("says that nobody subscribes, and {name:?} does"))
        }
        (
            Packet::Connect(_)
            | Packet::ConnAck { .. }
            | Packet::Publish(_)
            | Packet::Ack { .. }
            | Packet::Subscribe { .. }
            | Packet::SubAck { .. }
            | Packet::Unsubscribe { .. }
            | Packet::UnsubAck { .. }
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect { .. }
            | Packet::Auth { .. },
            Request::Connect
            | Request::Ping
            | Request::Publish(..)
            | Request::Recorded(_)
            | Request::Release(_)
            | Request::Subscribe(_)
            | Request::Unsubscribe(_),
        ) => None,
    }
}

/// PINGREQ waits for nothing, so that no later request is answered before it.
fn passes_over(connection: &Connection, answered: &Answered) -> Option<String> {
    let ping = connection.pings.front()?;
    (ping.index < answered.moment.index)
        .then(|| "comes where an earlier PINGREQ is not answered".to_owned())
}

/// Whether the session of its client's last connection surely lives now.
fn is_surely_there(model: &Model, connection: &Connection) -> bool {
    let is_only = model
        .clients
        .get(&connection.client_id)
        .is_some_and(|client| client.attempts.as_slice() == [connection.number]);
    let outlives = model.expiry_s(connection.number) > 0
        && model.expiring(connection).from_ms > model.now.at_ms;
    is_only && outlives
}

#[cfg(test)]
mod tests {
    use super::{HonestAnswers, NOBODY};
    use crate::oracle::told::{Told, fails, passes, publish_of};
    use crate::packet::{AckKind, Packet};

    #[test]
    fn one_answer_of_the_right_kind_is_right() {
        let mut told = Told::new();
        told.durable(1, "a").subscribe(1, "t", 1).publish(1, "t", "one", 1).ping(1);
        told.sent(1, Packet::Publish(publish_of("u", "two", 1, 5)));
        told.got_ack(1, AckKind::PubAck, 5, NOBODY).unsubscribe(1, "t", 0);
        passes(HonestAnswers, &told);
    }

    #[test]
    fn a_ping_that_is_passed_over_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").sent(1, Packet::PingReq).publish(1, "t", "one", 1);
        fails(HonestAnswers, &told, "AH");
    }

    #[test]
    fn a_second_answer_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").publish_under(1, "t", "one", 1, 5);
        told.got_ack(1, AckKind::PubAck, 5, 0);
        fails(HonestAnswers, &told, "AH");
    }

    #[test]
    fn an_answer_of_another_kind_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").publish_unanswered(1, "t", "one", 2, 5);
        told.got_ack(1, AckKind::PubAck, 5, 0);
        fails(HonestAnswers, &told, "AH");
    }

    #[test]
    fn granting_more_than_was_asked_for_is_wrong() {
        let mut told = Told::new();
        let (filters, properties) = (vec![("t".to_owned(), 0)], Vec::new());
        told.durable(1, "a").sent(1, Packet::Subscribe { id: 1, filters, properties });
        told.got(1, Packet::SubAck { id: 1, reasons: vec![2], properties: Vec::new() });
        fails(HonestAnswers, &told, "AH");
    }

    /// Asks for "t" at QoS 1 and "u" at QoS 2 in one packet, and is answered so.
    fn asks_for_two(reasons: &[u8]) -> Told {
        let mut told = Told::new();
        let filters = vec![("t".to_owned(), 1), ("u".to_owned(), 2)];
        told.durable(1, "a").durable(2, "b");
        told.sent(1, Packet::Subscribe { id: 5, filters, properties: Vec::new() });
        let (reasons, properties) = (reasons.to_vec(), Vec::new());
        told.got(1, Packet::SubAck { id: 5, reasons, properties });
        told
    }

    #[test]
    fn each_filter_of_a_packet_has_its_code_in_their_order() {
        let mut told = asks_for_two(&[1, 2]);
        told.publish(2, "u", "one", 2).read(1, "u", "one", 2);
        let filters = vec!["u".to_owned(), "v".to_owned()];
        told.sent(1, Packet::Unsubscribe { id: 6, filters, properties: Vec::new() });
        told.got(1, Packet::UnsubAck { id: 6, reasons: vec![0, 0x11], properties: Vec::new() });
        passes(HonestAnswers, told.publish(2, "u", "two", 2).end());
        fails(HonestAnswers, &asks_for_two(&[2, 1]), "AH");
        fails(HonestAnswers, &asks_for_two(&[1]), "AH");
        fails(HonestAnswers, &asks_for_two(&[1, 2, 0]), "AH");
    }

    #[test]
    fn the_same_filter_twice_in_a_packet_is_as_two_packets() {
        let granted = |first, second| {
            let mut told = Told::new();
            let filters = vec![("t".to_owned(), 2), ("t".to_owned(), 1)];
            told.durable(1, "a").durable(2, "b");
            told.sent(1, Packet::Subscribe { id: 5, filters, properties: Vec::new() });
            let (reasons, properties) = (vec![first, second], Vec::new());
            told.got(1, Packet::SubAck { id: 5, reasons, properties });
            told
        };
        passes(HonestAnswers, granted(2, 1).publish(2, "t", "one", 2).read(1, "t", "one", 1).end());
        fails(HonestAnswers, &granted(1, 2), "AH");
    }

    #[test]
    fn denying_a_subscriber_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(2);
        told.publish_unanswered(1, "t", "one", 1, 5).got_ack(1, AckKind::PubAck, 5, NOBODY);
        fails(HonestAnswers, &told, "AH");
    }

    #[test]
    fn a_request_is_answered_once_and_truly() {
        let mut told = Told::new();
        told.durable(2, "b").request(7, "", "t", "one").answered(7, NOBODY, false);
        passes(HonestAnswers, &told);
        let mut denied = Told::new();
        denied.durable(2, "b").subscribe(2, "t", 1).request(7, "", "t", "one");
        fails(HonestAnswers, denied.answered(7, NOBODY, false), "AH");
        let mut twice = Told::new();
        twice.request(7, "", "t", "one").answered(7, NOBODY, false).answered(7, NOBODY, false);
        fails(HonestAnswers, &twice, "AH");
    }
}
