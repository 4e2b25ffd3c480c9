//! Quotas: how much one user, one client or one address may do.
//!
//! Rules say the bounds, the broker counts against them. Whoever falls under several is bound by all.
//! A day is one of UTC. Who is over a quota is refused, and nothing is counted for it.

use alloc::collections::BTreeMap;
use alloc::string::ToString as _;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

use crate::stored::Bound;
use crate::time::Time;
use crate::wire::types::Text;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A publication, in the thousandths in which the rate is counted.
const PUBLICATION: u64 = 1_000;
/// A day's count is recorded when it has grown by this part of its quota.
const RECORDED_PART: u64 = 256;
/// Holders looked at, at most, to make room for a new one.
const LOOKED_AT: usize = 16;

/// The bounds of one holder. 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Publications in a second; after a second's silence as many at once. Over it: 0x97.
    pub messages_per_second: u32,
    /// Publications in a day of UTC. Over it: 0x97.
    pub messages_per_day: u64,
    /// Connections at once. Over it: CONNACK 0x97.
    pub connections: u32,
    /// Bytes kept at once, as counted by
    /// [`Message::content_bytes`](crate::message::Message::content_bytes): what waits for its sessions
    /// and is in flight to them, their wills, and what it published and is retained. Over it: a
    /// message is dropped for that session; 0x97 for what would be retained, and for a CONNECT with
    /// a will.
    pub stored_bytes: u64,
    /// Whether a client over its quota at QoS 0 is closed instead of ignored: with 0x96 for its
    /// messages, with 0x97 for its stored bytes.
    pub closes_at_qos0: bool,
}

/// Who is bound: also whose use is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// All that prove to be this user.
    User(Text),
    /// One client identifier, or what stands for it where a request has no connection.
    Client(Text),
    /// All that come from this address, or [`network`].
    Address(Text),
    /// All that came in by this API key, named by its id.
    Key(Text),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::User(name) => write!(f, "user {name}"),
            Holder::Client(name) => write!(f, "client {name}"),
            Holder::Address(name) => write!(f, "address {name}"),
            Holder::Key(id) => write!(f, "key {id}"),
        }
    }
}

/// Whom what somebody makes the broker keep counts against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Who it proved to be.
    pub identity: Option<Text>,
    /// Its client identifier, or what stands for it.
    pub client_id: Text,
    /// The address it came from.
    pub address: Option<Text>,
    /// The API key it came in by.
    pub key: Option<Text>,
}

/// The quotas in force. The default bounds nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Of every user without a quota of its own.
    pub every_user: Option<Quota>,
    /// Of every address without a quota of its own.
    pub every_address: Option<Quota>,
    /// Of these.
    pub of: BTreeMap<Holder, Quota>,
}

impl Quotas {
    /// Whether nobody is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.every_user.is_none() && self.every_address.is_none() && self.of.is_empty()
    }

    /// The quota of a holder.
    #[must_use]
    pub fn quota(&self, holder: &Holder) -> Option<Quota> {
        let common = match holder {
            Holder::User(_) => self.every_user,
            Holder::Address(_) => self.every_address,
            Holder::Client(_) | Holder::Key(_) => None,
        };
        self.of.get(holder).copied().or(common)
    }

    /// Whether anybody's stored bytes are bound.
    pub(crate) fn bound_stored_bytes(&self) -> bool {
        let all = [&self.every_user, &self.every_address].into_iter().flatten();
        all.chain(self.of.values()).any(|quota| quota.stored_bytes > 0)
    }

    /// The holders, among whom somebody falls under, that are bound, with their quotas.
    pub(crate) fn bound(&self, owner: &Owner) -> alloc::vec::Vec<(Holder, Quota)> {
        self.bounds(owner).collect()
    }

    /// The bounds of what somebody makes the broker keep.
    pub(crate) fn stored_bounds(&self, owner: &Owner) -> alloc::vec::Vec<Bound> {
        self.bounds(owner)
            .filter(|(_, quota)| quota.stored_bytes > 0)
            .map(|(holder, quota)| Bound { holder, most_bytes: quota.stored_bytes })
            .collect()
    }

    fn bounds(&self, owner: &Owner) -> impl Iterator<Item = (Holder, Quota)> {
        let holders = owner.holders().into_iter().flatten();
        holders.filter_map(|holder| self.quota(&holder).map(|quota| (holder, quota)))
    }
}

impl Owner {
    /// Under what names it falls.
    fn holders(&self) -> [Option<Holder>; 4] {
        let Owner { identity, client_id, address, key } = self;
        [
            identity.clone().map(Holder::User),
            Some(Holder::Client(client_id.clone())),
            address.clone().map(Holder::Address),
            key.clone().map(Holder::Key),
        ]
    }
}

/// What an address counts as: whoever has one IPv6 address usually has all of its network of 64 bits.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

/// What a peer, written as address and port, counts as: see [`network`].
pub(crate) fn address_of(peer: &Text) -> Option<Text> {
    let name = peer.as_str();
    let address = name.rsplit_once(':').map_or(name, |(address, _)| address);
    let address = address.trim_matches(['[', ']']);
    match address.parse::<Ipv6Addr>() {
        Ok(address) => Text::try_from(network(address.into()).to_string()).ok(),
        Err(_) => Text::try_from(address).ok(),
    }
}

