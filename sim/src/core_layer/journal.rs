//! A model of the journal: records in order, as the store's own codec writes and reads them; syncs
//! that take their time; compaction by the store's own means, replaying what is safe into a snapshot;
//! and what is left after a crash. Files, segments and their recovery are the runtime layer's.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use signalhouse::journal::codec::{decode, encode};
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::{Config, LogPosition, Record, Recovery, Seed, Time};

use super::agenda::Agenda;
use super::{Happening, setting};
use crate::chance::{Stream, Streams};
use crate::plan::Plan;

/// With so many records behind the last snapshot, a new one is made.
const COMPACTS_AFTER: usize = 200;

/// The records and how far they are safe. It outlives the broker's process.
#[derive(Debug)]
pub(super) struct Journal {
    records: Vec<(LogPosition, Bytes)>,
    /// Which record has a message.
    messages: BTreeMap<MessageId, Bytes>,
    config: Config,
    /// Whether snapshots are made.
    compacts: bool,
    /// How many records the last snapshot has.
    snapshot_records: usize,
    /// No moment in what it stands for is later: its file's head says it, as its records need not.
    snapshot_latest: Time,
    /// Why compaction could not go on.
    refused: Option<String>,
    written: LogPosition,
    synced: LogPosition,
    sync: Option<Sync>,
    next_ticket: u64,
    syncs_complete: bool,
    sync_ms: u64,
    chance: Stream,
}

/// A sync under way.
#[derive(Clone, Copy, Debug)]
struct Sync {
    ticket: u64,
    through: LogPosition,
    /// It would be complete, but the disk hangs.
    is_stuck: bool,
}

impl Journal {
    pub(super) fn new(plan: &Plan, config: Config, streams: Streams) -> Self {
        Journal {
            records: Vec::new(),
            messages: BTreeMap::new(),
            config,
            compacts: setting(plan, "journal.snapshots").unwrap_or(0) != 0,
            snapshot_records: 0,
            snapshot_latest: Time::ZERO,
            refused: None,
            written: LogPosition::START,
            synced: LogPosition::START,
            sync: None,
            next_ticket: 0,
            syncs_complete: true,
            sync_ms: setting(plan, "journal.sync_ms").unwrap_or(0),
            chance: streams.stream("journal"),
        }
    }

    /// Takes the next record.
    pub(super) fn append(&mut self, at: LogPosition, record: Record) {
        assert_eq!(at.0, self.written.0 + 1, "positions of records rise by one");
        self.written = at;
        self.put(at, &record);
    }

    fn put(&mut self, at: LogPosition, record: &Record) {
        let mut bytes = BytesMut::new();
        encode(record, &mut bytes);
        let bytes = bytes.freeze();
        if let Record::Published { message, .. } = record {
            self.messages.insert(message.id, bytes.clone());
        }
        self.records.push((at, bytes));
    }

    /// Begins to make durable what was written; gives the position if that is done at once.
    pub(super) fn flush(
        &mut self,
        now_ms: u64,
        agenda: &mut Agenda<Happening>,
    ) -> Option<LogPosition> {
        if self.sync.is_some() || self.synced == self.written {
            return None;
        }
        if self.sync_ms == 0 && self.syncs_complete {
            self.synced = self.written;
            return Some(self.synced);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.sync = Some(Sync { ticket, through: self.written, is_stuck: false });
        let takes_ms = self.chance.between(1, self.sync_ms.max(1));
        agenda.push(now_ms + takes_ms, Happening::Synced { ticket });
        None
    }

    /// A sync is done; gives the position that is durable now.
    pub(super) fn synced(&mut self, ticket: u64) -> Option<LogPosition> {
        let sync = self.sync.as_mut().filter(|sync| sync.ticket == ticket)?;
        if !self.syncs_complete {
            sync.is_stuck = true;
            return None;
        }
        self.synced = sync.through;
        self.sync = None;
        self.compact();
        Some(self.synced)
    }

    /// Lets syncs complete, or hang. Gives the position that is durable now, if one did hang.
    pub(super) fn set_syncs(&mut self, complete: bool) -> Option<LogPosition> {
        self.syncs_complete = complete;
        let ticket = self.sync.filter(|sync| complete && sync.is_stuck)?.ticket;
        self.synced(ticket)
    }

    /// The process is gone, and the disk goes on: everything written is there.
    pub(super) fn process_ended(&mut self) {
        self.sync = None;
    }

    /// The power is gone: a prefix stays that holds at least everything synced. Gives how many
    /// records were lost.
    pub(super) fn power_cut(&mut self) -> u64 {
        self.sync = None;
        let kept = if self.chance.one_in(2) {
            self.synced.0
        } else {
            self.chance.between(self.synced.0, self.written.0)
        };
        let lost = self.written.0 - kept;
        self.records.retain(|(at, _)| at.0 <= kept);
        self.written = LogPosition(kept);
        lost
    }

    /// What recovery finds: where it ends, the snapshot's moment, and the records. It makes sure that all of that
    /// is durable before it serves anybody.
    pub(super) fn recover(&mut self) -> (LogPosition, Time, Vec<Record>) {
        self.synced = self.written;
        let records = self.records.iter().map(|(_, bytes)| read(bytes)).collect();
        (self.written, self.snapshot_latest, records)
    }

    /// Replaces what is safe by a snapshot of it, if that is worth it, while the broker goes on.
    fn compact(&mut self) {
        let safe = self.records.partition_point(|(at, _)| *at <= self.synced);
        if !self.compacts || safe < self.snapshot_records + COMPACTS_AFTER {
            return;
        }
        let mut recovery = Recovery::new(self.config.clone(), Seed(0));
        recovery.know(self.snapshot_latest);
        for (_, bytes) in &self.records[..safe] {
            if let Err(error) = recovery.apply(read(bytes)) {
                self.refused.get_or_insert(format!("compaction refuses a record: {error}"));
                return;
            }
        }
        let rest = self.records.split_off(safe);
        self.snapshot_latest = recovery.latest();
        self.put_snapshot(self.synced, recovery.into_snapshot());
        self.records.extend(rest);
    }

    /// Replaces all records by a snapshot of the same state.
    pub(super) fn replace(&mut self, records: Vec<Record>, latest: Time) {
        self.snapshot_latest = latest;
        self.put_snapshot(self.written, records);
    }

    fn put_snapshot(&mut self, at: LogPosition, records: Vec<Record>) {
        self.records.clear();
        self.snapshot_records = records.len();
        for record in records {
            let record = record.with_message(|id| self.message(id));
            self.put(at, &record);
        }
    }

    /// The message with this number, as it was recorded.
    pub(super) fn message(&self, id: MessageId) -> Option<Arc<Message>> {
        read(self.messages.get(&id)?).message(id).cloned()
    }

    /// What compaction found wrong, once.
    pub(super) fn take_refused(&mut self) -> Option<String> {
        self.refused.take()
    }

    /// Whether everything written is durable.
    pub(super) fn is_clean(&self) -> bool {
        self.synced == self.written
    }
}

fn read(bytes: &[u8]) -> Record {
    decode(bytes).expect("the store's codec reads what it wrote")
}
