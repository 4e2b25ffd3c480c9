//! Q1: an accepted publication reaches every stable subscription of QoS 1, and twice only where a
//! repetition can be told.

use crate::history::{Event, Violation};
use crate::oracle::model::{Model, Seen};
use crate::oracle::owed::{Missing, Owed};
use crate::oracle::rule::{Rule, too_often, violation};

/// Judges Q1.
pub(crate) struct AtLeastOnce;

impl Rule for AtLeastOnce {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let Some(id) = delivery.publication.filter(|_| delivery.qos == 1) else { return Ok(()) };
        let publication = &model.publications[id];
        let session = &model.sessions[delivery.session];
        // A share may give a message to a member again that did not acknowledge it.
        let is_shared = session.possible(publication).any(|found| found.share.is_some());
        let copies: Vec<usize> = model
            .fresh(delivery.session, id)
            .filter(|copy| copy.connection == delivery.connection || !is_shared)
            .map(|copy| copy.moment.index)
            .collect();
        let most = session.copies(publication).max(1);
        if delivery.is_fresh && copies.len() > most && session.hostile.is_none() {
            let code = if publication.is_will() { "WL" } else { "Q1" };
            return Err(too_often(code, model, publication, delivery, &copies, most));
        }
        Ok(())
    }

    fn finish(&mut self, model: &Model, owed: &Owed) -> Vec<Violation> {
        let missing = owed.missing.iter().filter(|one| one.qos == 1 && !one.across_restart);
        missing.map(|one| lost("Q1", model, one)).collect()
    }
}

/// Says that a message is missing.
pub(crate) fn lost(guarantee: &'static str, model: &Model, missing: &Missing) -> Violation {
    let publication = &model.publications[missing.publication];
    let session = &model.sessions[missing.session];
    let what = format!(
        "{} on {:?} was accepted and is owed to {:?} at QoS {}, but arrived 0 times",
        publication.name(),
        publication.topic,
        session.client_id,
        missing.qos,
    );
    let granted = session
        .possible(publication)
        .filter(|found| found.is_stable(publication))
        .filter_map(|found| found.granted);
    let accepted = publication.accepted.iter().map(|accepted| accepted.index);
    let events = accepted.chain(granted.map(|granted| granted.index));
    violation(guarantee, what, events.chain([publication.first().index, model.now.index]))
}

#[cfg(test)]
mod tests {
    use super::AtLeastOnce;
    use crate::history::What;
    use crate::oracle::model::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, fails, number, passes, passes_within, publish_of};
    use crate::packet::Publish;
    use crate::plan::NetworkFault;

    fn two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1);
        told
    }

    #[test]
    fn what_was_accepted_arrives() {
        let mut told = two();
        told.publish(1, "t", "one", 1).read(2, "t", "one", 1).end();
        passes(AtLeastOnce, &told);
    }

    #[test]
    fn a_repetition_after_a_reconnect_is_right() {
        let mut told = two();
        told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 7).lose(2).resume(3, "b");
        told.read_again(3, "t", "one", 1, 7).end();
        passes(AtLeastOnce, &told);
    }

    #[test]
    fn what_was_not_accepted_may_be_lost() {
        let mut told = two();
        told.publish_unanswered(1, "t", "one", 1, 9).lose(1).end();
        passes(AtLeastOnce, &told);
    }

    #[test]
    fn what_the_broker_said_it_dropped_is_not_owed() {
        let mut told = two();
        told.publish(1, "t", "one", 1).dropped("b", "t", "QueueFull").end();
        passes_within(Bounds { queue_bytes: 1, ..Bounds::default() }, AtLeastOnce, &told);
    }

    #[test]
    fn only_what_may_have_expired_is_excused_by_expiry() {
        let with = |expiry_s| Publish {
            properties: vec![number(property::MESSAGE_EXPIRY, expiry_s)],
            ..publish_of("t", "one", 1, 9)
        };
        let lost = |expiry_s, other: &str| {
            let mut told = two();
            told.lose(2).publishes(1, with(expiry_s)).publish(1, "t", "two", 1).wait(2_000);
            told.dropped("b", "t", "Expired").resume(3, "b").read(3, "t", other, 1).end();
            told
        };
        passes(AtLeastOnce, &lost(1, "two"));
        fails(AtLeastOnce, &lost(1, "one"), "Q1");
    }

    #[test]
    fn a_loss_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1).read(2, "t", "two", 1).end();
        fails(AtLeastOnce, &told, "Q1");
    }

    #[test]
    fn one_drop_does_not_excuse_two_losses() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1);
        told.dropped("b", "t", "QueueFull").end();
        fails(AtLeastOnce, &told, "Q1");
    }

    #[test]
    fn a_loss_over_a_reconnect_is_wrong() {
        let mut told = two();
        told.lose(2).publish(1, "t", "one", 1).resume(3, "b").end();
        fails(AtLeastOnce, &told, "Q1");
    }

    #[test]
    fn a_second_copy_on_the_same_connection_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 1).read(2, "t", "one", 1).read(2, "t", "one", 1);
        fails(AtLeastOnce, &told, "Q1");
    }

    /// A session that ends with its connection was there when two messages were accepted.
    fn short() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").connect(2, "b").subscribe(2, "t", 1);
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1);
        told
    }

    #[test]
    fn what_a_later_message_overtook_was_owed_before_the_session_ended() {
        passes(AtLeastOnce, short().lose(2).end());
        passes(AtLeastOnce, short().read(2, "t", "one", 1).lose(2).end());
        passes(AtLeastOnce, short().read(2, "t", "one", 1).read(2, "t", "two", 1).lose(2).end());
        fails(AtLeastOnce, short().read(2, "t", "two", 1).lose(2).end(), "Q1");
    }

    #[test]
    fn what_had_time_enough_was_owed_before_the_session_ended() {
        let ends = |waits_ms, fault: Option<NetworkFault>| {
            let mut told = short();
            if let Some(fault) = fault {
                told.network(2, fault);
            }
            told.wait(waits_ms).ping(2).lose(2).end();
            told
        };
        passes(AtLeastOnce, &ends(4_000, None));
        fails(AtLeastOnce, &ends(6_000, None), "Q1");
        passes(AtLeastOnce, &ends(6_000, Some(NetworkFault::Hold)));
        let mut away = short();
        away.push(What::Holding { client: 2, serving: false }).wait(6_000).ping(2).lose(2);
        passes(AtLeastOnce, away.end());
        let mut back = short();
        back.network(2, NetworkFault::Hold).network(2, NetworkFault::Release).wait(6_000);
        fails(AtLeastOnce, back.ping(2).lose(2).end(), "Q1");
    }
}
