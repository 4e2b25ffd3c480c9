//! From one message to its receivers: who gets it, how, and what of that is recorded.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broker;
use super::fetch::Forms;
use super::matches::Matches;
use super::wires::Wire;
use crate::gate::Item;
use crate::message::Message;
use crate::notice::{DropCause, Notice};
use crate::outbox::Outbox;
use crate::permission::Action as Permitted;
use crate::quota::Owner;
use crate::record::{
    Enqueued, GroupId, LogPosition, Origin, QueueSeq, Receiver, Record, RetainedChange,
};
use crate::routing::retained::is_of_system;
use crate::routing::topic::Topic;
use crate::session::queue::{Journaled, Lane, Waiting};
use crate::session::{GroupKey, Session, SessionKey};
use crate::wire::packet::RetainHandling;
use crate::wire::property::SubscriptionIds;
use crate::wire::reason::ReasonCode;
use crate::wire::types::{QoS, Text};

/// Entries that one call deals with before `resume` goes on.
pub(super) const SLICE: u32 = 1024;

/// What the subscription tree knows of a subscription.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Subscriber {
    pub(super) maximum_qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) retain_handling: RetainHandling,
    /// 0 for none.
    pub(super) subscription_id: u32,
}

/// Where a message comes from.
pub(super) struct Source {
    /// The session of the publishing client, for No Local.
    pub(super) session: Option<SessionKey>,
    /// The publishing client, for No Local where it has no session and for quotas of stored bytes: always where the
    /// message is to be retained.
    pub(super) publisher: Option<Arc<Owner>>,
    pub(super) origin: Origin,
    /// Whether the journal may know of it; `$SYS` is made anew at every start.
    pub(super) is_recorded: bool,
    /// Whether there is a publisher to be told that nobody could take it. If not, it takes effect
    /// all the same: a will is published `[MQTT-3.1.2-8]`, and kept if it is to be.
    pub(super) is_refusable: bool,
}

impl Source {
    /// Whether this session's client is the publisher.
    fn is_of(&self, key: SessionKey, session: &Session) -> bool {
        let publisher = self.publisher.as_ref();
        self.session == Some(key)
            || publisher.is_some_and(|publisher| publisher.client_id == session.client_id)
    }

    /// Whether a crash brings the same message once more unless its record is durable: the publisher
    /// repeats it at QoS 2, or under its key, or the will is armed again.
    fn may_come_again(&self, qos: QoS) -> bool {
        match self.origin {
            Origin::Will { .. } | Origin::Request(_) => true,
            Origin::Untracked | Origin::Inbound { .. } => qos == QoS::ExactlyOnce,
        }
    }
}

/// What came of a message.
pub(super) struct Routed {
    /// Sessions and groups with a matching subscription.
    pub(super) matched: u32,
    /// Those of them that could not take it.
    refused: u32,
    /// Whether it would have to be recorded and the disk is full.
    is_short: bool,
    /// What an acknowledgement has to wait for.
    pub(super) after: LogPosition,
    /// The topic, if the message is refused.
    pub(super) refused_topic: Option<Topic>,
}

impl Routed {
    /// What comes of a message that nobody can refuse and nothing waits for.
    fn at_once(matched: u32) -> Self {
        let after = LogPosition::START;
        Routed { matched, refused: 0, is_short: false, after, refused_topic: None }
    }

    /// Whether nobody could take the message, so that it was not taken at all.
    pub(super) fn is_refused(&self) -> bool {
        self.is_short || self.matched > 0 && self.refused == self.matched
    }

    /// What the publisher is told.
    pub(super) fn reason(&self) -> ReasonCode {
        if self.is_refused() {
            ReasonCode::QuotaExceeded
        } else if self.matched == 0 {
            ReasonCode::NoMatchingSubscribers
        } else {
            ReasonCode::Success
        }
    }
}

