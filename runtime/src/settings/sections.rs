//! The settings' sections.

use signalhouse_core::Config;
use signalhouse_core::limits;
use signalhouse_core::wire::types::{QoS, Text};

use super::section::section;
use crate::journal::Level;

const MIB: u64 = 1024 * 1024;
const HOUR_MS: u64 = 60 * 60 * 1000;

section! {
    /// Where the broker is to be found, and how it treats its connections.
    network Network {
        /// Where to listen for MQTT over TCP.
        listen: Vec<String> = vec!["127.0.0.1:1883".to_owned()], OptionalAddresses;
        /// Where to listen for MQTT over TLS, such as "0.0.0.0:8883".
        listen_tls: Vec<String> = Vec::new(), OptionalAddresses;
        /// Where to listen for MQTT over WebSocket, such as "127.0.0.1:8083". The paths are / and /mqtt.
        listen_websocket: Vec<String> = Vec::new(), OptionalAddresses;
        /// Where to listen for MQTT over WebSocket over TLS, such as "0.0.0.0:8084".
        listen_websocket_tls: Vec<String> = Vec::new(), OptionalAddresses;
        /// Milliseconds a client may take for the handshakes of TLS and WebSocket.
        handshake_timeout_ms: u64 = 10_000, Whole(10, HOUR_MS);
        /// Connections of one address that are not yet accepted as clients. Over it: closed without a word.
        strangers_per_address: u32 = 1_024, Whole(1, 10_000_000);
        /// The same of all addresses together.
        strangers: u32 = 16_384, Whole(1, 10_000_000);
        /// Connections that may wait to be accepted.
        accept_backlog: u32 = 1_024, Whole(1, 65_535);
        /// Largest CONNECT, in bytes: what a stranger may make the broker hold.
        connect_maximum_bytes: u32 = 256 * 1024, Whole(64, 256 * MIB);
        /// What may wait in memory to be written to one client, in bytes.
        outgoing_buffer_bytes: u32 = 1024 * 1024, Whole(4_096, 256 * MIB);
        /// Milliseconds in which a client that is disconnected must take its last packets.
        close_timeout_ms: u64 = 5_000, Whole(10, HOUR_MS), reloads;
        /// Milliseconds a client may read nothing while something waits for it; 0 for ever.
        write_stall_timeout_ms: u64 = 300_000, Whole(0, 24 * HOUR_MS), reloads;
    }
}

section! {
    /// What the broker does where the standard leaves a choice.
    broker Broker {
        /// Whether messages at QoS 0 wait for sessions that are not connected.
        queue_qos0_offline: bool = false, Truth;
        /// Milliseconds between updates of $SYS; 0 for none.
        sys_interval_ms: u64 = 10_000, Whole(0, 24 * HOUR_MS);
        /// Base of the response topics of clients that ask for one; empty for none.
        response_information: String = String::new(), Text(1024);
        /// A jump of the clock by more milliseconds holds expiry back until SIGHUP confirms it.
        time_jump_maximum_ms: u64 = 24 * HOUR_MS, Whole(1_000, 10 * 365 * 24 * HOUR_MS);
    }
}

