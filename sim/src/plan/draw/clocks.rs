//! The wall clock of the broker's host, set while it runs and while it is down, from a stream of its
//! own.

use super::{Draft, Percent as _};
use crate::plan::{BrokerFault, Do};

/// From what a time server puts right to what an empty battery does, in milliseconds.
const STEPS_MS: [i64; 5] = [2_000, 90_000, 3_600_000, 86_400_000, 864_000_000];
/// In some plans expiry waits for the operator after a jump of more than that.
const HELD_MS: u64 = 86_400_000;
/// When the first process has surely read its clock.
const BEGUN_MS: u64 = 300;

impl Draft {
    /// Before the starts of a quarter of the plans. The calm starts nothing that runs.
    pub(super) fn set_clocks(&mut self) {
        let mut chance = self.stream("wall clock");
        let starts = self.plan.steps.iter();
        let starts = starts.filter(|step| step.what == Do::Broker(BrokerFault::Start));
        let moments: Vec<u64> = starts.map(|step| step.at_ms).collect();
        if moments.is_empty() || !chance.percent(25) {
            return;
        }
        for at_ms in moments {
            if chance.percent(60) {
                let by_ms = *chance.pick(&STEPS_MS);
                let by_ms = if chance.percent(50) { by_ms } else { -by_ms };
                let before_ms = if chance.percent(50) { 1 } else { chance.between(1, 3_000) };
                // The first process has begun by then.
                let at_ms = at_ms.saturating_sub(before_ms).max(BEGUN_MS);
                self.push(at_ms, Do::WallClock { by_ms });
            }
        }
        if chance.percent(25) {
            let settings = self.plan.settings.iter_mut();
            for (_, value) in settings.filter(|(name, _)| name == "time_jump_maximum_ms") {
                *value = HELD_MS;
            }
        }
    }
}
