//! What went over the connections of a transcript, as bytes, and what was ordered and asked beside them.

use std::sync::Arc;

use bytes::Bytes;
use signalhouse_core::credential::Credential;
use signalhouse_core::input::Publisher;
use signalhouse_core::permission::Permissions;
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{Answer, ConnectionId, Notice};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Observed {
    /// A connection was opened.
    Opened { connection: ConnectionId },
    /// A client sent a packet.
    Sent { connection: ConnectionId, bytes: Bytes },
    /// A client sent something that is no packet.
    Malformed { connection: ConnectionId },
    /// A client read a packet.
    Read { connection: ConnectionId, bytes: Bytes },
    /// The broker closed a connection.
    Closed { connection: ConnectionId },
    /// A client's end of a connection is gone.
    Gone { connection: ConnectionId },
    /// The power was cut, and the broker has recovered.
    Crashed,
    /// The operator published what this PUBLISH says.
    Ordered { bytes: Bytes },
    /// A client has proved who it is.
    Accepted { connection: ConnectionId, identity: Option<Text>, credential: Box<Credential> },
    /// The operator replaced the rules.
    Ruled(Arc<Permissions>),
    /// The operator ended a client's session.
    SessionEnded { client_id: Text },
    /// The operator has a client sent away with this reason; where none is named, everybody.
    SentAway { client_id: Option<Text>, reason: ReasonCode },
    /// Who was asked says that a client may not come in, or not stay.
    Refused { connection: ConnectionId, reason: ReasonCode },
    /// The operator confirmed the time.
    TimeConfirmed,
    /// So much time has passed since the running broker was last called.
    Stepped { by_ms: u64 },
    /// Somebody without a connection, or the operator, asked to publish what this PUBLISH says.
    Requested { bytes: Bytes, ticket: u64, once: Option<Text>, publisher: Option<Box<Publisher>> },
    /// Such a request was answered.
    Answered(Answer),
    /// The broker noticed something; with the topic of a message that it names by its number.
    Noticed(Notice, Option<Topic>),
}
