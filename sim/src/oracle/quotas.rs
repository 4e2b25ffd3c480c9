//! AH, for quotas: what is refused or dropped for a quota's sake is over it, and what is accepted is
//! not.
//!
//! What the broker keeps for a client is not to be seen. This goes by the most that it can be: all
//! that was published for the client and is not surely gone. Every client has a quota of its own.

use std::collections::BTreeMap;

use crate::history::{Event, Violation, What};
use crate::oracle::model::{
    Answered, Connection, Model, Publication, PublicationId, Request, Seen, Session, Stage,
};
use crate::oracle::rule::{Rule, violation};
use crate::packet::{Packet, Property, Value};

/// How the broker names a message that is dropped for a quota of stored bytes.
const DROPPED: &str = "OverQuota";
/// Quota exceeded.
const QUOTA_EXCEEDED: u8 = 0x97;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Judges AH by quotas.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    /// What clients were told is taken, at QoS 2 and with a subscriber, by client and day.
    accepted: BTreeMap<(String, u64), Vec<usize>>,
}

impl Rule for Quotas {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        match (&event.what, seen) {
            (What::Dropped { receiver, topic, cause }, _) if cause == DROPPED => {
                dropped(model, receiver, topic)
            }
            (What::Received { packet: Packet::Ack { reason, .. }, .. }, Seen::Answered(found)) => {
                let Some(most) = model.bounds.messages_per_day else { return Ok(()) };
                let Request::Publish(id, _) = found.request else { return Ok(()) };
                match *reason {
                    0 => self.accepted(model, id, found, most),
                    QUOTA_EXCEEDED => refused(model, &model.publications[id], most),
                    _ => Ok(()),
                }
            }
            (_, _) => Ok(()),
        }
    }
}

impl Quotas {
    /// The count must be on the disk before the acknowledgement of a QoS 2 publication is sent, whose
    /// identifier is. Of others a power cut may lose it.
    fn accepted(
        &mut self,
        model: &Model,
        id: PublicationId,
        answered: &Answered,
        most: u64,
    ) -> Result<(), Violation> {
        let publication = &model.publications[id];
        let day = day_of(model, answered.moment.at_ms);
        // What was sent on an earlier day too may have been taken then.
        let is_of_day = day_of(model, publication.first().at_ms) == day;
        let is_durable = model.expiry_s(publication.first_connection()) > 0;
        // Where the wall clock was set, its days are not ours.
        let is_other = model.has_set_clock();
        let is_settled = is_of_day && day == day_of(model, model.now.at_ms);
        if publication.qos < 2 || !is_durable || is_other || !is_settled {
            return Ok(());
        }
        let key = (publication.client_id.clone(), day);
        let accepted = self.accepted.entry(key).or_default();
        if accepted.contains(&id) {
            return Ok(());
        }
        accepted.push(id);
        if accepted.len() as u64 <= most {
            return Ok(());
        }
        let what = format!(
            "{:?} has {} publications accepted in a day, at most {most} allowed",
            publication.client_id,
            accepted.len(),
        );
        let events = accepted.iter().map(|id| model.publications[*id].first().index);
        Err(violation("AH", what, events.chain([model.now.index])))
    }
}

/// A refusal, where nothing else bounds clients: as many were sent as the quota has.
fn refused(model: &Model, publication: &Publication, most: u64) -> Result<(), Violation> {
    if model.bounds.has_limits || model.bounds.stored_bytes.is_some() {
        return Ok(());
    }
    let client_id = &publication.client_id;
    let is_of_client = |other: &&Publication| other.client_id == *client_id && !other.is_will();
    let of_client = model.publications.iter().filter(is_of_client);
    let sends: usize = of_client.map(|other| other.sends.len()).sum();
    if sends as u64 > most {
        return Ok(());
    }
    let what =
        format!("{client_id:?} is over a quota of {most} in a day, and has published {sends}");
    Err(violation("AH", what, [publication.first().index, model.now.index]))
}

/// A message dropped for a quota of stored bytes must not have found room.
fn dropped(model: &Model, receiver: &str, topic: &str) -> Result<(), Violation> {
    let Some((kept, most)) = surely_has_room(model, receiver, topic) else { return Ok(()) };
    let what = format!(
        "a message on {topic:?} is dropped for {receiver:?}, for whom at most {kept} of {most} bytes \
         are kept with it"
    );
    Err(violation("AH", what, [model.now.index]))
}

