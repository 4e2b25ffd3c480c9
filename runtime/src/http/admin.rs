//! What an operator looks at and does: sessions, subscriptions, retained messages, who is stuck,
//! who was refused. Every list is paged: `limit` bounds a page, `next` names the following one.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use signalhouse_core::input::{Command, PublishCommand, PublishFor};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{QoS, Text};

use super::door::Caller;
use super::fault::{Fault, Outcome};
use super::keys::Scope;
use super::query::NoQuery;
use super::{State, render, text};

/// Items of one page: without a word, and at most.
const LIMIT: usize = 100;
const LIMIT_MOST: usize = 1_000;
/// What one page may look at, so that a request cannot hold the broker up.
const VISITS: u32 = 10_000;
/// Deliveries and subscriptions shown with one session.
const SHOWN: usize = 100;

type Query_<T> = Result<Query<T>, QueryRejection>;
type Path_ = Result<Path<String>, PathRejection>;

/// Who may see and do what is here.
pub(super) struct Operator;

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Outcome<Self> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.needs(Scope::Admin).map(|()| Operator)
    }
}

/// Which sessions, and which page of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionsQuery {
    limit: Option<usize>,
    next: Option<u32>,
    connected: Option<bool>,
    user: Option<String>,
}

pub(super) async fn sessions(
    Shared(state): Shared<State>,
    _: Operator,
    query: Query_<SessionsQuery>,
) -> Outcome<Json<Value>> {
    let SessionsQuery { limit, next, connected, user } = query?.0;
    let (limit, from) = (page(limit)?, next.unwrap_or(0));
    let look = state.look(move |view| {
        view.broker.sessions(from, limit, VISITS, |session| {
            connected.is_none_or(|connected| session.peer.is_some() == connected)
                && user.as_deref().is_none_or(|user| {
                    session.identity.as_ref().is_some_and(|identity| identity.as_str() == user)
                })
        })
    });
    let (found, next) = look.await?;
    let sessions: Vec<_> = found.iter().map(render::session).collect();
    Ok(Json(json!({"sessions": sessions, "next": next})))
}

pub(super) async fn session(
    Shared(state): Shared<State>,
    _: Operator,
    _: NoQuery,
    client_id: Path_,
) -> Outcome<Json<Value>> {
    let client_id = text("client_id", &client_id?.0)?;
    let wanted = client_id.clone();
    let look = state.look(move |view| {
        let broker = view.broker;
        let session = broker.session(&wanted)?;
        let mut object = Map::new();
        object.insert("session".into(), render::session(&session));
        let subscriptions = broker.subscriptions_of(&wanted, None, SHOWN);
        let subscriptions = subscriptions.iter().map(render::subscription).collect();
        object.insert("subscriptions".into(), Value::Array(subscriptions));
        let inflight = broker.inflight_of(&wanted, SHOWN);
        object.insert("inflight".into(), inflight.iter().map(render::delivery).collect());
        let queue = broker.queue_of(&wanted, SHOWN);
        object.insert("queue".into(), queue.iter().map(render::delivery).collect());
        let events = view.history.events_of(&wanted).map(render::event).collect();
        object.insert("events".into(), Value::Array(events));
        Some(Value::Object(object))
    });
    let found = look.await?;
    found.map(Json).ok_or_else(|| no_session(&client_id))
}

/// What became of a client, whether or not it has a session now.
pub(super) async fn events(
    Shared(state): Shared<State>,
    _: Operator,
    _: NoQuery,
    client_id: Path_,
) -> Outcome<Json<Value>> {
    let client_id = text("client_id", &client_id?.0)?;
    let wanted = client_id.clone();
    let look = state.look(move |view| {
        let events: Vec<_> = view.history.events_of(&wanted).map(render::event).collect();
        (events, view.broker.session(&wanted).is_some())
    });
    let (events, has_session) = look.await?;
    if events.is_empty() && !has_session {
        return Err(Fault::not_found(format!("nothing is remembered of {client_id}")));
    }
    Ok(Json(json!({"has_session": has_session, "events": events})))
}

pub(super) async fn disconnect(
    Shared(state): Shared<State>,
    _: Operator,
    _: NoQuery,
    client_id: Path_,
) -> Outcome<StatusCode> {
    let reason = ReasonCode::AdministrativeAction;
    order(&state, &client_id?.0, |client_id| Command::Disconnect { client_id, reason }).await
}

