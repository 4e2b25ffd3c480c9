//! A store of any files: it is opened or refused, never more than that; what was opened once is
//! opened again the same, and the tools that only look say the same as the broker.
//!
//! Checksums are right unless a file is damaged on purpose, so that what they protect is reached.

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use signalhouse::journal::codec::encode;
use signalhouse::journal::{Found, Level, OpenOptions, StoreError, open, tools};
use signalhouse_core::record::SessionId;
use signalhouse_core::{Config, Record, Seed, Time};

use crate::surroundings::{MemoryDisk, NoSpawn, Stopped, run as run_future};

const BLOCK_BYTES: usize = 4_096;
const HEADER_CHECKSUM_AT: usize = 60;
const SEGMENT_BYTES: u64 = 16 * 1024;
const FILES_MAXIMUM: usize = 5;

#[derive(Arbitrary, Debug)]
struct Store<'a> {
    files: Vec<File<'a>>,
    damage: Vec<Damage>,
}

#[derive(Arbitrary, Debug)]
struct File<'a> {
    kind: u8,
    number: u8,
    says: Option<(u8, u8)>,
    version: Option<u8>,
    salt: u8,
    through: u8,
    latest: u8,
    records: u8,
    frames: Vec<Frame<'a>>,
    zeros: u8,
    tail: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct Frame<'a> {
    /// Further than the last one by so much.
    jump: u8,
    /// So many positions before the frame.
    undurable: u8,
    more_records: u8,
    has_checksum: bool,
    salt: u8,
    records: Vec<Content<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Content<'a> {
    SessionEnded(u8),
    Anything(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
struct Damage {
    file: u8,
    offset: u16,
    xor: u8,
    cuts: bool,
}

/// Opens the store in `data`, twice.
///
/// # Panics
/// If the second time gives something else.
pub fn run(data: &[u8]) {
    let Ok(store) = Store::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let disk = store.disk();
    let looked = run_future(tools::check(&disk));
    let first = open_and_start(&disk);
    // Looking changes nothing, and finds what opening finds.
    match (&looked, &first) {
        (Ok(looked), Ok(first)) => assert_eq!(looked, first),
        (Err(StoreError::Damaged { .. } | StoreError::Missing { .. }), Err(_)) => {
            return repaired_stores_open(&store.disk());
        }
        (Err(_), Err(_)) => return,
        (looked, first) => panic!("looked at: {looked:?}, opened: {first:?}"),
    }
    let Ok(first) = first else { return };
    let again = open_and_start(&disk).expect("what was opened can be opened");
    // The beginning of a frame may stay: the next one is written over it.
    let stale = again.cut.as_ref().map_or(0, |cut| cut.frames);
    assert_eq!(stale, 0, "frames that were cut are there again");
    assert_eq!((again.through, again.totals), (first.through, first.totals));
}

/// What is damaged can be set aside, and what is left is a store.
fn repaired_stores_open(disk: &MemoryDisk) {
    match run_future(tools::repair(disk, &NoSpawn, SEGMENT_BYTES, 1)) {
        Ok(repaired) => drop(repaired),
        // What a newer version wrote is not for this one to judge.
        Err(StoreError::Newer { .. }) => return,
        Err(error) => panic!("a damaged store cannot be repaired: {error}"),
    }
    let left = open_and_start(disk).map(|found| found.through);
    assert!(left.is_ok(), "a repaired store is refused: {left:?}");
}

fn open_and_start(disk: &MemoryDisk) -> Result<Found, StoreError> {
    run_future(async {
        let opened = open(disk.clone(), open_options()).await?;
        let found = opened.found();
        let clock = Stopped(opened.beginning(Time::from_ms(1_000_000)));
        let (broker, journal) = opened.start(clock, NoSpawn).await?;
        drop((broker.snapshot(), journal));
        Ok(found)
    })
}

fn open_options() -> OpenOptions {
    OpenOptions {
        config: Config::default(),
        seed: Seed(1),
        level: Level::Strict,
        segment_bytes: SEGMENT_BYTES,
    }
}

impl Store<'_> {
    fn disk(&self) -> MemoryDisk {
        let disk = MemoryDisk::default();
        for (place, file) in self.files.iter().take(FILES_MAXIMUM).enumerate() {
            let mut bytes = file.bytes();
            for damage in &self.damage {
                if usize::from(damage.file) % FILES_MAXIMUM != place || bytes.is_empty() {
                    continue;
                }
                let at = usize::from(damage.offset) % bytes.len();
                bytes[at] ^= damage.xor;
                if damage.cuts {
                    bytes.truncate(at);
                }
            }
            disk.put(file.name(), bytes);
        }
        disk
    }
}

impl File<'_> {
    fn name(&self) -> String {
        let kind = ["segment", "segment", "snapshot", "unfinished"][usize::from(self.kind % 4)];
        format!("{kind}-{:010}", self.number % 5)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        let mut next = u64::from(self.through);
        for frame in &self.frames {
            next = frame.write(next, self.salt, &mut bytes);
        }
        bytes.resize(bytes.len() + usize::from(self.zeros) * 8, 0);
        bytes.extend_from_slice(self.tail);
        bytes
    }

    /// The block at the beginning: magic, version, kind, number, salt, and what a snapshot covers.
    fn header(&self) -> Vec<u8> {
        let (kind, number) = self.says.unwrap_or((self.kind % 4 / 2 + 1, self.number % 5));
        let is_snapshot = kind == 2;
        let of_snapshot = |number: u8| if is_snapshot { u64::from(number) } else { 0 };
        let mut block = b"SIGNLHSE".to_vec();
        block.extend_from_slice(&u32::from(self.version.unwrap_or(1)).to_le_bytes());
        block.extend_from_slice(&u32::from(kind).to_le_bytes());
        block.extend_from_slice(&u64::from(number).to_le_bytes());
        block.extend_from_slice(&u64::from(self.salt).to_le_bytes());
        for number in [self.through, self.latest, self.records] {
            block.extend_from_slice(&of_snapshot(number).to_le_bytes());
        }
        block.resize(HEADER_CHECKSUM_AT, 0);
        let checksum = crc32c::crc32c(&block);
        block.extend_from_slice(&checksum.to_le_bytes());
        block.resize(BLOCK_BYTES, 0);
        block
    }
}

impl Frame<'_> {
    /// Writes itself behind `last`, and says what its own last position is.
    fn write(&self, last: u64, salt: u8, out: &mut Vec<u8>) -> u64 {
        let mut body = BytesMut::new();
        let mut count = 0;
        for content in &self.records {
            count += 1;
            match content {
                Content::SessionEnded(session) => {
                    let session = SessionId(u64::from(*session));
                    encode(&Record::SessionEnded { session }, &mut body);
                }
                Content::Anything(bytes) => body.extend_from_slice(bytes),
            }
        }
        let first = last + 1 + u64::from(self.jump);
        let count = u64::from(self.more_records) + count;
        let mut frame =
            u32::try_from(body.len()).expect("an input is short").to_le_bytes().to_vec();
        frame.extend_from_slice(&first.to_le_bytes());
        frame.extend_from_slice(&first.saturating_sub(u64::from(self.undurable) + 1).to_le_bytes());
        frame.extend_from_slice(&(count as u32).to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&body);
        let salt = u64::from(salt.wrapping_add(self.salt));
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &frame);
        let checksum = if self.has_checksum { !checksum } else { checksum };
        out.extend_from_slice(&frame[..4]);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&frame[4..]);
        out.resize(out.len().next_multiple_of(8), 0);
        last + u64::from(self.jump) + count
    }
}
