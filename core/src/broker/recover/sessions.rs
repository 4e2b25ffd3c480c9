//! What the records say of sessions, their subscriptions and their shares.

use alloc::collections::btree_map::Entry;

use super::{Index, Unknown, behind, is_next};
use crate::broker::Broker;
use crate::outbox::Outbox;
use crate::record::{LogPosition, Record, ReplayState, SessionId};
use crate::routing::shared::Group;
use crate::routing::topic::TopicFilter;
use crate::session::{ArmedWill, GroupKey, Replay, Session, SessionKey, Subscription};
use crate::time::Time;

impl Broker {
    pub(super) fn apply_connected(
        &mut self,
        record: Record,
        index: &mut Index,
    ) -> Result<(), Unknown> {
        let Record::Connected {
            session: id,
            client_id,
            identity,
            claims,
            address,
            key,
            version,
            session_expiry_interval_s,
            will,
            at,
        } = record
        else {
            return Ok(());
        };
        index.latest = index.latest.max(at);
        self.next_session = self.next_session.max(behind(id.0)?);
        if !index.sessions.contains_key(&id) {
            if let Some(old) = self.sessions.find(&client_id) {
                self.supersede(old, index)?;
            }
            let mut session = Session::new(id, client_id, identity, version);
            session.recorded = true;
            index.sessions.insert(id, self.sessions.insert(session));
        }
        index.connected.insert(id, true);
        let session = self.known_session(id, index)?;
        session.version = version;
        session.claims = claims;
        session.moved_to(address, key);
        if !canary!(ExpiryOverrideLostAtRecovery) {
            session.expiry_interval_s = session_expiry_interval_s;
        }
        session.left_at = at;
        session.will = will
            .filter(|_| !canary!(WillLostAtRecovery))
            .map(|will| ArmedWill { will, due_at: Time::NEVER });
        self.tell_groups(id, index)
    }

    pub(super) fn apply_disconnected(
        &mut self,
        record: Record,
        index: &mut Index,
    ) -> Result<(), Unknown> {
        let Record::Disconnected {
            session: id,
            session_expiry_interval_s,
            keeps_will,
            maybe_sent_before,
            at,
        } = record
        else {
            return Ok(());
        };
        index.connected.insert(id, false);
        index.latest = index.latest.max(at);
        let session = self.known_session(id, index)?;
        session.expiry_interval_s = session_expiry_interval_s;
        session.left_at = at;
        session.queue.mark_maybe_sent(maybe_sent_before);
        if !keeps_will {
            session.will = None;
        }
        self.tell_groups(id, index)
    }

    /// Tells a session's groups whether it outlives its connection, as the broker did when it wrote
    /// the record.
    fn tell_groups(&mut self, id: SessionId, index: &mut Index) -> Result<(), Unknown> {
        let key = *index.sessions.get(&id).ok_or(Unknown("a session"))?;
        let session = self.known_session(id, index)?;
        let (is_durable, groups) = (session.is_durable(), session.groups.clone());
        for group in groups {
            if let Some(group) = self.groups.get_mut(group) {
                group.set_durable(key, is_durable);
            }
            self.end_transient_share(group, index);
        }
        Ok(())
    }

    /// Without a member that outlives its connection a share ends with a crash. To the journal it has
    /// ended already: should it live on and gain such a member, what waits there is recorded anew.
    fn end_transient_share(&mut self, key: GroupKey, index: &mut Index) {
        if self.groups.get(key).is_none_or(Group::is_durable) {
            return;
        }
        let Some(ended) = self.groups.remove(key) else { return };
        self.shares.remove(&ended.filter, key);
        index.groups.remove(&ended.id);
        for member in ended.members() {
            if let Some(session) = self.sessions.get_mut(member) {
                session.groups.retain(|group| *group != key);
            }
        }
    }

    pub(super) fn apply_session_ended(
        &mut self,
        id: SessionId,
        index: &mut Index,
    ) -> Result<(), Unknown> {
        let key = index.sessions.remove(&id).ok_or(Unknown("a session"))?;
        index.connected.remove(&id);
        self.sessions.forget_client(key);
        let session = self.sessions.get_mut(key).ok_or(Unknown("a session"))?;
        while let Some(place) = session.subscriptions.pop() {
            self.subscriptions.remove_at(place, key);
        }
        for group in session.groups.clone() {
            self.leave_share(key, group, index);
        }
        self.remove_session(key);
        Ok(())
    }

    pub(super) fn apply_subscribed(
        &mut self,
        record: Record,
        index: &mut Index,
    ) -> Result<(), Unknown> {
        let Record::Subscribed { session, filter, mut options, subscription_id, group, replay } =
            record
        else {
            return Ok(());
        };
        let key = *index.sessions.get(&session).ok_or(Unknown("a session"))?;
        if filter.is_shared() != group.is_some() {
            return Err(Unknown("a share"));
        }
        let before = is_next(replay.as_ref().map_or(0, |replay| replay.before.0))?;
        options.no_local &= !canary!(NoLocalLostAtRecovery);
        let subscription = Subscription { options, subscription_id, group: None };
        if let Some(id) = group {
            self.next_group = self.next_group.max(behind(id.0)?);
            if let Entry::Vacant(place) = index.groups.entry(id) {
                let group = self.groups.insert(id, filter.clone());
                self.shares.insert(&filter, group, ());
                place.insert(group);
            }
        }
        self.store_subscription(key, &filter, subscription);
        // Identifiers below `before` may have gone to messages that no record has. Used again, they
        // would have the replay repeat what is delivered live.
        self.next_message = self.next_message.max(before);
        let session = self.known_session(session, index)?;
        session.replays.retain(|replay| replay.filter != filter);
        if let Some(ReplayState { before, after_topic, early }) = replay {
            let after = LogPosition::START;
            session.replays.push_back(Replay {
                filter,
                options,
                subscription_id,
                after_topic,
                needs_bytes: 0,
                early: early.into_iter().collect(),
                after,
                before,
                is_recovered: true,
            });
        }
        Ok(())
    }

    pub(super) fn apply_unsubscribed(
        &mut self,
        id: SessionId,
        filter: &TopicFilter,
        index: &mut Index,
    ) -> Result<(), Unknown> {
        let key = *index.sessions.get(&id).ok_or(Unknown("a session"))?;
        if !self.is_subscribed(key, filter) {
            return Err(Unknown("a subscription"));
        }
        let session = self.known_session(id, index)?;
        session.replays.retain(|replay| replay.filter != *filter);
        match self.groups.find(filter) {
            Some(group) => self.leave_share(key, group, index),
            None => self.remove_own_subscription(key, filter),
        }
        Ok(())
    }

    fn leave_share(&mut self, key: SessionKey, share: GroupKey, index: &mut Index) {
        let Some(id) = self.groups.get(share).map(|group| group.id) else { return };
        self.leave_group(key, share, &mut Outbox::new());
        if self.groups.is_same((share, id)) {
            self.end_transient_share(share, index);
        } else {
            index.groups.remove(&id);
        }
    }
}
