//! Shared subscriptions: which member gets a message, and when it waits at its group.
//!
//! What a member takes later is in `taking`, what goes back to the group in `giving_back`, who is one in `members`.

mod giving_back;
mod members;
mod taking;

use super::Broker;
use super::leave::dropped_waiting;
use super::route::{Place, Placed, Target};
use crate::message::Message;
use crate::notice::{DropCause, Notice};
use crate::outbox::Outbox;
use crate::permission::Action as Permitted;
use crate::record::{GroupId, QueueSeq, Receiver, Record};
use crate::routing::shared::Group;
use crate::routing::topic::Topic;
use crate::session::queue::{Journaled, Lane, Waiting};
use crate::session::{GroupKey, SessionKey};
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

/// How many more deliveries a member can begin, counting what already waits for it.
fn free_window(window: u16, in_window: u16, waiting: usize) -> usize {
    usize::from(window.saturating_sub(in_window)).saturating_sub(waiting)
}
