//! Panics of the code under test: caught at the run's boundary, with the place they come from.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has the first panic of a run remembered with its place, and none of them printed. For programs
/// that do nothing but run plans.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let words = words(panic.payload());
        let told = match panic.location() {
            Some(place) => format!("panic at {}:{}: {words}", place.file(), place.line()),
            None => format!("panic: {words}"),
        };
        // A runtime whose task panicked panics in its turn; what counts came first.
        FIRST.with(|first| {
            first.borrow_mut().get_or_insert(told);
        });
    }));
}

/// Does `work`; if it panics, gives the panic's words and, if known, its place.
pub(crate) fn catch(work: impl FnOnce()) -> Option<String> {
    FIRST.with(|first| first.borrow_mut().take());
    let panic = catch_unwind(AssertUnwindSafe(work)).err()?;
    let first = FIRST.with(|first| first.borrow_mut().take());
    Some(first.unwrap_or_else(|| format!("panic: {}", words(&*panic))))
}

fn words(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
