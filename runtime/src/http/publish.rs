//! `POST /v1/publish`, and `POST /v1/request`, which waits for a reply.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use signalhouse_core::Answer;
use signalhouse_core::input::{PublishCommand, PublishFor};
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::property::MessageProperties;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{QoS, Text};

use super::door::Caller;
use super::fault::{Fault, Outcome, REMAINING};
use super::keys::Scope;
use super::subscriber::{Happened, Opening, Subscriber};
use super::{State, body, render, text};

/// Longest `Idempotency-Key`, in bytes.
const KEY_BYTES: usize = 255;
/// How long a reply is waited for, in seconds: without a word, and at most.
const REPLY_S: u32 = 10;
const REPLY_MOST_S: u32 = 60;

/// A message, as a request's body has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageBody {
    topic: String,
    /// Text.
    payload: Option<String>,
    /// Any JSON, which is passed on as it stands.
    payload_json: Option<Box<RawValue>>,
    /// Any bytes.
    payload_base64: Option<String>,
    #[serde(default = "at_least_once")]
    qos: u8,
    #[serde(default)]
    retain: bool,
    message_expiry_interval_s: Option<u32>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data_base64: Option<String>,
    #[serde(default)]
    user_properties: Vec<(String, String)>,
    /// Of a request alone: seconds to wait for the reply.
    timeout_s: Option<u32>,
}

/// The same where the body is the payload.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageQuery {
    topic: Option<String>,
    qos: Option<u8>,
    retain: Option<bool>,
    message_expiry_interval_s: Option<u32>,
    content_type: Option<String>,
    timeout_s: Option<u32>,
}

fn at_least_once() -> u8 {
    1
}

pub(super) async fn publish(
    Shared(state): Shared<State>,
    caller: Caller,
    query: Result<Query<MessageQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Outcome<(HeaderMap, Json<Value>)> {
    caller.needs(Scope::Publish)?;
    let body = message_body(query?.0, &headers, body?)?;
    if body.timeout_s.is_some() {
        return Err(Fault::bad_request("timeout_s belongs to /v1/request"));
    }
    let message = command(body)?;
    let answer = send(&state, &caller, message, once(&headers)?).await?;
    let said = json!({"matched": answer.matched, "repeated": answer.repeated});
    Ok((remaining(&answer), Json(said)))
}

fn remaining(answer: &Answer) -> HeaderMap {
    let remaining = answer.quota.remaining_today;
    remaining.map(|left| (REMAINING, HeaderValue::from(left))).into_iter().collect()
}

pub(super) async fn request(
    Shared(state): Shared<State>,
    caller: Caller,
    query: Result<Query<MessageQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Outcome<(HeaderMap, Json<Value>)> {
    caller.needs(Scope::Publish)?;
    caller.needs(Scope::Subscribe)?;
    let body = message_body(query?.0, &headers, body?)?;
    if body.response_topic.is_some() || body.correlation_data_base64.is_some() {
        let reason = "response_topic and correlation_data_base64 are chosen by the broker here";
        return Err(Fault::bad_request(reason));
    }
    let timeout_s = body.timeout_s.unwrap_or(REPLY_S);
    if timeout_s == 0 || timeout_s > REPLY_MOST_S {
        return Err(Fault::bad_request(format!("timeout_s must be 1 to {REPLY_MOST_S}")));
    }
    let mut message = command(body)?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| {
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })?;
    let name = random.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let response_topic = format!("{}/{name}", state.options.response_topics);
    let topic = topic("http.response_topics", &response_topic)?;
    let correlation = Bytes::copy_from_slice(&random);
    let properties = message.properties.get_or_insert_default();
    properties.response_topic = Some(topic.clone());
    properties.correlation_data = Some(correlation.clone());
    let deadline = state.timer.now().plus_ms(u64::from(timeout_s) * 1000);
    // Whoever answers at once must find the subscription there.
    let mut replies = Subscriber::open(&state, &caller, Opening::inbox(&topic)).await?;
    let answer = send(&state, &caller, message, None).await?;
    // The publication has counted, whatever comes of it.
    let counted = |fault| Fault { remaining_today: answer.quota.remaining_today, ..fault };
    let no_reply = |error, reason: String| {
        Err(counted(Fault::new(StatusCode::GATEWAY_TIMEOUT, error, reason)))
    };
    if answer.matched == 0 {
        let reason = "nobody subscribes to the topic, so nobody can reply";
        return no_reply("no_responders", reason.to_owned());
    }
    loop {
        let delivered = match replies.next(&state.timer, deadline, true).await {
            Happened::Delivered(delivered) => delivered,
            Happened::Silence => {
                return no_reply("no_reply", format!("no reply came within {timeout_s} s"));
            }
            Happened::Closed | Happened::Order(_) => return Err(counted(Fault::unavailable())),
        };
        let properties = delivered.message.properties.as_ref();
        let correlated = properties.and_then(|properties| properties.correlation_data.as_ref());
        // Some responders leave the correlation data out; the topic is ours alone.
        if correlated.is_none_or(|data| *data == correlation) {
            let mut object = render::message(&delivered.message);
            object.remove("correlation_data_base64");
            replies.leave().await;
            return Ok((remaining(&answer), Json(Value::Object(object))));
        }
    }
}

/// Reads a request to publish, as `?QUERY` and body have it.
///
/// # Errors
/// What is wrong with it, in words.
pub fn publication(query: &str, body: &[u8]) -> Result<PublishCommand, String> {
    let uri = format!("/?{query}").parse::<Uri>().map_err(|error| error.to_string())?;
    let query = Query::<MessageQuery>::try_from_uri(&uri).map_err(|error| error.to_string())?;
    let message = message_body(query.0, &HeaderMap::new(), Bytes::copy_from_slice(body));
    message.and_then(command).map_err(|fault| fault.reason)
}

/// Publishes as the caller, and turns a refusal into a fault.
async fn send(
    state: &State,
    caller: &Caller,
    message: PublishCommand,
    once: Option<Text>,
) -> Outcome<Answer> {
    let publisher = Some(caller.publisher());
    let request = PublishFor { message, publisher, ticket: 0, once };
    let answer = state.gateway.publish(request).await.ok_or_else(Fault::unavailable)?;
    match refusal(&answer) {
        Some(fault) => Err(Fault { remaining_today: answer.quota.remaining_today, ..fault }),
        None => Ok(answer),
    }
}

fn refusal(answer: &Answer) -> Option<Fault> {
    if answer.reason == ReasonCode::PacketIdentifierInUse {
        let reason = "the Idempotency-Key was used for another message";
        return Some(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", reason));
    }
    if answer.quota.is_storage_full {
        let reason = "the quota of stored bytes has no room for this";
        return Some(Fault::new(StatusCode::TOO_MANY_REQUESTS, "quota", reason));
    }
    if let Some(retry_after_ms) = answer.quota.retry_after_ms {
        let reason = "a quota of messages is used up; Retry-After says for how long";
        let fault = Fault::new(StatusCode::TOO_MANY_REQUESTS, "quota", reason);
        return Some(Fault { retry_after_s: Some(retry_after_ms.div_ceil(1000)), ..fault });
    }
    answer.reason.is_error().then(|| Fault::of_reason(answer.reason, "this publication"))
}

fn once(headers: &HeaderMap) -> Outcome<Option<Text>> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().unwrap_or("");
    if key.is_empty() || key.len() > KEY_BYTES {
        let reason = format!("Idempotency-Key must be 1 to {KEY_BYTES} printable characters");
        return Err(Fault::bad_request(reason));
    }
    text("Idempotency-Key", key).map(Some)
}

/// The message from JSON or, if the topic stands in the query, with the body as its payload.
fn message_body(query: MessageQuery, headers: &HeaderMap, body: Bytes) -> Outcome<MessageBody> {
    let Some(topic) = query.topic else {
        if query != MessageQuery::default() {
            let reason = "without topic in the query, the body has all that is said of a message";
            return Err(Fault::bad_request(reason));
        }
        return body::json(headers, &body, "a message");
    };
    let payload = String::from_utf8(body.to_vec());
    let (payload, payload_base64) = match payload {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64.encode(error.as_bytes()))),
    };
    Ok(MessageBody {
        topic,
        payload,
        payload_json: None,
        payload_base64,
        qos: query.qos.unwrap_or_else(at_least_once),
        retain: query.retain.unwrap_or(false),
        message_expiry_interval_s: query.message_expiry_interval_s,
        content_type: query.content_type,
        response_topic: None,
        correlation_data_base64: None,
        user_properties: Vec::new(),
        timeout_s: query.timeout_s,
    })
}

