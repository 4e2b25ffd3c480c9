//! Q1 and RX, of what is marked as a repetition at QoS 1: it comes on another connection than what it
//! repeats, under its old identifier, and not once the broker knows that it has arrived.

use crate::history::{Event, Violation};
use crate::oracle::model::{Delivery, Model, PublicationId, Seen, Session};
use crate::oracle::rule::{Rule, violation};

/// Judges Q1 and RX of repetitions at QoS 1.
pub(crate) struct Again;

impl Rule for Again {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let session = &model.sessions[delivery.session];
        let is_repetition = delivery.dup && delivery.qos == 1 && session.hostile.is_none();
        let Some(id) = delivery.publication.filter(|_| is_repetition) else { return Ok(()) };
        let earlier = earlier(model, session, id, delivery);
        let wrong = too_often_on_one(model, session, id, delivery, &earlier)
            .or_else(|| changed(model, session, id, delivery, &earlier));
        let Some((guarantee, wrong)) = wrong else { return Ok(()) };
        let publication = &model.publications[id];
        let what = format!(
            "{} on {:?} is sent to {:?} again under {}, {wrong}",
            publication.name(),
            publication.topic,
            session.client_id,
            delivery.id.unwrap_or(0),
        );
        let places = earlier.iter().map(|copy| copy.moment.index);
        let first = publication.first().index;
        Err(violation(guarantee, what, places.chain([first, delivery.moment.index])))
    }
}

/// What the session read of a publication at QoS 1 before `delivery`, first to last.
fn earlier<'a>(
    model: &'a Model,
    session: &'a Session,
    id: PublicationId,
    delivery: &Delivery,
) -> Vec<&'a Delivery> {
    let known = session.deliveries.get(&id).into_iter().flatten();
    let known = known.map(|copy| &model.deliveries[*copy]);
    known.filter(|copy| copy.qos == 1 && copy.moment < delivery.moment).collect()
}

/// Each copy goes over a connection once.
fn too_often_on_one(
    model: &Model,
    session: &Session,
    id: PublicationId,
    delivery: &Delivery,
    earlier: &[&Delivery],
) -> Option<(&'static str, String)> {
    let most = session.copies(&model.publications[id]).max(1);
    let here = earlier.iter().filter(|copy| copy.connection == delivery.connection).count() + 1;
    let wrong = || format!("{here} times on one connection, at most {most} allowed");
    (here > most).then(|| ("Q1", wrong()))
}

/// Where there is one copy, it keeps its identifier until a crash may have undone that it was given,
/// and is over once the broker has heard that it came.
fn changed(
    model: &Model,
    session: &Session,
    id: PublicationId,
    delivery: &Delivery,
    earlier: &[&Delivery],
) -> Option<(&'static str, String)> {
    let publication = &model.publications[id];
    // What a member of a share had goes to the next one as something new.
    let is_shared = session.possible(publication).any(|found| found.share.is_some());
    let is_one = session.copies(publication) <= 1
        && publication.instances == 1
        && !publication.may_come_late;
    let last = earlier.last().filter(|_| is_one)?;
    if model.surely_acknowledged(last).is_some() {
        return Some(("RX", "although the broker had heard that it came".to_owned()));
    }
    if is_shared {
        return None;
    }
    // What was read after a crash may have been sent before it.
    let is_undone = model.has_outage(publication.first().index, usize::MAX);
    (last.id != delivery.id && !is_undone)
        .then(|| ("RX", format!("and came under {} before", last.id.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::Again;
    use crate::oracle::told::{Told, fails, passes, publish_of};
    use crate::packet::{AckKind, Packet, Publish};

    /// A message at QoS 1 was read under identifier 7.
    fn one() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1);
        told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 7);
        told
    }

    #[test]
    fn a_repetition_on_each_new_connection_is_right() {
        let mut told = one();
        told.lose(2).resume(3, "b").read_again(3, "t", "one", 1, 7).lose(3);
        told.resume(4, "b").read_again(4, "t", "one", 1, 7);
        passes(Again, &told);
    }

    #[test]
    fn a_repetition_on_the_same_connection_is_wrong_under_any_identifier() {
        for id in [7, 8] {
            fails(
                Again,
                one().sent_ack(2, AckKind::PubAck, 7).read_again(2, "t", "one", 1, id),
                "Q1",
            );
            fails(Again, one().read_again(2, "t", "one", 1, id), "Q1");
        }
        let mut told = one();
        told.lose(2).resume(3, "b").read_again(3, "t", "one", 1, 7).read_again(3, "t", "one", 1, 8);
        fails(Again, &told, "Q1");
    }

    #[test]
    fn two_copies_may_both_be_repeated() {
        let mut told = one();
        told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 8).lose(2).resume(3, "b");
        told.read_again(3, "t", "one", 1, 7).read_again(3, "t", "one", 1, 8);
        passes(Again, &told);
        fails(Again, told.read_again(3, "t", "one", 1, 9), "Q1");
    }

    #[test]
    fn another_identifier_is_right_after_a_crash_alone() {
        passes(Again, one().crash().resume(3, "b").read_again(3, "t", "one", 1, 8));
        fails(Again, one().lose(2).resume(3, "b").read_again(3, "t", "one", 1, 8), "RX");
    }

    #[test]
    fn what_was_acknowledged_is_repeated_only_if_the_broker_need_not_have_heard_it() {
        let acknowledged = |hears: bool| {
            let mut told = one();
            told.sent_ack(2, AckKind::PubAck, 7);
            if hears {
                told.ping(2);
            }
            told
        };
        let again = |told: &mut Told| {
            told.lose(2).resume(3, "b").read_again(3, "t", "one", 1, 7);
        };
        let mut told = acknowledged(false);
        again(&mut told);
        passes(Again, &told);
        passes(Again, acknowledged(true).crash().resume(3, "b").read_again(3, "t", "one", 1, 7));
        let mut told = acknowledged(true);
        again(&mut told);
        fails(Again, &told, "RX");
        // It is as well over when it was refused.
        let mut told = one();
        let (kind, properties) = (AckKind::PubAck, Vec::new());
        told.sent(2, Packet::Ack { kind, id: 7, reason: 0x97, properties }).ping(2);
        again(&mut told);
        fails(Again, &told, "RX");
    }

    #[test]
    fn what_a_share_gives_to_the_same_member_again_has_a_new_identifier() {
        let mut told = Told::new();
        told.connect(1, "a").durable(2, "b").subscribe(2, "$share/g/t", 1);
        told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 7).lose(2).resume(3, "b");
        let again = Publish { dup: true, ..publish_of("t", "one", 1, 8) };
        passes(Again, told.got(3, Packet::Publish(again)));
    }
}
