//! Bodies that are JSON, whatever they say.

use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::fault::{Fault, Outcome};

/// What a body of JSON may be called. Tools that are told nothing say the latter three, or nothing.
const TYPES: [&str; 4] =
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "*/*"];

/// Reads a body; `what` names it for people.
pub(super) fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: &[u8],
    what: &str,
) -> Outcome<T> {
    let named = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let name = named.map(|name| name.split(';').next().unwrap_or("").trim().to_ascii_lowercase());
    if let Some(name) = name.filter(|name| !TYPES.contains(&name.as_str()))
        && !name.ends_with("+json")
    {
        let reason = format!("the body of {what} is JSON, and Content-Type says {name}");
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", reason));
    }
    serde_json::from_slice(body)
        .map_err(|error| Fault::bad_request(format!("the body is not {what}: {error}")))
}
