//! Makes tokens, signed with a shared secret: what is made here, [`Tokens`](super::Tokens) takes.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use super::verify;

/// Who signs tokens, and what it says of itself in them.
#[derive(Clone)]
pub struct Issuer {
    secret: Arc<[u8]>,
    /// The claim `iss`; empty for none.
    issuer: String,
    /// The claim `aud`; empty for none.
    audience: String,
    /// The claim that says who the bearer is.
    user_claim: String,
}

impl Issuer {
    /// Signs with `secret`. The other three are what the one who checks asks for.
    #[must_use]
    pub fn new(secret: Arc<[u8]>, issuer: &str, audience: &str, user_claim: &str) -> Self {
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        Issuer { secret, issuer, audience, user_claim: user_claim.to_owned() }
    }

    /// A token of `user` until `ends_at_s`, in seconds since 1970, bounded to `topics` if there are
    /// any: `{"publish": [PATTERN, …], "subscribe": [PATTERN, …]}`.
    ///
    /// # Errors
    /// If the process's own cryptography, installed before ours, cannot sign.
    pub(crate) fn issue(
        &self,
        user: &str,
        ends_at_s: u64,
        topics: Option<Value>,
    ) -> jsonwebtoken::errors::Result<String> {
        verify::install();
        let mut claims = Map::new();
        claims.insert("exp".to_owned(), json!(ends_at_s));
        for (name, value) in [("iss", &self.issuer), ("aud", &self.audience)] {
            if !value.is_empty() {
                claims.insert(name.to_owned(), json!(value));
            }
        }
        claims.extend(topics.map(|topics| ("topics".to_owned(), topics)));
        claims.insert(self.user_claim.clone(), json!(user));
        let key = EncodingKey::from_secret(&self.secret);
        encode(&Header::new(Algorithm::HS256), &claims, &key)
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").finish_non_exhaustive()
    }
}
