//! Repair: what lost records had ended must do no harm when it is there again, and is told.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use signalhouse::journal::tools::{self, Repaired};
use signalhouse::seams::{Disk, Journal};
use signalhouse_core::credential::Claims;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::record::{
    Enqueued, GroupId, Origin, QueueSeq, Receiver, RetainedChange, SessionId,
};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::SubscriptionOptions;
use signalhouse_core::wire::property::SubscriptionIds;
use signalhouse_core::wire::types::{
    InboundPacketId, OutboundPacketId, PacketId, QoS, Text, Version,
};
use signalhouse_core::{Broker, Config, LogPosition, Record, Recovery, Seed, Time};

use crate::bench::{Inline, SEGMENT_BYTES, Store, open, run};
use crate::disk::MemoryDisk;
use crate::store::closed_store;

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

fn connected(session: u64, client: u64) -> Record {
    Record::Connected {
        session: SessionId(session),
        client_id: Text::try_from(format!("client{client}")).expect("a text"),
        identity: None,
        claims: Claims::default(),
        address: None,
        key: None,
        version: Version::V5,
        session_expiry_interval_s: 1_000,
        will: None,
        at: Time::from_ms(5),
    }
}

fn message(number: u64, qos: QoS) -> Arc<Message> {
    Arc::new(Message {
        id: MessageId(number),
        topic: Topic::try_from("a/b").expect("a topic"),
        payload: Bytes::from(number.to_string()),
        qos,
        expires_at: None,
        properties: None,
    })
}

fn entry(receiver: Receiver, seq: u64, qos: QoS) -> Enqueued {
    Enqueued {
        receiver,
        seq: QueueSeq(seq),
        qos,
        retain: false,
        maybe_sent: false,
        group: None,
        subscription_ids: SubscriptionIds::None,
    }
}

/// The message `number`, queued for a session under the same number.
fn queued(number: u64, session: u64, qos: QoS) -> Record {
    Record::Published {
        message: message(number, qos),
        origin: Origin::Untracked,
        retained: RetainedChange::None,
        entries: vec![entry(Receiver::Session(SessionId(session)), number, qos)],
        at: None,
    }
}

fn bound(session: u64, seq: u64, packet_id: u16) -> Record {
    let packet_id = OutboundPacketId(id(packet_id));
    Record::Bound { session: SessionId(session), seq: QueueSeq(seq), packet_id }
}

fn completed(session: u64, packet_id: u16) -> Record {
    let packet_id = OutboundPacketId(id(packet_id));
    Record::Completed { session: SessionId(session), packet_id }
}

/// A store of these records, each in a frame of its own, of which the one at `lost` is then damaged.
async fn damaged(records: &[Record], lost: usize) -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1).await.expect("a store");
    for record in records {
        append(&mut store, record.clone()).await;
    }
    store.journal.close().await.expect("the disk works");
    drop(store);
    let mut place = None;
    tools::dump(&disk, |file, offset, position, _| {
        if position.0 == lost as u64 + 1 {
            place = Some((file.to_owned(), offset));
        }
    })
    .await
    .expect("a readable store");
    let (file, offset) = place.expect("the record is there");
    disk.flip(&file, offset as usize + 33, 0x40);
    assert!(open(&disk, 2).await.is_err(), "damage is refused");
    disk
}

async fn append(store: &mut Store, record: Record) {
    store.appended += 1;
    store.journal.append(LogPosition(store.appended), record);
    assert_eq!(store.journal.flush(), None);
    store.settle().await.expect("the disk works");
}

/// Repairs the store, and gives what that came to and what is there afterwards.
async fn repaired(disk: &MemoryDisk) -> (Repaired, Vec<Record>) {
    let repaired = tools::repair(disk, &Inline, SEGMENT_BYTES, 7).await.expect("repaired");
    assert_eq!((repaired.losses.len(), repaired.lost_records), (1, 1), "{repaired:?}");
    let store = open(disk, 3).await.expect("it starts again");
    (repaired, store.broker.snapshot())
}

