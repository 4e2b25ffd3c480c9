//! NS: nothing arrives that nobody published, that no subscription asked for, or that was refused.
//! What only an earlier session of the same client asked for is SS, which has a file of its own.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Delivery, Model, Publication, Seen, Session};
use crate::oracle::rule::{Rule, only, violation};
use crate::packet::Packet;

/// Judges NS.
pub(crate) struct NothingSpurious;

impl Rule for NothingSpurious {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        behind_refusal(model, event)?;
        only("NS", Self::arrival(model, seen))
    }
}

impl NothingSpurious {
    /// Whether what arrives was to be expected: NS or SS, if it was not.
    pub(super) fn arrival(model: &Model, seen: &Seen) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let session = &model.sessions[delivery.session];
        // The broker's own topics.
        if delivery.topic.starts_with("$SYS/") {
            return asked_for(delivery, session);
        }
        let Some(id) = delivery.publication else { return unknown(model, delivery, session) };
        let publication = &model.publications[id];
        if publication.is_refused() && !publication.is_will() {
            let reason = publication.refused.map_or(0, |(_, reason)| reason);
            let what = format!(
                "{} on {:?} was refused with {reason:#04x} and reached {:?} all the same",
                publication.name(),
                publication.topic,
                session.client_id,
            );
            let refused = publication.refused.map(|(at, _)| at.index);
            let events = [publication.first().index, delivery.moment.index];
            return Err(violation("NS", what, events.into_iter().chain(refused)));
        }
        if is_behind_refusal(model, publication) {
            return Err(refused_at_the_door(model, publication, delivery));
        }
        let is_possible = session.possible(publication).next().is_some()
            || session.replays(publication).next().is_some();
        if is_possible { Ok(()) } else { Err(unasked(model, delivery, session, publication)) }
    }
}

/// CONNACK refuses: what was sent right behind that CONNECT has no effect [MQTT-3.1.4-6].
fn behind_refusal(model: &Model, event: &Event) -> Result<(), Violation> {
    let What::Received { connection, packet: Packet::ConnAck { reason: 1.., .. }, .. } =
        &event.what
    else {
        return Ok(());
    };
    let is_meant = |publication: &Publication| {
        publication.sends.iter().any(|send| send.connection == *connection)
            && is_behind_refusal(model, publication)
    };
    let early = model.deliveries.iter().find_map(|delivery| {
        let publication = &model.publications[delivery.publication?];
        is_meant(publication).then_some((publication, delivery))
    });
    early.map_or(Ok(()), |(publication, delivery)| {
        Err(refused_at_the_door(model, publication, delivery))
    })
}

/// Whether a publication was only ever sent behind a CONNECT that was refused.
fn is_behind_refusal(model: &Model, publication: &Publication) -> bool {
    !publication.is_will()
        && publication.sends.iter().all(|send| {
            model
                .connections
                .get(&send.connection)
                .is_some_and(|found| found.refused.is_some() && found.misbehaved.is_none())
        })
}

fn refused_at_the_door(model: &Model, publication: &Publication, delivery: &Delivery) -> Violation {
    let what = format!(
        "{} on {:?} was sent behind a CONNECT that was refused and reached {:?} all the same",
        publication.name(),
        publication.topic,
        model.sessions[delivery.session].client_id,
    );
    let refused = model.connections.get(&publication.first_connection());
    let refused = refused.and_then(|found| found.refused).map(|at| at.index);
    let events = [publication.first().index, delivery.moment.index];
    violation("NS", what, events.into_iter().chain(refused))
}

fn unasked(
    model: &Model,
    delivery: &Delivery,
    session: &Session,
    publication: &Publication,
) -> Violation {
    let client = model.clients.get(&session.client_id);
    let is_old = client.into_iter().flat_map(|client| &client.sessions).any(|earlier| {
        *earlier != delivery.session
            && model.sessions[*earlier].possible(publication).next().is_some()
    });
    let own = session.client_id == publication.client_id;
    let what = format!(
        "{} on {:?}, published by {:?}, reached {:?}, whose session had no subscription for it{}{}",
        publication.name(),
        publication.topic,
        publication.client_id,
        session.client_id,
        if own { "; it is its own" } else { "" },
        if is_old { "; an earlier session had" } else { "" },
    );
    let code = if is_old { "SS" } else { "NS" };
    violation(code, what, [publication.first().index, delivery.moment.index])
}

