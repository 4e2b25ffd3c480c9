//! Q2: an accepted publication reaches every stable subscription of QoS 2 exactly once.

use crate::history::{Event, Violation};
use crate::oracle::model::{Delivery, Model, Seen};
use crate::oracle::owed::Owed;
use crate::oracle::q1::lost;
use crate::oracle::rule::{Rule, too_often, violation};

/// Judges Q2.
pub(crate) struct ExactlyOnce;

impl Rule for ExactlyOnce {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        if delivery.payload.is_empty() && delivery.qos == 2 {
            return clears(model, delivery);
        }
        let Some(id) = delivery.publication.filter(|_| delivery.qos == 2) else { return Ok(()) };
        let publication = &model.publications[id];
        let session = &model.sessions[delivery.session];
        // What came at QoS 1 through another subscription may have come more than once.
        let copies: Vec<usize> = model
            .fresh(delivery.session, id)
            .filter(|copy| copy.qos == 2)
            .map(|copy| copy.moment.index)
            .collect();
        let most = session.copies(publication).max(1);
        if delivery.is_fresh && copies.len() > most && session.hostile.is_none() {
            let code = if publication.is_will() { "WL" } else { "Q2" };
            return Err(too_often(code, model, publication, delivery, &copies, most));
        }
        Ok(())
    }

    fn finish(&mut self, model: &Model, owed: &Owed) -> Vec<Violation> {
        let missing = owed.missing.iter().filter(|one| one.qos == 2 && !one.across_restart);
        missing.map(|one| lost("Q2", model, one)).collect()
    }
}

/// Messages without a payload are counted: no more may come as new than all that were published make.
fn clears(model: &Model, delivery: &Delivery) -> Result<(), Violation> {
    let session = &model.sessions[delivery.session];
    if delivery.dup || session.hostile.is_some() {
        return Ok(());
    }
    let is_same = |other: &&Delivery| {
        other.session == delivery.session
            && other.topic == delivery.topic
            && other.payload.is_empty()
            && other.qos == 2
            && !other.dup
    };
    let read = model.deliveries.iter().filter(is_same);
    let copies: Vec<usize> = read.map(|other| other.moment.index).collect();
    let published = model.clears(&delivery.topic).filter(|found| !found.is_refused());
    let most: usize = published.map(|found| session.copies(found)).sum();
    if copies.len() <= most {
        return Ok(());
    }
    let what = format!(
        "{} messages without a payload on {:?} reached {:?}, at most {most} allowed",
        copies.len(),
        delivery.topic,
        session.client_id,
    );
    Err(violation("Q2", what, copies))
}

