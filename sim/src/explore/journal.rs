//! The journal of an explored world: records, and how far they are durable.

use std::rc::Rc;

use signalhouse_core::{Broker, Config, LogPosition, Record, RecoverError, Seed, Time};

/// Chance of the machine: none is wanted here.
const SEED: Seed = Seed(1);

#[derive(Clone, Default)]
pub(super) struct Journal {
    records: Vec<Rc<Record>>,
    durable: usize,
}

impl Journal {
    pub(super) fn append(&mut self, at: LogPosition, record: Record) {
        assert_eq!(at.0, self.records.len() as u64 + 1, "positions rise by one");
        self.records.push(Rc::new(record));
    }

    /// Records that a crash may take.
    pub(super) fn pending(&self) -> usize {
        self.records.len() - self.durable
    }

    /// The position of the last record.
    pub(super) fn appended(&self) -> u64 {
        self.records.len() as u64
    }

    /// The next record becomes durable.
    pub(super) fn sync_one(&mut self) -> LogPosition {
        self.durable += 1;
        LogPosition(self.durable as u64)
    }

    /// All records become durable.
    pub(super) fn sync_all(&mut self) -> LogPosition {
        self.durable = self.records.len();
        LogPosition(self.durable as u64)
    }

    /// A crash leaves `kept` of the records that were not durable.
    pub(super) fn crash(&mut self, kept: usize) {
        self.records.truncate(self.durable + kept);
        self.durable = self.records.len();
    }

    /// Takes away the last durable record, which no disk may do.
    pub(super) fn forget_one(&mut self) {
        self.records.pop();
        self.durable = self.records.len();
    }

    /// The broker that a process would start with after a crash now, if it kept nothing more.
    pub(super) fn recover(&self, config: &Config, now: Time) -> Result<Broker, RecoverError> {
        let durable = self.records.iter().take(self.durable);
        let records = durable.map(|record| record.as_ref().clone());
        Broker::recover(config.clone(), SEED, now, LogPosition(self.durable as u64), records)
    }

    /// What is not durable yet.
    pub(super) fn unsynced(&self) -> &[Rc<Record>] {
        // `durable` never exceeds the records there are.
        self.records.get(self.durable..).unwrap_or_default()
    }

    /// A broker without a past.
    pub(super) fn empty_broker(config: &Config, now: Time) -> Broker {
        Broker::new(config.clone(), SEED, now)
    }
}
