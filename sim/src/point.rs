//! Points in the runtime and its journal at which the simulator meddles.
//!
//! A plan switches a point on by the setting `point.NAME`, with the number of times in which it
//! strikes once. Only the simulator's build with points knows any; to every other build the setting
//! is unknown.

use crate::chance::Streams;
use crate::plan::Plan;

/// What the names of settings that switch a point on begin with.
pub const SETTING: &str = "point.";

/// Whether a plan switches a point on.
#[must_use]
pub fn is_any_in(plan: &Plan) -> bool {
    plan.settings.iter().any(|(name, _)| name.starts_with(SETTING))
}

/// Has a plan switch on about half of the points there are, drawn from a stream of its own.
pub fn add_to(plan: &mut Plan) {
    let mut chance = Streams::new(plan.seed).stream("points");
    for name in known::names() {
        if chance.one_in(2) {
            let once_in = *chance.pick(&[2, 4, 20]);
            plan.settings.push((format!("{SETTING}{name}"), once_in));
        }
    }
}

#[cfg(not(signalhouse_sim))]
mod known {
    use crate::plan::Plan;

    /// Whether this build has a point of that name. It has none.
    #[must_use]
    pub fn is_known(_name: &str) -> bool {
        false
    }

    /// The names of all points. There are none.
    pub fn names() -> impl Iterator<Item = &'static str> {
        std::iter::empty()
    }

    /// The names of the points that have struck in this thread. There are none.
    #[must_use]
    pub fn struck() -> Vec<&'static str> {
        Vec::new()
    }

    /// Switches a plan's points on in this thread. There are none.
    pub fn switch_on(_plan: &Plan) {}

    /// Switches all points off.
    pub fn switch_off() {}
}

#[cfg(signalhouse_sim)]
mod known {
    use signalhouse::point::{self, Point};

    use super::SETTING;
    use crate::chance::Streams;
    use crate::plan::Plan;

    fn named(name: &str) -> Option<Point> {
        Point::ALL.iter().copied().find(|point| point.name() == name)
    }

    /// Whether this build has a point of that name.
    #[must_use]
    pub fn is_known(name: &str) -> bool {
        named(name).is_some()
    }

    /// The names of all points.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Point::ALL.iter().map(|point| point.name())
    }

    /// The names of the points that have ever struck in this thread.
    #[must_use]
    pub fn struck() -> Vec<&'static str> {
        point::struck().into_iter().map(Point::name).collect()
    }

    /// Switches a plan's points on in this thread, all others off.
    pub fn switch_on(plan: &Plan) {
        let odds = plan
            .settings
            .iter()
            .filter_map(|(name, once_in)| Some((named(name.strip_prefix(SETTING)?)?, *once_in)));
        let seed = Streams::new(plan.seed).stream("points that strike").next_u64();
        point::switch_on(odds.collect(), seed);
    }

    /// Switches all points off.
    pub fn switch_off() {
        point::switch_on(Vec::new(), 0);
    }
}

pub use known::{is_known, names, struck, switch_off, switch_on};
