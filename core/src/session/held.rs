//! What a queue has of a message: the message itself, its bytes in one piece, or where the journal
//! has it.

use alloc::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::buffers::Buffers;
use crate::message::{Message, MessageId};
use crate::record::Record;
use crate::routing::topic::Topic;
use crate::session::page::Paged;
use crate::time::Time;
use crate::wire::types::QoS;
use crate::wire::{put_message, take_message};

/// A waiting message.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// As it is sent; what is likely to be sent soon.
    Here(Arc<Message>),
    /// In one allocation, to be taken apart when its turn comes.
    Packed(Packed),
    /// The same in one allocation with others of its queue.
    Paged(Paged),
    /// In the journal alone, to be read back when its turn comes.
    Stored(Stored),
}

impl Held {
    pub(crate) fn id(&self) -> MessageId {
        match self {
            Held::Here(message) => message.id,
            Held::Packed(packed) => packed.block().id(),
            Held::Paged(paged) => paged.block().id(),
            Held::Stored(stored) => stored.id,
        }
    }

    /// The QoS it was published at.
    pub(crate) fn qos(&self) -> QoS {
        match self {
            Held::Here(message) => message.qos,
            Held::Packed(packed) => packed.block().qos(),
            Held::Paged(paged) => paged.block().qos(),
            Held::Stored(stored) => stored.qos,
        }
    }

    pub(crate) fn expires_at(&self) -> Option<Time> {
        match self {
            Held::Here(message) => message.expires_at,
            Held::Packed(packed) => packed.block().expires_at(),
            Held::Paged(paged) => paged.block().expires_at(),
            Held::Stored(stored) => stored.expires_at(),
        }
    }

    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// [`Message::content_bytes`], wherever they are.
    pub(crate) fn content_bytes(&self) -> u64 {
        match self {
            Held::Here(message) => message.content_bytes() as u64,
            Held::Packed(packed) => u64::from(packed.block().content_bytes()),
            Held::Paged(paged) => u64::from(paged.block().content_bytes()),
            Held::Stored(stored) => u64::from(stored.content_bytes),
        }
    }

    /// Those of them that are in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        match self {
            Held::Here(_) | Held::Packed(_) | Held::Paged(_) => self.content_bytes(),
            Held::Stored(_) => 0,
        }
    }

    pub(crate) fn is_stored(&self) -> bool {
        match self {
            Held::Here(_) | Held::Packed(_) | Held::Paged(_) => false,
            Held::Stored(_) => true,
        }
    }

    /// The message, if its body is in memory.
    pub(crate) fn message(&self) -> Option<Arc<Message>> {
        match self {
            Held::Here(message) => Some(message.clone()),
            Held::Packed(packed) => Some(Arc::new(packed.unpack())),
            Held::Paged(paged) => Some(Arc::new(paged.block().unpack())),
            Held::Stored(_) => None,
        }
    }

    /// A packed message that is in no other queue and short enough to be copied.
    pub(super) fn loose_block(&self) -> Option<Block<'_>> {
        match self {
            Held::Packed(packed) if packed.0.len() <= COPIED_BYTES => {
                (Arc::strong_count(&packed.0) == 1).then(|| packed.block())
            }
            Held::Here(_) | Held::Packed(_) | Held::Paged(_) | Held::Stored(_) => None,
        }
    }

    /// Something of both ends of a packed message.
    pub(crate) fn touch(&self) -> u8 {
        let block = match self {
            Held::Packed(packed) => packed.block(),
            Held::Paged(paged) => paged.block(),
            Held::Here(_) | Held::Stored(_) => return 0,
        };
        block.0.first().zip(block.0.last()).map_or(0, |(first, last)| first ^ last)
    }

    /// The topic, if it is in memory, in storage of its own.
    pub(crate) fn topic(&self) -> Option<Topic> {
        self.message().map(|message| message.topic.compact())
    }

    /// What remains in memory of a message that the journal has, if its size can be written down.
    pub(crate) fn to_stored(&self) -> Option<Stored> {
        Some(Stored {
            id: self.id(),
            expires_at: self.expires_at().unwrap_or(Time::NEVER),
            content_bytes: u32::try_from(self.content_bytes()).ok()?,
            qos: self.qos(),
        })
    }
}

/// What is known of a message whose body only the journal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    id: MessageId,
    /// [`Time::NEVER`] for none.
    expires_at: Time,
    content_bytes: u32,
    qos: QoS,
}

impl Stored {
    pub(crate) fn new(
        id: MessageId,
        qos: QoS,
        content_bytes: u32,
        expires_at: Option<Time>,
    ) -> Self {
        Stored { id, expires_at: expires_at.unwrap_or(Time::NEVER), content_bytes, qos }
    }

