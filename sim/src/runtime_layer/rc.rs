//! RC, as only the store's owner can judge it: what a recovery finds is what was appended, up to
//! some position that is not before the last one called durable, and it is the same when the store
//! is read again. That clients are let in afterwards is judged from outside, by the oracle.

use signalhouse_core::{LogPosition, Record};

use crate::snapshot::first_difference;

/// Why the broker's process is over, if it was not told to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It says itself that it cannot go on, which breaks this guarantee unless there is a reason.
    Itself(&'static str, String),
    /// What it would serve is not what was stored. No failure of its disk is a reason for that.
    Judged(String),
}

/// What to make of the end of the broker's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was told to stop.
    Told,
    /// It rightly refused to go on.
    Excused(String),
    /// It breaks this guarantee.
    Wrong(&'static str, String),
}

/// Judges the end of the broker's process. `is_excused` tells whether something was done to it that
/// what it says of itself can come from.
pub(super) fn ending(
    failed: Option<Failed>,
    is_told: bool,
    is_excused: impl FnOnce(&str) -> bool,
) -> Ending {
    match failed {
        Some(Failed::Judged(what)) => Ending::Wrong("RC", what),
        Some(Failed::Itself(_, error)) if is_excused(&error) => Ending::Excused(error),
        Some(Failed::Itself(guarantee, error)) => {
            Ending::Wrong(guarantee, format!("the broker ended: {error}"))
        }
        None if is_told => Ending::Told,
        None => Ending::Wrong("LV", "the broker ended, and nobody told it to".to_owned()),
    }
}

/// What a recovery found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recovered {
    /// The last position.
    pub(super) through: LogPosition,
    /// The broker's state, as records.
    pub(super) state: Vec<Record>,
    /// Whole frames behind the end.
    pub(super) stale_frames: usize,
}

/// A recovery, by the operations on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How many there had been before it.
    pub begins: u64,
    /// How many there had been when clients were let in; `None` if it did not come to that.
    pub ends: Option<u64>,
    /// The position through which records were found, once that was known.
    pub through: Option<LogPosition>,
}

/// What went into the store over all of the broker's processes.
#[derive(Debug, Default)]
pub(super) struct Appended {
    /// From position 1 on, without a gap.
    records: Vec<Record>,
    /// What must be there.
    durable: LogPosition,
    /// What the broker was told is durable.
    told: LogPosition,
    /// When it was told what since its start, in milliseconds.
    tellings: Vec<(u64, LogPosition)>,
    /// What is surely on the disk, where what is told need not be.
    synced: LogPosition,
}

impl Appended {
    /// A record was appended.
    pub(super) fn append(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The broker was told that everything through there is durable.
    pub(super) fn durable(&mut self, now_ms: u64, through: LogPosition) {
        self.told = self.told.max(through);
        self.durable = self.durable.max(through);
        self.tellings.push((now_ms, through));
    }

    /// The broker's process ends, at a level that syncs late: what it was told before that moment is on the disk. The
    /// rest is in memory.
    pub(super) fn ends(&mut self, synced_before_ms: u64) {
        let synced = self.tellings.iter().filter(|(at_ms, _)| *at_ms < synced_before_ms);
        self.synced =
            synced.map(|(_, through)| *through).max().unwrap_or_default().max(self.synced);
        self.tellings.clear();
    }

    /// What was in memory alone is gone, at a level that syncs late.
    pub(super) fn loses_memory(&mut self) {
        self.durable = self.durable.min(self.synced);
    }

    /// What the broker was told is durable.
    pub(super) fn told(&self) -> LogPosition {
        self.told
    }

    /// Whether something behind that position was told durable.
    pub(super) fn has_told_behind(&self, through: LogPosition) -> bool {
        self.told > through
    }

    /// Whether nothing durable is behind that position.
    pub(super) fn is_all_durable_in(&self, through: LogPosition) -> bool {
        through >= self.durable
    }

    /// Whether nothing that is surely on the disk is behind that position, at a level that syncs late.
    pub(super) fn is_all_synced_in(&self, through: LogPosition) -> bool {
        through >= self.synced
    }

    /// The position of the last record.
    pub(super) fn end(&self) -> LogPosition {
        LogPosition(self.records.len() as u64)
    }

    /// What was appended through there.
    pub(super) fn through(&self, through: LogPosition) -> &[Record] {
        let length = usize::try_from(through.0).unwrap_or(usize::MAX);
        &self.records[..length.min(self.records.len())]
    }

    /// Judges a recovery. `again` is a second one from what the first left; `expected` is the state
    /// that the records through the position found come to.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(super) fn judge(
        &mut self,
        found: &Recovered,
        again: &Recovered,
        expected: &[Record],
    ) -> Result<(), String> {
        let Recovered { through, state, .. } = found;
        let appended = self.records.len() as u64;
        if *through < self.durable {
            return Err(format!("the store ends at {through}, and {} was durable", self.durable));
        }
        if through.0 > appended {
            return Err(format!("the store ends at {through}, and {appended} was the last"));
        }
        if again.through != *through {
            let other = again.through;
            return Err(format!("recovering twice finds another end: {through}, then {other}"));
        }
        if again.stale_frames > 0 {
            let frames = again.stale_frames;
            return Err(format!("{frames} frames behind the end {through} can come back"));
        }
        same("recovering twice", state, &again.state)?;
        same("what was appended and what is found", expected, state)?;
        self.records.truncate(usize::try_from(through.0).unwrap_or(usize::MAX));
        (self.durable, self.told, self.synced) = (*through, *through, *through);
        self.tellings.clear();
        Ok(())
    }
}

