//! What no packet tells: what an operator did, who a client is, the broker's clock, and requests of those who
//! have no connection.

use std::collections::BTreeMap;

use super::ConnectionNumber;

/// One such thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// A client has proved who it is, which its user name need not be.
    Identified {
        /// The connection.
        connection: ConnectionNumber,
        /// Who it is; `None` for somebody unknown.
        identity: Option<String>,
    },
    /// The rules that hold from now on, by client identifier. Who is not among them may do everything.
    Permitted(BTreeMap<String, Permit>),
    /// The operator ended the session of this client.
    SessionEnded {
        /// The client identifier.
        client_id: String,
    },
    /// The operator has a client sent away, or everybody.
    SentAway {
        /// The client identifier; `None` for everybody who is connected.
        client_id: Option<String>,
        /// What they are to be told in DISCONNECT.
        reason: u8,
    },
    /// Who was asked whether a client may come in, or stay, has said no.
    Refused {
        /// The connection.
        connection: ConnectionNumber,
        /// The reason code given.
        reason: u8,
    },
    /// Since the broker last looked at its clock, while it ran, so much time has passed.
    ClockStepped {
        /// In milliseconds.
        by_ms: u64,
    },
    /// The operator confirmed what the clock shows.
    TimeConfirmed,
    /// What comes on a connection is a request of somebody who has none: its one PUBLISH is answered by
    /// [`Beside::Answered`], at every QoS.
    Requested {
        /// The connection that stands for it.
        connection: ConnectionNumber,
        /// The key under which it must be carried out only once.
        once: Option<Once>,
    },
    /// The answer to such a request.
    Answered {
        /// The connection that stands for it.
        connection: ConnectionNumber,
        /// As in PUBACK.
        reason: u8,
        /// Whether it is said to be that of an earlier request under the same key.
        is_repeated: bool,
    },
}

/// The key of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Once {
    /// Whose key it is; `None` for somebody unknown.
    pub identity: Option<String>,
    /// The key.
    pub key: String,
}

/// What one client may do: what every list allows, and to read its inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// Lists of rules that are about this client, variables replaced by what they stand for.
    pub lists: Vec<RuleList>,
    /// The topic that it may read in any case.
    pub inbox: Option<String>,
}

/// Rules in their order: the first that is about an action and a topic decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleList {
    /// The rules.
    pub rules: Vec<PermitRule>,
    /// What holds where no rule decides: whether it is allowed.
    pub default_allows: bool,
}

/// One rule about one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermitRule {
    /// Whether it allows.
    pub allows: bool,
    /// Whether it is about publishing.
    pub publish: bool,
    /// Whether it is about subscribing.
    pub subscribe: bool,
    /// Whether it is about being sent messages.
    pub receive: bool,
    /// The topics that it is about, as a topic filter.
    pub pattern: String,
}