/// What one holder has used.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    /// Thousandths of publications that may come at once, as of `rate_at`.
    rate: u64,
    rate_at: Time,
    day: u64,
    today: u64,
    /// What the journal knows of `today`.
    recorded: u64,
    connections: u32,
}

/// Why something is over a quota, and when it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    /// `None` where only what is stored can make room.
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) closes_at_qos0: bool,
}

/// A day's count that the journal is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DayCount {
    pub(crate) holder: Holder,
    pub(crate) day: u64,
    pub(crate) count: u64,
}

/// What all holders have used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    used: BTreeMap<Holder, Used>,
    /// Where the search for idle holders goes on.
    looked_at: Option<Holder>,
}

impl Usage {
    /// Counts a publication against all quotas, or against none if one is used up. Says which counts
    /// are to be recorded.
    pub(crate) fn publish(
        &mut self,
        now: Time,
        bound: &[(Holder, Quota)],
        most_holders: u32,
    ) -> Result<alloc::vec::Vec<DayCount>, Over> {
        for (holder, quota) in bound {
            let Some(used) = self.entry(holder, now, most_holders) else {
                let closes_at_qos0 = quota.closes_at_qos0;
                return Err(Over { retry_after_ms: Some(1_000), closes_at_qos0 });
            };
            used.turn(now, quota);
            let retry_after_ms = used.wait_ms(now, quota);
            if retry_after_ms.is_some() {
                return Err(Over { retry_after_ms, closes_at_qos0: quota.closes_at_qos0 });
            }
        }
        let mut counts = alloc::vec::Vec::new();
        for (holder, quota) in bound {
            let Some(used) = self.used.get_mut(holder) else { continue };
            used.rate = used.rate.saturating_sub(PUBLICATION);
            if quota.messages_per_day > 0 {
                used.today += 1;
                let step = (quota.messages_per_day / RECORDED_PART).max(1);
                if used.today - used.recorded >= step {
                    used.recorded = used.today;
                    let (day, count) = (used.day, used.today);
                    counts.push(DayCount { holder: holder.clone(), day, count });
                }
            }
        }
        Ok(counts)
    }

    /// How many more publications there may be today.
    pub(crate) fn remaining_today(&self, now: Time, bound: &[(Holder, Quota)]) -> Option<u64> {
        let of_day = bound.iter().filter(|(_, quota)| quota.messages_per_day > 0);
        let left = of_day.map(|(holder, quota)| {
            let used = self.used.get(holder).filter(|used| used.day >= day_of(now));
            quota.messages_per_day.saturating_sub(used.map_or(0, |used| used.today))
        });
        left.min()
    }

    /// Counts a connection, if no quota is used up.
    pub(crate) fn connect(
        &mut self,
        now: Time,
        bound: &[(Holder, Quota)],
        most_holders: u32,
    ) -> bool {
        for (holder, quota) in bound {
            let Some(used) = self.entry(holder, now, most_holders) else { return false };
            if quota.connections > 0 && used.connections >= quota.connections {
                return false;
            }
        }
        for (holder, _) in bound {
            if let Some(used) = self.used.get_mut(holder) {
                used.connections += 1;
            }
        }
        true
    }

    /// Counts connections that were counted before, whatever the quota.
    pub(crate) fn reconnect(&mut self, bound: &[(Holder, Quota)]) {
        for (holder, _) in bound {
            if let Some(used) = self.used.get_mut(holder) {
                used.connections += 1;
            }
        }
    }

    /// A connection has ended.
    pub(crate) fn disconnect(&mut self, bound: &[(Holder, Quota)]) {
        for (holder, _) in bound {
            if let Some(used) = self.used.get_mut(holder) {
                used.connections = used.connections.saturating_sub(1);
            }
        }
    }

    /// Counts all connections anew: one for each of `holders`, over its quota too, unless there is no
    /// room for it.
    pub(crate) fn recount(
        &mut self,
        now: Time,
        mut holders: alloc::vec::Vec<Holder>,
        most_holders: u32,
    ) {
        for used in self.used.values_mut() {
            used.connections = 0;
        }
        // First those that have an entry: before they are counted they would seem idle.
        holders.retain(|holder| match self.used.get_mut(holder) {
            Some(used) => {
                used.connections += 1;
                false
            }
            None => true,
        });
        for holder in holders {
            if let Some(used) = self.entry(&holder, now, most_holders) {
                used.connections += 1;
            }
        }
    }

    /// Takes over a day's count from the journal.
    pub(crate) fn restore(&mut self, count: DayCount) {
        let used = self.used.entry(count.holder).or_default();
        if count.day >= used.day {
            used.day = count.day;
            used.today = count.count;
            used.recorded = count.count;
        }
    }

