//! The client's side of reading: from a broker's stream to its packets, for tools and tests.

use bytes::BytesMut;

use super::alias::InboundAliases;
use super::decode;
use super::error::DecodeError;
use super::frame;
use super::framing::Frame;
use super::packet::ServerPacket;
use super::reader::ReaderLimits;
use super::types::Version;

/// Reads the packets of one broker, in the version of the client's CONNECT.
#[derive(Debug)]
pub struct ClientReader {
    version: Version,
    maximum_packet_size_bytes: u32,
    aliases: InboundAliases,
    missing_bytes: usize,
    fault: Option<DecodeError>,
}

impl ClientReader {
    /// A reader for a connection on which nothing was read yet. The limits are those that the
    /// client put into its CONNECT; the one for a first packet has no meaning here.
    #[must_use]
    pub const fn new(version: Version, limits: ReaderLimits) -> Self {
        ClientReader {
            version,
            maximum_packet_size_bytes: limits.maximum_packet_size_bytes,
            aliases: InboundAliases::new(limits.topic_alias_maximum),
            missing_bytes: 2,
            fault: None,
        }
    }

    /// Takes one whole packet off the front of `buffer`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`DecodeError`] at the first fault, and the same one at every later call.
    pub fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<ServerPacket>, DecodeError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.read_packet(buffer).inspect_err(|fault| self.fault = Some(*fault))
    }

    /// After [`ClientReader::read`] found no whole packet: how many bytes must come, at least,
    /// before it can find one.
    #[must_use]
    pub const fn missing_bytes(&self) -> usize {
        self.missing_bytes
    }

    fn read_packet(&mut self, buffer: &mut BytesMut) -> Result<Option<ServerPacket>, DecodeError> {
        let Some(first_byte) = buffer.first() else {
            self.missing_bytes = 2;
            return Ok(None);
        };
        let packet = frame::packet_type(*first_byte, Some(self.version))?;
        let Some(frame) = Frame::read(packet, buffer)? else {
            self.missing_bytes = 1;
            return Ok(None);
        };
        frame.check_size(self.maximum_packet_size_bytes)?;
        let body = match frame.take(buffer) {
            Ok(body) => body,
            Err(missing_bytes) => {
                self.missing_bytes = missing_bytes;
                return Ok(None);
            }
        };
        self.missing_bytes = 2;
        decode::server_packet(body, frame.flags, self.version, &mut self.aliases).map(Some)
    }
}
