//! A queue's entry in little memory: what every entry has, and aside what few have.

use alloc::boxed::Box;

use crate::record::{GroupId, LogPosition, QueueSeq};
use crate::session::GroupKey;
use crate::session::held::Held;
use crate::session::queue::{Journaled, Waiting};
use crate::time::Time;
use crate::wire::property::SubscriptionIds;
use crate::wire::types::QoS;

/// An entry as a queue keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(super) held: Held,
    pub(super) seq: QueueSeq,
    pub(super) after: LogPosition,
    /// The only subscription identifier; 0 for none.
    subscription_id: u32,
    pub(super) qos: QoS,
    /// Which of the [`Flag`]s are set. Six `bool`s would make every slot a word longer.
    flags: u8,
}

/// What is true of an entry, or not.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Flag {
    Retain = 1,
    PublishedRetain = 1 << 1,
    MaybeSent = 1 << 2,
    /// The journal has it in this queue.
    Journaled = 1 << 3,
    /// It is being read back.
    Asked = 1 << 4,
    /// It has an [`Aside`].
    Aside = 1 << 5,
}

/// What few entries have.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside {
    pub(super) group: Option<(GroupKey, GroupId)>,
    /// Where the journal has it, if at the group.
    pub(super) at_group: Option<u32>,
    subscription_ids: Option<Box<[u32]>>,
}

impl Slot {
    pub(super) fn of(entry: Waiting) -> (Self, Option<Aside>) {
        let (subscription_id, subscription_ids) = match entry.subscription_ids {
            SubscriptionIds::None => (0, None),
            SubscriptionIds::One(id) => (id, None),
            SubscriptionIds::Many(ids) => (0, Some(ids)),
        };
        let (is_journaled, at_group) = match entry.journaled {
            Journaled::No => (false, None),
            Journaled::Here => (true, None),
            Journaled::AtGroup(era) => (false, Some(era)),
        };
        let aside = Aside { group: entry.group, at_group, subscription_ids };
        let has_aside =
            aside.group.is_some() || at_group.is_some() || aside.subscription_ids.is_some();
        let mut slot = Slot {
            held: entry.message,
            seq: entry.seq,
            after: entry.after,
            subscription_id,
            qos: entry.qos,
            flags: 0,
        };
        slot.set(Flag::Retain, entry.retain);
        slot.set(Flag::PublishedRetain, entry.published_retain);
        slot.set(Flag::MaybeSent, entry.maybe_sent);
        slot.set(Flag::Journaled, is_journaled);
        slot.set(Flag::Aside, has_aside);
        (slot, has_aside.then_some(aside))
    }

    pub(super) fn into_entry(self, aside: Option<Aside>) -> Waiting {
        let aside = aside.unwrap_or_default();
        let journaled = match aside.at_group {
            Some(era) => Journaled::AtGroup(era),
            None if self.is(Flag::Journaled) => Journaled::Here,
            None => Journaled::No,
        };
        let subscription_ids = match (aside.subscription_ids, self.subscription_id) {
            (Some(ids), _) => SubscriptionIds::Many(ids),
            (None, 0) => SubscriptionIds::None,
            (None, id) => SubscriptionIds::One(id),
        };
        Waiting {
            seq: self.seq,
            qos: self.qos,
            retain: self.is(Flag::Retain),
            published_retain: self.is(Flag::PublishedRetain),
            maybe_sent: self.is(Flag::MaybeSent),
            after: self.after,
            message: self.held,
            journaled,
            group: aside.group,
            subscription_ids,
        }
    }

    /// Not to be sent before this is durable.
    pub(crate) fn after(&self) -> LogPosition {
        self.after
    }

    /// The message, as far as the queue has it.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.held.is_expired(now)
    }

    pub(super) fn is(&self, flag: Flag) -> bool {
        self.flags & flag as u8 != 0
    }

    pub(super) fn set(&mut self, flag: Flag, value: bool) {
        if value {
            self.flags |= flag as u8;
        } else {
            self.flags &= !(flag as u8);
        }
    }

    /// Whether only the journal has it and nobody has asked for it yet.
    pub(super) fn is_to_be_asked(&self) -> bool {
        self.held.is_stored() && !self.is(Flag::Asked)
    }
}
