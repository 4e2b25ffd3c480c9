//! Looking for bytes in short strings, eight at a time. What is found means something to those who ask.

const LOW_BITS: u64 = u64::from_le_bytes([0x01; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);

/// Whether all of `bytes` are ASCII and none is 0.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    !any_word(bytes, |word| (word & HIGH_BITS) | zeros(word))
}

/// Whether one of `bytes` is `one` or `other`.
pub(crate) fn has_either(bytes: &[u8], one: u8, other: u8) -> bool {
    let (one, other) = (u64::from_le_bytes([one; 8]), u64::from_le_bytes([other; 8]));
    any_word(bytes, |word| zeros(word ^ one) | zeros(word ^ other))
}

/// Whether `test` is not 0 for eight of the bytes.
#[inline]
fn any_word(bytes: &[u8], test: impl Fn(u64) -> u64) -> bool {
    let is_found = |word: &[u8; 8]| test(u64::from_le_bytes(*word)) != 0;
    let (words, rest) = bytes.as_chunks::<8>();
    if words.iter().any(is_found) {
        return true;
    }
    match bytes.last_chunk::<8>() {
        _ if rest.is_empty() => false,
        // The last eight again: some of them were looked at already.
        Some(last) => is_found(last),
        // One byte eight times over has what the byte has.
        None => rest.iter().any(|byte| is_found(&[*byte; 8])),
    }
}

/// Not 0 if one of the eight bytes is 0.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn every_byte_is_found_at_every_place() {
        for length in 0..40 {
            assert!(is_plain(&vec![b'a'; length]), "{length} times `a`");
            for (place, byte) in
                (0..length).flat_map(|place| (0..=255).map(move |byte| (place, byte)))
            {
                let mut bytes = vec![b'a'; length];
                bytes[place] = byte;
                let is_plain_byte = (1..0x80).contains(&byte);
                assert_eq!(is_plain(&bytes), is_plain_byte, "{byte:#04x} at {place} of {length}");
                let is_either = byte == b'+' || byte == b'#';
                let found = has_either(&bytes, b'+', b'#');
                assert_eq!(found, is_either, "{byte:#04x} at {place} of {length}");
            }
        }
    }
}
