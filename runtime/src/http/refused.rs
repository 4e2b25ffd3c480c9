//! Requests that were answered 401, and connections that were closed before one was whole: the latest of
//! them, how many there were for each cause, and their lines in the log, as in a flood there is one a
//! second.
//!
//! Clients of MQTT that were not let in are in the shard's history. These are kept apart, so that
//! whoever guesses at one door hides nothing of the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use signalhouse_core::Time;
use signalhouse_core::wire::types::Text;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::Timer;
use crate::history::{REFUSED, Repeated, Repeats, origin};
use crate::tally::{Tallies, Tally};

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It shows no key where one is needed.
    NoKey,
    /// It shows no key, and is not the machine's own: a proxy, a foreign page or another name sent it.
    NotOwn,
    /// What it shows is not in the form of a key or token, or stands where none belongs.
    Malformed,
    /// No such key, or not its secret.
    KeyUnknown,
    KeyExpired,
    /// Taken out of the file while the request was under way.
    Withdrawn,
    /// Forged, of another issuer, for somebody else, or not understood.
    TokenInvalid,
    TokenEnded,
    TokenNotYet,
    /// No request was read: as many connections are there as may be.
    Connections,
    /// The same of those of which no request was let in.
    Strangers,
    /// No request came whole in time.
    HeadTimeout,
}

impl Why {
    /// Its label in the metrics and in the log.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Why::NoKey => "no_key",
            Why::NotOwn => "not_own",
            Why::Malformed => "malformed",
            Why::KeyUnknown => "key_unknown",
            Why::KeyExpired => "key_expired",
            Why::Withdrawn => "withdrawn",
            Why::TokenInvalid => "token_invalid",
            Why::TokenEnded => "token_ended",
            Why::TokenNotYet => "token_not_yet",
            Why::Connections => "connections",
            Why::Strangers => "strangers",
            Why::HeadTimeout => "head_timeout",
        }
    }
}

/// A request that was not let in. Nothing of it is what the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedRequest {
    pub(crate) at: Time,
    /// Where it came from.
    pub(crate) peer: Text,
    /// What it was told.
    pub(crate) reason: String,
}

/// What is remembered of requests that were not let in.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    remembered: Mutex<Remembered>,
    /// Told when something waits to be said.
    counted: Notify,
}

#[derive(Debug, Default)]
struct Remembered {
    latest: VecDeque<RefusedRequest>,
    /// Connections that came as far as no request, by what is said of them.
    unserved: Repeats<&'static str>,
    counts: BTreeMap<&'static str, u64>,
    /// By cause and address.
    lines: Tallies<(Why, Text)>,
}

impl Refused {
    /// Remembers one more request, at most [`REFUSED`] of them.
    pub(crate) fn add(&self, request: RefusedRequest, why: Why, route: &str) {
        let example = format!("{} at {route}: {}", request.peer, request.reason);
        let mut remembered = self.lock();
        remembered.count(request.at, &request.peer, why, example);
        if remembered.latest.len() >= REFUSED {
            remembered.latest.pop_front();
        }
        remembered.latest.push_back(request);
        drop(remembered);
        self.counted.notify_one();
    }

    /// Remembers a connection that ended before a request of it was whole.
    pub(crate) fn add_unserved(&self, now: Time, peer: &Text, why: Why, reason: &'static str) {
        let mut remembered = self.lock();
        remembered.count(now, peer, why, format!("{peer}: {reason}"));
        remembered.unserved.add(now, peer, reason);
        drop(remembered);
        self.counted.notify_one();
    }

    /// Waits until the log is to be told.
    pub(crate) async fn due(&self, timer: &Timer) {
        loop {
            let due = self.lock().lines.due();
            match due {
                Some(due) => return timer.sleep_until(due).await,
                None => self.counted.notified().await,
            }
        }
    }

    /// Tells it.
    pub(crate) fn write_out(&self) {
        self.lock().lines.write_out(|(why, address), tally| write_tally(why, &address, &tally));
    }

    /// The latest `limit` requests, the very latest first.
    pub(crate) fn latest(&self, limit: usize) -> Vec<RefusedRequest> {
        self.lock().latest.iter().rev().take(limit).cloned().collect()
    }

    /// The same of connections.
    pub(crate) fn unserved(&self, limit: usize) -> Vec<Repeated<&'static str>> {
        self.lock().unserved.latest().take(limit).cloned().collect()
    }

    /// How many there were, by the word for why.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn count(&mut self, now: Time, peer: &Text, why: Why, example: String) {
        *self.counts.entry(why.word()).or_default() += 1;
        self.lines.count(now, (why, origin(peer)), 1, &example, |key| key);
    }
}

fn write_tally(why: Why, address: &Text, tally: &Tally) {
    let (Tally { count, example }, cause) = (tally, why.word());
    match why {
        Why::Connections | Why::Strangers => {
            warn!(count, %address, cause, example, "HTTP connections closed unserved");
        }
        Why::HeadTimeout => info!(count, %address, cause, example, "HTTP connections closed"),
        Why::NoKey
        | Why::NotOwn
        | Why::Malformed
        | Why::KeyUnknown
        | Why::KeyExpired
        | Why::Withdrawn
        | Why::TokenInvalid
        | Why::TokenEnded
        | Why::TokenNotYet => info!(count, %address, cause, example, "HTTP requests refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_all_are_counted() {
        let refused = Refused::default();
        let most = REFUSED as u64;
        for ms in 0..most + 8 {
            let (peer, reason) = (Text::default(), String::new());
            refused.add(RefusedRequest { at: Time::from_ms(ms), peer, reason }, Why::NoKey, "/");
        }
        let latest = refused.latest(usize::MAX);
        assert_eq!(latest.len(), REFUSED);
        assert_eq!(latest[0].at, Time::from_ms(most + 7));
        assert_eq!(refused.latest(1), latest[..1]);
        assert_eq!(refused.counts(), BTreeMap::from([("no_key", most + 8)]));
    }
}
