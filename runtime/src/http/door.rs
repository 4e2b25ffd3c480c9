//! Who comes in: keys, tokens, and the machine's own requests; limits of a body; other origins.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State as Shared};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use signalhouse_core::credential::Credential;
use signalhouse_core::input::Publisher;
use signalhouse_core::wire::types::Text;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::State;
use super::fault::{Fault, NotLetIn, Outcome, REMAINING};
use super::keys::Scope;
use super::refused::{RefusedRequest, Why};
use super::trust::Evidence;
use crate::shard::Insider;

/// How a connection came.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) peer: SocketAddr,
    /// Whether the listener can be reached from this machine only.
    pub(crate) is_loopback: bool,
    /// Whether a request of the connection was let in, other than to ask whether the broker lives.
    pub(crate) has_entered: Arc<AtomicBool>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) identity: Option<Text>,
    /// What stands for a client identifier where the request has no session.
    pub(crate) client_id: Text,
    /// What else the key or token says: grants, and when it ends.
    pub(crate) credential: Credential,
    pub(crate) peer: Text,
    pub(crate) scopes: Vec<Scope>,
    /// What it was let in by; `None` for the machine's own.
    pub(crate) evidence: Option<Evidence>,
}

/// Paths that tell whether the broker lives.
const HEALTH: [&str; 2] = ["/livez", "/readyz"];
/// What a request on loopback may do without a key.
const KEYLESS: [Scope; 3] = [Scope::Publish, Scope::Subscribe, Scope::Metrics];
/// What a proxy adds: the request is not the machine's own.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];
/// Seconds a browser may remember what other origins may do.
const CORS_AGE_S: u64 = 600;

impl Caller {
    /// Refuses a caller without the scope.
    pub(crate) fn needs(&self, scope: Scope) -> Outcome<()> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let word = scope.word();
        Err(match &self.identity {
            Some(_) => Fault::forbidden(format!("the key does not have the scope {word}")),
            None => {
                Fault::unauthorized(Why::NoKey, format!("this needs a key with the scope {word}"))
            }
        })
    }

    /// Its client inside the process, which keeps out of others' sessions unless it is told.
    pub(crate) fn insider(&self) -> Insider {
        let Caller { peer, identity, credential, .. } = self.clone();
        Insider { peer, identity, credential, takes_over: false }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher {
            identity: self.identity.clone(),
            client_id: self.client_id.clone(),
            peer: self.peer.clone(),
            credential: self.credential.clone(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        parts
            .extensions
            .get::<Caller>()
            .cloned()
            .ok_or_else(|| Fault::unauthorized(Why::NoKey, "no key"))
    }
}

/// The routes, behind everything that is the same for all of them.
pub(super) fn guard(routes: Router<State>, state: &State) -> Router<State> {
    let routes = routes.layer(from_fn_with_state(state.clone(), admit));
    let routes = match cors(&state.options.cors_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(from_fn(addressed)).layer(from_fn_with_state(state.clone(), note))
}

/// Refuses a request that does not say once, and in a form that could be, whom it calls
/// (RFC 9112, 3.2). One of HTTP/1.0 may leave it out.
async fn addressed(request: Request, next: Next) -> Response {
    let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
    let names_user = request.uri().authority().is_some_and(|named| named.as_str().contains('@'));
    let reason = match hosts.as_slice() {
        _ if names_user => Some("the target names a user before the host"),
        [] if request.version() < Version::HTTP_11 => None,
        [] => Some("a request of HTTP/1.1 needs a Host header"),
        [host] if !is_host(host) => Some("the Host header is no name with a port"),
        [_] => None,
        [_, _, ..] => Some("the Host header is there twice"),
    };
    match reason {
        Some(reason) => Fault::bad_request(reason).into_response(),
        None => next.run(request).await,
    }
}

/// Whether this can stand in a Host header, which is empty where the target has no authority.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(host) = value.to_str() else { return false };
    host.is_empty() || host.parse::<Authority>().is_ok_and(|parsed| !parsed.as_str().contains('@'))
}

async fn admit(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    match admitted(&state, request).await {
        Ok(request) => next.run(request).await,
        Err(fault) => fault.into_response(),
    }
}

async fn admitted(state: &State, request: Request) -> Outcome<Request> {
    if state.is_stopping.load(Ordering::Relaxed) {
        return Err(Fault::unavailable()); // what was let in before is answered as it stands
    }
    let (mut parts, body) = request.into_parts();
    let caller = caller(state, &parts)?;
    if let Some(door) = parts.extensions.get::<Door>()
        && !caller.scopes.is_empty()
    {
        door.has_entered.store(true, Ordering::Relaxed);
    }
    parts.extensions.insert(caller);
    if parts.method != Method::POST {
        return Ok(Request::from_parts(parts, Body::empty())); // no other takes a body
    }
    let limit = state.options.body_bytes;
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let body = state.timer.within(state.options.body_timeout_ms, to_bytes(body, limit)).await;
    let Some(body) = body else {
        let reason = "the body did not come in time (http.body_timeout_ms)";
        return Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "too_slow", reason));
    };
    let body = body.map_err(|error| {
        let error = error.into_inner();
        if error.is::<http_body_util::LengthLimitError>() {
            too_large(limit)
        } else {
            Fault::bad_request(format!("the body cannot be read: {error}"))
        }
    })?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn too_large(limit: usize) -> Fault {
    let reason = format!("the body is larger than {limit} bytes (http.body_bytes)");
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", reason)
}

