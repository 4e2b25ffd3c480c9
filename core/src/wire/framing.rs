//! Cutting whole packets out of a stream.

use bytes::{Buf, Bytes, BytesMut};

use super::decode::cursor::Cursor;
use super::error::DecodeError;
use super::frame::{self, PacketType};

/// Where the fixed header at the front of a buffer ends, and how long the packet is.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire) struct Frame {
    pub(in crate::wire) packet: PacketType,
    pub(in crate::wire) flags: u8,
    /// Bytes of the fixed header, 2 to 5.
    pub(in crate::wire) header_bytes: usize,
    /// Bytes that follow the fixed header.
    pub(in crate::wire) body_bytes: u32,
}

impl Frame {
    /// The frame that `buffer` begins with; `None` if its fixed header is not complete. `packet`
    /// is what the first byte was found to mean.
    pub(in crate::wire) fn read(
        packet: PacketType,
        buffer: &[u8],
    ) -> Result<Option<Self>, DecodeError> {
        let Some((first_byte, rest)) = buffer.split_first() else { return Ok(None) };
        let Some((body_bytes, length_bytes)) = frame::read_variable(rest)? else {
            return Ok(None);
        };
        let header_bytes = 1 + length_bytes;
        Ok(Some(Frame { packet, flags: first_byte & 0x0f, header_bytes, body_bytes }))
    }

    /// Size of the whole packet.
    pub(in crate::wire) fn size_bytes(&self) -> u32 {
        // Header and body are within 5 and 268,435,455 bytes.
        self.body_bytes.saturating_add(u32::try_from(self.header_bytes).unwrap_or(u32::MAX))
    }

    /// Makes sure that the packet keeps to the receiver's limit.
    pub(in crate::wire) fn check_size(&self, limit_bytes: u32) -> Result<(), DecodeError> {
        let size_bytes = self.size_bytes();
        // [MQTT-3.2.2-15]
        if size_bytes > limit_bytes {
            return Err(DecodeError::PacketTooLarge { size_bytes, limit_bytes });
        }
        Ok(())
    }

    /// Takes the packet off the front of `buffer`, or says how many of its bytes are missing.
    pub(in crate::wire) fn take(&self, buffer: &mut BytesMut) -> Result<Cursor, usize> {
        let body_bytes = usize::try_from(self.body_bytes).unwrap_or(usize::MAX);
        let size_bytes = self.header_bytes.saturating_add(body_bytes);
        if buffer.len() < size_bytes {
            return Err(size_bytes - buffer.len());
        }
        buffer.advance(self.header_bytes);
        // An empty body is no reason to share the buffer.
        let body =
            if body_bytes == 0 { Bytes::new() } else { buffer.split_to(body_bytes).freeze() };
        Ok(Cursor::new(body, self.packet))
    }
}
