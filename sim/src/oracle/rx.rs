//! RX: PUBLISH is sent again only on a new connection of a resumed session, marked and in its old
//! order; PUBREL that is owed is sent again too.

use crate::history::{Event, Violation};
use crate::oracle::model::{Delivery, Holder, Model, Seen, Stage};
use crate::oracle::owed::Owed;
use crate::oracle::rule::{Rule, violation};

/// Judges RX.
pub(crate) struct Repetition;

impl Rule for Repetition {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let session = &model.sessions[delivery.session];
        if session.hostile.is_some() || delivery.qos == 0 {
            return Ok(());
        }
        let wrong = marked_wrongly(model, delivery)
            .or_else(|| unmarked(delivery))
            .or_else(|| refused(model, delivery));
        let Some((wrong, earlier)) = wrong else { return out_of_order(model, delivery) };
        let what = format!(
            "packet {} with {:?} to {:?} {wrong}",
            delivery.id.unwrap_or(0),
            String::from_utf8_lossy(&delivery.payload),
            session.client_id,
        );
        Err(violation("RX", what, earlier.into_iter().chain([delivery.moment.index])))
    }

    fn finish(&mut self, model: &Model, _owed: &Owed) -> Vec<Violation> {
        let mut found = Vec::new();
        for session in &model.sessions {
            if model.served(session).is_none() {
                continue;
            }
            for (id, holder) in &session.exchanges {
                found.extend(never_released(model, &session.client_id, *id, holder));
            }
        }
        found
    }
}

/// DUP where nothing can have been sent before.
fn marked_wrongly(model: &Model, delivery: &Delivery) -> Option<(&'static str, Option<usize>)> {
    let connection = model.connections.get(&delivery.connection)?;
    let is_new = !connection.may_be_resumed();
    let session = &model.sessions[delivery.session];
    let may_be_shared = delivery.publication.is_some_and(|publication| {
        session.possible(&model.publications[publication]).any(|found| found.share.is_some())
    });
    let is_wrong = delivery.dup && is_new && !may_be_shared;
    is_wrong.then_some(("has DUP in a session that has just begun", None))
}

/// The same message under the same identifier without DUP, or again on the same connection.
fn unmarked(delivery: &Delivery) -> Option<(&'static str, Option<usize>)> {
    let before = delivery.replaced.as_ref()?;
    let is_same = before.publication.is_some() && before.publication == delivery.publication;
    let is_in_use = match before.stage {
        Stage::Read | Stage::Recorded(_) => true,
        Stage::Released(_) | Stage::Refused(_) | Stage::Done(_) => false,
    };
    if !is_same || !is_in_use {
        return None;
    }
    if before.connection == delivery.connection {
        return Some(("is sent again on the same connection", Some(before.moment.index)));
    }
    (!delivery.dup).then_some(("is sent again without DUP", Some(before.moment.index)))
}

/// A repetition at QoS 2 of what the broker knew to be refused. What was taken must not even seem new, which is Q2, and
/// QoS 1 is judged with its repetitions.
fn refused(model: &Model, delivery: &Delivery) -> Option<(&'static str, Option<usize>)> {
    let is_meant = |before: &&Holder| delivery.dup && delivery.qos == 2 && before.qos == 2;
    let before = delivery.replaced.as_ref().filter(is_meant)?;
    let publication = &model.publications[before.publication?];
    let Stage::Refused(at) = before.stage else { return None };
    let is_only_copy = model.sessions[delivery.session].copies(publication) <= 1
        && publication.instances == 1
        && !publication.may_come_late;
    let is_same = before.publication == delivery.publication;
    let is_over = is_same && is_only_copy && model.has_heard(before.connection, at);
    is_over.then_some(("is sent again, although its receiver refused it", Some(at.index)))
}

