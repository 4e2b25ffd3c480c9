//! From bytes to records.

use std::sync::Arc;

use bytes::Bytes;
use signalhouse_core::Time;
use signalhouse_core::credential::Claims;
use signalhouse_core::message::Message;
use signalhouse_core::quota::{Holder, Owner};
use signalhouse_core::record::{
    Enqueued, GroupId, Origin, QueueSeq, Receiver, Record, ReplayState, Requested, RetainedChange,
    SessionId,
};
use signalhouse_core::wire::packet::{RetainHandling, SubscriptionOptions, Will};
use signalhouse_core::wire::property::{MessageProperties, SubscriptionIds};
use signalhouse_core::wire::types::{InboundPacketId, OutboundPacketId, Text, Version};

use super::cursor::{Cursor, DecodeRecordError, check_message, qos};
use super::{flag, tag};

/// The record that `bytes` are, all of them.
///
/// # Errors
/// [`DecodeRecordError`] says why they are none.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeRecordError> {
    match decode_first(bytes)? {
        (record, []) => Ok(record),
        (_, _) => Err(DecodeRecordError::LeftOver),
    }
}

/// The record that `bytes` begin with, and what is behind it.
///
/// # Errors
/// [`DecodeRecordError`] says why there is none.
pub fn decode_first(bytes: &[u8]) -> Result<(Record, &[u8]), DecodeRecordError> {
    let mut cursor = Cursor::new(bytes);
    let record = record(&mut cursor)?;
    Ok((record, cursor.rest()))
}

fn record(cursor: &mut Cursor<'_>) -> Result<Record, DecodeRecordError> {
    let tag = cursor.byte()?;
    match tag {
        tag::CONNECTED => connected(cursor),
        tag::SUBSCRIBED => subscribed(cursor),
        tag::PUBLISHED => published(cursor),
        tag::REQUEUED => requeued(cursor),
        tag::COUNTED => counted(cursor),
        tag::REQUESTED => Ok(Record::Requested(Box::new(requested(cursor)?))),
        tag::REMOVED | tag::MOVED | tag::RETAINED_CLEARED => of_queues(tag, cursor),
        _ => of_session(tag, cursor),
    }
}

fn of_queues(tag: u8, cursor: &mut Cursor<'_>) -> Result<Record, DecodeRecordError> {
    Ok(match tag {
        tag::REMOVED => {
            Record::Removed { receiver: receiver(cursor)?, seq: QueueSeq(cursor.number()?) }
        }
        tag::MOVED => {
            let (from, seq) = (receiver(cursor)?, QueueSeq(cursor.number()?));
            let to = receiver(cursor)?;
            let flags = cursor.flags(flag::QOS | flag::RETAIN | flag::IDS)?;
            Record::Moved {
                from,
                seq,
                to,
                qos: qos(flags & flag::QOS)?,
                subscription_ids: ids(flags, cursor)?,
                retain: flags & flag::RETAIN != 0,
            }
        }
        tag::RETAINED_CLEARED => Record::RetainedCleared { topic: cursor.topic()? },
        other => return Err(DecodeRecordError::Tag(other)),
    })
}

fn counted(cursor: &mut Cursor<'_>) -> Result<Record, DecodeRecordError> {
    let kind = cursor.byte()?;
    let name = cursor.text()?;
    let holder = match kind {
        0 => Holder::User(name),
        1 => Holder::Client(name),
        2 => Holder::Address(name),
        3 => Holder::Key(name),
        _ => return Err(DecodeRecordError::Value("holder")),
    };
    Ok(Record::Counted { holder, day: cursor.number()?, count: cursor.number()? })
}

fn requested(cursor: &mut Cursor<'_>) -> Result<Requested, DecodeRecordError> {
    let identity = if cursor.truth()? { Some(cursor.text()?) } else { None };
    Ok(Requested {
        identity,
        key: cursor.text()?,
        fingerprint: cursor.number()?,
        matched: cursor.small()?,
        at: Time::from_ms(cursor.number()?),
    })
}

