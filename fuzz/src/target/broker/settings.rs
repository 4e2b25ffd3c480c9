//! What the first byte of an input decides: how the broker is configured.

use signalhouse_core::wire::types::QoS;
use signalhouse_core::{Config, Limits};

use super::names;

/// How long a request's key is known.
pub(super) const REQUEST_KEY_MS: u64 = 100_000;

/// So many keys that none is forgotten for want of room.
const REQUEST_KEYS: u32 = 10_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings(u8);

impl Settings {
    pub(super) const fn new(byte: u8) -> Self {
        Settings(byte)
    }

    const fn has(self, bit: u8) -> bool {
        self.0 & 1 << bit != 0
    }

    /// Whether messages come back from the journal only in steps of their own.
    pub(super) const fn fetches_slowly(self) -> bool {
        self.has(3)
    }

    /// Whether a request's key is known as long as it should be.
    pub(super) const fn keeps_keys(self) -> bool {
        !self.has(6)
    }

    pub(super) fn config(self) -> Config {
        let mut limits = Limits {
            queue_messages: 8,
            inflight_messages: 4,
            receive_maximum: 4,
            retained_messages: 4,
            queue_memory_bytes: if self.has(4) { 0 } else { 300 },
            sessions: 6,
            subscriptions_per_session: 5,
            request_key_ms: REQUEST_KEY_MS,
            request_keys: if self.keeps_keys() { REQUEST_KEYS } else { 2 },
            ..Limits::default()
        };
        if self.has(5) {
            limits = Limits {
                maximum_qos: QoS::AtLeastOnce,
                retain_available: false,
                wildcard_subscription_available: false,
                subscription_identifiers_available: false,
                shared_subscription_available: false,
                session_expiry_interval_maximum_s: 20,
                keep_alive_maximum_s: 10,
                connections: 3,
                topic_levels: 2,
                ..limits
            };
        }
        if self.has(6) {
            limits = Limits {
                queue_messages: 100,
                queue_bytes: 200,
                retained_bytes: 100,
                pipelined_packets: 2,
                quota_holders: 2,
                ..limits
            };
        }
        let methods =
            if self.has(1) { 0..names::METHODS_SUPPORTED } else { 0..0 }.map(names::method);
        Config {
            limits,
            ask_credentials: self.has(0),
            authentication_methods: methods.collect(),
            queue_qos0_offline: self.has(2),
            response_information: self.has(7).then(|| names::text("answers")),
            sys_interval_ms: if self.has(7) { 0 } else { 60_000 },
            ..Config::default()
        }
    }
}
