//! Who is a member of a group, connected or away.

use super::UnrecordedShare;
use crate::broker::Broker;
use crate::broker::leave::dropped_waiting;
use crate::notice::DropCause;
use crate::outbox::Outbox;
use crate::record::{LogPosition, QueueSeq};
use crate::routing::shared::Group;
use crate::routing::topic::TopicFilter;
use crate::session::queue::Lane;
use crate::session::{GroupKey, SessionKey, Subscription};

impl Broker {
    /// A client's CONNACK is out: its groups may choose it.
    pub(in crate::broker) fn client_came(&mut self, key: SessionKey) {
        let clients = self.clients_connected() as u64;
        self.counters.clients_maximum = self.counters.clients_maximum.max(clients);
        let Some(session) = self.sessions.get(key) else { return };
        for group in session.groups.clone() {
            if let Some(group) = self.groups.get_mut(group) {
                group.set_online(key, true);
            }
        }
    }

    /// A client's connection is gone: its groups take back what it did not acknowledge.
    pub(in crate::broker) fn client_went(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get(key) else { return };
        for group in session.groups.clone() {
            if let Some(group) = self.groups.get_mut(group) {
                group.set_online(key, false);
            }
        }
        self.give_back_shared(key, out);
    }

    /// The group for a shared filter, made if there is none.
    pub(in crate::broker) fn join_group(
        &mut self,
        key: SessionKey,
        filter: &TopicFilter,
        mut subscription: Subscription,
    ) -> Subscription {
        let group = match self.groups.find(filter) {
            Some(group) => group,
            None => {
                let id = self.fresh_group_id();
                let group = self.groups.insert(id, filter.clone());
                self.shares.insert(filter, group, ());
                group
            }
        };
        let id = self.groups.get(group).map(|group| group.id).unwrap_or_default();
        subscription.group = Some((group, id));
        self.groups.join(group, key, subscription);
        let Some(session) = self.sessions.get_mut(key) else { return subscription };
        if !session.groups.contains(&group) {
            session.groups.push(group);
        }
        let is_durable = session.is_durable();
        let is_online = session
            .connection
            .and_then(|connection| self.links.get(connection))
            .is_some_and(crate::link::Link::is_live);
        let to = QueueSeq(self.next_seq);
        if let Some(found) = self.groups.get_mut(group) {
            let was_durable = found.is_durable();
            found.set_durable(key, is_durable);
            found.set_online(key, is_online);
            if !was_durable && found.is_durable() && !found.queue.is_empty() {
                let (group, from) = ((group, id), QueueSeq(0));
                self.unrecorded_shares.push_back(UnrecordedShare { group, from, to });
            }
        }
        self.may_keep(group, key);
        subscription
    }

    /// Takes a session out of one group; the last member ends it.
    pub(in crate::broker) fn leave_group(
        &mut self,
        key: SessionKey,
        group: GroupKey,
        out: &mut Outbox,
    ) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.groups.retain(|other| *other != group);
        }
        self.groups.leave(group, key);
        if self.groups.get(group).is_some_and(Group::has_members) {
            if self.groups.get(group).is_some_and(|group| group.keeper == Some(key)) {
                self.find_keeper(group);
            }
            return;
        }
        let Some(mut ended) = self.groups.remove(group) else { return };
        self.accounts.count(&mut ended.stored, 0);
        self.shares.remove(&ended.filter, group);
        let receiver = ended.filter.as_text().clone();
        while let Some(entry) = ended.queue.pop(Lane::Main) {
            self.counters.dropped += 1;
            out.notice(dropped_waiting(receiver.clone(), &entry, DropCause::ShareEnded));
        }
    }

    pub(in crate::broker) fn leave_groups(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get(key) else { return };
        for group in session.groups.clone() {
            self.leave_group(key, group, out);
        }
    }

    /// A session outlives its connection from now on, or no longer does, and so do its shares.
    pub(in crate::broker) fn set_shares_durable(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(key) else { return };
        let (is_durable, at) = (session.is_durable(), session.transient_from);
        for group in session.groups.clone() {
            if let Some(group) = self.groups.get_mut(group) {
                group.set_durable(key, is_durable);
                group.transient_from = if group.is_durable() { LogPosition::START } else { at };
            }
        }
    }
}
