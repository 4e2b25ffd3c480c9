//! AU: what is published and what is delivered is allowed by the rules in force at that time, and
//! nothing is refused for want of permission that the rules allow.
//!
//! A change of the rules and what clients do meet at the broker, where no client sees which came
//! first. Something is wrong only if it is wrong under every set of rules that was in force while
//! it can have happened.

use crate::history::{Beside, Event, Violation, What};
use crate::oracle::model::{
    Access, Answered, Connection, Delivery, Model, Publication, PublicationId, Request, Seen,
};
use crate::oracle::rule::{Rule, read, violation};
use crate::oracle::topic;
use crate::packet::Packet;

/// Not authorized.
const NOT_AUTHORIZED: u8 = 0x87;
/// How the broker names a message that is dropped for want of permission.
const DROPPED: &str = "NotAuthorized";

/// Judges AU.
pub(crate) struct Permitted;

impl Rule for Permitted {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        match (&event.what, seen) {
            (What::Beside(Beside::Answered { is_repeated: true, .. }), _) => Ok(()),
            (What::Received { connection, packet: Packet::ConnAck { reason, .. }, .. }, _) => {
                let Some(connection) = model.connections.get(connection) else { return Ok(()) };
                let_in(model, connection, *reason)
            }
            (_, Seen::Answered(answered)) => {
                let Some((connection, packet)) = read(event) else { return Ok(()) };
                let Some(connection) = model.connections.get(&connection) else { return Ok(()) };
                answer(model, connection, &packet, answered)
            }
            (What::Received { connection, .. }, Seen::Delivered(delivery)) => {
                let Some(connection) = model.connections.get(connection) else { return Ok(()) };
                delivered(model, connection, &model.deliveries[*delivery])
            }
            (What::Dropped { receiver, topic, cause }, _) if cause == DROPPED => {
                dropped(model, receiver, topic)
            }
            (_, _) => Ok(()),
        }
    }
}

fn answer(
    model: &Model,
    connection: &Connection,
    packet: &Packet,
    answered: &Answered,
) -> Result<(), Violation> {
    match (&answered.request, packet) {
        (Request::Publish(id, _), Packet::Ack { reason, .. }) => {
            acknowledged(model, connection, *id, answered, *reason)
        }
        (Request::Subscribe(filters), Packet::SubAck { reasons, .. }) => {
            let mut pairs = filters.iter().zip(reasons);
            pairs.try_for_each(|((whole, _), reason)| {
                granted(model, connection, answered, whole, *reason)
            })
        }
        (_, _) => Ok(()),
    }
}

/// CONNACK for a client of whom it is known who it is: its will must be one that it may publish.
fn let_in(model: &Model, connection: &Connection, reason: u8) -> Result<(), Violation> {
    let Some((known, _)) = &connection.identity else { return Ok(()) };
    let Some((sent, connect)) = &connection.connect else { return Ok(()) };
    let Some(will) = connect.will.as_ref().filter(|_| connection.misbehaved.is_none()) else {
        return Ok(());
    };
    let mut rules = model.rules_since(*known.max(sent)).iter();
    let may_not = |access: &Access| access.denies_publish(&connection.client_id, &will.topic);
    let wrong = match reason {
        NOT_AUTHORIZED if !rules.any(may_not) => "is refused although it may publish its will",
        0 if rules.all(may_not) => "is let in with a will that it may not publish",
        _ => return Ok(()),
    };
    let what = format!("{:?} {wrong}, on {:?}", connection.client_id, will.topic);
    Err(violation("AU", what, [sent.index, model.now.index]))
}

/// PUBACK or PUBREC for a publication that was sent once, or the answer to a request.
fn acknowledged(
    model: &Model,
    connection: &Connection,
    id: PublicationId,
    answered: &Answered,
    reason: u8,
) -> Result<(), Violation> {
    let publication = &model.publications[id];
    let (client_id, since) = if connection.is_request {
        (&connection.client_id, answered.moment)
    } else {
        (&publication.client_id, publication.first())
    };
    if publication.sends.len() > 1 && !connection.is_request || publication.muddled {
        return Ok(());
    }
    let mut rules = model.rules_since(since).iter();
    let may_not = |access: &Access| access.denies_publish(client_id, &publication.topic);
    let wrong = match reason {
        NOT_AUTHORIZED if !rules.any(may_not) => "was refused although it is allowed",
        0..0x80 if rules.all(may_not) => "was accepted although its client may not publish there",
        _ => return Ok(()),
    };
    let what = format!("{} on {:?} {wrong}", publication.name(), publication.topic);
    Err(violation("AU", what, [answered.moment.index, model.now.index]))
}