#[test]
fn a_later_publication_is_not_taken_for_one_that_was_released_in_the_lost_part() {
    run(async || {
        let held = |number| Record::Published {
            message: message(number, QoS::ExactlyOnce),
            origin: Origin::Inbound { session: SessionId(1), packet_id: InboundPacketId(id(5)) },
            retained: RetainedChange::None,
            entries: Vec::new(),
            at: None,
        };
        let released =
            Record::InboundReleased { session: SessionId(1), packet_id: InboundPacketId(id(5)) };
        let records = [connected(1, 1), held(1), released.clone(), connected(2, 2)];
        let (_, left) = repaired(&damaged(&records, 2).await).await;
        let is_held = |left: &[Record]| {
            left.iter().any(|record| matches!(record, Record::InboundHeld { .. }))
        };
        assert!(!is_held(&left), "{left:?}");
        // What is held since then stays held.
        let records = [connected(1, 1), held(1), released.clone(), held(2), connected(2, 2)];
        let (_, left) = repaired(&damaged(&records, 2).await).await;
        assert!(is_held(&left), "{left:?}");
    });
}

#[test]
fn what_may_have_been_delivered_in_the_lost_part_is_counted_for_each_session() {
    run(async || {
        let records = [
            connected(1, 1),
            connected(2, 2),
            queued(1, 1, QoS::AtLeastOnce),
            queued(2, 1, QoS::ExactlyOnce),
            queued(3, 2, QoS::AtLeastOnce),
            bound(1, 1, 9),
            completed(1, 9),
            // The identifier is used again: the delivery before had ended.
            queued(4, 1, QoS::AtLeastOnce),
            bound(1, 4, 9),
            queued(5, 2, QoS::ExactlyOnce),
        ];
        let (repaired, left) = repaired(&damaged(&records, 6).await).await;
        let sessions: Vec<(&str, u64, u64)> = repaired
            .doubts
            .sessions
            .iter()
            .map(|doubt| (doubt.client_id.as_str(), doubt.at_least_once, doubt.exactly_once))
            .collect();
        assert_eq!(sessions, [("client1", 0, 1), ("client2", 1, 0)]);
        let messages = left.iter().filter(|record| matches!(record, Record::Published { .. }));
        assert_eq!(messages.count(), 4, "{left:?}");
        assert_eq!(repaired.pointless_records, 0);
    });
}

#[test]
fn a_session_whose_end_was_lost_gives_way_to_the_clients_next() {
    run(async || {
        let records = [
            connected(1, 1),
            queued(1, 1, QoS::AtLeastOnce),
            Record::SessionEnded { session: SessionId(1) },
            connected(2, 1),
            queued(2, 2, QoS::AtLeastOnce),
        ];
        let (repaired, left) = repaired(&damaged(&records, 2).await).await;
        assert_eq!(repaired.doubts.sessions, []);
        let sessions: Vec<SessionId> = left
            .iter()
            .filter_map(|record| {
                let Record::Connected { session, .. } = record else { return None };
                Some(*session)
            })
            .collect();
        assert_eq!(sessions, [SessionId(2)]);
    });
}

#[test]
fn records_that_speak_of_what_is_lost_are_left_out_and_counted() {
    run(async || {
        let records = [
            connected(1, 1),
            queued(1, 1, QoS::AtLeastOnce),
            connected(2, 2),
            queued(2, 2, QoS::AtLeastOnce),
            bound(2, 2, 1),
            completed(2, 1),
            queued(3, 1, QoS::AtLeastOnce),
        ];
        let (repaired, left) = repaired(&damaged(&records, 2).await).await;
        assert_eq!(repaired.pointless_records, 3);
        assert_eq!(repaired.found.totals.queued, 2, "{left:?}");
        assert_eq!(repaired.doubts.sessions.len(), 1);
        assert_eq!(repaired.doubts.sessions[0].at_least_once, 1);
    });
}

/// A store with records in several segments, and the numbers of the one that goes on and of the next.
async fn long_store() -> (MemoryDisk, u64, u64) {
    let (disk, _) = closed_store(7, 60).await;
    let mut last = String::new();
    tools::dump(&disk, |file, _, _, _| file.clone_into(&mut last)).await.expect("a readable store");
    let number = last.strip_prefix("segment-").and_then(|number| number.parse().ok());
    let number: u64 = number.expect("a segment");
    assert!(number > 1 && disk.names().contains(&segment(number + 1)), "{:?}", disk.names());
    (disk, number, number + 1)
}

