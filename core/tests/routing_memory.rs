//! What subscriptions cost in memory, counted at the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use signalhouse_core::Seed;
use signalhouse_core::hash::KeyedState;
use signalhouse_core::routing::topic::TopicFilter;
use signalhouse_core::routing::tree::SubscriptionTree;

struct Counting;

static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// As a million does, an eighth of it leaves the hash table nearly half empty, its worst.
const FILTERS: usize = 125_000;

/// Bytes for each of the subscriptions to the filters that `text` gives.
fn bytes_each(name: &str, text: impl Fn(usize) -> String) -> usize {
    let before = HELD_BYTES.load(Ordering::Relaxed);
    let mut tree: SubscriptionTree<[u32; 2]> = SubscriptionTree::new(KeyedState::new(Seed(3)));
    for n in 0..FILTERS {
        let filter = TopicFilter::try_from(text(n).as_str()).expect("a filter");
        tree.insert(&filter, n as u32, [0; 2]);
    }
    let each = (HELD_BYTES.load(Ordering::Relaxed) - before) / FILTERS;
    println!("{name}: {each} bytes for each subscription, {} nodes", tree.node_count());
    each
}

// One test, because the count is the process's.
#[test]
fn subscriptions_are_cheap() {
    assert!(bytes_each("inbox/ID", |n| format!("inbox/{n}")) <= 80);
    assert!(
        bytes_each("inbox/UUID", |n| format!("inbox/{n:08x}-0000-4000-8000-000000000000")) <= 115
    );
    assert!(bytes_each("inbox/ID/#", |n| format!("inbox/{n}/#")) <= 140);
    assert!(bytes_each("devices/ID/commands", |n| format!("devices/{n}/commands")) <= 150);
    assert!(bytes_each("one filter for all", |_| "news".to_owned()) <= 30);
    assert!(bytes_each("two to a filter", |n| format!("chat/{}", n / 2)) <= 80);
}
