//! The formats of MQTT 5.0, 3.1.1 and 3.1: packets as values, and their bytes.
//!
//! Nothing here knows of sessions, subscriptions or time. A connection has one [`Reader`] and one
//! [`Writer`], which settle framing and topic aliases at the edge. [`ClientReader`] and
//! [`encode_client`] are the other end of the same connection, for tools and tests.

pub mod error;
pub mod frame;
pub mod packet;
pub mod property;
pub mod property_id;
pub mod reason;
pub mod types;

mod alias;
mod client_reader;
pub(crate) mod codes;
mod decode;
mod encode;
mod framing;
mod reader;
pub(crate) mod scan;
mod shared;
mod writer;

pub use client_reader::ClientReader;
pub(crate) use decode::take_message;
pub(crate) use encode::put_message;
pub use encode::{
    Written, auth_len, codes_len, connack_len, encode_client, encode_publish, encode_server,
    outbound_publish_len,
};
pub use error::DecodeError;
pub use reader::{Reader, ReaderLimits};
pub use shared::LastPublish;
pub use writer::Writer;
