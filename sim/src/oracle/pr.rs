//! PR: everything the broker sends can be decoded and is legal in the connection's state.

use std::collections::BTreeMap;

use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::oracle::model::{Connection, Model, Seen, Stage};
use crate::oracle::properties as property;
use crate::oracle::rule::{Rule, violation};
use crate::packet::{AckKind, Packet, Property, Publish};

/// PUBREL for an identifier that the broker does not know.
const NOT_FOUND: u8 = 0x92;

/// Judges PR.
#[derive(Default)]
pub(crate) struct Protocol {
    /// PUBRECs that wait for their PUBREL, by connection and packet identifier.
    recorded: BTreeMap<(ConnectionNumber, u16), u32>,
}

impl Rule for Protocol {
    fn waive(&mut self) -> bool {
        true
    }

    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        let (number, code, wrong) = match &event.what {
            What::Undecodable { connection, guarantee, cause } => {
                (connection, *guarantee, Some(format!("cannot be decoded: {cause}")))
            }
            What::Received { connection, packet, .. } => {
                let Some(found) = model.connections.get(connection) else { return Ok(()) };
                let is_answer = self.takes_answer(*connection, packet);
                let wrong = in_state(model, found, packet)
                    .or_else(|| in_form(found, packet))
                    .or_else(|| released(found, packet, seen, model).filter(|_| !is_answer));
                (connection, "PR", wrong)
            }
            What::Sent { connection, packet } => {
                self.notes_pubrec(*connection, packet);
                return Ok(());
            }
            What::Opened { .. }
            | What::Ended { .. }
            | What::Misbehaved { .. }
            | What::Holding { .. }
            | What::Network { .. }
            | What::Broker(_)
            | What::Denied(_)
            | What::Beside(_)
            | What::Kept(_)
            | What::Absent { .. }
            | What::WallClock { .. }
            | What::Dropped { .. }
            | What::Calm
            | What::End => return Ok(()),
        };
        let Some(wrong) = wrong else { return Ok(()) };
        let client_id = model.connections.get(number).map_or("", |found| found.client_id.as_str());
        let what = format!("what {client_id:?} read on connection {number} {wrong}");
        Err(violation(code, what, [model.now.index]))
    }
}

impl Protocol {
    /// Every PUBREC without an error is answered by PUBREL, and so is one with an error that comes
    /// after one without.
    fn notes_pubrec(&mut self, connection: ConnectionNumber, packet: &Packet) {
        let Packet::Ack { kind: AckKind::PubRec, id, reason, .. } = packet else { return };
        if *reason < 0x80 {
            *self.recorded.entry((connection, *id)).or_default() += 1;
        } else if let Some(waiting) = self.recorded.get_mut(&(connection, *id)) {
            *waiting += 1;
        }
    }

    /// Whether a packet is the PUBREL that a PUBREC waits for.
    fn takes_answer(&mut self, connection: ConnectionNumber, packet: &Packet) -> bool {
        let Packet::Ack { kind: AckKind::PubRel, id, .. } = packet else { return false };
        let waiting = self.recorded.get_mut(&(connection, *id)).filter(|waiting| **waiting > 0);
        let is_answer = waiting.is_some();
        if let Some(waiting) = waiting {
            *waiting -= 1;
        }
        is_answer
    }
}

/// What this connection's state does not allow.
fn in_state(model: &Model, connection: &Connection, packet: &Packet) -> Option<String> {
    let now = model.now;
    let is_misbehaved = connection.misbehaved.is_some();
    if connection.connect.is_none() && !is_misbehaved {
        return Some("comes before CONNECT".to_owned());
    }
    if connection.dismissed.is_some_and(|(at, _)| at.index < now.index) {
        return Some("comes after DISCONNECT".to_owned());
    }
    let let_in = connection.connack.as_ref().map(|connack| connack.moment.index);
    match packet {
        Packet::ConnAck { reason: 0, .. } if let_in.is_some_and(|at| at < now.index) => {
            Some("is a second CONNACK".to_owned())
        }
        Packet::ConnAck { .. } | Packet::Auth { .. } => None,
        Packet::Publish(_)
        | Packet::Ack { .. }
        | Packet::SubAck { .. }
        | Packet::UnsubAck { .. }
        | Packet::PingResp
        | Packet::Disconnect { .. } => {
            (let_in.is_none() && !is_misbehaved).then(|| "comes before CONNACK".to_owned())
        }
        Packet::Connect(_)
        | Packet::Subscribe { .. }
        | Packet::Unsubscribe { .. }
        | Packet::PingReq => Some("is a packet that only clients send".to_owned()),
    }
}

