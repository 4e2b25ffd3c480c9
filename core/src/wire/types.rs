//! The small types that packets are made of: versions, qualities of service, packet ids, strings.

use alloc::string::String;
use core::fmt;
use core::num::NonZeroU16;
use core::ops::Deref;

use bytes::Bytes;

use super::scan::is_plain;

/// The protocol version a connection speaks, fixed by its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V311,
    /// MQTT 5.0: protocol name `MQTT`, level 5.
    V5,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5",
        })
    }
}

/// Quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: no acknowledgement.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: acknowledged, may repeat.
    AtLeastOnce = 1,
    /// QoS 2: acknowledged in two steps, never repeats.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS with this number, or `None` for anything above 2.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

impl fmt::Display for QoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", *self as u8)
    }
}

/// A packet identifier as it stands on the wire, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest packet identifier.
    pub const MIN: PacketId = PacketId(NonZeroU16::MIN);

    /// `None` when `value` is zero, which no packet may carry.
    #[must_use]
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(PacketId(value)),
            None => None,
        }
    }

    /// The number, 1 to 65535.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A packet identifier that the client chose, for its own requests and publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundPacketId(pub PacketId);

/// A packet identifier that the broker chose, for a delivery to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundPacketId(pub PacketId);

/// How one PUBLISH travels: its QoS together with the packet identifier that the QoS calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery<Id> {
    /// QoS 0, which has no packet identifier `[MQTT-2.2.1-2]`.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce(Id),
    /// QoS 2.
    ExactlyOnce(Id),
}

impl<Id> Delivery<Id> {
    /// The QoS of this delivery.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        match self {
            Delivery::AtMostOnce => QoS::AtMostOnce,
            Delivery::AtLeastOnce(_) => QoS::AtLeastOnce,
            Delivery::ExactlyOnce(_) => QoS::ExactlyOnce,
        }
    }
}

/// A UTF-8 encoded string of the protocol: well-formed, without U+0000, at most 65,535 bytes.
///
/// A cheap slice of the buffer that it was read from; [`Text::compact`] lets go of that buffer.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

impl Text {
    /// The longest string the length field can carry, in bytes.
    pub const MAX_BYTES: usize = u16::MAX as usize;

    /// Checks `bytes` and takes them as they are.
    ///
    /// # Errors
    /// [`TextError`] names the rule that the bytes break.
    pub fn new(bytes: Bytes) -> Result<Self, TextError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(TextError::TooLong);
        }
        // Nearly all are plain, and then this is all there is to check.
        if is_plain(&bytes) {
            return Ok(Text(bytes));
        }
        // [MQTT-1.5.4-1] surrogates are ill-formed UTF-8 and fail here too.
        // [MQTT-1.5.4-3] U+FEFF is kept like any other character.
        let text = core::str::from_utf8(&bytes).map_err(|_| TextError::IllFormed)?;
        // [MQTT-1.5.4-2]
        if text.as_bytes().contains(&0) {
            return Err(TextError::Null);
        }
        Ok(Text(bytes))
    }

    /// One of our own, which keeps to the rules.
    pub(crate) const fn from_static(text: &'static str) -> Self {
        Text(Bytes::from_static(text.as_bytes()))
    }

    /// What was a text before, and kept in a way that cannot have changed it.
    pub(crate) const fn of_text(bytes: Bytes) -> Self {
        Text(bytes)
    }

    /// The string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // `new` is the only way in and has checked the bytes; `unsafe` is forbidden here, so the
        // check is paid again. Hot paths use `as_bytes`.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The string's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the string has no characters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same string in storage of its own, so that it does not keep a read buffer alive.
    #[must_use]
    pub fn compact(&self) -> Text {
        Text(Bytes::copy_from_slice(&self.0))
    }
}

impl TryFrom<&str> for Text {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        Text::new(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl TryFrom<String> for Text {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Text::new(Bytes::from(text.into_bytes()))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why bytes are not a string of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Longer than [`Text::MAX_BYTES`].
    #[error("a string is longer than 65535 bytes")]
    TooLong,
    /// Not well-formed UTF-8.
    #[error("a string is not well-formed UTF-8")]
    IllFormed,
    /// Contains U+0000.
    #[error("a string contains U+0000")]
    Null,
}
