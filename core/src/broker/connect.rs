//! CONNECT: from the first packet to CONNACK.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;

use super::Broker;
use crate::credential::Credential;
use crate::input::{ConnectionId, JournalRoom};
use crate::link::{Handshake, Link, Phase};
use crate::notice::{Cause, Notice, SessionEnd};
use crate::outbox::{Action, ExchangeStep, Outbox, Question};
use crate::permission::Action as Permitted;
use crate::quota::address_of;
use crate::record::{LogPosition, Record};
use crate::session::{ArmedWill, Session, SessionKey};
use crate::time::Time;
use crate::timers::Timer;
use crate::wire::connack_len;
use crate::wire::packet::{ClientPacket, ConnAck, Connect, ServerPacket};
use crate::wire::reason::ReasonCode;
use crate::wire::types::{QoS, Text, Version};

const JOURNAL_USED_UP: Cause = Cause::Limit {
    reason: ReasonCode::QuotaExceeded,
    detail: "the disk is full, and nothing can be stored of the session",
};

impl Broker {
    /// The first packet of a connection; the reader lets only CONNECT be it `[MQTT-3.1.0-1]`.
    pub(super) fn first_packet(
        &mut self,
        connection: ConnectionId,
        packet: ClientPacket,
        out: &mut Outbox,
    ) {
        if let ClientPacket::Connect(connect) = packet {
            self.connect(connection, connect, out);
        } else {
            self.protocol_error(connection, "the first packet is not CONNECT", out);
        }
    }

    fn connect(&mut self, connection: ConnectionId, mut connect: Box<Connect>, out: &mut Outbox) {
        let assigned = connect.client_id.is_empty();
        if assigned {
            connect.client_id = self.assign_client_id(); // [MQTT-3.1.3-7] [MQTT-3.2.2-16]
        } else {
            // Kept for long, and must not keep the read buffer alive.
            connect.client_id = connect.client_id.compact();
        }
        let refusal = self.check_connect(&connect);
        let question = self.question_for(&connect);
        let handshake = Handshake { connect, assigned, asked: true, pipelined: VecDeque::new() };
        let Some(link) = self.links.get_mut(connection) else { return };
        link.method.clone_from(&handshake.connect.authentication_method);
        link.phase = Phase::Authenticating(Box::new(handshake));
        if let Some(cause) = refusal {
            self.close(connection, cause, out);
        } else if let Some(question) = question {
            out.push(Action::Ask { connection, question: Box::new(question) });
        } else {
            self.accept(connection, None, Credential::default(), None, out);
        }
    }

    /// What can be judged before anyone is asked who this is.
    fn check_connect(&self, connect: &Connect) -> Option<Cause> {
        let limits = &self.config.limits;
        let not_allowed = |reason, detail| Some(Cause::NotAllowed { reason, detail });
        if connect.client_id.len() > usize::from(limits.client_id_bytes) {
            // [MQTT-3.1.3-8]
            let reason = ReasonCode::ClientIdentifierNotValid;
            return Some(Cause::Limit { reason, detail: "the client identifier is too long" });
        }
        if let Some(method) = &connect.authentication_method
            && !self.config.authentication_methods.contains(method)
        {
            // [MQTT-4.12.0-1]
            return not_allowed(
                ReasonCode::BadAuthenticationMethod,
                "the authentication method is not supported",
            );
        }
        let will = connect.will.as_ref()?;
        if will.retain && !limits.retain_available {
            // [MQTT-3.2.2-13]
            return not_allowed(
                ReasonCode::RetainNotSupported,
                "retained messages are switched off",
            );
        }
        if will.qos > limits.maximum_qos {
            // [MQTT-3.2.2-12]
            return not_allowed(ReasonCode::QosNotSupported, "the will's QoS is not supported");
        }
        if !self.topic_is_acceptable(&will.topic) {
            return not_allowed(ReasonCode::TopicNameInvalid, "the will's topic is not accepted");
        }
        None
    }

