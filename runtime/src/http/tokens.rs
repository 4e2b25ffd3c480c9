//! `POST /v1/tokens`: short-lived tokens for browsers, bounded in topics and actions; and who bears
//! one.
//!
//! They are JWT with HS256. Under the same secret the MQTT listeners take them as well: `sub` is the
//! user, `exp` the end, `topics` the bounds.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use signalhouse_core::Time;
use signalhouse_core::credential::{Claims, Credential};
use signalhouse_core::permission::{
    Action, Actions, Effect, Pattern, Permissions, Rule, Subject, Who,
};
use signalhouse_core::routing::topic::TopicFilter;
use signalhouse_core::wire::types::Text;

use super::door::Caller;
use super::fault::{Fault, Outcome};
use super::keys::Scope;
use super::{State, text};

/// How long a token holds, in seconds: without a word, and at most.
const EXPIRES_S: u64 = 60 * 60;
const EXPIRES_MOST_S: u64 = 24 * 60 * 60;
/// Topics of one token, and its longest form in bytes.
const TOPICS: usize = 64;
const TOKEN_BYTES: usize = 16 * 1024;

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

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    alg: String,
}

/// What a token says. Claims of others' tokens are left alone.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    sub: String,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topics: Option<Topics>,
}

/// What may be done at most: nothing but this.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Topics {
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    subscribe: Vec<String>,
}

pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Outcome<Json<Value>> {
    caller.needs(Scope::Tokens)?;
    let secret = state.options.token_secret.as_deref().ok_or_else(|| {
        let reason = "this broker makes no tokens: http.token_secret_file is not set";
        Fault::new(StatusCode::NOT_FOUND, "no_tokens", reason)
    })?;
    let body: TokenBody = serde_json::from_slice(&body?)
        .map_err(|error| Fault::bad_request(format!("the body is not a token's: {error}")))?;
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
    let token = sign(secret, &Content { sub: user, exp, topics });
    Ok(Json(json!({"token": token, "expires_at_s": exp})))
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
        let subject = Subject::new(caller.identity.as_ref(), &caller.client_id);
        if grants.is_some_and(|grants| !grants.allows_subscribe(&subject, &filter).allowed) {
            return Err(Fault::forbidden(format!("the key is bound to other topics than {topic}")));
        }
    }
    Ok(())
}

/// What the token says of topics; `None` for everything its user may do.
fn bounds(topics: Vec<String>, actions: Option<&[TokenAction]>) -> Option<Topics> {
    if topics.is_empty() && actions.is_none() {
        return None;
    }
    let topics = if topics.is_empty() { vec!["#".to_owned()] } else { topics };
    let wants = |action| actions.is_none_or(|actions| actions.contains(&action));
    let listed = |action| if wants(action) { topics.clone() } else { Vec::new() };
    Some(Topics {
        publish: listed(TokenAction::Publish),
        subscribe: listed(TokenAction::Subscribe),
    })
}

/// Who bears the token.
pub(super) fn caller(state: &State, token: &str, now: Time, peer: Text) -> Outcome<Caller> {
    let refused = |reason: &str| Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", reason);
    let secret = state.options.token_secret.as_deref();
    let secret = secret.ok_or_else(|| refused("the key is not known"))?;
    let content = verify(secret, token).ok_or_else(|| refused("the token is not one of ours"))?;
    let ends_at = Time::from_ms(content.exp.saturating_mul(1000));
    if ends_at <= now {
        return Err(refused("the token has ended"));
    }
    let identity = Text::try_from(content.sub.as_str()).ok().filter(|user| !user.is_empty());
    let identity = identity.ok_or_else(|| refused("the token does not say whose it is"))?;
    let (scopes, grants) = match &content.topics {
        None => (vec![Scope::Publish, Scope::Subscribe], None),
        Some(topics) => {
            let grants = grants(topics).ok_or_else(|| refused("the token's topics are none"))?;
            let may_publish = (!topics.publish.is_empty()).then_some(Scope::Publish);
            let may_subscribe = (!topics.subscribe.is_empty()).then_some(Scope::Subscribe);
            (may_publish.into_iter().chain(may_subscribe).collect(), Some(grants))
        }
    };
    Ok(Caller {
        identity: Some(identity),
        client_id: Text::try_from("http-token").unwrap_or_default(),
        credential: Credential { claims: Claims::NONE, grants, ends_at: Some(ends_at) },
        peer,
        scopes,
    })
}

fn grants(topics: &Topics) -> Option<Arc<Permissions>> {
    let mut rules = Vec::new();
    let publish = topics.publish.iter().map(|topic| (Actions::from(Action::Publish), topic));
    let subscribe = topics.subscribe.iter().map(|topic| (Actions::READ, topic));
    for (actions, topic) in publish.chain(subscribe) {
        let pattern = Pattern::new(topic).ok()?;
        rules.push(Rule { effect: Effect::Allow, who: Who::Any, actions, pattern });
    }
    Permissions::new(Effect::Deny, rules).map(Arc::new).ok()
}

fn sign(secret: &[u8], content: &Content) -> String {
    let header = BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let content = BASE64.encode(json!(content).to_string());
    let signed = format!("{header}.{content}");
    let signature = BASE64.encode(mac(secret, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// What a token with a right signature says.
fn verify(secret: &[u8], token: &str) -> Option<Content> {
    if token.len() > TOKEN_BYTES {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, content) = signed.split_once('.')?;
    mac(secret, signed).verify_slice(&BASE64.decode(signature).ok()?).ok()?;
    let header: Header = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
    if header.alg != "HS256" {
        return None;
    }
    serde_json::from_slice(&BASE64.decode(content).ok()?).ok()
}

fn mac(secret: &[u8], signed: &str) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes every key");
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"01234567890123456789012345678901";

    fn content() -> Content {
        Content { sub: "ann".to_owned(), exp: 7, topics: None }
    }

    #[test]
    fn only_what_was_signed_with_the_secret_is_a_token() {
        let token = sign(SECRET, &content());
        assert_eq!(verify(SECRET, &token).map(|content| content.sub).as_deref(), Some("ann"));
        let none = BASE64.encode(r#"{"alg":"none"}"#);
        let body = token.split('.').nth(1).expect("a body");
        for wrong in [
            String::new(),
            "..".to_owned(),
            token[..token.len() - 1].to_owned(),
            format!("{none}.{body}."),
            format!("{none}.{}", token.split_once('.').expect("parts").1),
            sign(b"another secret of thirty-two byte", &content()),
            "x".repeat(TOKEN_BYTES + 1),
        ] {
            assert!(verify(SECRET, &wrong).is_none(), "{wrong}");
        }
    }
}
