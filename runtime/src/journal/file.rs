//! The files of a store: their names, and the block at the beginning of each.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use signalhouse_core::{LogPosition, Time};

use super::codec::FORMAT_VERSION;

/// Length of the block before the first frame.
pub(super) const BLOCK_BYTES: u64 = 4_096;
/// The first bytes of every file; the version follows, in this place for ever.
const MAGIC: &[u8; 8] = b"SIGNLHSE";
/// Where the checksum is, over all before it.
const CHECKSUM_AT: usize = 60;

/// No file has a greater number, in all the time there is; so the next one is always a number too.
const MOST: u64 = u64::MAX >> 1;

/// What a file of the store is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileName {
    /// A part of the log.
    Segment(u64),
    /// What everything before the segment of this number comes to.
    Snapshot(u64),
    /// A file that is not complete, of no use after a crash.
    Unfinished(u64),
}

/// What is being imported, until it is a whole store. While it is there, nothing else counts.
pub(super) const IMPORT: FileName = FileName::Unfinished(0);

/// Says that the rest of the last segment is being erased. After a sync that failed, what was erased looks so, and the
/// disk may have it still.
pub(super) const ERASING: FileName = FileName::Unfinished(MOST);

impl FileName {
    /// Says that the segments behind that one have no frame that counts, and are given other first blocks: until that
    /// is on the disk, such a block can be neither the old one nor the new.
    pub(super) fn renewing_behind(segment: u64) -> Self {
        FileName::Unfinished(MOST - segment)
    }

    /// The segment that was named so.
    pub(super) fn renewed_behind(self) -> Option<u64> {
        match self {
            // No unfinished file comes near: there are not so many segments.
            FileName::Unfinished(number) if number > MOST / 2 && self != ERASING => {
                Some(MOST - number)
            }
            FileName::Unfinished(_) | FileName::Segment(_) | FileName::Snapshot(_) => None,
        }
    }

    /// What a name says; `None` for files that are not the store's.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (kind, number) = name.split_once('-')?;
        let kind = match kind {
            "segment" => FileName::Segment,
            "snapshot" => FileName::Snapshot,
            "unfinished" => FileName::Unfinished,
            _ => return None,
        };
        let parsed = kind(number.parse().ok().filter(|number| *number <= MOST)?);
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Segment(number) => write!(f, "segment-{number:010}"),
            FileName::Snapshot(number) => write!(f, "snapshot-{number:010}"),
            FileName::Unfinished(number) => write!(f, "unfinished-{number:010}"),
        }
    }
}

/// What a file says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) kind: FileKind,
    /// The number in its name.
    pub(super) number: u64,
    /// Goes into its frames' checksums, so that none of before counts when a file is used again.
    pub(super) salt: u64,
    /// No record in it is of a later version of the format.
    pub(super) version: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Segment {
        /// Its length, which never becomes less; 0 in files that do not say.
        bytes: u64,
    },
    Snapshot {
        /// The last position that it covers.
        through: LogPosition,
        /// The latest moment that any record named.
        latest: Time,
        /// How many records it has.
        records: u64,
    },
}

/// Why a block is not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// It is damaged, or something else.
    Damaged,
    /// It was written in a version that is not known here.
    Newer(u32),
}

impl FileHeader {
    /// Of a file that is written now.
    pub(super) fn new(kind: FileKind, number: u64, salt: u64) -> Self {
        FileHeader { kind, number, salt, version: FORMAT_VERSION }
    }

    /// The block. All of it that is not zero is in its first sector, which is written as one.
    pub(super) fn to_block(self) -> Bytes {
        let mut block = BytesMut::with_capacity(BLOCK_BYTES as usize);
        block.put_slice(MAGIC);
        block.put_u32_le(self.version);
        let (kind, through, latest, records) = match self.kind {
            FileKind::Segment { bytes } => (1, bytes, 0, 0),
            FileKind::Snapshot { through, latest, records } => {
                (2, through.0, latest.as_ms(), records)
            }
        };
        block.put_u32_le(kind);
        block.put_u64_le(self.number);
        block.put_u64_le(self.salt);
        block.put_u64_le(through);
        block.put_u64_le(latest);
        block.put_u64_le(records);
        block.put_bytes(0, CHECKSUM_AT - block.len());
        block.put_u32_le(crc32c::crc32c(&block));
        block.put_bytes(0, BLOCK_BYTES as usize - block.len());
        block.freeze()
    }

    /// What `block` says.
    pub(super) fn from_block(block: &[u8]) -> Result<Self, HeaderFault> {
        let damaged = HeaderFault::Damaged;
        let block = block.get(..CHECKSUM_AT + 4).ok_or(damaged)?;
        let four = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| block[at + byte]));
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        if !block.starts_with(MAGIC) {
            return Err(damaged);
        }
        if crc32c::crc32c(&block[..CHECKSUM_AT]) != four(CHECKSUM_AT) {
            // A newer version may check itself in another way, but says so here.
            let version = four(8);
            let is_newer = (FORMAT_VERSION + 1..1_000).contains(&version);
            return Err(if is_newer { HeaderFault::Newer(version) } else { damaged });
        }
        if four(8) == 0 {
            return Err(damaged);
        }
        if four(8) > FORMAT_VERSION {
            return Err(HeaderFault::Newer(four(8)));
        }
        let kind = match four(12) {
            1 => FileKind::Segment { bytes: eight(32) },
            2 => FileKind::Snapshot {
                through: LogPosition(eight(32)),
                latest: Time::from_ms(eight(40)),
                records: eight(48),
            },
            _ => return Err(damaged),
        };
        Ok(FileHeader { kind, number: eight(16), salt: eight(24), version: four(8) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_others_are_not_ours() {
        for name in [FileName::Segment(1), FileName::Snapshot(2), FileName::Unfinished(MOST)] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        assert_eq!(FileName::renewing_behind(3).renewed_behind(), Some(3));
        for name in [ERASING, IMPORT, FileName::Unfinished(3), FileName::Segment(MOST - 3)] {
            assert_eq!(name.renewed_behind(), None, "{name}");
        }
        let past = FileName::Segment(MOST + 1).to_string();
        for name in [
            past.as_str(),
            "segment-1",
            "segment-00000000001",
            "segment-x",
            "lock",
            "damaged-segment-1",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn headers_come_back_whole_or_not_at_all() {
        let kind =
            FileKind::Snapshot { through: LogPosition(9), latest: Time::from_ms(8), records: 7 };
        let header = FileHeader::new(kind, 3, u64::MAX);
        let block = header.to_block();
        assert_eq!(block.len() as u64, BLOCK_BYTES);
        assert_eq!(FileHeader::from_block(&block), Ok(header));
        for byte in 0..CHECKSUM_AT + 4 {
            let mut block = block.to_vec();
            block[byte] ^= 0x80;
            assert!(FileHeader::from_block(&block).is_err(), "byte {byte}");
        }
        let newer = FORMAT_VERSION + 1;
        let mut block = block.to_vec();
        block[8..12].copy_from_slice(&newer.to_le_bytes());
        assert_eq!(FileHeader::from_block(&block), Err(HeaderFault::Newer(newer)));
        let checksum = crc32c::crc32c(&block[..CHECKSUM_AT]);
        block[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(FileHeader::from_block(&block), Err(HeaderFault::Newer(newer)));
    }
}
