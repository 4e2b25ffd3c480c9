//! Writes packets, records and notices as lines for people.

use std::fmt::Write as _;

use signalhouse_core::message::Message;
use signalhouse_core::notice::Cause;
use signalhouse_core::record::{Enqueued, Origin, Receiver, Requested, RetainedChange};
use signalhouse_core::wire::packet::{
    Ack, ConnAck, OutboundPublish, ReasonDetails, ServerPacket, SubAck, Will,
};
use signalhouse_core::wire::property::{MessageProperties, SubscriptionIds, UserProperties};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, OutboundPacketId, PacketId, Text};
use signalhouse_core::{Answer, ConnectionId, ExchangeStep, Limits, Notice, Question, Record};

/// `answer 1 Success matched=1`, and where the quotas stand if there are any.
pub(crate) fn answer(answer: &Answer) -> String {
    let Answer { ticket, reason, matched, repeated, quota } = answer;
    let mut line = format!("answer {ticket} {reason:?} matched={matched}");
    if *repeated {
        line.push_str(" repeated");
    }
    if let Some(remaining) = quota.remaining_today {
        line.push_str(&format!(" remaining={remaining}"));
    }
    if let Some(ms) = quota.retry_after_ms {
        line.push_str(&format!(" retry_after_ms={ms}"));
    }
    if quota.is_storage_full {
        line.push_str(" storage_full");
    }
    line
}

/// What is shown beyond the packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown {
    /// Records, one line each.
    pub(crate) records: bool,
    /// Notices, one line each.
    pub(crate) notices: bool,
    /// Messages that are to be read back, one line each.
    pub(crate) fetches: bool,
    /// Every property of CONNACK, the usual ones too.
    pub(crate) connack: bool,
    /// Reason strings and user properties of acknowledgements.
    pub(crate) details: bool,
}

/// The line for a packet of the broker, without the connection's name.
pub(crate) fn packet(packet: &ServerPacket, shown: Shown) -> String {
    match packet {
        ServerPacket::ConnAck(packet) => connack(packet, shown),
        ServerPacket::Publish(packet) => publish(packet),
        ServerPacket::PubAck(packet) => ack("PUBACK", packet, shown),
        ServerPacket::PubRec(packet) => ack("PUBREC", packet, shown),
        ServerPacket::PubRel(packet) => ack("PUBREL", packet, shown),
        ServerPacket::PubComp(packet) => ack("PUBCOMP", packet, shown),
        ServerPacket::SubAck(packet) => suback(packet, shown),
        ServerPacket::UnsubAck(packet) => {
            let mut line = format!("UNSUBACK {}", packet.packet_id.0);
            for reason in &packet.reasons {
                let _ = write!(line, " {reason:?}");
            }
            details(&mut line, packet.details.as_deref(), shown);
            line
        }
        ServerPacket::PingResp => "PINGRESP".into(),
        ServerPacket::Disconnect(packet) => {
            let mut line = format!("DISCONNECT {:?}", packet.reason);
            field(&mut line, "expiry", packet.session_expiry_interval_s);
            field(&mut line, "server", packet.server_reference.as_ref());
            explained(&mut line, packet.reason_string.as_ref(), &packet.user_properties, shown);
            line
        }
        ServerPacket::Auth(packet) => {
            let mut line = format!("AUTH {:?}", packet.reason);
            field(&mut line, "method", packet.method.as_ref());
            field(&mut line, "data", packet.data.as_deref().map(quote));
            explained(&mut line, packet.reason_string.as_ref(), &packet.user_properties, shown);
            line
        }
    }
}

fn connack(packet: &ConnAck, shown: Shown) -> String {
    let present = u8::from(packet.session_present);
    let mut line = format!("CONNACK present={present} {:?}", packet.reason);
    let usual = Limits::default();
    let unusual = |value: Option<u64>, usual: u64| value.filter(|v| shown.connack || *v != usual);
    field(&mut line, "assigned", packet.assigned_client_id.as_ref());
    field(&mut line, "expiry", packet.session_expiry_interval_s);
    field(&mut line, "keepalive", packet.server_keep_alive_s);
    let receive_maximum = packet.receive_maximum.map(u64::from);
    field(&mut line, "receive_maximum", unusual(receive_maximum, usual.receive_maximum.into()));
    let max_packet = packet.maximum_packet_size_bytes.map(u64::from);
    field(&mut line, "max_packet", unusual(max_packet, usual.maximum_packet_size_bytes.into()));
    let alias_maximum = packet.topic_alias_maximum.map(u64::from);
    field(&mut line, "alias_maximum", unusual(alias_maximum, usual.topic_alias_maximum.into()));
    field(&mut line, "maximum_qos", packet.maximum_qos);
    field(&mut line, "retain", packet.retain_available);
    field(&mut line, "wildcard", packet.wildcard_subscription_available);
    field(&mut line, "sub_ids", packet.subscription_identifiers_available);
    field(&mut line, "shared", packet.shared_subscription_available);
    field(&mut line, "response_information", packet.response_information.as_ref());
    field(&mut line, "server", packet.server_reference.as_ref());
    field(&mut line, "method", packet.authentication_method.as_ref());
    field(&mut line, "data", packet.authentication_data.as_deref().map(quote));
    explained(&mut line, packet.reason_string.as_ref(), &packet.user_properties, shown);
    line
}

