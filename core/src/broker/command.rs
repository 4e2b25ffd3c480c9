//! Orders of the operator and of the embedding program.

use alloc::boxed::Box;

use super::Broker;
use super::route::Source;
use crate::input::{Command, PublishCommand};
use crate::message::Message;
use crate::notice::{Cause, Notice, SessionEnd};
use crate::outbox::{Action, Outbox};
use crate::record::Origin;
use crate::timers::Timer;
use crate::wire::packet::{ConnAck, Disconnect, ServerPacket};
use crate::wire::reason::ReasonCode;
use crate::wire::types::{QoS, Text, Version};

impl Broker {
    pub(super) fn command(&mut self, command: Command, out: &mut Outbox) {
        match command {
            Command::SetPermissions(permissions) => {
                self.permissions = permissions;
                self.permission_changes += 1;
                self.look_again_at_shares();
                out.notice(Notice::PermissionsReplaced);
            }
            Command::SetQuotas(quotas) => self.set_quotas(quotas),
            Command::Publish(publish) => self.publish_command(*publish, out),
            Command::PublishFor(request) => self.publish_for(*request, out),
            Command::Disconnect { client_id, reason } => {
                self.disconnect_client(&client_id, reason, out);
            }
            Command::EndSession { client_id } => {
                self.disconnect_client(&client_id, ReasonCode::AdministrativeAction, out);
                if let Some(key) = self.sessions.find(&client_id) {
                    self.end_session(key, SessionEnd::Ordered, out);
                }
            }
            Command::ConfirmTime => self.confirm_time(out),
            Command::Stop { reason, server_reference } => {
                self.stop(reason, server_reference.as_ref(), out);
            }
        }
    }

    fn publish_command(&mut self, publish: PublishCommand, out: &mut Outbox) {
        let now = self.now;
        let is_recorded = publish.topic.is_recorded();
        let source = Source {
            session: None,
            publisher: None,
            origin: Origin::Untracked,
            is_recorded,
            is_refusable: false,
        };
        let message = Message {
            id: self.fresh_message_id(),
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            expires_at: publish.message_expiry_interval_s.map(|seconds| now.plus_seconds(seconds)),
            properties: publish.properties,
        };
        let stores = publish.retain && !message.payload.is_empty() && is_recorded;
        let is_storable = self.config.limits.retain_available
            && !self.journal_room.is_short()
            && self.retained_has_space(&message.topic, message.content_bytes());
        let is_short = self.journal_room.is_short() && is_recorded && message.qos > QoS::AtMostOnce;
        if is_short || stores && !is_storable {
            let reason = ReasonCode::QuotaExceeded;
            let topic = message.topic.clone();
            self.notice_publish_refused(Text::default(), topic, reason, out);
            return;
        }
        let _routed = self.route(message, publish.retain, source, out);
    }

    fn disconnect_client(&mut self, client_id: &Text, reason: ReasonCode, out: &mut Outbox) {
        let connection = self
            .sessions
            .find(client_id)
            .and_then(|key| self.sessions.get(key))
            .and_then(|session| session.connection)
            .or_else(|| {
                if canary!(OrderHitsNewest) { self.links.ids().last().copied() } else { None }
            });
        if let Some(connection) = connection {
            self.close(connection, Cause::Ordered(reason), out);
        }
    }

    /// Sends every client away. Sessions and wills stay as a power cut would leave them: the
    /// restarted broker publishes or cancels the wills.
    fn stop(&mut self, reason: ReasonCode, server_reference: Option<&Text>, out: &mut Outbox) {
        self.record_day(out);
        let durable_now = self.durable_now();
        for connection in self.links.ids() {
            let Some(link) = self.links.remove(connection) else { continue };
            self.timers.remove(link.timer_at, Timer::Connection(connection));
            let cause = Cause::Ordered(reason);
            if let Some(key) = link.session() {
                self.discount_connection(key);
            }
            let session = link.session().and_then(|key| self.sessions.get_mut(key));
            let Some(session) = session else {
                if link.handshake_version().is_some() {
                    let connack = ConnAck {
                        reason: ReasonCode::ServerUnavailable,
                        server_reference: server_reference.cloned(),
                        ..ConnAck::default()
                    };
                    self.send(connection, ServerPacket::ConnAck(Box::new(connack)), out);
                }
                out.push(Action::Close { connection });
                let peer = link.peer;
                out.notice(Notice::Refused { connection, peer, client_id: None, cause });
                continue;
            };
            session.connection = None;
            session.left_at = self.now;
            session.flight.leave_window();
            session.inbound.values_mut().for_each(|counted| *counted = false);
            // No timers, for what falls due is the restarted broker's; who comes before finds it so.
            if !session.is_durable() {
                session.ends_at = self.now;
            }
            if let Some(will) = &mut session.will {
                let delay_s = will.will.delay_interval_s.min(session.expiry_interval_s);
                will.due_at = durable_now.plus_seconds(delay_s);
            }
            if link.is_live() {
                self.counters.clients_gone += 1;
            }
            let queued = u32::try_from(session.backlog()).unwrap_or(u32::MAX);
            let (client_id, version) = (session.client_id.clone(), session.version);
            if link.is_live() && version == Version::V5 {
                let disconnect = Disconnect {
                    reason,
                    server_reference: server_reference.cloned(),
                    ..Disconnect::default()
                };
                self.send(connection, ServerPacket::Disconnect(Box::new(disconnect)), out);
            }
            out.push(Action::Close { connection });
            out.notice(Notice::Disconnected { connection, client_id, cause, queued });
        }
    }
}