/// Repetitions on one connection come in the order in which the messages first came.
fn out_of_order(model: &Model, delivery: &Delivery) -> Result<(), Violation> {
    let session = &model.sessions[delivery.session];
    let Some(holder) = delivery.id.and_then(|id| session.exchanges.get(&id)) else { return Ok(()) };
    if !delivery.dup || holder.first == delivery.moment || holder.may_be_second {
        return Ok(());
    }
    let later = session.exchanges.values().find(|other| {
        !other.may_be_second
            && other.connection == delivery.connection
            && other.moment < delivery.moment
            && other.first < other.moment
            && other.first > holder.first
            && first_connection(model, other) != Some(delivery.connection)
    });
    let Some(later) = later else { return Ok(()) };
    let what = format!(
        "{:?} is sent again to {:?} after {:?}, which first came later",
        String::from_utf8_lossy(&holder.token),
        session.client_id,
        String::from_utf8_lossy(&later.token),
    );
    let events = [holder.first, later.first, later.moment, delivery.moment];
    Err(violation("RX", what, events.map(|moment| moment.index)))
}

fn first_connection(model: &Model, holder: &Holder) -> Option<u64> {
    let place =
        model.deliveries.binary_search_by_key(&holder.first, |delivery| delivery.moment).ok()?;
    Some(model.deliveries[place].connection)
}

/// PUBREC that nothing followed.
fn never_released(model: &Model, client_id: &str, id: u16, holder: &Holder) -> Option<Violation> {
    let Stage::Recorded(at) = holder.stage else { return None };
    if holder.qos != 2 || at.at_ms > model.settled_by_ms() {
        return None;
    }
    let what = format!(
        "{client_id:?} sent PUBREC for packet {id} with {:?} and never read PUBREL",
        String::from_utf8_lossy(&holder.token),
    );
    Some(violation("RX", what, [holder.first.index, at.index, model.now.index]))
}

#[cfg(test)]
mod tests {
    use super::Repetition;
    use crate::oracle::told::{Told, fails, passes, publish_of};
    use crate::packet::{AckKind, Packet, Publish};

