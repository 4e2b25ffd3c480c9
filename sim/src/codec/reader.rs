//! Fields of a packet, read one after the other and never beyond its end.

use super::fault::Fault;

/// What is left of a packet.
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(super) fn take(&mut self, bytes: usize, field: &'static str) -> Result<&'a [u8], Fault> {
        let (taken, left) = self.left.split_at_checked(bytes).ok_or(Fault::Short { field })?;
        self.left = left;
        Ok(taken)
    }

    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, Fault> {
        Ok(self.take(1, field)?[0])
    }

    pub(super) fn two(&mut self, field: &'static str) -> Result<u16, Fault> {
        let bytes = self.take(2, field)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn four(&mut self, field: &'static str) -> Result<u32, Fault> {
        let bytes = self.take(4, field)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(super) fn varint(&mut self, field: &'static str) -> Result<u32, Fault> {
        let (value, bytes) = varint(self.left)?.ok_or(Fault::Short { field })?;
        self.take(bytes, field)?;
        Ok(value)
    }

    pub(super) fn binary(&mut self, field: &'static str) -> Result<Vec<u8>, Fault> {
        let bytes = self.two(field)?;
        Ok(self.take(bytes.into(), field)?.to_vec())
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<String, Fault> {
        let text = String::from_utf8(self.binary(field)?).map_err(|_| Fault::Text { field })?;
        if text.contains('\0') { Err(Fault::Text { field }) } else { Ok(text) }
    }

    /// A packet identifier.
    pub(super) fn id(&mut self) -> Result<u16, Fault> {
        match self.two("packet identifier")? {
            0 => Err(Fault::PacketId0),
            id => Ok(id),
        }
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.left)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn finish(self) -> Result<(), Fault> {
        match self.left.len() {
            0 => Ok(()),
            bytes => Err(Fault::LeftOver { bytes }),
        }
    }
}

/// A variable byte integer and its length; nothing while its end is not there.
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Fault> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            // A last byte of 0 adds nothing: it could have been left out.
            if *byte == 0 && index > 0 {
                return Err(Fault::VarintNotShortest);
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err(Fault::VarintTooLong) } else { Ok(None) }
}