fn caller(state: &State, parts: &Parts) -> Outcome<Caller> {
    let Some(door) = parts.extensions.get::<Door>() else {
        return Err(Fault::unauthorized(Why::NoKey, "the request came by no door"));
    };
    let peer = Text::try_from(door.peer.to_string().as_str()).unwrap_or_default();
    let bearer = bearer(parts)?;
    if let Some(bearer) = bearer {
        return state.trust().caller(&bearer, state.timer.now(), peer);
    }
    let anonymous = |scopes: &[Scope]| Caller {
        identity: None,
        client_id: Text::try_from("http").unwrap_or_default(),
        credential: Credential::default(),
        peer,
        scopes: scopes.to_vec(),
        evidence: None,
    };
    let is_health = HEALTH.contains(&parts.uri.path());
    if is_health && (door.is_loopback || state.options.health_without_key) {
        return Ok(anonymous(&[]));
    }
    if !door.is_loopback {
        return Err(Fault::unauthorized(Why::NoKey, "send a key: Authorization: Bearer KEY"));
    }
    if !state.options.loopback_without_key || !state.trust().allows_anonymous {
        return Err(Fault::unauthorized(
            Why::NoKey,
            "send a key: the settings let nobody in without one",
        ));
    }
    own_request(state, parts)?;
    Ok(anonymous(&KEYLESS))
}

/// The key or token that the request bears. A browser's event source can send no header, so a
/// token may stand in the query of a GET; a key may not, for addresses end up in logs.
fn bearer(parts: &Parts) -> Outcome<Option<String>> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let value = value
            .to_str()
            .map_err(|_| Fault::unauthorized(Why::Malformed, "Authorization is no text"))?;
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Fault::unauthorized(Why::Malformed, "Authorization must be Bearer KEY"));
        }
        return Ok(Some(token.trim().to_owned()));
    }
    if let Some(value) = parts.headers.get("x-api-key") {
        let value = value
            .to_str()
            .map_err(|_| Fault::unauthorized(Why::Malformed, "X-API-Key is no text"))?;
        return Ok(Some(value.to_owned()));
    }
    let query = parts.uri.query().unwrap_or("");
    let mut tokens = query.split('&').filter_map(|pair| pair.strip_prefix("access_token="));
    match tokens.next() {
        None => Ok(None),
        Some(token) if parts.method == Method::GET && !token.starts_with("shk_") => {
            Ok(Some(token.to_owned()))
        }
        Some(_) => Err(Fault::unauthorized(
            Why::Malformed,
            "a key does not belong in the address; send a header",
        )),
    }
}

/// A request without a key must be the machine's own: not one that a web page makes the browser
/// send here, by its own name or by a name of its own for this address, nor one that a proxy passes
/// on.
fn own_request(state: &State, parts: &Parts) -> Outcome<()> {
    let headers = &parts.headers;
    if let Some(name) = FORWARDED.into_iter().find(|name| headers.contains_key(*name)) {
        return Err(Fault::unauthorized(
            Why::NotOwn,
            format!("{name}: a request through a proxy needs a key"),
        ));
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key(header::ORIGIN) {
        let origin = text(header::ORIGIN).unwrap_or("");
        let known = state.options.cors_origins.iter().any(|known| known == origin || known == "*");
        if !known {
            return Err(Fault::unauthorized(
                Why::NotOwn,
                "a web page of another origin needs a key",
            ));
        }
    }
    // What the target says goes over what the header says (RFC 9112, 3.2.2).
    let authority = parts.uri.authority().map(Authority::host);
    let host = authority.or_else(|| text(header::HOST)).unwrap_or("");
    if is_loopback_name(host) {
        Ok(())
    } else {
        Err(Fault::unauthorized(
            Why::NotOwn,
            "a request that calls this machine by another name needs a key",
        ))
    }
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    let is_loopback = |ip: IpAddr| crate::settings::is_loopback(ip);
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| origin.parse().ok()))
    };
    let own = ["idempotency-key", "last-event-id", "x-api-key"].map(HeaderName::from_static);
    let headers = [header::AUTHORIZATION, header::CONTENT_TYPE].into_iter().chain(own);
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(headers.collect::<Vec<_>>())
            .expose_headers([header::RETRY_AFTER, REMAINING])
            .max_age(std::time::Duration::from_secs(CORS_AGE_S)),
    )
}

/// Counts every answer, and remembers who was not let in.
async fn note(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "none".into(), |path| path.as_str().to_owned());
    let peer = request.extensions().get::<Door>().map(|door| door.peer);
    let response = next.run(request).await;
    if let Some(NotLetIn { why, reason }) = response.extensions().get().cloned() {
        let peer = peer.and_then(|peer| Text::try_from(peer.to_string().as_str()).ok());
        let (at, peer) = (state.timer.now(), peer.unwrap_or_default());
        state.refused.add(RefusedRequest { at, peer, reason }, why, &route);
    }
    let mut requests = state.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *requests.entry((route, response.status().as_u16())).or_default() += 1;
    drop(requests);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_an_address_or_nothing() {
        let is = |host: &'static str| is_host(&HeaderValue::from_static(host));
        for host in ["", "localhost", "a.example:18083", "127.0.0.1:1", "[::1]:18083", "a_b"] {
            assert!(is(host), "{host}");
        }
        for host in ["a b", "user@host", "a/b", "a, b", "[::1", "a:b:c", "?"] {
            assert!(!is(host), "{host}");
        }
        assert!(!is_host(&HeaderValue::from_bytes(b"\xff").expect("a header")));
    }

    #[test]
    fn names_of_this_machine_are_told_from_others() {
        for name in ["localhost", "LocalHost:18083", "127.0.0.1", "127.9.9.9:1", "[::1]:18083"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in ["", "example.org", "localhost.example.org", "0.0.0.0:18083", "[::]", "::1"] {
            assert!(!is_loopback_name(name), "{name}");
        }
    }
}
