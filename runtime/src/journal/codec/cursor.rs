//! The pieces that records are made of, read strictly.

use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::types::{PacketId, QoS, Text};

#[cfg(doc)]
use signalhouse_core::Record;

/// Why bytes are not a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeRecordError {
    /// They end too early.
    #[error("the record ends too early")]
    Short,
    /// They go on behind the record.
    #[error("bytes are left over behind the record")]
    LeftOver,
    /// No kind of record begins like that.
    #[error("no kind of record has the tag {0}")]
    Tag(u8),
    /// A value has a form that is never written, or is out of its bounds.
    #[error("the record's {0} cannot be")]
    Value(&'static str),
}

/// What is left to read of one record.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeRecordError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeRecordError::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    /// A byte of flags, of which only `known` may be set.
    pub(super) fn flags(&mut self, known: u8) -> Result<u8, DecodeRecordError> {
        let flags = self.byte()?;
        if flags & !known == 0 { Ok(flags) } else { Err(DecodeRecordError::Value("flags")) }
    }

    pub(super) fn truth(&mut self) -> Result<bool, DecodeRecordError> {
        Ok(self.flags(1)? == 1)
    }

    pub(super) fn number(&mut self) -> Result<u64, DecodeRecordError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has one bit left; a last byte of zero would be a longer form.
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeRecordError::Value("number"))
    }

    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeRecordError> {
        T::try_from(self.number()?).map_err(|_| DecodeRecordError::Value("number"))
    }

    /// How many things follow, each at least a byte long.
    pub(super) fn count(&mut self) -> Result<usize, DecodeRecordError> {
        let count = self.small::<usize>()?;
        if count <= self.rest.len() { Ok(count) } else { Err(DecodeRecordError::Short) }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeRecordError> {
        let length = self.count()?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeRecordError::Short)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<Text, DecodeRecordError> {
        let bytes = self.bytes()?;
        if bytes.len() > Text::MAX_BYTES {
            return Err(DecodeRecordError::Value("string"));
        }
        Text::new(bytes::Bytes::copy_from_slice(bytes))
            .map_err(|_| DecodeRecordError::Value("string"))
    }

    pub(super) fn topic(&mut self) -> Result<Topic, DecodeRecordError> {
        Topic::new(self.text()?).map_err(|_| DecodeRecordError::Value("topic"))
    }

    pub(super) fn filter(&mut self) -> Result<TopicFilter, DecodeRecordError> {
        TopicFilter::new(self.text()?).map_err(|_| DecodeRecordError::Value("topic filter"))
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeRecordError> {
        PacketId::new(self.small()?).ok_or(DecodeRecordError::Value("packet identifier"))
    }

    pub(super) fn message_id(&mut self) -> Result<MessageId, DecodeRecordError> {
        Ok(MessageId(self.number()?))
    }
}

pub(super) fn qos(bits: u8) -> Result<QoS, DecodeRecordError> {
    QoS::from_u8(bits).ok_or(DecodeRecordError::Value("QoS"))
}

/// The payload's bound, which the length of a packet sets.
pub(super) fn check_message(message: &Message) -> Result<(), DecodeRecordError> {
    const PACKET_BYTES: usize = 268_435_460;
    if message.payload.len() <= PACKET_BYTES {
        Ok(())
    } else {
        Err(DecodeRecordError::Value("payload"))
    }
}
