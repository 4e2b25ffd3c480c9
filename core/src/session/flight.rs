//! Deliveries at QoS 1 and 2 that have a packet identifier and are not finished.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use slab::Slab;

use crate::message::{Message, MessageId};
use crate::record::{GroupId, LogPosition, QueueSeq};
use crate::session::GroupKey;
use crate::session::held::Held;
use crate::session::places::{Numbered, Places};
use crate::session::queue::{Journaled, Waiting};
use crate::wire::types::{OutboundPacketId, PacketId};

/// A session's exchanges as sender.
#[derive(Clone, Default)]
pub(crate) struct Flight {
    /// Exchanges are large, and a map would move them about.
    places: Places<OutboundPacketId, u32>,
    exchanges: Slab<Exchange>,
    /// The identifier given out last.
    last_id: u16,
    next_order: u64,
    /// Bytes of the content of what is not received yet.
    bytes: u64,
}

/// One delivery in progress.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// Rises from exchange to exchange: the order of re-sending.
    pub(crate) order: u64,
    pub(crate) stage: Stage,
    pub(crate) journaled: Journaled,
    /// Whether it counts against the window of the present connection.
    pub(crate) in_window: bool,
    /// Whether its message is being read back from the journal.
    pub(crate) asked: bool,
}

/// How far a delivery has come.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// The PUBLISH is owed, sent or to be sent again, once the binding is durable at `after`.
    Publish { entry: Waiting, after: LogPosition },
    /// PUBREC came. PUBREL is owed, or sent and unanswered, once that is durable at `after`.
    Release { after: LogPosition },
}

/// Exchanges that are looked at together before they are over.
const TOUCHED: usize = 16;

impl Exchange {
    fn touch(&self) -> u8 {
        match &self.stage {
            Stage::Publish { entry, .. } => entry.message.touch() ^ self.order as u8,
            Stage::Release { .. } => 0,
        }
    }
}

impl Stage {
    fn content_bytes(&self) -> u64 {
        match self {
            Stage::Publish { entry, .. } => entry.message.content_bytes(),
            Stage::Release { .. } => 0,
        }
    }
}

impl Flight {
    /// A session without exchanges keeps the memory of so many.
    const KEPT: usize = 4;

    /// Gives an entry a packet identifier that is not in use `[MQTT-2.2.1-4]`; gives the entry
    /// back if there is none.
    pub(crate) fn bind(&mut self, entry: Waiting) -> Result<OutboundPacketId, Waiting> {
        let Some(id) = self.free_id() else { return Err(entry) };
        self.insert(id, entry);
        Ok(id)
    }

    /// Puts an entry in flight under a given identifier.
    pub(crate) fn insert(&mut self, id: OutboundPacketId, entry: Waiting) {
        let journaled = entry.journaled;
        let after = LogPosition::START;
        self.insert_exchange(id, Stage::Publish { entry, after }, journaled);
    }

    /// Puts an exchange in flight whose PUBREC has come.
    pub(crate) fn insert_released(&mut self, id: OutboundPacketId) {
        let after = LogPosition::START;
        self.insert_exchange(id, Stage::Release { after }, Journaled::Here);
    }

    fn insert_exchange(&mut self, id: OutboundPacketId, stage: Stage, journaled: Journaled) {
        let order = self.next_order;
        let exchange = Exchange { order, stage, journaled, in_window: false, asked: false };
        self.next_order += 1;
        self.last_id = id.0.value();
        self.bytes += exchange.stage.content_bytes();
        // There are at most as many as packet identifiers.
        let place = u32::try_from(self.exchanges.insert(exchange)).unwrap_or(u32::MAX);
        let earlier = self.places.insert(id, place);
        assert!(
            earlier.is_none() || canary!(IdsRestartOnResume),
            "a packet identifier is in use for one thing at a time"
        );
        if let Some(earlier) = earlier {
            self.bytes -= self.exchanges.remove(earlier as usize).stage.content_bytes();
        }
    }

    pub(crate) fn get(&self, id: OutboundPacketId) -> Option<&Exchange> {
        self.exchanges.get(*self.places.get(id)? as usize)
    }

    pub(crate) fn get_mut(&mut self, id: OutboundPacketId) -> Option<&mut Exchange> {
        self.exchanges.get_mut(*self.places.get(id)? as usize)
    }

    pub(crate) fn remove(&mut self, id: OutboundPacketId) -> Option<Exchange> {
        if usize::from(id.number()).is_multiple_of(TOUCHED) {
            self.touch_from(id);
        }
        let exchange = self.exchanges.remove(self.places.remove(id)? as usize);
        self.bytes -= exchange.stage.content_bytes();
        if self.exchanges.is_empty() && self.exchanges.capacity() > Self::KEPT {
            self.exchanges = Slab::new();
        }
        Some(exchange)
    }

    /// The client has the message: only PUBREL is owed from here on. Gives back what it had.
    pub(crate) fn release(&mut self, id: OutboundPacketId, after: LogPosition) -> Option<Waiting> {
        let exchange = self.exchanges.get_mut(*self.places.get(id)? as usize)?;
        self.bytes -= exchange.stage.content_bytes();
        match core::mem::replace(&mut exchange.stage, Stage::Release { after }) {
            Stage::Publish { entry, .. } => Some(entry),
            Stage::Release { .. } => None,
        }
    }

    /// Bytes of the content of what the client has not received yet.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Identifiers with their order numbers, in the order in which the exchanges began.
    pub(crate) fn in_order(&self) -> Vec<(OutboundPacketId, u64)> {
        let mut ids: Vec<_> = self.iter().map(|(id, exchange)| (id, exchange.order)).collect();
        ids.sort_unstable_by_key(|(_, order)| *order);
        ids
    }

