//! The short way: messages at QoS 0 for clients that are there, have room, and have nothing else waiting.
//!
//! Nearly every delivery of a large fan-out is of this kind. What needs more thought goes the way of `route.rs`, which
//! does the same for these too, and in the same order. When the same receivers get the next message as well, `crowd.rs`
//! is shorter still.

use alloc::sync::Arc;

use super::Broker;
use super::route::{Place, Subscriber, Target};
use crate::input::ConnectionId;
use crate::message::Message;
use crate::outbox::{Action, Outbox};
use crate::record::QueueSeq;
use crate::session::SessionKey;
use crate::session::queue::{Journaled, Lane};
use crate::wire::outbound_publish_len;
use crate::wire::packet::{OutboundPublish, ServerPacket};
use crate::wire::property::SubscriptionIds;
use crate::wire::types::{Delivery, QoS, Version};

/// A receiver of the message at hand, to whom it is sent at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    connection: ConnectionId,
    session: SessionKey,
    version: Version,
    retain: bool,
}

impl Wire {
    pub(super) fn connection(&self) -> ConnectionId {
        self.connection
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// The same for those who need more thought.
    pub(super) fn into_target(self) -> Target {
        Target {
            place: Place::Wire(self.session),
            seq: QueueSeq(0),
            qos: QoS::AtMostOnce,
            retain: self.retain,
            subscription_ids: SubscriptionIds::None,
            group: None,
            journaled: Journaled::No,
        }
    }
}

impl Broker {
    /// Whether a message may go the short way at all.
    pub(super) fn may_be_wired(&self, message: &Message) -> bool {
        message.qos == QoS::AtMostOnce
            && self.permissions.is_allow_all()
            && !message.is_expired(self.durable_now())
    }

    /// The short way to a session with one matching subscription, if there is one.
    pub(super) fn find_wire(
        &self,
        key: SessionKey,
        subscriber: &Subscriber,
        published_retain: bool,
    ) -> Option<Wire> {
        if subscriber.no_local || subscriber.subscription_id != 0 {
            return None;
        }
        let session = self.sessions.get(key)?;
        let link = self.links.get(session.connection?)?;
        let is_free = link.is_live()
            && link.has_room()
            && link.maximum_packet_size_bytes == u32::MAX
            && session.queue.lane_len(Lane::Qos0) == 0
            && session.replays.is_empty()
            && session.grants.is_none()
            && !session.ended;
        is_free.then_some(Wire {
            connection: link.id,
            session: key,
            version: session.version,
            // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
            retain: published_retain && subscriber.retain_as_published,
        })
    }

    /// Sends the message to all of them.
    pub(super) fn send_wired(&mut self, message: &Arc<Message>, wires: &[Wire], out: &mut Outbox) {
        let message_expiry_interval_s = self.remainder().of(message);
        let payload_bytes = message.payload.len() as u64;
        let mut known: Option<(Version, i64)> = None;
        for wire in wires {
            let Some(link) = self.links.get_mut(wire.connection) else { continue };
            let publish = OutboundPublish {
                message: message.clone(),
                dup: false, // [MQTT-3.3.1-2]
                retain: wire.retain,
                delivery: Delivery::AtMostOnce,
                message_expiry_interval_s,
                subscription_ids: SubscriptionIds::None,
            };
            let bytes = match known {
                Some((version, bytes)) if version == wire.version => bytes,
                Some(_) | None => {
                    let bytes = outbound_publish_len(&publish, wire.version);
                    i64::try_from(bytes).unwrap_or(i64::MAX)
                }
            };
            known = Some((wire.version, bytes));
            link.room_bytes -= bytes;
            self.counters.publish_sent += 1;
            self.counters.publish_bytes_sent += payload_bytes;
            self.counters.packets_sent += 1;
            let packet = ServerPacket::Publish(publish);
            out.push(Action::Send { connection: wire.connection, packet });
        }
    }
}
