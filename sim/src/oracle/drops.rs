//! AH, of what the broker says it dropped: the reason that it gives can be the true one. Expiry is
//! judged with MX, permission with AU, and the quotas with theirs.

use std::collections::BTreeMap;

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Client, Model, Publication, Seen, Session};
use crate::oracle::properties as property;
use crate::oracle::quotas::size_bytes;
use crate::oracle::rule::{Rule, violation};
use crate::oracle::topic::{matches, split_share};
use crate::packet::{AckKind, Packet};

/// The most bytes of a PUBLISH besides topic, payload and properties that have a length of their own:
/// the header, lengths, the identifier, and every property that is a number.
const OVERHEAD_BYTES: u64 = 64;
/// The most bytes that a subscription identifier takes.
const SUBSCRIPTION_ID_BYTES: u64 = 5;

/// Judges AH of notices.
#[derive(Default)]
pub(crate) struct TrueDrops {
    /// For each client identifier, refusals that no notice has been given for.
    refusals: BTreeMap<String, usize>,
}

impl Rule for TrueDrops {
    fn look(&mut self, model: &Model, _seen: &Seen, event: &Event) -> Result<(), Violation> {
        if let What::Sent { connection, packet: Packet::Ack { kind, reason, .. } } = &event.what
            && matches!(kind, AckKind::PubAck | AckKind::PubRec)
            && *reason >= 0x80
            && let Some(connection) = model.connections.get(connection)
        {
            *self.refusals.entry(connection.client_id.clone()).or_default() += 1;
        }
        let What::Dropped { receiver, topic, cause } = &event.what else { return Ok(()) };
        let wrong = match cause.as_str() {
            "QueueFull" => not_full(model, receiver, topic),
            "TooLarge" => not_too_large(model, receiver, topic),
            "ShareEnded" => not_ended(model, receiver),
            "RefusedByClient" => self.not_refused(model, receiver),
            "Expired" | "NotAuthorized" | "OverQuota" | "Offline" | What::WILL_REFUSED => None,
            _ => Some("which is no reason".to_owned()),
        };
        let Some(wrong) = wrong else { return Ok(()) };
        let what =
            format!("a message on {topic:?} is dropped for {receiver:?} as {cause}, {wrong}");
        Err(violation("AH", what, [model.now.index]))
    }
}

impl TrueDrops {
    fn not_refused(&mut self, model: &Model, receiver: &str) -> Option<String> {
        let client = model.clients.get(receiver)?;
        if may_do_anything(model, client) {
            return None;
        }
        match self.refusals.get_mut(receiver).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                None
            }
            None => Some("and it refused nothing".to_owned()),
        }
    }
}

/// Whether something was sent for the client that no packet of the history shows.
fn may_do_anything(model: &Model, client: &Client) -> bool {
    let connections = client.connections.iter().filter_map(|one| model.connections.get(one));
    connections.into_iter().any(|one| one.misbehaved.is_some())
        || sessions(model, client).any(|session| session.hostile.is_some())
}

fn sessions<'a>(model: &'a Model, client: &'a Client) -> impl Iterator<Item = &'a Session> {
    client.sessions.iter().map(|session| &model.sessions[*session])
}

/// The queue of a receiver cannot have been at its limit.
fn not_full(model: &Model, receiver: &str, topic: &str) -> Option<String> {
    let (messages, bytes) = (model.bounds.queue_messages, model.bounds.queue_bytes);
    let share = split_share(receiver);
    // At QoS 0 a share's message does not wait for a member that has room.
    let of_qos0 = |found: &Publication| found.qos == 0 && found.topic == topic;
    if share.is_some() && model.publications.iter().any(of_qos0) {
        return None;
    }
    if messages == u64::MAX && bytes == u64::MAX {
        return Some("and no limit is in reach".to_owned());
    }
    let copies: Vec<(u64, u64)> = match share {
        Some((_, filter)) => {
            let all = model.publications.iter().filter(|found| matches(filter, &found.topic));
            all.map(|found| (found.instances as u64, size_bytes(found))).collect()
        }
        None => can_wait(model, model.clients.get(receiver)?)?,
    };
    // A will without a payload has no token, and is not among the publications.
    let bare = model.connections.values().filter_map(|one| one.connect.as_ref());
    let bare = bare.filter_map(|(_, connect)| connect.will.as_ref());
    let bare = bare.filter(|will| will.payload.is_empty());
    let bare = bare.map(|will| (1, will.topic.len() as u64));
    let all = copies.into_iter().chain(bare);
    let (count, size) =
        all.fold((0, 0), |(count, size), (copies, bytes)| (count + copies, size + copies * bytes));
    (count <= messages && size <= bytes).then(|| {
        format!("and no more than {count} messages of {size} bytes can have waited with it")
    })
}

