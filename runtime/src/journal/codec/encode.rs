//! From records to bytes.

use bytes::{BufMut, BytesMut};
use signalhouse_core::message::Message;
use signalhouse_core::quota::{Holder, Owner};
use signalhouse_core::record::{
    Enqueued, Origin, Receiver, ReplayState, Requested, RetainedChange, SessionId,
};
use signalhouse_core::wire::packet::{SubscriptionOptions, Will};
use signalhouse_core::wire::property::{MessageProperties, SubscriptionIds};
use signalhouse_core::wire::types::{PacketId, QoS, Text, Version};
use signalhouse_core::{Record, Time};

use super::{flag, tag};

/// Appends `record` to `out`.
pub fn encode(record: &Record, out: &mut BytesMut) {
    match record {
        Record::Connected { .. } => connected(record, out),
        Record::Disconnected {
            session,
            session_expiry_interval_s,
            keeps_will,
            maybe_sent_before,
            at,
        } => {
            head(tag::DISCONNECTED, *session, out);
            number(u64::from(*session_expiry_interval_s), out);
            out.put_u8(u8::from(*keeps_will));
            number(maybe_sent_before.0, out);
            number(at.as_ms(), out);
        }
        Record::SessionEnded { session } => head(tag::SESSION_ENDED, *session, out),
        Record::WillDropped { session } => head(tag::WILL_DROPPED, *session, out),
        Record::Subscribed { .. } => subscribed(record, out),
        Record::Unsubscribed { session, filter } => {
            head(tag::UNSUBSCRIBED, *session, out);
            bytes(filter.as_text().as_bytes(), out);
        }
        Record::Published { .. } => published(record, out),
        Record::Requeued { .. } => requeued(record, out),
        Record::Replayed { .. } => replayed(record, out),
        Record::ReplayEnded { session, filter } => {
            head(tag::REPLAY_ENDED, *session, out);
            bytes(filter.as_text().as_bytes(), out);
        }
        Record::Bound { session, seq, packet_id } => {
            head(tag::BOUND, *session, out);
            number(seq.0, out);
            number(packet_id.0.value().into(), out);
        }
        Record::Received { session, packet_id } => {
            exchange(tag::RECEIVED, *session, packet_id.0, out);
        }
        Record::Completed { session, packet_id } => {
            exchange(tag::COMPLETED, *session, packet_id.0, out);
        }
        Record::Removed { receiver, seq } => {
            out.put_u8(tag::REMOVED);
            put_receiver(*receiver, out);
            number(seq.0, out);
        }
        Record::Moved { .. } => moved(record, out),
        Record::InboundHeld { session, packet_id } => {
            exchange(tag::INBOUND_HELD, *session, packet_id.0, out);
        }
        Record::InboundReleased { session, packet_id } => {
            exchange(tag::INBOUND_RELEASED, *session, packet_id.0, out);
        }
        Record::Requested(request) => requested_alone(request, out),
        Record::RetainedCleared { topic } => {
            out.put_u8(tag::RETAINED_CLEARED);
            bytes(topic.as_text().as_bytes(), out);
        }
        Record::Counted { holder, day, count } => counted(holder, *day, *count, out),
        Record::Counters { next_session, next_group, next_message, next_seq } => {
            head(tag::COUNTERS, *next_session, out);
            number(next_group.0, out);
            number(next_message.0, out);
            number(next_seq.0, out);
        }
    }
}

fn counted(holder: &Holder, day: u64, count: u64, out: &mut BytesMut) {
    let (kind, name) = match holder {
        Holder::User(name) => (0, name),
        Holder::Client(name) => (1, name),
        Holder::Address(name) => (2, name),
        Holder::Key(id) => (3, id),
    };
    out.put_u8(tag::COUNTED);
    out.put_u8(kind);
    bytes(name.as_bytes(), out);
    number(day, out);
    number(count, out);
}