fn of_session(tag: u8, cursor: &mut Cursor<'_>) -> Result<Record, DecodeRecordError> {
    if !(tag::CONNECTED..=tag::COUNTERS).contains(&tag) {
        return Err(DecodeRecordError::Tag(tag));
    }
    let session = SessionId(cursor.number()?);
    Ok(match tag {
        tag::DISCONNECTED => Record::Disconnected {
            session,
            session_expiry_interval_s: cursor.small()?,
            keeps_will: cursor.truth()?,
            maybe_sent_before: QueueSeq(cursor.number()?),
            at: Time::from_ms(cursor.number()?),
        },
        tag::SESSION_ENDED => Record::SessionEnded { session },
        tag::WILL_DROPPED => Record::WillDropped { session },
        tag::UNSUBSCRIBED => Record::Unsubscribed { session, filter: cursor.filter()? },
        tag::REPLAYED => Record::Replayed {
            session,
            filter: cursor.filter()?,
            topic: cursor.topic()?,
            early: cursor.truth()?,
            message: cursor.message_id()?,
            entry: enqueued(cursor)?,
        },
        tag::REPLAY_ENDED => Record::ReplayEnded { session, filter: cursor.filter()? },
        tag::BOUND => Record::Bound {
            session,
            seq: QueueSeq(cursor.number()?),
            packet_id: OutboundPacketId(cursor.packet_id()?),
        },
        tag::RECEIVED => {
            Record::Received { session, packet_id: OutboundPacketId(cursor.packet_id()?) }
        }
        tag::COMPLETED => {
            Record::Completed { session, packet_id: OutboundPacketId(cursor.packet_id()?) }
        }
        tag::INBOUND_HELD => {
            Record::InboundHeld { session, packet_id: InboundPacketId(cursor.packet_id()?) }
        }
        tag::INBOUND_RELEASED => {
            Record::InboundReleased { session, packet_id: InboundPacketId(cursor.packet_id()?) }
        }
        tag::COUNTERS => Record::Counters {
            next_session: session,
            next_group: GroupId(cursor.number()?),
            next_message: cursor.message_id()?,
            next_seq: QueueSeq(cursor.number()?),
        },
        other => return Err(DecodeRecordError::Tag(other)),
    })
}

fn connected(cursor: &mut Cursor<'_>) -> Result<Record, DecodeRecordError> {
    let session = SessionId(cursor.number()?);
    let client_id = cursor.text()?;
    let known = flag::VERSION | flag::IDENTITY | flag::CLAIMS | flag::WILL;
    let flags = cursor.flags(known | flag::ADDRESS | flag::KEY)?;
    let version = match flags & flag::VERSION {
        0 => Version::V31,
        1 => Version::V311,
        2 => Version::V5,
        _ => return Err(DecodeRecordError::Value("version")),
    };
    let identity = if flags & flag::IDENTITY == 0 { None } else { Some(cursor.text()?) };
    let claims = if flags & flag::CLAIMS == 0 { Claims::NONE } else { Claims::new(pairs(cursor)?) };
    let address = if flags & flag::ADDRESS == 0 { None } else { Some(cursor.text()?) };
    let key = if flags & flag::KEY == 0 { None } else { Some(cursor.text()?) };
    let session_expiry_interval_s = cursor.small()?;
    let will = if flags & flag::WILL == 0 { None } else { Some(Arc::new(will(cursor)?)) };
    let at = Time::from_ms(cursor.number()?);
    Ok(Record::Connected {
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
    })
}

fn subscribed(cursor: &mut Cursor<'_>) -> Result<Record, DecodeRecordError> {
    let session = SessionId(cursor.number()?);
    let filter = cursor.filter()?;
    let flags = cursor.byte()?;
    let retain_handling = match (flags & flag::HANDLING) >> flag::HANDLING.trailing_zeros() {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(DecodeRecordError::Value("retain handling")),
    };
    let options = SubscriptionOptions {
        maximum_qos: qos(flags & flag::QOS)?,
        no_local: flags & flag::NO_LOCAL != 0,
        retain_as_published: flags & flag::AS_PUBLISHED != 0,
        retain_handling,
    };
    let subscription_id =
        if flags & flag::SUBSCRIPTION_ID == 0 { None } else { Some(cursor.small()?) };
    let group = if flags & flag::SHARED == 0 { None } else { Some(GroupId(cursor.number()?)) };
    let flags = cursor.flags(flag::REPLAY | flag::AFTER_TOPIC)?;
    let replay = match flags & flag::REPLAY {
        0 if flags == 0 => None,
        0 => return Err(DecodeRecordError::Value("flags")),
        _ => Some(replay(flags, cursor)?),
    };
    Ok(Record::Subscribed { session, filter, options, subscription_id, group, replay })
}