    /// Counts of the present day, for a snapshot.
    pub(crate) fn counts(&self, now: Time) -> impl Iterator<Item = DayCount> {
        let today = day_of(now);
        let counted = move |(_, used): &(&Holder, &Used)| used.day >= today && used.recorded > 0;
        self.used.iter().filter(counted).map(|(holder, used)| DayCount {
            holder: holder.clone(),
            day: used.day,
            count: used.recorded,
        })
    }

    /// Counts that the journal does not know yet, as it knows them from now on.
    pub(crate) fn unrecorded(&mut self) -> alloc::vec::Vec<DayCount> {
        let mut counts = alloc::vec::Vec::new();
        for (holder, used) in &mut self.used {
            if used.today > used.recorded {
                used.recorded = used.today;
                let (day, count) = (used.day, used.today);
                counts.push(DayCount { holder: holder.clone(), day, count });
            }
        }
        counts
    }

    /// The holder's entry. With no room for it, idle ones are looked for, a few each time.
    fn entry(&mut self, holder: &Holder, now: Time, most_holders: u32) -> Option<&mut Used> {
        if !self.used.contains_key(holder) && self.used.len() >= most_holders as usize {
            self.drop_idle(now);
            if self.used.len() >= most_holders as usize {
                return None;
            }
        }
        Some(self.used.entry(holder.clone()).or_default())
    }

    fn drop_idle(&mut self, now: Time) {
        use core::ops::Bound;
        let from = self.looked_at.take().map_or(Bound::Unbounded, Bound::Excluded);
        let places = self.used.range((from.clone(), Bound::Unbounded));
        // Once round at most, and further from the beginning.
        let before = match from {
            Bound::Excluded(holder) => Bound::Included(holder),
            Bound::Included(_) | Bound::Unbounded => Bound::Unbounded,
        };
        let places = places.chain(self.used.range((Bound::Unbounded, before)));
        let idle = |used: &Used| {
            let counts_today = used.day >= day_of(now) && used.today > 0;
            used.connections == 0 && !counts_today && used.rate_at.plus_ms(1_000) <= now
        };
        let mut last = None;
        let mut gone = alloc::vec::Vec::new();
        for (holder, used) in places.take(LOOKED_AT) {
            last = Some(holder.clone());
            if idle(used) {
                gone.push(holder.clone());
            }
        }
        for holder in gone {
            self.used.remove(&holder);
        }
        self.looked_at = last;
    }
}

impl Used {
    /// Lets time pass: what may come at once grows, and a new day begins.
    fn turn(&mut self, now: Time, quota: &Quota) {
        let most = u64::from(quota.messages_per_second) * PUBLICATION;
        let grown = now.since_ms(self.rate_at).saturating_mul(u64::from(quota.messages_per_second));
        self.rate = self.rate.saturating_add(grown).min(most);
        self.rate_at = now;
        if self.day < day_of(now) {
            self.day = day_of(now);
            self.today = 0;
            self.recorded = 0;
        }
    }

    /// How long a publication would have to wait.
    fn wait_ms(&self, now: Time, quota: &Quota) -> Option<u64> {
        if quota.messages_per_day > 0 && self.today >= quota.messages_per_day {
            return Some(beginning_of(day_of(now) + 1).since_ms(now));
        }
        let rate = u64::from(quota.messages_per_second);
        if rate > 0 && self.rate < PUBLICATION && !canary!(RateQuotaIgnored) {
            return Some((PUBLICATION - self.rate).div_ceil(rate));
        }
        None
    }
}

/// The day of UTC, counted from 1970.
fn day_of(now: Time) -> u64 {
    now.as_ms() / DAY_MS
}

/// The midnight that a day begins with.
pub(crate) fn beginning_of(day: u64) -> Time {
    Time::from_ms(day.saturating_mul(DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_counted_as_what_they_are() {
        let counted = |peer: &str| address_of(&Text::try_from(peer).expect("text")).expect("text");
        assert_eq!(counted("192.0.2.1:5").as_str(), "192.0.2.1");
        assert_eq!(counted("[::ffff:192.0.2.1]:5").as_str(), "192.0.2.1");
        assert_eq!(counted("[2001:db8::1:2:3:4]:5").as_str(), "2001:db8::");
        assert_eq!(counted("somewhere").as_str(), "somewhere");
    }

    #[test]
    fn a_count_anew_leaves_out_only_whom_there_is_no_room_for() {
        let text = |name: &str| Text::try_from(name).expect("text");
        let (ann, at_home) = (Holder::User(text("ann")), Holder::Address(text("192.0.2.1")));
        let quota = |connections| Quota { connections, ..Quota::default() };
        let mut usage = Usage::default();
        assert!(usage.connect(Time::ZERO, &[(ann.clone(), quota(2))], 1));
        let now = Time::ZERO.plus_ms(5_000);
        let holders = [at_home.clone(), ann.clone(), at_home, ann.clone()];
        usage.recount(now, holders.to_vec(), 1);
        assert!(!usage.connect(now, &[(ann.clone(), quota(2))], 1), "two are there");
        usage.disconnect(&[(ann.clone(), quota(2))]);
        assert!(usage.connect(now, &[(ann.clone(), quota(2))], 1));
        assert!(!usage.connect(now, &[(ann, quota(2))], 1));
    }
}
