//! From records to a broker. One code path for the journal and for a snapshot.

mod lost;
mod messages;
mod sessions;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use self::lost::Loss;
pub use self::lost::{DoubtfulSession, Doubts};
use super::Broker;
use crate::limits::Config;
use crate::notice::SessionEnd;
use crate::outbox::Outbox;
use crate::quota::{DayCount, Holder, beginning_of};
use crate::record::{GroupId, LogPosition, QueueSeq, Receiver, Record, Requested, SessionId};
use crate::rng::Seed;
use crate::session::held::Stored;
use crate::session::{GroupKey, Session, SessionKey};
use crate::time::Time;

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

/// A record that speaks of something unknown.
struct Unknown(&'static str);

/// The number behind this one. None is given out that comes near the largest there is, so that counting on never ends.
fn behind(number: u64) -> Result<u64, Unknown> {
    let is_given_out = number < u64::MAX / 2;
    is_given_out.then(|| number + 1).ok_or(Unknown("a number beyond all that are given out"))
}

/// Whether a number may be the next that is given out.
fn is_next(number: u64) -> Result<u64, Unknown> {
    number.checked_sub(1).map_or(Ok(0), behind)
}

/// Numbers to keys, while recovering.
#[derive(Default)]
struct Index {
    sessions: BTreeMap<SessionId, SessionKey>,
    groups: BTreeMap<GroupId, GroupKey>,
    /// Whether each session has a connection, as far as the records say.
    connected: BTreeMap<SessionId, bool>,
    latest: Time,
    /// Where records are missing, if they are: the last such place.
    loss: Option<Loss>,
}

impl Index {
    fn group_key(&self, id: GroupId) -> GroupKey {
        self.groups.get(&id).copied().unwrap_or(GroupKey::MAX)
    }
}

/// A broker in the making: records go in one after the other, as they come from the journal.
pub struct Recovery {
    broker: Broker,
    index: Index,
    applied: u64,
}

impl Recovery {
    /// Begins with nothing.
    #[must_use]
    pub fn new(config: Config, seed: Seed) -> Self {
        Recovery { broker: Broker::empty(config, seed), index: Index::default(), applied: 0 }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`RecoverError`] if it cannot follow those before it. What it said is then taken in part or
    /// not at all; going on without it loses more than it, but contradicts nothing.
    pub fn apply(&mut self, record: Record) -> Result<(), RecoverError> {
        let index = self.applied;
        self.applied += 1;
        self.broker
            .apply(record, &mut self.index)
            .map_err(|Unknown(what)| RecoverError::Dangling { index, what })
    }

    /// Where the time axis begins in a process that starts when the wall clock says `wall`: there, or
    /// at the latest moment that a record names if the wall clock was set back before that.
    #[must_use]
    pub fn beginning(&self, wall: Time) -> Time {
        if canary!(AxisFollowsWallClock) {
            return wall;
        }
        wall.max(self.index.latest)
    }

    /// Learns of a moment that no record names any more: a snapshot stands for those which did.
    pub fn know(&mut self, latest: Time) {
        self.index.latest = self.index.latest.max(latest);
    }

    /// The latest moment that a record names.
    #[must_use]
    pub fn latest(&self) -> Time {
        self.index.latest
    }

    /// [`Broker::live_bytes`] of what there is so far.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.broker.live_bytes()
    }

    /// How much there is.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let queued = self.broker.sessions.iter().map(|(_, session)| session.backlog() as u64);
        let at_groups = self.broker.groups.iter().map(|(_, group)| group.queue.len() as u64);
        Totals {
            sessions: self.broker.sessions.len() as u64,
            queued: queued.sum::<u64>() + at_groups.sum::<u64>(),
            retained: self.broker.retained.len() as u64,
        }
    }

    /// What the records describe as a short run of records, which can stand in their place:
    /// connections that are open in the one are open in the other. Canonical, as
    /// [`Broker::snapshot`].
    #[must_use]
    pub fn into_snapshot(self) -> Vec<Record> {
        let Recovery { mut broker, index, .. } = self;
        for (id, key) in &index.sessions {
            broker.regroup(*key, &index);
            if let Some(session) = broker.sessions.get_mut(*key) {
                session.open_in_journal = index.connected.get(id).copied().unwrap_or(false);
            }
        }
        broker.snapshot()
    }

    /// The broker at the moment `now`. Every connection of before counts as closed then. `through`
    /// is the position of the last record in the journal; new ones follow it.
    #[must_use]
    pub fn finish(self, now: Time, through: LogPosition) -> Broker {
        let Recovery { mut broker, index, .. } = self;
        broker.start_at(now, through);
        broker.close_all(&index, now);
        broker
    }
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions, all of them without a connection.
    pub sessions: u64,
    /// Messages in queues and in flight; one that waits for three sessions counts three times.
    pub queued: u64,
    /// Retained messages.
    pub retained: u64,
}

