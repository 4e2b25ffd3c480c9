//! What each connection may still be sent, kept beside the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::BytesMut;
use signalhouse_core::credential::Credential;
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::permission::{Action, Permissions, Subject};
use signalhouse_core::wire::packet::{ClientPacket, Connect, OutboundPublish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, OutboundPacketId, Text};
use signalhouse_core::wire::{Writer, Written, auth_len, connack_len, outbound_publish_len};
use signalhouse_core::{ConnectionId, Question, Time};

/// Every connection that is open.
#[derive(Debug, Default)]
pub(super) struct Books {
    lines: BTreeMap<ConnectionId, Line>,
}

/// Who a client proved to be, and what else it showed.
#[derive(Clone, Debug, Default)]
struct Shown {
    identity: Option<Text>,
    credential: Credential,
}

#[derive(Debug, Default)]
struct Line {
    connect: Option<Box<Connect>>,
    /// The identifier that the broker assigned, if it did.
    assigned: Option<Text>,
    is_accepted: bool,
    /// Whether the driver was asked and did not answer yet.
    is_asked: bool,
    /// What it showed last, and before that while not all it was sent for that had left.
    shown: Vec<Shown>,
    /// Whether the client broke the rules, so that no more is promised to it.
    is_hostile: bool,
    /// Deliveries on this connection that are not finished.
    unfinished: BTreeSet<OutboundPacketId>,
}

impl Books {
    pub(super) fn is_open(&self, connection: ConnectionId) -> bool {
        self.lines.contains_key(&connection)
    }

