//! SH: a share's message goes to one of its members.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, Violation};
use crate::oracle::model::{
    Delivery, Holder, Model, Publication, PublicationId, Seen, Session, SessionId, Stage,
};
use crate::oracle::owed::{Owed, drops, may_be_expired};
use crate::oracle::properties as property;
use crate::oracle::rule::{Rule, violation};

/// Judges SH.
pub(crate) struct Shared;

impl Rule for Shared {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let Some(id) = delivery.publication.filter(|_| delivery.is_fresh) else { return Ok(()) };
        let publication = &model.publications[id];
        let session = &model.sessions[delivery.session];
        if !session.possible(publication).any(|found| found.share.is_some()) {
            return Ok(());
        }
        let Some((whole, members)) = only_group(model, publication) else { return Ok(()) };
        let others = members.iter().filter(|member| **member != delivery.session);
        if let Some((other, refused)) = others.filter_map(|other| refusal(model, *other, id)).next()
            && publication.instances == 1
        {
            let what = format!(
                "{} on {:?} reached {:?}, although {other:?} of {whole:?} had refused it",
                publication.name(),
                publication.topic,
                session.client_id,
            );
            let events = [publication.first().index, refused, delivery.moment.index];
            return Err(violation("SH", what, events));
        }
        let kept: Vec<&Delivery> = members
            .iter()
            .flat_map(|member| model.fresh(*member, id))
            .filter(|copy| !may_be_given_again(model, copy))
            .collect();
        let first = kept.iter().find(|copy| copy.moment < delivery.moment);
        let Some(first) = first.filter(|_| kept.len() > publication.instances) else {
            return match passed_over(model, delivery, publication, &members) {
                Some(idle) => Err(not_preferred(model, delivery, publication, idle)),
                None => Ok(()),
            };
        };
        let what = format!(
            "{} on {:?} reached {:?} and {:?}, both members of {whole:?}",
            publication.name(),
            publication.topic,
            model.sessions[first.session].client_id,
            session.client_id,
        );
        let events = [publication.first().index, first.moment.index, delivery.moment.index];
        Err(violation("SH", what, events))
    }

    fn finish(&mut self, model: &Model, _owed: &Owed) -> Vec<Violation> {
        if model.end.is_none() {
            return Vec::new();
        }
        let mut used: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut found = Vec::new();
        for (id, publication) in model.publications.iter().enumerate() {
            let Some((whole, accepted)) = unserved(model, id, publication) else { continue };
            let key = (whole.clone(), publication.topic.clone());
            let spent = used.entry(key).or_default();
            if drops(model, &whole, &publication.topic).len() > *spent {
                *spent += 1;
                continue;
            }
            let what = format!(
                "{} on {:?} was accepted and reached no member of {whole:?}",
                publication.name(),
                publication.topic,
            );
            let events = [publication.first().index, accepted, model.now.index];
            found.push(violation("SH", what, events));
        }
        found
    }
}

/// Where a member refused a publication, if the broker has surely heard it: then nobody else gets it [MQTT-4.8.2-6].
fn refusal(model: &Model, member: SessionId, id: PublicationId) -> Option<(&str, usize)> {
    let session = &model.sessions[member];
    let holder = session.exchanges.values().find(|holder| holder.publication == Some(id))?;
    let Stage::Refused(at) = holder.stage else { return None };
    model.has_heard(holder.connection, at).then_some((session.client_id.as_str(), at.index))
}

/// The one share that a publication can have gone to, with all that can be members, if no
/// subscription of theirs of another kind can be the reason of a delivery.
fn only_group(model: &Model, publication: &Publication) -> Option<(String, BTreeSet<SessionId>)> {
    let mut groups: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut members = BTreeSet::new();
    for (number, session) in model.sessions.iter().enumerate() {
        let mut is_member = false;
        let mut has_other = session.hostile.is_some();
        for found in session.possible(publication) {
            match &found.share {
                Some(share) => {
                    is_member = true;
                    groups.insert((share, &found.filter));
                }
                None => has_other = true,
            }
        }
        has_other |= session.replays(publication).next().is_some();
        if is_member && has_other {
            return None;
        }
        if is_member {
            members.insert(number);
        }
    }
    if model.may_be_joined_ahead(publication) {
        return None;
    }
    let (share, filter) = groups.pop_first().filter(|_| groups.is_empty())?;
    Some((format!("$share/{share}/{filter}"), members))
}

