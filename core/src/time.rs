//! The broker's one time axis. The driver tells the time; nothing here reads a clock.

use core::fmt;

/// A moment on the broker's time axis, in milliseconds since the Unix epoch.
///
/// The axis starts at the larger of the wall clock and the latest time in the journal and never
/// goes back, so it serves timers and, across restarts, expiry alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of the axis.
    pub const ZERO: Time = Time(0);
    /// A moment that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// The moment `ms` milliseconds after the start of the axis.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Time(ms)
    }

    /// Milliseconds since the start of the axis.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// The moment `ms` milliseconds later; [`Time::NEVER`] when that is out of range.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Time(self.0.saturating_add(ms))
    }

    /// The moment `seconds` seconds later; [`Time::NEVER`] when that is out of range.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u32) -> Self {
        self.plus_ms(seconds as u64 * 1000)
    }

    /// Milliseconds from `earlier` to `self`, 0 if `earlier` is later.
    #[must_use]
    pub const fn since_ms(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}