/// Memory that is used again from message to message.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    matches: Matches,
    /// Receivers by the short way; there are none where there are targets.
    wires: Vec<Wire>,
    targets: Vec<Target>,
    /// Receivers that could not take the message.
    drops: Vec<(Text, DropCause)>,
}

impl Scratch {
    /// Whether it has the receivers of this topic.
    pub(super) fn is_of(&self, broker: &Broker, topic: &Topic) -> bool {
        broker.are_matches_of(topic, &self.matches)
    }
}

/// One receiver of the message at hand.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) place: Place,
    /// Its place in the order of the queue, once the message is taken.
    pub(super) seq: QueueSeq,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) subscription_ids: SubscriptionIds,
    pub(super) group: Option<(GroupKey, GroupId)>,
    pub(super) journaled: Journaled,
}

/// The copies of the message at hand that have a place, but are not there yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    /// Of sessions by their own subscriptions, at most one for each, in the order of sessions.
    own: &'a [Target],
    /// Of members of shares.
    shared: &'a [Target],
}

impl Placed<'_> {
    /// How many will wait for a session at QoS 1 or 2.
    pub(super) fn waiting_for(&self, key: SessionKey) -> usize {
        let waits = |target: &&Target| {
            target.qos > QoS::AtMostOnce
                && matches!(target.place, Place::Session(session) if session == key)
        };
        let own = self.own.binary_search_by_key(&Some(key), |target| target.place.session());
        let own = own.ok().map(|place| &self.own[place]).filter(waits);
        usize::from(own.is_some()) + self.shared.iter().filter(waits).count()
    }
}

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Straight to the connection, at QoS 0.
    Wire(SessionKey),
    /// Into a session's queue.
    Session(SessionKey),
    /// Into a group's queue.
    Group(GroupKey),
}

impl Place {
    fn session(self) -> Option<SessionKey> {
        match self {
            Place::Wire(key) | Place::Session(key) => Some(key),
            Place::Group(_) => None,
        }
    }
}

impl Broker {
    /// Gives a message to everyone who is to have it.
    pub(super) fn route(
        &mut self,
        message: Message,
        retain: bool,
        source: Source,
        out: &mut Outbox,
    ) -> Routed {
        if self.is_for_crowd(&message, retain, &source) {
            return Routed::at_once(self.send_to_crowd(message, out));
        }
        self.end_crowd();
        let mut source = source;
        let mut scratch = self.scratch.take().unwrap_or_default();
        let matched = self.find_targets(&message, retain, &source, &mut scratch, out);
        self.accounts.end_reservations();
        let has_no_space =
            |cause: &DropCause| matches!(cause, DropCause::QueueFull | DropCause::OverQuota);
        let drops = scratch.drops.iter();
        let refused = drops.filter(|(_, cause)| has_no_space(cause)).count();
        let refused = u32::try_from(refused).unwrap_or(u32::MAX);
        for (receiver, cause) in scratch.drops.drain(..) {
            self.counters.dropped += 1;
            let topic = message.topic.compact();
            out.notice(Notice::Dropped { receiver, topic, cause });
        }
        let is_short =
            self.journal_room.is_short() && must_be_recorded(&message, &source, &scratch.targets);
        let mut routed = Routed { refused, is_short, ..Routed::at_once(matched) };
        let is_refused = routed.is_refused();
        if is_refused {
            routed.refused_topic = Some(message.topic.clone());
        }
        if let Origin::Request(requested) = &mut source.origin {
            requested.matched = matched;
            if is_refused {
                // At QoS 0 it takes what effect it can; but whoever asks may ask again.
                source.origin = Origin::Untracked;
            }
        }
        if message.qos == QoS::AtMostOnce || !source.is_refusable || !is_refused {
            routed.after = self.commit(message, retain, source, &mut scratch, out);
        }
        scratch.targets.clear();
        scratch.wires.clear();
        self.scratch = Some(scratch);
        routed
    }

