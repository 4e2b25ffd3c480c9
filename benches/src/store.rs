//! A store of the journal, and records to put into it.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use signalhouse::journal::{self, Level, LogJournal, OpenOptions, codec};
use signalhouse::seams::{FolderDisk, Journal, LocalSpawn, TokioClock};
use signalhouse_core::credential::Claims;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::record::{
    Enqueued, LogPosition, Origin, QueueSeq, Receiver, RetainedChange, SessionId,
};
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::property::SubscriptionIds;
use signalhouse_core::wire::types::{QoS, Text, Version};
use signalhouse_core::{Config, Record, Seed, Time};

use crate::disk::CountingDisk;

/// Of each message.
pub(crate) const PAYLOAD_BYTES: usize = 256;

/// An open store.
pub(crate) struct Store {
    pub(crate) disk: CountingDisk,
    journal: LogJournal<CountingDisk, TokioClock, LocalSpawn>,
    appended: LogPosition,
    durable: LogPosition,
}

impl Store {
    /// Opens the store in `folder`, and makes it if there is none.
    pub(crate) async fn open(folder: &Path, segment_bytes: u64) -> Self {
        let disk = CountingDisk::new(FolderDisk::create(folder).expect("a folder"));
        let options = OpenOptions {
            config: config(),
            seed: Seed(u64::from(std::process::id())),
            level: Level::Strict,
            segment_bytes,
        };
        let opened = journal::open(disk.clone(), options).await.expect("a sound store");
        let appended = opened.found().through;
        let clock = TokioClock::from_wall_clock();
        let (_broker, journal) = opened.start(clock, LocalSpawn).await.expect("a journal");
        Store { disk, journal, appended, durable: appended }
    }

    pub(crate) fn append(&mut self, record: Record) {
        self.appended = LogPosition(self.appended.0 + 1);
        self.journal.append(self.appended, record);
    }

    /// Makes everything durable that was appended.
    pub(crate) async fn commit(&mut self) {
        if let Some(through) = self.journal.flush() {
            self.durable = through;
        }
        while self.durable < self.appended {
            self.durable =
                poll_fn(|cx| self.journal.poll_durable(cx)).await.expect("a disk that syncs");
        }
    }

    pub(crate) async fn close(mut self) {
        self.journal.close().await.expect("a disk that syncs");
    }
}

pub(crate) fn config() -> Config {
    Config { sys_interval_ms: 0, ..Config::default() }
}

pub(crate) fn session(number: u64) -> Record {
    Record::Connected {
        session: SessionId(number),
        client_id: Text::try_from(format!("session-{number}")).expect("a text"),
        identity: None,
        claims: Claims::default(),
        address: None,
        key: None,
        version: Version::V5,
        session_expiry_interval_s: u32::MAX,
        will: None,
        at: Time::from_ms(1_700_000_000_000),
    }
}

/// A message queued for a session.
pub(crate) fn queued(number: u64, session: u64) -> Record {
    let entry = Enqueued {
        receiver: Receiver::Session(SessionId(session)),
        seq: QueueSeq(number),
        qos: QoS::AtLeastOnce,
        retain: false,
        maybe_sent: false,
        group: None,
        subscription_ids: SubscriptionIds::None,
    };
    published(number, "devices/0123/events", RetainedChange::None, vec![entry])
}

/// The end of its wait.
pub(crate) fn removed(number: u64, session: u64) -> Record {
    Record::Removed { receiver: Receiver::Session(SessionId(session)), seq: QueueSeq(number) }
}

/// A message retained on a topic of its own.
pub(crate) fn retained(number: u64) -> Record {
    let topic = format!("devices/{number:08}/state");
    published(number, &topic, RetainedChange::Set { publisher: None }, Vec::new())
}

fn published(number: u64, topic: &str, retained: RetainedChange, entries: Vec<Enqueued>) -> Record {
    Record::Published {
        message: Arc::new(Message {
            id: MessageId(number),
            topic: Topic::try_from(topic).expect("a topic"),
            payload: Bytes::from_static(&[0x5a; PAYLOAD_BYTES]),
            qos: QoS::AtLeastOnce,
            expires_at: None,
            properties: None,
        }),
        origin: Origin::Untracked,
        retained,
        entries,
        at: None,
    }
}

/// How long a record is in the journal's form.
pub(crate) fn bytes_of(record: &Record) -> u64 {
    let mut bytes = BytesMut::new();
    codec::encode(record, &mut bytes);
    bytes.len() as u64
}
