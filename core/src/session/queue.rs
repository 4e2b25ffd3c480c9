//! Messages waiting for one receiver.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::message::{Message, MessageId};
use crate::record::{GroupId, LogPosition, QueueSeq};
use crate::session::GroupKey;
use crate::session::held::Held;
use crate::session::page::{TOGETHER, gather};
use crate::session::slot::{Aside, Flag, Slot};
use crate::time::Time;
use crate::wire::property::SubscriptionIds;
use crate::wire::types::QoS;

/// A message waiting for one receiver, or on its way there.
#[derive(Clone, Debug)]
pub(crate) struct Entry<M = Arc<Message>> {
    pub(crate) seq: QueueSeq,
    pub(crate) message: M,
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

/// An entry whose message may be packed or in the journal.
pub(crate) type Waiting = Entry<Held>;

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

impl<M> Entry<M> {
    /// The same entry with something else for its message, and the message.
    pub(crate) fn replace<N>(self, message: N) -> (Entry<N>, M) {
        let entry = Entry {
            seq: self.seq,
            message,
            qos: self.qos,
            retain: self.retain,
            published_retain: self.published_retain,
            maybe_sent: self.maybe_sent,
            after: self.after,
            journaled: self.journaled,
            group: self.group,
            subscription_ids: self.subscription_ids,
        };
        (entry, self.message)
    }
}

impl From<Entry> for Waiting {
    fn from(entry: Entry) -> Self {
        let (entry, message) = entry.replace(());
        entry.replace(Held::Here(message)).0
    }
}

impl Waiting {
    /// What is sent of an entry whose message is `message`.
    pub(crate) fn shown(&self, message: Arc<Message>) -> Entry {
        Entry {
            seq: self.seq,
            message,
            qos: self.qos,
            retain: self.retain,
            published_retain: self.published_retain,
            maybe_sent: self.maybe_sent,
            after: self.after,
            journaled: self.journaled,
            group: self.group,
            subscription_ids: self.subscription_ids.clone(),
        }
    }
}

/// What waits for a session, QoS 0 apart so that it need not wait for acknowledgements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// QoS 1 and 2, by sequence number.
    main: VecDeque<Slot>,
    /// QoS 0, by sequence number.
    qos0: VecDeque<Slot>,
    /// What few entries have.
    asides: BTreeMap<QueueSeq, Aside>,
    bytes: u64,
    /// Those of the bytes that are in memory.
    memory_bytes: u64,
    /// Entries that only the journal has.
    stored: usize,
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
    /// Entries to be read back at a time.
    const READ_AHEAD: usize = 32;
    /// Bytes to be read back at a time, or one message.
    const READ_AHEAD_BYTES: u64 = 64 * 1024;

    /// Adds an entry in the order of sequence numbers, at the end unless it comes back.
    pub(crate) fn push(&mut self, entry: impl Into<Waiting>) {
        let entry = entry.into();
        self.bytes += entry.message.content_bytes();
        self.memory_bytes += entry.message.memory_bytes();
        self.stored += usize::from(entry.message.is_stored());
        self.expires_from = earlier(self.expires_from, entry.message.expires_at());
        let lane = Lane::of(entry.qos);
        let (slot, aside) = Slot::of(entry);
        if let Some(aside) = aside {
            self.asides.insert(slot.seq, aside);
        }
        let slots = self.lane_mut(lane);
        insert_in_order(slots, slot);
        if slots.len() % TOGETHER == 1 {
            gather(slots);
        }
    }

    /// The first entry of a lane.
    pub(crate) fn front(&self, lane: Lane) -> Option<&Slot> {
        self.lane(lane).front()
    }

    pub(crate) fn pop(&mut self, lane: Lane) -> Option<Waiting> {
        let slots = self.lane_mut(lane);
        if slots.len().is_multiple_of(TOUCHED) {
            touch_next(slots);
        }
        let slot = slots.pop_front()?;
        give_back_memory(slots);
        Some(self.released(slot))
    }

    pub(crate) fn lane_len(&self, lane: Lane) -> usize {
        self.lane(lane).len()
    }

