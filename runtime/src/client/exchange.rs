//! The exchanges of QoS 1 and 2, of both directions, within one connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use signalhouse_core::wire::packet::{Ack, ClientPacket, OutboundPublish, Publish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{
    Delivery, InboundPacketId, OutboundPacketId, PacketId, QoS, Text,
};

use super::{ClientError, packet_name};

/// Publications under way to the broker.
#[derive(Debug)]
pub struct Outbox {
    window: usize,
    next_id: PacketId,
    /// With the number each was given by its sender.
    waiting: VecDeque<(u64, QoS, Publish)>,
    in_flight: BTreeMap<PacketId, InFlight>,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    qos: QoS,
    received: bool,
}

/// How a publication ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Its sender's number for it.
    pub number: u64,
    /// The broker's code.
    pub reason: ReasonCode,
    /// The broker's words, if any.
    pub detail: Option<Text>,
}

impl Outbox {
    /// An outbox that keeps at most `window` publications at QoS 1 and 2 unacknowledged.
    #[must_use]
    pub fn new(window: u16) -> Self {
        Outbox {
            window: usize::from(window.max(1)),
            next_id: PacketId::MIN,
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
        }
    }

    /// Takes a publication to be sent at `qos`; what its own `delivery` says is replaced.
    pub fn push(&mut self, number: u64, qos: QoS, publish: Publish) {
        self.waiting.push_back((number, qos, publish));
    }

    /// Publications that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// Whether every publication has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next packet to send, if the window has room. At QoS 0 the publication thereby ends.
    pub fn next_packet(&mut self) -> Option<ClientPacket> {
        let qos = self.waiting.front()?.1;
        if qos != QoS::AtMostOnce && self.in_flight.len() >= self.window {
            return None;
        }
        let (number, _, mut publish) = self.waiting.pop_front()?;
        publish.delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce(self.take_id(number, qos)),
            QoS::ExactlyOnce => Delivery::ExactlyOnce(self.take_id(number, qos)),
        };
        Some(ClientPacket::Publish(publish))
    }

    fn take_id(&mut self, number: u64, qos: QoS) -> InboundPacketId {
        // The window is at most the number of identifiers, so one is free.
        while self.in_flight.contains_key(&self.next_id) {
            self.next_id = after(self.next_id);
        }
        let id = self.next_id;
        self.next_id = after(id);
        self.in_flight.insert(id, InFlight { number, qos, received: false });
        InboundPacketId(id)
    }

    /// Takes an acknowledgement: the answer it calls for, and what ended. Other packets are
    /// nothing to it.
    ///
    /// # Errors
    /// [`ClientError::Unexpected`] if nothing in flight goes with it.
    pub fn acknowledge(
        &mut self,
        packet: &ServerPacket,
    ) -> Result<(Option<ClientPacket>, Option<Outcome>), ClientError> {
        let (ack, qos, received) = match packet {
            ServerPacket::PubAck(ack) => (ack, QoS::AtLeastOnce, false),
            ServerPacket::PubRec(ack) => (ack, QoS::ExactlyOnce, false),
            ServerPacket::PubComp(ack) => (ack, QoS::ExactlyOnce, true),
            ServerPacket::ConnAck(_)
            | ServerPacket::Publish(_)
            | ServerPacket::PubRel(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => return Ok((None, None)),
        };
        let id = ack.packet_id;
        let known = self.in_flight.get_mut(&id.0);
        let Some(known) = known.filter(|known| known.qos == qos && known.received == received)
        else {
            return Err(ClientError::Unexpected(packet_name(packet)));
        };
        if matches!(packet, ServerPacket::PubRec(_)) && !ack.reason.is_error() {
            known.received = true;
            let release = ClientPacket::PubRel(Ack::new(id, ReasonCode::Success));
            return Ok((Some(release), None));
        }
        let number = known.number;
        self.in_flight.remove(&id.0);
        let detail = ack.details.as_ref().and_then(|details| details.reason_string.clone());
        Ok((None, Some(Outcome { number, reason: ack.reason, detail })))
    }
}

fn after(id: PacketId) -> PacketId {
    PacketId::new(id.value().wrapping_add(1)).unwrap_or(PacketId::MIN)
}

/// Deliveries under way from the broker.
#[derive(Debug, Default)]
pub struct Inbox {
    held: BTreeSet<OutboundPacketId>,
}

/// What comes of a packet that belongs to a delivery.
#[derive(Debug, Default)]
pub struct Received {
    /// The packet to answer with.
    pub answer: Option<ClientPacket>,
    /// The message, if it is not a repeat.
    pub publish: Option<OutboundPublish>,
}

impl Inbox {
    /// Takes PUBLISH and PUBREL; of any other packet comes nothing.
    #[must_use]
    pub fn receive(&mut self, packet: ServerPacket) -> Received {
        match packet {
            ServerPacket::Publish(publish) => match publish.delivery {
                Delivery::AtMostOnce => Received { answer: None, publish: Some(publish) },
                Delivery::AtLeastOnce(id) => Received {
                    answer: Some(ClientPacket::PubAck(Ack::new(id, ReasonCode::Success))),
                    publish: Some(publish),
                },
                Delivery::ExactlyOnce(id) => Received {
                    answer: Some(ClientPacket::PubRec(Ack::new(id, ReasonCode::Success))),
                    publish: self.held.insert(id).then_some(publish),
                },
            },
            ServerPacket::PubRel(ack) => {
                let known = self.held.remove(&ack.packet_id);
                let reason =
                    if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
                let complete = ClientPacket::PubComp(Ack::new(ack.packet_id, reason));
                Received { answer: Some(complete), publish: None }
            }
            ServerPacket::ConnAck(_)
            | ServerPacket::PubAck(_)
            | ServerPacket::PubRec(_)
            | ServerPacket::PubComp(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => Received::default(),
        }
    }

    /// Whether an exchange at QoS 2 is not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.held.is_empty()
    }
}