pub(super) async fn end_session(
    Shared(state): Shared<State>,
    _: Operator,
    _: NoQuery,
    client_id: Path_,
) -> Outcome<StatusCode> {
    order(&state, &client_id?.0, |client_id| Command::EndSession { client_id }).await
}

/// A page of a list that needs no filter.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    limit: Option<usize>,
    next: Option<String>,
}

pub(super) async fn subscriptions(
    Shared(state): Shared<State>,
    _: Operator,
    query: Query_<PageQuery>,
) -> Outcome<Json<Value>> {
    let PageQuery { limit, next } = query?.0;
    let limit = page(limit)?;
    // A page goes on at a session's place, behind one of its filters.
    let (mut place, mut after) = match next.as_deref() {
        None => (0, None),
        Some(next) => {
            let (place, filter) = next.split_once(':').unwrap_or((next, ""));
            let bad = || Fault::bad_request("next is not one that this list gave");
            let place: u32 = place.parse().map_err(|_| bad())?;
            (place, (!filter.is_empty()).then(|| filter_of(filter)).transpose()?)
        }
    };
    let look = state.look(move |view| {
        let mut found = Vec::new();
        let end = place.saturating_add(VISITS);
        while found.len() < limit && place < end {
            let (sessions, next) = view.broker.sessions(place, 1, end - place, |_| true);
            let Some(session) = sessions.first() else {
                return (found, next.map(|next| next.to_string()));
            };
            let client_id = &session.client_id;
            let wanted = limit - found.len();
            let mine = view.broker.subscriptions_of(client_id, after.as_ref(), wanted);
            let last = mine.last().map(|subscription| subscription.filter.clone());
            let is_done = mine.len() < wanted;
            found.extend(mine.iter().map(|subscription| {
                let mut object = render::subscription(subscription);
                object["client_id"] = json!(client_id.as_str());
                object
            }));
            if let (false, Some(last)) = (is_done, last) {
                let here = next.map_or(place, |next| next - 1);
                return (found, Some(format!("{here}:{last}")));
            }
            after = None;
            let Some(next) = next else { return (found, None) };
            place = next;
        }
        (found, Some(place.to_string()))
    });
    let (found, next) = look.await?;
    Ok(Json(json!({"subscriptions": found, "next": next})))
}

/// Which retained messages.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetainedQuery {
    filter: Option<String>,
    limit: Option<usize>,
    /// Go on behind this topic.
    next: Option<String>,
}

pub(super) async fn retained(
    Shared(state): Shared<State>,
    _: Operator,
    query: Query_<RetainedQuery>,
) -> Outcome<Json<Value>> {
    let RetainedQuery { filter, limit, next } = query?.0;
    let filter = filter_of(filter.as_deref().unwrap_or("#"))?;
    let after = next.as_deref().map(topic_of).transpose()?;
    let limit = page(limit)?;
    let look = state.look(move |view| {
        let (messages, next) =
            view.broker.retained_matching(&filter, after.as_ref(), limit, VISITS as usize);
        let messages: Vec<_> = messages.iter().map(|message| render::retained(message)).collect();
        json!({"retained": messages, "next": next.map(|next| next.as_str().to_owned())})
    });
    look.await.map(Json)
}

/// Whose retained message is to go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicQuery {
    topic: String,
}

