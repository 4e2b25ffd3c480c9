//! MX: nothing is delivered after its expiry, and what is left of it is said in whole seconds.

use std::collections::BTreeMap;

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Delivery, Model, Publication, PublicationId, Seen, Session};
use crate::oracle::owed::may_be_expired;
use crate::oracle::properties as property;
use crate::oracle::rule::{Rule, violation};
use crate::oracle::topic::{matches, split_share};

/// Judges MX.
#[derive(Default)]
pub(crate) struct Expiry {
    /// How many messages are said to have expired since the broker started, by receiver and topic: a crash may take
    /// the record of it, and then they expire again.
    said: BTreeMap<(String, String), usize>,
    /// Outages until then.
    outages: usize,
}

impl Rule for Expiry {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        if let What::Dropped { receiver, topic, cause } = &event.what
            && cause == "Expired"
        {
            return self.dropped(model, receiver, topic);
        }
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let Some(id) = delivery.publication else { return Ok(()) };
        let publication = &model.publications[id];
        let Some(wrong) = wrong(model, publication, delivery) else { return Ok(()) };
        let client_id = &model.sessions[delivery.session].client_id;
        let what = format!(
            "{} on {:?} with expiry {:?} s reached {client_id:?} {} ms after it was sent: {wrong}",
            publication.name(),
            publication.topic,
            publication.expiry_s,
            model.now.at_ms - publication.first().at_ms,
        );
        Err(violation("MX", what, [publication.first().index, delivery.moment.index]))
    }
}

impl Expiry {
    /// The broker's word that a message is dropped because it expired.
    fn dropped(&mut self, model: &Model, receiver: &str, topic: &str) -> Result<(), Violation> {
        if self.outages != model.outages.len() {
            self.outages = model.outages.len();
            self.said.clear();
        }
        let said = self.said.entry((receiver.to_owned(), topic.to_owned())).or_default();
        *said += 1;
        let on_topic = model.publications.iter().enumerate().filter(|(_, one)| one.topic == topic);
        let expired = on_topic.filter(|(_, one)| may_be_expired(model, one, model.now.at_ms));
        let most: usize = expired.map(|(id, one)| copies_lost(model, receiver, id, one)).sum();
        if *said <= most + bare_wills(model, topic) {
            return Ok(());
        }
        let what = format!(
            "{said} messages on {topic:?} are dropped for {receiver:?} as expired, and at most {most} \
             of those for it can have"
        );
        Err(violation("MX", what, [model.now.index]))
    }
}

/// How many copies of a publication may have expired while they waited for a receiver.
fn copies_lost(
    model: &Model,
    receiver: &str,
    id: PublicationId,
    publication: &Publication,
) -> usize {
    if let Some((_, filter)) = split_share(receiver) {
        return if matches(filter, &publication.topic) { publication.instances } else { 0 };
    }
    let Some(client) = model.clients.get(receiver) else { return usize::from(u16::MAX) };
    let is_unclear = client.attempts.iter().any(|attempt| {
        model.connections.get(attempt).is_none_or(|attempt| attempt.connack.is_none())
    });
    if is_unclear {
        return usize::from(u16::MAX);
    }
    let sessions = client.sessions.iter().map(|session| &model.sessions[*session]);
    sessions
        .map(|session| session.copies(publication) - usize::from(came(model, session, id)))
        .sum()
}

/// Whether the one copy of a publication that a session gets had surely set out before it expired.
fn came(model: &Model, session: &Session, id: PublicationId) -> bool {
    let publication = &model.publications[id];
    let first = session.deliveries.get(&id).and_then(|all| all.first());
    let Some(first) = first.map(|first| &model.deliveries[*first]) else { return false };
    // What came was on its way since the connection was made, at most, and a crash since may have forgotten it.
    let Some(connection) = model.connections.get(&first.connection) else { return false };
    session.copies(publication) == 1
        && session.possible(publication).all(|found| found.share.is_none())
        && !model.has_outage(connection.opened.index, usize::MAX)
}

/// Wills without a payload on a topic: they have no token, and are not among the publications.
fn bare_wills(model: &Model, topic: &str) -> usize {
    let connects = model.connections.values().filter_map(|one| one.connect.as_ref());
    let wills = connects.filter_map(|(_, connect)| connect.will.as_ref());
    wills.filter(|will| will.topic == topic && will.payload.is_empty()).count()
}