/// Whether the will of a connection that asks to be let in surely had room, if it has one.
pub(crate) fn will_surely_has_room(model: &Model, connection: &Connection) -> bool {
    let is_its_will = |found: &&Publication| found.will_of == Some(connection.number);
    let Some(will) = model.publications.iter().find(is_its_will) else { return true };
    // Unless its client has a session from before, nothing counts the will yet.
    let room = surely_has_room(model, &connection.client_id, &will.topic);
    room.is_some_and(|(kept, most)| kept + size_bytes(will) <= most)
}

/// How much is kept for a receiver at most, of how much, if a message on the topic surely had room beside it.
pub(crate) fn surely_has_room(model: &Model, receiver: &str, topic: &str) -> Option<(u64, u64)> {
    // Whose quota stands against a share is not known: its members change.
    let client = model.clients.get(receiver)?;
    // What a CONNECT without an answer carried on, and what was asked for behind it, is not known.
    let is_unanswered = |found: &Connection| found.connack.is_none() && found.refused.is_none();
    let mut attempts = client.attempts.iter().filter_map(|number| model.connections.get(number));
    if attempts.any(is_unanswered) {
        return None;
    }
    let most = model.bounds.stored_bytes.unwrap_or(0);
    let of_topic = model.publications.iter().filter(|found| found.topic == topic);
    let size = of_topic.map(size_bytes).max().unwrap_or(0);
    let sessions = client.sessions.iter().map(|session| &model.sessions[*session]);
    // What is dropped as a session ends, its will before all, finds all of that session's there.
    let ending_from_ms = model.now.at_ms.saturating_sub(model.bounds.slack_ms);
    let is_ending =
        |session: &Session| session.ended_by_order.is_some_and(|at| at.at_ms >= ending_from_ms);
    let living = sessions.filter(|session| !model.is_over(session) || is_ending(session));
    let mut kept: u64 = living.map(|session| kept_for(model, session)).sum();
    kept += retained_by(model, receiver);
    // The message itself was counted among what may be kept.
    (kept <= most && size <= most).then_some((kept, most))
}

/// The most that can be kept for a session.
fn kept_for(model: &Model, session: &Session) -> u64 {
    let mut kept = 0;
    for (id, publication) in model.publications.iter().enumerate() {
        if publication.client_id == session.client_id && may_be_armed(model, publication) {
            kept += size_bytes(publication);
        }
        let copies = session.copies(publication) as u64;
        if copies > 0 && !is_gone(model, session, id) {
            kept += copies * size_bytes(publication);
        }
    }
    kept
}

/// Whether a publication is a will that its session may have: each connection replaces the last one's.
fn may_be_armed(model: &Model, publication: &Publication) -> bool {
    let Some(owner) = publication.will_of.and_then(|of| model.connections.get(&of)) else {
        return false;
    };
    let let_in = owner.connack.as_ref().map_or(usize::MAX, |connack| connack.moment.index);
    let is_replaced = model.others(owner).any(|other| {
        let asked = other.connect.as_ref().map_or(0, |(sent, _)| sent.index);
        other.connack.is_some() && let_in < asked
    });
    !is_replaced
}

/// The most that can be retained of what a client published.
fn retained_by(model: &Model, client_id: &str) -> u64 {
    let of_client = model.publications.iter().filter(|found| found.client_id == client_id);
    let retained = of_client.filter(|found| found.retain && !found.payload.is_empty());
    retained.map(size_bytes).sum()
}

/// Whether nothing of a publication is kept for a session any more.
fn is_gone(model: &Model, session: &Session, id: PublicationId) -> bool {
    let publication = &model.publications[id];
    publication.is_refused()
        || has_expired_alone(model, session, id)
        || was_acknowledged(model, session, id)
}

/// Whether it expired while its receiver was surely away, so that its delivery did not begin. What
/// has expired is dropped before anything else is.
fn has_expired_alone(model: &Model, session: &Session, id: PublicationId) -> bool {
    let publication = &model.publications[id];
    let Some(expiry_s) = publication.expiry_s else { return false };
    let last_ms = publication.settled.map_or(u64::MAX, |settled| settled.at_ms);
    let over_ms = model.latest_ms(last_ms, u64::from(expiry_s) * 1000);
    let over_ms = over_ms.saturating_add(model.bounds.slack_ms);
    let connections = model.clients.get(&session.client_id).map(|client| &client.connections);
    let was_here = |connection: &Connection| {
        let came_ms = connection.connect.as_ref().map_or(u64::MAX, |(sent, _)| sent.at_ms);
        came_ms <= over_ms && model.closing(connection).to_ms >= publication.first().at_ms
    };
    over_ms < model.now.at_ms
        && !model.may_hold_expiry()
        && !session.deliveries.contains_key(&id)
        && !connections
            .into_iter()
            .flatten()
            .filter_map(|number| model.connections.get(number))
            .any(was_here)
}