fn command(body: MessageBody) -> Outcome<PublishCommand> {
    let is_json = body.payload_json.is_some();
    let (payload, is_text) = match (body.payload, body.payload_json, body.payload_base64) {
        (None, None, None) => (Bytes::new(), false),
        (Some(text), None, None) => (Bytes::from(text), true),
        (None, Some(json), None) => (Bytes::copy_from_slice(json.get().as_bytes()), true),
        (None, None, Some(data)) => (base64("payload_base64", &data)?, false),
        _ => {
            let reason = "give one of payload, payload_json and payload_base64";
            return Err(Fault::bad_request(reason));
        }
    };
    let content_type = body.content_type.or_else(|| is_json.then(|| "application/json".into()));
    let mut user_properties = Vec::new();
    for (name, value) in &body.user_properties {
        user_properties.push((text("user_properties", name)?, text("user_properties", value)?));
    }
    let properties = MessageProperties {
        payload_format_indicator: is_text.then_some(true),
        content_type: content_type.map(|value| text("content_type", &value)).transpose()?,
        response_topic: body
            .response_topic
            .map(|value| topic("response_topic", &value))
            .transpose()?,
        correlation_data: body
            .correlation_data_base64
            .map(|value| base64("correlation_data_base64", &value))
            .transpose()?,
        user_properties,
    };
    let qos = QoS::from_u8(body.qos).ok_or_else(|| Fault::bad_request("qos must be 0, 1 or 2"))?;
    Ok(PublishCommand {
        topic: topic("topic", &body.topic)?,
        payload,
        qos,
        retain: body.retain,
        message_expiry_interval_s: body.message_expiry_interval_s,
        properties: (!properties.is_empty()).then(|| Box::new(properties)),
    })
}

fn topic(name: &'static str, value: &str) -> Outcome<Topic> {
    let bad = |error: String| Fault::new(StatusCode::BAD_REQUEST, "bad_topic", error);
    Topic::try_from(value).map_err(|error| bad(format!("{name}: {error}")))
}

fn base64(name: &'static str, value: &str) -> Outcome<Bytes> {
    let decoded = BASE64.decode(value);
    decoded.map(Bytes::from).map_err(|error| Fault::bad_request(format!("{name}: {error}")))
}
