//! Publications for those who have no connection: judged, routed and gated as a client's are.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::Broker;
use super::route::Source;
use crate::gate::Item;
use crate::input::{PublishCommand, PublishFor, Publisher};
use crate::message::{Message, content_bytes};
use crate::once::fingerprint;
use crate::outbox::{Action, Answer, Outbox, QuotaState};
use crate::quota::{Owner, address_of};
use crate::record::{LogPosition, Origin, Requested};
use crate::wire::reason::ReasonCode;
use crate::wire::types::Text;

impl Broker {
    /// Publishes for somebody without a connection, once for each key.
    pub(super) fn publish_for(&mut self, request: PublishFor, out: &mut Outbox) {
        let PublishFor { message, publisher, ticket, once } = request;
        let requested = once.map(|key| {
            let identity = publisher.as_ref().and_then(|publisher| publisher.identity.as_ref());
            Box::new(Requested {
                identity: identity.map(Text::compact),
                key: key.compact(),
                fingerprint: fingerprint(&message),
                matched: 0,
                at: self.now,
            })
        });
        let owner = publisher.as_ref().map(|publisher| {
            Arc::new(Owner {
                identity: publisher.identity.as_ref().map(Text::compact),
                client_id: publisher.client_id.compact(),
                address: address_of(&publisher.peer),
                key: publisher.credential.key.as_ref().map(Text::compact),
            })
        });
        if let Some(requested) = &requested
            && self.answer_again(requested, owner.as_deref(), ticket, out)
        {
            return;
        }
        self.counters.publish_received += 1;
        self.counters.publish_bytes_received += message.payload.len() as u64;
        let topic = message.topic.compact();
        let before = self.gate.appended();
        let mut quota = QuotaState::default();
        let refusal = self.refused_request(publisher.as_ref(), &message);
        let refusal = refusal.or_else(|| {
            quota = self.count_request(owner.as_deref(), &message, out);
            let is_over = quota.retry_after_ms.is_some() || quota.is_storage_full;
            is_over.then_some(ReasonCode::QuotaExceeded)
        });
        let client_id = owner.as_ref().map(|owner| owner.client_id.clone());
        let (reason, matched, after) = match refusal {
            Some(reason) => (reason, 0, LogPosition::START),
            None => self.take_request(owner, message, requested, before, out),
        };
        if reason.is_error() {
            self.notice_publish_refused(client_id.unwrap_or_default(), topic, reason, out);
        }
        self.answer_request(after, Answer { ticket, reason, matched, repeated: false, quota }, out);
    }

    /// Answers a request whose key is known as the first one under it was. Tells whether it is.
    fn answer_again(
        &mut self,
        requested: &Requested,
        owner: Option<&Owner>,
        ticket: u64,
        out: &mut Outbox,
    ) -> bool {
        let key = (requested.identity.clone(), requested.key.clone());
        let age_ms = self.config.limits.request_key_ms;
        let Some(known) = self.once.get(&key, self.now, age_ms) else { return false };
        let reason = if known.fingerprint != requested.fingerprint {
            ReasonCode::PacketIdentifierInUse
        } else if known.matched == 0 {
            ReasonCode::NoMatchingSubscribers
        } else {
            ReasonCode::Success
        };
        let (matched, after) = (known.matched, known.after);
        let bound = owner.map(|owner| self.quotas.bound(owner)).unwrap_or_default();
        let remaining_today = self.usage.remaining_today(self.now, &bound);
        let quota = QuotaState { remaining_today, ..QuotaState::default() };
        let answer = Answer { ticket, reason, matched, repeated: true, quota };
        self.answer_request(after, answer, out);
        true
    }

    /// Remembers a request that was carried out.
    pub(super) fn remember_request(&mut self, requested: Requested, after: LogPosition) {
        let limits = &self.config.limits;
        self.once.insert(requested, after, limits.request_key_ms, limits.request_keys);
    }

    /// What refuses the publication. The operator is bound by the limits alone.
    fn refused_request(
        &self,
        publisher: Option<&Publisher>,
        message: &PublishCommand,
    ) -> Option<ReasonCode> {
        let limits = &self.config.limits;
        if message.retain && !limits.retain_available {
            return Some(ReasonCode::RetainNotSupported);
        }
        if message.qos > limits.maximum_qos {
            return Some(ReasonCode::QosNotSupported);
        }
        let PublishCommand { topic, retain, payload, .. } = message;
        let properties = message.properties.as_deref();
        match publisher {
            Some(Publisher { identity, client_id, credential, .. }) => {
                let subject = credential.subject(identity.as_ref(), client_id);
                self.refusal(&subject, topic, *retain, payload, properties)
            }
            None => self.lacks_space(topic, *retain, payload, properties),
        }
    }

    fn count_request(
        &mut self,
        owner: Option<&Owner>,
        message: &PublishCommand,
        out: &mut Outbox,
    ) -> QuotaState {
        let Some(owner) = owner else { return QuotaState::default() };
        let bound = self.quotas.bound(owner);
        let PublishCommand { topic, payload, properties, retain, .. } = message;
        let bytes = content_bytes(topic, payload, properties.as_deref());
        let mut quota = QuotaState::default();
        if *retain && !payload.is_empty() && !self.may_retain(owner, topic, bytes) {
            quota.is_storage_full = true;
        } else if let Err(over) = self.count_bound(&bound, out) {
            quota.retry_after_ms = over.retry_after_ms;
        }
        quota.remaining_today = self.usage.remaining_today(self.now, &bound);
        quota
    }

    fn take_request(
        &mut self,
        publisher: Option<Arc<Owner>>,
        message: PublishCommand,
        requested: Option<Box<Requested>>,
        before: LogPosition,
        out: &mut Outbox,
    ) -> (ReasonCode, u32, LogPosition) {
        let is_recorded = message.topic.is_recorded();
        let origin = requested.map_or(Origin::Untracked, Origin::Request);
        let source = Source { session: None, publisher, origin, is_recorded, is_refusable: true };
        let now = self.now;
        let retain = message.retain;
        let message = Message {
            id: self.fresh_message_id(),
            topic: message.topic,
            payload: message.payload,
            qos: message.qos,
            expires_at: message.message_expiry_interval_s.map(|seconds| now.plus_seconds(seconds)),
            properties: message.properties,
        };
        let routed = self.route(message, retain, source, out);
        // Nobody waits at QoS 0 for a retained message to be durable, nor for a day's count; but
        // here somebody asks.
        let appended = self.gate.appended();
        let after = if appended > before { appended } else { routed.after };
        (routed.reason(), routed.matched, after)
    }

    fn answer_request(&mut self, after: LogPosition, answer: Answer, out: &mut Outbox) {
        if self.gate.is_durable(after) {
            out.push(Action::Answer(answer));
        } else {
            self.gate.hold(after, Item::Answer(answer));
        }
    }
}
