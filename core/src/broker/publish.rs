//! PUBLISH from a client: what is checked before the broker takes ownership, and the answer.

use alloc::boxed::Box;

use super::Broker;
use super::route::Source;
use crate::input::ConnectionId;
use crate::message::{Message, content_bytes};
use crate::notice::{Cause, Notice};
use crate::outbox::Outbox;
use crate::permission::{Action as Permitted, Subject};
use crate::record::{LogPosition, Origin};
use crate::routing::topic::Topic;
use crate::session::SessionKey;
use crate::wire::packet::{Ack, Publish, ReasonDetails, ServerPacket};
use crate::wire::property::MessageProperties;
use crate::wire::reason::ReasonCode;
use crate::wire::types::{Delivery, InboundPacketId, Text, Version};

/// First levels that clients may not publish to.
const RESERVED: [&[u8]; 3] = [b"$SYS", b"$share", b"$signalhouse"];

impl Broker {
    pub(super) fn publish(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        publish: Publish,
        out: &mut Outbox,
    ) {
        self.counters.publish_received += 1;
        self.counters.publish_bytes_received += publish.payload.len() as u64;
        let mut after = LogPosition::START;
        match publish.delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce(id) => {
                if !self.take_quota(connection, out) {
                    return;
                }
                let before = self.gate.appended();
                if self.is_held_for_another(connection, key, id, out) {
                    let reason = ReasonCode::PacketIdentifierInUse;
                    self.answer(connection, publish.delivery, reason, LogPosition::START, out);
                    return;
                }
                // Once it is acknowledged, the identifier must be free for good.
                after = self.gate.appended_since(before);
            }
            Delivery::ExactlyOnce(id) => {
                if self.is_repeated(connection, key, id, out) || !self.take_quota(connection, out) {
                    return;
                }
            }
        }
        if let Some(cause) = self.forbidden_publish(&publish) {
            self.close(connection, cause, out);
        } else if let Some(reason) = self.refused_publish(key, &publish) {
            self.refuse(connection, key, publish.delivery, publish.topic, reason, out);
        } else if let Err(over) = self.count_publish(key, &publish, out) {
            if over.closes_at_qos0 && publish.delivery == Delivery::AtMostOnce {
                let (reason, detail) = match over.retry_after_ms {
                    Some(_) => (ReasonCode::MessageRateTooHigh, "over the quota of messages"),
                    None => (ReasonCode::QuotaExceeded, "over the quota of stored bytes"),
                };
                self.close_behind(connection, Cause::Limit { reason, detail }, out);
            } else {
                let reason = ReasonCode::QuotaExceeded;
                self.refuse(connection, key, publish.delivery, publish.topic, reason, out);
            }
        } else {
            self.take_publish(connection, key, publish, after, out);
        }
    }

    /// Whether a well-formed topic is one that clients may publish to.
    pub(super) fn topic_is_acceptable(&self, topic: &Topic) -> bool {
        let reserved = topic.is_system()
            && topic.levels().next().is_some_and(|first| RESERVED.contains(&first));
        let maximum = usize::from(self.config.limits.topic_levels);
        // A short name needs no counting.
        !reserved && (topic.as_text().len() < maximum || topic.levels().count() <= maximum)
    }

    /// The broker takes ownership of the message, and acknowledges it once `after` is durable too.
    fn take_publish(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        publish: Publish,
        after: LogPosition,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let delivery = publish.delivery;
        let origin = match delivery {
            Delivery::ExactlyOnce(packet_id) if session.is_durable() => {
                Origin::Inbound { session: session.id, packet_id }
            }
            Delivery::AtMostOnce | Delivery::AtLeastOnce(_) | Delivery::ExactlyOnce(_) => {
                Origin::Untracked
            }
        };
        let source = Source {
            session: Some(key),
            publisher: publish.retain.then(|| session.owner()),
            origin,
            is_recorded: true,
            is_refusable: true,
        };
        let now = self.now;
        let message = Message {
            id: self.fresh_message_id(),
            topic: publish.topic,
            payload: publish.payload,
            qos: delivery.qos(),
            expires_at: publish.message_expiry_interval_s.map(|seconds| now.plus_seconds(seconds)),
            properties: publish.properties,
        };
        let routed = self.route(message, publish.retain, source, out);
        let reason = routed.reason();
        if reason.is_error() {
            if let Some(topic) = routed.refused_topic {
                self.refuse(connection, key, delivery, topic, reason, out);
            }
            return;
        }
        if let Delivery::ExactlyOnce(id) = delivery
            && let Some(session) = self.sessions.get_mut(key)
        {
            session.inbound.insert(id, true);
        }
        self.answer(connection, delivery, reason, routed.after.max(after), out);
    }

    /// Counts a publication against our receive maximum.
    fn take_quota(&mut self, connection: ConnectionId, out: &mut Outbox) -> bool {
        let maximum = match self.version_of(connection) {
            Some(Version::V5) => self.config.limits.receive_maximum,
            // Older clients are not told: what bounds them is the number of packet identifiers.
            Some(Version::V31 | Version::V311) | None => u16::MAX,
        };
        let Some(link) = self.links.get_mut(connection) else { return false };
        if link.inbound_unacked >= maximum {
            // [MQTT-3.3.4-7]
            let cause = Cause::Protocol {
                reason: ReasonCode::ReceiveMaximumExceeded,
                detail: "more unacknowledged publications than the receive maximum",
            };
            self.close(connection, cause, out);
            return false;
        }
        link.inbound_unacked += 1;
        true
    }

    /// Answers a repeated QoS 2 PUBLISH, which is not passed on again `[MQTT-4.3.3-10]`.
    fn is_repeated(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        id: InboundPacketId,
        out: &mut Outbox,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return true };
        if canary!(DuplicateDetectionOff) {
            return false;
        }
        let Some(counted) = session.inbound.get_mut(id) else { return false };
        let first_here = !core::mem::replace(counted, true);
        let client_id = session.client_id.clone();
        out.notice(Notice::DuplicateSuppressed { client_id, packet_id: id.0.value() });
        if first_here && !self.take_quota(connection, out) {
            return true;
        }
        // The publication's own record may still be on its way to the disk.
        let after = self.gate.appended();
        let packet = ServerPacket::PubRec(Ack::new(id, ReasonCode::Success));
        self.send_after(after, connection, packet, false, out);
        true
    }

    /// What closes the connection.
    fn forbidden_publish(&self, publish: &Publish) -> Option<Cause> {
        let limits = &self.config.limits;
        if publish.retain && !limits.retain_available {
            // [MQTT-3.2.2-14]
            return Some(Cause::Protocol {
                reason: ReasonCode::RetainNotSupported,
                detail: "RETAIN although retained messages are switched off",
            });
        }
        if publish.delivery.qos() > limits.maximum_qos {
            // [MQTT-3.2.2-11]
            return Some(Cause::Protocol {
                reason: ReasonCode::QosNotSupported,
                detail: "a QoS above the announced maximum",
            });
        }
        None
    }

    /// What refuses the publication and leaves the connection open. It is judged before ownership
    /// is taken, so that the acknowledgement is the truth.
    fn refused_publish(&self, key: SessionKey, publish: &Publish) -> Option<ReasonCode> {
        let session = self.sessions.get(key)?;
        let subject = session.subject();
        let properties = publish.properties.as_deref();
        self.refusal(&subject, &publish.topic, publish.retain, &publish.payload, properties)
    }

    /// Why `subject` may not have a message published now, whichever way it comes.
    pub(super) fn refusal(
        &self,
        subject: &Subject<'_>,
        topic: &Topic,
        retain: bool,
        payload: &[u8],
        properties: Option<&MessageProperties>,
    ) -> Option<ReasonCode> {
        if !self.topic_is_acceptable(topic) {
            return Some(ReasonCode::TopicNameInvalid);
        }
        let may = self.permissions.allows(subject, Permitted::Publish, topic).allowed;
        if !may && !canary!(DeniedPublishTaken) {
            return Some(ReasonCode::NotAuthorized);
        }
        self.lacks_space(topic, retain, payload, properties)
    }

    /// Whether what the message would make the broker keep goes beyond a limit.
    pub(super) fn lacks_space(
        &self,
        topic: &Topic,
        retain: bool,
        payload: &[u8],
        properties: Option<&MessageProperties>,
    ) -> Option<ReasonCode> {
        if retain && !payload.is_empty() {
            let bytes = content_bytes(topic, payload, properties);
            if self.journal_room.is_short() || !self.retained_has_space(topic, bytes) {
                return Some(ReasonCode::QuotaExceeded);
            }
        }
        None
    }

    /// Tells the publisher that its message is not taken.
    fn refuse(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        delivery: Delivery<InboundPacketId>,
        topic: Topic,
        reason: ReasonCode,
        out: &mut Outbox,
    ) {
        self.end_crowd();
        let Some(session) = self.sessions.get(key) else { return };
        let (client_id, version) = (session.client_id.clone(), session.version);
        self.notice_publish_refused(client_id, topic.compact(), reason, out);
        if canary!(RefusedYetAcknowledged) && reason == ReasonCode::QuotaExceeded {
            if let Delivery::ExactlyOnce(id) = delivery
                && let Some(session) = self.sessions.get_mut(key)
            {
                session.inbound.insert(id, true);
            }
            self.answer(connection, delivery, ReasonCode::Success, LogPosition::START, out);
            return;
        }
        if delivery != Delivery::AtMostOnce && version != Version::V5 {
            // These versions cannot say no, and it must not look like yes.
            let detail = "a publication refused to a client that cannot be told";
            let cause = if reason == ReasonCode::QuotaExceeded {
                Cause::Limit { reason, detail }
            } else {
                Cause::NotAllowed { reason, detail }
            };
            self.close_behind(connection, cause, out);
        } else {
            self.answer(connection, delivery, reason, LogPosition::START, out);
        }
    }

    /// Acknowledges as the QoS asks `[MQTT-3.3.4-1]`, once `after` is durable.
    fn answer(
        &mut self,
        connection: ConnectionId,
        delivery: Delivery<InboundPacketId>,
        reason: ReasonCode,
        after: LogPosition,
        out: &mut Outbox,
    ) {
        let after = if canary!(AckBeforeCommit) { LogPosition::START } else { after };
        match delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce(id) => {
                let packet = ServerPacket::PubAck(explained(id, reason)); // [MQTT-4.3.2-4]
                self.send_after(after, connection, packet, true, out);
            }
            Delivery::ExactlyOnce(id) => {
                // An error ends the exchange and gives the quota back.
                let packet = ServerPacket::PubRec(explained(id, reason)); // [MQTT-4.3.3-8]
                self.send_after(after, connection, packet, reason.is_error(), out);
            }
        }
    }
}

/// An acknowledgement that says in words what a refusal is about.
fn explained(packet_id: InboundPacketId, reason: ReasonCode) -> Ack<InboundPacketId> {
    let text = if reason == ReasonCode::NotAuthorized {
        "the client may not publish to this topic"
    } else if reason == ReasonCode::TopicNameInvalid {
        "the topic is reserved or has too many levels"
    } else if reason == ReasonCode::QuotaExceeded {
        "a quota is used up, or a queue, the store of retained messages or the disk is full"
    } else if reason == ReasonCode::PacketIdentifierInUse {
        "the packet identifier is held by a QoS 2 publication"
    } else {
        return Ack::new(packet_id, reason);
    };
    let details = ReasonDetails { reason_string: Text::try_from(text).ok(), ..Default::default() };
    Ack { packet_id, reason, details: Some(Box::new(details)) }
}
