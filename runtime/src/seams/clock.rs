//! Where time comes from.

use std::future::Future;
use std::time::Duration;

use signalhouse_core::Time;

/// The one source of time: the broker's axis, and waiting on it.
pub trait Clock: Clone + 'static {
    /// Waiting for a moment.
    type Sleep: Future<Output = ()> + 'static;

    /// The present moment. Never goes back.
    fn now(&self) -> Time;

    /// Completes when `at` has come. May complete early when `at` is more than a year away.
    fn sleep_until(&self, at: Time) -> Self::Sleep;
}

/// The operating system's time: the wall clock at the start, tokio's monotonic clock from there.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    start: Time,
    epoch: tokio::time::Instant,
}

impl TokioClock {
    /// A clock whose axis begins at the wall clock's time.
    #[must_use]
    pub fn from_wall_clock() -> Self {
        #[allow(clippy::disallowed_methods)] // this is the place that reads the wall clock
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ms = wall.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        TokioClock::starting_at(Time::from_ms(ms))
    }

    /// A clock that shows `start` now.
    #[must_use]
    pub fn starting_at(start: Time) -> Self {
        #[allow(clippy::disallowed_methods)] // this is the place that reads the monotonic clock
        let epoch = tokio::time::Instant::now();
        TokioClock { start, epoch }
    }
}

impl Clock for TokioClock {
    type Sleep = tokio::time::Sleep;

    fn now(&self) -> Time {
        let elapsed = self.epoch.elapsed().as_millis();
        self.start.plus_ms(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Time) -> Self::Sleep {
        // Far moments would overflow tokio's instant; whoever waits asks again.
        const FAR_MS: u64 = 365 * 24 * 60 * 60 * 1000;
        let now = self.now();
        let ms = now.since_ms(self.start) + at.since_ms(now).min(FAR_MS);
        tokio::time::sleep_until(self.epoch + Duration::from_millis(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sleeping_ends_at_the_moment_and_not_before() {
        let clock = TokioClock::starting_at(Time::from_ms(5_000));
        clock.sleep_until(Time::from_ms(6_000)).await;
        assert_eq!(clock.now(), Time::from_ms(6_000));
        clock.sleep_until(Time::from_ms(1)).await;
        assert_eq!(clock.now(), Time::from_ms(6_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_that_never_comes_can_be_slept_for() {
        let clock = TokioClock::starting_at(Time::from_ms(1));
        let _sleep = clock.sleep_until(Time::NEVER);
    }
}
