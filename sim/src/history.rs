//! What was observed in a run, in the order of time: the oracle judges nothing else.

mod beside;

use crate::packet::Packet;
use crate::plan::{BrokerFault, ClientIndex, Denial, NetworkFault};

pub use beside::{Beside, Once, Permit, PermitRule, RuleList};

/// A connection of a run. Numbers rise and are never used again.
pub type ConnectionNumber = u64;

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in milliseconds since the start.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// What was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A client's connection was made.
    Opened {
        /// The client.
        client: ClientIndex,
        /// The connection.
        connection: ConnectionNumber,
    },
    /// A client handed a packet to the network. Whether it arrives is another matter.
    Sent {
        /// The connection.
        connection: ConnectionNumber,
        /// The packet.
        packet: Packet,
    },
    /// A client read a whole packet.
    Received {
        /// The connection.
        connection: ConnectionNumber,
        /// The packet, topic alias resolved in `alias_topic`.
        packet: Packet,
        /// The topic that an alias stands for.
        alias_topic: Option<String>,
        /// Bytes of the packet.
        size_bytes: usize,
    },
    /// A client read something that its strict decoder refuses.
    Undecodable {
        /// The connection.
        connection: ConnectionNumber,
        /// The guarantee that it breaks.
        guarantee: &'static str,
        /// Why.
        cause: String,
    },
    /// A client's connection is over: it saw the end, or ended it.
    Ended {
        /// The connection.
        connection: ConnectionNumber,
        /// Whether the client ended it itself.
        by_client: bool,
    },
    /// A client broke the protocol: nothing is owed to it on this connection any more.
    Misbehaved {
        /// The connection.
        connection: ConnectionNumber,
        /// Whether whole packets were sent for which the broker must end the connection.
        must_end: bool,
    },
    /// The client's reading or acknowledging was switched off or on.
    Holding {
        /// The client.
        client: ClientIndex,
        /// Whether it now reads and acknowledges.
        serving: bool,
    },
    /// The network between a client and the broker begins or stops to misbehave. What is read
    /// under it, and for a moment after it, may be of any age.
    Network {
        /// The client.
        client: ClientIndex,
        /// What it does.
        fault: NetworkFault,
    },
    /// The broker's process.
    Broker(BrokerFault),
    /// The wall clock of the broker's host was set.
    WallClock {
        /// By how much, in milliseconds; below 0 for back.
        by_ms: i64,
    },
    /// The rules of who may do what were replaced: all that is denied now.
    Denied(Vec<Denial>),
    /// The broker said that it dropped a message for a receiver, or refused a client's will.
    Dropped {
        /// The client identifier, or a share's whole filter.
        receiver: String,
        /// The topic.
        topic: String,
        /// The cause's name, as in the broker's notice, or [`What::WILL_REFUSED`].
        cause: String,
    },
    /// What no packet tells.
    Beside(Beside),
    /// What the broker keeps, told by the engine between two of the broker's inputs.
    Kept(Kept),
    /// The faults are over and the clients that live come back.
    Calm,
    /// A client that lives is not let in, shortly before the end.
    Absent {
        /// The client.
        client: ClientIndex,
    },
    /// The plan's bound has passed since: all that is owed must have happened.
    End,
}

/// What the broker keeps at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Every session that outlives its connection.
    pub sessions: Vec<KeptSession>,
    /// For each share with messages that wait for a member, those.
    pub shares: Vec<Waiting>,
    /// Topics with a retained message.
    pub retained: Vec<String>,
}

/// What the broker keeps of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptSession {
    /// Whose it is.
    pub client_id: String,
    /// The client's QoS 2 publications that are not released.
    pub inbound: usize,
    /// Messages that wait for the client.
    pub waiting: Waiting,
    /// Exchanges with the client that have begun and not ended.
    pub under_way: usize,
}

/// Messages that wait for somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub messages: usize,
    /// Bytes of their topics, payloads and properties.
    pub bytes: u64,
}

impl Waiting {
    /// One more waits.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

impl What {
    /// The cause in [`What::Dropped`] of a will that the broker refused.
    pub const WILL_REFUSED: &str = "WillRefused";
}

/// What a checker found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The guarantee: `Q1`, `OR`, ...
    pub guarantee: &'static str,
    /// What is wrong, with what was expected and what was observed.
    pub what: String,
    /// Places in the history that matter, first to last.
    pub events: Vec<usize>,
}

/// Judges a history against one guarantee.
pub trait Checker {
    /// The guarantee's code.
    fn guarantee(&self) -> &'static str;

    /// Takes the next event and tells what is wrong, if anything.
    fn event(&mut self, index: usize, event: &Event) -> Result<(), Violation>;
}
