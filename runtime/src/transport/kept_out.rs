//! Why a connection ended before it was the broker's: what the log, the list of the refused and the
//! metrics say of it.

use super::{DoorError, Kind, Refusal, TooMany};

/// Why a connection did not come as far as MQTT.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptOut {
    /// Too many are there that have not been let in.
    #[error("too many connections of which no client was let in ({})", bound(*.0))]
    Strangers(TooMany),
    /// Too many are there.
    #[error("too many connections (limits.connections)")]
    Connections,
    /// Its handshakes took too long.
    #[error("the handshake of {} took too long (network.handshake_timeout_ms)", .0.name())]
    HandshakeTimeout(Kind),
    /// It was refused in them.
    #[error("{0}")]
    Refused(Refusal),
    /// It went away during them.
    #[error("it went away during the handshake: {0}")]
    Gone(String),
}

impl KeptOut {
    /// Its label in the metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            KeptOut::Strangers(_) => "strangers",
            KeptOut::Connections => "connections",
            KeptOut::HandshakeTimeout(_) => "handshake_timeout",
            KeptOut::Refused(Refusal::Tls(_)) => "tls",
            KeptOut::Refused(Refusal::Certificate(_) | Refusal::Nameless) => "certificate",
            KeptOut::Refused(Refusal::WebSocket(_)) => "websocket",
            KeptOut::Gone(_) => "handshake_gone",
        }
    }
}

/// The setting that says how many there may be.
const fn bound(too_many: TooMany) -> &'static str {
    match too_many {
        TooMany::OfAddress => "network.strangers_per_address",
        TooMany::OfAll => "network.strangers",
    }
}

impl From<DoorError> for KeptOut {
    fn from(error: DoorError) -> Self {
        match error {
            DoorError::Refused(refusal) => KeptOut::Refused(refusal),
            DoorError::Network(error) => KeptOut::Gone(error.to_string()),
        }
    }
}
