//! WL: a will is published when its connection ended otherwise than by DISCONNECT 0x00, after its
//! delay or with its session, and never if the session was resumed before that.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{
    Connection, Dropped, Model, Publication, PublicationId, Seen, Session, token_of,
};
use crate::oracle::owed::{Owed, drops, may_be_expired};
use crate::oracle::properties as property;
use crate::oracle::rule::{Rule, violation};

/// Judges WL.
pub(crate) struct Wills;

impl Rule for Wills {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return still_open(model, seen, event) };
        let delivery = &model.deliveries[*delivery];
        let Some(id) = delivery.publication else { return Ok(()) };
        let publication = &model.publications[id];
        let Some(owner) = publication.will_of.and_then(|number| model.connections.get(&number))
        else {
            return Ok(());
        };
        if publication.sends.len() > 1 || owner.misbehaved.is_some() {
            return Ok(());
        }
        let Some(wrong) = too_early(model, publication, owner) else { return Ok(()) };
        let what = format!(
            "the will {} of {:?} on {:?} was published: {wrong}",
            publication.name(),
            owner.client_id,
            publication.topic,
        );
        Err(violation("WL", what, [publication.first().index, delivery.moment.index]))
    }

    fn finish(&mut self, model: &Model, _owed: &Owed) -> Vec<Violation> {
        if model.end.is_none() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (id, publication) in model.publications.iter().enumerate() {
            let owner = publication.will_of.and_then(|number| model.connections.get(&number));
            let Some(owner) = owner else { continue };
            if is_due(model, publication, owner) {
                let sessions = model.sessions.iter();
                found.extend(
                    sessions.filter_map(|session| missing(model, id, publication, owner, session)),
                );
            }
        }
        found
    }
}

/// A connection that answers is open, and its will was not to be published before.
fn still_open(model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
    let (Seen::Answered(answered), What::Received { connection, .. }) = (seen, &event.what) else {
        return Ok(());
    };
    let Some(connection) = model.connections.get(connection) else { return Ok(()) };
    let will = connection.connect.as_ref().and_then(|(_, connect)| connect.will.as_ref());
    let Some(token) = will.map(|will| token_of(&will.payload)) else { return Ok(()) };
    let id = model.by_token.get(token).filter(|id| model.publications[**id].sends.len() == 1);
    let Some(id) = id else { return Ok(()) };
    let copies = model.sessions.iter().filter_map(|session| session.deliveries.get(id)).flatten();
    let mut early = copies.map(|delivery| model.deliveries[*delivery].moment);
    let Some(read) = early.find(|read| read.index < answered.moment.index) else { return Ok(()) };
    let what = format!(
        "the will {} of {:?} was published while its connection was open",
        String::from_utf8_lossy(token),
        connection.client_id,
    );
    Err(violation("WL", what, [read.index, answered.moment.index, model.now.index]))
}

/// The will's delay, or what is left of the session if that is less, in milliseconds.
fn delay_ms(model: &Model, publication: &Publication, owner: &Connection) -> u64 {
    delay_within_ms(publication, model.expiry_s(owner.number))
}

/// How long the will waits at most: DISCONNECT may have set another expiry.
fn longest_delay_ms(model: &Model, publication: &Publication, owner: &Connection) -> u64 {
    let said_s = owner.goodbye.and_then(|goodbye| goodbye.expiry_s).unwrap_or(0);
    delay_within_ms(publication, model.expiry_s(owner.number).max(said_s))
}

fn delay_within_ms(publication: &Publication, expiry_s: u32) -> u64 {
    let delay_s = property::number(&publication.properties, property::WILL_DELAY).unwrap_or(0);
    u64::from(delay_s.min(expiry_s)) * 1000
}