section! {
    /// The bounds of everything.
    limits Limits {
        /// Network connections at once. Over it: closed without a word.
        connections: u32 = limits().connections, Whole(1, 10_000_000);
        /// Sessions, connected or not. Over it: CONNACK 0x97.
        sessions: u32 = limits().sessions, Whole(1, 100_000_000);
        /// Milliseconds a connection may take to be accepted.
        connect_timeout_ms: u64 = limits().connect_timeout_ms, Whole(10, HOUR_MS);
        /// Largest packet a client may send, in bytes. Over it: 0x95.
        maximum_packet_size_bytes: u32 = limits().maximum_packet_size_bytes, Whole(64, 268_435_460);
        /// Unacknowledged publications at QoS 1 and 2 of one client. Over it: 0x93.
        receive_maximum: u16 = limits().receive_maximum, Whole(1, 65_535);
        /// Highest topic alias a client may use; 0 for none. Over it: 0x94.
        topic_alias_maximum: u16 = limits().topic_alias_maximum, Whole(0, 65_535);
        /// Topic aliases the broker assigns on one connection at most.
        topic_alias_outbound_maximum: u16 = limits().topic_alias_outbound_maximum, Whole(0, 65_535);
        /// Longest client identifier, in bytes. Over it: CONNACK 0x85.
        client_id_bytes: u16 = limits().client_id_bytes, Whole(23, 65_535);
        /// Highest QoS that clients may publish with; subscriptions are granted no more.
        maximum_qos: u8 = limits().maximum_qos as u8, Whole(0, 2);
        /// Whether retained messages are kept. If not: 0x9A.
        retain_available: bool = limits().retain_available, Truth;
        /// Whether filters may have wildcards. If not: 0xA2.
        wildcard_subscription_available: bool = limits().wildcard_subscription_available, Truth;
        /// Whether subscriptions may have identifiers. If not: 0xA1.
        subscription_identifiers_available: bool =
            limits().subscription_identifiers_available, Truth;
        /// Whether subscriptions may be shared. If not: 0x9E.
        shared_subscription_available: bool = limits().shared_subscription_available, Truth;
        /// Longest session expiry interval granted, in seconds; 4294967295 for no bound.
        session_expiry_interval_maximum_s: u32 =
            limits().session_expiry_interval_maximum_s, Whole(0, u32::MAX as u64);
        /// Longest keep alive granted, in seconds; 0 leaves the choice to the client.
        keep_alive_maximum_s: u16 = limits().keep_alive_maximum_s, Whole(0, 65_535);
        /// Subscriptions of one session. Over it: SUBACK 0x97.
        subscriptions_per_session: u32 = limits().subscriptions_per_session, Whole(1, 10_000_000);
        /// Levels of a topic or filter. Over it: 0x90 or 0x8F.
        topic_levels: u16 = limits().topic_levels, Whole(1, 32_768);
        /// Messages waiting in one session or shared group. Over it the newest is dropped.
        queue_messages: u32 = limits().queue_messages, Whole(1, 100_000_000);
        /// Bytes of the messages waiting in one session or shared group.
        queue_bytes: u64 = limits().queue_bytes, Whole(1_024, 1024 * 1024 * MIB);
        /// Bytes of all waiting messages kept in memory; what is beyond stays in the journal alone.
        queue_memory_bytes: u64 = limits().queue_memory_bytes, Whole(0, 1024 * 1024 * MIB);
        /// Deliveries at QoS 1 and 2 in flight to one client.
        inflight_messages: u16 = limits().inflight_messages, Whole(1, 65_535);
        /// Retained messages. Over it: 0x97.
        retained_messages: u32 = limits().retained_messages, Whole(0, 100_000_000);
        /// Bytes of retained messages. Over it: 0x97.
        retained_bytes: u64 = limits().retained_bytes, Whole(0, 1024 * 1024 * MIB);
        /// Packets a client may send ahead while its authentication is undecided. Over it: 0x97.
        pipelined_packets: u16 = limits().pipelined_packets, Whole(0, 65_535);
        /// Idempotency keys remembered of HTTP requests. Over it the oldest is forgotten.
        request_keys: u32 = limits().request_keys, Whole(0, 10_000_000);
        /// Milliseconds an idempotency key is remembered.
        request_key_ms: u64 = limits().request_key_ms, Whole(1_000, 30 * 24 * HOUR_MS);
        /// Users, clients, API keys and addresses whose use is counted against quotas. Over it: refused.
        quota_holders: u32 = limits().quota_holders, Whole(1, 10_000_000);
    }
}

section! {
    /// How much one user, one API key or one address may do; 0 for no bound.
    quotas Quotas {
        /// Publications of each user in a second. Over it: 0x97, or 429 over HTTP.
        user_messages_per_second: u32 = 0, Whole(0, 1_000_000_000), reloads;
        /// Publications of each user in a day of UTC.
        user_messages_per_day: u64 = 0, Whole(0, 1_000_000_000_000), reloads;
        /// Connections of each user at once. Over it: CONNACK 0x97.
        user_connections: u32 = 0, Whole(0, 10_000_000), reloads;
        /// Bytes kept for each user: waiting, in flight, wills, and retained by it. Over it: dropped
        /// for that session; 0x97 for what would be retained.
        user_stored_bytes: u64 = 0, Whole(0, 1024 * 1024 * MIB), reloads;
        /// Publications from each address in a second.
        address_messages_per_second: u32 = 0, Whole(0, 1_000_000_000), reloads;
        /// Publications from each address in a day of UTC.
        address_messages_per_day: u64 = 0, Whole(0, 1_000_000_000_000), reloads;
        /// Connections from each address at once.
        address_connections: u32 = 0, Whole(0, 10_000_000), reloads;
        /// Bytes kept for those who came from one address last.
        address_stored_bytes: u64 = 0, Whole(0, 1024 * 1024 * MIB), reloads;
        /// What comes of QoS 0 over a quota: `drop`, counted and noticed, or `close` with 0x96 (0x97 for bytes).
        qos0: String = "drop".to_owned(), Word(&["drop", "close"]), reloads;
        /// File of quotas of single users, keys and addresses, in TOML; empty for none.
        file: String = String::new(), Text(4_096), reloads;
    }
}

