//! What waits at a group, and a member that has become free.

use alloc::boxed::Box;

use super::free_window;
use crate::broker::Broker;
use crate::broker::route::SLICE;
use crate::gate::Item;
use crate::notice::DropCause;
use crate::outbox::Outbox;
use crate::record::{
    Enqueued, GroupId, Origin, QueueSeq, Receiver, Record, RetainedChange, SessionId,
};
use crate::routing::shared::Group;
use crate::session::queue::{Entry, Journaled, Lane};
use crate::session::{GroupKey, SessionKey};
use crate::wire::types::QoS;

/// What a member finds at its share.
enum Found {
    One(Box<Entry>),
    Nothing,
    /// There is more to look through.
    NotYet,
}

impl Broker {
    /// Lets a member with a free window take what waits at its groups. Tells whether it took any.
    pub(in crate::broker) fn take_shared(&mut self, key: SessionKey, out: &mut Outbox) -> bool {
        let Some(session) = self.sessions.get(key) else { return false };
        let groups = session.groups.clone();
        let mut took = false;
        for group in groups {
            while self.has_place(key) {
                match self.find_for(group, key, out) {
                    Found::One(entry) => {
                        took = true;
                        self.take(group, key, *entry, out);
                    }
                    Found::Nothing => break,
                    Found::NotYet => {
                        self.add_work(key);
                        break;
                    }
                }
            }
        }
        took
    }

    /// Whether a session's groups have messages that wait.
    pub(in crate::broker) fn has_shared_waiting(&self, key: SessionKey) -> bool {
        let waits =
            |group: &GroupKey| self.groups.get(*group).is_some_and(|group| !group.queue.is_empty());
        self.sessions.get(key).is_some_and(|session| session.groups.iter().any(waits))
    }

    /// Whether a member can begin one more delivery, counting what already waits for it.
    pub(super) fn has_place(&self, key: SessionKey) -> bool {
        let Some(session) = self.sessions.get(key) else { return false };
        let link = session.connection.and_then(|connection| self.links.get(connection));
        let waiting = session.queue.lane_len(Lane::Main);
        link.is_some_and(|link| {
            link.has_room()
                && free_window(link.window, link.in_window, waiting) > 0
                && self.may_wait_behind(waiting)
                && session.queue.lane_len(Lane::Qos0) == 0
        })
    }

    /// Whether one more may wait for a member for which so many wait, for a record mostly.
    pub(super) fn may_wait_behind(&self, waiting: usize) -> bool {
        waiting == 0 || waiting < self.config.limits.queue_messages as usize
    }

    /// Takes out of a group's queue the first message that a member may have. What only others may
    /// have stays for them; what nobody may have any more is dropped.
    fn find_for(&mut self, group_key: GroupKey, key: SessionKey, out: &mut Outbox) -> Found {
        let now = self.durable_now();
        let rules = self.permission_changes;
        let Some(group) = self.groups.get_mut(group_key) else { return Found::Nothing };
        let mut from = group.passed_by(key, rules);
        for _ in 0..SLICE {
            let Some(group) = self.groups.get_mut(group_key) else { return Found::Nothing };
            let Some((seq, held)) = group.queue.first_from(from) else {
                group.pass(key, from);
                return Found::Nothing;
            };
            let is_expired = held.is_expired(now);
            let message = held.message().expect("a share's message is in memory");
            let may_receive = self.may_receive(key, &message.topic);
            if !is_expired && !may_receive && self.any_may_receive(group_key, &message.topic) {
                from = QueueSeq(seq.0 + 1);
                continue;
            }
            let group = self.groups.get_mut(group_key);
            let Some(entry) = group.and_then(|group| group.queue.remove(seq)) else { break };
            self.count_group(group_key);
            if is_expired {
                self.drop_at_group(group_key, &entry, DropCause::Expired, out);
            } else if may_receive {
                return Found::One(Box::new(entry.shown(message)));
            } else {
                self.drop_at_group(group_key, &entry, DropCause::NotAuthorized, out);
            }
        }
        if let Some(group) = self.groups.get_mut(group_key) {
            group.pass(key, from);
        }
        Found::NotYet
    }

    /// Gives a member what was found for it.
    fn take(&mut self, group_key: GroupKey, key: SessionKey, mut entry: Entry, out: &mut Outbox) {
        let Some(group) = self.groups.get(group_key) else { return };
        let Some(options) = group.member(key).copied() else { return };
        entry.group = Some((group_key, group.id));
        entry.qos = entry.message.qos.min(options.options.maximum_qos); // [MQTT-4.8.2-3]
        entry.retain = entry.published_retain && options.options.retain_as_published;
        entry.subscription_ids = options.subscription_id.into_iter().collect();
        self.record_taking(key, &mut entry, out);
        let after = entry.after;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let id = session.id;
        session.wait(self.now, entry);
        if !self.gate.is_durable(after) {
            self.gate.hold(after, Item::Wake { session: key, id });
        }
    }

    /// Records that a member has taken a message, as far as a crash must not undo it.
    fn record_taking(&mut self, key: SessionKey, entry: &mut Entry, out: &mut Outbox) {
        let (Some(session), Some((group_key, group_id))) = (self.sessions.get(key), entry.group)
        else {
            return;
        };
        if entry.journaled != Journaled::Here
            && session.is_durable()
            && entry.qos > QoS::AtMostOnce
            && entry.message.topic.is_recorded()
        {
            // It came to the group while the journal did not have its queue. From here on its
            // packet identifier must survive, and so must it; and the RETAIN that another member may have to see.
            let is_changed = entry.published_retain && !entry.retain;
            let enqueued = if is_changed {
                Enqueued::at_group(group_id, entry.seq, entry.message.qos, true)
            } else {
                Enqueued {
                    receiver: Receiver::Session(session.id),
                    seq: entry.seq,
                    qos: entry.qos,
                    retain: entry.retain,
                    maybe_sent: false,
                    group: Some(group_id),
                    subscription_ids: entry.subscription_ids.clone(),
                }
            };
            let record = Record::Published {
                message: entry.message.clone(),
                origin: Origin::Untracked,
                retained: RetainedChange::None,
                entries: alloc::vec![enqueued],
                at: entry.message.expires_at.map(|_| self.now),
            };
            entry.after = self.gate.persist(record, out);
            entry.journaled = Journaled::Here;
            if is_changed {
                entry.after = self.gate.persist(moved(group_id, session.id, entry), out);
            }
            return;
        }
        if entry.journaled != Journaled::Here {
            return;
        }
        if entry.qos == QoS::AtMostOnce {
            // It may go out once at most `[MQTT-4.3.1-1]`, so first a crash must not bring it back.
            let receiver = Receiver::Group(group_id);
            entry.after = self.gate.persist(Record::Removed { receiver, seq: entry.seq }, out);
            entry.journaled = Journaled::No;
        } else if session.is_durable() {
            self.gate.persist(moved(group_id, session.id, entry), out);
        } else {
            // After a crash it is the group's again; at QoS 2 until its delivery begins.
            let era = self.groups.get(group_key).map_or(0, Group::journal_era);
            entry.journaled = Journaled::AtGroup(era);
        }
    }
}

/// A member of a share has taken what waited there.
fn moved(from: GroupId, to: SessionId, entry: &Entry) -> Record {
    Record::Moved {
        from: Receiver::Group(from),
        seq: entry.seq,
        to: Receiver::Session(to),
        qos: entry.qos,
        subscription_ids: entry.subscription_ids.clone(),
        retain: entry.retain,
    }
}