fn too_early(model: &Model, publication: &Publication, owner: &Connection) -> Option<String> {
    let closing = model.closing(owner);
    let has_left = model.has_surely_left(owner);
    if has_left && owner.goodbye.is_some_and(|goodbye| goodbye.reason == 0) {
        return Some("its client had sent DISCONNECT 0x00".to_owned());
    }
    let shortened = owner.goodbye.is_some_and(|goodbye| goodbye.expiry_s.is_some())
        || owner.ordered_out.or(owner.may_be_ordered_out).is_some();
    let due_ms =
        model.earliest_ms(closing.from_ms, closing.to_ms, delay_ms(model, publication, owner));
    if model.later(owner).next().is_none() && model.now.at_ms < due_ms && !shortened {
        return Some(format!("it was due {} ms later at the earliest", due_ms - model.now.at_ms));
    }
    let resumed = model.later(owner).find(|other| {
        let is_same = other.session.is_some() && other.session == owner.session;
        let in_time = other.connack.as_ref().is_some_and(|at| at.moment.at_ms < due_ms);
        is_same && in_time && other.connack.as_ref().is_some_and(|connack| connack.present)
    })?;
    let is_only = model.later(owner).count() == 1 && !shortened && owner.connack.is_some();
    is_only.then(|| format!("connection {} had resumed the session before", resumed.number))
}

/// When the will is published at the latest, if no other connection of its client comes, in milliseconds.
pub(super) fn latest_due_ms(model: &Model, publication: &Publication, owner: &Connection) -> u64 {
    let delay_ms = longest_delay_ms(model, publication, owner);
    let due_ms = model.latest_ms(model.closing(owner).to_ms, delay_ms);
    due_ms.saturating_add(model.bounds.slack_ms)
}

/// Whether the will surely was to be published by the end.
fn is_due(model: &Model, publication: &Publication, owner: &Connection) -> bool {
    let delay_ms = longest_delay_ms(model, publication, owner);
    let delayed_ms = latest_due_ms(model, publication, owner);
    let came_in_time = || {
        let is_in_time = |other: &&Connection| {
            other.connect.as_ref().is_none_or(|(at, _)| at.at_ms <= delayed_ms)
        };
        model.later(owner).filter(is_in_time)
    };
    // Whoever ends the session within the delay has it published at once [MQTT-3.1.3-9].
    let due_ms = match came_in_time().filter_map(began_anew_ms).max() {
        Some(anew_ms) => delayed_ms.min(anew_ms.saturating_add(model.bounds.slack_ms)),
        None => delayed_ms,
    };
    owner.connack.is_some()
        && owner.ended.is_some()
        && owner.goodbye.is_none_or(|goodbye| goodbye.reason != 0)
        && owner.misbehaved.is_none()
        && publication.sends.len() == 1
        && due_ms <= model.settled_by_ms()
        && !model.may_hold_expiry()
        && !may_be_expired(model, publication, model.now.at_ms)
        // A connection that came within the delay may have cancelled it, unless it began another session.
        && (delay_ms == 0 || came_in_time().all(|other| began_anew_ms(other).is_some()))
        && model.later(owner).all(|other| other.connack.is_some())
        && !is_refused(model, &owner.client_id, &publication.topic)
}

/// When the client of a connection knew, at the latest, that the session before is gone.
fn began_anew_ms(connection: &Connection) -> Option<u64> {
    let (_, connect) = connection.connect.as_ref()?;
    let connack = connection.connack.as_ref()?;
    // 3.1 does not tell whether there was a session.
    let is_new = connect.clean_start || connect.level > 3 && !connack.present;
    is_new.then_some(connack.moment.at_ms)
}

/// Whether the broker said that it refused a will of the client on the topic.
fn is_refused(model: &Model, client_id: &str, topic: &str) -> bool {
    let is_meant =
        |drop: &&Dropped| drop.is_of_will() && drop.is_for(model, client_id) && drop.topic == topic;
    model.drops.iter().any(|drop| is_meant(&drop))
}