/// Whether the broker has surely heard that the client has it.
fn was_acknowledged(model: &Model, session: &Session, id: PublicationId) -> bool {
    let Some(deliveries) = session.deliveries.get(&id) else { return false };
    if session.copies(&model.publications[id]) > 1 {
        return false;
    }
    let Some(last) = deliveries.last().map(|last| &model.deliveries[*last]) else { return false };
    if model.has_outage(last.moment.index, model.now.index) {
        return false;
    }
    let Some(packet_id) = last.id else { return true };
    let Some(holder) = session.exchanges.get(&packet_id) else { return false };
    if holder.publication != Some(id) {
        return true;
    }
    let heard = model.connections.get(&holder.connection).map_or(0, |found| found.evidence.index);
    match holder.stage {
        Stage::Read => false,
        // What is sent again was not heard of.
        Stage::Recorded(at) | Stage::Refused(at) | Stage::Done(at) => {
            heard > at.index && at.index > last.moment.index
        }
        Stage::Released(_) => true,
    }
}

/// The most that the broker can count for a publication.
pub(crate) fn size_bytes(publication: &Publication) -> u64 {
    let properties: usize = publication.properties.iter().map(property_bytes).sum();
    (publication.topic.len() + publication.payload.len() + properties) as u64
}

fn property_bytes(property: &Property) -> usize {
    match &property.value {
        Value::Number(_) => 0,
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Pair(name, value) => name.len() + value.len(),
    }
}

/// The day of UTC.
fn day_of(model: &Model, at_ms: u64) -> u64 {
    (model.bounds.epoch_ms + at_ms) / DAY_MS
}

#[cfg(test)]
mod tests {
    use super::{DROPPED, QUOTA_EXCEEDED, Quotas};
    use crate::history::Beside;
    use crate::oracle::model::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{
        Told, connect_of, fails_within, number, passes_within, publish_of, will_of,
    };
    use crate::packet::{AckKind, Connect, Packet, Publish};

    fn bounds(stored_bytes: Option<u64>, messages_per_day: Option<u64>) -> Bounds {
        Bounds {
            latency_ms: 100,
            slack_ms: 500,
            stored_bytes,
            messages_per_day,
            ..Bounds::default()
        }
    }

