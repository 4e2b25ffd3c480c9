//! Authentication: the driver's answers, AUTH, and packets that come before the decision.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Broker;
use crate::input::{AuthOutcome, ConnectionId};
use crate::link::{Phase, Reauthentication};
use crate::notice::Cause;
use crate::outbox::{Action, ExchangeStep, Outbox, Question};
use crate::time::Time;
use crate::wire::auth_len;
use crate::wire::packet::{Auth, ClientPacket, ServerPacket};
use crate::wire::reason::ReasonCode;
use crate::wire::types::Text;

impl Broker {
    /// A packet of a client whose authentication is undecided.
    pub(super) fn early_packet(
        &mut self,
        connection: ConnectionId,
        packet: ClientPacket,
        out: &mut Outbox,
    ) {
        let maximum = usize::from(self.config.limits.pipelined_packets);
        let Some(link) = self.links.get_mut(connection) else { return };
        let Phase::Authenticating(handshake) = &mut link.phase else { return };
        if let ClientPacket::Auth(auth) = packet {
            self.exchange_step(connection, *auth, out);
            return;
        }
        if let ClientPacket::Disconnect(disconnect) = &packet
            && handshake.pipelined.is_empty()
        {
            let cause = Cause::ClientDisconnected(disconnect.reason);
            self.close_silently(connection, &cause, out);
        } else if link.method.is_some() {
            // [MQTT-3.1.2-30]
            self.protocol_error(connection, "a packet other than AUTH before CONNACK", out);
        } else if handshake.pipelined.len() >= maximum {
            let cause = Cause::Limit {
                reason: ReasonCode::QuotaExceeded,
                detail: "too many packets sent ahead of CONNACK",
            };
            self.close(connection, cause, out);
        } else {
            if canary!(EarlyPacketsReversed) {
                return handshake.pipelined.push_front(packet);
            }
            handshake.pipelined.push_back(packet);
        }
    }

    /// AUTH while the client is not accepted.
    fn exchange_step(&mut self, connection: ConnectionId, auth: Auth, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(connection) else { return };
        let Phase::Authenticating(handshake) = &mut link.phase else { return };
        let Some(method) = link.method.clone() else {
            // [MQTT-4.12.0-7]
            self.protocol_error(connection, "AUTH without an authentication method", out);
            return;
        };
        // [MQTT-4.12.0-3] [MQTT-4.12.0-5]
        let fits = auth.reason == ReasonCode::ContinueAuthentication
            && auth.method.as_ref() == Some(&method)
            && !handshake.asked;
        if !fits {
            self.protocol_error(connection, "AUTH that the exchange does not call for", out);
            return;
        }
        handshake.asked = true;
        let client_id = handshake.connect.client_id.clone();
        ask(connection, client_id, method, auth, ExchangeStep::Continue, out);
    }

    /// AUTH of an accepted client: re-authentication.
    pub(super) fn auth(&mut self, connection: ConnectionId, auth: Auth, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(connection) else { return };
        let Some(method) = link.method.clone() else {
            // [MQTT-4.12.0-7]
            self.protocol_error(connection, "AUTH without an authentication method", out);
            return;
        };
        // Only once CONNACK came may it begin, and only what AUTH calls for goes on with it
        // [MQTT-4.12.0-3].
        let step = match (auth.reason, link.reauthentication) {
            (ReasonCode::ReAuthenticate, Reauthentication::None) if link.is_live() => {
                ExchangeStep::ReAuthenticate
            }
            (ReasonCode::ContinueAuthentication, Reauthentication::Continued) => {
                ExchangeStep::Continue
            }
            _ => {
                self.protocol_error(connection, "AUTH that the exchange does not call for", out);
                return;
            }
        };
        // [MQTT-4.12.1-1]
        if auth.method.as_ref() != Some(&method) {
            self.protocol_error(connection, "AUTH with another method than CONNECT", out);
            return;
        }
        link.reauthentication = Reauthentication::Asked;
        let Some(session) = link.session().and_then(|key| self.sessions.get(key)) else { return };
        ask(connection, session.client_id.clone(), method, auth, step, out);
    }

    /// The driver's answer to a question.
    pub(super) fn authenticated(
        &mut self,
        connection: ConnectionId,
        outcome: AuthOutcome,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get_mut(connection) else { return };
        let accepted = link.session().is_some();
        match outcome {
            AuthOutcome::Refused { reason } => {
                // [MQTT-4.12.0-4] [MQTT-4.12.1-2]
                let detail = match (accepted, link.reauthentication) {
                    (false, _) => "not authenticated",
                    (true, Reauthentication::Asked | Reauthentication::Continued) => {
                        "re-authentication failed"
                    }
                    (true, Reauthentication::None) => {
                        "what the client was let in by no longer holds"
                    }
                };
                self.close(connection, Cause::NotAllowed { reason, detail }, out);
            }
            AuthOutcome::Continue { data } => {
                if let Phase::Authenticating(handshake) = &mut link.phase {
                    handshake.asked = false;
                } else {
                    link.reauthentication = Reauthentication::Continued;
                }
                // [MQTT-4.12.0-2]
                self.send_auth(connection, ReasonCode::ContinueAuthentication, data, out);
            }
            AuthOutcome::Accepted { identity, data, credential } if accepted => {
                link.reauthentication = Reauthentication::None;
                let key = link.session();
                let session = key.and_then(|key| self.sessions.get_mut(key));
                if let (Some(key), Some(session)) =
                    (key, session.filter(|session| session.identity == identity))
                {
                    link.ends_at = credential.ends_at.unwrap_or(Time::NEVER);
                    session.claims = credential.claims;
                    session.grants = credential.grants;
                    session.inbox = credential.inbox;
                    let due_at = link.due_at();
                    self.set_connection_timer(connection, due_at);
                    self.send_auth(connection, ReasonCode::Success, data, out);
                    self.permission_changes += 1;
                    self.add_work(key);
                } else {
                    let cause = Cause::NotAllowed {
                        reason: ReasonCode::NotAuthorized,
                        detail: "re-authenticated as another identity",
                    };
                    self.close(connection, cause, out);
                }
            }
            AuthOutcome::Accepted { identity, data, credential } => {
                let identity = identity.map(|identity| identity.compact());
                self.accept(connection, identity, credential, data, out);
            }
        }
    }

    fn send_auth(
        &mut self,
        connection: ConnectionId,
        reason: ReasonCode,
        data: Option<bytes::Bytes>,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get(connection) else { return };
        let (method, maximum_bytes) = (link.method.clone(), link.taken_bytes());
        let auth = Auth { reason, method, data, reason_string: None, user_properties: Vec::new() };
        if auth_len(&auth) > maximum_bytes as usize {
            // It would wait for it in vain [MQTT-3.1.2-24].
            let reason = ReasonCode::PacketTooLarge;
            let detail = "the client's maximum packet size is too small for AUTH";
            self.close(connection, Cause::Limit { reason, detail }, out);
            return;
        }
        self.send(connection, ServerPacket::Auth(Box::new(auth)), out);
    }
}

fn ask(
    connection: ConnectionId,
    client_id: Text,
    method: Text,
    auth: Auth,
    step: ExchangeStep,
    out: &mut Outbox,
) {
    let question = Question::Exchange { client_id, method, data: auth.data, step };
    out.push(Action::Ask { connection, question: Box::new(question) });
}