    /// Whether a retained message of `bytes` may be stored for `topic`. What the broker tells of itself always is, and
    /// takes nobody's room.
    pub(super) fn retained_has_space(&self, topic: &Topic, bytes: usize) -> bool {
        if is_of_system(topic) {
            return true;
        }
        let (limits, system) = (&self.config.limits, self.retained.system());
        let old_bytes = self.retained.get(topic).map(|entry| entry.message.content_bytes());
        let messages = self.retained.len() - system.messages + usize::from(old_bytes.is_none());
        let bytes = self.retained.content_bytes() - system.content_bytes + bytes as u64;
        messages <= limits.retained_messages as usize
            && bytes.saturating_sub(old_bytes.unwrap_or(0) as u64) <= limits.retained_bytes
    }

    /// Takes what is to be retained off its publisher's bytes. A message without payload is not retained
    /// `[MQTT-3.3.1-7]`.
    fn reserve_retained(&mut self, message: &Message, source: &Source) {
        if !message.payload.is_empty()
            && let Some(publisher) = source.publisher.as_ref().filter(|_| self.accounts.is_kept())
        {
            let bounds = self.quotas.stored_bounds(publisher);
            self.accounts.reserve(&bounds, message.content_bytes() as u64);
        }
    }

    fn find_targets(
        &mut self,
        message: &Message,
        retain: bool,
        source: &Source,
        scratch: &mut Scratch,
        out: &mut Outbox,
    ) -> u32 {
        if retain {
            self.reserve_retained(message, source);
        }
        self.find_matches(&message.topic, &mut scratch.matches);
        let mut matched = 0;
        let mut may_be_wired = !source.may_come_again(message.qos) && self.may_be_wired(message);
        for same in scratch.matches.subscribers.chunk_by(|(one, _), (other, _)| one == other) {
            let subscribers = same.iter().map(|(_, subscriber)| *subscriber);
            let Some((key, _)) = same.first().copied() else { continue };
            if may_be_wired
                && let [(_, subscriber)] = same
                && let Some(wire) = self.find_wire(key, subscriber, retain)
            {
                matched += 1;
                scratch.wires.push(wire);
                continue;
            }
            // From here on, order wants all in one list.
            may_be_wired = false;
            scratch.targets.extend(scratch.wires.drain(..).map(Wire::into_target));
            let Some(merged) = self.merge(key, subscribers, message, retain, source) else {
                continue;
            };
            matched += 1;
            // A message that replaces the retained one comes in its stead.
            if !retain && !self.replay_early(key, &message.topic, out) {
                let receiver = self.sessions.get(key).map(|session| session.client_id.clone());
                scratch.drops.push((receiver.unwrap_or_default(), DropCause::QueueFull));
                continue;
            }
            match self.place(key, message, merged, source, out) {
                Ok(target) => scratch.targets.push(target),
                Err(drop) => scratch.drops.push(drop),
            }
        }
        if !scratch.matches.groups.is_empty() {
            scratch.targets.extend(scratch.wires.drain(..).map(Wire::into_target));
        }
        let own = scratch.targets.len();
        for group in &scratch.matches.groups {
            matched += 1;
            let (own, shared) = scratch.targets.split_at(own);
            let placed = Placed { own, shared };
            match self.place_shared(*group, message, retain, source.is_recorded, placed, out) {
                Ok(mut target) => {
                    if let Place::Wire(key) = target.place
                        && source.may_come_again(message.qos)
                    {
                        target.place = Place::Session(key);
                    }
                    scratch.targets.push(target);
                }
                Err(drop) => scratch.drops.push(drop),
            }
        }
        matched
    }