    fn two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(2);
        told
    }

    #[test]
    fn what_is_over_a_quota_may_be_dropped() {
        let mut told = two();
        told.publish(1, "t", "12345", 1).publish_unanswered(1, "t", "67890", 1, 5);
        told.dropped("b", "t", DROPPED).got_ack(1, AckKind::PubAck, 5, QUOTA_EXCEEDED).end();
        passes_within(bounds(Some(11), None), Quotas::default(), &told);
    }

    #[test]
    fn what_was_subscribed_to_behind_an_unanswered_connect_may_fill_up() {
        let mut told = Told::new();
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        told.durable(1, "a").asks_in(2, Connect { properties, ..connect_of("b") });
        let filters = vec![("t".to_owned(), 1)];
        told.sent(2, Packet::Subscribe { id: 1, filters, properties: Vec::new() }).lose(2);
        told.publish(1, "t", "12345", 1).publish_unanswered(1, "t", "67890", 1, 5);
        told.dropped("b", "t", DROPPED).got_ack(1, AckKind::PubAck, 5, QUOTA_EXCEEDED).end();
        passes_within(bounds(Some(11), None), Quotas::default(), &told);
    }

    #[test]
    fn a_connect_without_an_answer_may_have_carried_a_session_on() {
        let mut told = two();
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        told.wait(999_000)
            .asks_in(3, Connect { properties, clean_start: false, ..connect_of("b") });
        told.wait(100_000).publish(1, "t", "12345", 1).publish_unanswered(1, "t", "67890", 1, 5);
        told.dropped("b", "t", DROPPED).got_ack(1, AckKind::PubAck, 5, QUOTA_EXCEEDED);
        passes_within(bounds(Some(11), None), Quotas::default(), &told);
    }

    #[test]
    fn dropping_where_there_is_room_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "12345", 1).publish_unanswered(1, "t", "67890", 1, 5);
        told.dropped("b", "t", DROPPED);
        fails_within(bounds(Some(12), None), Quotas::default(), &told, "AH");
    }

    #[test]
    fn what_was_acknowledged_or_has_expired_makes_room() {
        let mut told = two();
        told.publish(1, "t", "12345", 1).resume(3, "b").read(3, "t", "12345", 1).ping(3).lose(3);
        told.publish_unanswered(1, "t", "67890", 1, 5).dropped("b", "t", DROPPED);
        fails_within(bounds(Some(6), None), Quotas::default(), &told, "AH");
        let mut told = two();
        let properties = vec![number(property::MESSAGE_EXPIRY, 1)];
        told.wait(10_000).publishes(1, Publish { properties, ..publish_of("t", "12345", 1, 9) });
        told.got_ack(1, AckKind::PubAck, 9, 0).wait(10_000);
        told.publish_unanswered(1, "t", "67890", 1, 5).dropped("b", "t", DROPPED);
        fails_within(bounds(Some(6), None), Quotas::default(), &told, "AH");
    }

    #[test]
    fn what_is_sent_again_or_to_a_session_on_its_way_out_has_its_room() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 2);
        told.publish(1, "t", "12345", 2).read_only(2, "t", "12345", 2, 7).pubrec(2, 7).lose(2);
        told.resume(3, "b").read_again(3, "t", "12345", 2, 7);
        told.publish_unanswered(1, "t", "67890", 1, 5).dropped("b", "t", DROPPED);
        told.got_ack(1, AckKind::PubAck, 5, QUOTA_EXCEEDED).pubrec(3, 7).release(3, 7).end();
        passes_within(bounds(Some(11), None), Quotas::default(), &told);
        let mut told = Told::new();
        told.durable(1, "a").connect(2, "b").subscribe(2, "t", 1).publish(1, "t", "12345", 1);
        told.publish_unanswered(1, "t", "67890", 1, 5).lose(2).dropped("b", "t", DROPPED);
        told.got_ack(1, AckKind::PubAck, 5, QUOTA_EXCEEDED).end();
        passes_within(bounds(Some(11), None), Quotas::default(), &told);
    }

    #[test]
    fn what_has_gone_with_its_connection_makes_room() {
        let mut told = Told::new();
        told.durable(1, "a").connect(2, "b").subscribe(2, "t", 1).publish(1, "t", "12345", 1);
        told.lose(2).wait(1_000).connect(3, "b").subscribe(3, "t", 1).lose(3);
        told.publish_unanswered(1, "t", "67890", 1, 5).dropped("b", "t", DROPPED);
        fails_within(bounds(Some(11), None), Quotas::default(), &told, "AH");
    }

    #[test]
    fn a_session_that_is_ended_has_its_own_until_its_will_is_published() {
        let ended = |wait_ms| {
            let will = Some(will_of("t", "12345", 9));
            let properties = vec![number(property::SESSION_EXPIRY, 1000)];
            let mut told = Told::new();
            told.enters(1, Connect { will, properties, ..connect_of("a") }, false);
            told.subscribe(1, "t", 1);
            told.beside(Beside::SessionEnded { client_id: "a".to_owned() }).wait(wait_ms);
            told.dropped("a", "t", DROPPED);
            told
        };
        passes_within(bounds(Some(11), None), Quotas::default(), &ended(0));
        fails_within(bounds(Some(12), None), Quotas::default(), &ended(0), "AH");
        fails_within(bounds(Some(11), None), Quotas::default(), &ended(1_000), "AH");
    }

    #[test]
    fn a_days_quota_is_for_a_day() {
        let mut told = two();
        told.publish(1, "t", "one", 2).publish(1, "t", "two", 2);
        told.publish_unanswered(1, "t", "six", 2, 5);
        told.got_ack(1, AckKind::PubRec, 5, QUOTA_EXCEEDED).wait(86_400_000);
        told.publish(1, "t", "ten", 2);
        passes_within(bounds(None, Some(2)), Quotas::default(), &told);
    }

    #[test]
    fn what_was_taken_the_day_before_and_is_answered_today_counts_then() {
        let mut told = two();
        // Over midnight.
        told.wait(86_390_000).publish_unanswered(1, "t", "one", 2, 5).lose(1);
        told.wait(20_000).resume(3, "a");
        told.publish_again(3, "t", "one", 2, 5).publish(3, "t", "two", 2).publish(3, "t", "six", 2);
        passes_within(bounds(None, Some(2)), Quotas::default(), &told);
    }

    #[test]
    fn more_in_a_day_is_wrong_across_a_crash_too() {
        let mut told = two();
        told.publish(1, "t", "one", 2).crash().resume(3, "a").publish(3, "t", "two", 2);
        fails_within(bounds(None, Some(1)), Quotas::default(), &told, "AH");
    }

    #[test]
    fn refusing_what_the_day_allows_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish_unanswered(1, "t", "two", 1, 5);
        told.got_ack(1, AckKind::PubAck, 5, QUOTA_EXCEEDED);
        fails_within(bounds(None, Some(2)), Quotas::default(), &told, "AH");
    }
}
