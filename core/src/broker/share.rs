//! Shared subscriptions: which member gets a message, and what becomes of it when the member goes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Broker;
use super::leave::dropped_waiting;
use super::route::{Place, Placed, SLICE, Target};
use crate::gate::{Gate, Item};
use crate::message::Message;
use crate::notice::{DropCause, Notice};
use crate::outbox::Outbox;
use crate::permission::Action as Permitted;
use crate::record::{
    Enqueued, GroupId, LogPosition, Origin, QueueSeq, Receiver, Record, RetainedChange,
};
use crate::routing::shared::Group;
use crate::routing::topic::{Topic, TopicFilter};
use crate::session::flight::Stage;
use crate::session::queue::{Entry, Journaled, Lane, Waiting};
use crate::session::{GroupKey, SessionKey, Subscription};
use crate::time::Time;
use crate::wire::property::SubscriptionIds;
use crate::wire::types::{QoS, Text};

/// A share that has its first member that outlives its connection, and what waited there before.
#[derive(Clone, Debug)]
pub(super) struct UnrecordedShare {
    group: (GroupKey, GroupId),
    /// The journal has what is before this.
    from: QueueSeq,
    /// What comes from here on is recorded as it comes.
    to: QueueSeq,
}

/// What a member finds at its share.
enum Found {
    One(Box<Entry>),
    Nothing,
    /// There is more to look through.
    NotYet,
}

impl Broker {
    /// Finds the place for a group's copy: a connected member that can take it at once, or the
    /// group's queue.
    pub(super) fn place_shared(
        &mut self,
        key: GroupKey,
        message: &Message,
        retain: bool,
        is_recorded: bool,
        placed: Placed<'_>,
        out: &mut Outbox,
    ) -> Result<Target, (Text, DropCause)> {
        let now = self.durable_now();
        let Some(group) = self.groups.get(key) else {
            return Err((Text::default(), DropCause::ShareEnded));
        };
        let (id, receiver) = (group.id, group.filter.as_text().clone());
        let is_durable = group.is_durable() && is_recorded;
        let era = group.journal_era();
        if message.is_expired(now) {
            return Err((receiver, DropCause::Expired));
        }
        // While anything waits, no member was free; a newer message must not overtake it. QoS 0
        // needs no window and never waits.
        let takes_turns = group.queue.is_empty() || message.qos == QoS::AtMostOnce;
        let candidates = if takes_turns { group.online_len() } else { 0 };
        for _ in 0..candidates {
            let member = self.groups.get_mut(key).and_then(|group| group.next_online());
            if let Some(member) = member
                && let Some(mut target) = self.offer_to(key, member, message, retain, placed)
            {
                target.group = Some((key, id));
                target.journaled = self.journaled_for(member, target.qos, is_durable, era);
                if let (Place::Session(_), Some(session)) =
                    (target.place, self.sessions.get(member))
                {
                    let bytes = message.content_bytes() as u64;
                    self.accounts.reserve(&session.stored.bounds, bytes);
                }
                return Ok(target);
            }
        }
        // What no member may have must not stand in the way of what some may.
        if !self.any_may_receive(key, &message.topic) {
            return Err((receiver, DropCause::NotAuthorized));
        }
        if message.qos == QoS::AtMostOnce {
            let nobody_is_here = candidates == 0;
            let cause = if nobody_is_here { DropCause::Offline } else { DropCause::QueueFull };
            return Err((receiver, cause));
        }
        self.group_has_space(key, message.content_bytes(), out)
            .map_err(|cause| (receiver, cause))?;
        if let Some(group) = self.groups.get(key) {
            self.accounts.reserve(&group.stored.bounds, message.content_bytes() as u64);
        }
        Ok(Target {
            place: Place::Group(key),
            seq: QueueSeq(0),
            qos: message.qos,
            retain,
            subscription_ids: SubscriptionIds::None,
            group: None,
            journaled: if is_durable { Journaled::Here } else { Journaled::No },
        })
    }

    /// Where the journal has a message that a member takes at once.
    fn journaled_for(
        &self,
        member: SessionKey,
        qos: QoS,
        group_is_durable: bool,
        era: u32,
    ) -> Journaled {
        let outlives = self.sessions.get(member).is_some_and(|session| session.is_durable());
        match (group_is_durable, outlives, qos) {
            (false, _, _) | (true, _, QoS::AtMostOnce) => Journaled::No,
            (true, true, QoS::AtLeastOnce | QoS::ExactlyOnce) => Journaled::Here,
            (true, false, QoS::AtLeastOnce | QoS::ExactlyOnce) => Journaled::AtGroup(era),
        }
    }

