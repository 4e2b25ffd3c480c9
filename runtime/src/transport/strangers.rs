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

    /// Counts one more, unless there are too many.
    #[must_use]
    pub fn enter(self: &Rc<Self>, address: IpAddr) -> Option<Stranger> {
        let address = network(address);
        let mut counts = self.counts.borrow_mut();
        let of_address = counts.of.get(&address).copied().unwrap_or(0);
        if counts.total >= self.total || of_address >= self.per_address {
            return None;
        }
        counts.total += 1;
        counts.of.insert(address, of_address + 1);
        drop(counts);
        Some(Stranger { strangers: Rc::clone(self), address })
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
        let first = strangers.enter(one);
        let second = strangers.enter(one);
        assert!(first.is_some() && second.is_some() && strangers.enter(one).is_none());
        let third = strangers.enter(other);
        assert!(third.is_some() && strangers.enter(other).is_none());
        assert!(strangers.enter("::ffff:192.0.2.1".parse().expect("an address")).is_none());
        drop(first);
        assert!(strangers.enter(one).is_some());
        drop((second, third));
        assert!(strangers.counts.borrow().of.is_empty());
    }
}
