//! The folder: which names there are now, and which a power cut would leave.

use std::collections::BTreeMap;

use super::file::Leftover;
use crate::chance::Stream;

/// A file, whatever its name.
pub(super) type FileId = u64;

/// Names of files.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    names: BTreeMap<String, FileId>,
    durable: BTreeMap<String, FileId>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    what: What,
    /// When the caller is told.
    done_at_ms: u64,
}

#[derive(Clone, Debug)]
enum What {
    Created { name: String, file: FileId },
    Renamed { from: String, to: String, file: FileId },
    Removed { name: String, file: FileId },
}

impl Folder {
    pub(super) fn find(&self, name: &str) -> Option<FileId> {
        self.names.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&String, FileId)> {
        self.names.iter().map(|(name, file)| (name, *file))
    }

    /// Whether the file has a name, now or after a power cut.
    pub(super) fn knows(&self, file: FileId) -> bool {
        let later = self.changes.iter().any(|change| match &change.what {
            What::Created { file: known, .. } | What::Renamed { file: known, .. } => *known == file,
            What::Removed { .. } => false,
        });
        later || self.names.values().chain(self.durable.values()).any(|known| *known == file)
    }

    pub(super) fn create(&mut self, name: &str, file: FileId, done_at_ms: u64) {
        self.change(What::Created { name: name.to_owned(), file }, done_at_ms);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, file: FileId, done_at_ms: u64) {
        self.change(What::Renamed { from: from.to_owned(), to: to.to_owned(), file }, done_at_ms);
    }

    pub(super) fn remove(&mut self, name: &str, file: FileId, done_at_ms: u64) {
        self.change(What::Removed { name: name.to_owned(), file }, done_at_ms);
    }

    fn change(&mut self, what: What, done_at_ms: u64) {
        apply(&mut self.names, &what);
        self.changes.push(Change { what, done_at_ms });
    }

    /// How many changes somebody was told of by then.
    pub(super) fn told_by(&self, now_ms: u64) -> usize {
        self.changes.iter().take_while(|change| change.done_at_ms <= now_ms).count()
    }

    /// The first so many changes are on the device.
    pub(super) fn synced(&mut self, changes: usize) {
        for change in self.changes.drain(..changes.min(self.changes.len())) {
            apply(&mut self.durable, &change.what);
        }
    }

    /// The process ended: a change it was not told of may have taken place or not.
    pub(super) fn process_ended(&mut self, now_ms: u64, chance: &mut Stream) {
        self.changes.retain(|change| change.done_at_ms <= now_ms || chance.one_in(2));
        for change in &mut self.changes {
            change.done_at_ms = 0; // it took place, and whoever comes now can make it durable
        }
        self.names.clone_from(&self.durable);
        for change in &self.changes {
            apply(&mut self.names, &change.what);
        }
    }

    /// The power went. Changes that were not synced are there or not, each by itself.
    pub(super) fn power_cut(&mut self, leftover: Leftover, chance: &mut Stream) {
        for change in std::mem::take(&mut self.changes) {
            let is_kept = match leftover {
                Leftover::Nothing => false,
                Leftover::Everything => true,
                Leftover::Some => chance.one_in(2),
            };
            if is_kept {
                apply(&mut self.durable, &change.what);
            }
        }
        self.names.clone_from(&self.durable);
    }
}

/// What a change does to names that may lack the changes before it.
fn apply(names: &mut BTreeMap<String, FileId>, what: &What) {
    match what {
        What::Created { name, file } => {
            names.insert(name.clone(), *file);
        }
        What::Renamed { from, to, file } => {
            if names.get(from) == Some(file) {
                names.remove(from);
            }
            names.insert(to.clone(), *file);
        }
        What::Removed { name, file } => {
            if names.get(name) == Some(file) {
                names.remove(name);
            }
        }
    }
}