fn publish(packet: &OutboundPublish) -> String {
    let message = &packet.message;
    let mut line = format!("PUBLISH {} {}", message.topic, quote(&message.payload));
    match packet.delivery {
        Delivery::AtMostOnce => line.push_str(" qos=0"),
        Delivery::AtLeastOnce(id) => {
            let _ = write!(line, " qos=1 id={}", id.0);
        }
        Delivery::ExactlyOnce(id) => {
            let _ = write!(line, " qos=2 id={}", id.0);
        }
    }
    flag(&mut line, "dup", packet.dup);
    flag(&mut line, "retain", packet.retain);
    field(&mut line, "expiry", packet.message_expiry_interval_s);
    subscription_ids(&mut line, &packet.subscription_ids);
    if let Some(properties) = &message.properties {
        message_properties(&mut line, properties);
    }
    line
}

fn message_properties(line: &mut String, properties: &MessageProperties) {
    match properties.payload_format_indicator {
        Some(true) => line.push_str(" utf8"),
        Some(false) => line.push_str(" utf8=0"),
        None => {}
    }
    field(line, "content_type", properties.content_type.as_ref());
    field(line, "response_topic", properties.response_topic.as_ref());
    field(line, "correlation", properties.correlation_data.as_deref().map(quote));
    user_properties(line, &properties.user_properties);
}

/// A packet identifier of either direction, as a number.
trait Number {
    fn number(&self) -> PacketId;
}

impl Number for InboundPacketId {
    fn number(&self) -> PacketId {
        self.0
    }
}

impl Number for OutboundPacketId {
    fn number(&self) -> PacketId {
        self.0
    }
}

fn ack<Id: Number>(name: &str, packet: &Ack<Id>, shown: Shown) -> String {
    let mut line = format!("{name} {}", packet.packet_id.number());
    if packet.reason != ReasonCode::Success {
        let _ = write!(line, " {:?}", packet.reason);
    }
    details(&mut line, packet.details.as_deref(), shown);
    line
}

fn suback(packet: &SubAck, shown: Shown) -> String {
    let mut line = format!("SUBACK {}", packet.packet_id.0);
    for reason in &packet.reasons {
        if *reason == ReasonCode::Success {
            line.push_str(" GrantedQos0");
        } else {
            let _ = write!(line, " {reason:?}");
        }
    }
    details(&mut line, packet.details.as_deref(), shown);
    line
}

fn details(line: &mut String, details: Option<&ReasonDetails>, shown: Shown) {
    if let Some(details) = details {
        explained(line, details.reason_string.as_ref(), &details.user_properties, shown);
    }
}

fn explained(line: &mut String, reason: Option<&Text>, properties: &UserProperties, shown: Shown) {
    if shown.details {
        field(line, "reason_string", reason.map(|text| quote(text.as_bytes())));
        user_properties(line, properties);
    }
}

/// The line for a question of the broker, without the connection's name.
pub(crate) fn question(question: &Question) -> String {
    match question {
        Question::Credentials { client_id, version, user_name, password } => {
            let mut line = format!("credentials client={client_id} v={version}");
            field(&mut line, "user", user_name.as_ref());
            field(&mut line, "password", password.as_deref().map(quote));
            line
        }
        Question::Exchange { client_id, method, data, step } => {
            let step = match step {
                ExchangeStep::Connect => "connect",
                ExchangeStep::ReAuthenticate => "re-authenticate",
                ExchangeStep::Continue => "continue",
            };
            let mut line = format!("exchange client={client_id} method={method} step={step}");
            field(&mut line, "data", data.as_deref().map(quote));
            line
        }
    }
}

fn all_enqueued(entries: &[Enqueued]) -> String {
    entries.iter().map(enqueued).collect::<Vec<_>>().join(", ")
}

fn request(requested: &Requested) -> String {
    format!("Requested {} matched={}", requested.key, requested.matched)
}