/// Whether the broker can have taken a message back from one member and given it to another.
fn may_be_given_again(model: &Model, copy: &Delivery) -> bool {
    let Some(connection) = model.connections.get(&copy.connection) else { return true };
    let latency_ms = model.bounds.latency_ms;
    let since_ms = model.sent_from_ms(connection, copy.moment.at_ms);
    // A newer connection of the same client may have ended it.
    let is_rivalled = model.others(connection).any(|other| {
        other.connect.as_ref().is_some_and(|(at, _)| at.index > connection.evidence.index)
    });
    let is_over = connection.ended.is_some()
        || is_rivalled
        || connection.broker_gone.is_some()
        || connection.may_be_refused()
        || !connection.sent_away.is_empty()
        || model.may_outstay(connection, model.now.at_ms.saturating_sub(latency_ms))
        || !model.is_prompt(connection, since_ms);
    copy.qos == 1 && is_over && model.surely_acknowledged(copy).is_none()
}

/// An accepted publication that one of the members had to get, and none did.
fn unserved(
    model: &Model,
    id: PublicationId,
    publication: &Publication,
) -> Option<(String, usize)> {
    let accepted = publication.accepted.filter(|at| at.at_ms <= model.settled_by_ms())?;
    // Nothing tells one empty payload from another.
    let is_clear = publication.payload.is_empty();
    if is_clear || publication.muddled || may_be_expired(model, publication, model.now.at_ms) {
        return None;
    }
    let (whole, members) = only_group(model, publication)?;
    let mut has_taker = false;
    for member in &members {
        let session = &model.sessions[*member];
        let at_most_1 =
            session.possible(publication).all(|found| found.qos.min(publication.qos) == 1);
        // A member that has been away may have taken it with it, but at QoS 1 it gave it back.
        let kept_nothing = at_most_1 || session.connections.len() == 1;
        let stayed = model.served(session).is_some() && kept_nothing;
        let has_nothing = || {
            was_away(model, session, publication.first().at_ms, u64::MAX)
                || at_most_1 && was_away(model, session, model.settled_by_ms(), u64::MAX)
        };
        let takes = session.possible(publication).all(|found| found.qos > 0);
        let is_dropped = drops(model, &session.client_id, &publication.topic)
            .iter()
            .any(|notice| *notice > publication.first().index);
        let can_have_had_it = session.deliveries.contains_key(&id)
            || !takes
            || is_dropped
            || !(stayed || has_nothing());
        if can_have_had_it {
            return None;
        }
        has_taker |=
            stayed && session.possible(publication).any(|found| found.is_stable(publication));
    }
    has_taker.then_some((whole, accepted.index))
}

/// Whether the client of a session surely had no connection between two times.
fn was_away(model: &Model, session: &Session, from_ms: u64, to_ms: u64) -> bool {
    let client = model.clients.get(&session.client_id);
    let numbers = client.into_iter().flat_map(|client| &client.connections);
    let mut connections = numbers.filter_map(|number| model.connections.get(number));
    connections.all(|connection| {
        let comes_later = connection.connect.as_ref().is_some_and(|(sent, _)| sent.at_ms >= to_ms);
        comes_later || connection.ended.is_some() && model.closing(connection).to_ms < from_ms
    })
}