fn replay(flags: u8, cursor: &mut Cursor<'_>) -> Result<ReplayState, DecodeRecordError> {
    let before = cursor.message_id()?;
    let after_topic = if flags & flag::AFTER_TOPIC == 0 { None } else { Some(cursor.topic()?) };
    let early = (0..cursor.count()?).map(|_| cursor.topic()).collect::<Result<_, _>>()?;
    Ok(ReplayState { before, after_topic, early })
}

fn published(cursor: &mut Cursor<'_>) -> Result<Record, DecodeRecordError> {
    let (message, at) = message(cursor)?;
    let message = Arc::new(message);
    let of_publisher = flag::PUBLISHER_IDENTITY | flag::PUBLISHER_ADDRESS | flag::PUBLISHER_KEY;
    let flags = cursor.flags(flag::ORIGIN | flag::RETAINED | flag::PUBLISHER | of_publisher)?;
    let origin = match flags & flag::ORIGIN {
        0 => Origin::Untracked,
        1 => Origin::Inbound {
            session: SessionId(cursor.number()?),
            packet_id: InboundPacketId(cursor.packet_id()?),
        },
        2 => Origin::Will { session: SessionId(cursor.number()?) },
        _ => Origin::Request(Box::new(requested(cursor)?)),
    };
    let publisher = match flags & flag::PUBLISHER {
        0 if flags & of_publisher != 0 => return Err(DecodeRecordError::Value("flags")),
        0 => None,
        _ => Some(Arc::new(publisher(flags, cursor)?)),
    };
    let change = (flags & flag::RETAINED) >> flag::RETAINED.trailing_zeros();
    let retained = match (change, publisher) {
        (0, None) => RetainedChange::None,
        (1, publisher) => RetainedChange::Set { publisher },
        (2, None) => RetainedChange::Clear,
        _ => return Err(DecodeRecordError::Value("retained change")),
    };
    let entries = (0..cursor.count()?).map(|_| enqueued(cursor)).collect::<Result<_, _>>()?;
    Ok(Record::Published { message, origin, retained, entries, at })
}

fn publisher(flags: u8, cursor: &mut Cursor<'_>) -> Result<Owner, DecodeRecordError> {
    let client_id = cursor.text()?;
    let mut text_if = |flag: u8| {
        if flags & flag == 0 { Ok(None) } else { cursor.text().map(Some) }
    };
    let identity = text_if(flag::PUBLISHER_IDENTITY)?;
    let (address, key) = (text_if(flag::PUBLISHER_ADDRESS)?, text_if(flag::PUBLISHER_KEY)?);
    Ok(Owner { identity, client_id, address, key })
}

fn requeued(cursor: &mut Cursor<'_>) -> Result<Record, DecodeRecordError> {
    let message = cursor.message_id()?;
    let flags = cursor.flags(flag::QOS | flag::EXPIRY)?;
    let content_bytes = cursor.small()?;
    let expires_at = moment_if(flags & flag::EXPIRY, cursor)?;
    let entries = (0..cursor.count()?).map(|_| enqueued(cursor)).collect::<Result<_, _>>()?;
    Ok(Record::Requeued {
        message,
        qos: qos(flags & flag::QOS)?,
        content_bytes,
        expires_at,
        entries,
    })
}

/// A message, and when it was published.
fn message(cursor: &mut Cursor<'_>) -> Result<(Message, Option<Time>), DecodeRecordError> {
    let id = cursor.message_id()?;
    let topic = cursor.topic()?;
    let payload = Bytes::copy_from_slice(cursor.bytes()?);
    let flags = cursor.flags(flag::QOS | flag::EXPIRY | flag::PROPERTIES | flag::AT)?;
    let expires_at = moment_if(flags & flag::EXPIRY, cursor)?;
    let at = moment_if(flags & flag::AT, cursor)?;
    let message = Message {
        id,
        topic,
        payload,
        qos: qos(flags & flag::QOS)?,
        expires_at,
        properties: properties_if(flags, cursor)?,
    };
    check_message(&message)?;
    Ok((message, at))
}

fn moment_if(flag: u8, cursor: &mut Cursor<'_>) -> Result<Option<Time>, DecodeRecordError> {
    if flag == 0 { Ok(None) } else { Ok(Some(Time::from_ms(cursor.number()?))) }
}

