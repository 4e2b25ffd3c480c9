//! An event that happens once, on one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Unset at first; once set, it stays so.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    set: Cell<bool>,
    /// Who waits, each under a number of its own.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    next: Cell<u64>,
}

impl Signal {
    pub(crate) fn set(&self) {
        self.set.set(true);
        for waiting in std::mem::take(&mut *self.waiting.borrow_mut()).into_values() {
            waiting.wake();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Completes when it is set.
    pub(crate) fn wait(&self) -> Wait<'_> {
        Wait { signal: self, number: None }
    }
}

/// Waits for a signal. Forgotten with this, for a waker holds its whole task.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    signal: &'a Signal,
    number: Option<u64>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let signal = self.signal;
        if signal.set.get() {
            return Poll::Ready(());
        }
        let number = *self.number.get_or_insert_with(|| {
            signal.next.set(signal.next.get() + 1);
            signal.next.get()
        });
        let mut waiting = signal.waiting.borrow_mut();
        if !waiting.get(&number).is_some_and(|known| known.will_wake(cx.waker())) {
            waiting.insert(number, cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.signal.waiting.borrow_mut().remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn whoever_waits_is_woken_and_whoever_stops_waiting_forgotten() {
        let signal = Signal::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut waits = pin!(signal.wait());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        for _ in 0..3 {
            let mut stops = pin!(signal.wait());
            assert!(stops.as_mut().poll(&mut cx).is_pending());
            assert!(stops.as_mut().poll(&mut cx).is_pending());
            assert_eq!(signal.waiting.borrow().len(), 2);
        }
        assert_eq!(signal.waiting.borrow().len(), 1, "a connection that is gone costs nothing");
        signal.set();
        assert!(waits.poll(&mut cx).is_ready() && signal.is_set());
        assert!(signal.waiting.borrow().is_empty());
    }
}