    fn expires_at(&self) -> Option<Time> {
        (self.expires_at != Time::NEVER).then_some(self.expires_at)
    }

    /// The snapshot's record of the queues that have it.
    pub(crate) fn requeued(&self, entries: alloc::vec::Vec<crate::record::Enqueued>) -> Record {
        Record::Requeued {
            message: self.id,
            qos: self.qos,
            content_bytes: self.content_bytes,
            expires_at: self.expires_at(),
            entries,
        }
    }
}

/// A message in one allocation: a few bytes of its own, then topic, properties and payload as
/// PUBLISH has them. Shared by all queues that have the message.
#[derive(Clone, Debug)]
pub(crate) struct Packed(Arc<[u8]>);

/// The bytes of a packed message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a>(pub(super) &'a [u8]);

/// A packed message that is no longer may be copied.
const COPIED_BYTES: usize = 1024;
/// In the first byte, beside the QoS: an expiry time follows the fixed fields.
const EXPIRES: u8 = 0b100;
const ID: usize = 1;
const CONTENT_BYTES: usize = ID + 8;
const FIXED_END: usize = CONTENT_BYTES + 4;

impl Packed {
    /// Packs a message, with `buffer` as a place to work in. `None` if some field of it is longer
    /// than PUBLISH can carry.
    pub(crate) fn new(message: &Message, buffer: &mut BytesMut) -> Option<Self> {
        let content_bytes = u32::try_from(message.content_bytes()).ok()?;
        buffer.clear();
        let flags = message.qos as u8 | if message.expires_at.is_some() { EXPIRES } else { 0 };
        buffer.extend_from_slice(&[flags]);
        buffer.extend_from_slice(&message.id.0.to_le_bytes());
        buffer.extend_from_slice(&content_bytes.to_le_bytes());
        if let Some(at) = message.expires_at {
            buffer.extend_from_slice(&at.as_ms().to_le_bytes());
        }
        put_message(message, buffer).then(|| Packed(Arc::from(&buffer[..])))
    }

    pub(crate) fn block(&self) -> Block<'_> {
        Block(&self.0)
    }

    /// The message again. Topic and payload are slices of the packed one, not copies.
    pub(crate) fn unpack(&self) -> Message {
        let block = self.block();
        block.unpack_from(Bytes::from_owner(self.0.clone()).slice(block.body_start()..))
    }

    /// The same for a message that is sent at once: a short one is copied into one of `buffers`, which
    /// serve many, so that no memory is asked for.
    pub(crate) fn unpack_into(&self, buffers: &mut Buffers) -> Message {
        if self.0.len() > COPIED_BYTES { self.unpack() } else { self.block().unpack_into(buffers) }
    }
}

impl Block<'_> {
    pub(crate) fn id(self) -> MessageId {
        MessageId(u64::from_le_bytes(self.field(ID)))
    }

    fn qos(self) -> QoS {
        QoS::from_u8(self.flags() & !EXPIRES).unwrap_or(QoS::AtMostOnce)
    }

    fn content_bytes(self) -> u32 {
        u32::from_le_bytes(self.field(CONTENT_BYTES))
    }

    fn expires_at(self) -> Option<Time> {
        (self.flags() & EXPIRES != 0)
            .then(|| Time::from_ms(u64::from_le_bytes(self.field(FIXED_END))))
    }

    /// The message again, in memory of its own.
    pub(crate) fn unpack(self) -> Message {
        self.unpack_from(Bytes::copy_from_slice(self.body()))
    }

    /// The same in one of `buffers`, for a message that fits in.
    pub(crate) fn unpack_into(self, buffers: &mut Buffers) -> Message {
        let body = self.body();
        let buffer = buffers.with_space(body.len());
        buffer.extend_from_slice(body);
        self.unpack_from(buffer.split().freeze())
    }

    fn unpack_from(self, body: Bytes) -> Message {
        let (topic, properties, payload) =
            take_message(body).expect("what was packed from a message is one");
        let expires_at = self.expires_at();
        Message { id: self.id(), topic, payload, qos: self.qos(), expires_at, properties }
    }

    fn body(&self) -> &[u8] {
        self.0.get(self.body_start()..).unwrap_or_default()
    }

    fn body_start(self) -> usize {
        FIXED_END + if self.flags() & EXPIRES != 0 { 8 } else { 0 }
    }

    fn flags(self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    /// The bytes of a field that was written at `start` when the message was packed.
    ///
    /// # Panics
    /// If the block is shorter: its maker has written something else.
    fn field<const N: usize>(self, start: usize) -> [u8; N] {
        self.0
            .get(start..start + N)
            .and_then(|bytes| bytes.try_into().ok())
            .expect("the block has every field that its maker wrote")
    }
}
