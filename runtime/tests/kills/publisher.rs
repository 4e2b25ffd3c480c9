//! A publisher with a session: numbered messages in two lanes, QoS 1 and QoS 2, each repeated until it is
//! acknowledged.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use signalhouse_core::wire::packet::ServerPacket;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{PacketId, QoS};

use crate::account::Wrong;
use crate::peer::{Gone, Outgoing, Peer};
use crate::stage::Stage;

/// Messages unacknowledged at a time.
const WINDOW: usize = 24;
/// Every so many messages one is retained.
const RETAINED_EVERY: u64 = 7;

/// What a publisher has to say in the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Published {
    /// Numbers given to messages at QoS 1 and QoS 2, all acknowledged.
    pub(crate) lanes: [u64; 2],
    /// The number of the last retained message.
    pub(crate) retained: u64,
    /// Messages sent again.
    pub(crate) repeated: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// PUBACK or PUBREC is to come.
    Publish,
    /// PUBCOMP is to come.
    Release,
}

pub(crate) struct Publisher<'a> {
    stage: &'a Stage,
    name: String,
    number: usize,
    /// In the order in which they were first sent.
    unacknowledged: VecDeque<(Outgoing, Step)>,
    has_session: bool,
    last_id: u16,
    published: Published,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(stage: &'a Stage, number: usize) -> Self {
        Publisher {
            stage,
            name: format!("publisher-{number}"),
            number,
            unacknowledged: VecDeque::new(),
            has_session: false,
            last_id: 0,
            published: Published::default(),
        }
    }

    /// Publishes until the stage says stop, and then until all is acknowledged.
    pub(crate) fn run(mut self) -> Published {
        while !self.is_done() {
            let address = self.stage.address();
            if self.connected(address).is_err() {
                self.stage.pause();
            }
        }
        self.published
    }

    fn connected(&mut self, address: SocketAddr) -> Result<(), Gone> {
        let (mut peer, session_present) = Peer::connect(address, &self.name)?;
        if self.has_session && !session_present {
            self.stage.wrong(Wrong::new("lost", format!("the session of {}", self.name)));
        }
        self.has_session = true;
        // [MQTT-4.4.0-1]
        for (message, step) in &self.unacknowledged {
            match step {
                Step::Publish => peer.publish(message, true),
                Step::Release => peer.pubrel(message.id),
            }
            self.published.repeated += 1;
        }
        peer.flush()?;
        while !self.is_done() {
            while !self.stage.is_ending() && self.unacknowledged.len() < WINDOW {
                let message = self.next_message();
                peer.publish(&message, false);
                self.unacknowledged.push_back((message, Step::Publish));
            }
            peer.flush()?;
            while let Some(packet) = peer.read()? {
                self.acknowledged(&mut peer, packet);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stage.is_over() || self.stage.is_ending() && self.unacknowledged.is_empty()
    }

    fn next_message(&mut self) -> Outgoing {
        let lane = usize::from((self.published.lanes[0] + self.published.lanes[1]) % 2 == 1);
        self.published.lanes[lane] += 1;
        let number = self.published.lanes[lane];
        let retain = lane == 0 && number.is_multiple_of(RETAINED_EVERY);
        if retain {
            self.published.retained = number;
        }
        let topic = format!("kills/{}/{lane}", self.number);
        // Of different lengths, some longer than a page.
        let filler = "x".repeat(
            (number * 37 % 200) as usize + if number.is_multiple_of(50) { 6000 } else { 0 },
        );
        Outgoing {
            id: self.free_id(),
            topic,
            payload: Bytes::from(format!("{} {lane} {number} {filler}", self.number)),
            qos: if lane == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
            retain,
        }
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && self.unacknowledged.iter().all(|(message, _)| message.id != id)
            {
                return id;
            }
        }
    }

    fn acknowledged(&mut self, peer: &mut Peer, packet: ServerPacket) {
        let (id, reason, finished) = match packet {
            ServerPacket::PubAck(ack) => (ack.packet_id.0, ack.reason, true),
            ServerPacket::PubRec(ack) => (ack.packet_id.0, ack.reason, false),
            // 0x92: the broker had released it before the kill.
            ServerPacket::PubComp(ack) => (ack.packet_id.0, ReasonCode::Success, true),
            ServerPacket::ConnAck(_)
            | ServerPacket::Publish(_)
            | ServerPacket::PubRel(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => panic!("{} gets {packet:?}", self.name),
        };
        if reason != ReasonCode::Success {
            // There are durable subscriptions that match, and queues have room.
            self.stage.wrong(Wrong::new("refused", format!("{id} of {}: {reason:?}", self.name)));
        }
        let place = self.unacknowledged.iter().position(|(message, _)| message.id == id);
        let Some(place) = place else { return };
        if finished {
            self.unacknowledged.remove(place);
            self.stage.count_acknowledged();
        } else {
            self.unacknowledged[place].1 = Step::Release;
            peer.pubrel(id);
        }
    }
}
