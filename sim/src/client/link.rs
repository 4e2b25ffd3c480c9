//! What a client knows of one connection, and forgets with it.

use std::collections::BTreeSet;

use super::acks::Acks;
use super::alias::Aliases;
use crate::codec::{self, Decoder, Terms};
use crate::history::ConnectionNumber;
use crate::packet::Property;
use crate::plan::ClientSpec;

/// How long a client waits for PINGRESP at least, in milliseconds.
const PING_PATIENCE_MS: u64 = 5_000;
/// How long a client that fell silent on purpose waits to be closed at least, in milliseconds.
const SILENCE_PATIENCE_MS: u64 = 20_000;

/// How many packets a client sends at most before CONNACK comes.
pub(super) const AHEAD_PACKETS: usize = 12;

/// A connection that was asked for.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) attempt: u64,
    pub(super) give_up_at_ms: u64,
    /// The way to misbehave on it instead of sending CONNECT.
    pub(super) way: Option<u8>,
}

/// A connection that lost its session and only waits for its end.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) connection: ConnectionNumber,
    pub(super) decoder: Decoder,
    /// Whether its CONNACK is in the history.
    pub(super) was_serving: bool,
    pub(super) close_at_ms: u64,
}

/// The connection of a session.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: ConnectionNumber,
    pub(super) decoder: Decoder,
    /// What CONNECT said.
    pub(super) clean_start: bool,
    /// Whether CONNACK came and accepted.
    pub(super) is_serving: bool,
    pub(super) server: Server,
    pub(super) acks: Acks,
    /// Identifiers of SUBSCRIBE and UNSUBSCRIBE that wait for their answer.
    pub(super) requests: BTreeSet<u16>,
    pub(super) aliases: Aliases,
    /// Filters, with their options, that wait for the SUBSCRIBE in which they go.
    pub(super) to_subscribe: Vec<(String, u8)>,
    /// Filters that wait for the UNSUBSCRIBE in which they go.
    pub(super) to_unsubscribe: Vec<String>,
    /// How many packets it may send before CONNACK comes.
    ahead_left: usize,
    keep_alive_ms: u64,
    last_sent_ms: u64,
    pinged_at_ms: Option<u64>,
    connack_by_ms: u64,
    silent_until_ms: Option<u64>,
    serving_since_ms: Option<u64>,
}

impl Link {
    pub(super) fn new(
        connection: ConnectionNumber,
        spec: &ClientSpec,
        clean_start: bool,
        connack_by_ms: u64,
    ) -> Self {
        let terms = Terms {
            level: spec.level,
            topic_alias_maximum: spec.topic_alias_maximum,
            maximum_packet_size_bytes: spec.maximum_packet_size_bytes,
        };
        Self {
            connection,
            decoder: Decoder::new(terms),
            clean_start,
            is_serving: false,
            server: Server::default(),
            acks: Acks::new(spec.by_its_clock_ms(spec.ack_delay_ms), spec.reorders_acks),
            requests: BTreeSet::new(),
            aliases: Aliases::default(),
            to_subscribe: Vec::new(),
            to_unsubscribe: Vec::new(),
            // CONNECT is one of them.
            ahead_left: if spec.pipelines { 1 + AHEAD_PACKETS } else { 0 },
            keep_alive_ms: spec.by_its_clock_ms(u64::from(spec.keep_alive_s) * 1_000),
            last_sent_ms: 0,
            pinged_at_ms: None,
            connack_by_ms,
            silent_until_ms: None,
            serving_since_ms: None,
        }
    }

    /// CONNACK accepted.
    pub(super) fn serve(&mut self, now_ms: u64, spec: &ClientSpec, properties: &[Property]) {
        self.is_serving = true;
        self.pinged_at_ms = self.pinged_at_ms.map(|_| now_ms);
        self.serving_since_ms = Some(now_ms);
        self.server = Server::of(properties);
        if let Some(keep_alive_s) = codec::number(properties, 0x13) {
            self.keep_alive_ms = spec.by_its_clock_ms(u64::from(keep_alive_s) * 1_000);
        }
    }

