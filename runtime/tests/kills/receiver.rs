//! A subscriber with a session that acknowledges what it gets, and remembers it as a correct client does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use signalhouse_core::wire::packet::{Ack, ClientPacket, OutboundPublish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, OutboundPacketId};

use crate::account::{Account, Wrong};
use crate::chance::Chance;
use crate::peer::{Gone, Peer};
use crate::stage::Stage;

/// When a receiver is connected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Habit {
    /// Always.
    Online,
    /// Now and then, for a moment, until everything is published.
    Away,
}

pub(crate) struct Receiver<'a> {
    stage: &'a Stage,
    account: &'a Account,
    name: String,
    filter: &'static str,
    habit: Habit,
    chance: Chance,
    has_session: bool,
    is_subscribed: bool,
    /// QoS 2 deliveries received and not yet released.
    received: BTreeSet<OutboundPacketId>,
}

impl<'a> Receiver<'a> {
    pub(crate) fn new(
        stage: &'a Stage,
        account: &'a Account,
        (name, filter, habit): (&str, &'static str, Habit),
        seed: u64,
    ) -> Self {
        Receiver {
            stage,
            account,
            name: name.to_owned(),
            filter,
            habit,
            chance: Chance::new(seed),
            has_session: false,
            is_subscribed: false,
            received: BTreeSet::new(),
        }
    }

    /// Receives until the stage is over.
    pub(crate) fn run(mut self) {
        while !self.stage.is_over() {
            let address = self.stage.address();
            if self.connected(address).is_err() {
                self.stage.pause();
            }
            if self.habit == Habit::Away && !self.stage.is_ending() {
                self.stage.wait(Duration::from_millis(100 + self.chance.below(900)));
            }
        }
    }

    fn connected(&mut self, address: SocketAddr) -> Result<(), Gone> {
        let (mut peer, session_present) = Peer::connect(address, &self.name)?;
        if self.has_session && !session_present {
            self.stage.wrong(Wrong::new("lost", format!("the session of {}", self.name)));
        }
        self.has_session = true;
        if !self.is_subscribed {
            peer.subscribe(self.filter)?;
            self.is_subscribed = true;
            self.stage.count_subscribed();
        }
        let mut rounds_left = self.chance.below(40);
        while !self.stage.is_over() {
            while let Some(packet) = peer.read()? {
                self.packet(&mut peer, packet);
            }
            peer.flush()?;
            if self.habit == Habit::Away && !self.stage.is_ending() {
                if rounds_left == 0 {
                    return Ok(());
                }
                rounds_left -= 1;
            }
        }
        Ok(())
    }

    fn packet(&mut self, peer: &mut Peer, packet: ServerPacket) {
        match packet {
            ServerPacket::Publish(publish) => self.publish(peer, &publish),
            ServerPacket::PubRel(ack) => {
                self.received.remove(&ack.packet_id);
                let ack = Ack::new(ack.packet_id, ReasonCode::Success);
                peer.say(&ClientPacket::PubComp(ack));
            }
            ServerPacket::ConnAck(_)
            | ServerPacket::PubAck(_)
            | ServerPacket::PubRec(_)
            | ServerPacket::PubComp(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => panic!("{} gets {packet:?}", self.name),
        }
    }

    fn publish(&mut self, peer: &mut Peer, publish: &OutboundPublish) {
        match publish.delivery {
            Delivery::AtMostOnce => {
                self.stage.wrong(Wrong::new("weakened", format!("{publish:?}")));
            }
            Delivery::AtLeastOnce(id) => {
                self.account.take(self.stage, &publish.message.payload, publish.dup);
                peer.say(&ClientPacket::PubAck(Ack::new(id, ReasonCode::Success)));
            }
            Delivery::ExactlyOnce(id) => {
                if self.received.insert(id) {
                    self.account.take(self.stage, &publish.message.payload, publish.dup);
                }
                peer.say(&ClientPacket::PubRec(Ack::new(id, ReasonCode::Success)));
            }
        }
    }
}
