//! What happened inside the broker, for logs, metrics, `$SYS`, event histories and tests alike.

use core::fmt;

use crate::input::ConnectionId;
use crate::message::MessageId;
use crate::routing::topic::{Topic, TopicFilter};
use crate::wire::reason::ReasonCode;
use crate::wire::types::{QoS, Text, Version};

/// One event worth knowing. Nothing is dropped, refused or closed without one.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A CONNECT was accepted and its CONNACK sent.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// Where it comes from.
        peer: Text,
        /// The client.
        client_id: Text,
        /// Who it proved to be.
        identity: Option<Text>,
        /// Its protocol version.
        version: Version,
        /// Whether a session was resumed.
        session_present: bool,
        /// What is enforced, in seconds; 0 for no check.
        keep_alive_s: u16,
        /// What is granted, in seconds.
        session_expiry_interval_s: u32,
    },
    /// A connection ended without ever having been accepted.
    Refused {
        /// The connection.
        connection: ConnectionId,
        /// Where it comes from.
        peer: Text,
        /// The client, as far as it is known.
        client_id: Option<Text>,
        /// Why.
        cause: Cause,
    },
    /// An accepted connection ended.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
        /// The client.
        client_id: Text,
        /// Why.
        cause: Cause,
        /// Messages waiting in its session.
        queued: u32,
    },
    /// A session began.
    SessionStarted {
        /// The client.
        client_id: Text,
    },
    /// A session ended.
    SessionEnded {
        /// The client.
        client_id: Text,
        /// Why.
        cause: SessionEnd,
        /// Messages that were waiting and will not be delivered.
        discarded: u32,
    },
    /// A message will not reach one receiver.
    Dropped {
        /// The receiving client, or the share's whole filter.
        receiver: Text,
        /// The message's topic.
        topic: Topic,
        /// Why.
        cause: DropCause,
    },
    /// A publication was refused, or at QoS 0 ignored.
    PublishRefused {
        /// The publishing client.
        client_id: Text,
        /// The topic.
        topic: Topic,
        /// What the client was told, or would have been.
        reason: ReasonCode,
    },
    /// A subscription was made or replaced.
    Subscribed {
        /// The client.
        client_id: Text,
        /// The filter.
        filter: TopicFilter,
        /// The QoS granted.
        qos: QoS,
    },
    /// A subscription was refused.
    SubscribeRefused {
        /// The client.
        client_id: Text,
        /// The filter.
        filter: TopicFilter,
        /// What the client was told.
        reason: ReasonCode,
    },
    /// A subscription was removed.
    Unsubscribed {
        /// The client.
        client_id: Text,
        /// The filter.
        filter: TopicFilter,
    },
    /// A will was published.
    WillPublished {
        /// The client it belonged to.
        client_id: Text,
        /// Its topic.
        topic: Topic,
    },
    /// A will was not published because the rules in force do not allow it.
    WillRefused {
        /// The client it belonged to.
        client_id: Text,
        /// Its topic.
        topic: Topic,
        /// Why.
        reason: ReasonCode,
    },
    /// A message does not reach a receiver; only the journal has it, and it was not read back.
    DroppedUnread {
        /// The client, or the filter of the share.
        receiver: Text,
        /// The message.
        message: MessageId,
        /// Why.
        cause: DropCause,
    },
    /// A client acknowledged something that is not in flight; it was ignored.
    UnknownAck {
        /// The client.
        client_id: Text,
        /// The packet's name.
        packet: &'static str,
        /// Its packet identifier.
        packet_id: u16,
    },
    /// A client repeated a QoS 2 PUBLISH; the message was not passed on again.
    DuplicateSuppressed {
        /// The client.
        client_id: Text,
        /// Its packet identifier.
        packet_id: u16,
    },
    /// A retained message's expiry passed.
    RetainedExpired {
        /// Its topic.
        topic: Topic,
    },
    /// The journal's disk has little room left, so that what would have to be recorded is refused; or
    /// it has room again.
    JournalSpace {
        /// Whether it is short.
        is_short: bool,
    },
    /// New rules are in force.
    PermissionsReplaced,
    /// Time jumped forward further than the limit; durable state does not expire until confirmed.
    TimeJumped {
        /// By how much, in milliseconds.
        by_ms: u64,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// The client sent DISCONNECT with this code.
    ClientDisconnected(ReasonCode),
    /// The peer closed the network connection without DISCONNECT.
    PeerClosed,
    /// Reading or writing failed.
    NetworkFailed,
    /// Nothing was heard for one and a half times the keep alive.
    KeepAliveTimeout,
    /// No CONNECT came in time.
    ConnectTimeout,
    /// The same client connected anew.
    TakenOver,
    /// What came is not a packet the client may send.
    Malformed {
        /// The code it stands for.
        reason: ReasonCode,
        /// In words.
        detail: crate::wire::DecodeError,
    },
    /// A well-formed packet that the protocol does not allow here.
    Protocol {
        /// The code it stands for.
        reason: ReasonCode,
        /// In words.
        detail: &'static str,
    },
    /// The client may not come in, or not go on.
    NotAllowed {
        /// The code it was told.
        reason: ReasonCode,
        /// In words.
        detail: &'static str,
    },
    /// A limit was reached.
    Limit {
        /// The code it was told.
        reason: ReasonCode,
        /// Which limit.
        detail: &'static str,
    },
    /// An order of the operator.
    Ordered(ReasonCode),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::ClientDisconnected(reason) => write!(f, "client disconnected ({reason})"),
            Cause::PeerClosed => f.write_str("peer closed without DISCONNECT"),
            Cause::NetworkFailed => f.write_str("network failed"),
            Cause::KeepAliveTimeout => f.write_str("keep alive timeout"),
            Cause::ConnectTimeout => f.write_str("no CONNECT in time"),
            Cause::TakenOver => f.write_str("taken over by a new connection"),
            Cause::Malformed { reason, detail } => write!(f, "{detail} ({reason})"),
            Cause::Protocol { reason, detail }
            | Cause::NotAllowed { reason, detail }
            | Cause::Limit { reason, detail } => write!(f, "{detail} ({reason})"),
            Cause::Ordered(reason) => write!(f, "ordered ({reason})"),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionEnd {
    /// Its connection ended and its expiry interval is 0.
    WithConnection,
    /// Its expiry interval passed.
    Expired,
    /// The client started clean.
    CleanStart,
    /// An order of the operator.
    Ordered,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SessionEnd::WithConnection => "ended with its connection",
            SessionEnd::Expired => "expired",
            SessionEnd::CleanStart => "replaced by a clean start",
            SessionEnd::Ordered => "ended by order",
        })
    }
}

/// Why a message does not reach a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropCause {
    /// The receiver's queue is at its limit of messages or bytes.
    QueueFull,
    /// The receiver's quota of stored bytes is used up.
    OverQuota,
    /// Its expiry passed before delivery began.
    Expired,
    /// Larger than the receiver's maximum packet size.
    TooLarge,
    /// The receiver may not receive on this topic.
    NotAuthorized,
    /// QoS 0 and the receiver is not connected.
    Offline,
    /// The receiver refused it with an error code.
    RefusedByClient(ReasonCode),
    /// The share it was for has no members left.
    ShareEnded,
}

impl fmt::Display for DropCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropCause::QueueFull => f.write_str("queue full"),
            DropCause::OverQuota => f.write_str("over the receiver's quota of stored bytes"),
            DropCause::Expired => f.write_str("expired"),
            DropCause::TooLarge => f.write_str("larger than the receiver's maximum packet size"),
            DropCause::NotAuthorized => f.write_str("receiver not authorized"),
            DropCause::Offline => f.write_str("QoS 0 and receiver offline"),
            DropCause::RefusedByClient(reason) => write!(f, "refused by the client ({reason})"),
            DropCause::ShareEnded => f.write_str("the share has no members left"),
        }
    }
}
