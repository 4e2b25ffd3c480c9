//! Why a store cannot be used.

use std::error::Error;
use std::fmt::{self, Display};
use std::io;

use signalhouse_core::message::MessageId;
use signalhouse_core::{LogPosition, RecoverError};

use super::codec::DecodeRecordError;
use crate::seams::SyncFailed;

/// Why a store cannot be used. Shows with what an operator can do about it.
#[derive(Debug)]
pub enum StoreError {
    /// The operating system or the disk says no.
    Disk {
        /// What was tried.
        doing: &'static str,
        /// The file, or `the data folder`.
        file: String,
        /// What it says.
        source: io::Error,
    },
    /// What was known to be durable is not as it was written.
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: Damage,
    },
    /// A newer version of the program wrote it.
    Newer {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// A file that must be there is not.
    Missing {
        /// The file.
        file: String,
    },
    /// An import was ended before it was done; nothing of a store is here yet.
    Importing,
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
    /// What is wrong, without advice.
    #[must_use]
    pub fn cause(&self) -> impl Display + '_ {
        Cause(self)
    }

    /// For `map_err`: `doing` something with `file` failed.
    pub(super) fn disk(
        doing: &'static str,
        file: impl ToString,
    ) -> impl FnOnce(io::Error) -> StoreError {
        let file = file.to_string();
        move |source| {
            let is_sync = source.get_ref().is_some_and(|inner| inner.is::<SyncFailed>());
            StoreError::Disk { doing: if is_sync { "cannot sync" } else { doing }, file, source }
        }
    }
}

struct Cause<'a>(&'a StoreError);

impl Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            StoreError::Disk { doing, file, source } => write!(f, "{doing} {file}: {source}"),
            StoreError::Damaged { file, offset, what } => {
                write!(f, "{file} is damaged at offset {offset}: {what}")
            }
            StoreError::Newer { file, version } => {
                write!(f, "{file} has format version {version}, which is newer than this program")
            }
            StoreError::Missing { file } => write!(f, "{file} is missing"),
            StoreError::Importing => f.write_str("an import was ended before it was done"),
        }
    }
}

impl Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Cause(self).fmt(f)?;
        match self {
            StoreError::Disk { .. } => Ok(()),
            StoreError::Newer { .. } => f.write_str("; use a newer one"),
            StoreError::Damaged { .. } | StoreError::Missing { .. } => write!(f, "; {ADVICE}"),
            StoreError::Importing => f.write_str("; `signalhouse store import` begins it again"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StoreError::Disk { source, .. } => Some(source),
            StoreError::Damaged { what, .. } => Some(what),
            StoreError::Newer { .. } | StoreError::Missing { .. } | StoreError::Importing => None,
        }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> io::Error {
        match &error {
            StoreError::Disk { source, .. } => io::Error::new(source.kind(), error),
            StoreError::Damaged { .. }
            | StoreError::Newer { .. }
            | StoreError::Missing { .. }
            | StoreError::Importing => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}