    /// What a new connection is sent again: PUBRELs first, because they wait for no window, and
    /// each kind in the order in which the exchanges began.
    pub(crate) fn to_resend(&self) -> Vec<(OutboundPacketId, u64)> {
        let mut ids = self.in_order();
        ids.sort_by_key(|(id, _)| {
            self.get(*id).is_some_and(|exchange| match exchange.stage {
                Stage::Publish { .. } => true,
                Stage::Release { .. } => false,
            })
        });
        if canary!(ResentInReverse) {
            ids.reverse();
        }
        ids
    }

    /// The journal no longer has the message of this exchange.
    pub(crate) fn forget_journal(&mut self, id: OutboundPacketId) {
        if let Some(exchange) = self.get_mut(id) {
            exchange.journaled = Journaled::No;
            if let Stage::Publish { entry, .. } = &mut exchange.stage {
                entry.journaled = Journaled::No;
            }
        }
    }

    /// Changes what entries say of the groups they come from.
    pub(crate) fn regroup(
        &mut self,
        regroup: impl Fn(Option<(GroupKey, GroupId)>) -> Option<(GroupKey, GroupId)>,
    ) {
        for (_, exchange) in &mut self.exchanges {
            if let Stage::Publish { entry, .. } = &mut exchange.stage {
                entry.group = regroup(entry.group);
            }
        }
    }

    /// The message of this exchange is to be read back, if only the journal has it and nobody has
    /// asked for it yet. From here on it counts as asked for.
    pub(crate) fn want_back(&mut self, id: OutboundPacketId) -> Option<(QueueSeq, MessageId)> {
        let exchange = self.get_mut(id)?;
        match &exchange.stage {
            Stage::Publish { entry, .. } if entry.message.is_stored() && !exchange.asked => {
                exchange.asked = true;
                Some((entry.seq, entry.message.id()))
            }
            Stage::Publish { .. } | Stage::Release { .. } => None,
        }
    }

    /// Takes a message that was read back.
    pub(crate) fn read_back(&mut self, seq: QueueSeq, message: &Arc<Message>) {
        for (_, exchange) in &mut self.exchanges {
            if let Stage::Publish { entry, .. } = &mut exchange.stage
                && entry.seq == seq
                && entry.message.is_stored()
            {
                exchange.asked = false;
                entry.message = Held::Here(message.clone());
            }
        }
    }

    /// Nothing counts as asked for any more. If `leaves` says so, messages that the journal has in
    /// this session are left to it.
    pub(crate) fn stop_reading(&mut self, leaves: bool) {
        for (_, exchange) in &mut self.exchanges {
            exchange.asked = false;
            if leaves
                && exchange.journaled == Journaled::Here
                && let Stage::Publish { entry, .. } = &mut exchange.stage
                && entry.group.is_none()
                && let Some(stored) = entry.message.to_stored()
            {
                entry.message = Held::Stored(stored);
            }
        }
    }

    /// What `canary!(IdsRestartOnResume)` does.
    pub(crate) fn restart_ids(&mut self) {
        self.last_id = 0;
    }

    /// What `canary!(ResentUnderNewId)` does.
    pub(crate) fn rename_qos1(&mut self, id: &mut OutboundPacketId) {
        let stage = self.get(*id).map(|exchange| &exchange.stage);
        let Some(Stage::Publish { entry, .. }) = stage else { return };
        if entry.qos != crate::wire::types::QoS::AtLeastOnce {
            return;
        }
        if let (Some(free), Some(place)) = (self.free_id(), self.places.remove(*id)) {
            self.last_id = free.0.value();
            self.places.insert(free, place);
            *id = free;
        }
    }

    /// The connection is gone: nothing counts against its window any more.
    pub(crate) fn leave_window(&mut self) {
        for (_, exchange) in &mut self.exchanges {
            exchange.in_window = false;
        }
    }

    /// Looks at the exchanges that will be over next, if the client takes them in order. What was
    /// sent a while ago is in no cache, and memory answers many questions in the time of one.
    fn touch_from(&self, id: OutboundPacketId) {
        let next = self.places.values_from(id).take(TOUCHED);
        let exchanges = next.filter_map(|place| self.exchanges.get(*place as usize));
        core::hint::black_box(exchanges.fold(0, |seen, exchange| seen ^ exchange.touch()));
    }

    fn iter(&self) -> impl Iterator<Item = (OutboundPacketId, &Exchange)> {
        self.places
            .iter()
            .filter_map(|(id, place)| Some((id, self.exchanges.get(*place as usize)?)))
    }

    fn free_id(&self) -> Option<OutboundPacketId> {
        if self.exchanges.len() >= usize::from(u16::MAX) {
            return None;
        }
        let mut id = self.last_id;
        loop {
            id = id.wrapping_add(1);
            if let Some(id) = PacketId::new(id).map(OutboundPacketId)
                && (canary!(IdsRestartOnResume) || !self.places.contains(id))
            {
                return Some(id);
            }
        }
    }
}

/// By packet identifier: where an exchange is kept makes no difference.
impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Exchanges<'a>(&'a Flight);
        impl fmt::Debug for Exchanges<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_map().entries(self.0.iter()).finish()
            }
        }
        f.debug_struct("Flight")
            .field("exchanges", &Exchanges(self))
            .field("len", &self.exchanges.len())
            .field("bytes", &self.bytes)
            .field("last_id", &self.last_id)
            .field("next_order", &self.next_order)
            .finish()
    }
}