section! {
    /// Plain HTTP: publish, subscribe, manage and see.
    http Http {
        /// Where to listen for HTTP; [] for nowhere.
        listen: Vec<String> = vec!["127.0.0.1:18083".to_owned()], OptionalAddresses;
        /// The file of API keys, as `signalhouse key` keeps it; empty for none.
        keys_file: String = String::new(), Text(4_096), reloads;
        /// Whether requests on loopback may publish and subscribe without a key.
        loopback_without_key: bool = true, Truth;
        /// Whether /livez and /readyz answer without a key beyond loopback.
        health_without_key: bool = false, Truth;
        /// Origins whose web pages may use the interface; "*" for all.
        cors_origins: Vec<String> = Vec::new(), Origins;
        /// Connections at once. Over it: closed without a word.
        connections: u32 = 1_024, Whole(1, 1_000_000);
        /// Connections of one address of which no request was let in yet. Over it: closed without a word.
        strangers_per_address: u32 = 64, Whole(1, 1_000_000);
        /// Milliseconds in which a request's head must come; an idle connection is kept as long.
        header_timeout_ms: u64 = 10_000, Whole(10, HOUR_MS);
        /// Milliseconds in which a request's body must come.
        body_timeout_ms: u64 = 30_000, Whole(10, HOUR_MS);
        /// Milliseconds a client may read nothing while something waits for it; 0 for ever.
        write_stall_timeout_ms: u64 = 60_000, Whole(0, 24 * HOUR_MS);
        /// Largest request head, in bytes.
        header_bytes: u32 = 16 * 1024, Whole(8_192, 1024 * 1024);
        /// Largest request body, in bytes.
        body_bytes: u32 = 1024 * 1024, Whole(1_024, 256 * MIB);
        /// Seconds the session of an event stream outlives it, if the request says nothing.
        session_expiry_s: u32 = 24 * 60 * 60, Whole(1, u32::MAX as u64);
        /// The topics below which POST /v1/request awaits replies.
        response_topics: String = "responses".to_owned(), Text(1_024);
        /// File of the secret that signs tokens for browsers, at least 32 bytes; empty for no tokens.
        /// MQTT listeners take them as well.
        token_secret_file: String = String::new(), Text(4_096), reloads;
    }
}

section! {
    /// What outlives the process, and where.
    store Store {
        /// The folder of what outlives the process. Made if it is not there.
        path: String = "signalhouse-data".to_owned(), Text(4_096);
        /// When a message counts as safe: `strict` when synced, `relaxed` when written, `memory` at once.
        durability: String = "strict".to_owned(), Word(&["strict", "relaxed", "memory"]);
        /// With `relaxed`: milliseconds after which what is written is synced at the latest.
        sync_delay_ms: u64 = 100, Whole(1, 60_000);
        /// Length of the longest files of the log, in bytes. Longer records get longer ones.
        segment_bytes: u64 = 64 * MIB, Whole(16 * 1024, 4 * 1024 * MIB);
    }
}

impl Store {
    /// When a record counts as durable; `None` if nothing is kept.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        match self.durability.as_str() {
            "memory" => None,
            "relaxed" => Some(Level::Relaxed { sync_delay_ms: self.sync_delay_ms }),
            _ => Some(Level::Strict),
        }
    }
}

section! {
    /// What the broker says about itself.
    log Log {
        /// `text` for people, `json` for machines.
        format: String = "text".to_owned(), Word(&["text", "json"]);
        /// The least important lines that are still written.
        level: String = "info".to_owned(),
            Word(&["error", "warn", "info", "debug", "trace"]), reloads;
    }
}

section! {
    /// How the broker ends.
    stop Stop {
        /// Milliseconds in which clients must take their last packets after SIGTERM.
        drain_timeout_ms: u64 = 5_000, Whole(0, HOUR_MS), reloads;
    }
}

fn limits() -> limits::Limits {
    limits::Limits::default()
}

impl Limits {
    fn to_core(&self) -> limits::Limits {
        limits::Limits {
            connections: self.connections,
            sessions: self.sessions,
            connect_timeout_ms: self.connect_timeout_ms,
            maximum_packet_size_bytes: self.maximum_packet_size_bytes,
            receive_maximum: self.receive_maximum,
            topic_alias_maximum: self.topic_alias_maximum,
            topic_alias_outbound_maximum: self.topic_alias_outbound_maximum,
            client_id_bytes: self.client_id_bytes,
            maximum_qos: QoS::from_u8(self.maximum_qos).unwrap_or(QoS::ExactlyOnce),
            retain_available: self.retain_available,
            wildcard_subscription_available: self.wildcard_subscription_available,
            subscription_identifiers_available: self.subscription_identifiers_available,
            shared_subscription_available: self.shared_subscription_available,
            session_expiry_interval_maximum_s: self.session_expiry_interval_maximum_s,
            keep_alive_maximum_s: self.keep_alive_maximum_s,
            subscriptions_per_session: self.subscriptions_per_session,
            topic_levels: self.topic_levels,
            queue_messages: self.queue_messages,
            queue_bytes: self.queue_bytes,
            queue_memory_bytes: self.queue_memory_bytes,
            inflight_messages: self.inflight_messages,
            retained_messages: self.retained_messages,
            retained_bytes: self.retained_bytes,
            pipelined_packets: self.pipelined_packets,
            request_keys: self.request_keys,
            request_key_ms: self.request_key_ms,
            quota_holders: self.quota_holders,
        }
    }
}

/// The core's configuration that the settings describe.
pub(super) fn config(limits: &Limits, broker: &Broker) -> Config {
    let response = Some(broker.response_information.as_str()).filter(|base| !base.is_empty());
    Config {
        limits: limits.to_core(),
        queue_qos0_offline: broker.queue_qos0_offline,
        sys_interval_ms: broker.sys_interval_ms,
        response_information: response.and_then(|base| Text::try_from(base).ok()),
        time_jump_maximum_ms: broker.time_jump_maximum_ms,
        ..Config::default()
    }
}
