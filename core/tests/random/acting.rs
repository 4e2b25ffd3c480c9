//! What clients do of themselves, good and bad.

use signalhouse_core::input::Gone;
use signalhouse_core::wire::packet::{Ack, ClientPacket, Connect, Disconnect};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{OutboundPacketId, PacketId, QoS, Version};
use signalhouse_core::{ConnectionId, Input};

use super::client::{self, Asked, Habits, Link, Request, Session, text};
use super::world::{World, key_of};

impl World {
    pub(crate) fn client_step(&mut self) {
        let client = self.rng.place(self.links.len());
        let Some(link) = &self.links[client] else {
            if self.rng.chance(40) {
                self.connect(client);
            }
            return;
        };
        let (id, is_severed, is_live) = (link.id, link.severed, link.live);
        if is_severed {
            if self.rng.chance(25) {
                self.close(id);
            } else {
                self.speak(id);
            }
            return;
        }
        let pipelines = !self.config.ask_credentials;
        match self.rng.below(1000) {
            0..=499 => self.read_some(id),
            500..=939 if is_live || (pipelines && self.rng.chance(15)) => self.speak(id),
            500..=939 => self.read_some(id),
            940..=949 => {
                if let Some(link) = self.link_mut(id) {
                    link.severed = true;
                }
            }
            950..=959 => self.close(id),
            960..=965 => self.disconnect(id),
            966..=968 => self.misbehave(id),
            _ => self.change_room(id),
        }
    }

    /// Says one thing, an answer if one is owed.
    fn speak(&mut self, id: ConnectionId) {
        let Some(link) = self.link(id) else { return };
        let (owed, diligence) = (link.replies.len(), link.diligence);
        if owed > 0 && self.rng.chance(diligence) {
            self.reply(id);
            return;
        }
        match self.rng.below(100) {
            0..=49 => self.publish(id),
            50..=71 => self.subscribe(id),
            72..=79 => self.unsubscribe(id),
            80..=86 => self.send(id, ClientPacket::PingReq),
            87..=88 => self.unknown_ack(id),
            _ => self.reply(id),
        }
    }

    fn connect(&mut self, client: usize) {
        let number = self.fresh_number();
        let client_id = if self.rng.chance(3) { String::new() } else { key_of(client) };
        let connect = client::connect(&mut self.rng, &client_id, number);
        self.connect_with(client, connect);
    }

    pub(crate) fn connect_with(&mut self, client: usize, connect: Connect) {
        self.generations[client] += 1;
        let index = u32::try_from(client).expect("few clients");
        let id = ConnectionId { index, generation: self.generations[client] };
        let key = if connect.client_id.is_empty() {
            format!("auto:{id}")
        } else {
            connect.client_id.to_string()
        };
        let narrow = !self.is_ending && self.rng.chance(15);
        let room_bytes = if narrow { self.rng.pick(&[0, 1, 50, 400]) } else { u32::MAX };
        let asks = self.config.ask_credentials;
        self.memories.entry(key.clone()).or_default();
        self.links[client] = Some(Link {
            id,
            key: key.clone(),
            version: connect.version,
            window: connect.receive_maximum,
            session: (!asks).then_some(Session::Transient(id)),
            live: false,
            severed: false,
            honest: true,
            diligence: self.rng.pick(&[5, 60, 90, 100]),
            narrow,
            inbox: std::collections::VecDeque::new(),
            replies: Vec::new(),
        });
        if let Some(check) = &mut self.check {
            check.opened(id, &key, &connect);
        }
        if !asks {
            self.enter(id, Session::Transient(id));
        }
        self.handle(Input::Opened { connection: id, peer: text("peer"), room_bytes });
        self.connecting = Some(id);
        self.send(id, ClientPacket::Connect(Box::new(connect)));
        self.connecting = None;
    }

    /// Sends a packet, unless it is lost on the way.
    pub(crate) fn send(&mut self, id: ConnectionId, packet: ClientPacket) {
        if self.link(id).is_none_or(|link| link.severed) {
            return;
        }
        if let (Some(check), Some(Some(link))) =
            (&mut self.check, self.links.get(id.index as usize))
        {
            check.sending(link, &packet);
        }
        self.handle(Input::Packet { connection: id, packet });
        if let Some(check) = &mut self.check {
            check.sent();
        }
    }

    fn read_some(&mut self, id: ConnectionId) {
        for _ in 0..self.rng.pick(&[1, 1, 3, 10]) {
            let Some(packet) = self.link_mut(id).and_then(|link| link.inbox.pop_front()) else {
                return;
            };
            self.read(id, packet);
        }
    }

    pub(crate) fn reply(&mut self, id: ConnectionId) {
        let Some(owed) = self.link(id).map(|link| link.replies.len()) else { return };
        if owed == 0 {
            return;
        }
        let place = if self.rng.chance(70) { 0 } else { self.rng.place(owed) };
        if let Some(packet) = self.link_mut(id).map(|link| link.replies.remove(place)) {
            self.send(id, packet);
        }
    }

    fn publish(&mut self, id: ConnectionId) {
        let qos = client::any_qos(&mut self.rng);
        self.publish_at(id, qos);
    }

