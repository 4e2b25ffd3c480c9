//! Where messages are: for every so many bytes of each file, the first message behind that place.
//!
//! The numbers of messages rise with the positions of the records that bring them, in the log and in a
//! snapshot alike, so a few places in each file find any message.

use std::collections::BTreeMap;

use signalhouse_core::Record;
use signalhouse_core::message::MessageId;

use super::file::FileName;

/// Between two places noted lie at least so many bytes.
const STEP_BYTES: u64 = 16 * 1024;

/// Places in the files that count.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the file's number, the snapshot before the segment of the same number.
    files: BTreeMap<(u64, bool), Marks>,
}

/// Places in one file.
pub(super) type Marks = Vec<Mark>;

/// A place, and the first message from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) first: MessageId,
    pub(super) offset: u64,
}

impl Index {
    /// Notes that the frame at `offset` begins with the message `first`.
    pub(super) fn note(&mut self, file: FileName, first: MessageId, offset: u64) {
        let marks = self.files.entry(key(file)).or_default();
        if marks.last().is_none_or(|last| last.offset + STEP_BYTES <= offset) {
            marks.push(Mark { first, offset });
        }
    }

    /// Notes the message that `record` brings, if it does.
    pub(super) fn note_record(&mut self, file: FileName, record: &Record, offset: u64) {
        if let Record::Published { message, .. } = record {
            self.note(file, message.id, offset);
        }
    }

    /// A snapshot, with its places, has come in the stead of everything before it.
    pub(super) fn replace(&mut self, snapshot: u64, marks: Marks) {
        self.files.retain(|(number, _), _| *number >= snapshot);
        self.files.insert(key(FileName::Snapshot(snapshot)), marks);
    }

    /// From where on to look for a message.
    pub(super) fn find(&self, message: MessageId) -> Option<(FileName, u64)> {
        self.files.iter().rev().find_map(|((number, is_segment), marks)| {
            let before = marks.partition_point(|mark| mark.first <= message);
            let mark = marks.get(before.checked_sub(1)?)?;
            let name =
                if *is_segment { FileName::Segment(*number) } else { FileName::Snapshot(*number) };
            Some((name, mark.offset))
        })
    }
}

fn key(file: FileName) -> (u64, bool) {
    match file {
        FileName::Snapshot(number) | FileName::Unfinished(number) => (number, false),
        FileName::Segment(number) => (number, true),
    }
}
