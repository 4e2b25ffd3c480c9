//! Failed logins make the next ones wait: of an address, and of a user at an address.
//!
//! Nobody is locked out by what happens elsewhere: what counts against a user name counts only for
//! the address it came from.

use std::collections::BTreeMap;
use std::net::IpAddr;

use signalhouse_core::Time;
use signalhouse_core::quota::network;

/// Failures of an address that cost nothing, for whole offices share one.
const FREE_OF_ADDRESS: u32 = 20;
/// Failures of a user at an address that cost nothing.
const FREE_OF_USER: u32 = 4;
/// The first wait; it doubles with every further failure.
const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 5 * 60 * 1_000;
/// After this time without a failure everything is forgotten.
const FORGOTTEN_MS: u64 = 15 * 60 * 1_000;
/// Addresses and users remembered; beyond it the oldest are forgotten.
const REMEMBERED: usize = 16_384;

/// Whom a failure counts against.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Whom {
    Address(IpAddr),
    User(IpAddr, Box<[u8]>),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    latest: Time,
    /// Tells apart what happened at the same moment.
    order: u64,
}

/// Who failed how often.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    known: BTreeMap<Whom, Failures>,
    by_age: BTreeMap<(Time, u64), Whom>,
    order: u64,
}

impl Backoff {
    /// Until when a login must wait, if it must. What names no `user` waits for its address alone.
    pub(crate) fn waits_until(
        &self,
        now: Time,
        address: IpAddr,
        user: Option<&[u8]>,
    ) -> Option<Time> {
        let address = network(address);
        let of_address = self.until(now, &Whom::Address(address), FREE_OF_ADDRESS);
        let of_user =
            user.and_then(|user| self.until(now, &Whom::User(address, user.into()), FREE_OF_USER));
        of_address.max(of_user).filter(|until| *until > now)
    }

    /// Counts a failure.
    pub(crate) fn failed(&mut self, now: Time, address: IpAddr, user: Option<&[u8]>) {
        let address = network(address);
        self.count(now, Whom::Address(address));
        if let Some(user) = user {
            self.count(now, Whom::User(address, user.into()));
        }
    }

    /// Forgets a user's failures at an address; those of the address stay, or one known password
    /// would open the way to guess at all others.
    pub(crate) fn succeeded(&mut self, address: IpAddr, user: &[u8]) {
        let whom = Whom::User(network(address), user.into());
        if let Some(failures) = self.known.remove(&whom) {
            self.by_age.remove(&(failures.latest, failures.order));
        }
    }

    fn until(&self, now: Time, whom: &Whom, free: u32) -> Option<Time> {
        let failures = self.known.get(whom)?;
        if now.since_ms(failures.latest) >= FORGOTTEN_MS {
            return None;
        }
        let doublings = failures.count.checked_sub(free)?.min(16);
        Some(failures.latest.plus_ms((FIRST_MS << doublings).min(LONGEST_MS)))
    }

    fn count(&mut self, now: Time, whom: Whom) {
        self.order += 1;
        let fresh = Failures { count: 0, latest: now, order: self.order };
        let before = self.known.get(&whom).copied();
        if let Some(before) = before {
            self.by_age.remove(&(before.latest, before.order));
        }
        let count = before
            .filter(|before| now.since_ms(before.latest) < FORGOTTEN_MS)
            .map_or(0, |before| before.count);
        self.by_age.insert((now, self.order), whom.clone());
        self.known.insert(whom, Failures { count: count.saturating_add(1), ..fresh });
        while self.known.len() > REMEMBERED
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_ms(1_000_000);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_user_that_fails_waits_longer_and_longer_and_nobody_else_does() {
        let mut backoff = Backoff::default();
        let here = address("192.0.2.1");
        for _ in 0..FREE_OF_USER - 1 {
            backoff.failed(START, here, Some(b"ann"));
            assert_eq!(backoff.waits_until(START, here, Some(b"ann")), None);
        }
        for wait_ms in [1_000, 2_000, 4_000] {
            backoff.failed(START, here, Some(b"ann"));
            assert_eq!(
                backoff.waits_until(START, here, Some(b"ann")),
                Some(START.plus_ms(wait_ms))
            );
        }
        assert_eq!(backoff.waits_until(START.plus_ms(4_000), here, Some(b"ann")), None);
        assert_eq!(backoff.waits_until(START, here, Some(b"bob")), None);
        assert_eq!(backoff.waits_until(START, address("192.0.2.2"), Some(b"ann")), None);
        backoff.succeeded(here, b"ann");
        assert_eq!(backoff.waits_until(START, here, Some(b"ann")), None);
    }

    #[test]
    fn an_address_that_tries_many_names_waits_too() {
        let mut backoff = Backoff::default();
        for name in 0..FREE_OF_ADDRESS {
            backoff.failed(START, address("2001:db8::1"), Some(&name.to_be_bytes()));
        }
        let neighbour = address("2001:db8::ffff");
        assert_eq!(backoff.waits_until(START, neighbour, Some(b"x")), Some(START.plus_ms(1_000)));
        assert_eq!(backoff.waits_until(START, address("2001:db8:0:1::1"), Some(b"x")), None);
        for _ in 0..40 {
            backoff.failed(START, neighbour, Some(b"x"));
        }
        let longest = START.plus_ms(LONGEST_MS);
        assert_eq!(backoff.waits_until(START, neighbour, Some(b"x")), Some(longest));
        assert_eq!(backoff.waits_until(START.plus_ms(FORGOTTEN_MS), neighbour, Some(b"x")), None);
    }

    #[test]
    fn what_names_nobody_counts_against_the_address_alone() {
        let mut backoff = Backoff::default();
        let here = address("192.0.2.1");
        for _ in 0..FREE_OF_ADDRESS - 1 {
            backoff.failed(START, here, None);
            assert_eq!(backoff.waits_until(START, here, None), None);
        }
        backoff.failed(START, here, None);
        for user in [None, Some(&b"ann"[..])] {
            assert_eq!(backoff.waits_until(START, here, user), Some(START.plus_ms(1_000)));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut backoff = Backoff::default();
        for number in 0..40_000_u32 {
            backoff.failed(START, IpAddr::from(number.to_be_bytes()), Some(b"x"));
        }
        assert_eq!((backoff.known.len(), backoff.by_age.len()), (REMEMBERED, REMEMBERED));
    }
}