/// An empty payload that clears a retained message, or one that no client sent.
fn unknown(model: &Model, delivery: &Delivery, session: &Session) -> Result<(), Violation> {
    let is_empty = delivery.payload.is_empty();
    let clears: Vec<_> = model.clears(&delivery.topic).filter(|_| is_empty).collect();
    let is_possible =
        |found: &&&Publication| !found.is_refused() && session.possible(found).next().is_some();
    if clears.iter().any(|found| is_possible(&found)) {
        return Ok(());
    }
    if let Some(latest) = clears.last() {
        return Err(unasked(model, delivery, session, latest));
    }
    let what = format!(
        "{:?} on {:?} reached {:?}, and nobody published it",
        String::from_utf8_lossy(&delivery.payload),
        delivery.topic,
        session.client_id,
    );
    Err(violation("NS", what, [delivery.moment.index]))
}

/// A message of the broker's own.
fn asked_for(delivery: &Delivery, session: &Session) -> Result<(), Violation> {
    let is_meant = session.all().any(|found| {
        let is_over = found.ended.is_some_and(|ended| ended.index < session.started.index);
        !found.refused && !is_over && found.means(&delivery.topic)
    });
    if is_meant {
        return Ok(());
    }
    let what = format!(
        "a message on {:?} reached {:?}, whose session had no subscription for it",
        delivery.topic, session.client_id,
    );
    Err(violation("NS", what, [delivery.moment.index]))
}

