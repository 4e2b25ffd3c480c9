//! Requests that were answered 401, and connections that were closed before one was whole: the latest of
//! them, and how many there were for each cause.
//!
//! Clients of MQTT that were not let in are in the shard's history. These are kept apart, so that
//! whoever guesses at one door hides nothing of the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use signalhouse_core::Time;
use signalhouse_core::wire::types::Text;
use tracing::info;

use crate::history::REFUSED;

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
pub(crate) struct Refused(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    latest: VecDeque<RefusedRequest>,
    counts: BTreeMap<&'static str, u64>,
}

impl Refused {
    /// Remembers one more, at most [`REFUSED`] of them.
    pub(crate) fn add(&self, request: RefusedRequest, why: Why, route: &str) {
        let (peer, reason) = (&request.peer, &request.reason);
        info!(%peer, route, cause = why.word(), %reason, "an HTTP request was refused");
        self.remember(request, why);
    }

    /// The same without a line in the log.
    pub(crate) fn remember(&self, request: RefusedRequest, why: Why) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *remembered.counts.entry(why.word()).or_default() += 1;
        if remembered.latest.len() >= REFUSED {
            remembered.latest.pop_front();
        }
        remembered.latest.push_back(request);
    }

    /// The latest `limit` of them, the very latest first.
    pub(crate) fn latest(&self, limit: usize) -> Vec<RefusedRequest> {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.latest.iter().rev().take(limit).cloned().collect()
    }

    /// How many there were, by the word for why.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
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
