//! The broker and its one dispatch table.

use alloc::vec::Vec;

use crate::input::Input;
use crate::limits::Config;
use crate::outbox::Outbox;
use crate::record::{LogPosition, Record};
use crate::rng::Seed;
use crate::time::Time;

/// An MQTT broker without a network, a disk or a clock. See the crate documentation.
#[derive(Clone, Debug)]
pub struct Broker {
    config: Config,
}

/// What `$SYS` shows, kept up to date at every input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// PUBLISH packets received.
    pub publish_received: u64,
}

/// The next moment at which the broker must be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Time,
    /// Why.
    pub reason: DeadlineReason,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadlineReason {
    /// A connection must have been accepted.
    ConnectTimeout,
    /// A client must have been heard of.
    KeepAlive,
    /// A session's expiry interval ends.
    SessionExpiry,
    /// A will's delay ends.
    WillDelay,
    /// A retained message expires.
    RetainedExpiry,
    /// `$SYS` is to be updated.
    Sys,
}

/// Why records do not make a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// A record speaks of something that no earlier record made.
    #[error("record {index} speaks of {what}, which no earlier record made")]
    Dangling {
        /// Which record, from 0.
        index: u64,
        /// What it speaks of.
        what: &'static str,
    },
}

impl Broker {
    /// An empty broker at the moment `now`.
    #[must_use]
    pub fn new(config: Config, seed: Seed, now: Time) -> Self {
        let _ = (seed, now);
        Broker { config }
    }

    /// A broker in the state that `records` describe, at the moment `now`. Every connection of
    /// before counts as closed at `now`. `through` is the position of the last record in the
    /// journal; new ones follow it.
    ///
    /// # Errors
    /// [`RecoverError`] if the records are not a prefix of what a broker emitted or a snapshot.
    pub fn recover(
        config: Config,
        seed: Seed,
        now: Time,
        through: LogPosition,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Self, RecoverError> {
        let _ = (through, records.into_iter().count());
        Ok(Broker::new(config, seed, now))
    }

    /// The whole durable state as records that [`Broker::recover`] takes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        Vec::new()
    }

    /// Takes one input at the moment `now` and appends its consequences to `out`.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        let _ = (now, input, out);
    }

    /// Continues long jobs for about `budget` messages. Call it while [`Broker::has_more_work`].
    pub fn resume(&mut self, now: Time, budget: u32, out: &mut Outbox) {
        let _ = (now, budget, out);
    }

    /// Whether [`Broker::resume`] has something to do.
    #[must_use]
    pub fn has_more_work(&self) -> bool {
        false
    }

    /// The next moment at which the broker must be called, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        None
    }

    /// Counts of what happened.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        unimplemented!()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}
