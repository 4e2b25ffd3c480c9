//! What a request is refused with: a status, a word for programs and a sentence for people.

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use signalhouse_core::wire::reason::ReasonCode;

use super::refused::Why;

/// How many more publications there may be today.
pub(crate) const REMAINING: HeaderName = HeaderName::from_static("x-quota-remaining-today");

/// A refusal. Every one is JSON: `{"error": "…", "reason": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    /// For programs; one of the words in the OpenAPI document.
    pub(crate) error: &'static str,
    /// For people.
    pub(crate) reason: String,
    /// Seconds after which it is worth trying again.
    pub(crate) retry_after_s: Option<u64>,
    /// How many more publications there may be today, where that is bound and known.
    pub(crate) remaining_today: Option<u64>,
    /// Set where the request was not let in.
    pub(crate) not_let_in: Option<Why>,
}

/// Travels with an answer of 401 to the door, where it is remembered.
#[derive(Clone, Debug)]
pub(crate) struct NotLetIn {
    pub(crate) why: Why,
    pub(crate) reason: String,
}

pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub(crate) fn new(status: StatusCode, error: &'static str, reason: impl Into<String>) -> Self {
        let (retry_after_s, remaining_today, not_let_in) = (None, None, None);
        Fault { status, error, reason: reason.into(), retry_after_s, remaining_today, not_let_in }
    }

    pub(crate) fn bad_request(reason: impl Into<String>) -> Self {
        Fault::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    pub(crate) fn not_found(reason: impl Into<String>) -> Self {
        Fault::new(StatusCode::NOT_FOUND, "not_found", reason)
    }

    pub(crate) fn forbidden(reason: impl Into<String>) -> Self {
        Fault::new(StatusCode::FORBIDDEN, "forbidden", reason)
    }

    /// The request shows nothing that lets it in.
    pub(crate) fn unauthorized(why: Why, reason: impl Into<String>) -> Self {
        let fault = Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", reason);
        Fault { not_let_in: Some(why), ..fault }
    }

    /// The broker is stopping, or was too busy to let another client in.
    pub(crate) fn unavailable() -> Self {
        let reason = "the broker is stopping or has no room for another client";
        let fault = Fault::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason);
        Fault { retry_after_s: Some(1), ..fault }
    }

    pub(crate) fn to_json(&self) -> String {
        json!({"error": self.error, "reason": self.reason}).to_string()
    }

    /// The HTTP answer to what an MQTT client would be told.
    pub(crate) fn of_reason(reason: ReasonCode, about: &str) -> Self {
        let (status, error, sentence) = if reason == ReasonCode::NotAuthorized {
            (StatusCode::FORBIDDEN, "forbidden", "is not allowed")
        } else if reason == ReasonCode::TopicNameInvalid || reason == ReasonCode::TopicFilterInvalid
        {
            (StatusCode::BAD_REQUEST, "bad_topic", "is reserved or has too many levels")
        } else if reason == ReasonCode::QuotaExceeded {
            let error = (StatusCode::SERVICE_UNAVAILABLE, "no_room");
            (error.0, error.1, "finds a queue or store full")
        } else if reason == ReasonCode::QosNotSupported {
            (StatusCode::BAD_REQUEST, "qos_not_supported", "has a QoS above the broker's maximum")
        } else if reason == ReasonCode::RetainNotSupported {
            let error = (StatusCode::BAD_REQUEST, "retain_not_supported");
            (error.0, error.1, "wants to be retained, which is switched off")
        } else if reason == ReasonCode::ClientIdentifierNotValid {
            (StatusCode::FORBIDDEN, "session_of_another", "belongs to another user")
        } else if reason == ReasonCode::PacketTooLarge {
            (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "is too large")
        } else if reason == ReasonCode::ServerBusy || reason == ReasonCode::ServerShuttingDown {
            return Fault::unavailable();
        } else {
            let sentence = format!("{about} is refused: {reason}");
            return Fault::new(StatusCode::BAD_REQUEST, "refused", sentence);
        };
        Fault::new(status, error, format!("{about} {sentence} ({reason})"))
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = self.to_json();
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(left) = self.remaining_today {
            headers.insert(REMAINING, HeaderValue::from(left));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"signalhouse\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(why) = self.not_let_in {
            response.extensions_mut().insert(NotLetIn { why, reason: self.reason });
        }
        response
    }
}

impl From<BytesRejection> for Fault {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let reason = "the body is larger than http.body_bytes";
            return Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", reason);
        }
        Fault::bad_request(rejection.body_text())
    }
}

impl From<QueryRejection> for Fault {
    fn from(rejection: QueryRejection) -> Self {
        Fault::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for Fault {
    fn from(rejection: PathRejection) -> Self {
        Fault::bad_request(rejection.body_text())
    }
}

pub(crate) async fn no_such_path() -> Fault {
    Fault::not_found("there is no such path; GET /v1/openapi.json lists all")
}

pub(crate) async fn wrong_method() -> Fault {
    let reason = "the path does not take this method; the Allow header says which";
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", reason)
}
