//! The binary form of a [`Record`], format version 4. What frames records in files is in `frame.rs`.
//!
//! A record is a tag and its fields in the order of their declaration; numbers are LEB128, shortest
//! form only; strings and byte strings have their length before them; what is optional or smaller
//! than a byte is in a byte of flags. A record has exactly one form, and decoding takes no other:
//! unknown tags and flags, overlong numbers and bytes left over are refused. Decoding allocates no
//! more than a small multiple of what it is given, and what it makes shares no memory with it.

mod cursor;
mod decode;
mod encode;

pub use self::cursor::DecodeRecordError;
pub use self::decode::{decode, decode_first};
pub use self::encode::encode;

#[cfg(doc)]
use signalhouse_core::Record;

/// The version of everything that is written, and the highest that is read. It is in each file's first
/// block; files of several versions may be in one store. All versions are read for ever:
///
/// | version | |
/// |---|---|
/// | 1 | the first |
/// | 2 | a snapshot may cover a segment's beginning; requests, addresses, and whose a retained message is |
/// | 3 | API keys: whose a session and a retained message are, and whose day is counted |
/// | 4 | when a message that expires or is retained was published |
pub const FORMAT_VERSION: u32 = 4;

/// The first byte of each kind of record. Numbers are never used again for something else.
mod tag {
    pub(super) const CONNECTED: u8 = 1;
    pub(super) const DISCONNECTED: u8 = 2;
    pub(super) const SESSION_ENDED: u8 = 3;
    pub(super) const WILL_DROPPED: u8 = 4;
    pub(super) const SUBSCRIBED: u8 = 5;
    pub(super) const UNSUBSCRIBED: u8 = 6;
    pub(super) const PUBLISHED: u8 = 7;
    pub(super) const REPLAYED: u8 = 8;
    pub(super) const REPLAY_ENDED: u8 = 9;
    pub(super) const BOUND: u8 = 10;
    pub(super) const RECEIVED: u8 = 11;
    pub(super) const COMPLETED: u8 = 12;
    pub(super) const REMOVED: u8 = 13;
    pub(super) const MOVED: u8 = 14;
    pub(super) const INBOUND_HELD: u8 = 15;
    pub(super) const INBOUND_RELEASED: u8 = 16;
    pub(super) const RETAINED_CLEARED: u8 = 17;
    pub(super) const COUNTERS: u8 = 18;
    pub(super) const REQUEUED: u8 = 19;
    pub(super) const COUNTED: u8 = 20;
    pub(super) const REQUESTED: u8 = 21;
}

/// Bits of the flags bytes.
mod flag {
    /// In flags that begin with a QoS, its two bits.
    pub(super) const QOS: u8 = 0b11;
    // A session.
    pub(super) const VERSION: u8 = 0b11;
    pub(super) const IDENTITY: u8 = 1 << 2;
    pub(super) const WILL: u8 = 1 << 3;
    pub(super) const CLAIMS: u8 = 1 << 4;
    pub(super) const ADDRESS: u8 = 1 << 5;
    pub(super) const KEY: u8 = 1 << 6;
    // A will or message.
    pub(super) const RETAIN: u8 = 1 << 2;
    pub(super) const EXPIRY: u8 = 1 << 3;
    pub(super) const PROPERTIES: u8 = 1 << 4;
    pub(super) const AT: u8 = 1 << 5;
    // A publication.
    pub(super) const ORIGIN: u8 = 0b11;
    pub(super) const RETAINED: u8 = 0b11 << 2;
    pub(super) const PUBLISHER: u8 = 1 << 4;
    pub(super) const PUBLISHER_IDENTITY: u8 = 1 << 5;
    pub(super) const PUBLISHER_ADDRESS: u8 = 1 << 6;
    pub(super) const PUBLISHER_KEY: u8 = 1 << 7;
    // A queue entry.
    pub(super) const MAYBE_SENT: u8 = 1 << 3;
    pub(super) const AT_GROUP: u8 = 1 << 4;
    pub(super) const FROM_GROUP: u8 = 1 << 5;
    pub(super) const IDS: u8 = 0b11 << 6;
    // Properties.
    pub(super) const FORMAT: u8 = 1;
    pub(super) const FORMAT_VALUE: u8 = 1 << 1;
    pub(super) const CONTENT_TYPE: u8 = 1 << 2;
    pub(super) const RESPONSE_TOPIC: u8 = 1 << 3;
    pub(super) const CORRELATION: u8 = 1 << 4;
    pub(super) const USER: u8 = 1 << 5;
    // A subscription.
    pub(super) const NO_LOCAL: u8 = 1 << 2;
    pub(super) const AS_PUBLISHED: u8 = 1 << 3;
    pub(super) const HANDLING: u8 = 0b11 << 4;
    pub(super) const SUBSCRIPTION_ID: u8 = 1 << 6;
    pub(super) const SHARED: u8 = 1 << 7;
    // The second byte of one.
    pub(super) const REPLAY: u8 = 1;
    pub(super) const AFTER_TOPIC: u8 = 1 << 1;
}