    /// One copy for all of a session's matching subscriptions, at the highest QoS granted
    /// `[MQTT-3.3.4-2]` and with all their identifiers `[MQTT-3.3.4-4]`.
    fn merge(
        &self,
        key: SessionKey,
        subscribers: impl Iterator<Item = Subscriber>,
        message: &Message,
        retain: bool,
        source: &Source,
    ) -> Option<Target> {
        let session = self.live_session(key)?;
        let mut merged: Option<Target> = None;
        for subscriber in subscribers {
            // [MQTT-3.8.3-3]
            if subscriber.no_local && source.is_of(key, session) {
                continue;
            }
            let target = merged.get_or_insert(Target {
                place: Place::Session(key),
                seq: QueueSeq(0),
                qos: QoS::AtMostOnce,
                retain: false,
                subscription_ids: SubscriptionIds::None,
                group: None,
                journaled: Journaled::No,
            });
            target.qos = target.qos.max(message.qos.min(subscriber.maximum_qos)); // [MQTT-3.8.4-8]
            if canary!(LowestQosOfOverlap) {
                target.qos = target.qos.min(subscriber.maximum_qos);
            }
            // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
            target.retain |= retain && subscriber.retain_as_published;
            let is_one_too_many =
                canary!(OneSubscriptionId) && target.subscription_ids != SubscriptionIds::None;
            if subscriber.subscription_id != 0 && !is_one_too_many {
                target.subscription_ids.push(subscriber.subscription_id);
            }
        }
        merged
    }

    /// Finds the place for a session's copy, or the cause why it has none.
    fn place(
        &mut self,
        key: SessionKey,
        message: &Message,
        mut target: Target,
        source: &Source,
        out: &mut Outbox,
    ) -> Result<Target, (Text, DropCause)> {
        let limits = &self.config.limits;
        let now = self.durable_now();
        let Some(session) = self.sessions.get(key) else {
            return Err((Text::default(), DropCause::Offline));
        };
        let subject = session.subject();
        if !self.permissions.allows(&subject, Permitted::Receive, &message.topic).allowed {
            return Err((session.client_id.clone(), DropCause::NotAuthorized));
        }
        if message.is_expired(now) {
            return Err((session.client_id.clone(), DropCause::Expired));
        }
        if canary!(EmptyPayloadDropped) && message.payload.is_empty() {
            return Err((session.client_id.clone(), DropCause::Offline));
        }
        let link = session.connection.and_then(|connection| self.links.get(connection));
        if target.qos == QoS::AtMostOnce {
            match link {
                // What a crash would show again goes behind its record.
                Some(link)
                    if link.is_live()
                        && link.has_room()
                        && session.queue.lane_len(Lane::Qos0) == 0
                        && !source.may_come_again(message.qos) =>
                {
                    target.place = Place::Wire(key);
                    return Ok(target);
                }
                Some(_) => {}
                None if self.config.queue_qos0_offline => {}
                None => return Err((session.client_id.clone(), DropCause::Offline)),
            }
        }
        let bytes = message.content_bytes();
        let (max_messages, max_bytes) = (limits.queue_messages, limits.queue_bytes);
        let has_space = session.queue.has_space(bytes, max_messages, max_bytes)
            && self.session_may_store(key, bytes);
        if !has_space && session.queue.may_have_expired(now) {
            self.drop_expired(key, out);
        }
        let Some(session) = self.sessions.get(key) else {
            return Err((Text::default(), DropCause::Offline));
        };
        let is_full = !session.queue.has_space(bytes, max_messages, max_bytes);
        let is_dropped = canary!(DroppedAsQueueFull) && message.id.0.is_multiple_of(10);
        if is_full && !canary!(QueueLimitIgnored) || is_dropped {
            return Err((session.client_id.clone(), DropCause::QueueFull));
        }
        if !self.session_may_store(key, bytes) {
            return Err((session.client_id.clone(), DropCause::OverQuota));
        }
        self.accounts.reserve(&session.stored.bounds, bytes as u64);
        // QoS 0 writes no record, even where it waits for a client that is away.
        let is_recorded = source.is_recorded && !self.gate.is_open();
        if session.is_durable() && is_recorded && target.qos > QoS::AtMostOnce {
            target.journaled = Journaled::Here;
        }
        Ok(target)
    }