fn missing(
    model: &Model,
    id: PublicationId,
    publication: &Publication,
    owner: &Connection,
    session: &Session,
) -> Option<Violation> {
    model.served(session)?;
    let closing = model.closing(owner);
    let is_stable = session.possible(publication).any(|found| {
        found.share.is_none()
            && found.is_certain
            && found.qos.min(publication.qos) > 0
            && found.granted.is_some_and(|granted| granted.at_ms < closing.from_ms)
            && found.end_requested.is_none()
    });
    let is_dropped = drops(model, &session.client_id, &publication.topic)
        .iter()
        .any(|notice| *notice > publication.first().index);
    if !is_stable || is_dropped || session.deliveries.contains_key(&id) {
        return None;
    }
    let what = format!(
        "the will {} of {:?} on {:?} is owed to {:?} and was never published",
        publication.name(),
        owner.client_id,
        publication.topic,
        session.client_id,
    );
    let ended = owner.ended.map(|(at, _)| at.index);
    let events = [publication.first().index, model.now.index];
    Some(violation("WL", what, events.into_iter().chain(ended)))
}

#[cfg(test)]
mod tests {
    use super::Wills;
    use crate::history::{Beside, What};
    use crate::oracle::model::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{
        Told, connect_of, fails, fails_within, number, passes, passes_within, will_of,
    };
    use crate::packet::{Connect, Packet};
    use crate::plan::BrokerFault;

    fn with_will(delay_s: u32) -> Told {
        let mut told = Told::new();
        told.durable(1, "b").subscribe(1, "w", 1).wait(1000);
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        let will = Some(will_of("w", "will", delay_s));
        told.enters(2, Connect { will, properties, ..connect_of("a") }, false).wait(1000);
        told
    }

    #[test]
    fn a_will_is_published_after_its_delay() {
        let mut told = with_will(10);
        told.ping(2).lose(2).wait(10_000).read(1, "w", "will", 1).end();
        passes(Wills, &told);
    }

    #[test]
    fn disconnect_takes_the_will_away() {
        let mut told = with_will(0);
        told.leave(2, 0).end();
        passes(Wills, &told);
    }

    #[test]
    fn disconnect_for_another_reason_leaves_the_will() {
        for reason in [0x04, 0x80, 0x83, 0x98] {
            passes(Wills, with_will(0).leave(2, reason).read(1, "w", "will", 1).end());
            fails(Wills, with_will(0).leave(2, reason).end(), "WL");
        }
    }

    #[test]
    fn coming_back_in_time_takes_the_will_away() {
        let mut told = with_will(10);
        told.lose(2).wait(5_000).resume(3, "a").end();
        passes(Wills, &told);
    }

    #[test]
    fn a_longer_session_delays_the_will_too() {
        let comes_back = |expiry_s, wait_ms| {
            let mut told = with_will(5_000);
            let properties = vec![number(property::SESSION_EXPIRY, expiry_s)];
            told.sent(2, Packet::Disconnect { reason: 0x98, properties }).lose(2);
            told.wait(wait_ms).resume(3, "a").end();
            told
        };
        passes(Wills, &comes_back(4_000, 2_000_000));
        fails(Wills, &comes_back(1_000, 2_000_000), "WL");
    }

    #[test]
    fn beginning_anew_within_the_delay_publishes_the_will() {
        let anew = || {
            let mut told = with_will(100);
            told.lose(2).wait(5_000).connect(3, "a");
            told
        };
        passes(Wills, anew().read(1, "w", "will", 1).end());
        fails(Wills, anew().end(), "WL");
        let mut told = with_will(100);
        passes(Wills, told.lose(2).wait(5_000).resume(3, "a").end());
        let mut taken_over = with_will(100);
        taken_over.asks_in(3, connect_of("a")).dismissed(2, 0x8e).let_in(3, false);
        fails(Wills, taken_over.end(), "WL");
    }

    #[test]
    fn a_crash_publishes_wills() {
        let mut told = with_will(0);
        told.crash().resume(3, "b").read(3, "w", "will", 1).end();
        passes(Wills, &told);
    }

    #[test]
    fn disconnect_does_not_reach_a_broker_that_is_gone() {
        let mut told = with_will(0);
        told.push(What::Broker(BrokerFault::PowerCut)).push(What::Broker(BrokerFault::Start));
        told.leave(2, 0).resume(3, "b").read(3, "w", "will", 1).end();
        passes(Wills, &told);
    }

