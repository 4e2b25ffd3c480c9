//! Queries of routes that take none.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::fault::{Fault, Outcome};

/// For routes whose query says nothing: what stands there was meant for something, and is not
/// passed over.
pub(super) struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Outcome<Self> {
        match form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).next() {
            None => Ok(NoQuery),
            Some((name, _)) => Err(Fault::bad_request(format!(
                "the query: unknown field `{name}`, there are no fields"
            ))),
        }
    }
}
