//! Why a store cannot be used.

use std::io;

use signalhouse_core::message::MessageId;
use signalhouse_core::{LogPosition, RecoverError};

use super::codec::DecodeRecordError;

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system or the disk says no.
    #[error("{doing} {file}: {source}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// The file, or `the data folder`.
        file: String,
        /// What it says.
        source: io::Error,
    },
    /// What was known to be durable is not as it was written.
    #[error("{file} is damaged at offset {offset}: {what}; {ADVICE}")]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: Damage,
    },
    /// A newer version of the program wrote it.
    #[error(
        "{file} has format version {version}, which is newer than this program; use a newer one"
    )]
    Newer {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// A file that must be there is not.
    #[error("{file} is missing; {ADVICE}")]
    Missing {
        /// The file.
        file: String,
    },
}

const ADVICE: &str =
    "`signalhouse store repair` sets aside what is damaged and says what is lost with it";

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The first block of a file.
    #[error("its first block is not that of a store's file")]
    Header,
    /// A file ends before the length that it was given before it was used.
    #[error("the file ends here, and had {bytes} bytes")]
    Short {
        /// That length.
        bytes: u64,
    },
    /// A frame that was durable is not there as it was written.
    #[error(
        "the record with position {expected} was durable ({known_durable} was) and is not intact"
    )]
    Frame {
        /// The position of the first record in it.
        expected: LogPosition,
        /// The highest position known to have been durable.
        known_durable: LogPosition,
    },
    /// A snapshot ends before all its records.
    #[error("the snapshot has {found} of its {expected} records")]
    Snapshot {
        /// How many records there are.
        found: u64,
        /// How many it says it has.
        expected: u64,
    },
    /// A message that queues have is nowhere.
    #[error("message {0} is not there")]
    Message(MessageId),
    /// A checksum fits, but what it is over makes no sense.
    #[error("{0}")]
    Record(#[from] DecodeRecordError),
    /// Records contradict each other.
    #[error("{0}")]
    Recover(#[from] RecoverError),
}

impl StoreError {
    /// For `map_err`: `doing` something with `file` failed.
    pub(super) fn disk(
        doing: &'static str,
        file: impl ToString,
    ) -> impl FnOnce(io::Error) -> StoreError {
        let file = file.to_string();
        move |source| StoreError::Disk { doing, file, source }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> io::Error {
        match &error {
            StoreError::Disk { source, .. } => io::Error::new(source.kind(), error),
            StoreError::Damaged { .. } | StoreError::Newer { .. } | StoreError::Missing { .. } => {
                io::Error::new(io::ErrorKind::InvalidData, error)
            }
        }
    }
}