fn segment(number: u64) -> String {
    format!("segment-{number:010}")
}

/// A store with one session, which goes on in its first segment and has others ready.
async fn short_store() -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1).await.expect("a store");
    append(&mut store, connected(1, 1)).await;
    while !disk.names().contains(&segment(3)) {
        store.turn().await.expect("the disk works");
    }
    store.journal.close().await.expect("the disk works");
    disk
}

/// Repairs the store, of which nothing says how much is lost behind a position; gives that, and how
/// many of the retained messages that are left may be older than the last.
async fn repaired_without_end(disk: &MemoryDisk) -> (u64, u64) {
    let repaired = tools::repair(disk, &Inline, SEGMENT_BYTES, 7).await.expect("repaired");
    assert_eq!(repaired.losses.len(), 1, "{:?}", repaired.losses);
    assert_eq!(repaired.lost_records, 0);
    let behind = repaired.lost_behind.expect("its end is lost");
    assert_eq!(behind, repaired.found.through);
    open(disk, 3).await.expect("it starts again");
    (behind.0, repaired.doubts.retained)
}

#[test]
fn where_the_end_is_lost_nothing_says_how_much_that_was() {
    run(async || {
        let (whole, active, _) = long_store().await;
        let through = tools::check(&whole).await.expect("a whole store").through.0;
        let removed = whole.killed();
        removed.remove(&segment(active)).await.expect("it is there");
        let (behind, doubts) = repaired_without_end(&removed).await;
        assert!(0 < behind && behind < through, "{behind} of {through}");
        assert!(doubts > 0);
        let damaged = whole.killed();
        damaged.flip(&segment(active), 9, 0x10);
        assert_eq!(repaired_without_end(&damaged).await, (behind, doubts));
        let short = whole.killed();
        short.put(&segment(active), &whole.bytes(&segment(active))[..4_096]);
        assert_eq!(repaired_without_end(&short).await, (behind, doubts));
        // Nothing is left but what was ready for later.
        let small = short_store().await;
        small.remove(&segment(1)).await.expect("it is there");
        assert_eq!(repaired_without_end(&small).await, (0, 0));
    });
}

#[test]
fn with_a_segment_that_was_never_used_nothing_is_lost() {
    run(async || {
        let disk = short_store().await;
        disk.flip(&segment(2), 9, 0x10);
        assert!(open(&disk, 2).await.is_err(), "damage is refused");
        let emptied = disk.killed();
        emptied.put(&segment(2), &vec![0; SEGMENT_BYTES as usize]);
        let repaired = tools::repair(&disk, &Inline, SEGMENT_BYTES, 7).await.expect("repaired");
        assert_eq!(repaired.losses.len(), 1, "{:?}", repaired.losses);
        assert_eq!((repaired.lost_records, repaired.lost_behind), (0, None));
        assert_eq!(repaired.doubts.sessions, []);
        assert_eq!(repaired.set_aside, [format!("damaged-{}", segment(2))]);
        assert_eq!(open(&disk, 3).await.expect("it starts again").found.totals.sessions, 1);
        // Who knows what was in this one.
        let repaired = tools::repair(&emptied, &Inline, SEGMENT_BYTES, 7).await.expect("repaired");
        assert_eq!(repaired.lost_behind, Some(LogPosition(1)));
        assert_eq!(repaired.doubts.sessions.len(), 1);
    });
}

#[test]
fn a_foreign_file_with_a_great_number_is_none_of_the_stores() {
    run(async || {
        let (disk, active, _) = long_store().await;
        let through = tools::check(&disk).await.expect("a whole store").through;
        for name in ["segment-18446744073709551615", "snapshot-18446744073709551615"] {
            disk.put(name, b"foreign");
        }
        assert_eq!(tools::check(&disk).await.expect("still whole").through, through);
        disk.flip(&segment(active), 9, 0x10);
        tools::repair(&disk, &Inline, SEGMENT_BYTES, 7).await.expect("repaired");
        assert!(!disk.names().contains(&"snapshot-0000000000".to_owned()), "{:?}", disk.names());
        open(&disk, 3).await.expect("it starts again");
    });
}

fn few() -> impl Strategy<Value = u64> {
    1_u64..5
}

