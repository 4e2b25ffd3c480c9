//! Panics of the code under test: caught at the run's boundary, with the place they come from.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has every panic of this process remembered with its place instead of printed. For programs
/// that do nothing but run plans.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        PLACE.with(|known| *known.borrow_mut() = place);
    }));
}

/// Does `work`; if it panics, gives the panic's words and, if known, its place.
pub(super) fn catch(work: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(work)).err()?;
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    let place = PLACE.with(|place| place.borrow_mut().take());
    Some(match place {
        Some(place) => format!("panic at {place}: {words}"),
        None => format!("panic: {words}"),
    })
}