    fn two(qos: u8) -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 2);
        told.publish(1, "t", "one", qos).publish(1, "t", "two", qos);
        told
    }

    #[test]
    fn a_marked_repetition_in_order_is_right() {
        let mut told = two(2);
        told.read_only(2, "t", "one", 2, 1).read_only(2, "t", "two", 2, 2).pubrec(2, 1).lose(2);
        told.resume(3, "b").got_ack(3, crate::packet::AckKind::PubRel, 1, 0);
        told.sent_ack(3, crate::packet::AckKind::PubComp, 1).read_again(3, "t", "two", 2, 2);
        told.pubrec(3, 2).release(3, 2).end();
        passes(Repetition, &told);
    }

    #[test]
    fn a_mark_on_what_the_client_has_not_read_is_right() {
        let mut told = two(1);
        told.lose(2).resume(3, "b").read_again(3, "t", "one", 1, 1);
        passes(Repetition, &told);
    }

    #[test]
    fn a_repetition_without_dup_is_wrong() {
        let mut told = two(1);
        told.read_only(2, "t", "one", 1, 1).lose(2).resume(3, "b").read_only(3, "t", "one", 1, 1);
        fails(Repetition, &told, "RX");
    }

    #[test]
    fn a_repetition_on_the_same_connection_is_wrong() {
        let mut told = two(1);
        told.read_only(2, "t", "one", 1, 1).read_again(2, "t", "one", 1, 1);
        fails(Repetition, &told, "RX");
    }

    #[test]
    fn a_mark_in_a_new_session_is_wrong() {
        let mut told = two(1);
        told.read_again(2, "t", "one", 1, 1);
        fails(Repetition, &told, "RX");
    }

    #[test]
    fn another_order_is_wrong() {
        let mut told = two(2);
        told.read_only(2, "t", "one", 2, 1).read_only(2, "t", "two", 2, 2).lose(2).resume(3, "b");
        told.read_again(3, "t", "two", 2, 2).read_again(3, "t", "one", 2, 1);
        fails(Repetition, &told, "RX");
    }

    /// "one" came and its exchange is over; behind "two" it comes anew under the same identifier, being retained.
    fn one_again_behind_two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 2).retain(1, "t", "one", 2);
        told.read_only(2, "t", "one", 2, 2).pubrec(2, 2).release(2, 2).lose(2).resume(3, "b");
        told.publish(1, "t", "two", 2).read_only(3, "t", "two", 2, 1).subscribe(3, "t", 2);
        let again = publish_of("t", "one", 2, 2);
        told.got(3, Packet::Publish(Publish { retain: true, ..again })).lose(3).resume(4, "b");
        told
    }

    #[test]
    fn what_comes_anew_under_its_identifier_has_its_new_place() {
        let mut told = one_again_behind_two();
        let again = Publish { dup: true, retain: true, ..publish_of("t", "one", 2, 2) };
        told.read_again(4, "t", "two", 2, 1).got(4, Packet::Publish(again));
        passes(Repetition, &told);
    }

    #[test]
    fn what_came_anew_is_not_sent_again_first() {
        let mut told = one_again_behind_two();
        let again = Publish { dup: true, retain: true, ..publish_of("t", "one", 2, 2) };
        told.got(4, Packet::Publish(again)).read_again(4, "t", "two", 2, 1);
        fails(Repetition, &told, "RX");
    }

    #[test]
    fn a_publication_sent_twice_has_no_one_place_once_the_first_may_be_over() {
        let mut told = two(1);
        told.read_only(2, "t", "one", 1, 1).read_only(2, "t", "two", 1, 2);
        told.sent_ack(2, crate::packet::AckKind::PubAck, 1);
        told.publish(1, "t", "one", 1).lose(2).resume(3, "b");
        told.read_again(3, "t", "two", 1, 2).read_again(3, "t", "one", 1, 1);
        passes(Repetition, &told);
    }

    #[test]
    fn a_publication_sent_twice_keeps_its_first_place_until_then() {
        let mut told = two(1);
        told.read_only(2, "t", "one", 1, 1).read_only(2, "t", "two", 1, 2);
        told.publish(1, "t", "one", 1).lose(2).resume(3, "b");
        told.read_again(3, "t", "two", 1, 2).read_again(3, "t", "one", 1, 1);
        fails(Repetition, &told, "RX");
    }

    #[test]
    fn a_retained_copy_that_has_an_identifier_by_chance_has_a_place_of_its_own() {
        let again = |retain: bool| {
            let mut told = Told::new();
            told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).retain(1, "t", "one", 1);
            told.read_only(2, "t", "one", 1, 1).sent_ack(2, AckKind::PubAck, 1);
            told.publish(1, "t", "two", 1).read_only(2, "t", "two", 1, 2).crash();
            told.resume(3, "b").subscribe(3, "t", 1).read_again(3, "t", "two", 1, 2);
            let copy = Publish { dup: true, retain, ..publish_of("t", "one", 1, 1) };
            told.got(3, Packet::Publish(copy));
            told
        };
        passes(Repetition, &again(true));
        fails(Repetition, &again(false), "RX");
    }

    #[test]
    fn a_retained_copy_asked_for_again_has_a_place_of_its_own() {
        let again = |subscribes: bool| {
            let mut told = Told::new();
            told.durable(1, "a").durable(2, "b").retain(1, "t", "one", 1).subscribe(2, "t", 1);
            let copy = Publish { retain: true, ..publish_of("t", "one", 1, 1) };
            told.got(2, Packet::Publish(copy.clone())).sent_ack(2, AckKind::PubAck, 1);
            told.publish(1, "t", "two", 1).read_only(2, "t", "two", 1, 2);
            if subscribes {
                told.subscribe(2, "t", 1);
            }
            told.crash().resume(3, "b").read_again(3, "t", "two", 1, 2);
            told.got(3, Packet::Publish(Publish { dup: true, ..copy }));
            told
        };
        passes(Repetition, &again(true));
        fails(Repetition, &again(false), "RX");
    }

    #[test]
    fn what_was_refused_is_not_sent_again_once_the_broker_has_heard_it() {
        let again = |hears| {
            let mut told = two(2);
            told.read_only(2, "t", "one", 2, 1);
            let (kind, properties) = (AckKind::PubRec, Vec::new());
            told.sent(2, Packet::Ack { kind, id: 1, reason: 0x97, properties });
            if hears {
                told.ping(2);
            }
            told.lose(2).resume(3, "b").read_again(3, "t", "one", 2, 1);
            told
        };
        passes(Repetition, &again(false));
        fails(Repetition, &again(true), "RX");
    }

    #[test]
    fn a_pubrel_that_never_comes_is_wrong() {
        let mut told = two(2);
        told.read_only(2, "t", "one", 2, 1).pubrec(2, 1).lose(2).resume(3, "b");
        told.read(3, "t", "two", 2).end();
        fails(Repetition, &told, "RX");
    }
}
