//! How many connections may be there that are not yet clients.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use signalhouse_core::quota::network;

/// Counts connections that have not been accepted as clients, of each address and of all.
#[derive(Debug)]
pub struct Strangers {
    per_address: u32,
    total: u32,
    counts: RefCell<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    of: BTreeMap<IpAddr, u32>,
}

/// Which bound a connection would be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// That of its address.
    OfAddress,
    /// That of all.
    OfAll,
}

/// One such connection, counted until this is dropped.
#[derive(Debug)]
pub struct Stranger {
    strangers: Rc<Strangers>,
    address: IpAddr,
}

impl Strangers {
    /// At most so many of one address, and of all.
    #[must_use]
    pub fn new(per_address: u32, total: u32) -> Rc<Self> {
        Rc::new(Strangers { per_address, total, counts: RefCell::default() })
    }

    /// Counts one more.
    ///
    /// # Errors
    /// Of which there are too many.
    pub fn enter(self: &Rc<Self>, address: IpAddr) -> Result<Stranger, TooMany> {
        let address = network(address);
        let mut counts = self.counts.borrow_mut();
        let of_address = counts.of.get(&address).copied().unwrap_or(0);
        if of_address >= self.per_address {
            return Err(TooMany::OfAddress);
        }
        if counts.total >= self.total {
            return Err(TooMany::OfAll);
        }
        counts.total += 1;
        counts.of.insert(address, of_address + 1);
        drop(counts);
        Ok(Stranger { strangers: Rc::clone(self), address })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.strangers.counts.borrow_mut();
        counts.total -= 1;
        if let Some(count) = counts.of.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.of.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_bound_and_all_have_theirs() {
        let strangers = Strangers::new(2, 3);
        let [one, other] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let refused = |address| strangers.enter(address).err();
        let first = strangers.enter(one);
        let second = strangers.enter(one);
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(refused(one), Some(TooMany::OfAddress));
        let third = strangers.enter(other);
        assert!(third.is_ok());
        assert_eq!(refused(other), Some(TooMany::OfAll));
        let again = "::ffff:192.0.2.1".parse().expect("an address");
        assert_eq!(refused(again), Some(TooMany::OfAddress));
        drop(first);
        assert!(strangers.enter(one).is_ok());
        drop((second, third));
        assert!(strangers.counts.borrow().of.is_empty());
    }
}