    /// For how long it has served, in milliseconds.
    pub(super) fn served_ms(&self, now_ms: u64) -> u64 {
        self.serving_since_ms.map_or(0, |since_ms| now_ms - since_ms)
    }

    pub(super) fn sent(&mut self, now_ms: u64) {
        self.last_sent_ms = now_ms;
    }

    pub(super) fn pinged(&mut self, now_ms: u64) {
        self.pinged_at_ms.get_or_insert(now_ms);
    }

    pub(super) fn ping_answered(&mut self) {
        self.pinged_at_ms = None;
    }

    /// A PINGRESP may have waited unread until now.
    pub(super) fn reads_again(&mut self, now_ms: u64) {
        self.pinged_at_ms = self.pinged_at_ms.map(|_| now_ms);
        self.connack_by_ms = self.connack_by_ms.max(now_ms + super::CONNECT_PATIENCE_MS);
    }

    /// From now on it sends nothing.
    pub(super) fn fall_silent(&mut self, now_ms: u64) {
        let patience_ms = (3 * self.keep_alive_ms).max(SILENCE_PATIENCE_MS);
        self.silent_until_ms = Some(now_ms + patience_ms);
    }

    /// Whether it fell silent.
    pub(super) fn is_silent(&self) -> bool {
        self.silent_until_ms.is_some()
    }

    /// Whether packets that only a session may send can be sent.
    pub(super) fn may_send(&self) -> bool {
        self.is_serving && self.silent_until_ms.is_none()
    }

    /// Whether it may send something that needs no session: from CONNACK on, or at once.
    pub(super) fn may_ask(&self) -> bool {
        self.may_send() || self.is_ahead()
    }

    /// Whether it may send something although CONNACK has not come.
    pub(super) fn is_ahead(&self) -> bool {
        !self.is_serving && self.ahead_left > 0 && self.silent_until_ms.is_none()
    }

    /// A packet was sent, maybe before CONNACK.
    pub(super) fn count_ahead(&mut self) {
        self.ahead_left = self.ahead_left.saturating_sub(1);
    }

    /// When it is time to send PINGREQ.
    pub(super) fn ping_at_ms(&self) -> Option<u64> {
        let wanted = self.may_send() && self.keep_alive_ms > 0;
        wanted.then(|| self.last_sent_ms + self.keep_alive_ms)
    }

    /// When the client gives the connection up, if nothing happens.
    pub(super) fn give_up_at_ms(&self, reading: bool) -> Option<u64> {
        if self.silent_until_ms.is_some() {
            return self.silent_until_ms;
        }
        // Who does not read cannot blame the broker for saying nothing.
        if !reading {
            return None;
        }
        if !self.is_serving {
            return Some(self.connack_by_ms);
        }
        let patience_ms = self.keep_alive_ms.max(PING_PATIENCE_MS);
        self.pinged_at_ms.map(|at_ms| at_ms + patience_ms)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.may_send()
            && self.acks.is_empty()
            && self.requests.is_empty()
            && self.pinged_at_ms.is_none()
            && self.decoder.unread_bytes() == 0
    }
}

/// What the broker demanded in CONNACK.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub(super) receive_maximum: u16,
    pub(super) maximum_qos: u8,
    pub(super) retain_available: bool,
    pub(super) maximum_packet_size_bytes: usize,
    pub(super) topic_alias_maximum: u16,
    pub(super) wildcards_available: bool,
    pub(super) subscription_ids_available: bool,
    pub(super) shares_available: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl Server {
    fn of(properties: &[Property]) -> Self {
        let number = |id| codec::number(properties, id);
        // The decoder has seen that these have the size that they are kept in.
        Self {
            receive_maximum: number(0x21).map_or(u16::MAX, |number| number as u16),
            maximum_qos: number(0x24).map_or(2, |number| number as u8),
            retain_available: number(0x25) != Some(0),
            maximum_packet_size_bytes: number(0x27).map_or(usize::MAX, |number| number as usize),
            topic_alias_maximum: number(0x22).map_or(0, |number| number as u16),
            wildcards_available: number(0x28) != Some(0),
            subscription_ids_available: number(0x29) != Some(0),
            shares_available: number(0x2A) != Some(0),
        }
    }
}