fn requested_alone(request: &Requested, out: &mut BytesMut) {
    out.put_u8(tag::REQUESTED);
    requested(request, out);
}

fn requested(request: &Requested, out: &mut BytesMut) {
    let Requested { identity, key, fingerprint, matched, at } = request;
    out.put_u8(u8::from(identity.is_some()));
    if let Some(identity) = identity {
        bytes(identity.as_bytes(), out);
    }
    bytes(key.as_bytes(), out);
    number(*fingerprint, out);
    number(u64::from(*matched), out);
    number(at.as_ms(), out);
}

fn requeued(record: &Record, out: &mut BytesMut) {
    let Record::Requeued { message, qos, content_bytes, expires_at, entries } = record else {
        return;
    };
    out.put_u8(tag::REQUEUED);
    number(message.0, out);
    out.put_u8(*qos as u8 | set(flag::EXPIRY, expires_at.is_some()));
    number(u64::from(*content_bytes), out);
    if let Some(at) = expires_at {
        number(at.as_ms(), out);
    }
    number(entries.len() as u64, out);
    for entry in entries {
        enqueued(entry, out);
    }
}

fn replayed(record: &Record, out: &mut BytesMut) {
    let Record::Replayed { session, filter, topic, early, message, entry } = record else {
        return;
    };
    head(tag::REPLAYED, *session, out);
    bytes(filter.as_text().as_bytes(), out);
    bytes(topic.as_text().as_bytes(), out);
    out.put_u8(u8::from(*early));
    number(message.0, out);
    enqueued(entry, out);
}

fn moved(record: &Record, out: &mut BytesMut) {
    let Record::Moved { from, seq, to, qos, subscription_ids, retain } = record else {
        return;
    };
    out.put_u8(tag::MOVED);
    put_receiver(*from, out);
    number(seq.0, out);
    put_receiver(*to, out);
    out.put_u8(*qos as u8 | set(flag::RETAIN, *retain) | ids_flag(subscription_ids));
    ids(subscription_ids, out);
}

fn exchange(tag: u8, session: SessionId, packet_id: PacketId, out: &mut BytesMut) {
    head(tag, session, out);
    number(packet_id.value().into(), out);
}

fn connected(record: &Record, out: &mut BytesMut) {
    let Record::Connected {
        session,
        client_id,
        identity,
        claims,
        address,
        key,
        version,
        session_expiry_interval_s,
        will,
        at,
    } = record
    else {
        return;
    };
    head(tag::CONNECTED, *session, out);
    bytes(client_id.as_bytes(), out);
    let version = match version {
        Version::V31 => 0,
        Version::V311 => 1,
        Version::V5 => 2,
    };
    out.put_u8(
        version
            | set(flag::IDENTITY, identity.is_some())
            | set(flag::CLAIMS, !claims.is_empty())
            | set(flag::ADDRESS, address.is_some())
            | set(flag::KEY, key.is_some())
            | set(flag::WILL, will.is_some()),
    );
    if let Some(identity) = identity {
        bytes(identity.as_bytes(), out);
    }
    if !claims.is_empty() {
        pairs(claims.iter().count(), claims.iter(), out);
    }
    for name in [address, key].into_iter().flatten() {
        bytes(name.as_bytes(), out);
    }
    number(u64::from(*session_expiry_interval_s), out);
    if let Some(will) = will {
        put_will(will, out);
    }
    number(at.as_ms(), out);
}