    #[test]
    fn a_will_that_the_broker_said_it_refused_is_not_owed() {
        let mut told = with_will(0);
        told.lose(2).dropped("a", "w", What::WILL_REFUSED).end();
        passes(Wills, &told);
    }

    #[test]
    fn a_clean_start_may_come_after_a_later_connect() {
        let mut told = Told::new();
        told.durable(1, "b").subscribe(1, "w", 1).wait(1000).asks_in(3, connect_of("a"));
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        let will = Some(will_of("w", "will", 10));
        told.enters(2, Connect { will, properties, ..connect_of("a") }, false);
        told.dismissed(2, 0x8e).read(1, "w", "will", 1).let_in(3, false).end();
        passes(Wills, &told);
    }

    #[test]
    fn disconnect_behind_a_refusal_without_words_may_never_be_read() {
        let mut told = Told::new();
        told.durable(1, "b").subscribe(1, "w", 1).wait(1000);
        let will = Some(will_of("w", "will", 0));
        told.enters(2, Connect { will, level: 3, ..connect_of("a") }, false).wait(1000);
        let filters = vec![("t".to_owned(), 1)];
        told.sent(2, Packet::Subscribe { id: 1, filters, properties: Vec::new() });
        told.leave(2, 0).read(1, "w", "will", 1).end();
        passes(Wills, &told);
    }

    #[test]
    fn a_token_may_end_before_disconnect_arrives() {
        let bounds = |lifetime_ms| Bounds {
            latency_ms: 100,
            slack_ms: 500,
            token_lifetime_ms: Some(lifetime_ms),
            ..Bounds::default()
        };
        let mut told = with_will(0);
        told.leave(2, 0).read(1, "w", "will", 1).end();
        passes_within(bounds(1_050), Wills, &told);
        fails_within(bounds(1_500), Wills, &told, "WL");
    }

    #[test]
    fn a_will_after_disconnect_is_wrong() {
        let mut told = with_will(0);
        told.leave(2, 0).read(1, "w", "will", 1);
        fails(Wills, &told, "WL");
    }

    #[test]
    fn a_will_before_its_delay_is_wrong() {
        let mut told = with_will(10);
        told.lose(2).wait(5_000).read(1, "w", "will", 1);
        fails(Wills, &told, "WL");
    }

    #[test]
    fn a_will_of_a_client_that_came_back_is_wrong() {
        let mut told = with_will(10);
        told.lose(2).wait(5_000).resume(3, "a").wait(10_000).read(1, "w", "will", 1);
        fails(Wills, &told, "WL");
    }

    #[test]
    fn a_will_of_an_open_connection_is_wrong() {
        let mut told = with_will(0);
        told.read(1, "w", "will", 1).ping(2);
        fails(Wills, &told, "WL");
    }

    #[test]
    fn a_will_that_never_comes_is_wrong() {
        let mut told = with_will(0);
        told.lose(2).end();
        fails(Wills, &told, "WL");
    }

    #[test]
    fn a_session_that_is_ended_by_order_publishes_its_will_at_once() {
        let mut told = with_will(60);
        told.lose(2).beside(Beside::SessionEnded { client_id: "a".to_owned() });
        passes(Wills, told.read(1, "w", "will", 1).end());
        let mut other = with_will(60);
        other.lose(2).beside(Beside::SessionEnded { client_id: "c".to_owned() });
        fails(Wills, other.read(1, "w", "will", 1), "WL");
    }

    #[test]
    fn a_jump_of_the_clock_publishes_no_will_until_the_time_is_confirmed() {
        let by_ms = 48 * 60 * 60 * 1000;
        let jumped = || {
            let mut told = with_will(60);
            told.lose(2).wait(by_ms).beside(Beside::ClockStepped { by_ms });
            told
        };
        passes(Wills, &jumped());
        fails(Wills, jumped().read(1, "w", "will", 1), "WL");
        passes(Wills, jumped().beside(Beside::TimeConfirmed).read(1, "w", "will", 1));
    }
}
