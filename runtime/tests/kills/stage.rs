//! What all threads look at: where the broker is, how far the play has come, what went wrong.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::account::Wrong;

pub(crate) struct Stage {
    address: Mutex<SocketAddr>,
    is_ending: AtomicBool,
    is_over: AtomicBool,
    subscribed: AtomicU64,
    acknowledged: AtomicU64,
    wrongs: Mutex<Vec<Wrong>>,
}

impl Stage {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Stage {
            address: Mutex::new(address),
            is_ending: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            subscribed: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            wrongs: Mutex::default(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        *self.address.lock().expect("no panic holds it")
    }

    /// The broker is somewhere else since it was started again.
    pub(crate) fn moved(&self, address: SocketAddr) {
        *self.address.lock().expect("no panic holds it") = address;
    }

    /// Nothing new is published.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Everybody goes home.
    pub(crate) fn close(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn count_subscribed(&self) {
        self.subscribed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn subscribed(&self) -> u64 {
        self.subscribed.load(Ordering::Relaxed)
    }

    pub(crate) fn count_acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(crate) fn wrong(&self, wrong: Wrong) {
        let mut wrongs = self.wrongs.lock().expect("no panic holds it");
        if wrongs.len() < 20 {
            println!("  {wrong}");
        }
        wrongs.push(wrong);
    }

    pub(crate) fn first_wrong(&self) -> Option<Wrong> {
        self.wrongs.lock().expect("no panic holds it").first().cloned()
    }

    /// Between two attempts to connect.
    pub(crate) fn pause(&self) {
        thread::sleep(Duration::from_millis(5));
    }

    /// Waits for a time, or until the end.
    pub(crate) fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_ending() {
            self.pause();
        }
    }
}
