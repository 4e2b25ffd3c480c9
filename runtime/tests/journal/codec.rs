//! The binary form of records.

use bytes::BytesMut;
use proptest::prelude::*;
use signalhouse::journal::codec::{DecodeRecordError, decode, encode};
use signalhouse_core::Record;
use signalhouse_core::record::SessionId;

use crate::records::record;

fn encoded(record: &Record) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(record, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn every_record_comes_back(record in record()) {
        prop_assert_eq!(decode(&encoded(&record)), Ok(record));
    }

    #[test]
    fn a_record_has_one_form(record in record(), at: prop::sample::Index, bits in 1_u8..) {
        let mut bytes = encoded(&record);
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        // What can still be read is another record, and would have been written just so.
        if let Ok(other) = decode(&bytes) {
            prop_assert_ne!(&other, &record);
            prop_assert_eq!(encoded(&other), bytes);
        }
    }

    #[test]
    fn a_record_cut_short_or_followed_by_more_is_none(record in record(), more in 1..9_usize) {
        let mut bytes = encoded(&record);
        for length in 0..bytes.len() {
            prop_assert!(decode(&bytes[..length]).is_err());
        }
        bytes.extend(std::iter::repeat_n(0, more));
        prop_assert_eq!(decode(&bytes), Err(DecodeRecordError::LeftOver));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(record) = decode(&bytes) {
            prop_assert_eq!(encoded(&record), bytes);
        }
    }
}

#[test]
fn what_is_never_written_is_refused() {
    let ended = Record::SessionEnded { session: SessionId(5) };
    assert_eq!(encoded(&ended)[..], [3, 5]);
    assert_eq!(decode(&[]), Err(DecodeRecordError::Short));
    assert_eq!(decode(&[0, 5]), Err(DecodeRecordError::Tag(0)));
    assert_eq!(decode(&[22, 5]), Err(DecodeRecordError::Tag(22)));
    // The number 5 in two bytes, and one of more than 64 bits.
    assert_eq!(decode(&[3, 0x85, 0]), Err(DecodeRecordError::Value("number")));
    let mut large = vec![3];
    large.extend([0xff; 9]);
    large.push(2);
    assert_eq!(decode(&large), Err(DecodeRecordError::Value("number")));
    // A topic of a length that is not there costs no memory.
    assert_eq!(decode(&[17, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(DecodeRecordError::Short));
    assert_eq!(decode(&[17, 1, b'+']), Err(DecodeRecordError::Value("topic")));
}
