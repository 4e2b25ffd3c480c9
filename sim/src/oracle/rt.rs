//! RT: a topic's retained message is one register. A new subscription reads the value that was
//! written last, never an older one.

use std::collections::BTreeMap;

use crate::history::{Event, Violation};
use crate::oracle::model::{
    Delivery, Model, Moment, Publication, PublicationId, Seen, Session, Subscription,
};
use crate::oracle::owed::{Owed, drops, may_be_expired};
use crate::oracle::rule::{Rule, violation};

/// Judges RT.
#[derive(Default)]
pub(crate) struct Retained {
    /// What was read of each topic, in the order in which it arrived.
    reads: BTreeMap<String, Vec<Read>>,
}

/// A subscription's reading of a topic: it read between the two moments.
#[derive(Clone, Copy)]
struct Read {
    publication: PublicationId,
    asked: Moment,
    arrived: Moment,
}

impl Rule for Retained {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let Some(id) = delivery.publication.filter(|_| delivery.retain) else { return Ok(()) };
        let publication = &model.publications[id];
        let session = &model.sessions[delivery.session];
        let is_live = session.possible(publication).any(|found| found.retain_as_published);
        if is_live || session.hostile.is_some() {
            return Ok(());
        }
        Self::replaced(model, delivery, publication)?;
        self.order(model, delivery, id)
    }

    fn finish(&mut self, model: &Model, _owed: &Owed) -> Vec<Violation> {
        let mut found = Vec::new();
        for session in &model.sessions {
            let Some(connection) = model.served(session) else { continue };
            for subscription in session.all() {
                let is_fresh = session.connections.first() == Some(&connection.number)
                    && session.connections.len() == 1;
                found.extend(unread(model, session, subscription, is_fresh));
            }
        }
        found
    }
}

impl Retained {
    /// A value that was replaced before it was asked for.
    fn replaced(
        model: &Model,
        delivery: &Delivery,
        publication: &Publication,
    ) -> Result<(), Violation> {
        let session = &model.sessions[delivery.session];
        let mut readers = session.replays(publication).peekable();
        if readers.peek().is_none() {
            return Err(unasked(publication, delivery, session));
        }
        let mut newer = None;
        for reader in readers {
            match overwritten(model, publication, reader) {
                Some(write) => newer = Some(write),
                None => return Ok(()),
            }
        }
        let Some(newer) = newer else { return Ok(()) };
        let what = format!(
            "retained {} on {:?} reached {:?}, although {} had replaced it before it was asked for",
            publication.name(),
            publication.topic,
            session.client_id,
            newer.name(),
        );
        let events = [publication.first().index, newer.first().index, delivery.moment.index];
        Err(violation("RT", what, events))
    }

    /// Who asks after somebody has read a value does not read an older one.
    fn order(
        &mut self,
        model: &Model,
        delivery: &Delivery,
        id: PublicationId,
    ) -> Result<(), Violation> {
        let publication = &model.publications[id];
        let session = &model.sessions[delivery.session];
        let asked = session.replays(publication).map(|reader| reader.requested).min();
        let Some(asked) = asked else { return Ok(()) };
        let reads = self.reads.entry(publication.topic.clone()).or_default();
        let is_older_than = |other: &&Read| {
            let newer = &model.publications[other.publication];
            let was_read_before =
                || reads.iter().any(|one| one.publication == id && one.arrived < other.asked);
            other.publication != id
                && other.arrived < asked
                // What was not promised to last may be gone.
                && !model.has_outage(other.asked.index, usize::MAX)
                && (is_before(publication, newer) || is_one(publication) && was_read_before())
        };
        let newer = reads.iter().find(is_older_than).copied();
        reads.push(Read { publication: id, asked, arrived: delivery.moment });
        let Some(newer) = newer else { return Ok(()) };
        let what = format!(
            "retained {} on {:?} reached {:?}, which asked for it after {} was read",
            publication.name(),
            publication.topic,
            session.client_id,
            model.publications[newer.publication].name(),
        );
        let events = [publication.first(), newer.arrived, asked, delivery.moment];
        Err(violation("RT", what, events.map(|moment| moment.index)))
    }
}