fn will(cursor: &mut Cursor<'_>) -> Result<Will, DecodeRecordError> {
    let topic = cursor.topic()?;
    let payload = Bytes::copy_from_slice(cursor.bytes()?);
    let flags = cursor.flags(flag::QOS | flag::RETAIN | flag::EXPIRY | flag::PROPERTIES)?;
    let delay_interval_s = cursor.small()?;
    let message_expiry_interval_s =
        if flags & flag::EXPIRY == 0 { None } else { Some(cursor.small()?) };
    Ok(Will {
        topic,
        payload,
        qos: qos(flags & flag::QOS)?,
        retain: flags & flag::RETAIN != 0,
        delay_interval_s,
        message_expiry_interval_s,
        properties: properties_if(flags, cursor)?,
    })
}

fn properties_if(
    flags: u8,
    cursor: &mut Cursor<'_>,
) -> Result<Option<Box<MessageProperties>>, DecodeRecordError> {
    if flags & flag::PROPERTIES == 0 {
        return Ok(None);
    }
    let known = flag::FORMAT
        | flag::FORMAT_VALUE
        | flag::CONTENT_TYPE
        | flag::RESPONSE_TOPIC
        | flag::CORRELATION
        | flag::USER;
    let flags = cursor.flags(known)?;
    let has = |bit: u8| flags & bit != 0;
    if has(flag::FORMAT_VALUE) && !has(flag::FORMAT) {
        return Err(DecodeRecordError::Value("flags"));
    }
    let mut properties = MessageProperties {
        payload_format_indicator: has(flag::FORMAT).then_some(has(flag::FORMAT_VALUE)),
        ..MessageProperties::default()
    };
    if has(flag::CONTENT_TYPE) {
        properties.content_type = Some(cursor.text()?);
    }
    if has(flag::RESPONSE_TOPIC) {
        properties.response_topic = Some(cursor.topic()?);
    }
    if has(flag::CORRELATION) {
        properties.correlation_data = Some(Bytes::copy_from_slice(cursor.bytes()?));
    }
    if has(flag::USER) {
        properties.user_properties = pairs(cursor)?;
    }
    Ok(Some(Box::new(properties)))
}

/// Names with values, one at least.
fn pairs(cursor: &mut Cursor<'_>) -> Result<Vec<(Text, Text)>, DecodeRecordError> {
    let count = cursor.count()?;
    if count == 0 {
        return Err(DecodeRecordError::Value("list"));
    }
    (0..count).map(|_| Ok((cursor.text()?, cursor.text()?))).collect()
}

fn enqueued(cursor: &mut Cursor<'_>) -> Result<Enqueued, DecodeRecordError> {
    let flags = cursor.byte()?;
    let id = cursor.number()?;
    let seq = QueueSeq(cursor.number()?);
    let group = if flags & flag::FROM_GROUP == 0 { None } else { Some(GroupId(cursor.number()?)) };
    Ok(Enqueued {
        receiver: if flags & flag::AT_GROUP == 0 {
            Receiver::Session(SessionId(id))
        } else {
            Receiver::Group(GroupId(id))
        },
        seq,
        qos: qos(flags & flag::QOS)?,
        retain: flags & flag::RETAIN != 0,
        maybe_sent: flags & flag::MAYBE_SENT != 0,
        group,
        subscription_ids: ids(flags, cursor)?,
    })
}

fn ids(flags: u8, cursor: &mut Cursor<'_>) -> Result<SubscriptionIds, DecodeRecordError> {
    match (flags & flag::IDS) >> flag::IDS.trailing_zeros() {
        0 => Ok(SubscriptionIds::None),
        1 => Ok(SubscriptionIds::One(cursor.small()?)),
        2 => {
            let all: Box<[u32]> =
                (0..cursor.count()?).map(|_| cursor.small()).collect::<Result<_, _>>()?;
            if all.len() < 2 || !all.is_sorted() {
                return Err(DecodeRecordError::Value("subscription identifiers"));
            }
            Ok(SubscriptionIds::Many(all))
        }
        _ => Err(DecodeRecordError::Value("subscription identifiers")),
    }
}

fn receiver(cursor: &mut Cursor<'_>) -> Result<Receiver, DecodeRecordError> {
    if cursor.truth()? {
        Ok(Receiver::Group(GroupId(cursor.number()?)))
    } else {
        Ok(Receiver::Session(SessionId(cursor.number()?)))
    }
}
