//! Publications for those who have no connection: judged, routed and gated as a client's are.

use super::Broker;
use super::route::Source;
use crate::gate::Item;
use crate::input::{PublishCommand, PublishFor, Publisher};
use crate::message::Message;
use crate::once::{Outcome, fingerprint};
use crate::outbox::{Action, Answer, Outbox, QuotaState};
use crate::permission::Subject;
use crate::record::{LogPosition, Origin};
use crate::wire::reason::ReasonCode;
use crate::wire::types::Text;

impl Broker {
    /// Publishes for somebody without a connection, once for each key.
    pub(super) fn publish_for(&mut self, request: PublishFor, out: &mut Outbox) {
        let limits = &self.config.limits;
        self.once.forget(self.now, limits.request_key_ms, limits.request_keys);
        let PublishFor { message, publisher, ticket, once } = request;
        let mark = fingerprint(&message);
        let identity = publisher.as_ref().and_then(|publisher| publisher.identity.as_ref());
        let key = once.map(|key| (identity.map(Text::compact), key.compact()));
        if let Some(known) = key.as_ref().and_then(|key| self.once.get(key)) {
            let Outcome { fingerprint, reason, matched, after } = known;
            let reason =
                if fingerprint == mark { reason } else { ReasonCode::PacketIdentifierInUse };
            let quota = QuotaState::default();
            self.answer_request(
                after,
                Answer { ticket, reason, matched, repeated: true, quota },
                out,
            );
            return;
        }
        self.counters.publish_received += 1;
        self.counters.publish_bytes_received += message.payload.len() as u64;
        let client_id = publisher.as_ref().map(|publisher| publisher.client_id.compact());
        let topic = message.topic.compact();
        let before = self.gate.appended();
        let mut quota = QuotaState::default();
        let refusal = self.refused_request(publisher.as_ref(), &message);
        let refusal = refusal.or_else(|| {
            quota = self.count_request(publisher.as_ref(), out);
            quota.retry_after_ms.map(|_| ReasonCode::QuotaExceeded)
        });
        let outcome = match refusal {
            Some(reason) => {
                Outcome { fingerprint: mark, reason, matched: 0, after: LogPosition::START }
            }
            None => self.take_request(client_id.clone(), message, mark, before, out),
        };
        let Outcome { reason, matched, after, .. } = outcome;
        if reason.is_error() {
            self.notice_publish_refused(client_id.unwrap_or_default(), topic, reason, out);
        } else if let Some(key) = key {
            self.once.insert(self.now, key, outcome);
        }
        self.answer_request(after, Answer { ticket, reason, matched, repeated: false, quota }, out);
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
                let subject = Subject {
                    user_name: identity.as_ref(),
                    client_id,
                    claims: &credential.claims,
                    grants: credential.grants.as_deref(),
                };
                self.refusal(&subject, topic, *retain, payload, properties)
            }
            None => self.lacks_space(topic, *retain, payload, properties),
        }
    }

    fn count_request(&mut self, publisher: Option<&Publisher>, out: &mut Outbox) -> QuotaState {
        let Some(Publisher { identity, client_id, peer, .. }) = publisher else {
            return QuotaState::default();
        };
        let bound = self.quotas.bound(identity.as_ref(), client_id, Some(peer));
        match self.count_bound(&bound, out) {
            Ok(remaining_today) => QuotaState { remaining_today, retry_after_ms: None },
            Err(over) => {
                QuotaState { remaining_today: None, retry_after_ms: Some(over.retry_after_ms) }
            }
        }
    }

    fn take_request(
        &mut self,
        client_id: Option<Text>,
        message: PublishCommand,
        fingerprint: u64,
        before: LogPosition,
        out: &mut Outbox,
    ) -> Outcome {
        let is_recorded = message.topic.is_recorded();
        let source =
            Source { client_id, origin: Origin::Untracked, is_recorded, is_refusable: true };
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
        Outcome { fingerprint, reason: routed.reason(), matched: routed.matched, after }
    }

    fn answer_request(&mut self, after: LogPosition, answer: Answer, out: &mut Outbox) {
        if self.gate.is_durable(after) {
            out.push(Action::Answer(answer));
        } else {
            self.gate.hold(after, Item::Answer(answer));
        }
    }
}