    fn question_for(&self, connect: &Connect) -> Option<Question> {
        if let Some(method) = &connect.authentication_method {
            return Some(Question::Exchange {
                client_id: connect.client_id.clone(),
                method: method.clone(),
                data: connect.authentication_data.clone(),
                step: ExchangeStep::Connect,
            });
        }
        self.config.ask_credentials.then(|| Question::Credentials {
            client_id: connect.client_id.clone(),
            version: connect.version,
            user_name: connect.user_name.clone(),
            password: connect.password.clone(),
        })
    }

    /// Lets the client in as `identity`.
    pub(super) fn accept(
        &mut self,
        connection: ConnectionId,
        identity: Option<Text>,
        credential: Credential,
        data: Option<bytes::Bytes>,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get_mut(connection) else { return };
        if !matches!(link.phase, Phase::Authenticating(_)) {
            return;
        }
        let Phase::Authenticating(mut handshake) =
            core::mem::replace(&mut link.phase, Phase::AwaitingConnect)
        else {
            return;
        };
        let pipelined = core::mem::take(&mut handshake.pipelined);
        self.end_what_is_overdue(&handshake.connect.client_id, out);
        let mut connack = self.connack(&handshake, data);
        let refusal = self
            .check_identity(&handshake.connect, identity.as_ref(), &credential)
            .or_else(|| check_size(&handshake.connect, &connack));
        let refusal = refusal.or_else(|| {
            self.count_connection(connection, identity.as_ref(), &credential, &handshake.connect)
        });
        if let Some(cause) = refusal {
            if let Some(link) = self.links.get_mut(connection) {
                link.phase = Phase::Authenticating(handshake);
            }
            self.close(connection, cause, out);
            return;
        }
        let before = self.gate.appended();
        let (key, session_present) = self.take_session(&handshake.connect, identity, out);
        self.enter_session(connection, key, &handshake.connect, credential, out);
        connack.session_present = session_present;
        if let Some(link) = self.links.get_mut(connection) {
            link.began_session = !session_present;
        }
        // What this CONNECT made, changed or deleted must be durable before it is said.
        let appended = self.gate.appended();
        let ended_at = self.sessions.recent_end(&handshake.connect.client_id);
        let after = if appended > before { appended } else { ended_at };
        let packet = ServerPacket::ConnAck(Box::new(connack));
        self.send_after(after, connection, packet, false, out);
        if self.journal_room == JournalRoom::UsedUp {
            // An end that was recorded just before may have to be waited for.
            self.refuse_if_it_waits(connection, out);
        }
        for packet in pipelined {
            self.packet(connection, packet, out);
        }
    }

