//! The shortest way: message after message at QoS 0 to the same receivers.
//!
//! What a fan-out has to know of each receiver (is it there, has it room) changes through other inputs only. So
//! the receivers that `wires.rs` found are kept while nothing but such messages comes, and what they are sent is
//! counted once for all. Everything else ends that first.

use alloc::sync::Arc;

use super::Broker;
use super::route::Source;
use super::wires::Wire;
use crate::input::{ConnectionId, Input};
use crate::message::Message;
use crate::outbox::{Action, Outbox};
use crate::record::Origin;
use crate::wire::outbound_publish_len;
use crate::wire::packet::{ClientPacket, OutboundPublish, ServerPacket};
use crate::wire::property::SubscriptionIds;
use crate::wire::types::{Delivery, QoS, Version};

/// The receivers of the last topic, while nothing has happened to any of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd {
    open: Option<Open>,
    /// The list of the crowd before, which is often that of the next.
    last: Option<Arc<[ConnectionId]>>,
}

#[derive(Clone, Debug)]
struct Open {
    receivers: Receivers,
    version: Version,
    /// The least room that one of them has.
    room_bytes: i64,
    /// What is still to be taken off the room of each.
    owed_bytes: i64,
}

#[derive(Clone, Debug)]
enum Receivers {
    One(ConnectionId),
    Many(Arc<[ConnectionId]>),
}

impl Receivers {
    fn as_slice(&self) -> &[ConnectionId] {
        match self {
            Receivers::One(connection) => core::slice::from_ref(connection),
            Receivers::Many(connections) => connections,
        }
    }
}

impl Broker {
    /// Keeps the receivers of a message that was sent to all of them, for the next one.
    pub(super) fn begin_crowd(&mut self, wires: &[Wire]) {
        let Some(first) = wires.first() else { return };
        let rooms = wires.iter().map(|wire| self.links.get(wire.connection()));
        let room_bytes = rooms.map(|link| link.map_or(0, |link| link.room_bytes)).min();
        let Some(room_bytes) = room_bytes.filter(|bytes| *bytes > 0) else { return };
        let version = first.version();
        if wires.iter().any(|wire| wire.version() != version) {
            return;
        }
        let receivers = if wires.len() == 1 {
            Receivers::One(first.connection())
        } else {
            let ids = || wires.iter().map(|wire| wire.connection());
            let last = self.crowd.last.take().filter(|last| last.iter().copied().eq(ids()));
            Receivers::Many(last.unwrap_or_else(|| ids().collect()))
        };
        self.crowd.open = Some(Open { receivers, version, room_bytes, owed_bytes: 0 });
    }

    /// Whether an input leaves the crowd as it is, as far as can be seen from outside.
    pub(super) fn leaves_crowd(input: &Input) -> bool {
        match input {
            Input::Packet { packet: ClientPacket::Publish(publish), .. } => {
                publish.delivery == Delivery::AtMostOnce && !publish.retain
            }
            Input::Packet { .. }
            | Input::Opened { .. }
            | Input::Malformed { .. }
            | Input::Writable { .. }
            | Input::Closed { .. }
            | Input::Authenticated { .. }
            | Input::Durable { .. }
            | Input::Fetched { .. }
            | Input::JournalSpace { .. }
            | Input::Command(_)
            | Input::Deadline => false,
        }
    }

    /// Whether the message is for the crowd, and only for it.
    pub(super) fn is_for_crowd(&self, message: &Message, retain: bool, source: &Source) -> bool {
        self.crowd.open.as_ref().is_some_and(|open| open.room_bytes > 0)
            && !retain
            && message.qos == QoS::AtMostOnce
            && source.origin == Origin::Untracked
            && self.may_be_wired(message)
            && self.scratch.as_ref().is_some_and(|known| known.is_of(self, &message.topic))
    }

    /// Sends a message to the crowd, if [`Broker::is_for_crowd`] says so. Returns how many they are.
    pub(super) fn send_to_crowd(&mut self, message: Message, out: &mut Outbox) -> u32 {
        let message_expiry_interval_s = self.remainder().of(&message);
        let Some(open) = &mut self.crowd.open else { return 0 };
        let receivers = open.receivers.as_slice().len() as u64;
        self.counters.publish_sent += receivers;
        self.counters.publish_bytes_sent += receivers * message.payload.len() as u64;
        self.counters.packets_sent += receivers;
        let publish = OutboundPublish {
            message_expiry_interval_s,
            message: self.spares.share(message),
            dup: false,    // [MQTT-3.3.1-2]
            retain: false, // [MQTT-3.3.1-12]
            delivery: Delivery::AtMostOnce,
            subscription_ids: SubscriptionIds::None,
        };
        let bytes = outbound_publish_len(&publish, open.version);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        open.room_bytes -= bytes;
        open.owed_bytes += bytes;
        match &open.receivers {
            Receivers::One(connection) => {
                let packet = ServerPacket::Publish(publish);
                out.push(Action::Send { connection: *connection, packet });
            }
            Receivers::Many(connections) => out.push_alike(connections.clone(), publish),
        }
        u32::try_from(receivers).unwrap_or(u32::MAX)
    }

    /// Something else happens: what the crowd was sent is counted for each of them.
    pub(super) fn end_crowd(&mut self) {
        let Some(open) = self.crowd.open.take() else { return };
        if open.owed_bytes > 0 {
            for connection in open.receivers.as_slice() {
                if let Some(link) = self.links.get_mut(*connection) {
                    link.room_bytes -= open.owed_bytes;
                }
            }
        }
        match open.receivers {
            Receivers::One(_) => {}
            Receivers::Many(connections) => self.crowd.last = Some(connections),
        }
    }
}
