//! The end of connections and of sessions.

use alloc::boxed::Box;
use alloc::string::ToString;

use super::Broker;
use crate::gate::Item;
use crate::input::ConnectionId;
use crate::link::Phase;
use crate::notice::{Cause, DropCause, Notice, SessionEnd};
use crate::outbox::{Action, Outbox};
use crate::record::{LogPosition, QueueSeq, Record};
use crate::session::SessionKey;
use crate::session::queue::{Lane, Waiting};
use crate::time::Time;
use crate::timers::Timer;
use crate::wire::codes;
use crate::wire::frame::PacketType;
use crate::wire::packet::{ConnAck, Disconnect, ServerPacket};
use crate::wire::reason::ReasonCode;
use crate::wire::types::{Text, Version};

impl Broker {
    /// DISCONNECT from the client.
    pub(super) fn client_disconnect(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        disconnect: Disconnect,
        out: &mut Outbox,
    ) {
        let maximum_s = self.config.limits.session_expiry_interval_maximum_s;
        let Some(session) = self.sessions.get_mut(key) else { return };
        if let Some(expiry_interval_s) = disconnect.session_expiry_interval_s {
            if session.expiry_interval_s == 0 && expiry_interval_s != 0 {
                let detail = "DISCONNECT sets a session expiry although CONNECT set none";
                self.protocol_error(connection, detail, out);
                return;
            }
            if !canary!(ExpiryOverrideIgnored) {
                session.expiry_interval_s = expiry_interval_s.min(maximum_s);
            }
            self.set_shares_durable(key);
        }
        let cause = Cause::ClientDisconnected(disconnect.reason);
        self.close_silently(connection, &cause, out);
    }

    /// Closes a connection from our side, telling the client why as far as its version and state
    /// allow.
    pub(super) fn close(&mut self, connection: ConnectionId, cause: Cause, out: &mut Outbox) {
        self.close_answering(connection, None, cause, out);
    }

    /// Closes the connection of a client that asked for what it may not have. What it was let in with goes out first: a
    /// client that sends all of it again when it comes back would otherwise never get further.
    pub(super) fn close_behind(
        &mut self,
        connection: ConnectionId,
        cause: Cause,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get_mut(connection) else { return };
        if link.gated > 0 && (link.is_live() || link.served_ahead) {
            link.is_closing = true;
            self.gate.hold(LogPosition::START, Item::Close { connection, cause });
        } else {
            self.close(connection, cause, out);
        }
    }

    /// Like [`Broker::close`]; `version` is that of a CONNECT that could not be read whole.
    pub(super) fn close_answering(
        &mut self,
        connection: ConnectionId,
        version: Option<Version>,
        cause: Cause,
        out: &mut Outbox,
    ) {
        self.end_crowd();
        let Some(link) = self.links.get(connection) else { return };
        if canary!(TakeoverInSilence) && cause == Cause::TakenOver {
            return self.close_silently(connection, &cause, out);
        }
        match link.phase {
            // Before CONNACK a refusal can only be a CONNACK [MQTT-3.14.0-1]; what sends
            // something else than CONNECT gets no answer.
            // Who was served already must not be told that nothing was done [MQTT-3.1.4-6].
            Phase::Accepting(_) if link.served_ahead => {}
            Phase::AwaitingConnect | Phase::Authenticating(_) | Phase::Accepting(_) => {
                let version = version.or_else(|| self.version_of(connection));
                if version.is_some()
                    && let Some(reason) = refusal_reason(&cause)
                {
                    // [MQTT-3.2.2-6]
                    let reason_string = reason_string(&cause);
                    let connack = ConnAck { reason, reason_string, ..ConnAck::default() };
                    if let Some(link) = self.links.get_mut(connection) {
                        link.is_refused = true;
                    }
                    self.send(connection, ServerPacket::ConnAck(Box::new(connack)), out);
                }
            }
            Phase::Live(key) => {
                let version = self.sessions.get(key).map(|session| session.version);
                if version == Some(Version::V5) {
                    let reason = disconnect_reason(&cause);
                    let reason_string = reason_string(&cause);
                    let disconnect = Disconnect { reason, reason_string, ..Disconnect::default() };
                    self.send(connection, ServerPacket::Disconnect(Box::new(disconnect)), out);
                }
            }
        }
        // [MQTT-3.14.4-2] [MQTT-4.13.1-1] [MQTT-3.2.2-7]
        self.close_silently(connection, &cause, out);
    }

