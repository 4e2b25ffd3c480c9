//! The formats of MQTT 5.0, 3.1.1 and 3.1: packets as values, and their bytes.
//!
//! Nothing here knows of sessions, subscriptions or time. A connection has one [`Reader`] and one
//! [`Writer`], which settle framing and topic aliases at the edge.

pub mod packet;
pub mod property;
pub mod reason;
pub mod types;

/// Why bytes are not a packet that the peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Placeholder until the decoder is in.
    #[error("malformed packet")]
    Malformed,
}

impl DecodeError {
    /// The reason code it stands for.
    #[must_use]
    pub const fn reason(&self) -> reason::ReasonCode {
        reason::ReasonCode::MalformedPacket
    }
}
