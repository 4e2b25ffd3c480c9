//! Journals that no broker writes: a record is taken or refused, and what came of it is a broker.

use std::sync::Arc;

use bytes::Bytes;
use signalhouse_core::credential::Claims;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::record::{
    Enqueued, GroupId, Origin, QueueSeq, Receiver, ReplayState, RetainedChange, SessionId,
};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{ClientPacket, Connect, ServerPacket, SubscriptionOptions};
use signalhouse_core::wire::property::SubscriptionIds;
use signalhouse_core::wire::types::{QoS, Text, Version};
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, Limits, LogPosition, Outbox, Record, RecoverError,
    Recovery, Seed, Time,
};

const NOW: Time = Time::from_ms(1_700_000_000_000);
const SESSION: SessionId = SessionId(1);
const GROUP: GroupId = GroupId(1);

fn text(text: &str) -> Text {
    Text::try_from(text).expect("a text")
}

fn filter(filter: &str) -> TopicFilter {
    TopicFilter::try_from(filter).expect("a filter")
}

fn connected(session: SessionId) -> Record {
    connected_as(session, "c")
}

fn connected_as(session: SessionId, client_id: &str) -> Record {
    Record::Connected {
        session,
        client_id: text(client_id),
        identity: None,
        claims: Claims::NONE,
        address: None,
        key: None,
        version: Version::V5,
        session_expiry_interval_s: u32::MAX,
        will: None,
        at: NOW,
    }
}

fn subscribed(filter_: &str, group: Option<GroupId>, before: Option<MessageId>) -> Record {
    Record::Subscribed {
        session: SESSION,
        filter: filter(filter_),
        options: SubscriptionOptions::default(),
        subscription_id: None,
        group,
        replay: before.map(|before| ReplayState { before, after_topic: None, early: Vec::new() }),
    }
}

fn entry(receiver: Receiver, seq: QueueSeq, qos: QoS) -> Enqueued {
    Enqueued {
        receiver,
        seq,
        qos,
        retain: false,
        maybe_sent: false,
        group: None,
        subscription_ids: SubscriptionIds::None,
    }
}

fn published(id: MessageId, entries: Vec<Enqueued>) -> Record {
    let message = Message {
        id,
        topic: Topic::try_from("t").expect("a topic"),
        payload: Bytes::from_static(b"payload"),
        qos: QoS::AtLeastOnce,
        expires_at: None,
        properties: None,
    };
    Record::Published {
        message: Arc::new(message),
        origin: Origin::Untracked,
        retained: RetainedChange::None,
        entries,
        at: None,
    }
}

fn requeued(id: MessageId, entries: Vec<Enqueued>) -> Record {
    let (qos, content_bytes) = (QoS::AtLeastOnce, 8);
    Record::Requeued { message: id, qos, content_bytes, expires_at: None, entries }
}

/// One session, and a share of which it is the only member.
fn beginning() -> Vec<Record> {
    vec![connected(SESSION), subscribed("$share/g/t", Some(GROUP), None)]
}

fn recovery(config: &Config) -> Recovery {
    let mut recovery = Recovery::new(config.clone(), Seed(1));
    for record in beginning() {
        assert_eq!(recovery.apply(record), Ok(()));
    }
    recovery
}

fn refuses(record: Record) {
    let outcome = recovery(&Config::default()).apply(record.clone());
    let is_refused = matches!(outcome, Err(RecoverError::Dangling { index: 2, .. }));
    assert!(is_refused, "{record:?}: {outcome:?}");
}

#[test]
fn numbers_behind_which_none_is_left_are_refused() {
    for number in [u64::MAX, u64::MAX / 2 + 1] {
        let seq = |receiver| vec![entry(receiver, QueueSeq(number), QoS::AtLeastOnce)];
        refuses(connected(SessionId(number)));
        refuses(subscribed("$share/h/t", Some(GroupId(number)), None));
        refuses(subscribed("t", None, Some(MessageId(number))));
        refuses(published(MessageId(number), Vec::new()));
        refuses(requeued(MessageId(number), Vec::new()));
        for receiver in [Receiver::Session(SESSION), Receiver::Group(GROUP)] {
            refuses(published(MessageId(1), seq(receiver)));
        }
        refuses(requeued(MessageId(1), seq(Receiver::Session(SESSION))));
        for place in 0..4 {
            let number_at = |at| if at == place { number } else { 1 };
            refuses(Record::Counters {
                next_session: SessionId(number_at(0)),
                next_group: GroupId(number_at(1)),
                next_message: MessageId(number_at(2)),
                next_seq: QueueSeq(number_at(3)),
            });
        }
    }
}