/// How many copies of what size can have waited for a client, of each publication, if that is known.
fn can_wait(model: &Model, client: &Client) -> Option<Vec<(u64, u64)>> {
    let is_unclear = client.attempts.iter().any(|attempt| {
        model.connections.get(attempt).is_none_or(|attempt| attempt.connack.is_none())
    });
    // What the broker tells of itself is no client's publication.
    let mut filters = sessions(model, client).flat_map(Session::all);
    if is_unclear
        || may_do_anything(model, client)
        || filters.any(|one| one.filter.starts_with('$'))
    {
        return None;
    }
    let all = model.publications.iter();
    let copies = all.map(|found| {
        let copies: usize = sessions(model, client).map(|session| session.copies(found)).sum();
        (copies as u64, size_bytes(found))
    });
    Some(copies.collect())
}

/// Nothing on the topic can have been too large for the receiver.
fn not_too_large(model: &Model, receiver: &str, topic: &str) -> Option<String> {
    let client = model.clients.get(receiver)?;
    if topic.starts_with('$') || may_do_anything(model, client) {
        return None;
    }
    let connections = client.connections.iter().filter_map(|one| model.connections.get(one));
    let stated = connections.filter_map(|one| one.asked(property::MAXIMUM_PACKET_SIZE)).min();
    let Some(maximum) = stated else { return Some("and it takes any size".to_owned()) };
    let subscriptions = sessions(model, client).flat_map(Session::all).count() as u64;
    let more = OVERHEAD_BYTES + topic.len() as u64 + SUBSCRIPTION_ID_BYTES * subscriptions;
    let on_topic = model.publications.iter().filter(|found| found.topic == topic);
    // Each text among the properties has its length, and its kind, before it.
    let sizes = on_topic.map(|found| size_bytes(found) + 5 * found.properties.len() as u64);
    let largest = sizes.max().unwrap_or(0) + more;
    (largest <= u64::from(maximum))
        .then(|| format!("and it takes {maximum} bytes, where {largest} are the most"))
}

/// A share has not ended: a member surely is there.
fn not_ended(model: &Model, whole: &str) -> Option<String> {
    let member = model.sessions.iter().find(|session| {
        let versions = session.subscriptions.get(whole).into_iter().flatten();
        let mut standing = versions.filter(|found| {
            let is_standing = found.granted.is_some() && found.end_requested.is_none();
            is_standing && found.is_certain && !found.refused
        });
        standing.next().is_some() && surely_lives(model, session)
    })?;
    Some(format!("and {:?} is a member", member.client_id))
}

/// Whether a session surely has not ended.
fn surely_lives(model: &Model, session: &Session) -> bool {
    let Some(client) = model.clients.get(&session.client_id) else { return false };
    let Some(number) = session.connections.last() else { return false };
    let Some(connection) = model.connections.get(number) else { return false };
    session.replaced.is_none()
        && session.hostile.is_none()
        && session.ended_by_order.is_none()
        && client.attempts.as_slice() == [*number]
        && model.expiry_s(*number) > 0
        && model.expiring(connection).from_ms > model.now.at_ms
}

#[cfg(test)]
mod tests {
    use super::TrueDrops;
    use crate::oracle::model::Bounds;
    use crate::oracle::properties as property;
    use crate::oracle::told::{
        Told, connect_of, fails, fails_within, number, passes, passes_within,
    };
    use crate::packet::{AckKind, Connect, Packet};