/// SUBACK for one filter.
fn granted(
    model: &Model,
    connection: &Connection,
    answered: &Answered,
    whole: &str,
    reason: u8,
) -> Result<(), Violation> {
    let filter = topic::split_share(whole).map_or(whole, |(_, filter)| filter);
    let mut rules = model.rules_since(answered.moment).iter();
    let wrong = match reason {
        NOT_AUTHORIZED
            if !rules.any(|access| access.may_deny_filter(&connection.client_id, filter)) =>
        {
            "is refused although it is allowed"
        }
        0..0x80 if rules.all(|access| access.denies_filter(&connection.client_id, filter)) => {
            "is granted although it is denied"
        }
        _ => return Ok(()),
    };
    let what = format!("{whole:?} to {:?} {wrong}", connection.client_id);
    Err(violation("AU", what, [answered.moment.index, model.now.index]))
}

fn delivered(model: &Model, connection: &Connection, delivery: &Delivery) -> Result<(), Violation> {
    let Some(id) = delivery.publication else { return Ok(()) };
    let session = &model.sessions[delivery.session];
    // What has begun goes on.
    if session.deliveries.get(&id).is_some_and(|known| known.len() > 1) || delivery.dup {
        return Ok(());
    }
    let publication = &model.publications[id];
    let name = publication.name();
    if never_publishable(model, publication) {
        let what = format!(
            "{name} on {:?} was published although {:?} may not publish there",
            publication.topic, publication.client_id,
        );
        return Err(violation("AU", what, [publication.first().index, delivery.moment.index]));
    }
    // A delivery on its way is as old as the network lets it be.
    let sent_ms = model.sent_from_ms(connection, delivery.moment.at_ms);
    let rules = if model.is_exact() {
        model.rules_since(delivery.moment)
    } else if model.is_prompt(connection, sent_ms) {
        model.rules_since_ms(sent_ms)
    } else {
        model.rules_since(publication.first())
    };
    let reader = &session.client_id;
    if rules.iter().all(|access| access.denies_read(reader, &publication.topic)) {
        let what =
            format!("{name} on {:?} reached {reader:?}, which may not read it", publication.topic,);
        return Err(violation("AU", what, [publication.first().index, delivery.moment.index]));
    }
    Ok(())
}

/// Whether no rules since the publication was sent, or the will's connection last known open,
/// allowed to publish it.
fn never_publishable(model: &Model, publication: &Publication) -> bool {
    let owner = publication.will_of.and_then(|number| model.connections.get(&number));
    let since = owner.map_or(publication.first(), |owner| owner.evidence);
    let denies =
        |access: &Access| access.denies_publish(&publication.client_id, &publication.topic);
    model.rules_since(since).iter().all(denies)
}

/// The broker's word that a message is dropped for want of permission.
fn dropped(model: &Model, receiver: &str, topic: &str) -> Result<(), Violation> {
    let is_right = if receiver.starts_with("$share/") {
        !model.is_exact() || model.members(receiver).all(|member| denies_read(model, member, topic))
    } else {
        denies_read(model, receiver, topic)
    };
    if is_right {
        return Ok(());
    }
    let what = format!("a message on {topic:?} is dropped for {receiver:?}, which may read it");
    Err(violation("AU", what, [model.now.index]))
}

/// Whether the rules of now may deny a client to read a topic.
fn denies_read(model: &Model, client_id: &str, topic: &str) -> bool {
    // The broker tells of a drop behind what changed in the same millisecond.
    let rules = if model.is_exact() {
        model.rules_since(model.now)
    } else {
        model.rules_since_ms(model.now.at_ms)
    };
    rules.iter().any(|access| access.denies_read(client_id, topic))
}

#[cfg(test)]
mod tests {
    use super::{DROPPED, Permitted};
    use std::collections::BTreeMap;