#[cfg(test)]
mod tests {
    use super::ExactlyOnce;
    use crate::history::What;
    use crate::oracle::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, connect_of, fails, number, passes, passes_within, publish_of};
    use crate::packet::{Connect, Packet};

    fn two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 2);
        told
    }

    #[test]
    fn once_is_right() {
        let mut told = two();
        told.publish(1, "t", "one", 2).read(2, "t", "one", 2).end();
        passes(ExactlyOnce, &told);
    }

    #[test]
    fn copies_at_qos_1_do_not_count() {
        let mut told = two();
        told.subscribe(2, "$share/g/t", 1).publish(1, "t", "one", 2).read(2, "t", "one", 1);
        told.read(2, "t", "one", 1).read(2, "t", "one", 2);
        passes(ExactlyOnce, &told);
    }

    #[test]
    fn an_unanswered_connect_may_have_begun_another_session() {
        let mut told = Told::new();
        told.durable(1, "a").connect(2, "b").subscribe(2, "t", 2).publish(1, "t", "one", 2);
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        let again = Connect { properties, clean_start: false, ..connect_of("b") };
        told.lose(2).asks_in(3, again).lose(3).resume(4, "b").end();
        passes(ExactlyOnce, &told);
    }

    #[test]
    fn what_arrives_last_may_hold_an_identifier() {
        let swallowed = |ahead: Option<&str>, token: &str| {
            let mut told = two();
            told.lose(1);
            let properties = vec![number(property::SESSION_EXPIRY, 1000)];
            told.asks_in(3, Connect { properties, clean_start: false, ..connect_of("a") });
            if let Some(ahead) = ahead {
                told.sent(3, Packet::Publish(publish_of("t", ahead, 2, 77)));
            }
            told.lose(3).resume(4, "a").publishes(4, publish_of("t", token, 2, 77)).end();
            told
        };
        for (ahead, token) in [("one", "two"), ("", "")] {
            passes(ExactlyOnce, &swallowed(Some(ahead), token));
            fails(ExactlyOnce, &swallowed(None, token), "Q2");
        }
    }

    /// A client asks for a longer session as it leaves, and is told in the end that it has one. Between, a CONNECT of
    /// its is not answered.
    fn leaves_for_longer(is_broken: bool) -> Told {
        let mut told = two();
        let connect = |client_id| Connect {
            properties: vec![number(property::SESSION_EXPIRY, 2)],
            clean_start: false,
            ..connect_of(client_id)
        };
        told.enters(3, connect("c"), false).publish_unanswered(3, "t", "one", 2, 9);
        told.read(2, "t", "one", 2);
        if is_broken {
            told.push(What::Misbehaved { connection: 3, must_end: true });
        }
        let properties = vec![number(property::SESSION_EXPIRY, 5)];
        told.sent(3, Packet::Disconnect { reason: 0, properties }).lose(3).wait(2_100);
        told.asks_in(4, connect("c")).lose(4).enters(5, connect("c"), true);
        told.publish_again(5, "t", "one", 2, 9).read(2, "t", "one", 2);
        told
    }

    #[test]
    fn what_comes_behind_an_error_need_not_be_read() {
        passes(ExactlyOnce, &leaves_for_longer(true));
        fails(ExactlyOnce, &leaves_for_longer(false), "Q2");
    }

    #[test]
    fn a_repetition_before_pubrel_is_no_second_message() {
        let mut told = two();
        told.publish(1, "t", "one", 2).read_only(2, "t", "one", 2, 7).pubrec(2, 7).lose(2);
        told.resume(3, "b").read_again(3, "t", "one", 2, 7).pubrec(3, 7).release(3, 7).end();
        passes(ExactlyOnce, &told);
    }

    #[test]
    fn a_publication_sent_again_is_the_same() {
        let mut told = two();
        told.publish_unanswered(1, "t", "one", 2, 9).lose(1).resume(4, "a");
        told.publish_again(4, "t", "one", 2, 9).read(2, "t", "one", 2).end();
        passes(ExactlyOnce, &told);
    }

    /// Published behind a CONNECT that is not answered, read, and sent again when the session is back.
    fn ahead(is_read_again: bool) -> Told {
        let mut told = two();
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        let again = Connect { properties, clean_start: false, ..connect_of("a") };
        told.lose(1).asks_in(4, again).publish_unanswered(4, "t", "one", 2, 9);
        told.read(2, "t", "one", 2).lose(4).resume(5, "a").publish_again(5, "t", "one", 2, 9);
        if is_read_again {
            told.read(2, "t", "one", 2);
        }
        told
    }

    #[test]
    fn what_was_sent_behind_an_unanswered_connect_is_the_same_in_the_session() {
        passes(ExactlyOnce, ahead(false).end());
        fails(ExactlyOnce, &ahead(true), "Q2");
    }

    #[test]
    fn what_is_under_way_behind_a_connect_is_new_once_its_identifier_is_free() {
        let mut told = two();
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        let again = Connect { properties, clean_start: false, ..connect_of("a") };
        told.lose(1).asks_in(4, again).publish_unanswered(4, "t", "one", 2, 9);
        told.resume(5, "a").publish_again(5, "t", "one", 2, 9);
        told.read(2, "t", "one", 2).read(2, "t", "one", 2);
        passes(ExactlyOnce, &told);
        fails(ExactlyOnce, told.read(2, "t", "one", 2), "Q2");
    }

    #[test]
    fn an_identifier_that_the_broker_may_hold_muddles_a_publication() {
        let mut told = two();
        told.publish_unanswered(1, "t", "one", 2, 9).lose(1).resume(4, "a");
        told.publish_under(4, "t", "two", 2, 9).read(2, "t", "one", 2).end();
        passes(ExactlyOnce, &told);
    }

    /// Two messages without a payload are published, and so many are read.
    fn clears(read: usize) -> Told {
        let mut told = two();
        told.publish(1, "t", "", 2).publish(1, "t", "", 2);
        for _ in 0..read {
            told.read(2, "t", "", 2);
        }
        told
    }

    #[test]
    fn as_many_messages_without_a_payload_come_as_were_published() {
        passes(ExactlyOnce, clears(2).end());
        let within = Bounds { queue_bytes: 1, ..Bounds::default() };
        passes_within(within, ExactlyOnce, clears(1).dropped("b", "t", "QueueFull").end());
        fails(ExactlyOnce, clears(1).end(), "Q2");
        fails(ExactlyOnce, &clears(3), "Q2");
    }

    #[test]
    fn a_message_without_a_payload_that_is_sent_again_is_no_new_one() {
        let mut told = two();
        told.publish(1, "t", "", 2).read_only(2, "t", "", 2, 7).lose(2).resume(3, "b");
        told.read_again(3, "t", "", 2, 7).pubrec(3, 7).release(3, 7).end();
        passes(ExactlyOnce, &told);
    }

    #[test]
    fn never_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 2).end();
        fails(ExactlyOnce, &told, "Q2");
    }

    #[test]
    fn under_a_second_identifier_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 2).read_only(2, "t", "one", 2, 7).lose(2);
        told.resume(3, "b").read_again(3, "t", "one", 2, 8);
        fails(ExactlyOnce, &told, "Q2");
    }

    #[test]
    fn after_pubrel_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 2).read_only(2, "t", "one", 2, 7).pubrec(2, 7);
        told.release(2, 7).lose(2).resume(3, "b").read_again(3, "t", "one", 2, 7);
        fails(ExactlyOnce, &told, "Q2");
    }

    #[test]
    fn a_publication_sent_again_and_delivered_twice_is_wrong() {
        let mut told = two();
        told.publish_unanswered(1, "t", "one", 2, 9).read(2, "t", "one", 2).lose(1);
        told.resume(4, "a").publish_again(4, "t", "one", 2, 9).read(2, "t", "one", 2);
        fails(ExactlyOnce, &told, "Q2");
    }
}
