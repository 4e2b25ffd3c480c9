//! The publication of wills.

use super::Broker;
use super::route::Source;
use crate::message::Message;
use crate::notice::Notice;
use crate::outbox::Outbox;
use crate::permission::Action as Permitted;
use crate::record::{Origin, Record};
use crate::session::SessionKey;
use crate::time::Time;
use crate::timers::Timer;
use crate::wire::reason::ReasonCode;

impl Broker {
    /// Publishes a session's will, if it has one, under the rules in force now.
    pub(super) fn publish_will(&mut self, key: SessionKey, out: &mut Outbox) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(armed) = session.will.take() else { return }; // [MQTT-3.1.2-10]
        let publisher = session.owner();
        self.count_stored(key);
        let Some(session) = self.sessions.get(key) else { return };
        if armed.due_at != Time::NEVER {
            self.durable_timers.remove(armed.due_at, Timer::WillDelay(key));
        }
        let (client_id, session_id, recorded) =
            (session.client_id.clone(), session.id, session.recorded);
        let will = &armed.will;
        let subject = session.subject();
        let allowed = self.permissions.allows(&subject, Permitted::Publish, &will.topic).allowed;
        let stores = will.retain && !will.payload.is_empty();
        let bytes = will.content_bytes();
        let has_space = || {
            self.retained_has_space(&will.topic, bytes)
                && self.may_retain(&publisher, &will.topic, bytes)
        };
        let refusal = if !allowed && !canary!(DeniedWillPublished) {
            Some(ReasonCode::NotAuthorized)
        } else if stores && !has_space() {
            Some(ReasonCode::QuotaExceeded)
        } else {
            None
        };
        if let Some(reason) = refusal {
            if recorded {
                self.gate.persist(Record::WillDropped { session: session_id }, out);
            }
            out.notice(Notice::WillRefused { client_id, topic: will.topic.clone(), reason });
            return;
        }
        let origin =
            if recorded { Origin::Will { session: session_id } } else { Origin::Untracked };
        let source = Source {
            session: None,
            publisher: Some(publisher),
            origin,
            is_recorded: true,
            is_refusable: false,
        };
        let message = Message {
            id: self.fresh_message_id(),
            topic: will.topic.clone(),
            payload: will.payload.clone(),
            qos: will.qos,
            expires_at: will.message_expiry_interval_s.map(|seconds| now.plus_seconds(seconds)),
            properties: will.properties.clone(), // [MQTT-3.1.3-10]
        };
        // [MQTT-3.1.2-14] [MQTT-3.1.2-15]
        let _routed = self.route(message, will.retain, source, out);
        out.notice(Notice::WillPublished { client_id, topic: will.topic.clone() });
    }
}