fn wrong(model: &Model, publication: &Publication, delivery: &Delivery) -> Option<String> {
    let connection = model.connections.get(&delivery.connection)?;
    let told_s = property::number(&delivery.properties, property::MESSAGE_EXPIRY);
    let Some(expiry_s) = publication.expiry_s else {
        return told_s.map(|told| format!("it is told to expire in {told} s"));
    };
    if connection.level() >= 5 && told_s.is_none() {
        return Some("it is told no expiry".to_owned());
    }
    let expiry_ms = u64::from(expiry_s) * 1000;
    let (first_ms, now_ms) = (publication.first().at_ms, model.now.at_ms);
    // When the broker took it in, and when it sent it on, as far as that is known.
    let is_taken_once = !publication.is_will() && !publication.may_come_late;
    let taken_ms = publication.settled.map(|settled| settled.at_ms).filter(|_| is_taken_once);
    let sent_ms = model.sent_from_ms(connection, now_ms);
    let is_prompt = model.is_prompt(connection, sent_ms);
    // However far the wall clock was set back, no start takes the broker's back behind the message.
    let held = match taken_ms {
        Some(taken_ms) if is_prompt => {
            let sent_ms = sent_ms.max(taken_ms);
            model.least_ms(first_ms, sent_ms, now_ms).saturating_sub(model.axis_ms(taken_ms).1)
        }
        Some(_) | None => 0,
    };
    let held_ms = u64::try_from(held).unwrap_or(0);
    let longest = model.axis_ms(now_ms).1 - model.least_ms(first_ms, first_ms, now_ms);
    let longest_ms = u64::try_from(longest).unwrap_or(0);
    // A delivery that had begun goes on whatever the expiry.
    if held_ms > expiry_ms && !delivery.dup && !model.may_hold_expiry() {
        return Some("its delivery began too late".to_owned());
    }
    let at_least_s = expiry_ms.saturating_sub(longest_ms) / 1000;
    let at_most_s = expiry_ms.saturating_sub(held_ms).div_ceil(1000);
    // What is held back has a second left.
    let at_most_s = at_most_s.max(u64::from(model.surely_holds_expiry()));
    let told_s = u64::from(told_s?);
    let is_right = told_s >= at_least_s && told_s <= at_most_s;
    (!is_right).then(|| format!("{told_s} s are said to be left, not {at_least_s} to {at_most_s}"))
}

#[cfg(test)]
mod tests {
    use super::Expiry;
    use crate::history::{Beside, What};
    use crate::oracle::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{
        Told, connect_of, fails, fails_within, number, passes, passes_within, publish_of,
    };
    use crate::packet::{AckKind, Connect, Packet, Publish};