/// As any client would: by an empty retained message, which subscribers are sent.
pub(super) async fn delete_retained(
    Shared(state): Shared<State>,
    _: Operator,
    query: Query_<TopicQuery>,
) -> Outcome<StatusCode> {
    let topic = topic_of(&query?.0.topic)?;
    let only = filter_of(topic.as_str())?;
    let look = state.look(move |view| view.broker.retained_matching(&only, None, 1, 8).0);
    if look.await?.is_empty() {
        return Err(Fault::not_found(format!("{topic} has no retained message")));
    }
    let message = PublishCommand {
        topic,
        payload: axum::body::Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: true,
        message_expiry_interval_s: None,
        properties: None,
    };
    let request = PublishFor { message, publisher: None, ticket: 0, once: None };
    let answer = state.gateway.publish(request).await.ok_or_else(Fault::unavailable)?;
    if answer.reason.is_error() {
        return Err(Fault::of_reason(answer.reason, "the deletion"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// How long is too long.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StuckQuery {
    limit: Option<usize>,
    next: Option<u32>,
    /// The same of shared subscriptions.
    next_share: Option<u32>,
    /// Messages that must wait for a session or share to be listed.
    queued: Option<usize>,
}

/// Sessions for which something waits: who, since when, how much, and what they owe. And shared
/// subscriptions: what waits for any of their members waits for no session.
pub(super) async fn stuck(
    Shared(state): Shared<State>,
    _: Operator,
    query: Query_<StuckQuery>,
) -> Outcome<Json<Value>> {
    let StuckQuery { limit, next, next_share, queued } = query?.0;
    let (limit, least) = (page(limit)?, queued.unwrap_or(1).max(1));
    let (from, from_share) = (next.unwrap_or(0), next_share.unwrap_or(0));
    let look = state.look(move |view| {
        let broker = view.broker;
        let (found, next) = broker
            .sessions(from, limit, VISITS, |session| session.queued + session.inflight >= least);
        let stuck = found.iter().map(|session| {
            let mut object = render::session(session);
            let oldest = broker.inflight_of(&session.client_id, 1);
            object["oldest_unacknowledged"] = oldest.first().map_or(Value::Null, render::delivery);
            let head = broker.queue_of(&session.client_id, 1);
            object["oldest_queued"] = head.first().map_or(Value::Null, render::delivery);
            object
        });
        let stuck: Vec<_> = stuck.collect();
        let (shares, next_share) = broker.shares(from_share, limit, VISITS, least);
        let shares: Vec<_> = shares.iter().map(render::share).collect();
        json!({"stuck": stuck, "next": next, "shares": shares, "next_share": next_share})
    });
    look.await.map(Json)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefusedQuery {
    limit: Option<usize>,
    /// Only who came this way.
    door: Option<RefusedAt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RefusedAt {
    Mqtt,
    Http,
}

/// Clients and requests that were not let in, the latest first.
pub(super) async fn refused(
    Shared(state): Shared<State>,
    _: Operator,
    query: Query_<RefusedQuery>,
) -> Outcome<Json<Value>> {
    let RefusedQuery { limit, door } = query?.0;
    let limit = page(limit)?;
    let of = |wanted| if door.is_none_or(|door| door == wanted) { limit } else { 0 };
    let (clients, requests) = (of(RefusedAt::Mqtt), of(RefusedAt::Http));
    let look = state.look(move |view| {
        let named = view.history.refused().take(clients);
        let named = named.map(|client| (client.at, render::refused(client)));
        let nameless = view.history.nameless().take(clients);
        named.chain(nameless.map(|one| (one.last_at, render::nameless(one)))).collect::<Vec<_>>()
    });
    let mut refused = look.await?;
    let (unserved, requests) = (state.refused.unserved(requests), state.refused.latest(requests));
    refused.extend(requests.iter().map(|request| (request.at, render::refused_request(request))));
    refused.extend(unserved.iter().map(|one| (one.last_at, render::unserved(one))));
    refused.sort_by_key(|(at, _)| Reverse(*at));
    refused.truncate(limit);
    let refused: Vec<_> = refused.into_iter().map(|(_, refused)| refused).collect();
    Ok(Json(json!({"refused": refused})))
}

/// Gives the broker an order about a client that has a session.
async fn order(
    state: &State,
    client_id: &str,
    order: impl FnOnce(Text) -> Command,
) -> Outcome<StatusCode> {
    let client_id = text("client_id", client_id)?;
    let wanted = client_id.clone();
    if !state.look(move |view| view.broker.session(&wanted).is_some()).await? {
        return Err(no_session(&client_id));
    }
    state.gateway.command(order(client_id)).await.ok_or_else(Fault::unavailable)?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_session(client_id: &Text) -> Fault {
    let more = "GET /v1/sessions/{client_id}/events tells what became of a client";
    Fault::not_found(format!("{client_id} has no session; {more}"))
}

fn page(limit: Option<usize>) -> Outcome<usize> {
    let limit = limit.unwrap_or(LIMIT);
    if (1..=LIMIT_MOST).contains(&limit) {
        Ok(limit)
    } else {
        Err(Fault::bad_request(format!("limit must be 1 to {LIMIT_MOST}")))
    }
}

fn topic_of(topic: &str) -> Outcome<Topic> {
    let bad = |error| Fault::new(StatusCode::BAD_REQUEST, "bad_topic", format!("topic: {error}"));
    Topic::try_from(topic).map_err(bad)
}

fn filter_of(filter: &str) -> Outcome<TopicFilter> {
    let bad = |error| Fault::new(StatusCode::BAD_REQUEST, "bad_filter", format!("filter: {error}"));
    TopicFilter::new(text("filter", filter)?).map_err(bad)
}