fn subscribed(record: &Record, out: &mut BytesMut) {
    let Record::Subscribed { session, filter, options, subscription_id, group, replay } = record
    else {
        return;
    };
    head(tag::SUBSCRIBED, *session, out);
    bytes(filter.as_text().as_bytes(), out);
    let SubscriptionOptions { maximum_qos, no_local, retain_as_published, retain_handling } =
        *options;
    out.put_u8(
        maximum_qos as u8
            | set(flag::NO_LOCAL, no_local)
            | set(flag::AS_PUBLISHED, retain_as_published)
            | (retain_handling as u8) << flag::HANDLING.trailing_zeros()
            | set(flag::SUBSCRIPTION_ID, subscription_id.is_some())
            | set(flag::SHARED, group.is_some()),
    );
    if let Some(id) = subscription_id {
        number(u64::from(*id), out);
    }
    if let Some(group) = group {
        number(group.0, out);
    }
    let Some(ReplayState { before, after_topic, early }) = replay else {
        out.put_u8(0);
        return;
    };
    out.put_u8(flag::REPLAY | set(flag::AFTER_TOPIC, after_topic.is_some()));
    number(before.0, out);
    if let Some(topic) = after_topic {
        bytes(topic.as_text().as_bytes(), out);
    }
    number(early.len() as u64, out);
    for topic in early {
        bytes(topic.as_text().as_bytes(), out);
    }
}

fn published(record: &Record, out: &mut BytesMut) {
    let Record::Published { message, origin, retained, entries, at } = record else { return };
    out.put_u8(tag::PUBLISHED);
    put_message(message, *at, out);
    let origin_bits = match origin {
        Origin::Untracked => 0,
        Origin::Inbound { .. } => 1,
        Origin::Will { .. } => 2,
        Origin::Request(_) => 3,
    };
    let (change, publisher) = match retained {
        RetainedChange::None => (0, None),
        RetainedChange::Set { publisher } => (1, publisher.as_ref()),
        RetainedChange::Clear => (2, None),
    };
    out.put_u8(
        origin_bits
            | change << flag::RETAINED.trailing_zeros()
            | set(flag::PUBLISHER, publisher.is_some())
            | set(
                flag::PUBLISHER_IDENTITY,
                publisher.is_some_and(|owner| owner.identity.is_some()),
            )
            | set(flag::PUBLISHER_ADDRESS, publisher.is_some_and(|owner| owner.address.is_some()))
            | set(flag::PUBLISHER_KEY, publisher.is_some_and(|owner| owner.key.is_some())),
    );
    match origin {
        Origin::Untracked => {}
        Origin::Inbound { session, packet_id } => {
            number(session.0, out);
            number(packet_id.0.value().into(), out);
        }
        Origin::Will { session } => number(session.0, out),
        Origin::Request(request) => requested(request, out),
    }
    if let Some(owner) = publisher {
        let Owner { identity, client_id, address, key } = owner.as_ref();
        bytes(client_id.as_bytes(), out);
        for name in [identity, address, key].into_iter().flatten() {
            bytes(name.as_bytes(), out);
        }
    }
    number(entries.len() as u64, out);
    for entry in entries {
        enqueued(entry, out);
    }
}

fn put_message(message: &Message, at: Option<Time>, out: &mut BytesMut) {
    number(message.id.0, out);
    bytes(message.topic.as_text().as_bytes(), out);
    bytes(&message.payload, out);
    out.put_u8(
        message.qos as u8
            | set(flag::EXPIRY, message.expires_at.is_some())
            | set(flag::PROPERTIES, message.properties.is_some())
            | set(flag::AT, at.is_some()),
    );
    for moment in [message.expires_at, at].into_iter().flatten() {
        number(moment.as_ms(), out);
    }
    if let Some(properties) = &message.properties {
        put_properties(properties, out);
    }
}

fn put_will(will: &Will, out: &mut BytesMut) {
    bytes(will.topic.as_text().as_bytes(), out);
    bytes(&will.payload, out);
    out.put_u8(
        will.qos as u8
            | set(flag::RETAIN, will.retain)
            | set(flag::EXPIRY, will.message_expiry_interval_s.is_some())
            | set(flag::PROPERTIES, will.properties.is_some()),
    );
    number(u64::from(will.delay_interval_s), out);
    if let Some(seconds) = will.message_expiry_interval_s {
        number(u64::from(seconds), out);
    }
    if let Some(properties) = &will.properties {
        put_properties(properties, out);
    }
}