/// What no state allows at this protocol level.
fn in_form(connection: &Connection, packet: &Packet) -> Option<String> {
    let level = connection.level();
    let is_quiet = connection.asked(property::REQUEST_PROBLEM_INFORMATION) == Some(0);
    let (reasons, properties, legal): (Vec<u8>, &[Property], &[u8]) = match packet {
        Packet::Publish(publish) => return wrong_publish(publish, level),
        Packet::ConnAck { reason, properties, session_present } => {
            if *session_present && *reason != 0 {
                return Some("says session present and refuses".to_owned());
            }
            (vec![*reason], properties, if level < 5 { CONNACK_OLD } else { CONNACK })
        }
        Packet::Ack { kind, reason, properties, id: _ } => {
            let legal = match kind {
                AckKind::PubAck | AckKind::PubRec => PUBACK,
                AckKind::PubRel | AckKind::PubComp => PUBREL,
            };
            (vec![*reason], properties, if level < 5 { NONE } else { legal })
        }
        Packet::SubAck { reasons, properties, id: _ } => {
            let legal = match level {
                3 => &SUBACK[..3],
                4 => SUBACK_OLD,
                _ => SUBACK,
            };
            (reasons.clone(), properties, legal)
        }
        Packet::UnsubAck { reasons, properties, id: _ } => (reasons.clone(), properties, UNSUBACK),
        Packet::Disconnect { reason, properties } => (vec![*reason], properties, DISCONNECT),
        Packet::Auth { reason, properties } => (vec![*reason], properties, AUTH),
        Packet::Connect(_)
        | Packet::Subscribe { .. }
        | Packet::Unsubscribe { .. }
        | Packet::PingReq
        | Packet::PingResp => return None,
    };
    let is_new = matches!(packet, Packet::Disconnect { .. } | Packet::Auth { .. });
    if level < 5 && (is_new || !properties.is_empty()) {
        return Some(format!("belongs to version 5, on a connection of level {level}"));
    }
    let may_explain = matches!(packet, Packet::ConnAck { .. } | Packet::Disconnect { .. });
    let explains = properties
        .iter()
        .any(|found| found.id == property::REASON_STRING || found.id == property::USER_PROPERTY);
    if is_quiet && explains && !may_explain {
        return Some("explains itself to a client that asked for no explanations".to_owned());
    }
    let illegal = reasons.iter().find(|reason| !legal.contains(reason))?;
    Some(format!("has reason code {illegal:#04x}, which that packet does not have"))
}

fn wrong_publish(publish: &Publish, level: u8) -> Option<String> {
    if publish.qos == 0 && publish.dup {
        return Some("is a PUBLISH at QoS 0 with DUP".to_owned());
    }
    if publish.qos > 2 {
        return Some("is a PUBLISH at QoS 3".to_owned());
    }
    if level < 5 && !publish.properties.is_empty() {
        return Some(format!("is a PUBLISH with properties on a connection of level {level}"));
    }
    publish.topic.contains(['+', '#']).then(|| "is a PUBLISH with a wildcard topic".to_owned())
}

/// PUBREL answers PUBREC, or comes again in a resumed session.
fn released(
    connection: &Connection,
    packet: &Packet,
    seen: &Seen,
    model: &Model,
) -> Option<String> {
    let Packet::Ack { kind: AckKind::PubRel, id, reason, .. } = packet else { return None };
    let session = connection.session.and_then(|session| model.sessions.get(session))?;
    if session.hostile.is_some() {
        return None;
    }
    let Seen::Released(before) = seen else { return None };
    let is_resumed = connection.may_be_resumed();
    let is_known = match before.as_ref().map(|before| before.stage) {
        Some(Stage::Recorded(_)) => *reason == 0,
        // The client may have forgotten, and answered with PUBREC once more.
        Some(Stage::Refused(at)) => {
            let is_over =
                before.as_ref().is_some_and(|before| model.has_heard(before.connection, at));
            is_resumed && !is_over || *reason == NOT_FOUND
        }
        Some(Stage::Released(_) | Stage::Done(_)) => is_resumed || *reason == NOT_FOUND,
        Some(Stage::Read) => is_resumed,
        None => is_resumed || session.used_ids.contains(id),
    };
    (!is_known).then(|| format!("is PUBREL {id} with {reason:#04x}, where no PUBREC was sent"))
}

const NONE: &[u8] = &[0];
const CONNACK_OLD: &[u8] = &[0, 1, 2, 3, 4, 5];
const CONNACK: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
];
const PUBACK: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBREL: &[u8] = &[0x00, NOT_FOUND];
const SUBACK_OLD: &[u8] = &[0, 1, 2, 0x80];
const SUBACK: &[u8] = &[0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
const DISCONNECT: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];
const AUTH: &[u8] = &[0x00, 0x18];

