//! What every packet begins with: its type, its flags and its remaining length.

use core::fmt;

use super::error::DecodeError;
use super::types::Version;

/// The largest value of a variable byte integer, and so the longest body of a packet in bytes.
pub const VARIABLE_MAX: u32 = 268_435_455;

/// The sender of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire) enum Side {
    Client,
    Server,
}

macro_rules! packet_types {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        /// The control packets by their number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PacketType {
            $(#[doc = $text] $name = $value,)*
        }

        impl PacketType {
            /// The packet type with this number, or `None` for 0, which is forbidden, and for
            /// numbers above 15.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(PacketType::$name),)*
                    _ => None,
                }
            }

            /// The name that the standard writes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(PacketType::$name => $text,)*
                }
            }
        }
    };
}

packet_types! {
    Connect = 1, "CONNECT";
    ConnAck = 2, "CONNACK";
    Publish = 3, "PUBLISH";
    PubAck = 4, "PUBACK";
    PubRec = 5, "PUBREC";
    PubRel = 6, "PUBREL";
    PubComp = 7, "PUBCOMP";
    Subscribe = 8, "SUBSCRIBE";
    SubAck = 9, "SUBACK";
    Unsubscribe = 10, "UNSUBSCRIBE";
    UnsubAck = 11, "UNSUBACK";
    PingReq = 12, "PINGREQ";
    PingResp = 13, "PINGRESP";
    Disconnect = 14, "DISCONNECT";
    Auth = 15, "AUTH";
}

impl PacketType {
    /// The first byte of a packet whose flags are reserved; a PUBLISH adds its flags to it.
    pub(in crate::wire) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.reserved_flags()
    }

    /// What the four flag bits hold when they are reserved.
    const fn reserved_flags(self) -> u8 {
        match self {
            // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            PacketType::Connect
            | PacketType::ConnAck
            | PacketType::Publish
            | PacketType::PubAck
            | PacketType::PubRec
            | PacketType::PubComp
            | PacketType::SubAck
            | PacketType::UnsubAck
            | PacketType::PingReq
            | PacketType::PingResp
            | PacketType::Disconnect
            | PacketType::Auth => 0,
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The type of a packet with this first byte, its flags found in order.
///
/// `version` is `None` as long as no CONNECT was read.
pub(in crate::wire) fn packet_type(
    first_byte: u8,
    version: Option<Version>,
) -> Result<PacketType, DecodeError> {
    let packet = PacketType::from_u8(first_byte >> 4).ok_or(DecodeError::PacketTypeZero)?;
    // PUBLISH gives its flags a meaning; 3.1 calls them unused elsewhere, and may set DUP.
    if packet == PacketType::Publish || version == Some(Version::V31) {
        return Ok(packet);
    }
    let flags = first_byte & 0x0f;
    // [MQTT-2.1.3-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
    if flags != packet.reserved_flags() {
        return Err(DecodeError::ReservedFlags { packet, flags });
    }
    Ok(packet)
}

/// The variable byte integer at the front of `bytes` and its length in bytes; `None` if it goes on
/// behind their end.
pub(in crate::wire) fn read_variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    let mut shift = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            // [MQTT-1.5.5-1]
            if *byte == 0 && index > 0 {
                return Err(DecodeError::VariableOverlong);
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(DecodeError::VariableTooLong) }
}

/// How many bytes a variable byte integer takes.
pub(in crate::wire) const fn variable_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000.. => 4,
    }
}

/// The size of a packet whose body has `body_bytes`; `usize::MAX` if no packet can hold it.
pub(in crate::wire) fn packet_len(body_bytes: usize) -> usize {
    match u32::try_from(body_bytes) {
        Ok(remaining) if remaining <= VARIABLE_MAX => 1 + variable_len(remaining) + body_bytes,
        Ok(_) | Err(_) => usize::MAX,
    }
}
