//! The broker's time axis, as far as clients can know it.
//!
//! It is a process's own: it begins at the wall clock's time, or at the latest time in the journal if
//! that is later, and goes at the pace of true time from there, whatever happens to the wall clock.

use super::Model;

/// The axis of one process. By how much it is ahead of true time, in milliseconds, at least and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    from_ms: u64,
    /// Until when the process surely ran, and may have run.
    surely_until_ms: u64,
    until_ms: u64,
    /// Until when what the process did is surely not undone by how it ended.
    kept_until_ms: u64,
    least_ms: i64,
    most_ms: i64,
    /// The process may not have looked at the wall clock yet.
    is_open: bool,
}

impl Axis {
    /// The first: the journal is empty and the wall clock right.
    pub(super) const FIRST: Axis = Axis::new(0, 0, 0);

    const fn new(from_ms: u64, least_ms: i64, most_ms: i64) -> Self {
        Axis {
            from_ms,
            surely_until_ms: u64::MAX,
            until_ms: u64::MAX,
            kept_until_ms: u64::MAX,
            least_ms,
            most_ms,
            is_open: false,
        }
    }
}

impl Model {
    /// Whether the wall clock was ever set.
    pub(crate) fn has_set_clock(&self) -> bool {
        self.axes.iter().any(|axis| axis.least_ms != 0 || axis.most_ms != 0)
    }

    /// What the journal says of the time at `at_ms` is surely on the disk.
    pub(super) fn time_is_recorded(&mut self, at_ms: u64) {
        let (least, _) = self.axis_ms(at_ms);
        self.recorded_ms = Some(self.recorded_ms.map_or(least, |known| known.max(least)));
    }

    /// The process ends, at once or when it has done what it does at an orderly stop.
    pub(super) fn axis_ends(&mut self, is_orderly: bool) {
        let now_ms = self.now.at_ms;
        let kept_until_ms = if is_orderly { now_ms } else { now_ms.min(self.durable_before_ms) };
        if let Some(axis) = self.axes.last_mut() {
            axis.kept_until_ms = axis.kept_until_ms.min(kept_until_ms);
            axis.surely_until_ms = axis.surely_until_ms.min(now_ms);
            axis.until_ms = if is_orderly { u64::MAX } else { now_ms };
        }
    }

    /// Another begins.
    pub(super) fn axis_begins(&mut self) {
        let Some(last) = self.axes.last_mut() else { return };
        last.until_ms = last.until_ms.min(self.now.at_ms);
        let last_ms = signed(last.until_ms).saturating_add(last.most_ms);
        let (least_ms, most_ms) = self.axis_may_begin(last_ms);
        let axis = Axis::new(self.now.at_ms, least_ms, most_ms);
        self.axes.push(Axis { is_open: true, ..axis });
    }

    /// By how much an axis is ahead that begins now, where the one before it came to `last_ms` at most.
    fn axis_may_begin(&mut self, last_ms: i64) -> (i64, i64) {
        let now = signed(self.now.at_ms);
        let wall = now.saturating_add(self.wall_ahead_ms);
        let most = wall.max(last_ms);
        let least = self.recorded_ms.map_or(wall, |recorded| wall.max(recorded));
        let jump = most.saturating_sub(self.recorded_ms.unwrap_or(i64::MIN));
        if jump >= signed(self.bounds.time_jump_maximum_ms) {
            self.may_hold_from(least.min(self.recorded_ms.unwrap_or(least)));
        }
        self.hold_begins_anew();
        (least - now, most - now)
    }

    /// The process has begun to serve: what the wall clock is set to concerns the next one alone.
    pub(super) fn serves(&mut self) {
        if let Some(axis) = self.axes.last_mut() {
            axis.is_open = false;
        }
    }

    /// The wall clock is set. A process that begins may look at it before or after that.
    pub(super) fn wall_clock(&mut self, by_ms: i64) {
        self.wall_ahead_ms = self.wall_ahead_ms.saturating_add(by_ms);
        if self.axes.last().is_some_and(|axis| axis.is_open) {
            let (least_ms, most_ms) = self.axis_may_begin(i64::MIN);
            if let Some(axis) = self.axes.last_mut() {
                axis.least_ms = axis.least_ms.min(least_ms);
                axis.most_ms = axis.most_ms.max(most_ms);
            }
        }
    }

    /// What the axis showed at least and at most at a moment. Who asks something of a process that has
    /// ended asks the next one at the earliest.
    pub(crate) fn axis_ms(&self, at_ms: u64) -> (i64, i64) {
        let found = self.axes.iter().rev().find(|axis| axis.from_ms <= at_ms);
        let axis = found.unwrap_or(&Axis::FIRST);
        let least = signed(at_ms.min(axis.surely_until_ms)).saturating_add(axis.least_ms);
        (least, signed(at_ms).saturating_add(axis.most_ms))
    }

    /// What the axis showed at least between two moments, for something that came at `came_ms`: where a
    /// process ended without saying what time it was, the next may begin before that.
    pub(crate) fn least_ms(&self, came_ms: u64, from_ms: u64, to_ms: u64) -> i64 {
        let later = self.axes.iter().filter(|axis| axis.from_ms > from_ms && axis.from_ms <= to_ms);
        let begins = later.map(|axis| signed(axis.from_ms).saturating_add(axis.least_ms));
        begins.fold(self.axis_ms(from_ms).0.min(self.held_axis(came_ms)), i64::min)
    }

    /// When so much time may have passed for the broker since something between two moments, at the
    /// earliest.
    pub(crate) fn earliest_ms(&self, from_ms: u64, to_ms: u64, for_ms: u64) -> u64 {
        let plain_ms = from_ms.saturating_add(for_ms);
        if plain_ms == u64::MAX || for_ms == 0 && !self.has_set_clock() {
            return plain_ms;
        }
        if !self.has_set_clock() {
            return self.held_until_ms(plain_ms);
        }
        let least = self.least_ms(from_ms, from_ms, to_ms);
        let due = least.saturating_add(signed(for_ms));
        self.reached_ms(due, from_ms, |axis| (axis.most_ms, axis.until_ms))
    }

    /// When so much time has surely passed for the broker since `from_ms`, and it has done what is due then for good.
    pub(crate) fn latest_ms(&self, from_ms: u64, for_ms: u64) -> u64 {
        let plain_ms = from_ms.saturating_add(for_ms);
        if plain_ms == u64::MAX || !self.has_set_clock() {
            return self.confirmed_by_ms(plain_ms);
        }
        let (_, most) = self.axis_ms(from_ms);
        let due = most.saturating_add(signed(for_ms));
        let at_ms = self.reached_ms(due, from_ms, |axis| (axis.least_ms, axis.kept_until_ms));
        self.confirmed_by_ms(at_ms)
    }

    fn reached_ms(&self, due: i64, from_ms: u64, bounds: fn(&Axis) -> (i64, u64)) -> u64 {
        for axis in &self.axes {
            let (ahead_ms, until_ms) = bounds(axis);
            let at_ms = u64::try_from(due.saturating_sub(ahead_ms)).unwrap_or(0);
            let at_ms = at_ms.max(axis.from_ms).max(from_ms);
            if at_ms < until_ms {
                return at_ms;
            }
        }
        u64::MAX
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
