//! `POST /v1/tokens`: short-lived tokens for browsers, bounded in topics and actions.
//!
//! They are JWT, as `access/token.rs` reads them, good for HTTP and at the doors of MQTT.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use signalhouse_core::permission::{Pattern, Subject};
use signalhouse_core::routing::topic::TopicFilter;

use super::door::Caller;
use super::fault::{Fault, Outcome};
use super::keys::Scope;
use super::query::NoQuery;
use super::{State, body, text};

/// How long a token holds, in seconds: without a word, and at most.
const EXPIRES_S: u64 = 60 * 60;
const EXPIRES_MOST_S: u64 = 24 * 60 * 60;
/// Topics of one token.
const TOPICS: usize = 64;

/// The body of `POST /v1/tokens`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    user: Option<String>,
    #[serde(default)]
    topics: Vec<String>,
    actions: Option<Vec<TokenAction>>,
    expires_s: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TokenAction {
    Publish,
    Subscribe,
}

pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Outcome<Json<Value>> {
    caller.needs(Scope::Tokens)?;
    let trust = state.trust();
    let issuer = trust.issuer.as_ref().ok_or_else(|| {
        let reason = "this broker makes no tokens: http.token_secret_file is not set";
        Fault::new(StatusCode::NOT_FOUND, "no_tokens", reason)
    })?;
    let body: TokenBody = body::json(&headers, &body?, "a request for a token")?;
    let expires_s = body.expires_s.unwrap_or(EXPIRES_S);
    if !(1..=EXPIRES_MOST_S).contains(&expires_s) {
        return Err(Fault::bad_request(format!("expires_s must be 1 to {EXPIRES_MOST_S}")));
    }
    let own = caller.identity.as_ref().map(|user| user.as_str().to_owned()).unwrap_or_default();
    let user = body.user.unwrap_or(own);
    if text("user", &user)?.is_empty() {
        return Err(Fault::bad_request("user is empty"));
    }
    check_topics(&caller, &body.topics)?;
    let exp = state.timer.now().as_ms() / 1000 + expires_s;
    let topics = bounds(body.topics, body.actions.as_deref());
    let token = issuer.issue(&user, exp, topics).map_err(|error| {
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })?;
    if let Err(error) = trust.judge(state.timer.now(), &token) {
        return Err(Fault::bad_request(format!("no door would take such a token: {error}")));
    }
    Ok(Json(json!({"token": token, "expires_at_s": exp})))
}

/// Reads a request for a token.
///
/// # Errors
/// What is wrong with it, in words.
pub fn token_request(body: &[u8]) -> Result<(), String> {
    let body: TokenBody = body::json(&HeaderMap::new(), body, "a request for a token")
        .map_err(|fault| fault.reason)?;
    drop(bounds(body.topics, body.actions.as_deref()));
    Ok(())
}

/// A token cannot do more than the key it is made with.
fn check_topics(caller: &Caller, topics: &[String]) -> Outcome<()> {
    if topics.len() > TOPICS {
        return Err(Fault::bad_request(format!("more than {TOPICS} topics")));
    }
    let grants = caller.credential.grants.as_deref();
    if topics.is_empty() && grants.is_some() {
        return Err(Fault::forbidden("the key is bound to topics, and so must its tokens be"));
    }
    for topic in topics {
        let bad = |error: String| Fault::new(StatusCode::BAD_REQUEST, "bad_filter", error);
        let filter = TopicFilter::new(text("topics", topic)?)
            .map_err(|error| bad(format!("topics: {topic}: {error}")))?;
        // As whoever takes the token reads it, with variables.
        Pattern::new(topic).map_err(|error| bad(format!("topics: {topic}: {error}")))?;
        let subject = Subject::new(caller.identity.as_ref(), &caller.client_id);
        if grants.is_some_and(|grants| !grants.allows_subscribe(&subject, &filter).allowed) {
            return Err(Fault::forbidden(format!("the key is bound to other topics than {topic}")));
        }
    }
    Ok(())
}

/// What the token says of topics; `None` for everything its user may do.
fn bounds(topics: Vec<String>, actions: Option<&[TokenAction]>) -> Option<Value> {
    if topics.is_empty() && actions.is_none() {
        return None;
    }
    let topics = if topics.is_empty() { vec!["#".to_owned()] } else { topics };
    let wants = |action| actions.is_none_or(|actions| actions.contains(&action));
    let listed = |action| if wants(action) { topics.as_slice() } else { &[] };
    let (publish, subscribe) = (listed(TokenAction::Publish), listed(TokenAction::Subscribe));
    Some(json!({"publish": publish, "subscribe": subscribe}))
}
