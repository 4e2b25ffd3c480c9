//! What is asked of a broker.

use std::time::Duration;

use signalhouse_core::wire::types::{QoS, Version};

/// The version that the load speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 5.0.
    V5,
    /// MQTT 3.1.1.
    V311,
}

impl Protocol {
    pub(super) fn version(self) -> Version {
        match self {
            Protocol::V5 => Version::V5,
            Protocol::V311 => Version::V311,
        }
    }
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each of so many publishers to a subscriber of its own.
    Pairs(u32),
    /// One publisher to so many subscribers.
    FanOut(u32),
    /// So many publishers to one subscriber with a `+`.
    FanIn(u32),
    /// One publisher, whose every message matches one of `filters`, half of them with `+`, held by
    /// `clients`.
    Matching {
        /// Subscriptions in all.
        filters: u32,
        /// Clients that hold them.
        clients: u32,
    },
    /// `messages` in all for `sessions` that are away, and that then come for them.
    Offline {
        /// Sessions.
        sessions: u32,
        /// Messages, over all sessions.
        messages: u32,
    },
    /// So many connections that connect and subscribe.
    Connect(u32),
    /// So many connections that do nothing.
    Idle(u32),
}

impl Shape {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Shape::Pairs(_) => "pairs",
            Shape::FanOut(_) => "fan-out",
            Shape::FanIn(_) => "fan-in",
            Shape::Matching { .. } => "matching",
            Shape::Offline { .. } => "offline",
            Shape::Connect(_) => "connect",
            Shape::Idle(_) => "idle",
        }
    }
}

/// A shape with everything that goes with it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Who talks to whom.
    pub shape: Shape,
    /// At which QoS, for publishing and subscribing.
    pub qos: QoS,
    /// Bytes of each payload, 16 at least.
    pub payload_bytes: usize,
    /// The version spoken.
    pub protocol: Protocol,
    /// How long nothing is counted.
    pub warmup: Duration,
    /// How long is counted.
    pub duration: Duration,
    /// Publications of one publisher in one write at most.
    pub burst: u32,
    /// Publications that have not arrived everywhere, for each publisher at most.
    pub ahead: u32,
    /// Publications without an acknowledgement, for each publisher at most.
    pub window: u32,
    /// Messages a second over all publishers, at fixed moments; as many as go if `None`.
    pub rate: Option<f64>,
    /// Loopback addresses that connections come from, beginning with 127.0.0.1.
    pub sources: u8,
}

impl Scenario {
    /// What it is, for a report.
    #[must_use]
    pub fn describe(&self) -> String {
        let size = match self.shape {
            Shape::Pairs(clients)
            | Shape::FanOut(clients)
            | Shape::FanIn(clients)
            | Shape::Connect(clients)
            | Shape::Idle(clients) => clients.to_string(),
            Shape::Matching { filters, clients } => format!("{filters} over {clients}"),
            Shape::Offline { sessions, messages } => format!("{messages} for {sessions}"),
        };
        let protocol = match self.protocol {
            Protocol::V5 => "5.0",
            Protocol::V311 => "3.1.1",
        };
        let rate = self.rate.map_or(String::new(), |rate| format!(", {rate}/s"));
        format!(
            "{} {size}, QoS {}, {} bytes, MQTT {protocol}{rate}",
            self.shape.name(),
            self.qos as u8,
            self.payload_bytes,
        )
    }
}
