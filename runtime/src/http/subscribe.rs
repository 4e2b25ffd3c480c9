//! `GET /v1/subscribe` as an event stream; `GET /v1/messages` for clients without one; `POST
//! /v1/ack` for both.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use signalhouse_core::wire::types::{QoS, Text};
use tokio::sync::oneshot;

use super::door::Caller;
use super::fault::{Fault, Outcome};
use super::keys::Scope;
use super::query::NoQuery;
use super::subscriber::{Delivered, EventId, Happened, Opening, Subscriber, acknowledge_idle};
use super::{State, Timer, body, render, text};

/// How often a silent stream says that it lives.
const HEARTBEAT_MS: u64 = 15_000;
/// How long a stream whose window is full waits for an acknowledgement before it ends, so that an
/// event source comes back with its `Last-Event-ID`.
const FULL_MS: u64 = 2_000;
/// What an event source waits before it comes back.
const RETRY_MS: u64 = 1_000;
/// Filters of one request.
const FILTERS: usize = 64;
/// How long a poll may wait, in seconds; and how long it gathers once something has come.
const WAIT_MOST_S: u64 = 60;
const GATHER_MS: u64 = 20;
/// Messages of one poll: without a word, and at most.
const MESSAGES: usize = 100;
const MESSAGES_MOST: usize = 200;

/// What the query may name; of these `wait` and `max` in `/v1/messages` alone.
const NAMES: &str = "`filter`, `qos`, `session`, `session_expiry_s`, `last_event_id`, `wait`, \
                     `max` or `access_token`";

/// The query of both ways to receive. Filters repeat, so it is taken apart by hand.
#[derive(Debug, Default)]
struct Wish {
    filters: Vec<String>,
    qos: Option<String>,
    session: Option<String>,
    session_expiry_s: Option<String>,
    acknowledged: Option<String>,
    wait: Option<String>,
    max: Option<String>,
}

pub(super) async fn subscribe(
    Shared(state): Shared<State>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome<Response> {
    caller.needs(Scope::Subscribe)?;
    let mut wish = Wish::parse(query.as_deref().unwrap_or(""))?;
    if wish.wait.is_some() || wish.max.is_some() {
        return Err(Fault::bad_request("wait and max belong to /v1/messages"));
    }
    if let Some(last) = headers.get("last-event-id") {
        let last = last.to_str().map_err(|_| Fault::bad_request("Last-Event-ID is no text"))?;
        wish.acknowledged = Some(last.to_owned());
    }
    let opening = wish.opening(state.options.session_expiry_s)?;
    let session = opening.session.clone();
    let subscriber = Subscriber::open(&state, &caller, opening).await?;
    let open = json!({
        "session": session.as_ref().map(Text::as_str),
        "session_present": subscriber.session_present,
    });
    let first = format!("retry: {RETRY_MS}\nevent: session\ndata: {open}\n\n");
    let stream = Stream {
        subscriber,
        timer: state.timer.clone(),
        is_session: session.is_some(),
        first: Some(first),
        ended: false,
    };
    let events = unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Some proxies gather an answer before they pass it on, unless told so.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// An event stream under way.
struct Stream {
    subscriber: Subscriber,
    timer: Timer,
    /// Whether events wait for an acknowledgement from outside.
    is_session: bool,
    first: Option<String>,
    ended: bool,
}

impl Stream {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first.into());
        }
        if self.ended {
            return None;
        }
        let started = self.timer.now();
        loop {
            let is_full = self.subscriber.is_full();
            let silent_at = started.plus_ms(if is_full { FULL_MS } else { HEARTBEAT_MS });
            match self.subscriber.next(&self.timer, silent_at, !is_full).await {
                Happened::Delivered(delivered) => {
                    if let Some(id) = delivered.id.filter(|_| !self.is_session) {
                        self.subscriber.acknowledge(id).await?;
                    }
                    return Some(event(&delivered, self.is_session));
                }
                Happened::Order((last, told)) => {
                    let count = self.subscriber.acknowledge(last).await?;
                    // Whoever asked may have gone away.
                    let _ = told.send(count);
                }
                Happened::Silence if is_full => return None,
                Happened::Silence => return Some(Bytes::from_static(b": alive\n\n")),
                Happened::Closed => {
                    self.ended = true;
                    return Some(Bytes::from_static(b"event: closed\ndata: {}\n\n"));
                }
            }
        }
    }
}

/// One message as one event. It is acknowledged by its id, so it has none where nothing is owed.
fn event(delivered: &Delivered, is_session: bool) -> Bytes {
    let id = delivered.id.filter(|_| is_session).map(|id| format!("id: {id}\n"));
    let data = Value::Object(content(delivered));
    format!("{}event: message\ndata: {data}\n\n", id.unwrap_or_default()).into()
}

fn content(delivered: &Delivered) -> Map<String, Value> {
    let mut object = render::message(&delivered.message);
    object.insert("qos".into(), json!(delivered.qos as u8));
    object.insert("retain".into(), json!(delivered.retain));
    object.insert("repeated".into(), json!(delivered.repeated));
    if let Some(seconds) = delivered.message_expiry_interval_s {
        object.insert("message_expiry_interval_s".into(), json!(seconds));
    }
    object
}

