//! What went over the connections of a transcript, as bytes.

use bytes::Bytes;
use signalhouse_core::{ConnectionId, Notice};

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
    /// The broker noticed something.
    Noticed(Notice),
}
