//! A store under test: a broker's worth of retained messages, and a model of what must be there.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use signalhouse::journal::{self, Found, Level, LogJournal, OpenOptions, StoreError};
use signalhouse::seams::{Journal, LocalSpawn, Spawn, TokioClock};
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::record::{Origin, RetainedChange};
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::types::QoS;
use signalhouse_core::{Broker, Config, LogPosition, Record, Seed, Time};

use crate::disk::MemoryDisk;

pub(crate) const SEGMENT_BYTES: u64 = 32 * 1024;
pub(crate) const START: Time = Time::from_ms(1_700_000_000_000);

/// Does everything where it is called.
#[derive(Clone)]
pub(crate) struct Inline;

impl Spawn for Inline {
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        LocalSpawn.spawn(task);
    }
}

pub(crate) type TestJournal = LogJournal<MemoryDisk, TokioClock, Inline>;

pub(crate) struct Store {
    pub(crate) journal: TestJournal,
    pub(crate) broker: Broker,
    pub(crate) found: Found,
    /// The last position that was told durable.
    pub(crate) told: u64,
    pub(crate) appended: u64,
    /// Bytes that `put` retained, by topic.
    live: BTreeMap<String, u64>,
}

pub(crate) fn options(seed: u64, level: Level) -> OpenOptions {
    OpenOptions {
        config: Config { sys_interval_ms: 0, ..Config::default() },
        seed: Seed(seed),
        level,
        segment_bytes: SEGMENT_BYTES,
    }
}

pub(crate) async fn open(disk: &MemoryDisk, seed: u64) -> Result<Store, StoreError> {
    open_at(disk, seed, Level::Strict).await
}

/// Opens a store at another time.
pub(crate) async fn open_later(
    disk: &MemoryDisk,
    seed: u64,
    now: Time,
) -> Result<Store, StoreError> {
    open_with(disk, options(seed, Level::Strict), now).await
}

pub(crate) async fn open_at(
    disk: &MemoryDisk,
    seed: u64,
    level: Level,
) -> Result<Store, StoreError> {
    open_with(disk, options(seed, level), START).await
}

async fn open_with(
    disk: &MemoryDisk,
    options: OpenOptions,
    now: Time,
) -> Result<Store, StoreError> {
    let opened = journal::open(disk.clone(), options).await?;
    let found = opened.found();
    let clock = TokioClock::starting_at(now);
    let (broker, journal) = opened.start(clock, Inline).await?;
    let at = found.through.0;
    Ok(Store { journal, broker, found, told: at, appended: at, live: BTreeMap::new() })
}

impl Store {
    /// Appends the next `count` records and asks for them to be made durable.
    pub(crate) fn append(&mut self, count: u64) {
        for _ in 0..count {
            self.appended += 1;
            self.journal.append(LogPosition(self.appended), record(self.appended));
        }
        assert_eq!(self.journal.flush(), None);
    }

    /// Appends a record that retains something on a topic of its own.
    pub(crate) fn append_lasting(&mut self) {
        self.appended += 1;
        let topic = format!("lasting/{}", self.appended);
        let topic = Topic::try_from(topic.as_str()).expect("a topic");
        let record = retain(self.appended, topic, payload(self.appended));
        self.journal.append(LogPosition(self.appended), record);
        assert_eq!(self.journal.flush(), None);
    }

    /// Retains `payload` on `topic`, or clears that, and gives how much is live then.
    pub(crate) async fn put(&mut self, topic: &str, payload: Option<Bytes>) -> u64 {
        let topic = Topic::try_from(topic).expect("a topic");
        self.appended += 1;
        let record = match payload {
            Some(payload) => {
                self.live.insert(topic.to_string(), payload.len() as u64);
                retain(self.appended, topic, payload)
            }
            None => {
                self.live.remove(&topic.to_string());
                Record::RetainedCleared { topic }
            }
        };
        self.journal.append(LogPosition(self.appended), record);
        let live = self.live.values().sum();
        self.journal.note_live(live);
        assert_eq!(self.journal.flush(), None);
        self.settle().await.expect("the disk works");
        live
    }

    /// Lets the disk work for one turn.
    pub(crate) async fn turn(&mut self) -> io::Result<()> {
        let polled = poll_fn(|cx| Poll::Ready(self.journal.poll_durable(cx))).await;
        if let Poll::Ready(through) = polled {
            self.told = through?.0;
            assert!(self.told <= self.appended);
        }
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(1)).await;
        Ok(())
    }

    /// Waits until everything appended is durable, for a minute of the disk's.
    pub(crate) async fn settle(&mut self) -> io::Result<()> {
        for _ in 0..60_000 {
            if self.told == self.appended {
                return Ok(());
            }
            self.turn().await?;
        }
        panic!("{} of {} are durable, and nothing goes on", self.told, self.appended);
    }

    /// What the recovered broker has, by topic.
    pub(crate) fn retained(&self) -> BTreeMap<String, Bytes> {
        retained(&self.broker.snapshot())
    }
}

pub(crate) fn retained(records: &[Record]) -> BTreeMap<String, Bytes> {
    let mut all = BTreeMap::new();
    for record in records {
        if let Record::Published { message, .. } = record {
            all.insert(message.topic.to_string(), message.payload.clone());
        }
    }
    all
}

/// How many topics there are; each record sets the retained message of one.
const TOPICS: u64 = 40;

fn topic(position: u64) -> String {
    format!("topic/{}", position % TOPICS)
}

fn payload(position: u64) -> Bytes {
    let length = 20 + (position * 37 % 400) as usize;
    let mut payload = format!("{position} ").into_bytes();
    payload.resize(length, b'.');
    Bytes::from(payload)
}

/// The record with this position.
pub(crate) fn record(position: u64) -> Record {
    let topic = Topic::try_from(topic(position).as_str()).expect("a topic");
    retain(position, topic, payload(position))
}

fn retain(position: u64, topic: Topic, payload: Bytes) -> Record {
    Record::Published {
        message: Arc::new(Message {
            id: MessageId(position),
            topic,
            payload,
            qos: QoS::AtLeastOnce,
            expires_at: None,
            properties: None,
        }),
        origin: Origin::Untracked,
        retained: RetainedChange::Set { publisher: None },
        entries: Vec::new(),
        at: None,
    }
}

/// What must be there after the records up to `through`.
pub(crate) fn expected(through: u64) -> BTreeMap<String, Bytes> {
    let from = through.saturating_sub(TOPICS) + 1;
    (from..=through).map(|position| (topic(position), payload(position))).collect()
}

/// Runs a test on a runtime of its own, whose time passes when nothing else can.
pub(crate) fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(test());
}
