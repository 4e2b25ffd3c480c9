//! Any record there can be.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use signalhouse_core::Time;
use signalhouse_core::credential::Claims;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::quota::{Holder, Owner};
use signalhouse_core::record::{
    Enqueued, GroupId, Origin, QueueSeq, Receiver, Record, ReplayState, Requested, RetainedChange,
    SessionId,
};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{RetainHandling, SubscriptionOptions, Will};
use signalhouse_core::wire::property::MessageProperties;
use signalhouse_core::wire::types::{
    InboundPacketId, OutboundPacketId, PacketId, QoS, Text, Version,
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..300, any::<u64>(), Just(u64::MAX)]
}

fn text() -> BoxedStrategy<Text> {
    "[a-zé/]{0,12}".prop_map(|text| Text::try_from(text.as_str()).expect("a string")).boxed()
}

fn topic() -> BoxedStrategy<Topic> {
    "[a-z/]{1,20}".prop_map(|text| Topic::try_from(text.as_str()).expect("a topic")).boxed()
}

fn filter() -> BoxedStrategy<TopicFilter> {
    prop_oneof!["[a-z/]{1,9}", "[a-z]{1,3}/\\+/#", "\\$share/[a-z]{1,3}/[a-z]{1,3}/\\+"]
        .prop_map(|text| TopicFilter::try_from(text.as_str()).expect("a filter"))
        .boxed()
}

fn bytes() -> BoxedStrategy<Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from).boxed()
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn session() -> impl Strategy<Value = SessionId> {
    number().prop_map(SessionId)
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1_u16..).prop_map(|id| PacketId::new(id).expect("not zero"))
}

fn receiver() -> impl Strategy<Value = Receiver> {
    prop_oneof![
        session().prop_map(Receiver::Session),
        number().prop_map(|id| Receiver::Group(GroupId(id)))
    ]
}

fn properties() -> BoxedStrategy<Option<Box<MessageProperties>>> {
    let properties =
        (of(any::<bool>()), of(text()), of(topic()), of(bytes()), vec((text(), text()), 0..3));
    of(properties.prop_map(|(format, content_type, response_topic, correlation_data, user)| {
        Box::new(MessageProperties {
            payload_format_indicator: format,
            content_type,
            response_topic,
            correlation_data,
            user_properties: user,
        })
    }))
    .boxed()
}

fn message() -> BoxedStrategy<Arc<Message>> {
    (number(), topic(), bytes(), qos(), of(number()), properties())
        .prop_map(|(id, topic, payload, qos, expires_at, properties)| {
            Arc::new(Message {
                id: MessageId(id),
                topic,
                payload,
                qos,
                expires_at: expires_at.map(Time::from_ms),
                properties,
            })
        })
        .boxed()
}

fn will() -> BoxedStrategy<Option<Arc<Will>>> {
    let will = (topic(), bytes(), qos(), any::<(bool, u32)>(), of(any::<u32>()), properties());
    of(will.prop_map(|(topic, payload, qos, (retain, delay), expiry, properties)| {
        Arc::new(Will {
            topic,
            payload,
            qos,
            retain,
            delay_interval_s: delay,
            message_expiry_interval_s: expiry,
            properties,
        })
    }))
    .boxed()
}

fn claims() -> BoxedStrategy<Claims> {
    vec((text(), text()), 0..3).prop_map(Claims::new).boxed()
}

fn enqueued() -> BoxedStrategy<Enqueued> {
    let ids = vec(any::<u32>(), 0..4);
    (receiver(), number(), qos(), any::<(bool, bool)>(), of(number()), ids)
        .prop_map(|(receiver, seq, qos, (retain, maybe_sent), group, ids)| Enqueued {
            receiver,
            seq: QueueSeq(seq),
            qos,
            retain,
            maybe_sent,
            group: group.map(GroupId),
            subscription_ids: ids.into_iter().collect(),
        })
        .boxed()
}

fn options() -> BoxedStrategy<SubscriptionOptions> {
    let handling = prop_oneof![
        Just(RetainHandling::Always),
        Just(RetainHandling::IfNew),
        Just(RetainHandling::Never)
    ];
    (qos(), any::<(bool, bool)>(), handling)
        .prop_map(|(maximum_qos, (no_local, retain_as_published), retain_handling)| {
            SubscriptionOptions { maximum_qos, no_local, retain_as_published, retain_handling }
        })
        .boxed()
}

fn requested() -> BoxedStrategy<Box<Requested>> {
    (of(text()), text(), number(), any::<u32>(), number())
        .prop_map(|(identity, key, fingerprint, matched, at)| {
            let at = Time::from_ms(at);
            Box::new(Requested { identity, key, fingerprint, matched, at })
        })
        .boxed()
}

fn owner() -> BoxedStrategy<Arc<Owner>> {
    (of(text()), text(), of(text()), of(text()))
        .prop_map(|(identity, client_id, address, key)| {
            Arc::new(Owner { identity, client_id, address, key })
        })
        .boxed()
}