    /// Whether a member can take a message now, and as what.
    fn offer_to(
        &self,
        key: GroupKey,
        member: SessionKey,
        message: &Message,
        retain: bool,
        placed: Placed<'_>,
    ) -> Option<Target> {
        let options = self.groups.get(key)?.member(member)?;
        if !self.may_receive(member, &message.topic) {
            return None;
        }
        let session = self.sessions.get(member)?;
        let link = self.links.get(session.connection?).filter(|link| link.is_live())?;
        let qos = message.qos.min(options.options.maximum_qos); // [MQTT-4.8.2-3]
        if message.qos > QoS::AtMostOnce && !self.session_may_store(member, message.content_bytes())
        {
            return None;
        }
        let place = match qos {
            QoS::AtMostOnce => {
                let is_free = link.has_room() && session.queue.lane_len(Lane::Qos0) == 0;
                if !is_free {
                    return None;
                }
                if message.qos == QoS::AtMostOnce {
                    Place::Wire(member)
                } else {
                    Place::Session(member)
                }
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                let waiting = session.queue.lane_len(Lane::Main) + placed.waiting_for(member);
                let has_window = free_window(link.window, link.in_window, waiting) > 0;
                if !link.has_room() || !has_window || !self.may_wait_behind(waiting) {
                    return None;
                }
                Place::Session(member)
            }
        };
        Some(Target {
            seq: QueueSeq(0),
            place,
            qos,
            retain: retain && options.options.retain_as_published,
            subscription_ids: options.subscription_id.into_iter().collect(),
            group: None,
            journaled: Journaled::No,
        })
    }

