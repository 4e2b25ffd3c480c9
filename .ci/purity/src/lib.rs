//! The proof that the core is pure: it links where there is no operating system.
//!
//! There is no std here, the panic handler and the allocator are this file's own, and whatever the
//! core or a dependency of it wanted from outside would be an undefined symbol, which `run` refuses.
#![no_std]

extern crate alloc;

use alloc::string::ToString;
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

use signalhouse_core::input::Gone;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{Broker, Config, ConnectionId, Input, LogPosition, Outbox, Seed, Time};

/// Drives a broker through every entry point; returns how much came out of it.
#[unsafe(no_mangle)]
pub extern "C" fn signalhouse_purity(seed: u64, start_ms: u64, index: u32) -> usize {
    let now = Time::from_ms(start_ms);
    let connection = ConnectionId { index, generation: 0 };
    let peer = Text::try_from(index.to_string()).unwrap_or_default();
    let mut broker = Broker::new(Config::default(), Seed(seed), now);
    let mut out = Outbox::new();
    broker.handle(now, Input::Opened { connection, peer, room_bytes: 65_536 }, &mut out);
    broker.handle(now, Input::Closed { connection, cause: Gone::PeerClosed }, &mut out);
    broker.handle(
        broker.next_deadline().map_or(now, |deadline| deadline.at),
        Input::Deadline,
        &mut out,
    );
    while broker.has_more_work() {
        broker.resume(now, 100, &mut out);
    }
    let through = LogPosition::START;
    let recovered = Broker::recover(Config::default(), Seed(seed), now, through, broker.snapshot());
    out.drain().count() + usize::from(recovered.is_ok())
}

/// Something that only an operating system has.
#[cfg(feature = "leak-symbol")]
mod leak {
    unsafe extern "C" {
        fn getpid() -> i32;
    }

    /// Asks for it.
    #[unsafe(no_mangle)]
    pub extern "C" fn signalhouse_leak() -> i32 {
        // SAFETY: `getpid` takes nothing and cannot fail.
        unsafe { getpid() }
    }
}

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

const ARENA_BYTES: usize = 1 << 20;

/// Hands out a fixed arena from front to back and takes nothing back.
struct Arena {
    used: AtomicUsize,
}

#[repr(align(64))]
struct Memory(core::cell::UnsafeCell<[u8; ARENA_BYTES]>);

// SAFETY: every byte is handed out once, so no two threads hold the same one.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(core::cell::UnsafeCell::new([0; ARENA_BYTES]));

// SAFETY: the pieces lie inside the arena, are aligned and never overlap.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Room for the worst alignment is taken with each piece.
        let wanted = layout.size() + layout.align();
        let at = self.used.fetch_add(wanted, Ordering::Relaxed);
        if at + wanted > ARENA_BYTES {
            return core::ptr::null_mut();
        }
        // SAFETY: `at + wanted` is within the arena.
        let start = unsafe { MEMORY.0.get().cast::<u8>().add(at) };
        let padding = start.align_offset(layout.align());
        // SAFETY: the padding is less than the alignment, which was taken too.
        unsafe { start.add(padding) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Arena = Arena { used: AtomicUsize::new(0) };