fn published() -> BoxedStrategy<Record> {
    let origin = prop_oneof![
        Just(Origin::Untracked),
        (session(), packet_id())
            .prop_map(|(session, id)| Origin::Inbound { session, packet_id: InboundPacketId(id) }),
        session().prop_map(|session| Origin::Will { session }),
        requested().prop_map(Origin::Request),
    ];
    let retained = prop_oneof![
        Just(RetainedChange::None),
        of(owner()).prop_map(|publisher| RetainedChange::Set { publisher }),
        Just(RetainedChange::Clear),
    ];
    (message(), origin, retained, vec(enqueued(), 0..4), of(number()))
        .prop_map(|(message, origin, retained, entries, at)| Record::Published {
            message,
            origin,
            retained,
            entries,
            at: at.map(Time::from_ms),
        })
        .boxed()
}

fn requeued() -> BoxedStrategy<Record> {
    (number(), qos(), any::<u32>(), of(number()), vec(enqueued(), 0..4))
        .prop_map(|(message, qos, content_bytes, expires_at, entries)| Record::Requeued {
            message: MessageId(message),
            qos,
            content_bytes,
            expires_at: expires_at.map(Time::from_ms),
            entries,
        })
        .boxed()
}

fn connected() -> BoxedStrategy<Record> {
    let versions = prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)];
    (
        session(),
        text(),
        of(text()),
        (claims(), of(text()), of(text())),
        versions,
        any::<u32>(),
        will(),
        number(),
    )
        .prop_map(
            |(session, client_id, identity, (claims, address, key), version, expiry, will, at)| {
                Record::Connected {
                    session,
                    client_id,
                    identity,
                    claims,
                    address,
                    key,
                    version,
                    session_expiry_interval_s: expiry,
                    will,
                    at: Time::from_ms(at),
                }
            },
        )
        .boxed()
}

fn of_session() -> BoxedStrategy<Record> {
    let disconnected = (session(), any::<(u32, bool)>(), number(), number()).prop_map(
        |(session, (expiry, keeps_will), before, at)| Record::Disconnected {
            session,
            session_expiry_interval_s: expiry,
            keeps_will,
            maybe_sent_before: QueueSeq(before),
            at: Time::from_ms(at),
        },
    );
    let replay =
        (number(), of(topic()), vec(topic(), 0..3)).prop_map(|(before, after_topic, early)| {
            ReplayState { before: MessageId(before), after_topic, early }
        });
    let subscribed = (session(), filter(), options(), of(any::<u32>()), of(number()), of(replay))
        .prop_map(|(session, filter, options, subscription_id, group, replay)| {
            Record::Subscribed {
                session,
                filter,
                options,
                subscription_id,
                group: group.map(GroupId),
                replay,
            }
        });
    let replayed = (session(), filter(), topic(), any::<bool>(), number(), enqueued()).prop_map(
        |(session, filter, topic, early, message, entry)| Record::Replayed {
            session,
            filter,
            topic,
            early,
            message: MessageId(message),
            entry,
        },
    );
    prop_oneof![
        connected(),
        disconnected,
        session().prop_map(|session| Record::SessionEnded { session }),
        session().prop_map(|session| Record::WillDropped { session }),
        subscribed,
        (session(), filter())
            .prop_map(|(session, filter)| Record::Unsubscribed { session, filter }),
        replayed,
        (session(), filter()).prop_map(|(session, filter)| Record::ReplayEnded { session, filter }),
    ]
    .boxed()
}

fn of_exchange() -> BoxedStrategy<Record> {
    (session(), packet_id(), number(), 0..5_u8)
        .prop_map(|(session, id, seq, kind)| match kind {
            0 => Record::Bound { session, seq: QueueSeq(seq), packet_id: OutboundPacketId(id) },
            1 => Record::Received { session, packet_id: OutboundPacketId(id) },
            2 => Record::Completed { session, packet_id: OutboundPacketId(id) },
            3 => Record::InboundHeld { session, packet_id: InboundPacketId(id) },
            _ => Record::InboundReleased { session, packet_id: InboundPacketId(id) },
        })
        .boxed()
}

/// Any record.
pub(crate) fn record() -> BoxedStrategy<Record> {
    let moved = (receiver(), number(), receiver(), qos(), any::<bool>(), vec(1_u32.., 0..3));
    prop_oneof![
        2 => published(),
        1 => requeued(),
        3 => of_session(),
        2 => of_exchange(),
        1 => (receiver(), number())
            .prop_map(|(receiver, seq)| Record::Removed { receiver, seq: QueueSeq(seq) }),
        1 => moved.prop_map(|(from, seq, to, qos, retain, ids)| Record::Moved {
            from,
            seq: QueueSeq(seq),
            to,
            qos,
            subscription_ids: ids.into_iter().collect(),
            retain,
        }),
        1 => topic().prop_map(|topic| Record::RetainedCleared { topic }),
        1 => requested().prop_map(Record::Requested),
        1 => (0_u8..4, text(), number(), number()).prop_map(|(kind, name, day, count)| {
            let holder = match kind {
                0 => Holder::User(name),
                1 => Holder::Client(name),
                2 => Holder::Address(name),
                _ => Holder::Key(name),
            };
            Record::Counted { holder, day, count }
        }),
        1 => (number(), number(), number(), number()).prop_map(
            |(session, group, message, seq)| Record::Counters {
                next_session: SessionId(session),
                next_group: GroupId(group),
                next_message: MessageId(message),
                next_seq: QueueSeq(seq),
            }
        ),
    ]
    .boxed()
}
