//! Reading the data types of the protocol from the front of a packet's body.

use bytes::{Buf, Bytes};

use crate::wire::error::DecodeError;
use crate::wire::frame::{self, PacketType};
use crate::wire::packet::WireId;
use crate::wire::types::{PacketId, Text};

/// The unread rest of a packet's body. Strings and data are slices of it, never copies.
pub(in crate::wire) struct Cursor {
    rest: Bytes,
    packet: PacketType,
}

impl Cursor {
    pub(in crate::wire) const fn new(body: Bytes, packet: PacketType) -> Self {
        Cursor { rest: body, packet }
    }

    /// The packet whose body this is.
    pub(in crate::wire) const fn packet(&self) -> PacketType {
        self.packet
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.rest.try_get_u8().map_err(|_| self.truncated())
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.rest.try_get_u16().map_err(|_| self.truncated())
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.rest.try_get_u32().map_err(|_| self.truncated())
    }

    /// A variable byte integer.
    pub(super) fn variable(&mut self) -> Result<u32, DecodeError> {
        let (value, length) = frame::read_variable(&self.rest)?.ok_or(self.truncated())?;
        self.rest.advance(length);
        Ok(value)
    }

    /// Data behind its length in two bytes.
    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }

    /// A UTF-8 encoded string.
    pub(super) fn text(&mut self) -> Result<Text, DecodeError> {
        Ok(Text::new(self.binary()?)?)
    }

    /// A packet identifier, never zero `[MQTT-2.2.1-3]`.
    pub(super) fn packet_id<Id: WireId>(&mut self) -> Result<Id, DecodeError> {
        let id = PacketId::new(self.u16()?);
        Ok(Id::from_wire(id.ok_or(DecodeError::PacketIdZero { packet: self.packet })?))
    }

    /// The property block at the front, without its length.
    pub(super) fn properties(&mut self) -> Result<Cursor, DecodeError> {
        let length = self.variable()?;
        let block = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok(Cursor::new(block, self.packet))
    }

    /// Steps over a property block without properties, if that is what comes.
    pub(super) fn skip_no_properties(&mut self) -> bool {
        let none = self.rest.first() == Some(&0);
        if none {
            self.rest.advance(1);
        }
        none
    }

    /// All that is left.
    pub(super) fn into_rest(self) -> Bytes {
        self.rest
    }

    /// Makes sure that nothing is left.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::LeftoverBytes { packet: self.packet, left_bytes: self.rest.len() })
    }

    fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.rest.len() {
            return Err(self.truncated());
        }
        Ok(self.rest.split_to(length))
    }

    const fn truncated(&self) -> DecodeError {
        DecodeError::Truncated { packet: self.packet }
    }
}