fn connected(record: &Record) -> String {
    let Record::Connected {
        session,
        client_id,
        identity,
        claims,
        key,
        session_expiry_interval_s,
        will,
        ..
    } = record
    else {
        return String::new();
    };
    let mut line = format!("Connected {session} {client_id}");
    field(&mut line, "identity", identity.as_ref());
    field(&mut line, "key", key.as_ref());
    for (name, value) in claims.iter() {
        field(&mut line, "claim", Some(format!("{name}:{value}")));
    }
    field(&mut line, "expiry", Some(session_expiry_interval_s));
    field(&mut line, "will", will.as_deref().map(|will: &Will| will.topic.as_str()));
    line
}

/// The line for a record, without its position.
pub(crate) fn record(record: &Record) -> String {
    match record {
        Record::Connected { .. } => connected(record),
        Record::Disconnected { session, session_expiry_interval_s, keeps_will, .. } => {
            let mut line = format!("Disconnected {session} expiry={session_expiry_interval_s}");
            flag(&mut line, "keeps_will", *keeps_will);
            line
        }
        Record::SessionEnded { session } => format!("SessionEnded {session}"),
        Record::WillDropped { session } => format!("WillDropped {session}"),
        Record::Subscribed { session, filter, options, subscription_id, group, replay } => {
            let mut line = format!("Subscribed {session} {filter} qos={}", options.maximum_qos);
            field(&mut line, "sub_id", *subscription_id);
            field(&mut line, "group", *group);
            flag(&mut line, "replay", replay.is_some());
            line
        }
        Record::Unsubscribed { session, filter } => format!("Unsubscribed {session} {filter}"),
        Record::Published { message, origin, retained, entries, at: _ } => {
            published(message, origin, retained, entries)
        }
        Record::Requeued { message, entries, .. } => {
            format!("Requeued {message} -> {}", all_enqueued(entries))
        }
        Record::Replayed { session, filter, topic, early, message, entry } => {
            let early = if *early { " early" } else { "" };
            format!("Replayed {session} {filter} {topic}{early} {message} -> {}", enqueued(entry))
        }
        Record::ReplayEnded { session, filter } => format!("ReplayEnded {session} {filter}"),
        Record::Bound { session, seq, packet_id } => {
            format!("Bound {session}:{seq} id={}", packet_id.0)
        }
        Record::Received { session, packet_id } => format!("Received {session} id={}", packet_id.0),
        Record::Completed { session, packet_id } => {
            format!("Completed {session} id={}", packet_id.0)
        }
        Record::Removed { receiver, seq } => format!("Removed {receiver}:{seq}"),
        Record::Moved { from, seq, to, qos, .. } => format!("Moved {from}:{seq} -> {to} qos={qos}"),
        Record::InboundHeld { session, packet_id } => {
            format!("InboundHeld {session} id={}", packet_id.0)
        }
        Record::InboundReleased { session, packet_id } => {
            format!("InboundReleased {session} id={}", packet_id.0)
        }
        Record::RetainedCleared { topic } => format!("RetainedCleared {topic}"),
        Record::Requested(requested) => request(requested),
        Record::Counted { holder, day, count } => format!("Counted {holder} day={day} {count}"),
        Record::Counters { next_session, next_group, next_message, next_seq } => {
            format!("Counters {next_session} {next_group} {next_message} {next_seq}")
        }
    }
}

fn published(
    message: &Message,
    origin: &Origin,
    retained: &RetainedChange,
    entries: &[Enqueued],
) -> String {
    let mut line =
        format!("Published {} {} {}", message.id, message.topic, quote(&message.payload));
    match origin {
        Origin::Untracked => {}
        Origin::Inbound { session, packet_id } => {
            let _ = write!(line, " inbound={session}:{}", packet_id.0);
        }
        Origin::Will { session } => {
            let _ = write!(line, " will={session}");
        }
        Origin::Request(requested) => {
            let _ = write!(line, " request={} matched={}", requested.key, requested.matched);
        }
    }
    match retained {
        RetainedChange::None => {}
        RetainedChange::Set { .. } => line.push_str(" retained=set"),
        RetainedChange::Clear => line.push_str(" retained=clear"),
    }
    for (place, entry) in entries.iter().enumerate() {
        let _ = write!(line, "{}{}", if place == 0 { " -> " } else { ", " }, enqueued(entry));
    }
    line
}

fn enqueued(entry: &Enqueued) -> String {
    let receiver: Receiver = entry.receiver;
    let mut line = format!("{receiver}:{} qos={}", entry.seq, entry.qos);
    flag(&mut line, "retain", entry.retain);
    field(&mut line, "group", entry.group);
    subscription_ids(&mut line, &entry.subscription_ids);
    line
}

