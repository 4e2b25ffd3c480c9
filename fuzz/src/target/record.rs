//! The journal's records: any bytes are a record or refused, and a record that was read, written
//! and read again is the same.

use bytes::BytesMut;
use signalhouse::journal::codec::{decode, encode};

/// Takes `data` for a record.
///
/// # Panics
/// If a record changes on the way.
pub fn run(data: &[u8]) {
    let Ok(record) = decode(data) else { return };
    let mut bytes = BytesMut::new();
    encode(&record, &mut bytes);
    assert_eq!(decode(&bytes).as_ref(), Ok(&record), "a record changes on the way");
}