    fn held_for(ms: u64, told_s: u32) -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(2);
        let with = |seconds| Publish {
            properties: vec![number(property::MESSAGE_EXPIRY, seconds)],
            ..publish_of("t", "one", 1, 9)
        };
        told.publishes(1, with(10)).wait(ms).resume(3, "b").reads(3, with(told_s));
        told
    }

    #[test]
    fn what_is_left_is_said() {
        passes(Expiry::default(), &held_for(0, 10));
        passes(Expiry::default(), &held_for(3_500, 7));
        passes(Expiry::default(), &held_for(9_500, 1));
    }

    #[test]
    fn a_large_message_may_expire_while_it_comes_through_a_network_that_takes_little_at_a_time() {
        let within =
            || Bounds { latency_ms: 100, capacity_bytes: 64, turn_ms: 5, ..Bounds::default() };
        let read = |size_bytes| {
            let mut told = Told::new();
            told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(2);
            let with = |seconds| Publish {
                properties: vec![number(property::MESSAGE_EXPIRY, seconds)],
                ..publish_of("t", "one", 1, 9)
            };
            told.publishes(1, with(2)).wait(1_800).resume(3, "b").wait(400);
            let packet = Packet::Publish(with(1));
            told.push(What::Received { connection: 3, packet, alias_topic: None, size_bytes });
            told
        };
        passes_within(within(), Expiry::default(), &read(6_400));
        fails_within(within(), Expiry::default(), &read(640), "MX");
    }

    #[test]
    fn what_is_under_way_behind_a_connect_begins_to_expire_when_it_arrives() {
        let late = |is_under_way| {
            let mut told = Told::new();
            let properties = vec![number(property::SESSION_EXPIRY, 1000)];
            let again = Connect { properties, clean_start: false, ..connect_of("a") };
            let with = |dup, seconds| {
                let properties = vec![number(property::MESSAGE_EXPIRY, seconds)];
                Packet::Publish(Publish { dup, properties, ..publish_of("t", "one", 1, 9) })
            };
            told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(1).asks_in(4, again);
            if is_under_way {
                told.sent(4, with(false, 10));
            }
            told.resume(5, "a").sent(5, with(true, 10)).got_ack(5, AckKind::PubAck, 9, 0);
            told.wait(3_500).got(2, with(false, 10));
            told
        };
        passes(Expiry::default(), &late(true));
        fails(Expiry::default(), &late(false), "MX");
    }

    #[test]
    fn a_message_past_its_expiry_is_wrong() {
        fails(Expiry::default(), &held_for(10_500, 1), "MX");
    }

    #[test]
    fn what_is_left_is_counted_by_the_clock_that_the_broker_was_started_by() {
        let held = |by_ms, told_s| {
            let mut told = Told::new();
            told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(2);
            let with = |seconds| Publish {
                properties: vec![number(property::MESSAGE_EXPIRY, seconds)],
                ..publish_of("t", "one", 1, 9)
            };
            told.publishes(1, with(100)).wall_clock(by_ms).crash();
            told.wait(500).resume(3, "b").reads(3, with(told_s));
            told
        };
        passes(Expiry::default(), &held(0, 100));
        passes(Expiry::default(), &held(60_000, 40));
        passes(Expiry::default(), &held(-60_000, 100));
        fails(Expiry::default(), &held(60_000, 100), "MX");
        fails(Expiry::default(), &held(200_000, 100), "MX");
        fails(Expiry::default(), &held(-60_000, 40), "MX");
        fails(Expiry::default(), &held(-60_000, 130), "MX");
    }

    #[test]
    fn the_interval_as_it_came_is_wrong() {
        fails(Expiry::default(), &held_for(3_500, 10), "MX");
    }

    #[test]
    fn each_message_expires_once_and_only_where_it_waits() {
        let dropped = |receivers: &[&str]| {
            let mut told = Told::new();
            told.durable(1, "a").durable(2, "b").durable(3, "c").subscribe(2, "t", 1).lose(2);
            let properties = vec![number(property::MESSAGE_EXPIRY, 1)];
            told.publishes(1, Publish { properties, ..publish_of("t", "one", 1, 9) });
            told.publish(1, "t", "two", 1).wait(10_000);
            for receiver in receivers {
                told.dropped(receiver, "t", "Expired");
            }
            told
        };
        passes(Expiry::default(), &dropped(&["b"]));
        fails(Expiry::default(), &dropped(&["c"]), "MX");
        fails(Expiry::default(), &dropped(&["b", "b"]), "MX");
    }

    #[test]
    fn a_message_expires_again_when_a_crash_takes_that_it_did() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(2);
        let properties = vec![number(property::MESSAGE_EXPIRY, 1)];
        told.publishes(1, Publish { properties, ..publish_of("t", "one", 1, 9) }).wait(10_000);
        told.dropped("b", "t", "Expired").crash().dropped("b", "t", "Expired");
        passes(Expiry::default(), &told);
        fails(Expiry::default(), told.dropped("b", "t", "Expired"), "MX");
    }

    #[test]
    fn what_has_come_does_not_expire() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1);
        let properties = vec![number(property::MESSAGE_EXPIRY, 1)];
        let one = Publish { properties, ..publish_of("t", "one", 1, 9) };
        told.publishes(1, one.clone()).reads(2, one).wait(10_000);
        fails(Expiry::default(), told.dropped("b", "t", "Expired"), "MX");
    }

    #[test]
    fn what_comes_out_of_a_crash_may_expire_behind_it() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1);
        let properties = vec![number(property::MESSAGE_EXPIRY, 1)];
        let one = Publish { properties, ..publish_of("t", "one", 1, 9) };
        told.publishes(1, one.clone()).crash().reads(2, one).wait(10_000).resume(3, "b");
        passes(Expiry::default(), told.dropped("b", "t", "Expired"));
    }

    #[test]
    fn dropping_as_expired_what_has_not_expired_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").publish(1, "t", "one", 1).dropped("b", "t", "Expired");
        fails(Expiry::default(), &told, "MX");
    }

    #[test]
    fn an_expiry_of_its_own_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).publish(1, "t", "one", 1);
        let properties = vec![number(property::MESSAGE_EXPIRY, 5)];
        told.reads(2, Publish { properties, ..publish_of("t", "one", 1, 9) });
        fails(Expiry::default(), &told, "MX");
    }

    #[test]
    fn after_a_jump_of_the_clock_what_is_left_stands_still_and_what_comes_later_counts() {
        let by_ms = 48 * 60 * 60 * 1000;
        let with = |token: &str, seconds| Publish {
            properties: vec![number(property::MESSAGE_EXPIRY, seconds)],
            ..publish_of("t", token, 1, 9)
        };
        let told = |before_s, after_s| {
            let mut told = Told::new();
            told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(2);
            told.publishes(1, with("before", 100)).wait(by_ms);
            told.beside(Beside::ClockStepped { by_ms }).publishes(1, with("after", 10));
            told.wait(4_000).resume(3, "b").reads(3, with("before", before_s));
            told.reads(3, with("after", after_s));
            told
        };
        passes(Expiry::default(), &told(100, 6));
        fails(Expiry::default(), &told(101, 6), "MX");
        fails(Expiry::default(), &told(100, 10), "MX");
        let mut confirmed = Told::new();
        confirmed.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(2);
        confirmed.publishes(1, with("before", 100)).wait(by_ms);
        confirmed.beside(Beside::ClockStepped { by_ms }).beside(Beside::TimeConfirmed).wait(1_000);
        confirmed.resume(3, "b").reads(3, with("before", 100));
        fails(Expiry::default(), &confirmed, "MX");
    }
}