/// The line for a notice; connections are named by `name`.
pub(crate) fn notice(notice: &Notice, name: impl Fn(ConnectionId) -> String) -> String {
    match notice {
        Notice::Connected { connection, client_id, session_present, .. } => {
            format!(
                "Connected {} {client_id} present={}",
                name(*connection),
                u8::from(*session_present)
            )
        }
        Notice::Refused { connection, cause, .. } => {
            format!("Refused {}: {}", name(*connection), self::cause(cause))
        }
        Notice::Disconnected { connection, client_id, cause, queued } => {
            format!(
                "Disconnected {} {client_id} queued={queued}: {}",
                name(*connection),
                self::cause(cause)
            )
        }
        Notice::SessionStarted { client_id } => format!("SessionStarted {client_id}"),
        Notice::SessionEnded { client_id, cause, discarded } => {
            format!("SessionEnded {client_id} discarded={discarded}: {cause:?}")
        }
        Notice::Dropped { receiver, topic, cause } => {
            format!("Dropped {receiver} {topic}: {cause:?}")
        }
        Notice::DroppedUnread { receiver, message, cause } => {
            format!("DroppedUnread {receiver} {message}: {cause:?}")
        }
        Notice::PublishRefused { client_id, topic, reason } => {
            format!("PublishRefused {client_id} {topic}: {reason:?}")
        }
        Notice::Subscribed { client_id, filter, qos } => {
            format!("Subscribed {client_id} {filter} qos={qos}")
        }
        Notice::SubscribeRefused { client_id, filter, reason } => {
            format!("SubscribeRefused {client_id} {filter}: {reason:?}")
        }
        Notice::Unsubscribed { client_id, filter } => format!("Unsubscribed {client_id} {filter}"),
        Notice::WillPublished { client_id, topic } => format!("WillPublished {client_id} {topic}"),
        Notice::WillRefused { client_id, topic, reason } => {
            format!("WillRefused {client_id} {topic}: {reason:?}")
        }
        Notice::UnknownAck { client_id, packet, packet_id } => {
            format!("UnknownAck {client_id} {packet} {packet_id}")
        }
        Notice::DuplicateSuppressed { client_id, packet_id } => {
            format!("DuplicateSuppressed {client_id} {packet_id}")
        }
        Notice::RetainedExpired { topic } => format!("RetainedExpired {topic}"),
        Notice::JournalSpace { is_short } => format!("JournalSpace short={is_short}"),
        Notice::PermissionsReplaced => "PermissionsReplaced".into(),
        Notice::TimeJumped { by_ms } => format!("TimeJumped {by_ms}"),
    }
}

/// A cause by its name and code; the words for people are left out, so that they can be improved.
fn cause(cause: &Cause) -> String {
    match cause {
        Cause::ClientDisconnected(reason) => format!("ClientDisconnected {reason:?}"),
        Cause::PeerClosed => "PeerClosed".into(),
        Cause::NetworkFailed => "NetworkFailed".into(),
        Cause::KeepAliveTimeout => "KeepAliveTimeout".into(),
        Cause::ConnectTimeout => "ConnectTimeout".into(),
        Cause::TakenOver => "TakenOver".into(),
        Cause::Malformed { reason, .. } => format!("Malformed {reason:?}"),
        Cause::Protocol { reason, .. } => format!("Protocol {reason:?}"),
        Cause::NotAllowed { reason, .. } => format!("NotAllowed {reason:?}"),
        Cause::Limit { reason, .. } => format!("Limit {reason:?}"),
        Cause::Ordered(reason) => format!("Ordered {reason:?}"),
    }
}

fn subscription_ids(line: &mut String, ids: &SubscriptionIds) {
    let ids: Vec<String> = ids.as_slice().iter().map(u32::to_string).collect();
    field(line, "sub_ids", (!ids.is_empty()).then(|| ids.join(",")));
}

fn user_properties(line: &mut String, properties: &UserProperties) {
    for (name, value) in properties {
        let _ = write!(line, " prop={name}:{value}");
    }
}

fn field<V: std::fmt::Display>(line: &mut String, name: &str, value: Option<V>) {
    if let Some(value) = value {
        let _ = write!(line, " {name}={value}");
    }
}

fn flag(line: &mut String, name: &str, set: bool) {
    if set {
        line.push(' ');
        line.push_str(name);
    }
}

/// Bytes in quotes; what is not printable as `\xHH`.
fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => {
                    quoted.push('\\');
                    quoted.push(c);
                }
                c if c.is_ascii_control() => {
                    let _ = write!(quoted, "\\x{:02X}", u32::from(c));
                }
                c => quoted.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02X}");
        }
    }
    quoted.push('"');
    quoted
}
