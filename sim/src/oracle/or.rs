//! OR: what one publisher sends on one topic at one QoS arrives in that order.

use std::collections::BTreeMap;

use crate::history::{ConnectionNumber, Event, Violation};
use crate::oracle::model::{Model, Moment, Publication, Seen, Session, SessionId};
use crate::oracle::owed::drops;
use crate::oracle::rule::{Rule, violation};

/// Judges OR.
#[derive(Default)]
pub(crate) struct Order {
    latest: BTreeMap<Stream, Latest>,
}

/// Whose messages to whom.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Stream {
    publisher: Publisher,
    topic: String,
    qos: u8,
    receiver: SessionId,
}

/// A publishing session, or a connection of which no session is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Publisher {
    Session(SessionId),
    Connection(ConnectionNumber),
}

/// The latest message of a stream that arrived.
struct Latest {
    sent: Moment,
    read: Moment,
    name: String,
}

impl Rule for Order {
    fn waive(&mut self) -> bool {
        true
    }

    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let Some(id) = delivery.publication else { return Ok(()) };
        let publication = &model.publications[id];
        let session = &model.sessions[delivery.session];
        let is_first = session.deliveries.get(&id).is_some_and(|known| known.len() == 1);
        let may_be_shared = session.possible(publication).any(|found| found.share.is_some());
        // A retained message comes when it is asked for.
        let may_be_replay = delivery.retain && session.replays(publication).next().is_some();
        let is_exempt = publication.is_will() || publication.muddled || session.hostile.is_some();
        if !is_first || may_be_shared || may_be_replay || is_exempt {
            return Ok(());
        }
        let stream = Stream {
            publisher: publisher(model, publication),
            topic: publication.topic.clone(),
            qos: delivery.qos,
            receiver: delivery.session,
        };
        let latest =
            Latest { sent: publication.first(), read: delivery.moment, name: publication.name() };
        if let Some(earlier) = self.latest.get(&stream)
            && earlier.sent > latest.sent
            && !(may_be_later_copy(model, publication, session, delivery.qos, earlier.read)
                && publication.last() > earlier.sent)
        {
            let what = format!(
                "{} on {:?} reached {:?} at QoS {} after {}, which was sent later",
                latest.name, stream.topic, session.client_id, stream.qos, earlier.name,
            );
            let events = [latest.sent, earlier.sent, earlier.read, latest.read];
            return Err(violation("OR", what, events.map(|moment| moment.index)));
        }
        self.latest.insert(stream, latest);
        Ok(())
    }
}

/// Whether what arrives may be what the publisher sent again, because the first was refused or
/// dropped, or came where the subscription was not there or had granted another QoS. By `passed` the
/// broker had dealt with the first: a later message had been read.
fn may_be_later_copy(
    model: &Model,
    publication: &Publication,
    session: &Session,
    qos: u8,
    passed: Moment,
) -> bool {
    let may_be_dropped = qos == 0
        || publication.expiry_s.is_some()
        || !drops(model, &session.client_id, &publication.topic).is_empty();
    let first = publication.first().index;
    let was_meant = session.possible(publication).any(|found| {
        found.is_certain
            && found.qos.min(publication.qos) == qos
            && found.granted.is_some_and(|granted| granted.index < first)
            && found.end_requested.is_none_or(|end| end.index > passed.index)
    });
    // Permission, space for retained messages or a quota may have been wanting; of what a client sends
    // beside the protocol nothing need have been read.
    let is_hostile = model
        .connections
        .get(&publication.first_connection())
        .is_some_and(|connection| connection.misbehaved.is_some());
    let may_be_over = model.bounds.messages_per_second.or(model.bounds.messages_per_day).is_some();
    let may_be_refused =
        is_hostile || may_be_over || publication.retain || !model.may_always_publish(publication);
    publication.sends.len() > 1 && (may_be_dropped || may_be_refused || !was_meant)
}

/// Whose a publication is.
pub(crate) fn publisher(model: &Model, publication: &Publication) -> Publisher {
    let connection = publication.first_connection();
    let session = model.connections.get(&connection).and_then(|found| found.session);
    session.map_or(Publisher::Connection(connection), Publisher::Session)
}