/// Whether a value was surely written before another, each once.
fn is_before(publication: &Publication, other: &Publication) -> bool {
    let settled = publication.settled.filter(|_| !publication.is_will());
    settled.is_some_and(|settled| settled.index < other.first().index)
        && is_one(publication)
        && !other.is_will()
}

/// Whether a value can have been written once only.
fn is_one(publication: &Publication) -> bool {
    publication.instances == 1
        && publication.sends.len() == 1
        && !publication.may_come_late
        && !publication.muddled
}

fn unasked(publication: &Publication, delivery: &Delivery, session: &Session) -> Violation {
    let what = format!(
        "{} on {:?} reached {:?} as a retained message, which no subscription asked for",
        publication.name(),
        publication.topic,
        session.client_id,
    );
    violation("RT", what, [publication.first().index, delivery.moment.index])
}

/// Writes to the retained message of a topic, in the order in which they were first sent.
fn writes<'a>(model: &'a Model, topic: &'a str) -> impl Iterator<Item = &'a Publication> {
    model.publications.iter().filter(move |found| found.retain && found.topic == topic)
}

/// A write that surely came after `publication` and before `reader` was asked for.
fn overwritten<'a>(
    model: &'a Model,
    publication: &'a Publication,
    reader: &Subscription,
) -> Option<&'a Publication> {
    let settled = publication.settled.filter(|_| !publication.is_will())?;
    writes(model, &publication.topic).find(|write| {
        let is_later = write.first().index > settled.index && !write.is_will();
        let is_in_time = write.accepted.is_some_and(|at| at.index < reader.requested.index);
        is_later && is_in_time && !write.muddled
    })
}

/// A subscription that surely asked for a retained message which surely was there, and read
/// neither that nor a later one.
fn unread(
    model: &Model,
    session: &Session,
    subscription: &Subscription,
    is_fresh: bool,
) -> Option<Violation> {
    let granted = subscription.granted?;
    let is_new = subscription.retain_handling == 0
        || subscription.retain_handling == 1
            && session
                .all()
                .filter(|other| {
                    other.filter == subscription.filter && other.share == subscription.share
                })
                .count()
                == 1;
    let asks = subscription.share.is_none()
        && is_new
        && subscription.is_certain
        && subscription.end_requested.is_none()
        && granted.at_ms <= model.settled_by_ms()
        && (is_fresh || model.expiry_s(*session.connections.last()?) > 0);
    if !asks || subscription.qos == 0 {
        return None;
    }
    let mut topics: Vec<&str> = model
        .publications
        .iter()
        .filter(|found| found.retain && subscription.means(&found.topic))
        .map(|found| found.topic.as_str())
        .collect();
    topics.sort_unstable();
    topics.dedup();
    let missed =
        topics.into_iter().find_map(|topic| missed(model, session, subscription, topic))?;
    let what = format!(
        "{:?} subscribed to {:?} and did not read {}, retained on {:?}",
        session.client_id,
        subscription.filter,
        missed.name(),
        missed.topic,
    );
    let places = [missed.first().index, subscription.requested.index, granted.index];
    Some(violation("RT", what, places.into_iter().chain([model.now.index])))
}

fn missed<'a>(
    model: &'a Model,
    session: &Session,
    subscription: &Subscription,
    topic: &'a str,
) -> Option<&'a Publication> {
    let all: Vec<&Publication> = writes(model, topic).collect();
    let is_definite = |write: &&&Publication| {
        write.accepted.is_some_and(|at| at.index < subscription.requested.index)
    };
    let last = all.iter().filter(is_definite).max_by_key(|write| write.first())?;
    // Anything that may have come in between, taken it away or made it expire leaves it open.
    let is_open = all.iter().any(|write| {
        let is_earlier = write.settled.is_some_and(|at| at.index < last.first().index);
        let is_last = write.token == last.token;
        !is_last && (!is_earlier || write.is_will())
    });
    let is_own = subscription.no_local && last.client_id == session.client_id;
    let excused = is_open
        || is_own
        || last.qos == 0
        || last.muddled
        || last.payload.is_empty()
        || last.sends.len() > 1
        || may_be_expired(model, last, model.now.at_ms)
        || drops(model, &session.client_id, topic)
            .iter()
            .any(|notice| *notice > subscription.requested.index);
    let id = model.by_token.get(&last.token)?;
    let has_read =
        session.deliveries.get(id).into_iter().flatten().any(|delivery| {
            model.deliveries[*delivery].moment.index > subscription.requested.index
        });
    (!excused && !has_read).then_some(*last)
}

