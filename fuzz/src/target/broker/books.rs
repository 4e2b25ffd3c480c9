//! What each connection may still be sent, kept beside the broker.

use std::collections::{BTreeMap, BTreeSet};

use signalhouse_core::ConnectionId;
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, OutboundPacketId};

/// Every connection that is open.
#[derive(Debug, Default)]
pub(super) struct Books {
    lines: BTreeMap<ConnectionId, Line>,
}

#[derive(Debug, Default)]
struct Line {
    receive_maximum: Option<u16>,
    is_accepted: bool,
    /// Whether the client broke the rules, so that no more is promised to it.
    is_hostile: bool,
    /// Deliveries on this connection that are not finished.
    unfinished: BTreeSet<OutboundPacketId>,
}

impl Books {
    pub(super) fn opened(&mut self, connection: ConnectionId) {
        self.lines.insert(connection, Line::default());
    }

    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.lines.remove(&connection);
    }

    /// The client sends `packet`.
    pub(super) fn sends(&mut self, connection: ConnectionId, packet: &ClientPacket) {
        let Some(line) = self.lines.get_mut(&connection) else { return };
        match packet {
            ClientPacket::Connect(connect) if line.receive_maximum.is_none() => {
                line.receive_maximum = Some(connect.receive_maximum);
            }
            ClientPacket::PubAck(ack) => {
                line.unfinished.remove(&ack.packet_id);
            }
            ClientPacket::PubRec(ack) if ack.reason.is_error() => {
                line.unfinished.remove(&ack.packet_id);
            }
            ClientPacket::PubComp(ack) => {
                // Finishing what was never acknowledged confuses only those who do it.
                line.is_hostile |= line.unfinished.contains(&ack.packet_id);
                line.unfinished.remove(&ack.packet_id);
            }
            ClientPacket::Connect(_)
            | ClientPacket::PubRec(_)
            | ClientPacket::Publish(_)
            | ClientPacket::PubRel(_)
            | ClientPacket::Subscribe(_)
            | ClientPacket::Unsubscribe(_)
            | ClientPacket::PingReq
            | ClientPacket::Disconnect(_)
            | ClientPacket::Auth(_) => {}
        }
    }

    /// The broker sends `packet`.
    ///
    /// # Panics
    /// If it may not.
    pub(super) fn receives(&mut self, connection: ConnectionId, packet: &ServerPacket) {
        let line = self.lines.get_mut(&connection);
        let line = line.unwrap_or_else(|| panic!("{connection} is not open: {packet:?}"));
        match packet {
            ServerPacket::ConnAck(connack) => {
                assert!(!line.is_accepted, "CONNACK comes once [MQTT-3.2.0-2]");
                line.is_accepted = connack.reason == ReasonCode::Success;
            }
            ServerPacket::Publish(publish) => {
                assert!(line.is_accepted, "CONNACK comes first [MQTT-3.2.0-1]");
                let (Delivery::AtLeastOnce(id) | Delivery::ExactlyOnce(id)) = publish.delivery
                else {
                    return;
                };
                let is_new = line.unfinished.insert(id);
                assert!(is_new || line.is_hostile, "{id:?} is in use [MQTT-2.2.1-4]");
                let maximum = usize::from(line.receive_maximum.unwrap_or(u16::MAX));
                assert!(
                    line.unfinished.len() <= maximum || line.is_hostile,
                    "more than {maximum} at once [MQTT-3.3.4-9]"
                );
            }
            ServerPacket::Disconnect(_) | ServerPacket::Auth(_) => {}
            ServerPacket::PubAck(_)
            | ServerPacket::PubRec(_)
            | ServerPacket::PubRel(_)
            | ServerPacket::PubComp(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp => {
                assert!(line.is_accepted, "CONNACK comes first [MQTT-3.2.0-1]: {packet:?}");
            }
        }
    }
}