#[cfg(test)]
mod tests {
    use super::Protocol;
    use crate::history::What;
    use crate::oracle::told::{Told, connect_of, fails, passes};
    use crate::packet::{AckKind, Connect, Packet};
    use crate::plan::BrokerFault;

    #[test]
    fn an_ordinary_life_is_right() {
        let mut told = Told::new();
        told.durable(1, "a").subscribe(1, "t", 2).publish(1, "t", "one", 2).read(1, "t", "one", 2);
        told.unsubscribe(1, "t", 0).unsubscribe(1, "t", 0x11).ping(1);
        told.push(What::Broker(BrokerFault::Stop)).dismissed(1, 0x8b);
        passes(Protocol::default(), &told);
    }

    #[test]
    fn an_owed_pubrel_in_a_resumed_session_is_right() {
        let mut told = Told::new();
        told.durable(1, "a").subscribe(1, "t", 2).publish(1, "t", "one", 2).read(1, "t", "one", 2);
        told.lose(1).resume(2, "a").release(2, 1003);
        passes(Protocol::default(), &told);
    }

    #[test]
    fn version_3_1_does_not_tell_that_a_session_is_resumed() {
        let old = || Connect { level: 3, clean_start: false, ..connect_of("a") };
        let mut told = Told::new();
        told.enters(1, old(), false).subscribe(1, "t", 2).publish(1, "t", "one", 2);
        told.read(1, "t", "one", 2).lose(1).enters(2, old(), false).release(2, 1003);
        passes(Protocol::default(), &told);
        let mut told = Told::new();
        told.enters(1, Connect { clean_start: true, ..old() }, false).release(1, 7);
        fails(Protocol::default(), &told, "PR");
    }

    #[test]
    fn what_cannot_be_decoded_is_wrong() {
        let mut told = Told::new();
        let cause = "a length of five bytes".to_owned();
        told.connect(1, "a").push(What::Undecodable { connection: 1, guarantee: "PR", cause });
        fails(Protocol::default(), &told, "PR");
    }

    #[test]
    fn what_cannot_be_decoded_may_break_another_guarantee() {
        let mut told = Told::new();
        let cause = "a packet of 300 bytes, the client's maximum is 200".to_owned();
        let undecodable = What::Undecodable { connection: 1, guarantee: "SZ", cause };
        told.connect(1, "a").push(undecodable);
        fails(Protocol::default(), &told, "SZ");
    }

    #[test]
    fn anything_before_connack_is_wrong() {
        let mut told = Told::new();
        told.asks_in(1, connect_of("a")).got(1, Packet::PingResp);
        fails(Protocol::default(), &told, "PR");
    }

    #[test]
    fn anything_after_disconnect_is_wrong() {
        let mut told = Told::new();
        told.connect(1, "a").got(1, Packet::Disconnect { reason: 0x8b, properties: Vec::new() });
        told.got(1, Packet::PingResp);
        fails(Protocol::default(), &told, "PR");
    }

    #[test]
    fn disconnect_to_an_old_client_is_wrong() {
        let mut told = Told::new();
        told.enters(1, Connect { level: 4, ..connect_of("a") }, false).dismissed(1, 0x8b);
        fails(Protocol::default(), &told, "PR");
    }

    #[test]
    fn a_reason_code_of_another_packet_is_wrong() {
        let mut told = Told::new();
        told.connect(1, "a").subscribe(1, "t", 3);
        fails(Protocol::default(), &told, "PR");
    }

    #[test]
    fn pubrel_for_what_was_refused_is_wrong() {
        let refused = |hears| {
            let mut told = Told::new();
            told.durable(1, "a").subscribe(1, "t", 2).publish(1, "t", "one", 2);
            told.read_only(1, "t", "one", 2, 7);
            let (kind, properties) = (AckKind::PubRec, Vec::new());
            told.sent(1, Packet::Ack { kind, id: 7, reason: 0x83, properties });
            if hears {
                told.ping(1);
            }
            told
        };
        passes(Protocol::default(), refused(true).end());
        fails(Protocol::default(), refused(false).release(1, 7), "PR");
        fails(Protocol::default(), refused(true).lose(1).resume(2, "a").release(2, 7), "PR");
    }

    #[test]
    fn pubrel_without_pubrec_is_wrong() {
        let mut told = Told::new();
        told.connect(1, "a").got_ack(1, AckKind::PubRel, 5, 0);
        fails(Protocol::default(), &told, "PR");
    }
}