pub(super) async fn messages(
    Shared(state): Shared<State>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Outcome<Json<Value>> {
    caller.needs(Scope::Subscribe)?;
    let wish = Wish::parse(query.as_deref().unwrap_or(""))?;
    let opening = wish.opening(state.options.session_expiry_s)?;
    if opening.session.is_none() {
        let reason = "give a session: what comes between two polls waits in it";
        return Err(Fault::bad_request(reason));
    }
    let wait_s = number("wait", wish.wait.as_deref(), 0, WAIT_MOST_S)?.unwrap_or(0);
    let most = number("max", wish.max.as_deref(), 1, MESSAGES_MOST as u64)?;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(MESSAGES);
    let mut subscriber = Subscriber::open(&state, &caller, opening).await?;
    let timer = &state.timer;
    let mut until = timer.now().plus_ms((wait_s * 1000).max(GATHER_MS));
    let mut gathered = Vec::new();
    while gathered.len() < most {
        match subscriber.next(timer, until, !subscriber.is_full()).await {
            Happened::Delivered(delivered) => {
                let mut object = content(&delivered);
                object.insert("id".into(), json!(delivered.id.map(|id| id.to_string())));
                gathered.push(Value::Object(object));
                until = until.min(timer.now().plus_ms(GATHER_MS));
            }
            Happened::Order((last, told)) => {
                let count = subscriber.acknowledge(last).await.ok_or_else(Fault::unavailable)?;
                let _ = told.send(count);
            }
            Happened::Silence => break,
            Happened::Closed if gathered.is_empty() => return Err(Fault::unavailable()),
            Happened::Closed => break,
        }
    }
    let session_present = subscriber.session_present;
    subscriber.leave().await;
    Ok(Json(json!({"session_present": session_present, "messages": gathered})))
}

/// The body of `POST /v1/ack`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AckBody {
    session: String,
    /// The last event to be acknowledged; all before it are too.
    id: String,
}

pub(super) async fn ack(
    Shared(state): Shared<State>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Outcome<Json<Value>> {
    caller.needs(Scope::Subscribe)?;
    let body: AckBody = body::json(&headers, &body?, "an ack")?;
    let session = text("session", &body.session)?;
    let last: EventId = body.id.parse()?;
    if let Some(orders) = state.streams.find(&session, caller.identity.as_ref()) {
        let (told, count) = oneshot::channel();
        // A stream that ends at this moment leaves its session to be acknowledged as an idle one.
        if orders.send((last, told)).await.is_ok()
            && let Ok(count) = count.await
        {
            return Ok(Json(json!({"acknowledged": count})));
        }
    }
    let count = acknowledge_idle(&state, &caller, session, last).await?;
    Ok(Json(json!({"acknowledged": count})))
}

/// Reads a request to acknowledge. Gives the session, and the event's name as it is written.
///
/// # Errors
/// What is wrong with it, in words.
pub fn acknowledgement(body: &[u8]) -> Result<(String, String), String> {
    let body: AckBody =
        body::json(&HeaderMap::new(), body, "an ack").map_err(|fault| fault.reason)?;
    let last: EventId = body.id.parse().map_err(|fault: Fault| fault.reason)?;
    Ok((body.session, last.to_string()))
}

/// Reads the query of a request to receive. Gives how many filters it names.
///
/// # Errors
/// What is wrong with it, in words.
pub fn receiving(query: &str) -> Result<usize, String> {
    let opening = Wish::parse(query).and_then(|wish| wish.opening(1));
    opening.map(|opening| opening.filters.len()).map_err(|fault| fault.reason)
}

impl Wish {
    fn parse(query: &str) -> Outcome<Self> {
        let mut wish = Wish::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            let place = match name.as_ref() {
                "filter" if wish.filters.len() < FILTERS => {
                    wish.filters.push(value);
                    continue;
                }
                "filter" => {
                    return Err(Fault::bad_request(format!("more than {FILTERS} filters")));
                }
                "access_token" => continue, // the door has looked at it
                "qos" => &mut wish.qos,
                "session" => &mut wish.session,
                "session_expiry_s" => &mut wish.session_expiry_s,
                "last_event_id" => &mut wish.acknowledged,
                "wait" => &mut wish.wait,
                "max" => &mut wish.max,
                _ => {
                    let reason = format!("the query: unknown field `{name}`, expected {NAMES}");
                    return Err(Fault::bad_request(reason));
                }
            };
            if place.replace(value).is_some() {
                return Err(Fault::bad_request(format!("{name} is there twice")));
            }
        }
        Ok(wish)
    }

    fn opening(&self, default_expiry_s: u32) -> Outcome<Opening> {
        let qos = number("qos", self.qos.as_deref(), 0, 1)?;
        let expiry = self.session_expiry_s.as_deref();
        let expiry_s = number("session_expiry_s", expiry, 1, u64::from(u32::MAX))?;
        let session = self.session.as_deref().map(|name| text("session", name)).transpose()?;
        if session.as_ref().is_some_and(|session| session.is_empty()) {
            return Err(Fault::bad_request("session is empty"));
        }
        let passes = session.is_none();
        if passes && (expiry_s.is_some() || self.acknowledged.is_some()) {
            // An event source without a session sends no Last-Event-ID either: its events have none.
            return Err(Fault::bad_request("only a session lasts, and has what is acknowledged"));
        }
        if passes && self.filters.is_empty() {
            return Err(Fault::bad_request("give a filter, or a session that has one"));
        }
        let expiry_s = expiry_s.and_then(|seconds| u32::try_from(seconds).ok());
        let expiry_s = expiry_s.unwrap_or(default_expiry_s);
        Ok(Opening {
            filters: self.filters.clone(),
            qos: if qos == Some(0) { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            session_expiry_s: if passes { 0 } else { expiry_s },
            acknowledged: self.acknowledged.as_deref().map(str::parse).transpose()?,
            session,
            inbox: None,
        })
    }
}

fn number(name: &str, value: Option<&str>, least: u64, most: u64) -> Outcome<Option<u64>> {
    let Some(value) = value else { return Ok(None) };
    let parsed = value.parse().ok().filter(|number| (least..=most).contains(number));
    parsed.map(Some).ok_or_else(|| {
        Fault::bad_request(format!("{name} must be a whole number from {least} to {most}"))
    })
}
