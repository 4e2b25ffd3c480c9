//! A codec of the suite's own: packets as bytes, free to be wrong on the way out, strict on the
//! way in.
//!
//! Formats only. Who sends what, and when, is the business of [`client`](crate::client) and the
//! cases.

pub mod build;
pub mod encode;
pub mod packet;
pub mod parse;
pub mod property;

/// A protocol version, as the level byte of CONNECT gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1.
    V3,
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// The level byte.
    #[must_use]
    pub fn level(self) -> u8 {
        match self {
            Version::V3 => 3,
            Version::V4 => 4,
            Version::V5 => 5,
        }
    }

    /// The protocol name that goes with it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Version::V3 => "MQIsdp",
            Version::V4 | Version::V5 => "MQTT",
        }
    }
}

/// A packet that is framed and not yet looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Type and flags.
    pub first: u8,
    /// All behind the remaining length.
    pub body: Vec<u8>,
}

impl Frame {
    /// The packet type, 1 to 15.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The frame as it goes over the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        framed(self.first, &self.body)
    }

    /// The length that the head of `buffer` declares, if it is there.
    #[must_use]
    pub fn declared(buffer: &[u8]) -> Option<usize> {
        let (length, used) = variable(buffer.get(1..)?).ok().flatten()?;
        Some(1 + used + length as usize)
    }

    /// Takes the first whole frame off `buffer`; `None` until there is one.
    ///
    /// # Errors
    /// A remaining length that is too long, or longer than it need be.
    pub fn take(buffer: &mut Vec<u8>) -> Result<Option<Frame>, String> {
        let Some((&first, rest)) = buffer.split_first() else { return Ok(None) };
        let Some((length, used)) = variable(rest)? else { return Ok(None) };
        let (start, end) = (1 + used, 1 + used + length as usize);
        let Some(body) = buffer.get(start..end) else { return Ok(None) };
        let frame = Frame { first, body: body.to_vec() };
        buffer.drain(..end);
        Ok(Some(frame))
    }
}

/// A packet of this first byte and body, its length in front.
#[must_use]
pub fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_variable(&mut bytes, u32::try_from(body.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(body);
    bytes
}

/// Appends a variable byte integer in the fewest bytes.
pub fn put_variable(bytes: &mut Vec<u8>, mut value: u32) {
    loop {
        let low = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// Appends a string or binary value behind its two bytes of length.
pub fn put_counted(bytes: &mut Vec<u8>, content: &[u8]) {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(content);
}

/// Reads a variable byte integer: its value and length, `None` if `bytes` end before it does.
fn variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, String> {
    let mut value = 0_u32;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if index > 0 && *byte == 0 {
                return Err("[MQTT-1.5.5-1] a variable byte integer longer than need be".into());
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 {
        return Err("[MQTT-1.5.5-1] a variable byte integer of more than four bytes".into());
    }
    Ok(None)
}

/// Bytes as hexadecimal, for messages.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    hex_of(bytes, 64)
}

/// Bytes as hexadecimal, for the log of a connection: whole, unless there are thousands.
#[must_use]
pub fn hex_whole(bytes: &[u8]) -> String {
    hex_of(bytes, 4_096)
}

fn hex_of(bytes: &[u8], most: usize) -> String {
    let shown: Vec<String> = bytes.iter().take(most).map(|byte| format!("{byte:02X}")).collect();
    let more = if bytes.len() > most { " …" } else { "" };
    format!("{}{more}", shown.join(" "))
}
