//! What a session is subscribed to: its own subscriptions, which the subscription tree has, and its shared ones,
//! which their groups have, as one.

use alloc::vec::Vec;

use super::Broker;
use super::route::Subscriber;
use crate::routing::shared::Group;
use crate::routing::topic::TopicFilter;
use crate::session::{Session, SessionKey, Subscription};
use crate::wire::packet::SubscriptionOptions;

impl Subscriber {
    fn of(subscription: &Subscription) -> Self {
        let SubscriptionOptions { maximum_qos, no_local, retain_as_published, retain_handling } =
            subscription.options;
        let subscription_id = subscription.subscription_id.unwrap_or(0);
        Subscriber { maximum_qos, no_local, retain_as_published, retain_handling, subscription_id }
    }

    fn subscription(self) -> Subscription {
        let Subscriber { maximum_qos, no_local, retain_as_published, retain_handling, .. } = self;
        Subscription {
            options: SubscriptionOptions {
                maximum_qos,
                no_local,
                retain_as_published,
                retain_handling,
            },
            subscription_id: (self.subscription_id != 0).then_some(self.subscription_id),
            group: None,
        }
    }
}

impl Broker {
    pub(super) fn is_subscribed(&self, key: SessionKey, filter: &TopicFilter) -> bool {
        if filter.is_shared() {
            let group = self.groups.find(filter).and_then(|group| self.groups.get(group));
            group.is_some_and(|group| group.member(key).is_some())
        } else {
            self.subscriptions.get(filter, key).is_some()
        }
    }

    pub(super) fn subscription_count(&self, session: &Session) -> usize {
        session.subscriptions.len() + session.groups.len()
    }

    /// Subscriptions of a session that has not ended: those behind a filter, or all, in the order of the filters'
    /// text.
    pub(super) fn subscriptions_behind(
        &self,
        session: &Session,
        after: Option<&TopicFilter>,
    ) -> impl Iterator<Item = (TopicFilter, Subscription)> {
        let key = self.sessions.find(&session.client_id).unwrap_or(SessionKey::MAX);
        let groups = session.groups.iter().filter_map(|group| self.groups.get(*group));
        let of_member = |group: &Group| Some((group.filter.clone(), *group.member(key)?));
        let mut shared: Vec<_> = groups.filter_map(of_member).collect();
        shared.retain(|(filter, _)| after.is_none_or(|after| filter > after));
        shared.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut shared = shared.into_iter().peekable();
        let own = session.subscriptions.behind(&self.subscriptions, after).iter();
        let mut own = own
            .filter_map(move |place| {
                let subscriber = self.subscriptions.get_at(*place, key)?;
                Some((self.subscriptions.filter_at(*place), subscriber.subscription()))
            })
            .peekable();
        core::iter::from_fn(move || match (own.peek(), shared.peek()) {
            (Some((one, _)), Some((other, _))) if other < one => shared.next(),
            (Some(_), _) => own.next(),
            (None, _) => shared.next(),
        })
    }

    /// Enters a subscription where messages look for it, and in its session.
    pub(super) fn store_subscription(
        &mut self,
        key: SessionKey,
        filter: &TopicFilter,
        subscription: Subscription,
    ) -> Subscription {
        if filter.is_shared() {
            return self.join_group(key, filter, subscription);
        }
        let (place, old) = self.subscriptions.put(filter, key, Subscriber::of(&subscription));
        if old.is_none()
            && let Some(session) = self.sessions.get_mut(key)
        {
            session.subscriptions.insert(&self.subscriptions, filter, place);
        }
        subscription
    }

    /// Takes a subscription that is not shared out of both.
    pub(super) fn remove_own_subscription(&mut self, key: SessionKey, filter: &TopicFilter) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if let Some(place) = session.subscriptions.remove(&self.subscriptions, filter) {
            self.subscriptions.remove_at(place, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SessionId;
    use crate::wire::packet::RetainHandling;
    use crate::wire::types::{QoS, Text, Version};
    use crate::{Config, Seed, Time};

    #[test]
    fn own_and_shared_ones_are_one_list_in_the_order_of_filters() {
        let mut broker = Broker::new(Config::default(), Seed(7), Time::ZERO);
        let client_id = Text::try_from("ann").expect("a text");
        let session = Session::new(SessionId(1), client_id.clone(), None, Version::V5);
        let key = broker.sessions.insert(session);
        let filter = |text: &str| TopicFilter::try_from(text).expect("a filter");
        let handlings = [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never];
        let texts = ["z/+", "$share/g/a/#", "a", "$share/a/z", "a/b/c", "#", "%", "$SYS/#"];
        let mut put_in = Vec::new();
        for (number, text) in (0_u32..).zip(texts) {
            let options = SubscriptionOptions {
                maximum_qos: QoS::from_u8((number % 3) as u8).expect("at most 2"),
                no_local: number % 2 == 1,
                retain_as_published: number % 3 == 1,
                retain_handling: handlings[number as usize % 3],
            };
            let subscription_id = (number % 2 == 0).then_some(number + 1);
            let subscription = Subscription { options, subscription_id, group: None };
            let replaced = Subscription { subscription_id: Some(99), ..subscription };
            broker.store_subscription(key, &filter(text), replaced);
            assert!(broker.is_subscribed(key, &filter(text)));
            let stored = broker.store_subscription(key, &filter(text), subscription);
            put_in.push((filter(text), stored));
        }
        put_in.sort_by(|(one, _), (other, _)| one.cmp(other));
        let session = broker.sessions.get(key).expect("a session");
        assert_eq!(broker.subscription_count(session), texts.len());
        for place in 0..=texts.len() {
            let after = place.checked_sub(1).map(|before| &put_in[before].0);
            let behind = broker.subscriptions_behind(session, after);
            assert!(behind.eq(put_in[place..].iter().cloned()), "behind {after:?}");
        }
        let mut out = crate::Outbox::new();
        for (filter, subscription) in put_in {
            match subscription.group {
                Some((group, _)) => broker.leave_group(key, group, &mut out),
                None => broker.remove_own_subscription(key, &filter),
            }
            assert!(!broker.is_subscribed(key, &filter));
        }
        assert_eq!((broker.subscriptions.node_count(), broker.shares.node_count()), (1, 1));
    }
}