    use crate::history::{Beside, Permit, PermitRule, RuleList, What};
    use crate::oracle::model::Bounds;
    use crate::oracle::told::{
        Told, connect_of, fails, fails_within, passes, passes_within, publish_of, will_of,
    };
    use crate::packet::{AckKind, Connect, Packet};
    use crate::plan::Denial;

    fn two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t/#", 1);
        told
    }

    fn deny(told: &mut Told, client_id: &str, publish: bool, read: bool) {
        let (client_id, filter) = (client_id.to_owned(), "t/#".to_owned());
        told.push(What::Denied(vec![Denial { client_id, filter, publish, read }]));
    }

    #[test]
    fn what_is_allowed_arrives() {
        let mut told = two();
        deny(&mut told, "c", true, true);
        told.publish(1, "t/1", "one", 1).read(2, "t/1", "one", 1).end();
        passes(Permitted, &told);
    }

    #[test]
    fn a_publication_on_its_way_while_the_rules_change_may_go_both_ways() {
        for reason in [0, 0x87] {
            let mut told = two();
            told.publish_unanswered(1, "t/1", "one", 1, 5);
            deny(&mut told, "a", true, false);
            told.got_ack(1, AckKind::PubAck, 5, reason);
            passes(Permitted, &told);
        }
    }

    #[test]
    fn what_is_denied_is_refused() {
        let mut told = two();
        deny(&mut told, "", true, true);
        told.publish_unanswered(1, "t/1", "one", 1, 5).got_ack(1, AckKind::PubAck, 5, 0x87);
        let filters = vec![("t/#".to_owned(), 1)];
        told.sent(1, Packet::Subscribe { id: 6, filters, properties: Vec::new() });
        told.got(1, Packet::SubAck { id: 6, reasons: vec![0x87], properties: Vec::new() });
        passes(Permitted, &told);
    }

    #[test]
    fn accepting_what_is_denied_is_wrong() {
        let mut told = two();
        deny(&mut told, "a", true, false);
        told.publish(1, "t/1", "one", 1);
        fails(Permitted, &told, "AU");
        let mut told = two();
        deny(&mut told, "a", false, true);
        told.subscribe(1, "t/#", 1);
        fails(Permitted, &told, "AU");
    }

    #[test]
    fn refusing_what_is_allowed_is_wrong() {
        let mut told = two();
        deny(&mut told, "b", true, true);
        told.publish_unanswered(1, "t/1", "one", 1, 5).got_ack(1, AckKind::PubAck, 5, 0x87);
        fails(Permitted, &told, "AU");
        fails(Permitted, two().dropped("b", "t/1", DROPPED), "AU");
    }

    #[test]
    fn reading_what_is_denied_is_wrong() {
        let mut told = two();
        told.publish(1, "t/1", "one", 1);
        deny(&mut told, "b", false, true);
        told.wait(1000).read(2, "t/1", "one", 1);
        fails(Permitted, &told, "AU");
    }

    #[test]
    fn a_denied_message_at_qos_0_and_a_denied_will_are_wrong() {
        let mut told = two();
        deny(&mut told, "a", true, false);
        told.sent(1, Packet::Publish(publish_of("t/1", "one", 0, 0))).read(2, "t/1", "one", 0);
        fails(Permitted, &told, "AU");
        let mut told = two();
        let will = Some(will_of("t/1", "will", 0));
        told.enters(3, Connect { will, ..connect_of("d") }, false);
        deny(&mut told, "d", true, false);
        told.ping(3).lose(3).read(2, "t/1", "will", 1);
        fails(Permitted, &told, "AU");
    }

    /// From now on a client may do nothing but this, on these topics.
    fn permit(told: &mut Told, client_id: &str, actions: &str, pattern: &str) {
        let rule = PermitRule {
            allows: true,
            publish: actions.contains('p'),
            subscribe: actions.contains('s'),
            receive: actions.contains('r'),
            pattern: pattern.to_owned(),
        };
        let lists = vec![RuleList { rules: vec![rule], default_allows: false }];
        let permits = BTreeMap::from([(client_id.to_owned(), Permit { lists, inbox: None })]);
        told.beside(Beside::Permitted(permits));
    }

    fn subscribe_refused(told: &mut Told, filter: &str) {
        let filters = vec![(filter.to_owned(), 1)];
        told.sent(2, Packet::Subscribe { id: 6, filters, properties: Vec::new() });
        told.got(2, Packet::SubAck { id: 6, reasons: vec![0x87], properties: Vec::new() });
    }

    #[test]
    fn a_client_may_do_what_its_own_rules_say_and_others_what_they_like() {
        let mut told = two();
        permit(&mut told, "b", "sr", "t/+");
        told.publish(1, "t/1", "one", 1).read(2, "t/1", "one", 1).subscribe(2, "t/+", 1);
        subscribe_refused(&mut told, "t/2/3");
        told.publish(1, "t/2/3", "two", 1).dropped("b", "t/2/3", DROPPED);
        told.publish_unanswered(2, "t/1", "three", 1, 9).got_ack(2, AckKind::PubAck, 9, 0x87);
        told.publish(1, "t/1", "four", 1).read(2, "t/1", "four", 1).end();
        passes(Permitted, &told);
    }

    #[test]
    fn what_its_own_rules_do_not_say_is_wrong() {
        let ruled = || {
            let mut told = two();
            permit(&mut told, "b", "sr", "t/+");
            told
        };
        fails(Permitted, ruled().publish(2, "t/1", "one", 1), "AU");
        fails(Permitted, ruled().subscribe(2, "t/#", 1), "AU");
        fails(Permitted, ruled().dropped("b", "t/1", DROPPED), "AU");
        let mut refused = ruled();
        subscribe_refused(&mut refused, "t/+");
        fails(Permitted, &refused, "AU");
        let mut read = ruled();
        read.publish(1, "t/1/2", "one", 1).wait(1000).read(2, "t/1/2", "one", 1);
        fails(Permitted, &read, "AU");
        let mut half = two();
        permit(&mut half, "b", "r", "t/+");
        half.publish(1, "t/1", "one", 1).wait(1000).read(2, "t/1", "one", 1);
        fails(Permitted, &half, "AU");
    }

    #[test]
    fn where_nothing_is_on_its_way_the_rules_of_that_moment_hold() {
        let exact = || Bounds { latency_ms: 0, slack_ms: 0, ..Bounds::default() };
        let at_once = |mut told: Told| {
            told.events.iter_mut().for_each(|event| event.at_ms = 0);
            told
        };
        let told = |is_before: bool| {
            let mut told = two();
            told.publish(1, "t/1", "one", 1);
            if !is_before {
                told.read(2, "t/1", "one", 1);
            }
            deny(&mut told, "b", false, true);
            if is_before {
                told.read(2, "t/1", "one", 1);
            }
            at_once(told)
        };
        passes_within(exact(), Permitted, &told(false));
        fails_within(exact(), Permitted, &told(true), "AU");
        let share = |client_id: &str| {
            let mut told = two();
            told.subscribe(2, "$share/g/t/#", 1).subscribe(1, "$share/g/t/#", 1);
            deny(&mut told, client_id, false, true);
            told.dropped("$share/g/t/#", "t/1", DROPPED);
            at_once(told)
        };
        passes_within(exact(), Permitted, &share(""));
        fails_within(exact(), Permitted, &share("a"), "AU");
    }

    #[test]
    fn a_will_is_judged_with_its_connect_by_who_its_client_is() {
        let asks = |pattern: &str, reason| {
            let (mut told, will) = (two(), Some(will_of("w", "will", 0)));
            told.asks_in(3, Connect { will, ..connect_of("d") });
            permit(&mut told, "d", "p", pattern);
            told.beside(Beside::Identified { connection: 3, identity: None });
            told.got(3, Packet::ConnAck { session_present: false, reason, properties: Vec::new() });
            told
        };
        passes(Permitted, &asks("w", 0));
        passes(Permitted, &asks("v", 0x87));
        fails(Permitted, &asks("v", 0), "AU");
        fails(Permitted, &asks("w", 0x87), "AU");
    }

    #[test]
    fn a_request_goes_by_the_rules_of_whoever_asks() {
        let asks = |pattern: &str, reason| {
            let mut told = two();
            permit(&mut told, "request 7", "p", pattern);
            told.request(7, "", "t/1", "one").answered(7, reason, false);
            told
        };
        passes(Permitted, asks("t/1", 0).read(2, "t/1", "one", 1));
        passes(Permitted, &asks("u", 0x87));
        fails(Permitted, &asks("u", 0), "AU");
        fails(Permitted, &asks("t/1", 0x87), "AU");
    }
}
