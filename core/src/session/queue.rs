//! Messages waiting for one receiver.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use crate::message::Message;
use crate::record::{GroupId, LogPosition, QueueSeq};
use crate::session::GroupKey;
use crate::time::Time;
use crate::wire::property::SubscriptionIds;
use crate::wire::types::QoS;

/// A message waiting for one receiver.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seq: QueueSeq,
    pub(crate) message: Arc<Message>,
    /// The QoS it will be delivered at; in a group's queue, the QoS it was published at.
    pub(crate) qos: QoS,
    /// RETAIN as it will be sent; in a group's queue, as it was published.
    pub(crate) retain: bool,
    /// RETAIN as it was published, for another member of the group.
    pub(crate) published_retain: bool,
    /// Whether the client may have seen it, so that it must be sent with DUP.
    pub(crate) maybe_sent: bool,
    /// Not to be sent before this is durable.
    pub(crate) after: LogPosition,
    /// Where the journal has it.
    pub(crate) journaled: Journaled,
    /// The group a session has it from.
    pub(crate) group: Option<(GroupKey, GroupId)>,
    pub(crate) subscription_ids: SubscriptionIds,
}

/// In whose queue the journal has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Journaled {
    /// In none.
    No,
    /// In that of the session that has it, or of the group if it waits there.
    Here,
    /// In that of its group, although a session has it: after a crash it is the group's again.
    /// The number is the group's [`Group::journal_era`](crate::routing::shared::Group::journal_era).
    AtGroup(u32),
}

/// What waits for a session, QoS 0 apart so that it need not wait for acknowledgements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// QoS 1 and 2, by sequence number.
    main: VecDeque<Entry>,
    /// QoS 0, by sequence number.
    qos0: VecDeque<Entry>,
    bytes: u64,
    /// No entry expires earlier; it may be that none expires then.
    expires_from: Option<Time>,
}

/// One of the two lanes of a [`Queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// QoS 1 and 2.
    Main,
    /// QoS 0.
    Qos0,
}

impl Lane {
    pub(crate) fn of(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Lane::Qos0,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Lane::Main,
        }
    }
}

impl Queue {
    /// Adds an entry in the order of sequence numbers, at the end unless it comes back.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.bytes += entry.message.content_bytes() as u64;
        if let Some(at) = entry.message.expires_at {
            self.expires_from = Some(self.expires_from.map_or(at, |from| from.min(at)));
        }
        insert_in_order(self.lane_mut(Lane::of(entry.qos)), entry);
    }

    pub(crate) fn front(&self, lane: Lane) -> Option<&Entry> {
        self.lane(lane).front()
    }

    pub(crate) fn pop(&mut self, lane: Lane) -> Option<Entry> {
        let entry = self.lane_mut(lane).pop_front()?;
        self.bytes -= entry.message.content_bytes() as u64;
        Some(entry)
    }

    pub(crate) fn lane_len(&self, lane: Lane) -> usize {
        self.lane(lane).len()
    }

    pub(crate) fn len(&self) -> usize {
        self.main.len() + self.qos0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.main.is_empty() && self.qos0.is_empty()
    }

    /// Whether one more message of `bytes` fits.
    pub(crate) fn has_space(&self, bytes: usize, max_messages: u32, max_bytes: u64) -> bool {
        self.len() < max_messages as usize && self.bytes + bytes as u64 <= max_bytes
    }

    /// Whether an entry may have expired at `now`.
    pub(crate) fn may_have_expired(&self, now: Time) -> bool {
        self.expires_from.is_some_and(|from| from <= now)
    }

    /// Takes out the entries for which `wanted` says so, in order.
    pub(crate) fn take_if(&mut self, wanted: impl Fn(&Entry) -> bool) -> VecDeque<Entry> {
        let mut taken = VecDeque::new();
        self.expires_from = None;
        for lane in [Lane::Main, Lane::Qos0] {
            let entries = core::mem::take(self.lane_mut(lane));
            for entry in entries {
                if wanted(&entry) {
                    self.bytes -= entry.message.content_bytes() as u64;
                    taken.push_back(entry);
                } else {
                    if let Some(at) = entry.message.expires_at {
                        self.expires_from = Some(self.expires_from.map_or(at, |from| from.min(at)));
                    }
                    self.lane_mut(lane).push_back(entry);
                }
            }
        }
        taken
    }

    /// All entries, main lane first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.main.iter().chain(&self.qos0)
    }

    /// Takes out the entry with this sequence number.
    pub(crate) fn remove(&mut self, seq: QueueSeq) -> Option<Entry> {
        for lane in [Lane::Main, Lane::Qos0] {
            let entries = self.lane_mut(lane);
            if let Ok(place) = entries.binary_search_by_key(&seq, |entry| entry.seq)
                && let Some(entry) = entries.remove(place)
            {
                self.bytes -= entry.message.content_bytes() as u64;
                return Some(entry);
            }
        }
        None
    }

    /// The journal no longer has these entries.
    pub(crate) fn forget_journal(&mut self) {
        for entry in self.main.iter_mut().chain(&mut self.qos0) {
            entry.journaled = Journaled::No;
        }
    }

    /// Changes what entries say of the groups they come from.
    pub(crate) fn regroup(&mut self, regroup: impl Fn(&mut Entry)) {
        self.main.iter_mut().chain(&mut self.qos0).for_each(regroup);
    }

    /// Marks every earlier entry at QoS 1 as perhaps seen by the client.
    pub(crate) fn mark_maybe_sent(&mut self, before: QueueSeq) {
        for entry in &mut self.main {
            if entry.qos == QoS::AtLeastOnce && entry.seq < before {
                entry.maybe_sent = true;
            }
        }
    }

    fn lane(&self, lane: Lane) -> &VecDeque<Entry> {
        match lane {
            Lane::Main => &self.main,
            Lane::Qos0 => &self.qos0,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut VecDeque<Entry> {
        match lane {
            Lane::Main => &mut self.main,
            Lane::Qos0 => &mut self.qos0,
        }
    }
}

/// Inserts by sequence number; nearly always at the end.
fn insert_in_order(entries: &mut VecDeque<Entry>, entry: Entry) {
    if entries.back().is_none_or(|last| last.seq < entry.seq) {
        entries.push_back(entry);
    } else {
        let place = entries.partition_point(|other| other.seq < entry.seq);
        entries.insert(place, entry);
    }
}