/// A member that was there and idle when a message of its share went to another, which had come long after the
/// message: it would have had it before.
fn passed_over(
    model: &Model,
    delivery: &Delivery,
    publication: &Publication,
    members: &BTreeSet<SessionId>,
) -> Option<SessionId> {
    let settled = publication.settled.filter(|_| publication.instances == 1)?;
    let connection = model.connections.get(&delivery.connection)?;
    let came_ms = connection.connect.as_ref().map(|(sent, _)| sent.at_ms)?;
    let idle_since_ms = came_ms.checked_sub(2 * model.bounds.latency_ms.max(1))?;
    // What its receiver had before it may have come back with it: at QoS 2 that stays with it [MQTT-4.8.2-4].
    let had_nothing_since_ms =
        if delivery.qos == 2 { publication.first().at_ms } else { idle_since_ms };
    let receiver = &model.sessions[delivery.session];
    let has_waited = || was_away(model, receiver, had_nothing_since_ms, came_ms);
    let is_plain = !publication.is_will()
        && !publication.muddled
        && settled.at_ms <= idle_since_ms
        && !model.has_outage(publication.first().index, usize::MAX);
    let others_gave_back = |idle: SessionId| {
        let mut others = members.iter().filter(|other| **other != idle);
        others.all(|other| was_away(model, &model.sessions[*other], idle_since_ms, came_ms))
    };
    let is_idle = |member: &&SessionId| {
        let session = &model.sessions[**member];
        **member != delivery.session
            && is_idle_since(model, session, publication, idle_since_ms)
            && others_gave_back(**member)
    };
    members.iter().filter(|_| is_plain).find(is_idle).copied().filter(|_| has_waited())
}

/// Whether a session has surely been served, with room for a publication, since that was sent, and was sent nothing
/// since `since_ms`.
fn is_idle_since(
    model: &Model,
    session: &Session,
    publication: &Publication,
    since_ms: u64,
) -> bool {
    let (Some(number), Some(client)) =
        (session.connections.last(), model.clients.get(&session.client_id))
    else {
        return false;
    };
    let Some(connection) = model.connections.get(number) else { return false };
    let was_let_in = connection
        .connack
        .as_ref()
        .is_some_and(|connack| connack.moment.index < publication.first().index);
    let is_over = |holder: &Holder| match holder.stage {
        Stage::Read | Stage::Recorded(_) | Stage::Released(_) => false,
        Stage::Refused(at) | Stage::Done(at) => at.at_ms <= since_ms,
    };
    let last = model.deliveries.iter().rev().find(|one| one.connection == *number);
    was_let_in
        && client.attempts.as_slice() == [*number]
        && connection.is_open()
        && connection.goodbye.is_none()
        && connection.outstanding.is_empty()
        && connection.asked(property::MAXIMUM_PACKET_SIZE).is_none()
        && session.hostile.is_none()
        && session.replaced.is_none()
        && model.is_prompt(
            connection,
            publication.first().at_ms.saturating_sub(model.bounds.latency_ms),
        )
        && session.exchanges.values().all(is_over)
        && last.is_none_or(|last| last.moment.at_ms <= since_ms)
        && session.possible(publication).any(|found| found.is_stable(publication))
        && model.may_always_read(&session.client_id, publication)
}

fn not_preferred(
    model: &Model,
    delivery: &Delivery,
    publication: &Publication,
    idle: SessionId,
) -> Violation {
    let what = format!(
        "{} on {:?} waited for {:?} to come, while {:?} of the same share was there and had room",
        publication.name(),
        publication.topic,
        model.sessions[delivery.session].client_id,
        model.sessions[idle].client_id,
    );
    violation("SH", what, [publication.first().index, delivery.moment.index])
}

#[cfg(test)]
mod tests {
    use super::Shared;
    use crate::history::{Beside, What};
    use crate::oracle::model::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{
        Told, connect_of, fails, fails_within, number, passes, passes_within,
    };
    use crate::packet::{AckKind, Connect, Packet};
    use crate::plan::{Denial, NetworkFault};

    fn three(qos: u8) -> Told {
        let mut told = Told::new();
        told.connect(1, "a").durable(2, "b").durable(3, "c");
        told.subscribe(2, "$share/g/t", qos).subscribe(3, "$share/g/t", qos);
        told
    }