#[cfg(test)]
mod tests {
    use super::NothingSpurious;
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, connect_of, fails, number, passes, publish_of};
    use crate::packet::{AckKind, Connect, Packet};

    fn two() -> Told {
        let mut told = Told::new();
        told.connect(1, "a").durable(2, "b");
        told
    }

    #[test]
    fn what_a_subscription_asks_for_is_right() {
        let mut told = two();
        told.subscribe(2, "+/x", 1).publish(1, "t/x", "one", 1).read(2, "t/x", "one", 1);
        told.subscribe(2, "$SYS/#", 0).read(2, "$SYS/broker/uptime", "5", 0);
        passes(NothingSpurious, &told);
    }

    #[test]
    fn what_waits_at_a_share_is_handed_on_by_a_member_that_was_never_answered() {
        let handed_on = |asks_ahead: bool| {
            let mut told = two();
            told.subscribe(2, "$share/g/t", 1).publish(1, "t", "one", 1);
            let properties = vec![number(property::SESSION_EXPIRY, 1000)];
            told.asks_in(3, Connect { properties, ..connect_of("c") });
            if asks_ahead {
                let filters = vec![("$share/g/t".to_owned(), 1)];
                told.sent(3, Packet::Subscribe { id: 1, filters, properties: Vec::new() });
            }
            told.unsubscribe(2, "$share/g/t", 0).durable(4, "d").subscribe(4, "$share/g/t", 1);
            told.read(4, "t", "one", 1);
            told
        };
        passes(NothingSpurious, &handed_on(true));
        fails(NothingSpurious, &handed_on(false), "NS");
    }

    #[test]
    fn a_member_that_came_back_unanswered_may_have_kept_its_share() {
        let kept = |comes_back: bool| {
            let mut told = two();
            told.subscribe(2, "$share/g/t", 1).publish(1, "t", "one", 1).lose(2).wait(900_000);
            let properties = vec![number(property::SESSION_EXPIRY, 1000)];
            if comes_back {
                let clean_start = false;
                told.asks_in(3, Connect { properties, clean_start, ..connect_of("b") }).lose(3);
            }
            told.wait(500_000).durable(4, "d").subscribe(4, "$share/g/t", 1);
            told.read(4, "t", "one", 1);
            told
        };
        passes(NothingSpurious, &kept(true));
        fails(NothingSpurious, &kept(false), "NS");
    }

    #[test]
    fn what_was_routed_before_unsubscribe_may_come_after_it() {
        let mut told = two();
        told.subscribe(2, "t", 1).publish(1, "t", "one", 1).unsubscribe(2, "t", 0);
        told.read(2, "t", "one", 1);
        passes(NothingSpurious, &told);
    }

    #[test]
    fn a_clear_in_flight_may_be_sent_again_after_its_subscription() {
        let mut told = two();
        told.subscribe(2, "t", 1).publish(1, "t", "", 1).unsubscribe(2, "t", 0);
        told.read_only(2, "t", "", 1, 1).lose(2).resume(3, "b").read_again(3, "t", "", 1, 1);
        passes(NothingSpurious, &told);
    }

    #[test]
    fn a_clear_of_before_or_after_the_subscription_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "", 1).subscribe(2, "t", 1).read(2, "t", "", 1);
        fails(NothingSpurious, &told, "NS");
        let mut told = two();
        told.subscribe(2, "t", 1).unsubscribe(2, "t", 0).publish(1, "t", "", 1);
        told.read(2, "t", "", 1);
        fails(NothingSpurious, &told, "NS");
    }

    #[test]
    fn a_message_of_nobody_is_wrong() {
        let mut told = two();
        told.subscribe(2, "#", 1).read(2, "t", "one", 0);
        fails(NothingSpurious, &told, "NS");
    }

    #[test]
    fn a_leading_wildcard_does_not_mean_dollar_topics() {
        let mut told = two();
        told.subscribe(2, "#", 1).publish(1, "$x/y", "one", 1).read(2, "$x/y", "one", 1);
        fails(NothingSpurious, &told, "NS");
    }

    #[test]
    fn no_local_is_kept() {
        let mut told = two();
        told.subscribe_with(1, "t", 0x04, 0).publish(1, "t", "one", 0).read(1, "t", "one", 0);
        fails(NothingSpurious, &told, "NS");
    }

    #[test]
    fn after_unsubscribe_nothing_new_comes() {
        let mut told = two();
        told.subscribe(2, "t", 1).unsubscribe(2, "t", 0).publish(1, "t", "one", 1);
        told.read(2, "t", "one", 1);
        fails(NothingSpurious, &told, "NS");
    }

    fn behind_connect(told: &mut Told, reason: u8) -> &mut Told {
        told.asks_in(3, connect_of("c")).sent(3, Packet::Publish(publish_of("t", "one", 0, 0)));
        told.got(3, Packet::ConnAck { session_present: false, reason, properties: Vec::new() })
    }

    #[test]
    fn what_was_sent_behind_a_connect_arrives_if_that_is_accepted() {
        let mut told = two();
        told.subscribe(2, "t", 1);
        behind_connect(&mut told, 0).read(2, "t", "one", 0);
        passes(NothingSpurious, &told);
    }

    #[test]
    fn what_is_under_way_behind_a_connect_may_come_whenever_that_arrives() {
        let late = |is_under_way| {
            let mut told = Told::new();
            let properties = vec![number(property::SESSION_EXPIRY, 1000)];
            let again = Connect { properties, clean_start: false, ..connect_of("a") };
            told.durable(1, "a").durable(2, "b").lose(1).asks_in(4, again);
            if is_under_way {
                told.publish_unanswered(4, "t", "one", 1, 9);
            }
            told.resume(5, "a").publish_again(5, "t", "one", 1, 9).subscribe(2, "t", 1);
            told.read(2, "t", "one", 1);
            told
        };
        passes(NothingSpurious, &late(true));
        fails(NothingSpurious, &late(false), "NS");
    }

    #[test]
    fn what_was_sent_behind_a_refused_connect_reaches_nobody() {
        let mut told = two();
        told.subscribe(2, "t", 1);
        behind_connect(&mut told, 0x85).read(2, "t", "one", 0);
        fails(NothingSpurious, &told, "NS");
        let mut told = two();
        told.subscribe(2, "t", 1).asks_in(3, connect_of("c"));
        told.sent(3, Packet::Publish(publish_of("t", "one", 0, 0))).read(2, "t", "one", 0);
        let (session_present, properties) = (false, Vec::new());
        told.got(3, Packet::ConnAck { session_present, reason: 0x85, properties });
        fails(NothingSpurious, &told, "NS");
    }

    #[test]
    fn what_was_refused_reaches_nobody() {
        let mut told = two();
        told.subscribe(2, "t", 1).sent(1, Packet::Publish(publish_of("t", "one", 1, 5)));
        told.got_ack(1, AckKind::PubAck, 5, 0x97).read(2, "t", "one", 1);
        fails(NothingSpurious, &told, "NS");
    }
}