    /// Closes a connection from our side without a word.
    pub(super) fn close_silently(
        &mut self,
        connection: ConnectionId,
        cause: &Cause,
        out: &mut Outbox,
    ) {
        out.push(Action::Close { connection });
        self.end_connection(connection, cause, out);
    }

    /// The connection is gone: ends what dies with it.
    pub(super) fn end_connection(
        &mut self,
        connection: ConnectionId,
        cause: &Cause,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.remove(connection) else { return };
        self.timers.remove(link.timer_at, Timer::Connection(connection));
        let Some(key) = link.session() else {
            let client_id = match link.phase {
                Phase::Authenticating(handshake) => Some(handshake.connect.client_id),
                Phase::AwaitingConnect | Phase::Accepting(_) | Phase::Live(_) => None,
            };
            let (peer, cause) = (link.peer, cause.clone());
            out.notice(Notice::Refused { connection, peer, client_id, cause });
            return;
        };
        self.discount_connection(key);
        let was_accepted = link.is_live();
        if was_accepted {
            self.counters.clients_gone += 1;
        }
        self.client_went(key, out);
        self.stop_reading_ahead(key);
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.connection = None;
        if link.is_refused && link.began_session {
            // Who was refused has begun nothing, and finds no session the next time.
            session.expiry_interval_s = 0;
        }
        session.flight.leave_window();
        if canary!(HeldIdsDieWithConnection) {
            session.inbound.clear();
        }
        if canary!(BacklogLostAtTakeover) && *cause == Cause::TakenOver {
            session.queue.take_if(|_| true);
        }
        for counted in session.inbound.values_mut() {
            *counted = false;
        }
        let client_id = session.client_id.clone();
        let queued = u32::try_from(session.backlog()).unwrap_or(u32::MAX);
        out.notice(if was_accepted {
            Notice::Disconnected { connection, client_id, cause: cause.clone(), queued }
        } else {
            let client_id = Some(client_id);
            Notice::Refused { connection, peer: link.peer, client_id, cause: cause.clone() }
        });
        self.drop_qos0(key, out);
        // [MQTT-3.14.4-3]
        let keeps_will = (*cause != Cause::ClientDisconnected(ReasonCode::Success)
            || canary!(WillAfterDisconnect))
            && !(canary!(WillLostAtTakeover) && *cause == Cause::TakenOver);
        let keeps_will = keeps_will && !(canary!(TokenEndDropsWill) && is_end_of_token(cause));
        let has_said_why = matches!(cause, Cause::ClientDisconnected(_));
        let keeps_will = keeps_will && !(canary!(ErrorDisconnectDropsWill) && has_said_why);
        let keeps_will = keeps_will && !link.is_refused;
        let keeps_will =
            keeps_will && !(canary!(OrderDropsWill) && matches!(cause, Cause::Ordered(_)));
        self.leave_session(key, keeps_will, out);
        if canary!(BacklogHoldsOthers) {
            self.pump_all(out);
        }
    }

    /// A session has lost its connection: starts its expiry and its will's delay, or ends it.
    fn leave_session(&mut self, key: SessionKey, keeps_will: bool, out: &mut Outbox) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(key) else { return };
        if !session.is_durable() {
            if !keeps_will {
                session.will = None;
            }
            self.end_session(key, SessionEnd::WithConnection, out);
            return;
        }
        if !keeps_will {
            session.will = None; // [MQTT-3.1.2-10]
            self.count_stored(key);
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.open_in_journal = false;
        let record = Record::Disconnected {
            session: session.id,
            session_expiry_interval_s: session.expiry_interval_s,
            keeps_will,
            maybe_sent_before: QueueSeq(0),
            at: now,
        };
        self.gate.persist(record, out);
        self.start_expiry(key, now);
        self.publish_will_if_due(key, out);
    }

