//! A plan: everything a run does, decided before it starts.
//!
//! A seed expands to a plan; a shrunk failure is one; a person can write one. What happens by
//! chance during the run (latencies, splits, torn writes) comes from streams of its own, derived
//! from the plan's seed and the stream's name.

mod draw;
mod profiles;
mod text;

pub use draw::{bound_ms, draw};
pub use profiles::Profile;
pub use text::PlanError;

use crate::disk::Operation;

/// A client of the plan, by its place in [`Plan::clients`].
pub type ClientIndex = usize;

/// Everything a run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Seeds the streams of chance.
    pub seed: u64,
    /// The profile it was drawn for.
    pub profile: String,
    /// Settings of the broker that differ from the default, by name.
    pub settings: Vec<(String, u64)>,
    /// The clients.
    pub clients: Vec<ClientSpec>,
    /// What happens, in the order of time.
    pub steps: Vec<Step>,
    /// When the faults end and the clients that live come back.
    pub calm_at_ms: u64,
    /// Clients that stay away once the faults have ended.
    pub dead: Vec<ClientIndex>,
    /// How long after `calm_at_ms` everything owed must have happened.
    pub bound_ms: u64,
}

/// How a client behaves unless a step says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSpec {
    /// Client identifier; several clients may share one.
    pub client_id: String,
    /// Protocol level: 3, 4 or 5.
    pub level: u8,
    /// Session expiry interval, in seconds.
    pub session_expiry_interval_s: u32,
    /// Keep alive, in seconds; 0 for none.
    pub keep_alive_s: u16,
    /// Receive maximum.
    pub receive_maximum: u16,
    /// Receive maximum from its second attempt to connect on; 0 for the same.
    pub later_receive_maximum: u16,
    /// Maximum packet size, in bytes; 0 for none.
    pub maximum_packet_size_bytes: u32,
    /// Topic alias maximum.
    pub topic_alias_maximum: u16,
    /// How long it takes to acknowledge, in milliseconds, at most.
    pub ack_delay_ms: u64,
    /// Whether it acknowledges out of order where that is allowed.
    pub reorders_acks: bool,
    /// Whether it comes back by itself when its connection is lost, and after how long.
    pub reconnect_after_ms: Option<u64>,
    /// Whether it forgets its side of the session when its connection is lost.
    pub forgets: bool,
    /// How fast its clock goes, in percent of the true time.
    pub clock_percent: u8,
    /// Whether it proves to be somebody else than the others with its identifier.
    pub stranger: bool,
    /// Whether it sends what it has right behind CONNECT, without waiting for CONNACK.
    pub pipelines: bool,
    /// Whether it uses topic aliases, where the broker takes any.
    pub aliases: bool,
    /// Whether it refuses, in PUBACK or PUBREC, some of what it is sent.
    pub refuses: bool,
}

