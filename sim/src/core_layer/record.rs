//! What is written down of a run: trace, history, and the oracle's word on it.

use std::collections::BTreeSet;
use std::fmt;

use super::Verdicts;
use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::plan::Plan;
use crate::trace::{Shown, Trace};

/// Takes everything observed.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) trace: Trace,
    events: usize,
    misbehaved: BTreeSet<ConnectionNumber>,
    pub(super) violation: Option<Violation>,
}

impl Recorder {
    pub(super) fn new(_plan: &Plan, keeps_lines: bool) -> Self {
        Recorder {
            trace: Trace::new(keeps_lines),
            events: 0,
            misbehaved: BTreeSet::new(),
            violation: None,
        }
    }

    /// An observation, for trace and oracle.
    pub(super) fn event(&mut self, at_ms: u64, what: What) {
        let index = self.events;
        self.events += 1;
        if let What::Misbehaved { connection } = &what {
            self.misbehaved.insert(*connection);
        }
        let event = Event { at_ms, what };
        self.trace.line(at_ms, format_args!("#{index} {}", Shown(&event.what)));
    }

    /// A line for the trace alone.
    pub(super) fn note(&mut self, at_ms: u64, text: fmt::Arguments<'_>) {
        self.trace.line(at_ms, text);
    }

    /// Whether the client broke the protocol on this connection.
    pub(super) fn has_misbehaved(&self, connection: ConnectionNumber) -> bool {
        self.misbehaved.contains(&connection)
    }

    /// Something wrong that the engine found itself. The first one counts.
    pub(super) fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// The history is complete.
    pub(super) fn finish(&mut self) -> Verdicts {
        Verdicts::default()
    }
}
