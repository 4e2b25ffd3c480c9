//! Tokens for browsers: short-lived, bounded in topics and actions. Not served yet.

use axum::http::StatusCode;
use signalhouse_core::Time;
use signalhouse_core::wire::types::Text;

use super::State;
use super::door::Caller;
use super::fault::{Fault, Outcome};
use super::keys::Scope;

pub(super) async fn create(caller: Caller) -> Outcome<StatusCode> {
    caller.needs(Scope::Tokens)?;
    Err(Fault::new(StatusCode::NOT_FOUND, "no_tokens", "this broker makes no tokens"))
}

pub(super) fn caller(_: &State, _: &str, _: Time, _: Text) -> Outcome<Caller> {
    Err(Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", "the key is not known"))
}