    /// Publishes, if the broker's receive maximum lets it.
    pub(crate) fn publish_at(&mut self, id: ConnectionId, qos: QoS) {
        let maximum = usize::from(self.config.limits.receive_maximum);
        let number = self.fresh_number();
        let order = self.fresh_order();
        let Some(link) = self.link(id) else { return };
        let (key, version) = (link.key.clone(), link.version);
        let Some(memory) = self.memories.get_mut(&key) else { return };
        if qos > QoS::AtMostOnce && memory.unacknowledged() >= maximum {
            return;
        }
        let packet_id = memory.fresh_id();
        let publish = client::publish(&mut self.rng, version, qos, number, packet_id);
        if qos > QoS::AtMostOnce {
            let what = Asked::Publish(Box::new(publish.clone()));
            memory.requests.insert(packet_id, Request { what, order, sent_on: id });
        }
        if let Some(check) = &mut self.check {
            check.published(number, &publish);
        }
        self.send(id, ClientPacket::Publish(publish));
    }

    /// A packet identifier for a request that is not a publication.
    fn request(&mut self, id: ConnectionId) -> Option<(u16, Version, Habits)> {
        let order = self.fresh_order();
        let link = self.link(id)?;
        let (key, version) = (link.key.clone(), link.version);
        let shares = id.index.is_multiple_of(3);
        let memory = self.memories.get_mut(&key)?;
        let packet_id = memory.fresh_id();
        memory.requests.insert(packet_id, Request { what: Asked::Other, order, sent_on: id });
        Some((packet_id, version, Habits { shares }))
    }

    fn subscribe(&mut self, id: ConnectionId) {
        let Some((packet_id, version, habits)) = self.request(id) else { return };
        let subscribe = client::subscribe(&mut self.rng, version, habits, packet_id);
        self.send(id, ClientPacket::Subscribe(Box::new(subscribe)));
    }

    fn unsubscribe(&mut self, id: ConnectionId) {
        let Some((packet_id, _, habits)) = self.request(id) else { return };
        let unsubscribe = client::unsubscribe(&mut self.rng, habits, packet_id);
        self.send(id, ClientPacket::Unsubscribe(Box::new(unsubscribe)));
    }

    /// Acknowledges what never was.
    fn unknown_ack(&mut self, id: ConnectionId) {
        let number = u16::try_from(60_000 + self.rng.below(10)).unwrap_or(60_000);
        let packet_id = PacketId::new(number).expect("not 0");
        let of_broker = OutboundPacketId(packet_id);
        let packet = match self.rng.below(4) {
            0 => ClientPacket::PubAck(Ack::new(of_broker, ReasonCode::Success)),
            1 => ClientPacket::PubRec(Ack::new(of_broker, ReasonCode::Success)),
            2 => ClientPacket::PubComp(Ack::new(of_broker, ReasonCode::Success)),
            _ => ClientPacket::PubRel(Ack::new(client::inbound(number), ReasonCode::Success)),
        };
        self.send(id, packet);
    }

    pub(crate) fn close(&mut self, id: ConnectionId) {
        let cause = self.rng.pick(&[Gone::PeerClosed, Gone::Failed]);
        if let Some(check) = &mut self.check {
            check.closed(id);
        }
        self.lose(id);
        self.handle(Input::Closed { connection: id, cause });
    }

    fn disconnect(&mut self, id: ConnectionId) {
        let Some(link) = self.link(id) else { return };
        let is_v5 = link.version == Version::V5;
        let expires = link.session.is_some_and(|session| matches!(session, Session::Recorded(_)));
        let mut disconnect = Disconnect::default();
        if is_v5 {
            disconnect.reason = self.rng.pick(&[
                ReasonCode::Success,
                ReasonCode::Success,
                ReasonCode::DisconnectWithWillMessage,
                ReasonCode::UnspecifiedError,
            ]);
            if expires && self.rng.chance(20) {
                disconnect.session_expiry_interval_s = Some(self.rng.pick(&[0, 0, 5, 1000]));
            }
        }
        if disconnect.session_expiry_interval_s.is_some_and(|seconds| seconds > 0)
            && let Some(link) = self.link_mut(id)
        {
            // The session may have been transient, which makes this an error.
            link.honest = false;
        }
        self.send(id, ClientPacket::Disconnect(Box::new(disconnect)));
        self.close(id);
    }

    /// Breaks the protocol.
    fn misbehave(&mut self, id: ConnectionId) {
        let Some(link) = self.link_mut(id) else { return };
        if !link.live {
            return;
        }
        link.honest = false;
        let key = link.key.clone();
        match self.rng.below(3) {
            0 => {
                let connect = client::connect(&mut self.rng, &key, 0);
                self.send(id, ClientPacket::Connect(Box::new(connect)));
            }
            1 => {
                let error = signalhouse_core::wire::DecodeError::PacketTypeZero;
                if let Some(check) = &mut self.check {
                    check.malformed(id);
                }
                self.handle(Input::Malformed { connection: id, error, version: None });
            }
            _ => {
                // One more than the broker takes, all unacknowledged.
                for packet_id in 50_000..=50_000 + self.config.limits.receive_maximum {
                    let number = self.fresh_number();
                    let version = self.link(id).map_or(Version::V5, |link| link.version);
                    let qos = QoS::ExactlyOnce;
                    let publish = client::publish(&mut self.rng, version, qos, number, packet_id);
                    if let Some(check) = &mut self.check {
                        check.published(number, &publish);
                    }
                    self.send(id, ClientPacket::Publish(publish));
                }
            }
        }
    }

    fn change_room(&mut self, id: ConnectionId) {
        if self.link(id).is_some_and(|link| link.narrow) {
            let room_bytes = self.rng.pick(&[0, 1, 30, 100, 1000, 100_000]);
            self.handle(Input::Writable { connection: id, room_bytes });
        }
    }
}