    pub(crate) fn len(&self) -> usize {
        self.main.len() + self.qos0.len()
    }

    /// Bytes of the content of what waits.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.main.is_empty() && self.qos0.is_empty()
    }

    /// Bytes of the bodies that are in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
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
    pub(crate) fn take_if(&mut self, wanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        let main = core::mem::take(&mut self.main);
        let qos0 = core::mem::take(&mut self.qos0);
        self.expires_from = None;
        for slot in main.into_iter().chain(qos0) {
            let entry = self.released(slot);
            if wanted(&entry) {
                taken.push(entry);
            } else {
                self.push(entry);
            }
        }
        taken
    }

    /// Whether an entry comes from a group.
    pub(crate) fn has_any_from_groups(&self) -> bool {
        self.asides.values().any(|aside| aside.group.is_some())
    }

    /// All entries, main lane first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Waiting> {
        self.main.iter().chain(&self.qos0).map(|slot| {
            let aside = self.asides.get(&slot.seq).cloned();
            slot.clone().into_entry(aside)
        })
    }

    /// The first entry of the main lane from this sequence number on.
    pub(crate) fn first_from(&self, from: QueueSeq) -> Option<(QueueSeq, &Held)> {
        let place = self.main.partition_point(|slot| slot.seq < from);
        self.main.get(place).map(|slot| (slot.seq, &slot.held))
    }

    /// Takes out the entry with this sequence number.
    pub(crate) fn remove(&mut self, seq: QueueSeq) -> Option<Waiting> {
        for lane in [Lane::Main, Lane::Qos0] {
            let slots = self.lane_mut(lane);
            if let Ok(place) = slots.binary_search_by_key(&seq, |slot| slot.seq)
                && let Some(slot) = slots.remove(place)
            {
                give_back_memory(slots);
                return Some(self.released(slot));
            }
        }
        None
    }

    /// The first entry in the main lane, of those in `from..to`, that the journal does not have.
    pub(crate) fn first_unrecorded(&self, from: QueueSeq, to: QueueSeq) -> Option<Waiting> {
        let start = self.main.partition_point(|slot| slot.seq < from);
        let slots = self.main.range(start..).take_while(|slot| slot.seq < to);
        let slot = slots.into_iter().find(|slot| !slot.is(Flag::Journaled))?;
        Some(slot.clone().into_entry(self.asides.get(&slot.seq).cloned()))
    }

    /// The journal has an entry of the main lane from `at` on.
    pub(crate) fn set_recorded(&mut self, seq: QueueSeq, at: LogPosition) {
        if let Ok(place) = self.main.binary_search_by_key(&seq, |slot| slot.seq)
            && let Some(slot) = self.main.get_mut(place)
        {
            slot.set(Flag::Journaled, true);
            slot.after = at;
        }
    }

    /// The journal no longer has these entries.
    pub(crate) fn forget_journal(&mut self) {
        for slot in self.main.iter_mut().chain(&mut self.qos0) {
            slot.set(Flag::Journaled, false);
        }
    }

    /// Changes what entries say of the groups they come from.
    pub(crate) fn regroup(
        &mut self,
        regroup: impl Fn(Option<(GroupKey, GroupId)>) -> Option<(GroupKey, GroupId)>,
    ) {
        for aside in self.asides.values_mut() {
            aside.group = regroup(aside.group);
        }
    }

    /// Marks every earlier entry at QoS 1 as perhaps seen by the client.
    pub(crate) fn mark_maybe_sent(&mut self, before: QueueSeq) {
        for slot in &mut self.main {
            if slot.qos == QoS::AtLeastOnce && slot.seq < before {
                slot.set(Flag::MaybeSent, true);
            }
        }
    }

    /// What is to be read back from the journal next: nothing, while enough at the front is here
    /// or asked for. What it names counts as asked for.
    pub(crate) fn want_back(
        &mut self,
        is_durable: impl Fn(LogPosition) -> bool,
    ) -> Vec<(QueueSeq, MessageId)> {
        let mut wanted = Vec::new();
        let is_missing = |slot: Option<&Slot>| slot.is_some_and(Slot::is_to_be_asked);
        if self.stored == 0
            || !(is_missing(self.main.front()) || is_missing(self.main.get(Self::READ_AHEAD / 2)))
        {
            return wanted;
        }
        let mut bytes = 0;
        for slot in self.main.iter_mut().take(Self::READ_AHEAD) {
            if !is_durable(slot.after) {
                break;
            }
            bytes += slot.held.content_bytes();
            if !wanted.is_empty() && bytes > Self::READ_AHEAD_BYTES {
                break;
            }
            if slot.is_to_be_asked() {
                slot.set(Flag::Asked, true);
                wanted.push((slot.seq, slot.held.id()));
            }
        }
        wanted
    }

    /// Takes a message that was read back; tells whether it has such an entry.
    pub(crate) fn read_back(&mut self, seq: QueueSeq, message: &Arc<Message>) -> bool {
        if let Ok(place) = self.main.binary_search_by_key(&seq, |slot| slot.seq)
            && let Some(slot) = self.main.get_mut(place)
            && slot.held.is_stored()
            && slot.held.id() == message.id
        {
            slot.held = Held::Here(message.clone());
            slot.set(Flag::Asked, false);
            self.stored -= 1;
            self.memory_bytes += slot.held.memory_bytes();
            return true;
        }
        false
    }

    /// Nothing counts as asked for any more. If `leaves` says so, what may have been read back is left
    /// to the journal again.
    pub(crate) fn stop_reading(&mut self, leaves: bool) {
        for slot in self.main.iter_mut().take(2 * Self::READ_AHEAD) {
            slot.set(Flag::Asked, false);
            let may_leave = slot.is(Flag::Journaled) && !slot.is(Flag::Aside);
            if leaves
                && may_leave
                && !slot.held.is_stored()
                && let Some(stored) = slot.held.to_stored()
            {
                self.memory_bytes -= slot.held.memory_bytes();
                self.stored += 1;
                slot.held = Held::Stored(stored);
            }
        }
    }

    fn released(&mut self, slot: Slot) -> Waiting {
        self.bytes -= slot.held.content_bytes();
        self.memory_bytes -= slot.held.memory_bytes();
        self.stored -= usize::from(slot.held.is_stored());
        let aside = if slot.is(Flag::Aside) { self.asides.remove(&slot.seq) } else { None };
        slot.into_entry(aside)
    }

    fn lane(&self, lane: Lane) -> &VecDeque<Slot> {
        match lane {
            Lane::Main => &self.main,
            Lane::Qos0 => &self.qos0,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut VecDeque<Slot> {
        match lane {
            Lane::Main => &mut self.main,
            Lane::Qos0 => &mut self.qos0,
        }
    }
}

fn earlier(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Inserts by sequence number; nearly always at the end.
fn insert_in_order(slots: &mut VecDeque<Slot>, slot: Slot) {
    if slots.len() == slots.capacity() {
        // The double while it is short, then a quarter more: long queues are many, and most of them wait.
        let more = if slots.len() < 64 { slots.len() } else { slots.len() / 4 };
        slots.reserve_exact(more.max(4));
    }
    if slots.back().is_none_or(|last| last.seq < slot.seq) {
        slots.push_back(slot);
    } else {
        let place = slots.partition_point(|other| other.seq < slot.seq);
        slots.insert(place, slot);
    }
}

/// Messages that are looked at together before they are taken.
const TOUCHED: usize = 16;

/// Looks at the messages that are next. What has waited for long is in no cache, and memory answers many questions in
/// the time of one.
fn touch_next(slots: &VecDeque<Slot>) {
    let next = slots.iter().take(TOUCHED);
    core::hint::black_box(next.fold(0, |seen, slot| seen ^ slot.held().touch()));
}

/// A queue that was long once does not keep the memory.
fn give_back_memory(slots: &mut VecDeque<Slot>) {
    if slots.capacity() > 64 && slots.len() < slots.capacity() / 4 {
        slots.shrink_to(slots.capacity() / 2);
    }
}
