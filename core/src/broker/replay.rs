//! Retained messages for a new subscription, a slice at a time.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broker;
use crate::message::Message;
use crate::notice::DropCause;
use crate::outbox::Outbox;
use crate::record::{Enqueued, Receiver, Record};
use crate::routing::retained::Scan;
use crate::routing::topic::{Topic, TopicFilter};
use crate::session::queue::{Entry, Journaled, Queue};
use crate::session::{Replay, SessionKey};
use crate::wire::property::SubscriptionIds;
use crate::wire::types::QoS;

/// Messages that may wait in a session's queue while its replay goes on.
const QUEUE_LOW_WATER: usize = 64;

/// Topics looked at in one step of a search.
const VISITS: usize = 256;

/// Topics looked at before a replay begins.
const FIRST_VISITS: usize = 16;

impl Broker {
    /// Whether something retained matches, as far as a short search tells: most subscriptions find
    /// nothing, and need not wait for their turn to learn it.
    pub(super) fn may_replay(&self, filter: &TopicFilter) -> bool {
        let mut visits = FIRST_VISITS;
        !matches!(self.retained.next_match(filter, None, &mut visits), Scan::End)
    }

    /// Goes on with a session's replays as far as `budget` and its queue allow. When the queue
    /// has drained, `pump` puts the session on the list of work again.
    pub(super) fn continue_replay(&mut self, key: SessionKey, budget: &mut u32, out: &mut Outbox) {
        let queue_bytes = self.config.limits.queue_bytes;
        while *budget > 0 && self.replay_may_go_on(key) {
            *budget -= 1;
            let Some(session) = self.sessions.get_mut(key) else { return };
            let Some(replay) = session.replays.front_mut() else { return };
            let mut visits = VISITS;
            match self.retained.next_match(&replay.filter, replay.after_topic.as_ref(), &mut visits)
            {
                Scan::Found(entry) => {
                    let topic = entry.message.topic.clone();
                    let message = entry.message.clone();
                    let is_own = entry.is_by(&session.client_id);
                    let is_wanted = message.id < replay.before
                        && !replay.early.contains(&topic)
                        && !(is_own && replay.options.no_local);
                    if is_wanted {
                        replay.needs_bytes = message.content_bytes();
                        if !has_space_for(replay, &session.queue, queue_bytes) {
                            break;
                        }
                        replay.needs_bytes = 0;
                    }
                    replay.early.remove(&topic);
                    replay.after_topic = Some(topic);
                    if is_wanted {
                        let replay = replay.clone();
                        self.replay_one(key, &replay, message, false, out);
                    }
                }
                Scan::Paused(topic) => replay.after_topic = topic,
                Scan::End => self.end_replay(key, out),
            }
        }
        if *budget == 0 && self.replay_may_go_on(key) {
            self.add_work(key);
        }
    }

    /// Sends a topic's retained message before its turn, because a live one is about to follow and
    /// must not overtake it `[MQTT-4.6.0-5]`. False if there is no space for it: then the live one has no place either.
    #[must_use]
    pub(super) fn replay_early(
        &mut self,
        key: SessionKey,
        topic: &Topic,
        out: &mut Outbox,
    ) -> bool {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(key) else { return true };
        if session.replays.is_empty() {
            return true;
        }
        let Some(stored) = self.retained.get(topic) else { return true };
        let message = stored.message.clone();
        let is_own = stored.is_by(&session.client_id);
        let is_owed = |replay: &&mut Replay| {
            replay.filter.matches(topic)
                && message.id < replay.before
                && !(is_own && replay.options.no_local)
                && replay.after_topic.as_ref().is_none_or(|after| topic.is_sorted_behind(after))
                && !replay.early.contains(topic)
        };
        let bytes = message.content_bytes();
        let has_space = session.queue.has_space(bytes, limits.queue_messages, limits.queue_bytes);
        let mut due = Vec::new();
        for replay in session.replays.iter_mut().filter(is_owed) {
            if !has_space {
                return false;
            }
            replay.early.insert(topic.compact());
            due.push(replay.clone());
        }
        for replay in due {
            self.replay_one(key, &replay, message.clone(), true, out);
        }
        true
    }

    /// Whether a session's replay can go on now. It cannot while its subscription is not durable or
    /// its queue is not drained: the gate or an acknowledgement pumps the session again, and calling
    /// that work meanwhile would keep the driver busy with nothing.
    pub(super) fn replay_may_go_on(&self, key: SessionKey) -> bool {
        let Some(session) = self.live_session(key) else { return false };
        let Some(link) = session.connection.and_then(|connection| self.links.get(connection))
        else {
            return false;
        };
        let limits = &self.config.limits;
        let queue_messages = limits.queue_messages.max(1) as usize;
        link.is_live()
            && session.queue.len() < QUEUE_LOW_WATER.min(queue_messages)
            && session.replays.front().is_some_and(|replay| {
                self.gate.is_durable(replay.after)
                    && has_space_for(replay, &session.queue, limits.queue_bytes)
            })
    }

    fn replay_one(
        &mut self,
        key: SessionKey,
        replay: &Replay,
        message: Arc<Message>,
        early: bool,
        out: &mut Outbox,
    ) {
        let now = self.durable_now();
        let qos = message.qos.min(replay.options.maximum_qos);
        // No record tells whether it went out at QoS 0 before the broker ended, and it may go out
        // once at most `[MQTT-4.3.1-1]`.
        let may_have_been_sent = replay.is_recovered && qos == QoS::AtMostOnce;
        if message.is_expired(now) || may_have_been_sent {
            return;
        }
        if !self.may_receive(key, &message.topic) {
            if let Some(session) = self.sessions.get(key) {
                let receiver = session.client_id.clone();
                self.notice_dropped(receiver, message.topic.clone(), DropCause::NotAuthorized, out);
            }
            return;
        }
        let seq = self.fresh_seq();
        let Some(session) = self.sessions.get(key) else { return };
        let subscription_ids: SubscriptionIds = replay.subscription_id.into_iter().collect();
        let mut after = replay.after;
        let mut journaled = Journaled::No;
        if session.is_durable() && message.topic.is_recorded() && qos > QoS::AtMostOnce {
            journaled = Journaled::Here;
            let entry = Enqueued {
                receiver: Receiver::Session(session.id),
                seq,
                qos,
                retain: true,
                maybe_sent: false,
                group: None,
                subscription_ids: subscription_ids.clone(),
            };
            let record = Record::Replayed {
                session: session.id,
                filter: replay.filter.clone(),
                topic: message.topic.clone(),
                early,
                message: message.id,
                entry,
            };
            after = self.gate.persist(record, out);
        }
        let entry = Entry {
            seq,
            message,
            qos,
            // A retained message sent because of a subscribe says that it is one.
            retain: true,
            published_retain: true,
            maybe_sent: false,
            after,
            journaled,
            group: None,
            subscription_ids,
        };
        self.enqueue(key, entry.into(), None, out);
    }

    fn end_replay(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(replay) = session.replays.pop_front() else { return };
        if session.replays.is_empty() {
            // Few sessions ever have another one.
            session.replays = VecDeque::new();
        }
        if session.is_durable() {
            let record = Record::ReplayEnded { session: session.id, filter: replay.filter };
            self.gate.persist(record, out);
        }
    }
}

/// Whether a replay's next message, as far as its size is known, fits the queue. One that is larger than a queue may be
/// goes alone.
fn has_space_for(replay: &Replay, queue: &Queue, queue_bytes: u64) -> bool {
    queue.is_empty() || queue.has_space(replay.needs_bytes, u32::MAX, queue_bytes)
}
