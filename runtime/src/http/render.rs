//! What the broker knows, as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use signalhouse_core::message::Message;
use signalhouse_core::notice::Cause;
use signalhouse_core::wire::property::MessageProperties;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{DeliveryView, SessionView, ShareView, SubscriptionView, Time};

use super::refused::RefusedRequest;
use crate::history::{Event, RefusedCause, RefusedEvent, Repeated, What};

/// A message's content: topic, payload and what travels with it. A payload that is text is
/// `payload`, any other `payload_base64`.
pub(super) fn message(message: &Message) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("topic".into(), json!(message.topic.as_str()));
    match std::str::from_utf8(&message.payload) {
        Ok(text) => object.insert("payload".into(), json!(text)),
        Err(_) => object.insert("payload_base64".into(), json!(BASE64.encode(&message.payload))),
    };
    if let Some(properties) = &message.properties {
        add_properties(&mut object, properties);
    }
    object
}

fn add_properties(object: &mut Map<String, Value>, properties: &MessageProperties) {
    if let Some(content_type) = &properties.content_type {
        object.insert("content_type".into(), json!(content_type.as_str()));
    }
    if let Some(topic) = &properties.response_topic {
        object.insert("response_topic".into(), json!(topic.as_str()));
    }
    if let Some(data) = &properties.correlation_data {
        object.insert("correlation_data_base64".into(), json!(BASE64.encode(data)));
    }
    if !properties.user_properties.is_empty() {
        let pairs = properties.user_properties.iter();
        let pairs: Vec<_> =
            pairs.map(|(name, value)| json!([name.as_str(), value.as_str()])).collect();
        object.insert("user_properties".into(), Value::Array(pairs));
    }
}

pub(super) fn session(session: &SessionView) -> Value {
    json!({
        "client_id": session.client_id.as_str(),
        "user": session.identity.as_ref().map(|identity| identity.as_str()),
        "version": session.version.to_string(),
        "connected": session.peer.is_some(),
        "peer": session.peer.as_ref().map(|peer| peer.as_str()),
        "since_ms": session.since.as_ms(),
        "ends_at_ms": session.ends_at.map(|at| at.as_ms()),
        "session_expiry_interval_s": session.session_expiry_interval_s,
        "subscriptions": session.subscriptions,
        "queued": session.queued,
        "queued_bytes": session.queued_bytes,
        "inflight": session.inflight,
        "waits_since_ms": session.waits_since.map(|since| since.as_ms()),
        "has_will": session.has_will,
    })
}

pub(super) fn subscription(subscription: &SubscriptionView) -> Value {
    json!({
        "filter": subscription.filter.as_str(),
        "qos": subscription.qos as u8,
        "no_local": subscription.no_local,
        "retain_as_published": subscription.retain_as_published,
        "subscription_id": subscription.subscription_id,
    })
}

pub(super) fn share(share: &ShareView) -> Value {
    json!({
        "filter": share.filter.as_str(),
        "members": share.members,
        "members_connected": share.members_connected,
        "queued": share.queued,
        "queued_bytes": share.queued_bytes,
        "oldest_queued": share.oldest_queued.as_ref().map(delivery),
    })
}

pub(super) fn delivery(delivery: &DeliveryView) -> Value {
    json!({
        "topic": delivery.topic.as_ref().map(|topic| topic.as_str()),
        "bytes": delivery.bytes,
        "qos": delivery.qos as u8,
        "packet_id": delivery.packet_id.map(|id| id.0.value()),
        "maybe_sent": delivery.maybe_sent,
    })
}

pub(super) fn retained(retained: &Message) -> Value {
    let mut object = message(retained);
    object.insert("qos".into(), json!(retained.qos as u8));
    object.insert("expires_at_ms".into(), json!(retained.expires_at.map(|at| at.as_ms())));
    Value::Object(object)
}

pub(super) fn refused(refused: &RefusedEvent) -> Value {
    let RefusedEvent { at, peer, client_id, cause } = refused;
    let mut object = not_let_in("mqtt", *at, peer, Some(client_id));
    add_cause(&mut object, cause);
    Value::Object(object)
}

pub(super) fn nameless(refused: &Repeated<RefusedCause>) -> Value {
    let mut object = repeated("mqtt", refused);
    match &refused.cause {
        RefusedCause::Broker(cause) => add_cause(&mut object, cause),
        RefusedCause::Door(cause) => {
            object.insert("cause".into(), json!(cause.to_string()));
        }
    }
    Value::Object(object)
}