    /// Sets the timers of a session whose connection ended at `at`.
    pub(super) fn start_expiry(&mut self, key: SessionKey, at: Time) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.left_at = at;
        session.ends_at = match session.expiry_interval_s {
            _ if canary!(SessionNeverExpires) => Time::NEVER,
            u32::MAX => Time::NEVER,
            seconds => at.plus_seconds(seconds),
        };
        self.durable_timers.insert(session.ends_at, Timer::SessionExpiry(key));
        if let Some(will) = &mut session.will {
            // The end of the session publishes it too, whichever comes first [MQTT-3.1.2-8].
            will.due_at = at.plus_seconds(will.will.delay_interval_s).min(session.ends_at);
            self.durable_timers.insert(will.due_at, Timer::WillDelay(key));
        }
    }

    /// Publishes a will without delay at once rather than at the next look at the timers.
    fn publish_will_if_due(&mut self, key: SessionKey, out: &mut Outbox) {
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(key)
            && let Some(will) = &mut session.will
            && will.due_at <= now
        {
            self.durable_timers.remove(will.due_at, Timer::WillDelay(key));
            will.due_at = Time::NEVER;
            self.publish_will(key, out);
        }
    }

    /// Ends a session: publishes its will, forgets the client, and leaves the rest to be taken
    /// apart in slices.
    pub(super) fn end_session(&mut self, key: SessionKey, cause: SessionEnd, out: &mut Outbox) {
        self.publish_will(key, out);
        self.give_back_shared(key, out);
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.ended = true;
        self.count_stored(key);
        let Some(session) = self.sessions.get_mut(key) else { return };
        self.durable_timers.remove(session.ends_at, Timer::SessionExpiry(key));
        session.ends_at = Time::NEVER;
        session.replays.clear();
        let client_id = session.client_id.clone();
        let discarded = u32::try_from(session.backlog()).unwrap_or(u32::MAX);
        let is_forgotten = canary!(OrderedEndNotRecorded) && cause == SessionEnd::Ordered;
        if session.recorded && !canary!(SessionEndNotRecorded) && !is_forgotten {
            let record = Record::SessionEnded { session: session.id };
            let at = self.gate.persist(record, out);
            if !self.gate.is_durable(at) {
                self.sessions.ended_at(client_id.clone(), at);
            }
        }
        out.notice(Notice::SessionEnded { client_id, cause, discarded });
        self.sessions.forget_client(key);
        self.leave_groups(key, out);
        let mut slice = super::route::SLICE;
        self.take_apart(key, &mut slice, out);
    }

    /// Frees an ended session, as much of it as `budget` allows.
    pub(super) fn take_apart(&mut self, key: SessionKey, budget: &mut u32, _out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        while *budget > 0 {
            *budget -= 1;
            if let Some(place) = session.subscriptions.pop() {
                self.subscriptions.remove_at(place, key);
            } else if session
                .queue
                .pop(Lane::Main)
                .or_else(|| session.queue.pop(Lane::Qos0))
                .is_none()
            {
                self.remove_session(key);
                return;
            }
        }
        self.count_memory(key);
        self.add_work(key);
    }

    /// QoS 0 does not wait for a client that is gone, unless set so.
    pub(super) fn drop_qos0(&mut self, key: SessionKey, out: &mut Outbox) {
        if self.config.queue_qos0_offline {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.queue.lane_len(Lane::Qos0) == 0 {
            return;
        }
        let receiver = session.client_id.clone();
        for _ in 0..super::route::SLICE {
            let Some(entry) = session.queue.pop(Lane::Qos0) else { break };
            self.counters.dropped += 1;
            out.notice(dropped_waiting(receiver.clone(), &entry, DropCause::Offline));
        }
        let has_more = session.queue.lane_len(Lane::Qos0) > 0;
        self.count_memory(key);
        if has_more {
            self.add_work(key);
        }
    }

    pub(super) fn version_of(&self, connection: ConnectionId) -> Option<Version> {
        let link = self.links.get(connection)?;
        let session = link.session().and_then(|key| self.sessions.get(key));
        session.map(|session| session.version).or_else(|| link.handshake_version())
    }
}