#[test]
fn what_only_the_journal_has_waits_where_it_is_read_back() {
    let one = |entry| requeued(MessageId(1), vec![entry]);
    let session = Receiver::Session(SESSION);
    refuses(one(entry(session, QueueSeq(1), QoS::AtMostOnce)));
    refuses(one(entry(Receiver::Group(GROUP), QueueSeq(1), QoS::AtLeastOnce)));
    let of_share = entry(session, QueueSeq(1), QoS::AtLeastOnce);
    refuses(one(Enqueued { group: Some(GROUP), ..of_share }));
    for (to, qos) in [(session, QoS::AtMostOnce), (Receiver::Group(GROUP), QoS::AtLeastOnce)] {
        let mut recovery = recovery(&Config::default());
        let sound = one(entry(session, QueueSeq(1), QoS::AtLeastOnce));
        assert_eq!(recovery.apply(sound), Ok(()));
        let moved = Record::Moved {
            from: session,
            seq: QueueSeq(1),
            to,
            qos,
            subscription_ids: SubscriptionIds::None,
            retain: false,
        };
        let outcome = recovery.apply(moved);
        assert!(matches!(outcome, Err(RecoverError::Dangling { .. })), "{to} {qos:?}: {outcome:?}");
    }
}

#[test]
fn what_waits_at_qos_0_is_at_hand_however_short_memory_is() {
    let limits = Limits { queue_memory_bytes: 0, ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    let mut recovery = recovery(&config);
    let entries = vec![entry(Receiver::Session(SESSION), QueueSeq(1), QoS::AtMostOnce)];
    assert_eq!(recovery.apply(published(MessageId(1), entries)), Ok(()));
    let mut broker = recovery.finish(NOW, LogPosition(3));
    assert_eq!(read_by_the_client(&mut broker), [(Bytes::from_static(b"payload"), false)]);
}

/// What a member of a share had taken without RETAIN goes to the next with it `[MQTT-3.3.1-13]`, also out of a
/// snapshot made when another message is retained.
#[test]
fn what_comes_from_a_share_has_its_retain_again_behind_a_snapshot() {
    let other = SessionId(2);
    let subscribed = |session, retain_as_published| Record::Subscribed {
        session,
        filter: filter("$share/g/t"),
        options: SubscriptionOptions { retain_as_published, ..SubscriptionOptions::default() },
        subscription_id: None,
        group: Some(GROUP),
        replay: None,
    };
    let of_other = entry(Receiver::Session(other), QueueSeq(1), QoS::AtLeastOnce);
    let with = |change, id, entries| {
        let mut record = published(id, entries);
        if let Record::Published { retained, .. } = &mut record {
            *retained = change;
        }
        record
    };
    let set = || RetainedChange::Set { publisher: None };
    let mut recovery = Recovery::new(Config::default(), Seed(1));
    for record in [
        connected(SESSION),
        subscribed(SESSION, true),
        connected_as(other, "o"),
        subscribed(other, false),
        with(set(), MessageId(1), vec![Enqueued { group: Some(GROUP), ..of_other }]),
        with(set(), MessageId(2), Vec::new()),
    ] {
        assert_eq!(recovery.apply(record), Ok(()));
    }
    let mut again = Recovery::new(Config::default(), Seed(1));
    for record in recovery.into_snapshot() {
        assert_eq!(again.apply(record), Ok(()));
    }
    let mut broker = again.finish(NOW, LogPosition(10));
    assert_eq!(read_by_the_client(&mut broker), [(Bytes::from_static(b"payload"), true)]);
}

/// What comes to the session's client when it connects: payloads and RETAIN.
fn read_by_the_client(broker: &mut Broker) -> Vec<(Bytes, bool)> {
    let connection = ConnectionId { index: 0, generation: 0 };
    let connect = Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive_s: 0,
        client_id: text("c"),
        will: None,
        user_name: None,
        password: None,
        session_expiry_interval_s: u32::MAX,
        receive_maximum: u16::MAX,
        maximum_packet_size_bytes: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
    };
    let packet = ClientPacket::Connect(Box::new(connect));
    let mut inputs = vec![
        Input::Packet { connection, packet },
        Input::Opened { connection, peer: text("p"), room_bytes: 65_536 },
    ];
    let (mut out, mut read) = (Outbox::new(), Vec::new());
    while let Some(input) = inputs.pop() {
        broker.handle(NOW, input, &mut out);
        while broker.has_more_work() {
            broker.resume(NOW, 100, &mut out);
        }
        for action in out.drain() {
            match action {
                Action::Persist { at, .. } => inputs.push(Input::Durable { through: at }),
                Action::Send { packet: ServerPacket::Publish(publish), .. } => {
                    read.push((publish.message.payload.clone(), publish.retain));
                }
                Action::Send { .. }
                | Action::Close { .. }
                | Action::Ask { .. }
                | Action::Fetch { .. }
                | Action::Answer(_)
                | Action::Notice(_) => {}
            }
        }
    }
    read
}
