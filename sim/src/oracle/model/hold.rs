//! What a broker holds back that doubts its clock: after a jump nothing durable expires until an operator
//! has confirmed the time.

use super::Model;

/// What clients know of it. The default holds nothing back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    /// Whether the broker may have found the time to have jumped.
    may_be: bool,
    /// What the axis shows at least to whoever asks what is left while expiry is held back.
    axis: i64,
    /// Only of what came before this time: what comes after the jump counts by the new time.
    came_before_ms: u64,
    /// A jump that the broker surely saw.
    jump: Option<Jump>,
    /// When the time was last confirmed.
    confirmed_ms: Option<u64>,
}

/// A jump of the clock under a broker that runs.
#[derive(Clone, Copy, Debug)]
struct Jump {
    /// What the time was before it.
    before_ms: u64,
    confirmed_ms: Option<u64>,
}

impl Default for Hold {
    fn default() -> Self {
        Hold {
            may_be: false,
            axis: i64::MAX,
            came_before_ms: u64::MAX,
            jump: None,
            confirmed_ms: None,
        }
    }
}

impl Model {
    /// Whether the broker may hold back expiry, or did a moment ago.
    pub(crate) fn may_hold_expiry(&self) -> bool {
        let latency_ms = self.bounds.latency_ms;
        let is_fresh = |confirmed_ms: u64| confirmed_ms + latency_ms >= self.now.at_ms;
        self.hold.may_be || self.hold.confirmed_ms.is_some_and(is_fresh)
    }

    /// Whether the broker surely holds back expiry: it saw a jump that nobody has confirmed.
    pub(crate) fn surely_holds_expiry(&self) -> bool {
        self.hold.jump.is_some_and(|jump| jump.confirmed_ms.is_none())
    }

    /// A start may have found a jump, since the journal was written to when the axis showed `axis`.
    pub(super) fn may_hold_from(&mut self, axis: i64) {
        self.hold.may_be = true;
        self.hold.axis = self.hold.axis.min(axis);
        self.hold.came_before_ms = u64::MAX;
    }

    /// Another process begins. What it doubts it finds out for itself.
    pub(super) fn hold_begins_anew(&mut self) {
        self.hold.jump = self.hold.jump.filter(|jump| jump.confirmed_ms.is_some());
    }

    pub(super) fn clock_stepped(&mut self, by_ms: u64) {
        if by_ms <= self.bounds.time_jump_maximum_ms || self.surely_holds_expiry() {
            return;
        }
        let before_ms = self.now.at_ms.saturating_sub(by_ms);
        let (axis, _) = self.axis_ms(before_ms);
        if self.hold.may_be {
            self.may_hold_from(axis);
        } else {
            let came_before_ms = self.now.at_ms;
            self.hold = Hold { may_be: true, axis, came_before_ms, ..self.hold };
        }
        self.hold.jump = Some(Jump { before_ms, confirmed_ms: None });
    }

    pub(super) fn time_confirmed(&mut self) {
        let confirmed_ms = Some(self.now.at_ms);
        self.hold.may_be = false;
        self.hold.confirmed_ms = confirmed_ms;
        if let Some(jump) = &mut self.hold.jump {
            jump.confirmed_ms = jump.confirmed_ms.or(confirmed_ms);
        }
    }

    /// The least that the axis shows to whoever asks what is left of something that came at `came_ms`.
    pub(super) fn held_axis(&self, came_ms: u64) -> i64 {
        let is_meant = self.may_hold_expiry() && came_ms < self.hold.came_before_ms;
        if is_meant { self.hold.axis } else { i64::MAX }
    }

    /// The earliest time at which something ends that would end at `at_ms`.
    pub(super) fn held_until_ms(&self, at_ms: u64) -> u64 {
        match self.hold.jump {
            Some(jump) if at_ms > jump.before_ms => {
                jump.confirmed_ms.map_or(u64::MAX, |confirmed_ms| confirmed_ms.max(at_ms))
            }
            Some(_) | None => at_ms,
        }
    }

    /// When something has surely ended that would have at `at_ms`, if nothing is held back now.
    pub(super) fn confirmed_by_ms(&self, at_ms: u64) -> u64 {
        self.hold.confirmed_ms.map_or(at_ms, |confirmed_ms| confirmed_ms.max(at_ms))
    }
}