#[cfg(test)]
mod tests {
    use super::Order;
    use crate::oracle::model::Bounds;
    use crate::oracle::told::{Told, fails, passes, passes_within};

    fn two() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "#", 2);
        told
    }

    #[test]
    fn the_order_of_sending_is_right() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1);
        told.read(2, "t", "one", 1).read(2, "t", "two", 1);
        passes(Order::default(), &told);
    }

    #[test]
    fn what_was_over_a_quota_may_come_when_it_is_sent_again() {
        let mut told = two();
        told.publish_unanswered(1, "t", "one", 1, 9).publish(1, "t", "two", 1).lose(1);
        told.read(2, "t", "two", 1).resume(3, "a").publish_again(3, "t", "one", 1, 9);
        told.read(2, "t", "one", 1);
        let bounds = Bounds { messages_per_second: Some(1), ..Bounds::default() };
        passes_within(bounds, Order::default(), &told);
        fails(Order::default(), &told, "OR");
    }

    #[test]
    fn other_topics_and_other_qos_have_their_own_order() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "u", "two", 1).publish(1, "t", "three", 0);
        told.read(2, "t", "three", 0).read(2, "u", "two", 1).read(2, "t", "one", 1);
        passes(Order::default(), &told);
    }

    #[test]
    fn a_repetition_is_no_disorder() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1);
        told.read_only(2, "t", "one", 1, 1).read_only(2, "t", "two", 1, 2).lose(2);
        told.resume(3, "b").read_again(3, "t", "one", 1, 1).read_again(3, "t", "two", 1, 2);
        passes(Order::default(), &told);
    }

    #[test]
    fn a_message_sent_again_may_come_as_new_where_the_first_came_too_early() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").publish_unanswered(1, "t", "one", 1, 5);
        told.subscribe(2, "#", 1).publish(1, "t", "two", 1).read(2, "t", "two", 1).lose(1);
        told.resume(3, "a").publish_again(3, "t", "one", 1, 5).read(2, "t", "one", 1);
        passes(Order::default(), &told);
    }

    #[test]
    fn a_message_sent_again_may_come_as_new_where_the_first_came_between_subscriptions() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).unsubscribe(2, "t", 0);
        told.publish_unanswered(1, "t", "one", 1, 5);
        told.subscribe(2, "t", 1).publish(1, "t", "two", 1).read(2, "t", "two", 1).lose(1);
        told.resume(3, "a").publish_again(3, "t", "one", 1, 5).read(2, "t", "one", 1);
        passes(Order::default(), &told);
    }

    #[test]
    fn a_message_sent_again_may_come_at_a_qos_granted_later() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 0);
        told.publish_unanswered(1, "t", "one", 1, 5).subscribe(2, "t", 1);
        told.publish(1, "t", "two", 1).read(2, "t", "two", 1).lose(1);
        told.resume(3, "a").publish_again(3, "t", "one", 1, 5).read(2, "t", "one", 1);
        passes(Order::default(), &told);
    }

    #[test]
    fn a_message_sent_again_does_not_come_late_where_the_first_was_to_come() {
        let mut told = two();
        told.publish_unanswered(1, "t", "one", 1, 5);
        told.publish(1, "t", "two", 1).read(2, "t", "two", 1).lose(1);
        told.resume(3, "a").publish_again(3, "t", "one", 1, 5).read(2, "t", "one", 1);
        fails(Order::default(), &told, "OR");
    }

    #[test]
    fn an_overtaken_message_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 1).publish(1, "t", "two", 1);
        told.read(2, "t", "two", 1).read(2, "t", "one", 1);
        fails(Order::default(), &told, "OR");
    }

    #[test]
    fn a_backlog_out_of_order_is_wrong() {
        let mut told = two();
        told.lose(2).publish(1, "t", "one", 2).publish(1, "t", "two", 2).resume(3, "b");
        told.read(3, "t", "two", 2).read(3, "t", "one", 2);
        fails(Order::default(), &told, "OR");
    }
}