pub(super) fn same(what: &str, first: &[Record], second: &[Record]) -> Result<(), String> {
    let Some(place) = first_difference(first, second) else { return Ok(()) };
    let (first, second) = (first.get(place), second.get(place));
    Err(format!("{what} differs: record {place} is {first:?}, then {second:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalhouse_core::record::SessionId;

    fn record(session: u64) -> Record {
        Record::SessionEnded { session: SessionId(session) }
    }

    /// Three records, two of them durable.
    fn history() -> Appended {
        let mut appended = Appended::default();
        for session in 1..=3 {
            appended.append(record(session));
        }
        appended.durable(0, LogPosition(2));
        appended
    }

    fn found(through: u64) -> Recovered {
        let state = (1..=through).map(record).collect();
        Recovered { through: LogPosition(through), state, stale_frames: 0 }
    }

    /// What is said of `first`, then `again`.
    fn verdict(first: &Recovered, again: &Recovered) -> Result<(), String> {
        let mut history = history();
        let expected = history.through(first.through).to_vec();
        history.judge(first, again, &expected)
    }

    fn fails(first: &Recovered, again: &Recovered, why: &str) {
        let said = verdict(first, again).expect_err("it is wrong");
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn what_was_durable_comes_back_with_more_or_without() {
        assert_eq!(verdict(&found(2), &found(2)), Ok(()));
        assert_eq!(verdict(&found(3), &found(3)), Ok(()));
    }

    #[test]
    fn what_was_durable_must_come_back() {
        fails(&found(1), &found(1), "the store ends at @1, and @2 was durable");
    }

    /// Three records, told at 10, 110 and 210 ms, at a level that syncs late; then the process ends.
    fn late(synced_before_ms: u64, with_power: bool) -> Appended {
        let mut history = Appended::default();
        for session in 1..=3 {
            history.append(record(session));
            history.durable(session * 100 - 90, LogPosition(session));
        }
        history.ends(synced_before_ms);
        if with_power {
            history.loses_memory();
        }
        history
    }

    fn judge_late(mut history: Appended, through: u64) -> Result<(), String> {
        let expected = history.through(LogPosition(through)).to_vec();
        history.judge(&found(through), &found(through), &expected)
    }

    #[test]
    fn at_a_level_that_syncs_late_a_power_cut_takes_the_end_and_no_more() {
        assert_eq!(judge_late(late(111, true), 2), Ok(()));
        assert_eq!(judge_late(late(111, true), 3), Ok(()));
        assert!(late(111, true).has_told_behind(LogPosition(2)), "which is known");
        let said =
            judge_late(late(111, true), 1).expect_err("what was told at 110 ms is on the disk");
        assert!(said.contains("the store ends at @1, and @2 was durable"), "{said}");
    }

    #[test]
    fn at_a_level_that_syncs_late_a_kill_takes_nothing() {
        let said = judge_late(late(111, false), 2).expect_err("it is in memory");
        assert!(said.contains("the store ends at @2, and @3 was durable"), "{said}");
        let mut killed = late(111, false);
        killed.ends(500);
        killed.loses_memory();
        assert_eq!(judge_late(killed, 2), Ok(()), "the power goes before anybody has synced it");
    }

    #[test]
    fn nothing_comes_back_that_was_not_appended() {
        fails(&found(4), &found(4), "the store ends at @4, and 3 was the last");
        let mut other = found(3);
        other.state[2] = record(9);
        fails(&other, &other, "what was appended and what is found differs: record 2");
    }

    #[test]
    fn a_record_that_is_missing_in_between_is_missed() {
        let mut gap = found(3);
        gap.state.remove(1);
        fails(&gap, &gap, "what was appended and what is found differs: record 1");
    }

    #[test]
    fn recovering_twice_gives_the_same() {
        fails(&found(2), &found(3), "recovering twice finds another end: @2, then @3");
        let mut other = found(3);
        other.state.pop();
        fails(&found(3), &other, "recovering twice differs: record 2");
    }

    #[test]
    fn what_was_cut_cannot_come_back() {
        let stale = Recovered { stale_frames: 1, ..found(2) };
        assert_eq!(verdict(&stale, &found(2)), Ok(()), "the first one cuts it");
        fails(&stale, &stale, "1 frames behind the end @2 can come back");
    }

    #[test]
    fn a_disk_that_failed_excuses_a_refusal_and_no_judgement() {
        let refused = || Some(Failed::Itself("RC", "the store is refused".to_owned()));
        let excused = Ending::Excused("the store is refused".to_owned());
        assert_eq!(ending(refused(), false, |_| true), excused);
        assert!(matches!(ending(refused(), false, |_| false), Ending::Wrong("RC", _)));
        let short = Failed::Judged("the store ends at @1, and @2 was durable".to_owned());
        assert!(matches!(ending(Some(short), false, |_| true), Ending::Wrong("RC", _)));
    }

    #[test]
    fn a_broker_that_stops_was_told_to() {
        assert_eq!(ending(None, true, |_| false), Ending::Told);
        assert!(matches!(ending(None, false, |_| true), Ending::Wrong("LV", _)));
    }

    #[test]
    fn after_a_cut_its_positions_are_given_again() {
        let mut history = history();
        assert_eq!(history.judge(&found(2), &found(2), &[record(1), record(2)]), Ok(()));
        history.append(record(7));
        history.durable(0, LogPosition(3));
        let state = vec![record(1), record(2), record(7)];
        let found = Recovered { through: LogPosition(3), state: state.clone(), stale_frames: 0 };
        assert_eq!(history.through(LogPosition(3)), &state[..]);
        assert_eq!(history.judge(&found, &found, &state), Ok(()));
    }
}
