//! Time of a run. The loop alone moves it, so that it can leave out what is idle.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use signalhouse::seams::Clock;
use signalhouse_core::Time;

use crate::core_layer::{ahead_ms, broker_time};

/// More looks at one moment are a loop without end.
const LOOKS: u32 = 1_000_000;
/// How the panic of a loop without end begins.
pub(crate) const BUSY: &str = "busy with nothing";

/// The one clock of a run. Clones are the same clock, and may show another time for the same moment.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    inner: Rc<Inner>,
    /// By how much what it shows as [`Clock`] is ahead.
    ahead_ms: i64,
}

#[derive(Debug, Default)]
struct Inner {
    now_ms: Cell<u64>,
    next_number: Cell<u64>,
    /// How often it was looked at since it was moved.
    looks: Cell<u32>,
    /// Who waits, by the moment waited for and in the order of asking.
    waiting: RefCell<BTreeMap<(u64, u64), Waker>>,
}

impl SimClock {
    /// Milliseconds since the start of the run.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.now_ms.get()
    }

    /// The same clock, showing `time` at this moment to those who ask for more than the run's time.
    #[must_use]
    pub(crate) fn showing(&self, time: Time) -> Self {
        SimClock { inner: Rc::clone(&self.inner), ahead_ms: ahead_ms(time, self.now_ms()) }
    }

    /// Waits for so many milliseconds.
    #[must_use]
    pub fn sleep_ms(&self, ms: u64) -> Sleep {
        self.sleep_until_ms(self.now_ms().saturating_add(ms))
    }

    /// Waits for a moment, in milliseconds since the start of the run.
    #[must_use]
    pub fn sleep_until_ms(&self, at_ms: u64) -> Sleep {
        Sleep { clock: self.clone(), at_ms, place: None }
    }

    /// Moves the clock and wakes whoever waited for that. Says whether anybody did.
    pub(crate) fn advance_to_ms(&self, now_ms: u64) -> bool {
        self.inner.now_ms.set(now_ms);
        self.inner.looks.set(0);
        let mut waiting = self.inner.waiting.borrow_mut();
        let later = waiting.split_off(&(now_ms + 1, 0));
        let due = std::mem::replace(&mut *waiting, later);
        drop(waiting);
        let is_awaited = !due.is_empty();
        for waker in due.into_values() {
            waker.wake();
        }
        is_awaited
    }

    /// The earliest moment that somebody waits for.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.inner.waiting.borrow().keys().next().map(|(at_ms, _)| *at_ms)
    }
}

impl Clock for SimClock {
    type Sleep = Sleep;

    /// # Panics
    /// When it is looked at so often that whoever does so must be busy with nothing.
    fn now(&self) -> Time {
        let looks = self.inner.looks.get() + 1;
        assert!(looks < LOOKS, "{BUSY}: time is looked at without end at {} ms", self.now_ms());
        self.inner.looks.set(looks);
        broker_time(self.now_ms(), self.ahead_ms)
    }

    fn sleep_until(&self, at: Time) -> Sleep {
        self.sleep_until_ms(at.since_ms(broker_time(0, self.ahead_ms)))
    }
}

/// Waiting for a moment.
#[derive(Debug)]
pub struct Sleep {
    clock: SimClock,
    at_ms: u64,
    place: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.at_ms <= self.clock.now_ms() {
            return Poll::Ready(());
        }
        let inner = Rc::clone(&self.clock.inner);
        let at_ms = self.at_ms;
        let place = *self.place.get_or_insert_with(|| {
            let number = inner.next_number.get();
            inner.next_number.set(number + 1);
            (at_ms, number)
        });
        inner.waiting.borrow_mut().insert(place, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.clock.inner.waiting.borrow_mut().remove(&place);
        }
    }
}