    /// What is past its time is gone, even if no timer came round to it yet.
    fn end_what_is_overdue(&mut self, client_id: &Text, out: &mut Outbox) {
        let now = self.durable_now();
        let Some(key) = self.sessions.find(client_id) else { return };
        if let Some(session) = self.sessions.get_mut(key)
            && let Some(will) = &mut session.will
            && will.due_at <= now
        {
            self.durable_timers.remove(will.due_at, Timer::WillDelay(key));
            will.due_at = Time::NEVER;
            self.publish_will(key, out);
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        if !session.is_durable() && session.connection.is_none() {
            // It ended with its connection, at a crash too, whatever the clock shows since.
            self.end_session(key, SessionEnd::WithConnection, out);
        } else if session.ends_at <= now {
            self.durable_timers.remove(session.ends_at, Timer::SessionExpiry(key));
            session.ends_at = Time::NEVER;
            self.counters.sessions_expired += 1;
            self.end_session(key, SessionEnd::Expired, out);
        }
    }

    /// Refuses those whose CONNACK waits for a record that cannot be written.
    pub(super) fn refuse_who_waits(&mut self, out: &mut Outbox) {
        for id in self.links.ids() {
            self.refuse_if_it_waits(id, out);
        }
    }

    fn refuse_if_it_waits(&mut self, id: ConnectionId, out: &mut Outbox) {
        let waits = self.links.get(id).is_some_and(|link| match link.phase {
            Phase::Accepting(_) => !link.served_ahead,
            Phase::AwaitingConnect | Phase::Authenticating(_) | Phase::Live(_) => false,
        });
        if waits {
            self.close(id, JOURNAL_USED_UP, out);
        }
    }

    fn check_identity(
        &self,
        connect: &Connect,
        identity: Option<&Text>,
        credential: &Credential,
    ) -> Option<Cause> {
        let existing =
            self.sessions.find(&connect.client_id).and_then(|key| self.sessions.get(key));
        let is_overlooked = |session: &Session| match session.connection {
            Some(_) => canary!(StrangerTakesOver),
            None => canary!(StrangerResumes),
        };
        if existing
            .is_some_and(|session| session.identity.as_ref() != identity && !is_overlooked(session))
        {
            return Some(Cause::NotAllowed {
                reason: ReasonCode::ClientIdentifierNotValid,
                detail: "the client identifier's session belongs to another identity",
            });
        }
        let is_new = existing.is_none() || connect.clean_start;
        let is_recorded = connect.session_expiry_interval_s > 0 || connect.will.is_some();
        if self.journal_room.is_short() && is_new && is_recorded {
            return Some(Cause::Limit {
                reason: ReasonCode::QuotaExceeded,
                detail: "the disk is full, and the session or its will would have to be stored",
            });
        }
        let is_known = existing.is_some_and(|session| session.recorded);
        if self.journal_room == JournalRoom::UsedUp && (is_recorded || is_known) {
            return Some(JOURNAL_USED_UP);
        }
        if existing.is_none() && self.sessions.len() >= self.config.limits.sessions as usize {
            return Some(Cause::Limit {
                reason: ReasonCode::QuotaExceeded,
                detail: "the limit of sessions is reached",
            });
        }
        let will = connect.will.as_ref()?;
        let subject = credential.subject(identity, &connect.client_id);
        if self.permissions.allows(&subject, Permitted::Publish, &will.topic).allowed {
            None
        } else {
            Some(Cause::NotAllowed {
                reason: ReasonCode::NotAuthorized,
                detail: "the client may not publish its will",
            })
        }
    }

    /// Finds or makes the session, ending what the CONNECT ends.
    fn take_session(
        &mut self,
        connect: &Connect,
        identity: Option<Text>,
        out: &mut Outbox,
    ) -> (SessionKey, bool) {
        if let Some(key) = self.sessions.find(&connect.client_id)
            && let Some(old) = self.sessions.get(key).and_then(|session| session.connection)
        {
            // [MQTT-3.1.4-3]; ends the session too if it does not outlive its connection.
            self.close(old, Cause::TakenOver, out);
        }
        if let Some(key) = self.sessions.find(&connect.client_id) {
            if !connect.clean_start {
                self.record_end(key, out);
                return (key, true); // [MQTT-3.1.2-5]
            }
            if canary!(CleanStartKeepsSession) {
                return (key, false);
            }
            self.end_session(key, SessionEnd::CleanStart, out); // [MQTT-3.1.2-4]
        }
        let id = self.fresh_session_id();
        let client_id = connect.client_id.clone();
        let session = Session::new(id, client_id.clone(), identity, connect.version);
        out.notice(Notice::SessionStarted { client_id });
        let present = canary!(SessionPresentEchoed) && !connect.clean_start;
        (self.sessions.insert(session), present) // [MQTT-3.1.2-6]
    }

    /// Joins connection and session, and records what of that must be remembered.
    fn enter_session(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        connect: &Connect,
        credential: Credential,
        out: &mut Outbox,
    ) {
        if canary!(WillNotCancelled) {
            self.publish_will(key, out);
        }
        let now = self.now;
        let limits = &self.config.limits;
        let keep_alive_s = self.granted_keep_alive_s(connect);
        let granted_expiry_s = self.granted_expiry_s(connect);
        let (Some(session), Some(link)) =
            (self.sessions.get_mut(key), self.links.get_mut(connection))
        else {
            return;
        };
        link.phase = Phase::Accepting(key);
        link.window = connect.receive_maximum.min(limits.inflight_messages);
        link.maximum_packet_size_bytes = connect.maximum_packet_size_bytes.unwrap_or(u32::MAX);
        link.silence_ms =
            u64::from(keep_alive_s) * if canary!(KeepAliveTooShort) { 1000 } else { 1500 };
        link.unsent = session.flight.to_resend().into();
        link.heard_at = now;
        let ends_at = credential.ends_at.filter(|_| !canary!(TokenNeverEnds));
        link.ends_at = ends_at.unwrap_or(Time::NEVER);
        session.claims = credential.claims;
        session.grants = credential.grants;
        session.inbox = credential.inbox;
        session.moved_to(address_of(&link.peer), credential.key);
        spoil_flow(session, link);
        session.connection = Some(connection);
        session.version = connect.version;
        session.expiry_interval_s = granted_expiry_s;
        self.durable_timers.remove(session.ends_at, Timer::SessionExpiry(key));
        session.ends_at = Time::NEVER;
        session.left_at = now;
        // A new connection within the delay cancels the will of the last one [MQTT-3.1.3-9].
        if let Some(will) = session.will.take() {
            self.durable_timers.remove(will.due_at, Timer::WillDelay(key));
        }
        session.will = connect
            .will
            .as_ref()
            .map(|will| ArmedWill { will: Arc::new(will.compact()), due_at: Time::NEVER });
        let due_at = link.due_at();
        self.record_connected(key, out);
        self.set_connection_timer(connection, due_at);
        self.set_shares_durable(key);
        self.rebind_stored(key);
        if canary!(StoredBytesCountedAgain)
            && let Some(session) = self.sessions.get(key)
        {
            self.accounts.add(&session.stored.bounds, session.queue.content_bytes());
        }
    }

    /// Records a session's new connection, if a crash must not forget it.
    fn record_connected(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.is_durable() || session.will.is_some() || session.recorded {
            session.recorded = true;
            session.open_in_journal = true;
            let record = Record::Connected {
                session: session.id,
                client_id: session.client_id.clone(),
                identity: session.identity.clone(),
                claims: session.claims.clone(),
                address: session.address.clone(),
                key: session.key.as_deref().cloned(),
                version: session.version,
                session_expiry_interval_s: session.expiry_interval_s,
                will: session.will.as_ref().map(|will| will.will.clone()),
                at: self.now,
            };
            let at = self.gate.persist(record, out);
            session.transient_from = if session.is_durable() { LogPosition::START } else { at };
        }
    }

    /// CONNACK for a client that is let in, as if it had no session.
    fn connack(&self, handshake: &Handshake, data: Option<bytes::Bytes>) -> ConnAck {
        let limits = &self.config.limits;
        let connect = &handshake.connect;
        let only_if_off = |available: bool| (!available).then_some(false);
        let granted_expiry_s = self.granted_expiry_s(connect);
        let keep_alive_s = self.granted_keep_alive_s(connect);
        ConnAck {
            session_present: false,
            reason: ReasonCode::Success,
            session_expiry_interval_s: (granted_expiry_s != connect.session_expiry_interval_s)
                .then_some(granted_expiry_s),
            receive_maximum: Some(limits.receive_maximum),
            maximum_qos: (limits.maximum_qos < QoS::ExactlyOnce).then_some(limits.maximum_qos),
            retain_available: only_if_off(limits.retain_available),
            maximum_packet_size_bytes: Some(limits.maximum_packet_size_bytes),
            assigned_client_id: handshake.assigned.then(|| connect.client_id.clone()),
            topic_alias_maximum: (limits.topic_alias_maximum > 0)
                .then_some(limits.topic_alias_maximum),
            wildcard_subscription_available: only_if_off(limits.wildcard_subscription_available),
            subscription_identifiers_available: only_if_off(
                limits.subscription_identifiers_available,
            ),
            shared_subscription_available: only_if_off(limits.shared_subscription_available),
            server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
            response_information: self.response_information(connect), // [MQTT-3.1.2-28]
            server_reference: None,
            authentication_method: connect.authentication_method.clone(), // [MQTT-4.12.0-5]
            authentication_data: data,
            reason_string: None,
            user_properties: alloc::vec::Vec::new(),
        }
    }

    /// CONNACK leaves: the client may now be sent everything else.
    pub(super) fn connack_released(
        &mut self,
        connection: ConnectionId,
        connack: Box<ConnAck>,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get_mut(connection) else { return };
        let Phase::Accepting(key) = link.phase else { return };
        link.phase = Phase::Live(key);
        let keep_alive_s = u16::try_from(link.silence_ms / 1500).unwrap_or(u16::MAX);
        let session_present = connack.session_present;
        let peer = link.peer.clone();
        let is_over = link.ends_at <= self.now;
        self.send(connection, ServerPacket::ConnAck(connack), out);
        self.counters.clients_accepted += 1;
        if let Some(session) = self.sessions.get(key) {
            out.notice(Notice::Connected {
                connection,
                client_id: session.client_id.clone(),
                identity: session.identity.clone(),
                version: session.version,
                peer,
                session_present,
                keep_alive_s,
                session_expiry_interval_s: session.expiry_interval_s,
            });
        }
        if is_over {
            return self.close_for_its_end(connection, out);
        }
        self.client_came(key);
        self.pump(key, out);
    }

    fn granted_expiry_s(&self, connect: &Connect) -> u32 {
        let maximum_s = self.config.limits.session_expiry_interval_maximum_s;
        connect.session_expiry_interval_s.min(maximum_s)
    }

    fn granted_keep_alive_s(&self, connect: &Connect) -> u16 {
        let maximum_s = self.config.limits.keep_alive_maximum_s;
        let wanted_s = connect.keep_alive_s;
        // Only version 5 can be told of another value [MQTT-3.2.2-22].
        if connect.version == Version::V5
            && maximum_s > 0
            && (wanted_s == 0 || wanted_s > maximum_s)
        {
            maximum_s
        } else {
            wanted_s
        }
    }

    fn response_information(&self, connect: &Connect) -> Option<Text> {
        if !connect.request_response_information {
            return None;
        }
        let base = self.config.response_information.as_ref()?;
        Text::try_from(format!("{base}{}", connect.client_id)).ok()
    }

    fn assign_client_id(&mut self) -> Text {
        loop {
            let number = if canary!(AssignedIdRepeats) { 0 } else { self.rng.next_u64() };
            let id = format!("auto-{number:016x}");
            if let Ok(id) = Text::try_from(id)
                && (self.sessions.find(&id).is_none() || canary!(AssignedIdRepeats))
            {
                return id;
            }
        }
    }
}

/// A client that cannot take CONNACK `[MQTT-3.1.2-24]` would wait for it in vain.
fn check_size(connect: &Connect, connack: &ConnAck) -> Option<Cause> {
    let maximum = connect.maximum_packet_size_bytes?;
    (connack_len(connack) > maximum as usize).then_some(Cause::Limit {
        reason: ReasonCode::PacketTooLarge,
        detail: "the client's maximum packet size is too small for CONNACK",
    })
}

/// What canaries do to the flow on a new connection.
fn spoil_flow(session: &mut Session, link: &mut Link) {
    if canary!(FlightLostAtResume) {
        link.unsent.clear();
    }
    if canary!(WindowNotReset) {
        let in_flight = u16::try_from(session.flight.len()).unwrap_or(u16::MAX);
        link.in_window = in_flight.min(link.window);
    }
    if canary!(ResentUnderNewId) {
        for (id, _) in &mut link.unsent {
            session.flight.rename_qos1(id);
        }
    }
    if canary!(IdsRestartOnResume) {
        session.flight.restart_ids();
    }
}
