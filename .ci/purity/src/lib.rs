//! The proof that the core is pure: it links where there is no operating system.
//!
//! There is no std here, the panic handler and the allocator are this file's own, and whatever the
//! core or a dependency of it wanted from outside would be an undefined symbol, which `run` refuses.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use signalhouse_core::wire::packet::ClientPacket;
use signalhouse_core::wire::types::Text;
use signalhouse_core::wire::{Reader, ReaderLimits, Writer};
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, LogPosition, Outbox, Seed, Time,
};

/// Drives a broker through every entry point with the first 4 KiB at `bytes` as what a client sent;
/// returns how many bytes it answers.
///
/// # Safety
/// At least 4 KiB can be read at `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn signalhouse_purity(seed: u64, start_ms: u64, bytes: *const u8) -> usize {
    // SAFETY: the caller's promise.
    let mut incoming = BytesMut::from(unsafe { core::slice::from_raw_parts(bytes, 4096) });
    let mut outgoing = BytesMut::new();
    let now = Time::from_ms(start_ms);
    let connection = ConnectionId { index: 0, generation: 0 };
    let mut broker = Broker::new(Config::default(), Seed(seed), now);
    let mut out = Outbox::new();
    let (mut reader, mut writer) = (Reader::new(ReaderLimits::default()), Writer::new());

    let opened = Input::Opened { connection, peer: Text::default(), room_bytes: 65_536 };
    broker.handle(now, opened, &mut out);
    while let Ok(Some(packet)) = reader.read(&mut incoming) {
        if let ClientPacket::Connect(connect) = &packet {
            writer.negotiate(connect, 8);
        }
        broker.handle(now, Input::Packet { connection, packet }, &mut out);
    }
    let later = broker.next_deadline().map_or(now, |deadline| deadline.at);
    broker.handle(later, Input::Deadline, &mut out);
    while broker.has_more_work() {
        broker.resume(later, 100, &mut out);
    }

    let records = broker.snapshot();
    let _ = Broker::recover(Config::default(), Seed(seed), later, LogPosition::START, records);
    for action in out.drain() {
        if let Action::Send { packet, .. } = action {
            let _ = writer.write(&packet, &mut outgoing);
        }
    }
    outgoing.len()
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