fn outbound() -> impl Strategy<Value = OutboundPacketId> {
    (1_u16..4).prop_map(|number| OutboundPacketId(id(number)))
}

fn inbound() -> impl Strategy<Value = InboundPacketId> {
    (1_u16..4).prop_map(|number| InboundPacketId(id(number)))
}

fn receiver() -> impl Strategy<Value = Receiver> {
    let session = few().prop_map(|number| Receiver::Session(SessionId(number)));
    prop_oneof![session, few().prop_map(|number| Receiver::Group(GroupId(number)))]
}

fn filter() -> impl Strategy<Value = (TopicFilter, Option<GroupId>)> {
    (few(), any::<bool>()).prop_map(|(number, is_shared)| {
        let text = if is_shared { format!("$share/g{number}/a/+") } else { format!("a/{number}") };
        let filter = TopicFilter::try_from(text.as_str()).expect("a filter");
        (filter, is_shared.then_some(GroupId(number)))
    })
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

/// Records about few things, which therefore often contradict each other.
fn record() -> impl Strategy<Value = Record> {
    let session = || few().prop_map(SessionId);
    let origin = prop_oneof![
        Just(Origin::Untracked),
        (session(), inbound())
            .prop_map(|(session, packet_id)| Origin::Inbound { session, packet_id }),
        session().prop_map(|session| Origin::Will { session }),
    ];
    let entries = proptest::collection::vec((receiver(), 1_u64..12, qos()), 0..4);
    let published = (1_u64..12, qos(), origin, any::<bool>(), entries).prop_map(
        |(number, qos, origin, retains, entries)| Record::Published {
            message: message(number, qos),
            origin,
            retained: if retains {
                RetainedChange::Set { publisher: None }
            } else {
                RetainedChange::None
            },
            entries: entries.into_iter().map(|(to, seq, qos)| entry(to, seq, qos)).collect(),
            at: None,
        },
    );
    let subscribed = (session(), filter()).prop_map(|(session, (filter, group))| {
        let options = SubscriptionOptions::default();
        Record::Subscribed { session, filter, options, subscription_id: None, group, replay: None }
    });
    let moved = (receiver(), 1_u64..12, receiver(), qos()).prop_map(|(from, seq, to, qos)| {
        let (seq, subscription_ids) = (QueueSeq(seq), SubscriptionIds::None);
        Record::Moved { from, seq, to, qos, subscription_ids, retain: false }
    });
    prop_oneof![
        2 => (few(), few()).prop_map(|(session, client)| connected(session, client)),
        1 => session().prop_map(|session| Record::SessionEnded { session }),
        4 => published,
        2 => subscribed,
        1 => (session(), filter())
            .prop_map(|(session, (filter, _))| Record::Unsubscribed { session, filter }),
        2 => (session(), 1_u64..12, outbound())
            .prop_map(|(session, seq, packet_id)| Record::Bound {
                session, seq: QueueSeq(seq), packet_id
            }),
        1 => (session(), outbound())
            .prop_map(|(session, packet_id)| Record::Received { session, packet_id }),
        1 => (session(), outbound())
            .prop_map(|(session, packet_id)| Record::Completed { session, packet_id }),
        1 => (receiver(), 1_u64..12)
            .prop_map(|(receiver, seq)| Record::Removed { receiver, seq: QueueSeq(seq) }),
        1 => moved,
        1 => (session(), inbound())
            .prop_map(|(session, packet_id)| Record::InboundHeld { session, packet_id }),
        1 => (session(), inbound())
            .prop_map(|(session, packet_id)| Record::InboundReleased { session, packet_id }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// As a repair or an import may bring them.
    #[test]
    fn records_that_contradict_each_other_make_a_broker_or_an_error(
        records in proptest::collection::vec((record(), prop::bool::weighted(0.1)), 0..60),
    ) {
        let mut recovery = Recovery::new(Config::default(), Seed(1));
        for (record, is_loss) in records {
            if is_loss {
                recovery.lose_records();
            }
            let _contradiction = recovery.apply(record);
        }
        let _told = recovery.doubts();
        let snapshot = recovery.into_snapshot();
        let now = Time::from_ms(10);
        let again = Broker::recover(Config::default(), Seed(2), now, LogPosition(9), snapshot);
        prop_assert!(again.is_ok(), "{:?}", again.err());
    }
}
