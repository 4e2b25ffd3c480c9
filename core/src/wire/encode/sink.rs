//! Where bytes go: into a buffer, or into a count of them.

use bytes::{BufMut, BytesMut};

use crate::wire::frame::{VARIABLE_MAX, variable_len};

/// A part of a packet. Counting and writing go the same way, so they cannot disagree.
pub(super) trait Part {
    fn put<S: Sink>(&self, sink: &mut S);
}

/// The length of a part in bytes; `usize::MAX` if some field of it cannot be written.
pub(super) fn length(part: &impl Part) -> usize {
    let mut count = Count(0);
    part.put(&mut count);
    count.0
}

/// Takes the data types of the protocol.
pub(super) trait Sink {
    fn slice(&mut self, bytes: &[u8]);

    /// A value is outside what its field can carry.
    fn overflow(&mut self);

    /// A variable byte integer.
    fn variable(&mut self, value: usize);

    /// A part behind its length as a variable byte integer.
    fn prefixed(&mut self, part: &impl Part);

    fn byte(&mut self, value: u8) {
        self.slice(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.slice(&value.to_be_bytes());
    }

    /// A string or data behind its length in two bytes.
    fn binary(&mut self, bytes: &[u8]) {
        match u16::try_from(bytes.len()) {
            Ok(length) => {
                self.u16(length);
                self.slice(bytes);
            }
            Err(_) => self.overflow(),
        }
    }
}

impl Sink for BytesMut {
    fn slice(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn overflow(&mut self) {
        debug_assert!(false, "what overflows is counted first and then not written");
    }

    fn variable(&mut self, value: usize) {
        let mut left = value;
        while left >= 0x80 {
            // The mask leaves seven bits.
            self.put_u8((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        self.put_u8(left as u8);
    }

    fn prefixed(&mut self, part: &impl Part) {
        self.variable(length(part));
        part.put(self);
    }
}

struct Count(usize);

impl Sink for Count {
    fn slice(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }

    fn overflow(&mut self) {
        self.0 = usize::MAX;
    }

    fn variable(&mut self, value: usize) {
        match u32::try_from(value) {
            Ok(value) if value <= VARIABLE_MAX => {
                self.0 = self.0.saturating_add(variable_len(value));
            }
            Ok(_) | Err(_) => self.overflow(),
        }
    }

    fn prefixed(&mut self, part: &impl Part) {
        let bytes = length(part);
        self.variable(bytes);
        self.0 = self.0.saturating_add(bytes);
    }
}
