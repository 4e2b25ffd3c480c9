//! The broker's timers: one ordered set, each timer removed exactly when it no longer counts.

use alloc::collections::BTreeSet;

use crate::input::ConnectionId;
use crate::session::SessionKey;
use crate::time::Time;

/// What a timer is for. Ties are fired in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A connection's handshake or keep alive, whichever phase it is in.
    Connection(ConnectionId),
    /// A session's will delay.
    WillDelay(SessionKey),
    /// A session's expiry.
    SessionExpiry(SessionKey),
    /// The next retained message to expire.
    RetainedExpiry,
    /// The next update of `$SYS`.
    Sys,
    /// A look at the clock, so that an idle broker does not take idleness for a jump of time.
    Heartbeat,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    set: BTreeSet<(Time, Timer)>,
    /// The earliest of `set`, kept apart so that asking for it costs nothing.
    first: Option<(Time, Timer)>,
}

impl Timers {
    pub(crate) fn insert(&mut self, at: Time, timer: Timer) {
        if at == Time::NEVER {
            return;
        }
        self.set.insert((at, timer));
        if self.first.is_none_or(|first| (at, timer) < first) {
            self.first = Some((at, timer));
        }
    }

    pub(crate) fn remove(&mut self, at: Time, timer: Timer) {
        if self.set.remove(&(at, timer)) && self.first == Some((at, timer)) {
            self.first = self.set.first().copied();
        }
    }

    pub(crate) fn first(&self) -> Option<(Time, Timer)> {
        self.first
    }

    /// Takes the earliest timer out if it is due at `now`.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = self.first.filter(|(at, _)| *at <= now)?;
        self.remove(at, timer);
        Some(timer)
    }
}