#[cfg(test)]
mod tests {
    use super::Retained;
    use crate::oracle::told::{Told, fails, passes, publish_of};
    use crate::packet::{Packet, Publish};

    fn two() -> Told {
        let mut told = Told::new();
        told.connect(1, "a").durable(2, "b").retain(1, "t", "one", 1);
        told
    }

    #[test]
    fn a_new_subscription_reads_the_last_value() {
        let mut told = two();
        told.retain(1, "t", "two", 1).subscribe(2, "t", 1).read_retained(2, "t", "two", 1).end();
        passes(Retained::default(), &told);
    }

    #[test]
    fn a_value_on_its_way_may_be_read_or_not() {
        for token in ["one", "two"] {
            let mut told = two();
            told.sent(1, Packet::Publish(Publish { retain: true, ..publish_of("t", "two", 1, 5) }));
            told.subscribe(2, "t", 1).read_retained(2, "t", token, 1);
            passes(Retained::default(), &told);
        }
    }

    #[test]
    fn a_subscription_may_ask_for_nothing() {
        let mut told = two();
        told.subscribe_with(2, "t", 0x21, 0).end();
        passes(Retained::default(), &told);
    }

    #[test]
    fn an_older_value_is_wrong() {
        let mut told = two();
        told.retain(1, "t", "two", 1).subscribe(2, "t", 1).read_retained(2, "t", "one", 1);
        fails(Retained::default(), &told, "RT");
    }

    #[test]
    fn no_value_is_wrong() {
        let mut told = two();
        told.subscribe(2, "t", 1).end();
        fails(Retained::default(), &told, "RT");
    }

    #[test]
    fn a_value_lost_by_a_crash_is_wrong() {
        let mut told = two();
        told.crash().resume(3, "b").subscribe(3, "t", 1).end();
        fails(Retained::default(), &told, "RT");
    }

    #[test]
    fn a_value_that_was_not_asked_for_is_wrong() {
        let mut told = two();
        told.subscribe_with(2, "t", 0x21, 0).read_retained(2, "t", "one", 1);
        fails(Retained::default(), &told, "RT");
    }

    /// "one" and "two" are written at the same time, and read in an order.
    fn read_in_turn(tokens: [&str; 3]) -> Told {
        let mut told = Told::new();
        for client in 1..=5 {
            told.durable(client, &format!("c{client}"));
        }
        for (on, token) in [(1, "one"), (2, "two")] {
            let publish = publish_of("t", token, 1, 5);
            told.sent(on, Packet::Publish(Publish { retain: true, ..publish }));
        }
        for (on, token) in (3..).zip(tokens) {
            told.subscribe(on, "t", 1).read_retained(on, "t", token, 1);
        }
        told
    }

    #[test]
    fn readers_one_after_the_other_see_one_order() {
        for tokens in [["one", "one", "two"], ["two", "one", "one"], ["one", "two", "two"]] {
            passes(Retained::default(), &read_in_turn(tokens));
        }
        for tokens in [["one", "two", "one"], ["two", "one", "two"]] {
            fails(Retained::default(), &read_in_turn(tokens), "RT");
        }
    }

    #[test]
    fn what_somebody_read_is_there_for_who_asks_later() {
        let reads = |is_asked_before| {
            let mut told = two();
            told.durable(3, "c");
            let publish = Publish { retain: true, ..publish_of("t", "two", 1, 5) };
            told.sent(1, Packet::Publish(publish));
            if is_asked_before {
                told.subscribe(3, "t", 1).subscribe(2, "t", 1).read_retained(2, "t", "two", 1);
            } else {
                told.subscribe(2, "t", 1).read_retained(2, "t", "two", 1).subscribe(3, "t", 1);
            }
            told.read_retained(3, "t", "one", 1);
            told
        };
        passes(Retained::default(), &reads(true));
        fails(Retained::default(), &reads(false), "RT");
    }
}