fn put_properties(properties: &MessageProperties, out: &mut BytesMut) {
    let MessageProperties {
        payload_format_indicator,
        content_type,
        response_topic,
        correlation_data,
        user_properties,
    } = properties;
    out.put_u8(
        set(flag::FORMAT, payload_format_indicator.is_some())
            | set(flag::FORMAT_VALUE, *payload_format_indicator == Some(true))
            | set(flag::CONTENT_TYPE, content_type.is_some())
            | set(flag::RESPONSE_TOPIC, response_topic.is_some())
            | set(flag::CORRELATION, correlation_data.is_some())
            | set(flag::USER, !user_properties.is_empty()),
    );
    if let Some(content_type) = content_type {
        bytes(content_type.as_bytes(), out);
    }
    if let Some(topic) = response_topic {
        bytes(topic.as_text().as_bytes(), out);
    }
    if let Some(data) = correlation_data {
        bytes(data, out);
    }
    if !user_properties.is_empty() {
        pairs(user_properties.len(), user_properties.iter(), out);
    }
}

fn pairs<'a>(count: usize, pairs: impl Iterator<Item = &'a (Text, Text)>, out: &mut BytesMut) {
    number(count as u64, out);
    for (name, value) in pairs {
        bytes(name.as_bytes(), out);
        bytes(value.as_bytes(), out);
    }
}

fn enqueued(entry: &Enqueued, out: &mut BytesMut) {
    let Enqueued { receiver, seq, qos, retain, maybe_sent, group, subscription_ids } = entry;
    let (at_group, id) = match receiver {
        Receiver::Session(id) => (false, id.0),
        Receiver::Group(id) => (true, id.0),
    };
    out.put_u8(
        *qos as u8
            | set(flag::RETAIN, *retain)
            | set(flag::MAYBE_SENT, *maybe_sent)
            | set(flag::AT_GROUP, at_group)
            | set(flag::FROM_GROUP, group.is_some())
            | ids_flag(subscription_ids),
    );
    number(id, out);
    number(seq.0, out);
    if let Some(group) = group {
        number(group.0, out);
    }
    ids(subscription_ids, out);
}

fn ids_flag(ids: &SubscriptionIds) -> u8 {
    let form = match ids {
        SubscriptionIds::None => 0,
        SubscriptionIds::One(_) => 1,
        SubscriptionIds::Many(_) => 2,
    };
    form << flag::IDS.trailing_zeros()
}

fn ids(ids: &SubscriptionIds, out: &mut BytesMut) {
    match ids {
        SubscriptionIds::None => {}
        SubscriptionIds::One(id) => number(u64::from(*id), out),
        SubscriptionIds::Many(all) => {
            number(all.len() as u64, out);
            for id in all {
                number(u64::from(*id), out);
            }
        }
    }
}

fn put_receiver(receiver: Receiver, out: &mut BytesMut) {
    match receiver {
        Receiver::Session(id) => {
            out.put_u8(0);
            number(id.0, out);
        }
        Receiver::Group(id) => {
            out.put_u8(1);
            number(id.0, out);
        }
    }
}

fn head(tag: u8, session: SessionId, out: &mut BytesMut) {
    out.put_u8(tag);
    number(session.0, out);
}

fn set(flag: u8, is_set: bool) -> u8 {
    if is_set { flag } else { 0 }
}

fn bytes(bytes: &[u8], out: &mut BytesMut) {
    number(bytes.len() as u64, out);
    out.put_slice(bytes);
}

/// LEB128: seven bits a byte, the lowest first.
pub(in crate::journal) fn number(mut value: u64, out: &mut BytesMut) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

const _: () = assert!(QoS::ExactlyOnce as u8 <= flag::QOS);