pub(super) fn refused_request(refused: &RefusedRequest) -> Value {
    let mut object = not_let_in("http", refused.at, &refused.peer, None);
    object.insert("cause".into(), json!(refused.reason));
    Value::Object(object)
}

pub(super) fn unserved(refused: &Repeated<&'static str>) -> Value {
    let mut object = repeated("http", refused);
    object.insert("cause".into(), json!(refused.cause));
    Value::Object(object)
}

fn repeated<K>(door: &str, refused: &Repeated<K>) -> Map<String, Value> {
    let mut object = not_let_in(door, refused.at, &refused.peer, None);
    if refused.count > 1 {
        object.insert("last_at_ms".into(), json!(refused.last_at.as_ms()));
        object.insert("count".into(), json!(refused.count));
    }
    object
}

fn not_let_in(door: &str, at: Time, peer: &Text, client_id: Option<&Text>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("at_ms".into(), json!(at.as_ms()));
    object.insert("door".into(), json!(door));
    object.insert("peer".into(), json!(peer.as_str()));
    object.insert("client_id".into(), json!(client_id.map(Text::as_str)));
    object
}

pub(super) fn event(event: &Event) -> Value {
    let mut object = Map::new();
    object.insert("at_ms".into(), json!(event.at.as_ms()));
    if event.count > 1 {
        object.insert("last_at_ms".into(), json!(event.last_at.as_ms()));
    }
    object.insert("count".into(), json!(event.count));
    add_what(&mut object, &event.what);
    Value::Object(object)
}

fn add_what(object: &mut Map<String, Value>, what: &What) {
    let mut set = |name: &str, value: Value| drop(object.insert(name.into(), value));
    match what {
        What::Connected { peer, version, session_present } => {
            set("event", json!("connected"));
            set("peer", json!(peer.as_str()));
            set("version", json!(version.to_string()));
            set("session_present", json!(session_present));
        }
        What::Disconnected { cause, queued } => {
            set("event", json!("disconnected"));
            set("queued", json!(queued));
            add_cause(object, cause);
        }
        What::Refused { peer, cause } => {
            set("event", json!("refused"));
            set("peer", json!(peer.as_str()));
            add_cause(object, cause);
        }
        What::SessionEnded { cause, discarded } => {
            set("event", json!("session_ended"));
            set("cause", json!(cause.to_string()));
            set("discarded", json!(discarded));
        }
        What::Dropped { cause, topic } => {
            set("event", json!("message_dropped"));
            set("cause", json!(cause.to_string()));
            if let Some(topic) = topic {
                set("topic", json!(topic.as_str()));
            }
        }
        What::PublishRefused { reason, topic } => {
            set("event", json!("publish_refused"));
            set("topic", json!(topic.as_str()));
            set("code", json!(code(*reason)));
            set("cause", json!(reason.to_string()));
        }
        What::SubscribeRefused { reason, filter } => {
            set("event", json!("subscribe_refused"));
            set("filter", json!(filter.as_str()));
            set("code", json!(code(*reason)));
            set("cause", json!(reason.to_string()));
        }
        What::WillPublished { topic } => {
            set("event", json!("will_published"));
            set("topic", json!(topic.as_str()));
        }
        What::WillRefused { topic, reason } => {
            set("event", json!("will_refused"));
            set("topic", json!(topic.as_str()));
            set("code", json!(code(*reason)));
        }
    }
}

fn add_cause(object: &mut Map<String, Value>, cause: &Cause) {
    object.insert("cause".into(), json!(cause.to_string()));
    let reason = match cause {
        Cause::ClientDisconnected(reason)
        | Cause::Malformed { reason, .. }
        | Cause::Protocol { reason, .. }
        | Cause::NotAllowed { reason, .. }
        | Cause::Limit { reason, .. }
        | Cause::Ordered(reason) => Some(*reason),
        Cause::PeerClosed
        | Cause::NetworkFailed
        | Cause::KeepAliveTimeout
        | Cause::ConnectTimeout
        | Cause::TakenOver => None,
    };
    if let Some(reason) = reason {
        object.insert("code".into(), json!(code(reason)));
    }
}

fn code(reason: ReasonCode) -> String {
    format!("0x{:02x}", reason.value())
}
