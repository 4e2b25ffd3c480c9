//! What goes back to a group because its member went, and what waits there being recorded.

use alloc::vec::Vec;

use crate::broker::Broker;
use crate::gate::Gate;
use crate::outbox::Outbox;
use crate::record::{
    Enqueued, GroupId, LogPosition, Origin, QueueSeq, Receiver, Record, RetainedChange,
};
use crate::session::flight::Stage;
use crate::session::queue::{Journaled, Waiting};
use crate::session::{GroupKey, SessionKey};
use crate::time::Time;
use crate::wire::property::SubscriptionIds;
use crate::wire::types::QoS;

impl Broker {
    /// Moves a session's undelivered shared messages back to their groups, where other members
    /// take them. QoS 2 in progress stays `[MQTT-4.8.2-4]` `[MQTT-4.8.2-5]`.
    pub(in crate::broker) fn give_back_shared(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        // Where the share has ended, what the session had begun stays with it.
        let groups = &self.groups;
        let is_shared =
            |group: Option<(GroupKey, GroupId)>| group.is_some_and(|group| groups.is_same(group));
        let mut entries: Vec<Waiting> = Vec::new();
        for (id, _) in session.flight.in_order() {
            let is_movable = session.flight.get(id).is_some_and(|exchange| match &exchange.stage {
                Stage::Publish { entry, .. } => {
                    let may_move = entry.qos == QoS::AtLeastOnce || !entry.maybe_sent;
                    is_shared(entry.group) && (may_move || canary!(SharedQos2Moves))
                }
                Stage::Release { .. } => false,
            });
            if is_movable
                && let Some(exchange) = session.flight.remove(id)
                && let Stage::Publish { entry, .. } = exchange.stage
            {
                entries.push(entry);
            }
        }
        // Most queues have nothing from a share, and are not gone through when their client goes.
        if session.queue.has_any_from_groups() {
            let is_movable =
                |entry: &Waiting| is_shared(entry.group) && entry.message.qos() > QoS::AtMostOnce;
            entries.extend(session.queue.take_if(is_movable));
        }
        if canary!(SharedLostWithMember) {
            return;
        }
        self.count_stored(key);
        let mut groups: Vec<GroupKey> = Vec::new();
        for entry in entries {
            if let Some(group) = self.give_back(key, entry, out)
                && !groups.contains(&group)
            {
                groups.push(group);
            }
        }
        for group in groups {
            self.offer_queue(group, out);
        }
    }

    pub(in crate::broker) fn give_back(
        &mut self,
        key: SessionKey,
        entry: Waiting,
        out: &mut Outbox,
    ) -> Option<GroupKey> {
        let place = entry.group?;
        let session = self.sessions.get_mut(key)?;
        let group = self.groups.get_same(place)?;
        let mut entry = entry;
        entry.qos = entry.message.qos();
        entry.retain = entry.published_retain;
        entry.subscription_ids = SubscriptionIds::None;
        entry.maybe_sent = false;
        entry.group = None;
        match (entry.journaled, group.is_durable()) {
            (Journaled::AtGroup(era), true) if era == group.journal_era() => {
                entry.journaled = Journaled::Here;
            }
            (Journaled::No | Journaled::AtGroup(_), true) => {
                (entry.after, entry.journaled) =
                    record_waiting(&mut self.gate, group.id, &entry, self.now, out);
            }
            (Journaled::No | Journaled::AtGroup(_), false) => entry.journaled = Journaled::No,
            (Journaled::Here, false) => {
                // To the journal this share has ended.
                let receiver = Receiver::Session(session.id);
                self.gate.persist(Record::Removed { receiver, seq: entry.seq }, out);
                entry.journaled = Journaled::No;
            }
            (Journaled::Here, true) => {
                let record = Record::Moved {
                    from: Receiver::Session(session.id),
                    seq: entry.seq,
                    to: Receiver::Group(group.id),
                    qos: entry.qos,
                    subscription_ids: SubscriptionIds::None,
                    retain: entry.retain,
                };
                self.gate.persist(record, out);
            }
        }
        group.put_back(entry);
        self.count_group(place.0);
        Some(place.0)
    }

    /// Records what waited at shares before they had a member that outlives its connection.
    pub(in crate::broker) fn record_shares(&mut self, budget: &mut u32, out: &mut Outbox) {
        while *budget > 0
            && !self.journal_room.is_short()
            && let Some(share) = self.unrecorded_shares.front_mut()
        {
            *budget -= 1;
            let group = self.groups.get_same(share.group).filter(|group| group.is_durable());
            let next = group.and_then(|group| {
                let waiting = group.queue.first_unrecorded(share.from, share.to)?;
                Some((group, waiting))
            });
            let Some((group, waiting)) = next else {
                self.unrecorded_shares.pop_front();
                continue;
            };
            share.from = QueueSeq(waiting.seq.0 + 1);
            let (after, journaled) =
                record_waiting(&mut self.gate, group.id, &waiting, self.now, out);
            if journaled == Journaled::Here {
                group.queue.set_recorded(waiting.seq, after);
            }
        }
    }

    /// Whether there are such shares, and the disk has room for them.
    pub(in crate::broker) fn has_unrecorded_shares(&self) -> bool {
        !self.unrecorded_shares.is_empty() && !self.journal_room.is_short()
    }

    /// Connected members may now receive what waited for others.
    pub(in crate::broker) fn look_again_at_shares(&mut self) {
        let with_waiting = self.groups.iter().filter(|(_, group)| !group.queue.is_empty());
        let members: Vec<SessionKey> = with_waiting.flat_map(|(_, group)| group.online()).collect();
        for member in members {
            self.add_work(member);
        }
    }
}

/// Records a message as one that waits at a share, and tells where the journal has it then.
fn record_waiting(
    gate: &mut Gate,
    group: GroupId,
    entry: &Waiting,
    now: Time,
    out: &mut Outbox,
) -> (LogPosition, Journaled) {
    let message = entry.message.message().expect("a share's message is in memory");
    if !message.topic.is_recorded() {
        return (LogPosition::START, Journaled::No);
    }
    let enqueued = Enqueued::at_group(group, entry.seq, message.qos, entry.published_retain);
    let record = Record::Published {
        at: message.expires_at.map(|_| now),
        message,
        origin: Origin::Untracked,
        retained: RetainedChange::None,
        entries: alloc::vec![enqueued],
    };
    (gate.persist(record, out), Journaled::Here)
}