    /// Records the message with all that follows from it, and carries that out.
    fn commit(
        &mut self,
        message: Message,
        retain: bool,
        source: Source,
        scratch: &mut Scratch,
        out: &mut Outbox,
    ) -> LogPosition {
        let targets = &mut scratch.targets;
        let may_come_again = source.may_come_again(message.qos);
        let turned = self.turned_transient(targets);
        let mut entries = Vec::new();
        let mut outlives_batch = retain;
        for target in targets.iter_mut() {
            match target.place {
                Place::Wire(_) => continue,
                Place::Session(key) => outlives_batch |= self.stays_whole(key, &message),
                // It is packed, in storage of its own.
                Place::Group(_) => {}
            }
            target.seq = self.fresh_seq();
            entries.extend(self.enqueued(target, &message, retain));
        }
        let retained = match (retain, message.payload.is_empty()) {
            (false, _) => RetainedChange::None,    // [MQTT-3.3.1-8]
            (true, true) => RetainedChange::Clear, // [MQTT-3.3.1-6] [MQTT-3.3.1-7]
            (true, false) => RetainedChange::Set { publisher: source.publisher.clone() },
        };
        let is_persisted = source.is_recorded
            && !self.gate.is_open()
            && (!entries.is_empty()
                || retained != RetainedChange::None
                || source.origin != Origin::Untracked);
        let is_repeated = scratch.matches.is_asked_again;
        let message = self.spares.share_for(message, outlives_batch, is_repeated);
        let after = if is_persisted {
            // What has expired made room among the retained ones, and must not come back.
            let fills_room = matches!(retained, RetainedChange::Set { .. });
            let record = Record::Published {
                message: message.clone(),
                origin: source.origin.clone(),
                retained: retained.clone(),
                entries,
                at: (fills_room || message.expires_at.is_some()).then_some(self.now),
            };
            self.gate.persist(record, out)
        } else {
            LogPosition::START
        };
        if let Origin::Request(requested) = source.origin {
            self.remember_request(*requested, after);
        }
        self.change_retained(&message, retained);
        let mut packing = core::mem::take(&mut self.packing);
        let mut forms = Forms::new(&message, retain, &mut packing);
        for target in targets.drain(..) {
            self.hand_over(&mut forms, may_come_again, target, after, out);
        }
        self.packing = packing;
        self.send_wired(&message, &scratch.wires, out);
        if scratch.matches.is_asked_again && !retain {
            self.begin_crowd(&scratch.wires);
        }
        scratch.wires.clear();
        let is_qos0 = message.qos == QoS::AtMostOnce;
        self.take_back(message);
        // Nothing that a power cut could take back hangs on a publication at QoS 0.
        if is_qos0 { LogPosition::START } else { after.max(turned) }
    }

    /// Where the journal hears that receivers are no longer such whose messages it has.
    fn turned_transient(&self, targets: &[Target]) -> LogPosition {
        let of_session = |key| self.sessions.get(key).map(|session| session.transient_from);
        let of_group = |key| self.groups.get(key).map(|group| group.transient_from);
        let turned = targets.iter().filter_map(|target| match (target.place, target.group) {
            (Place::Wire(_), _) => None,
            (Place::Session(key), None) => of_session(key),
            (Place::Session(key), Some((group, _))) => of_session(key).max(of_group(group)),
            (Place::Group(key), _) => of_group(key),
        });
        turned.max().unwrap_or(LogPosition::START)
    }