impl ClientSpec {
    /// How long it truly takes until so much time has passed by its clock, in milliseconds.
    #[must_use]
    pub fn by_its_clock_ms(&self, ms: u64) -> u64 {
        ms.saturating_mul(100) / u64::from(self.clock_percent.max(1))
    }
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, in milliseconds since the start.
    pub at_ms: u64,
    /// What.
    pub what: Do,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// A client connects, replacing a connection it has.
    Connect {
        /// The client.
        client: ClientIndex,
        /// Clean start.
        clean_start: bool,
        /// Will.
        will: Option<WillSpec>,
    },
    /// A client subscribes, if it is connected.
    Subscribe {
        /// The client.
        client: ClientIndex,
        /// The filter.
        filter: String,
        /// Maximum QoS.
        qos: u8,
        /// No Local.
        no_local: bool,
        /// Retain As Published.
        retain_as_published: bool,
        /// Retain Handling.
        retain_handling: u8,
        /// Subscription identifier; 0 for none. Of filters that go in one packet, that of the last.
        subscription_id: u32,
        /// Whether it goes in one packet with the client's next one.
        joined: bool,
    },
    /// A client unsubscribes, if it is connected.
    Unsubscribe {
        /// The client.
        client: ClientIndex,
        /// The filter.
        filter: String,
        /// Whether it goes in one packet with the client's next one.
        joined: bool,
    },
    /// A client publishes, at once or when it is next connected and has quota. Its payload is a
    /// token, so that the oracle knows every message.
    Publish {
        /// The client.
        client: ClientIndex,
        /// The topic.
        topic: String,
        /// QoS.
        qos: u8,
        /// RETAIN.
        retain: bool,
        /// Bytes that fill up the payload behind its token. With `clears`, there is no payload.
        fill_bytes: u32,
        /// An empty payload.
        clears: bool,
        /// Message expiry interval, in seconds; 0 for none.
        expiry_s: u32,
        /// User properties to add.
        user_properties: u8,
    },
    /// A client sends PINGREQ.
    Ping {
        /// The client.
        client: ClientIndex,
    },
    /// A client sends DISCONNECT and closes.
    Disconnect {
        /// The client.
        client: ClientIndex,
        /// Reason code.
        reason: u8,
        /// A new session expiry interval, in seconds.
        session_expiry_interval_s: Option<u32>,
    },
    /// A client vanishes: its end of the connection is reset, and it comes back by a step or, if
    /// it does so by itself, after a while.
    Vanish {
        /// The client.
        client: ClientIndex,
    },
    /// A client sends bytes that break the protocol. From then on nothing is owed to it.
    Misbehave {
        /// The client.
        client: ClientIndex,
        /// Which of the ways of misbehaving.
        way: u8,
    },
    /// A client stops reading, or reads again.
    Reading {
        /// The client.
        client: ClientIndex,
        /// Whether it reads.
        on: bool,
    },
    /// A client withholds its acknowledgements, or gives them again.
    Acknowledging {
        /// The client.
        client: ClientIndex,
        /// Whether it acknowledges.
        on: bool,
    },
    /// A client stops sending PINGREQ, or sends it again.
    Pinging {
        /// The client.
        client: ClientIndex,
        /// Whether it pings in time.
        on: bool,
    },
    /// The network between a client and the broker.
    Network {
        /// The client.
        client: ClientIndex,
        /// What it does.
        fault: NetworkFault,
    },
    /// The broker's process.
    Broker(BrokerFault),
    /// The broker's host stands still, or goes on: nothing is read, written or noticed.
    Frozen {
        /// Whether it stands still.
        on: bool,
    },
    /// The wall clock of the broker's host is set. What runs does not notice; what starts does.
    WallClock {
        /// By how much, in milliseconds; below 0 for back.
        by_ms: i64,
    },
    /// The operator denies something more.
    Deny(Denial),
    /// The operator allows everything again.
    AllowAll,
    /// The operator gives an order. While the broker is down, nobody hears it.
    Order(Order),
    /// The broker's disk: nothing becomes durable while it is off.
    DiskSyncs {
        /// Whether syncs complete.
        on: bool,
    },
    /// Something else with the broker's disk, of which only the runtime layer has all.
    Disk(DiskFault),
}

/// What the operator orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A client is sent away.
    Disconnect {
        /// The client identifier.
        client_id: String,
    },
    /// A client is sent away, and its session ends.
    EndSession {
        /// The client identifier.
        client_id: String,
    },
    /// The store is copied while the broker runs on. Only the runtime layer has one.
    Backup,
}

/// What the operator denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The client identifier; empty for all clients.
    pub client_id: String,
    /// The topics, as a filter. One that begins with a wildcard reaches topics with `$` too.
    pub filter: String,
    /// To publish there, wills included.
    pub publish: bool,
    /// To subscribe there and to be sent anything.
    pub read: bool,
}

/// A will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillSpec {
    /// Topic.
    pub topic: String,
    /// QoS.
    pub qos: u8,
    /// Retain.
    pub retain: bool,
    /// Will delay interval, in seconds.
    pub delay_s: u32,
    /// Message expiry interval, in seconds; 0 for none.
    pub expiry_s: u32,
}

/// What the network does to one client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// Data is held back in both directions, to arrive later in order.
    Hold,
    /// What was held arrives.
    Release,
    /// Data to the broker is lost for good; the connection is dead in that direction.
    BlackHoleToBroker,
    /// Data to the client is lost for good; the connection is dead in that direction.
    BlackHoleToClient,
    /// Both ends see a reset.
    Reset,
    /// The client's sending side is closed in order; it goes on reading.
    HalfClose,
    /// What the client sends trickles, until the release.
    Drip,
    /// Connections that the client asks for are never made, until the release.
    Unreachable,
}

/// What happens to the broker's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// The next operations of a kind fail with an input/output error.
    Fail {
        /// The kind.
        operation: Operation,
        /// How many.
        count: u32,
    },
    /// Only so much more fits on it, in bytes; with `None`, there is no end of space again.
    Space {
        /// How much.
        left_bytes: Option<u64>,
    },
    /// A bit changes at rest.
    Rot {
        /// Decides where.
        place: u64,
    },
}

/// What happens to the broker's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerFault {
    /// The process is killed: peers see their connections end, written data stays.
    Kill,
    /// The power is cut: peers see nothing, data not synced may be lost.
    PowerCut,
    /// An orderly stop.
    Stop,
    /// It is started again.
    Start,
}