/// For `canary!(TokenEndDropsWill)`.
fn is_end_of_token(cause: &Cause) -> bool {
    matches!(cause, Cause::NotAllowed { reason: ReasonCode::MaximumConnectTime, .. })
}

/// The notice that a waiting message does not reach `receiver`.
pub(super) fn dropped_waiting(receiver: Text, entry: &Waiting, cause: DropCause) -> Notice {
    match entry.message.topic() {
        Some(topic) => Notice::Dropped { receiver, topic, cause },
        None => Notice::DroppedUnread { receiver, message: entry.message.id(), cause },
    }
}

/// The cause in words, where the code alone leaves the client guessing. The writer leaves it out
/// where the client does not want it or it does not fit.
fn reason_string(cause: &Cause) -> Option<Text> {
    match cause {
        Cause::ClientDisconnected(_)
        | Cause::PeerClosed
        | Cause::NetworkFailed
        | Cause::KeepAliveTimeout
        | Cause::ConnectTimeout
        | Cause::TakenOver
        | Cause::Ordered(_) => None,
        Cause::Malformed { detail, .. } => Text::try_from(detail.to_string()).ok(),
        Cause::Protocol { detail, .. }
        | Cause::NotAllowed { detail, .. }
        | Cause::Limit { detail, .. } => Text::try_from(*detail).ok(),
    }
}

/// What a client that was accepted is told `[MQTT-3.14.2-1]`.
fn disconnect_reason(cause: &Cause) -> ReasonCode {
    match cause {
        Cause::ClientDisconnected(_) | Cause::PeerClosed | Cause::NetworkFailed => {
            ReasonCode::Success
        }
        Cause::KeepAliveTimeout => ReasonCode::KeepAliveTimeout,
        Cause::ConnectTimeout => ReasonCode::MaximumConnectTime,
        Cause::TakenOver => ReasonCode::SessionTakenOver,
        Cause::Malformed { reason, .. }
        | Cause::Protocol { reason, .. }
        | Cause::NotAllowed { reason, .. }
        | Cause::Limit { reason, .. }
        | Cause::Ordered(reason) => {
            let is_disconnects = codes::is_brokers(PacketType::Disconnect, *reason);
            if is_disconnects { *reason } else { ReasonCode::NotAuthorized }
        }
    }
}

/// What a client that is not accepted is told, if CONNACK has a code for it `[MQTT-3.2.2-8]`.
fn refusal_reason(cause: &Cause) -> Option<ReasonCode> {
    match cause {
        Cause::ClientDisconnected(_)
        | Cause::PeerClosed
        | Cause::NetworkFailed
        | Cause::KeepAliveTimeout
        | Cause::ConnectTimeout
        | Cause::TakenOver => None,
        Cause::Ordered(_) => Some(ReasonCode::ServerUnavailable),
        Cause::Malformed { reason, .. } | Cause::Protocol { reason, .. } => {
            Some(connacks(*reason).unwrap_or(ReasonCode::ProtocolError))
        }
        Cause::NotAllowed { reason, .. } => {
            Some(connacks(*reason).unwrap_or(ReasonCode::NotAuthorized))
        }
        Cause::Limit { reason, .. } => Some(connacks(*reason).unwrap_or(ReasonCode::QuotaExceeded)),
    }
}

fn connacks(reason: ReasonCode) -> Option<ReasonCode> {
    codes::is_brokers(PacketType::ConnAck, reason).then_some(reason)
}