    pub(super) fn is_accepted(&self, connection: ConnectionId) -> bool {
        self.lines.get(&connection).is_some_and(|line| line.is_accepted)
    }

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
            ClientPacket::Connect(connect) if line.connect.is_none() => {
                line.connect = Some(connect.clone());
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

    /// The broker asks who this is.
    ///
    /// # Panics
    /// If it may not.
    pub(super) fn asked(&mut self, connection: ConnectionId, question: &Question) {
        let line = self.lines.get_mut(&connection);
        let line = line.unwrap_or_else(|| panic!("{connection} is not open: {question:?}"));
        assert!(!line.is_asked, "one question at a time: {question:?}");
        line.is_asked = true;
    }

    /// The driver answers.
    pub(super) fn answered(&mut self, connection: ConnectionId, outcome: &AuthOutcome) {
        let Some(line) = self.lines.get_mut(&connection) else { return };
        line.is_asked = false;
        if let AuthOutcome::Accepted { identity, credential, .. } = outcome {
            line.shown.push(Shown { identity: identity.clone(), credential: credential.clone() });
        }
    }

    /// Nothing waits for the disk any more.
    pub(super) fn all_has_left(&mut self) {
        for line in self.lines.values_mut() {
            let before = line.shown.len().saturating_sub(1);
            line.shown.drain(..before);
        }
    }

    /// # Panics
    /// If a client is in whose credential has ended.
    pub(super) fn assert_nobody_overstays(&self, now: Time) {
        for (connection, line) in &self.lines {
            let ends_at = line.shown.last().and_then(|shown| shown.credential.ends_at);
            let is_over = line.is_accepted && ends_at.is_some_and(|ends_at| ends_at <= now);
            assert!(!is_over, "{connection} is in after {ends_at:?}");
        }
    }

    /// # Panics
    /// If somebody is left.
    pub(super) fn assert_all_closed(&self) {
        assert!(self.lines.is_empty(), "left after the end: {:?}", self.lines);
    }

    /// The broker sends `packet`, under rules of which one was in force when it was decided.
    ///
    /// # Panics
    /// If it may not.
    pub(super) fn receives(
        &mut self,
        connection: ConnectionId,
        packet: &ServerPacket,
        rules: &[Arc<Permissions>],
    ) {
        let line = self.lines.get_mut(&connection);
        let line = line.unwrap_or_else(|| panic!("{connection} is not open: {packet:?}"));
        match packet {
            ServerPacket::ConnAck(connack) => {
                assert!(!line.is_accepted, "CONNACK comes once [MQTT-3.2.0-2]");
                line.is_accepted = connack.reason == ReasonCode::Success;
                line.assigned.clone_from(&connack.assigned_client_id);
                assert!(!line.is_accepted || !line.is_asked, "CONNACK before the answer");
                assert!(!line.is_accepted || line.takes(connack_len(connack)), "{connack:?}");
            }
            ServerPacket::Publish(publish) => {
                assert!(line.is_accepted, "CONNACK comes first [MQTT-3.2.0-1]");
                line.receives_publish(publish);
                let is_new = !publish.dup;
                assert!(!is_new || line.may_receive(publish, rules), "not allowed: {publish:?}");
            }
            ServerPacket::Auth(auth) => {
                let is_method = line.connect.as_ref().is_some_and(|connect| {
                    auth.method.is_some() && connect.authentication_method == auth.method
                });
                assert!(is_method, "the method of CONNECT [MQTT-4.12.0-5]: {auth:?}");
                let goes_on = auth.reason == ReasonCode::ContinueAuthentication;
                assert!(goes_on || line.is_accepted, "CONNACK ends the exchange: {auth:?}");
                assert!(line.takes(auth_len(auth)), "too large [MQTT-3.1.2-24]: {auth:?}");
            }
            ServerPacket::Disconnect(_) => {
                assert!(line.is_accepted, "not before CONNACK [MQTT-3.14.0-1]: {packet:?}");
                line.assert_is_written(packet);
            }
            ServerPacket::PubAck(_)
            | ServerPacket::PubRec(_)
            | ServerPacket::PubRel(_)
            | ServerPacket::PubComp(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp => {
                assert!(line.is_accepted, "CONNACK comes first [MQTT-3.2.0-1]: {packet:?}");
                line.assert_is_written(packet);
            }
        }
    }
}

impl Line {
    /// Whether the client takes packets of this size.
    fn takes(&self, bytes: usize) -> bool {
        let connect = self.connect.as_ref();
        let maximum = connect.and_then(|connect| connect.maximum_packet_size_bytes);
        maximum.is_none_or(|maximum| bytes <= maximum as usize)
    }

    /// # Panics
    /// If the client does not get it because of its size.
    fn assert_is_written(&self, packet: &ServerPacket) {
        let Some(connect) = &self.connect else { panic!("no CONNECT came") };
        let mut writer = Writer::new();
        writer.negotiate(connect, 0);
        let written = writer.write(packet, &mut BytesMut::new());
        assert_ne!(written, Written::DroppedTooLarge, "too large [MQTT-3.1.2-24]: {packet:?}");
    }

    fn receives_publish(&mut self, publish: &OutboundPublish) {
        let Some(connect) = &self.connect else { panic!("no CONNECT came") };
        let bytes = outbound_publish_len(publish, connect.version);
        assert!(self.takes(bytes), "{bytes} bytes are too many [MQTT-3.1.2-24]");
        let (Delivery::AtLeastOnce(id) | Delivery::ExactlyOnce(id)) = publish.delivery else {
            return;
        };
        let maximum = usize::from(connect.receive_maximum);
        let is_new = self.unfinished.insert(id);
        assert!(is_new || self.is_hostile, "{id:?} is in use [MQTT-2.2.1-4]");
        assert!(
            self.unfinished.len() <= maximum || self.is_hostile,
            "more than {maximum} at once [MQTT-3.3.4-9]"
        );
    }

    /// Whether some of the rules, with something that the client showed, let it have this.
    fn may_receive(&self, publish: &OutboundPublish, rules: &[Arc<Permissions>]) -> bool {
        let Some(connect) = &self.connect else { return false };
        let nobody = [Shown::default()];
        let shown = if self.shown.is_empty() { &nobody } else { &self.shown[..] };
        let client_id = self.assigned.as_ref().unwrap_or(&connect.client_id);
        shown.iter().any(|Shown { identity, credential }| {
            let subject = Subject {
                user_name: identity.as_ref(),
                client_id,
                claims: &credential.claims,
                grants: credential.grants.as_deref(),
                inbox: credential.inbox.as_deref(),
            };
            let topic = &publish.message.topic;
            rules.iter().any(|rules| rules.allows(&subject, Action::Receive, topic).allowed)
        })
    }
}