    fn enqueued(
        &self,
        target: &Target,
        message: &Message,
        published_retain: bool,
    ) -> Option<Enqueued> {
        let session_receiver =
            |key| self.sessions.get(key).map(|session| Receiver::Session(session.id));
        let receiver = match (target.journaled, target.place) {
            (Journaled::No, _) | (_, Place::Wire(..)) => None,
            (Journaled::AtGroup(_), _) => target.group.map(|(_, id)| Receiver::Group(id)),
            (Journaled::Here, Place::Session(key)) => session_receiver(key),
            (Journaled::Here, Place::Group(key)) => {
                self.groups.get(key).map(|group| Receiver::Group(group.id))
            }
        }?;
        Some(match receiver {
            Receiver::Session(_) => Enqueued {
                receiver,
                seq: target.seq,
                qos: target.qos,
                retain: target.retain,
                maybe_sent: false,
                group: target.group.map(|(_, id)| id),
                subscription_ids: target.subscription_ids.clone(),
            },
            Receiver::Group(group) => {
                Enqueued::at_group(group, target.seq, message.qos, published_retain)
            }
        })
    }

    fn hand_over(
        &mut self,
        forms: &mut Forms<'_>,
        may_come_again: bool,
        target: Target,
        after: LogPosition,
        out: &mut Outbox,
    ) {
        let key = match target.place {
            Place::Wire(key) => {
                self.send_at_once(key, forms, target.retain, target.subscription_ids, out);
                return;
            }
            Place::Session(key) => Some(key),
            Place::Group(_) => None,
        };
        // A session that ends with its connection is a new one after a crash: it has nothing to
        // wait for, unless its share lives on. Neither has QoS 0, unless it would come once more: also
        // for the share's next member it is the same message.
        let is_durable = key.and_then(|key| self.sessions.get(key)).is_none_or(Session::is_durable);
        let outlives_crash = is_durable
            || target.group.is_some_and(|group| self.groups.get_durable(group).is_some());
        let waits = if may_come_again {
            outlives_crash
        } else {
            is_durable && target.qos > QoS::AtMostOnce
        };
        let group = target.group.map(|(key, _)| key);
        let message = match key {
            Some(key) => self.form_for_session(key, forms, target.journaled, group),
            None => Self::form_for_group(forms),
        };
        let entry = Waiting {
            seq: target.seq,
            message,
            qos: target.qos,
            retain: target.retain,
            published_retain: forms.is_retained(),
            maybe_sent: false,
            after: if waits { after } else { LogPosition::START },
            journaled: target.journaled,
            group: target.group,
            subscription_ids: target.subscription_ids,
        };
        match target.place {
            Place::Session(key) => self.enqueue(key, entry, Some(forms.message()), out),
            Place::Group(key) => {
                if let Some(group) = self.groups.get_mut(key) {
                    group.queue.push(entry);
                }
                self.count_group(key);
                self.offer_behind(key, out);
            }
            Place::Wire(..) => {}
        }
    }

    /// Adds an entry to a session's queue and sends what can be sent. Its message may be at hand besides.
    pub(super) fn enqueue(
        &mut self,
        key: SessionKey,
        entry: Waiting,
        message: Option<&Arc<Message>>,
        out: &mut Outbox,
    ) {
        let (after, is_qos0) = (entry.after, entry.qos == QoS::AtMostOnce);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let id = session.id;
        session.note_waiting(self.now);
        let Err(entry) = self.begin_at_once(key, entry, message, out) else { return };
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.queue.push(entry);
        self.count_memory(key);
        let link = self
            .sessions
            .get(key)
            .and_then(|session| session.connection)
            .and_then(|connection| self.links.get(connection));
        let Some(link) = link else { return };
        if !self.gate.is_durable(after) {
            self.gate.hold(after, Item::Wake { session: key, id });
        } else if link.has_room() && (is_qos0 || link.has_window()) {
            // Otherwise an acknowledgement or the report of room sends it.
            self.pump(key, out);
        }
    }
}

/// Whether a message cannot be taken without a record. Retained messages are judged before.
fn must_be_recorded(message: &Message, source: &Source, targets: &[Target]) -> bool {
    let is_asked_for = matches!(source.origin, Origin::Request(_));
    (message.qos > QoS::AtMostOnce || is_asked_for)
        && source.is_recorded
        && (source.origin != Origin::Untracked
            || targets.iter().any(|target| target.journaled != Journaled::No))
}