    /// One message of six bytes waits for "b".
    fn one() -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1).lose(2);
        told.publish(1, "t", "12345", 1);
        told
    }

    #[test]
    fn a_queue_is_full_at_a_limit_alone() {
        let messages = |most| Bounds { queue_messages: most, ..Bounds::default() };
        let bytes = |most| Bounds { queue_bytes: most, ..Bounds::default() };
        let mut told = one();
        told.publish(1, "t", "67890", 1).dropped("b", "t", "QueueFull");
        fails(TrueDrops::default(), &told, "AH");
        passes_within(messages(1), TrueDrops::default(), &told);
        fails_within(messages(2), TrueDrops::default(), &told, "AH");
        passes_within(bytes(11), TrueDrops::default(), &told);
        fails_within(bytes(12), TrueDrops::default(), &told, "AH");
    }

    #[test]
    fn a_share_is_full_at_a_limit_or_for_qos_0() {
        let limits = |most| Bounds { queue_messages: most, ..Bounds::default() };
        let full = |qos| {
            let mut told = Told::new();
            told.durable(1, "a").durable(2, "b").subscribe(2, "$share/g/t", 1).lose(2);
            told.publish(1, "t", "one", qos).publish(1, "t", "two", qos);
            told.dropped("$share/g/t", "t", "QueueFull");
            told
        };
        passes(TrueDrops::default(), &full(0));
        fails(TrueDrops::default(), &full(1), "AH");
        passes_within(limits(1), TrueDrops::default(), &full(1));
        fails_within(limits(2), TrueDrops::default(), &full(1), "AH");
    }

    #[test]
    fn what_is_too_large_is_larger_than_its_receiver_said() {
        let takes = |maximum: Option<u32>, token: &str| {
            let mut told = Told::new();
            let stated = maximum.map(|maximum| number(property::MAXIMUM_PACKET_SIZE, maximum));
            let properties = stated.into_iter().collect();
            told.durable(1, "a").enters(2, Connect { properties, ..connect_of("b") }, false);
            told.subscribe(2, "t", 1).publish(1, "t", token, 1).dropped("b", "t", "TooLarge");
            told
        };
        let large = "x".repeat(200);
        passes(TrueDrops::default(), &takes(Some(100), &large));
        fails(TrueDrops::default(), &takes(None, &large), "AH");
        fails(TrueDrops::default(), &takes(Some(100), "one"), "AH");
    }

    #[test]
    fn a_share_ends_with_its_last_member() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").durable(3, "c");
        told.subscribe(2, "$share/g/t", 1).subscribe(3, "$share/g/t", 1).lose(3);
        told.unsubscribe(2, "$share/g/t", 0);
        fails(TrueDrops::default(), told.dropped("$share/g/t", "t", "ShareEnded"), "AH");
        let mut told = Told::new();
        told.durable(2, "b").subscribe(2, "$share/g/t", 1);
        told.unsubscribe(2, "$share/g/t", 0).dropped("$share/g/t", "t", "ShareEnded");
        passes(TrueDrops::default(), &told);
        let mut told = Told::new();
        told.durable(2, "b").subscribe(2, "$share/g/t", 1).lose(2).wait(2_000_000);
        passes(TrueDrops::default(), told.dropped("$share/g/t", "t", "ShareEnded"));
    }

    #[test]
    fn each_refusal_is_one() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1);
        told.publish(1, "t", "one", 1).read_only(2, "t", "one", 1, 7);
        let (kind, properties) = (AckKind::PubAck, Vec::new());
        told.sent(2, Packet::Ack { kind, id: 7, reason: 0x97, properties });
        passes(TrueDrops::default(), told.dropped("b", "t", "RefusedByClient"));
        fails(TrueDrops::default(), told.dropped("b", "t", "RefusedByClient"), "AH");
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 1);
        told.publish(1, "t", "one", 1).read(2, "t", "one", 1);
        fails(TrueDrops::default(), told.dropped("b", "t", "RefusedByClient"), "AH");
    }

    #[test]
    fn a_reason_that_is_none_is_wrong() {
        fails(TrueDrops::default(), one().dropped("b", "t", "Bored"), "AH");
    }
}
