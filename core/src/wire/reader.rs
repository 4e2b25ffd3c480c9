//! The broker's side of reading: from a client's stream to its packets, one reader a connection.
//!
//! Order is judged only as far as bytes need it: CONNECT comes first and once.

use alloc::boxed::Box;

use bytes::BytesMut;

use super::alias::InboundAliases;
use super::decode;
use super::decode::connect;
use super::decode::cursor::Cursor;
use super::error::DecodeError;
use super::frame::{self, PacketType};
use super::framing::Frame;
use super::packet::ClientPacket;
use super::types::Version;

/// What a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderLimits {
    /// Largest packet, in bytes, its fixed header included.
    pub maximum_packet_size_bytes: u32,
    /// Highest topic alias that the other side may use; 0 for none. The reader holds at most so
    /// many topics.
    pub topic_alias_maximum: u16,
    /// Largest first packet, in bytes. The smaller of this and the maximum packet size counts.
    pub connect_maximum_bytes: u32,
}

impl Default for ReaderLimits {
    /// No limit on sizes, no topic aliases.
    fn default() -> Self {
        ReaderLimits {
            maximum_packet_size_bytes: u32::MAX,
            topic_alias_maximum: 0,
            connect_maximum_bytes: u32::MAX,
        }
    }
}

/// Reads the packets of one client. Pure: it sees bytes, and neither waits nor allocates for bytes
/// that have not come.
#[derive(Debug)]
pub struct Reader {
    limits: ReaderLimits,
    version: Option<Version>,
    answer_version: Option<Version>,
    aliases: InboundAliases,
    missing_bytes: usize,
    fault: Option<DecodeError>,
}

impl Reader {
    /// A reader for a connection on which nothing was read yet.
    #[must_use]
    pub const fn new(limits: ReaderLimits) -> Self {
        Reader {
            limits,
            version: None,
            answer_version: None,
            aliases: InboundAliases::new(limits.topic_alias_maximum),
            missing_bytes: 2,
            fault: None,
        }
    }

    /// Takes one whole packet off the front of `buffer`; `None` when more bytes are needed.
    ///
    /// Strings and payloads of the packet are slices of the buffer. Sizes are judged by the fixed
    /// header, before the body is there.
    ///
    /// # Errors
    /// [`DecodeError`] at the first fault, and the same one at every later call: what follows a
    /// fault has no meaning.
    pub fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<ClientPacket>, DecodeError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.read_packet(buffer).inspect_err(|fault| self.fault = Some(*fault))
    }

    /// The version that the client's CONNECT fixed, once it was read without fault.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// The version in which a CONNACK that refuses can be written: the client's own, or the
    /// nearest one if its version is not supported. `None` if no CONNECT was recognised, and the
    /// connection is best closed without a word.
    #[must_use]
    pub const fn answer_version(&self) -> Option<Version> {
        self.answer_version
    }

    /// After [`Reader::read`] found no whole packet: how many bytes must come, at least, before it
    /// can find one. Never more than the limits allow.
    #[must_use]
    pub const fn missing_bytes(&self) -> usize {
        self.missing_bytes
    }

    fn read_packet(&mut self, buffer: &mut BytesMut) -> Result<Option<ClientPacket>, DecodeError> {
        let Some(first_byte) = buffer.first() else {
            self.missing_bytes = 2;
            return Ok(None);
        };
        let packet = frame::packet_type(*first_byte, self.version)?;
        self.check_order(packet)?;
        let Some(frame) = Frame::read(packet, buffer)? else {
            self.missing_bytes = 1;
            return Ok(None);
        };
        if let Err(too_large) = frame.check_size(self.limit_bytes()) {
            return self.refuse_size(frame, buffer, too_large);
        }
        if self.version.is_some()
            && let Some(ack) = decode::short_ack(frame, buffer)
        {
            self.missing_bytes = 2;
            return ack.map(Some);
        }
        let body = match frame.take(buffer) {
            Ok(body) => body,
            Err(missing_bytes) => {
                self.missing_bytes = missing_bytes;
                return Ok(None);
            }
        };
        self.missing_bytes = 2;
        match self.version {
            Some(version) => {
                decode::client_packet(body, frame.flags, version, &mut self.aliases).map(Some)
            }
            None => self.read_connect(body).map(Some),
        }
    }

    fn check_order(&self, packet: PacketType) -> Result<(), DecodeError> {
        match (packet, self.version) {
            // [MQTT-3.1.0-2]
            (PacketType::Connect, Some(_)) => Err(DecodeError::SecondConnect),
            (PacketType::Connect, None) => Ok(()),
            // [MQTT-3.1.0-1]
            (_, None) => Err(DecodeError::FirstPacketNotConnect { packet }),
            (
                PacketType::ConnAck
                | PacketType::SubAck
                | PacketType::UnsubAck
                | PacketType::PingResp,
                Some(_),
            ) => Err(DecodeError::WrongSender { packet }),
            (PacketType::Auth, Some(version)) if version != Version::V5 => {
                Err(DecodeError::NotInVersion { packet, version })
            }
            (_, Some(_)) => Ok(()),
        }
    }

    fn limit_bytes(&self) -> u32 {
        let maximum = self.limits.maximum_packet_size_bytes;
        if self.version.is_some() {
            maximum
        } else {
            maximum.min(self.limits.connect_maximum_bytes)
        }
    }

    /// A CONNECT above the limit can still be answered if its version is known, so its first bytes
    /// are awaited.
    fn refuse_size(
        &mut self,
        frame: Frame,
        buffer: &BytesMut,
        too_large: DecodeError,
    ) -> Result<Option<ClientPacket>, DecodeError> {
        if self.version.is_some() {
            return Err(too_large);
        }
        let body = buffer.get(frame.header_bytes..).unwrap_or_default();
        let whole_body = u32::try_from(body.len()).is_ok_and(|bytes| bytes >= frame.body_bytes);
        match connect::peek_protocol(body) {
            Err(missing_bytes) if !whole_body => {
                self.missing_bytes = missing_bytes;
                return Ok(None);
            }
            Err(_) => {}
            Ok(answer_version) => self.answer_version = answer_version,
        }
        Err(too_large)
    }

    fn read_connect(&mut self, mut body: Cursor) -> Result<ClientPacket, DecodeError> {
        let version = connect::protocol(&mut body).inspect_err(|fault| {
            if let DecodeError::UnsupportedProtocol { answer, .. } = fault {
                self.answer_version = Some(*answer);
            }
        })?;
        self.answer_version = Some(version);
        let connect = connect::connect(body, version)?;
        self.version = Some(version);
        Ok(ClientPacket::Connect(Box::new(connect)))
    }
}
