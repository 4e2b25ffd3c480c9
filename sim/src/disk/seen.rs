//! What a run's disk has gone through, for those who ask whether it was all of it.

use std::collections::BTreeSet;

use super::{Operation, SimDisk, State};

/// What a disk has gone through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Operations that failed with an input/output error.
    pub failed: BTreeSet<Operation>,
    /// Operations that were begun and not ended when the process ended, or begun in that moment.
    pub cut_at: BTreeSet<Operation>,
    /// Whether a file could not be made, or grow, for want of space.
    pub was_full: bool,
    /// The last operation, and when it was begun.
    last: Option<(Operation, u64)>,
}

impl SimDisk {
    /// What it has gone through.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.state.borrow().seen.clone()
    }
}

impl State {
    pub(super) fn see(&mut self, operation: Operation, now_ms: u64) {
        self.seen.last = Some((operation, now_ms));
    }

    /// The process ends.
    pub(super) fn see_cut(&mut self, now_ms: u64) {
        let last = self.seen.last.filter(|(_, at_ms)| *at_ms == now_ms || self.is_stopped);
        self.seen.cut_at.extend(last.map(|(operation, _)| operation));
        let syncs = self.syncs.iter().map(|sync| sync.what.operation());
        self.seen.cut_at.extend(syncs);
    }
}