impl Broker {
    /// A broker in the state that `records` describe, at the moment `now`: [`Recovery`] in one
    /// step.
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
        let mut recovery = Recovery::new(config, seed);
        records.into_iter().try_for_each(|record| recovery.apply(record))?;
        Ok(recovery.finish(now, through))
    }

    fn apply(&mut self, record: Record, index: &mut Index) -> Result<(), Unknown> {
        match record {
            record @ Record::Connected { .. } => self.apply_connected(record, index),
            record @ Record::Disconnected { .. } => self.apply_disconnected(record, index),
            Record::SessionEnded { session } => self.apply_session_ended(session, index),
            Record::WillDropped { session } => {
                self.known_session(session, index)?.will = None;
                Ok(())
            }
            record @ Record::Subscribed { .. } => self.apply_subscribed(record, index),
            Record::Unsubscribed { session, filter } => {
                self.apply_unsubscribed(session, &filter, index)
            }
            Record::Published { message, origin, retained, entries, at } => {
                index.latest = index.latest.max(at.unwrap_or_default());
                self.apply_published(&message, &origin, retained, entries, index)
            }
            Record::Requeued { message, qos, content_bytes, expires_at, entries } => {
                let stored = Stored::new(message, qos, content_bytes, expires_at);
                self.apply_requeued(message, stored, entries, index)
            }
            record @ Record::Replayed { .. } => self.apply_replayed(record, index),
            Record::ReplayEnded { session, filter } => {
                let session = self.known_session(session, index)?;
                session.replays.retain(|replay| replay.filter != filter);
                Ok(())
            }
            Record::Bound { session, seq, packet_id } => {
                self.apply_bound(session, seq, packet_id, index)
            }
            Record::Received { session, packet_id } => {
                let session = self.known_session(session, index)?;
                session.flight.receive(packet_id);
                Ok(())
            }
            Record::Completed { session, packet_id } => {
                let session = self.known_session(session, index)?;
                session.flight.remove(packet_id).map(drop).ok_or(Unknown("a delivery in flight"))
            }
            Record::Removed { receiver, seq } => {
                // A share that only transient members kept alive is not in the journal.
                let is_optional = matches!(receiver, Receiver::Group(_));
                let taken = self.take_entry(receiver, seq, index);
                if is_optional { Ok(()) } else { taken.map(drop) }
            }
            record @ Record::Moved { .. } => self.apply_moved(record, index),
            Record::InboundHeld { session, packet_id } => {
                self.known_session(session, index)?.inbound.insert(packet_id, false);
                Ok(())
            }
            Record::InboundReleased { session, packet_id } => {
                self.known_session(session, index)?.inbound.remove(packet_id);
                Ok(())
            }
            Record::RetainedCleared { topic } => {
                self.retained.clear(&topic);
                Ok(())
            }
            Record::Requested(requested) => self.apply_requested(*requested),
            Record::Counted { holder, day, count } => {
                index.latest = index.latest.max(beginning_of(day));
                self.apply_counted(holder, day, count)
            }
            counters @ Record::Counters { .. } => self.apply_counters(&counters),
        }
    }

    fn apply_counters(&mut self, counters: &Record) -> Result<(), Unknown> {
        let Record::Counters { next_session, next_group, next_message, next_seq } = counters else {
            return Ok(());
        };
        for next in [next_session.0, next_group.0, next_message.0, next_seq.0] {
            is_next(next)?;
        }
        self.next_session = self.next_session.max(next_session.0);
        self.next_group = self.next_group.max(next_group.0);
        self.next_message = self.next_message.max(next_message.0);
        self.next_seq = self.next_seq.max(next_seq.0);
        Ok(())
    }

    fn apply_requested(&mut self, requested: Requested) -> Result<(), Unknown> {
        self.remember_request(requested, LogPosition::START);
        Ok(())
    }

    fn apply_counted(&mut self, holder: Holder, day: u64, count: u64) -> Result<(), Unknown> {
        if canary!(DayCountLostAtRecovery) {
            return Ok(());
        }
        self.usage.restore(DayCount { holder, day, count });
        Ok(())
    }

    fn known_session(&mut self, id: SessionId, index: &Index) -> Result<&mut Session, Unknown> {
        let key = index.sessions.get(&id).ok_or(Unknown("a session"))?;
        self.sessions.get_mut(*key).ok_or(Unknown("a session"))
    }

    /// What was open when the records end counts as closed now; the rest goes on counting.
    fn close_all(&mut self, index: &Index, now: Time) {
        if now.since_ms(index.latest) > self.config.time_jump_maximum_ms
            && index.latest > Time::ZERO
        {
            self.held_at = Some(index.latest);
            self.jumped_to = now;
            self.jump_is_untold = true;
        }
        self.recovered_seq = QueueSeq(self.next_seq);
        for (id, key) in &index.sessions {
            let is_open = index.connected.get(id).copied().unwrap_or(false);
            let Some(session) = self.sessions.get_mut(*key) else { continue };
            session.moved_at = now;
            if is_open {
                session.queue.mark_maybe_sent(self.recovered_seq);
                session.left_at = now;
                session.open_in_journal = true;
                self.unrecorded_ends.push_back(*key);
            }
            let left_at = if canary!(ExpiryRestartsAtRecovery) { now } else { session.left_at };
            self.regroup(*key, index);
            self.start_expiry(*key, left_at);
        }
        let next = self.retained.next_expiry();
        if next.is_some() {
            self.set_retained_timer(None);
        }
    }

    /// A share may have ended, and begun again, since the journal had an entry.
    fn regroup(&mut self, key: SessionKey, index: &Index) {
        let regroup =
            |group: Option<(GroupKey, GroupId)>| group.map(|(_, id)| (index.group_key(id), id));
        if let Some(session) = self.sessions.get_mut(key) {
            session.queue.regroup(regroup);
            session.flight.regroup(regroup);
        }
    }

    /// Records that the connections of before recovery have ended, so that a second crash does
    /// not make their sessions live longer.
    pub(super) fn record_ends(&mut self, budget: &mut u32, out: &mut Outbox) {
        while *budget > 0
            && let Some(key) = self.unrecorded_ends.pop_front()
        {
            *budget -= 1;
            let Some(session) = self.live_session(key) else { continue };
            if session.connection.is_some() {
                continue;
            }
            if session.is_durable() {
                self.record_end(key, out);
            } else {
                self.end_session(key, SessionEnd::WithConnection, out);
            }
        }
    }

    /// Records the end of a session's connection of before recovery, if that is still to be done:
    /// with it the journal learns what may have been sent then, and must bear DUP for ever.
    pub(super) fn record_end(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.connection.is_some() || !core::mem::take(&mut session.open_in_journal) {
            return;
        }
        let record = Record::Disconnected {
            session: session.id,
            session_expiry_interval_s: session.expiry_interval_s,
            keeps_will: session.will.is_some(),
            maybe_sent_before: self.recovered_seq,
            at: session.left_at,
        };
        self.gate.persist(record, out);
        self.give_back_shared(key, out);
    }
}
