//! Plain HTTP beside MQTT: publish, subscribe as an event stream, manage, and see.
//!
//! [`Server`] takes connections from the shard's network and serves them on its thread; what a
//! request wants of the broker goes through the shard's [`Gateway`]. The
//! files below are by subject: `server` moves bytes, `door` decides who comes in, `keys` knows
//! the keys, and each of the others has the routes of one resource.

mod admin;
mod body;
mod door;
mod fault;
mod head;
pub mod keys;
mod publish;
mod query;
pub mod read;
mod refused;
mod render;
mod server;
mod subscribe;
mod subscriber;
mod system;
mod tokens;
mod trust;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};

use axum::Router;
use axum::routing::{get, post};
use signalhouse_core::Time;
use signalhouse_core::wire::types::Text;

pub use self::server::Server;
pub use self::trust::Trust;
use crate::seams::Clock;
use crate::shard::{Gateway, View};

/// How the HTTP server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections at once. Over it: closed without a word.
    pub connections: u32,
    /// Connections of one address of which no request was let in yet. Over it: closed without a word.
    pub strangers_per_address: u32,
    /// Milliseconds in which a request's head must have come; an idle connection is kept as long.
    pub header_timeout_ms: u64,
    /// Milliseconds in which a request's body must have come.
    pub body_timeout_ms: u64,
    /// Milliseconds a client may read nothing while something waits for it.
    pub write_stall_timeout_ms: u64,
    /// Largest request head, in bytes.
    pub header_bytes: usize,
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Whether a listener on loopback serves requests without a key.
    pub loopback_without_key: bool,
    /// Whether `/livez` and `/readyz` answer without a key everywhere.
    pub health_without_key: bool,
    /// Web pages of these origins may use the interface; `*` for all.
    pub cors_origins: Vec<String>,
    /// How long the session of an event stream outlives it, in seconds, if the request says nothing.
    pub session_expiry_s: u32,
    /// First levels of the topics on which answers to requests are awaited.
    pub response_topics: String,
}

/// What the routes share.
#[derive(Clone)]
pub(crate) struct State(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) gateway: Gateway,
    pub(crate) options: Options,
    pub(crate) timer: Timer,
    /// Replaced as a whole when the files change.
    pub(crate) trust: RwLock<Trust>,
    /// Clients inside the process, by what they were let in by.
    pub(crate) guests: trust::Guests,
    pub(crate) started_at: Time,
    /// Set once no more requests are let in.
    pub(crate) is_stopping: AtomicBool,
    /// Requests by route and status.
    pub(crate) requests: Mutex<BTreeMap<(String, u16), u64>>,
    /// Requests that were not let in.
    pub(crate) refused: refused::Refused,
    /// Event streams that are open, by session.
    pub(crate) streams: subscriber::Streams,
}

impl std::ops::Deref for State {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl State {
    /// What `look` finds between two rounds of the shard.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, fault::Fault> {
        self.gateway.look(look).await.ok_or_else(fault::Fault::unavailable)
    }

    /// What requests are believed for, now.
    pub(crate) fn trust(&self) -> Trust {
        self.trust.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The shard's clock, for routes that do not know its type.
#[derive(Clone)]
pub(crate) struct Timer {
    now: Arc<dyn Fn() -> Time + Send + Sync>,
    sleep: Arc<dyn Fn(Time) -> Wait + Send + Sync>,
}

impl Timer {
    pub(crate) fn new<C>(clock: C) -> Self
    where
        C: Clock + Send + Sync,
        C::Sleep: Send,
    {
        let other = clock.clone();
        Timer {
            now: Arc::new(move || clock.now()),
            sleep: Arc::new(move |at| Box::pin(other.sleep_until(at))),
        }
    }

    pub(crate) fn now(&self) -> Time {
        (self.now)()
    }

    pub(crate) fn sleep_ms(&self, ms: u64) -> Wait {
        (self.sleep)(self.now().plus_ms(ms))
    }

    pub(crate) fn sleep_until(&self, at: Time) -> Wait {
        (self.sleep)(at)
    }

    /// What `future` comes to within `ms`.
    pub(crate) async fn within<T>(&self, ms: u64, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep_ms(ms) => None,
        }
    }
}

/// All routes, behind the door.
fn router(state: State) -> Router {
    let routes = Router::new()
        .route("/livez", get(system::livez))
        .route("/readyz", get(system::readyz))
        .route("/metrics", get(system::metrics))
        .route("/v1/openapi.json", get(system::openapi))
        .route("/v1/publish", post(publish::publish))
        .route("/v1/request", post(publish::request))
        .route("/v1/subscribe", get(subscribe::subscribe))
        .route("/v1/messages", get(subscribe::messages))
        .route("/v1/ack", post(subscribe::ack))
        .route("/v1/tokens", post(tokens::create))
        .route("/v1/sessions", get(admin::sessions))
        .route("/v1/sessions/{client_id}", get(admin::session).delete(admin::end_session))
        .route("/v1/sessions/{client_id}/disconnect", post(admin::disconnect))
        .route("/v1/sessions/{client_id}/events", get(admin::events))
        .route("/v1/subscriptions", get(admin::subscriptions))
        .route("/v1/retained", get(admin::retained).delete(admin::delete_retained))
        .route("/v1/stuck", get(admin::stuck))
        .route("/v1/refused", get(admin::refused))
        .method_not_allowed_fallback(fault::wrong_method)
        .fallback(fault::no_such_path);
    door::guard(routes, &state).with_state(state)
}

/// A string of the protocol, or the fault to answer with.
fn text(name: &'static str, value: &str) -> Result<Text, fault::Fault> {
    Text::try_from(value).map_err(|error| fault::Fault::bad_request(format!("{name}: {error}")))
}