    #[test]
    fn each_message_goes_to_one_member() {
        let mut told = three(2);
        told.publish(1, "t", "one", 2).read(2, "t", "one", 2);
        told.publish(1, "t", "two", 1).read(3, "t", "two", 1).end();
        passes(Shared, &told);
    }

    #[test]
    fn what_a_member_left_unacknowledged_goes_to_another() {
        let mut told = three(1);
        told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 7).lose(2);
        told.read(3, "t", "one", 1).end();
        passes(Shared, &told);
    }

    /// A member acknowledges a message and goes; another one gets it all the same.
    fn given_again(hears: bool, crashes: bool) -> Told {
        let mut told = three(1);
        told.publish(1, "t", "one", 1).read(2, "t", "one", 1);
        if hears {
            told.ping(2);
        }
        let member = if crashes { 4 } else { 3 };
        if crashes {
            told.crash().resume(4, "c");
        } else {
            told.lose(2);
        }
        told.read(member, "t", "one", 1);
        told
    }

    #[test]
    fn what_a_member_acknowledged_is_not_given_to_another_once_the_broker_has_heard_it() {
        passes(Shared, &given_again(false, false));
        passes(Shared, &given_again(true, true));
        fails(Shared, &given_again(true, false), "SH");
    }

    #[test]
    fn what_a_member_lost_and_nobody_got_is_missing() {
        let mut told = three(1);
        told.publish(1, "t", "one", 1).lose(2).resume(4, "b").end();
        fails(Shared, &told, "SH");
    }

    #[test]
    fn a_late_member_takes_what_waits_at_the_share() {
        let mut told = Told::new();
        told.connect(1, "a").durable(2, "b").subscribe(2, "$share/g/t", 1).lose(2);
        told.publish(1, "t", "one", 1).durable(3, "c").subscribe(3, "$share/g/t", 1);
        told.read(3, "t", "one", 1).end();
        passes(Shared, &told);
    }

    #[test]
    fn what_a_held_connection_reads_late_may_be_another_members() {
        let mut told = three(1);
        told.network(2, NetworkFault::Hold).publish(1, "t", "one", 1).read(3, "t", "one", 1);
        told.network(2, NetworkFault::Release).read_only(2, "t", "one", 1, 7).lose(2).end();
        passes(Shared, &told);
    }

    #[test]
    fn a_member_whose_token_has_ended_need_not_know_it_yet() {
        let within = |lifetime_ms| Bounds {
            latency_ms: 100,
            slack_ms: 500,
            token_lifetime_ms: Some(lifetime_ms),
            ..Bounds::default()
        };
        let mut told = three(1);
        told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 7).read(3, "t", "one", 1);
        told.dismissed(2, 0xa0).end();
        passes_within(within(100), Shared, &told);
        fails_within(within(1_000), Shared, &told, "SH");
    }

    #[test]
    fn a_member_that_was_sent_away_by_order_need_not_know_it_yet() {
        let given_again = |is_ordered: bool| {
            let mut told = three(1);
            told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 7);
            if is_ordered {
                told.beside(Beside::SentAway { client_id: Some("b".to_owned()), reason: 0x98 });
            }
            told.read(3, "t", "one", 1).dismissed(2, 0x98).end();
            told
        };
        passes(Shared, &given_again(true));
        fails(Shared, &given_again(false), "SH");
    }

    #[test]
    fn a_member_that_was_refused_without_words_need_not_know_it_yet() {
        let mut told = Told::new();
        told.connect(1, "a").enters(2, Connect { level: 4, ..connect_of("b") }, false);
        told.subscribe(2, "$share/g/t", 1).durable(3, "c").subscribe(3, "$share/g/t", 1);
        told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 7);
        let filter = "u".to_owned();
        let denial = Denial { client_id: String::new(), filter, publish: true, read: false };
        told.push(What::Denied(vec![denial])).publish_unanswered(2, "u", "two", 1, 9);
        told.read(3, "t", "one", 1).closed(2).end();
        passes(Shared, &told);
    }

    #[test]
    fn a_client_that_is_not_told_whether_it_came_in_may_be_a_member() {
        let mut told = Told::new();
        told.connect(1, "a").durable(2, "b").subscribe(2, "$share/g/t", 1);
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        told.asks_in(3, Connect { properties, ..connect_of("c") });
        let filters = vec![("$share/g/t".to_owned(), 1)];
        told.sent(3, Packet::Subscribe { id: 1, filters, properties: Vec::new() }).lose(3);
        told.publish(1, "t", "one", 1).end();
        passes(Shared, &told);
    }

    #[test]
    fn what_a_member_refused_goes_to_nobody_else() {
        let refused = |hears| {
            let mut told = three(1);
            told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 7);
            let (kind, properties) = (AckKind::PubAck, Vec::new());
            told.sent(2, Packet::Ack { kind, id: 7, reason: 0x87, properties });
            if hears {
                told.ping(2);
            }
            told.lose(2);
            told
        };
        passes(Shared, refused(true).end());
        passes(Shared, refused(false).read(3, "t", "one", 1).end());
        fails(Shared, refused(true).read(3, "t", "one", 1), "SH");
    }

    #[test]
    fn two_members_at_qos_2_are_wrong() {
        let mut told = three(2);
        told.publish(1, "t", "one", 2).read_only(2, "t", "one", 2, 7).lose(2);
        told.read(3, "t", "one", 2);
        fails(Shared, &told, "SH");
    }

    #[test]
    fn two_members_that_are_both_there_are_wrong() {
        let mut told = three(1);
        told.publish(1, "t", "one", 1).read(2, "t", "one", 1).read(3, "t", "one", 1);
        fails(Shared, &told, "SH");
    }

    #[test]
    fn no_member_is_wrong() {
        let mut told = three(1);
        told.publish(1, "t", "one", 1).end();
        fails(Shared, &told, "SH");
    }

    /// A member leaves for good, before or after a message is published; the other one is there.
    fn left_alone(qos: u8, leaves_first: bool, is_read: bool) -> Told {
        let mut told = three(qos);
        if leaves_first {
            told.lose(3).wait(200).publish(1, "t", "one", qos);
        } else {
            told.publish(1, "t", "one", qos).wait(200).lose(3);
        }
        if is_read {
            told.read(2, "t", "one", qos);
        }
        told.end();
        told
    }

    #[test]
    fn a_dead_member_takes_only_what_it_may_have_begun_at_qos_2() {
        for (qos, leaves_first) in [(1, true), (1, false), (2, true), (2, false)] {
            passes(Shared, &left_alone(qos, leaves_first, true));
        }
        passes(Shared, &left_alone(2, false, false));
        for (qos, leaves_first) in [(1, true), (1, false), (2, true)] {
            fails(Shared, &left_alone(qos, leaves_first, false), "SH");
        }
    }

    #[test]
    fn a_member_comes_back_to_what_it_may_have_begun_at_qos_2() {
        let returns = |qos, leaves_first| {
            let mut told = three(qos);
            if leaves_first {
                told.lose(3).wait(1000).publish(1, "t", "one", qos);
            } else {
                told.publish(1, "t", "one", qos).lose(3);
            }
            told.wait(1000).resume(4, "c").read(4, "t", "one", qos);
            told
        };
        passes(Shared, &returns(2, false));
        for (qos, leaves_first) in [(2, true), (1, true), (1, false)] {
            fails(Shared, &returns(qos, leaves_first), "SH");
        }
    }

    #[test]
    fn a_member_that_is_there_and_idle_comes_before_one_that_is_away() {
        let returns = |is_busy, waits_ms| {
            let mut told = three(1);
            told.lose(3).wait(1000);
            if is_busy {
                told.publish(1, "t", "zero", 1).read_only(2, "t", "zero", 1, 7);
            }
            told.publish(1, "t", "one", 1).wait(waits_ms).resume(4, "c").read(4, "t", "one", 1);
            told
        };
        passes(Shared, &returns(false, 50));
        passes(Shared, &returns(true, 1000));
        fails(Shared, &returns(false, 1000), "SH");
    }
}
