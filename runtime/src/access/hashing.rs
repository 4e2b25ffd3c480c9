//! Checks passwords off the broker's thread, a bounded number at once.
//!
//! An address gets only a part of the places where logins wait, so that whoever floods them keeps
//! out nobody else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use signalhouse_core::quota::network;
use tokio::sync::Semaphore;

use super::Bounds;
use super::hash::PasswordHash;

/// One address, or [`network`], may have this part of the waiting places.
const SHARE_OF_ADDRESS: u32 = 4;

/// There is no place to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

#[derive(Debug)]
pub(crate) struct Hashing {
    threads: Arc<Semaphore>,
    waiting_maximum: u32,
    waiting: Rc<RefCell<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    total: u32,
    of: BTreeMap<IpAddr, u32>,
}

/// A place, until it is dropped.
struct Place {
    waiting: Rc<RefCell<Waiting>>,
    address: IpAddr,
}

impl Hashing {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Hashing {
            threads: Arc::new(Semaphore::new(usize::from(bounds.password_threads))),
            waiting_maximum: bounds.waiting_logins,
            waiting: Rc::default(),
        }
    }

    /// Whether `hash` is that of `password`. Without a hash, takes as long and says no.
    pub(crate) async fn verify(
        &self,
        address: IpAddr,
        hash: Option<PasswordHash>,
        password: Bytes,
    ) -> Result<bool, Busy> {
        let place = self.place(address).ok_or(Busy)?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| Busy)?;
        let verified = tokio::task::spawn_blocking(move || {
            let is_known = hash.is_some();
            let verified = hash.as_ref().unwrap_or_else(|| nobodys_hash()).verify(&password);
            drop(thread);
            verified && is_known
        });
        let verified = verified.await.map_err(|_| Busy);
        drop(place);
        verified
    }

    fn place(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut waiting = self.waiting.borrow_mut();
        let of_address = waiting.of.get(&address).copied().unwrap_or(0);
        let share = (self.waiting_maximum / SHARE_OF_ADDRESS).max(1);
        if waiting.total >= self.waiting_maximum || of_address >= share {
            return None;
        }
        waiting.total += 1;
        waiting.of.insert(address, of_address + 1);
        drop(waiting);
        Some(Place { waiting: Rc::clone(&self.waiting), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.total -= 1;
        if let Some(count) = waiting.of.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                waiting.of.remove(&self.address);
            }
        }
    }
}

/// What the passwords of unknown users are compared with.
fn nobodys_hash() -> &'static PasswordHash {
    static HASH: OnceLock<PasswordHash> = OnceLock::new();
    HASH.get_or_init(|| PasswordHash::new(&super::hash::random::<32>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_floods_leaves_places_to_others() {
        let hashing = Hashing::new(Bounds { password_threads: 1, waiting_logins: 8 });
        let [one, other] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let hash = PasswordHash::new(b"secret");
        let verify = |address, password: &'static [u8]| {
            hashing.verify(address, Some(hash.clone()), Bytes::from_static(password))
        };
        let (first, second, third, fourth) = tokio::join!(
            verify(one, b"secret"),
            verify(one, b"wrong"),
            verify(one, b"secret"),
            verify(other, b"secret")
        );
        assert_eq!([first, second, third, fourth], [Ok(true), Ok(false), Err(Busy), Ok(true)]);
        assert!(hashing.waiting.borrow().of.is_empty());
        assert_eq!(hashing.verify(one, None, Bytes::from_static(b"x")).await, Ok(false));
    }

    #[test]
    fn a_network_has_the_places_of_one_address() {
        let hashing = Hashing::new(Bounds { password_threads: 1, waiting_logins: 8 });
        let place = |address: &str| hashing.place(address.parse().expect("an address"));
        let places = [place("2001:db8::1"), place("2001:db8::2")];
        assert!(places.iter().all(Option::is_some) && place("2001:db8::3").is_none());
        assert!(place("2001:db8:0:1::1").is_some());
        drop(places);
        assert!(hashing.waiting.borrow().of.is_empty());
    }
}