    /// Lets a member with a free window take what waits at its groups. Tells whether it took any.
    pub(super) fn take_shared(&mut self, key: SessionKey, out: &mut Outbox) -> bool {
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
    pub(super) fn has_shared_waiting(&self, key: SessionKey) -> bool {
        let waits =
            |group: &GroupKey| self.groups.get(*group).is_some_and(|group| !group.queue.is_empty());
        self.sessions.get(key).is_some_and(|session| session.groups.iter().any(waits))
    }

    /// Whether a member can begin one more delivery, counting what already waits for it.
    fn has_place(&self, key: SessionKey) -> bool {
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
    fn may_wait_behind(&self, waiting: usize) -> bool {
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
            // packet identifier must survive, and so must it.
            let enqueued = Enqueued {
                receiver: Receiver::Session(session.id),
                seq: entry.seq,
                qos: entry.qos,
                retain: entry.retain,
                maybe_sent: false,
                group: Some(group_id),
                subscription_ids: entry.subscription_ids.clone(),
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
            return;
        }
        if entry.journaled != Journaled::Here {
            return;
        }
        let from = Receiver::Group(group_id);
        if entry.qos == QoS::AtMostOnce {
            // It may go out once at most `[MQTT-4.3.1-1]`, so first a crash must not bring it back.
            entry.after =
                self.gate.persist(Record::Removed { receiver: from, seq: entry.seq }, out);
            entry.journaled = Journaled::No;
        } else if session.is_durable() {
            let record = Record::Moved {
                from,
                seq: entry.seq,
                to: Receiver::Session(session.id),
                qos: entry.qos,
                subscription_ids: entry.subscription_ids.clone(),
                retain: entry.retain,
            };
            self.gate.persist(record, out);
        } else {
            // After a crash it is the group's again; at QoS 2 until its delivery begins.
            let era = self.groups.get(group_key).map_or(0, Group::journal_era);
            entry.journaled = Journaled::AtGroup(era);
        }
    }

    /// A client's CONNACK is out: its groups may choose it.
    pub(super) fn client_came(&mut self, key: SessionKey, _out: &mut Outbox) {
        let clients = self.clients_connected() as u64;
        self.counters.clients_maximum = self.counters.clients_maximum.max(clients);
        let Some(session) = self.sessions.get(key) else { return };
        for group in session.groups.clone() {
            if let Some(group) = self.groups.get_mut(group) {
                group.set_online(key, true);
            }
        }
    }

    /// A session outlives its connection from now on, or no longer does, and so do its shares.
    pub(super) fn set_shares_durable(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(key) else { return };
        let (is_durable, at) = (session.is_durable(), session.transient_from);
        for group in session.groups.clone() {
            if let Some(group) = self.groups.get_mut(group) {
                group.set_durable(key, is_durable);
                group.transient_from = if group.is_durable() { LogPosition::START } else { at };
            }
        }
    }

    /// A client's connection is gone: its groups take back what it did not acknowledge.
    pub(super) fn client_went(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get(key) else { return };
        for group in session.groups.clone() {
            if let Some(group) = self.groups.get_mut(group) {
                group.set_online(key, false);
            }
        }
        self.give_back_shared(key, out);
    }

    /// Moves a session's undelivered shared messages back to their groups, where other members
    /// take them. QoS 2 in progress stays `[MQTT-4.8.2-4]` `[MQTT-4.8.2-5]`.
    pub(super) fn give_back_shared(&mut self, key: SessionKey, out: &mut Outbox) {
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

    pub(super) fn give_back(
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
    pub(super) fn record_shares(&mut self, budget: &mut u32, out: &mut Outbox) {
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
    pub(super) fn has_unrecorded_shares(&self) -> bool {
        !self.unrecorded_shares.is_empty() && !self.journal_room.is_short()
    }

    /// Connected members may now receive what waited for others.
    pub(super) fn look_again_at_shares(&mut self) {
        let with_waiting = self.groups.iter().filter(|(_, group)| !group.queue.is_empty());
        let members: Vec<SessionKey> = with_waiting.flat_map(|(_, group)| group.online()).collect();
        for member in members {
            self.add_work(member);
        }
    }

    /// A message has come to the end of a group's queue. If what waits before it is only for members
    /// that are away, others may be free. If nothing does, a member may be that had no place when the message was
    /// given its own: other copies of it that were to go there first did not stay, too large for their client.
    pub(super) fn offer_behind(&mut self, key: GroupKey, out: &mut Outbox) {
        let Some(group) = self.groups.get(key) else { return };
        let may_be_free = if group.queue.len() > 1 {
            !self.permissions.is_allow_all()
        } else {
            group.online().any(|member| self.has_place(member))
        };
        if may_be_free {
            self.offer_queue(key, out);
        }
    }

    /// Offers what waits at a group to its connected members.
    pub(super) fn offer_queue(&mut self, key: GroupKey, out: &mut Outbox) {
        let rounds = self.groups.get(key).map_or(0, Group::online_len);
        for _ in 0..rounds {
            let Some(group) = self.groups.get_mut(key) else { return };
            if group.queue.is_empty() {
                return;
            }
            if let Some(member) = group.next_online() {
                self.pump(member, out);
            }
        }
    }

    /// The group for a shared filter, made if there is none.
    pub(super) fn join_group(
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
    pub(super) fn leave_group(&mut self, key: SessionKey, group: GroupKey, out: &mut Outbox) {
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

    pub(super) fn leave_groups(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get(key) else { return };
        for group in session.groups.clone() {
            self.leave_group(key, group, out);
        }
    }

    /// Makes sure that a group's queue can take so many bytes more; what has expired there makes
    /// room.
    fn group_has_space(
        &mut self,
        key: GroupKey,
        bytes: usize,
        out: &mut Outbox,
    ) -> Result<(), DropCause> {
        let now = self.durable_now();
        if self.lacks_group_space(key, bytes).is_none() {
            return Ok(());
        }
        if let Some(group) = self.groups.get_mut(key)
            && group.queue.may_have_expired(now)
        {
            for entry in group.queue.take_if(|entry| entry.message.is_expired(now)) {
                self.drop_at_group(key, &entry, DropCause::Expired, out);
            }
            self.count_group(key);
        }
        self.lacks_group_space(key, bytes).map_or(Ok(()), Err)
    }

    fn lacks_group_space(&self, key: GroupKey, bytes: usize) -> Option<DropCause> {
        let limits = &self.config.limits;
        let group = self.groups.get(key)?;
        if !group.queue.has_space(bytes, limits.queue_messages, limits.queue_bytes) {
            return Some(DropCause::QueueFull);
        }
        (!self.group_may_store(key, bytes)).then_some(DropCause::OverQuota)
    }

    /// Whether some member of a group, connected or not, may receive on this topic.
    fn any_may_receive(&self, key: GroupKey, topic: &Topic) -> bool {
        self.permissions.is_allow_all()
            || self
                .groups
                .get(key)
                .is_some_and(|group| group.members().any(|member| self.may_receive(member, topic)))
    }

    /// A message that has left a group's queue will not be delivered.
    fn drop_at_group(
        &mut self,
        key: GroupKey,
        entry: &Waiting,
        cause: DropCause,
        out: &mut Outbox,
    ) {
        let Some(group) = self.groups.get(key) else { return };
        if entry.journaled == Journaled::Here {
            let receiver = Receiver::Group(group.id);
            self.gate.persist(Record::Removed { receiver, seq: entry.seq }, out);
        }
        self.counters.dropped += 1;
        let receiver = group.filter.as_text().clone();
        out.notice(dropped_waiting(receiver, entry, cause));
    }

    pub(super) fn may_receive(&self, key: SessionKey, topic: &Topic) -> bool {
        self.sessions.get(key).is_some_and(|session| {
            let subject = session.subject();
            self.permissions.allows(&subject, Permitted::Receive, topic).allowed
        })
    }

    pub(super) fn notice_dropped(
        &mut self,
        receiver: Text,
        topic: Topic,
        cause: DropCause,
        out: &mut Outbox,
    ) {
        self.counters.dropped += 1;
        out.notice(Notice::Dropped { receiver, topic, cause });
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

/// How many more deliveries a member can begin, counting what already waits for it.
fn free_window(window: u16, in_window: u16, waiting: usize) -> usize {
    usize::from(window.saturating_sub(in_window)).saturating_sub(waiting)
}
