//! Tokens for browsers: short-lived, bounded in topics and actions. Not served yet.

use axum::http::StatusCode;
use signalhouse_core::Time;
use signalhouse_core::wire::types::Text;

use super::State;
use super::door::Caller;
use super::fault::{Fault, Outcome};

pub(super) async fn create() -> Outcome<StatusCode> {
    Err(Fault::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", "no tokens yet"))
}

pub(super) fn caller(_: &State, _: &str, _: Time, _: Text) -> Outcome<Caller> {
    Err(Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", "the key is not known"))
}
