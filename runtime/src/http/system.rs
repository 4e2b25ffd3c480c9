//! Whether the broker lives and serves, its figures, and what this interface is.

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::State;
use super::door::Caller;
use super::fault::{Fault, Outcome};
use super::keys::Scope;
use crate::metrics::Scrape;

/// How long the broker may take to answer.
const LIVE_MS: u64 = 5_000;
const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The machine takes its turns.
pub(super) async fn livez(Shared(state): Shared<State>) -> Outcome<impl IntoResponse> {
    is_stopping(&state).await?;
    Ok((JSON, r#"{"status":"live"}"#))
}

/// The machine takes its turns and new clients.
pub(super) async fn readyz(Shared(state): Shared<State>) -> Outcome<impl IntoResponse> {
    if is_stopping(&state).await? {
        return Err(Fault::unavailable());
    }
    Ok((JSON, r#"{"status":"ready"}"#))
}

async fn is_stopping(state: &State) -> Outcome<bool> {
    let look = state.look(|view| view.is_stopping);
    let Some(answered) = state.timer.within(LIVE_MS, look).await else {
        let reason = format!("the broker did not answer within {LIVE_MS} ms");
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "stuck", reason));
    };
    answered
}

pub(super) async fn metrics(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Outcome<impl IntoResponse> {
    caller.needs(Scope::Metrics)?;
    let requests = state.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let refused_requests = state.refused.counts();
    let started_at_ms = state.started_at.as_ms();
    let scrape = state.look(move |view| Scrape {
        census: view.broker.census(),
        counters: view.broker.counters().clone(),
        counts: view.counts.clone(),
        requests,
        refused_requests,
        started_at_ms,
    });
    let scrape = scrape.await?;
    let text = scrape.to_text().map_err(|error| {
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text))
}

/// What this interface is, for programs.
pub(super) async fn openapi() -> impl IntoResponse {
    (JSON, include_str!("openapi.json"))
}
