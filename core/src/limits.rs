//! Everything that is bounded, and how far; and the other choices an operator has.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::permission::Permissions;
use crate::wire::types::{QoS, Text};

/// The bounds of one broker. Every queue, table and buffer has one here.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Network connections at once, accepted or not. Over it: closed at once, without CONNACK.
    pub connections: u32,
    /// Sessions, connected or not. Over it: CONNACK 0x97.
    pub sessions: u32,
    /// Milliseconds a connection may take to be accepted.
    pub connect_timeout_ms: u64,
    /// Largest packet a client may send, in bytes. Over it: 0x95.
    pub maximum_packet_size_bytes: u32,
    /// Publications at QoS 1 and 2 that a client may have unacknowledged. Over it: 0x93.
    pub receive_maximum: u16,
    /// Highest topic alias a client may use; 0 for none. Over it: 0x94.
    pub topic_alias_maximum: u16,
    /// Topic aliases the broker assigns on one connection at most.
    pub topic_alias_outbound_maximum: u16,
    /// Longest client identifier, in bytes. Over it: CONNACK 0x85.
    pub client_id_bytes: u16,
    /// Highest QoS that clients may publish with; subscriptions are granted no more.
    pub maximum_qos: QoS,
    /// Whether retained messages are kept. If not, RETAIN is refused with 0x9A.
    pub retain_available: bool,
    /// Whether filters may have wildcards. If not: 0xA2.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have identifiers. If not: 0xA1.
    pub subscription_identifiers_available: bool,
    /// Whether subscriptions may be shared. If not: 0x9E.
    pub shared_subscription_available: bool,
    /// Longest session expiry interval granted, in seconds; `u32::MAX` for no bound.
    pub session_expiry_interval_maximum_s: u32,
    /// Longest keep alive granted, in seconds; a longer one, or none, is replaced by this.
    /// 0 leaves the choice to the client.
    pub keep_alive_maximum_s: u16,
    /// Subscriptions of one session. Over it: SUBACK 0x97.
    pub subscriptions_per_session: u32,
    /// Levels of a topic or filter. Over it: 0x90 or 0x8F.
    pub topic_levels: u16,
    /// Messages waiting in one session or shared group. Over it the newest is dropped.
    pub queue_messages: u32,
    /// Bytes of the messages waiting in one session or shared group, as counted by
    /// [`Message::content_bytes`](crate::message::Message::content_bytes).
    pub queue_bytes: u64,
    /// Bytes of all waiting messages that are kept in memory, counted once for each queue. What the
    /// journal has beyond it stays there alone until its turn comes.
    pub queue_memory_bytes: u64,
    /// Deliveries at QoS 1 and 2 in flight to one client, whatever receive maximum it states.
    pub inflight_messages: u16,
    /// Retained messages, what the broker tells of itself below `$SYS` apart. Over it: 0x97.
    pub retained_messages: u32,
    /// Bytes of retained messages, the same apart. Over it: 0x97.
    pub retained_bytes: u64,
    /// Packets a client may send ahead while its authentication is undecided. Over it: 0x97.
    pub pipelined_packets: u16,
    /// Keys remembered of requests that must not be carried out twice. Over it the oldest is
    /// forgotten.
    pub request_keys: u32,
    /// Milliseconds such a key is remembered.
    pub request_key_ms: u64,
    /// Users, clients, API keys and addresses whose use is counted against quotas. Over it, and with
    /// none of them idle, a new one is refused as if over its quota.
    pub quota_holders: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 100_000,
            sessions: 1_000_000,
            connect_timeout_ms: 10_000,
            maximum_packet_size_bytes: 1024 * 1024,
            receive_maximum: 1024,
            topic_alias_maximum: 32,
            topic_alias_outbound_maximum: 32,
            client_id_bytes: 256,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            session_expiry_interval_maximum_s: u32::MAX,
            keep_alive_maximum_s: 0,
            subscriptions_per_session: 10_000,
            topic_levels: 128,
            queue_messages: 100_000,
            queue_bytes: 64 * 1024 * 1024,
            queue_memory_bytes: 256 * 1024 * 1024,
            inflight_messages: 1024,
            retained_messages: 1_000_000,
            retained_bytes: 1024 * 1024 * 1024,
            pipelined_packets: 64,
            request_keys: 100_000,
            request_key_ms: 24 * 60 * 60 * 1000,
            quota_holders: 100_000,
        }
    }
}

/// What a broker is built with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The bounds.
    pub limits: Limits,
    /// Who may do what, until a command replaces it.
    pub permissions: Arc<Permissions>,
    /// Whether the driver is asked who a client is. If not, every client is anonymous.
    pub ask_credentials: bool,
    /// Enhanced authentication methods that the driver serves. Others get 0x8C.
    pub authentication_methods: Vec<Text>,
    /// Whether the driver keeps records. If not, it is given none, nothing waits for one, and all there is ends with
    /// the broker; [`Limits::queue_memory_bytes`] counts for nothing then.
    pub keeps_records: bool,
    /// Whether messages at QoS 0 wait for sessions that are not connected.
    pub queue_qos0_offline: bool,
    /// Milliseconds between updates of `$SYS`, of which the first is at the start; 0 for none.
    pub sys_interval_ms: u64,
    /// The version shown in `$SYS/broker/version`.
    pub version_text: &'static str,
    /// Base of response topics for clients that ask; the client identifier is appended.
    pub response_information: Option<Text>,
    /// A jump of time larger than this, in milliseconds, needs confirmation before durable state
    /// expires.
    pub time_jump_maximum_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            limits: Limits::default(),
            permissions: Arc::default(),
            ask_credentials: false,
            authentication_methods: Vec::new(),
            keeps_records: true,
            queue_qos0_offline: false,
            sys_interval_ms: 10_000,
            version_text: concat!("signalhouse ", env!("CARGO_PKG_VERSION")),
            response_information: None,
            time_jump_maximum_ms: 24 * 60 * 60 * 1000,
        }
    }
}
