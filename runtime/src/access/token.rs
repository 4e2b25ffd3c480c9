//! Tokens (JWT): who bears one is who it says, until it ends.
//!
//! A key is only ever used with algorithms of its own family, so a public key cannot be taken for a
//! shared secret, and a token without signature is none. Times are compared with the broker's clock.

pub(crate) mod issue;
mod verify;

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::jwk::{JwkSet, PublicKeyUse};
use jsonwebtoken::{DecodingKey, DecodingKeyKind, Validation, decode, decode_header};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use signalhouse_core::Time;
use signalhouse_core::credential::{Claims, Credential};
use signalhouse_core::permission::{Action, Actions, Effect, Pattern, Permissions, Rule, Who};
use signalhouse_core::wire::types::Text;

/// The name of the enhanced method that takes tokens.
pub(crate) const METHOD: &str = "JWT";

/// Longest token, in bytes.
const TOKEN_MAXIMUM_BYTES: usize = 16 * 1024;
/// Claims that rules may name; more are left out.
const CLAIMS_MAXIMUM: usize = 64;
/// Longest value of such a claim, in bytes.
const CLAIM_MAXIMUM_BYTES: usize = 256;
/// Patterns that one token may be limited to.
const GRANTS_MAXIMUM: usize = 256;
/// A shared secret that is shorter could be guessed.
const SECRET_LEAST_BYTES: usize = 32;
/// A clock may be so far from that of who made the token.
const LEEWAY_MS: u64 = 5_000;

/// What tokens are judged by.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    keys: Vec<Key>,
    /// Who must have made the token; empty for anybody with a key.
    pub(crate) issuer: String,
    /// Whom it must be meant for; empty for anybody.
    pub(crate) audience: String,
    /// The claim that says who its bearer is.
    pub(crate) user_claim: String,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    key: DecodingKey,
}

/// What a token was believed for: the key, and what was asked of its claims beside it. It tells
/// nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Basis([u8; 32]);

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(
        "the secret has {0} bytes; at least 32 are needed, such as those of `openssl rand -hex 32`"
    )]
    ShortSecret(usize),
    #[error("this is no public key in PEM (RSA, EC on P-256 or P-384, or Ed25519)")]
    Pem,
    #[error("this is no JWKS document: {0}")]
    Jwks(String),
    #[error("no key of this JWKS document can be used for signatures")]
    NoKey,
}

/// Why a token lets nobody in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("this is no token")]
    Malformed,
    #[error("the token is longer than 16384 bytes")]
    TooLong,
    #[error("the token wants something understood that is not")]
    Critical,
    #[error("no key fits the token, its signature is wrong, or its claims are malformed")]
    Signature,
    #[error("the token has no time at which it ends")]
    NoEnd,
    #[error("the token has ended")]
    Ended,
    #[error("the token does not hold yet")]
    NotYet,
    #[error("the token is another issuer's")]
    Issuer,
    #[error("the token is meant for somebody else")]
    Audience,
    #[error("the token does not say who its bearer is (claim {0})")]
    NoUser(String),
    #[error("the token's limits cannot be understood")]
    Grants,
}

impl TokenError {
    /// Whether nothing is wrong with the token but the time: it held, or will hold.
    pub(crate) fn is_of_time(&self) -> bool {
        match self {
            TokenError::Ended | TokenError::NotYet => true,
            TokenError::Malformed
            | TokenError::TooLong
            | TokenError::Critical
            | TokenError::Signature
            | TokenError::NoEnd
            | TokenError::Issuer
            | TokenError::Audience
            | TokenError::NoUser(_)
            | TokenError::Grants => false,
        }
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bearer {
    pub(crate) identity: Text,
    pub(crate) credential: Credential,
    pub(crate) basis: Basis,
}

impl Tokens {
    /// Takes tokens signed with this secret.
    pub(crate) fn add_secret(&mut self, secret: &[u8]) -> Result<(), KeyError> {
        let secret = secret.trim_ascii_end();
        if secret.len() < SECRET_LEAST_BYTES {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        self.keys.push(Key { id: None, key: DecodingKey::from_secret(secret) });
        Ok(())
    }

    /// Takes tokens signed with the private half of this public key.
    pub(crate) fn add_pem(&mut self, pem: &[u8]) -> Result<(), KeyError> {
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .map_err(|_| KeyError::Pem)?;
        self.keys.push(Key { id: None, key });
        Ok(())
    }

    /// Takes tokens signed with a key of this document.
    pub(crate) fn add_jwks(&mut self, json: &[u8]) -> Result<(), KeyError> {
        let set: JwkSet =
            serde_json::from_slice(json).map_err(|error| KeyError::Jwks(error.to_string()))?;
        let before = self.keys.len();
        for jwk in &set.keys {
            let signs = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
            if let Some(key) = DecodingKey::from_jwk(jwk).ok().filter(|_| signs) {
                self.keys.push(Key { id: jwk.common.key_id.clone(), key });
            }
        }
        if self.keys.len() > before { Ok(()) } else { Err(KeyError::NoKey) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Judges a token at the moment `now`.
    pub(crate) fn check(&self, now: Time, token: &[u8]) -> Result<Bearer, TokenError> {
        let (claims, key) = self.verified(token)?;
        let ends_at = number_date(claims.get("exp")).ok_or(TokenError::NoEnd)?.plus_ms(LEEWAY_MS);
        if ends_at <= now {
            return Err(TokenError::Ended);
        }
        let begins =
            claims.get("nbf").map(|nbf| number_date(Some(nbf)).ok_or(TokenError::Malformed));
        if begins.transpose()?.is_some_and(|begins| begins > now.plus_ms(LEEWAY_MS)) {
            return Err(TokenError::NotYet);
        }
        if !self.issuer.is_empty()
            && claims.get("iss").and_then(Value::as_str) != Some(&self.issuer)
        {
            return Err(TokenError::Issuer);
        }
        if !self.audience.is_empty() && !names(claims.get("aud"), &self.audience) {
            return Err(TokenError::Audience);
        }
        let no_user = || TokenError::NoUser(self.user_claim.clone());
        let user = claims.get(&self.user_claim).and_then(text_of).ok_or_else(no_user)?;
        let identity = Text::try_from(user.as_str()).map_err(|_| no_user())?;
        if identity.is_empty() {
            return Err(no_user());
        }
        let grants = claims.get("topics").map(grants_of).transpose()?;
        let claims = Claims::new(known_claims(&claims));
        let credential =
            Credential { claims, grants, ends_at: Some(ends_at), ..Credential::default() };
        Ok(Bearer { identity, credential, basis: self.basis(key) })
    }

    /// Whether a token that was believed for `basis` would still be, as long as it has not ended.
    pub(crate) fn still_has(&self, basis: Basis) -> bool {
        self.keys.iter().any(|key| self.basis(key) == basis)
    }

    fn basis(&self, key: &Key) -> Basis {
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        add(format!("{:?}", key.key.family()).as_bytes());
        match key.key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => add(bytes),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                add(n);
                add(e);
            }
        }
        for asked in [&self.issuer, &self.audience, &self.user_claim] {
            add(asked.as_bytes());
        }
        Basis(digest.finalize().into())
    }

    /// The claims of a token with a right signature, and the key it is right by.
    fn verified(&self, token: &[u8]) -> Result<(Map<String, Value>, &Key), TokenError> {
        verify::install();
        if token.len() > TOKEN_MAXIMUM_BYTES {
            return Err(TokenError::TooLong);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if is_critical(token) {
            return Err(TokenError::Critical); // RFC 7515, 4.1.11
        }
        let fits = |key: &&Key| {
            key.key.family() == header.alg.family()
                && (key.id.is_none() || header.kid.is_none() || key.id == header.kid)
        };
        for key in self.keys.iter().filter(fits) {
            let mut validation = Validation::new_for_family(key.key.family());
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            validation.validate_aud = false;
            if let Ok(data) = decode::<Map<String, Value>>(token, &key.key, &validation) {
                return Ok((data.claims, key));
            }
        }
        Err(TokenError::Signature)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} keys)", self.keys.len())
    }
}

/// Whether a password is meant as a token: it begins as a token's header does.
pub(crate) fn looks_like_token(password: &[u8]) -> bool {
    password.starts_with(b"eyJ") && password.iter().filter(|byte| **byte == b'.').count() == 2
}

/// Whether the header names extensions that must be understood. None is.
fn is_critical(token: &[u8]) -> bool {
    use base64::Engine as _;
    let header = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    serde_json::from_slice::<Map<String, Value>>(&json).is_ok_and(|map| map.contains_key("crit"))
}

/// Seconds since 1970, perhaps with a fraction.
fn number_date(value: Option<&Value>) -> Option<Time> {
    let seconds = value?.as_f64().filter(|seconds| (0.0..=1e15).contains(seconds))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the range above
    Some(Time::from_ms((seconds * 1_000.0) as u64))
}

fn names(value: Option<&Value>, wanted: &str) -> bool {
    match value {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(wanted)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What rules may name: texts, numbers, truths, and lists of them.
fn known_claims(claims: &Map<String, Value>) -> Vec<(Text, Text)> {
    let mut known = Vec::new();
    for (name, value) in claims {
        let values = match value {
            Value::Array(several) => several.as_slice(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => std::slice::from_ref(value),
        };
        for value in values.iter().filter_map(text_of) {
            let fits = name.len() <= CLAIM_MAXIMUM_BYTES && value.len() <= CLAIM_MAXIMUM_BYTES;
            let pair = (Text::try_from(name.as_str()), Text::try_from(value.as_str()));
            if let (true, (Ok(name), Ok(value))) = (fits, pair) {
                known.push((name, value));
            }
        }
    }
    known.truncate(CLAIMS_MAXIMUM);
    known
}

/// The claim `topics`: `{"publish": [PATTERN, …], "subscribe": [PATTERN, …]}`.
fn grants_of(value: &Value) -> Result<Arc<Permissions>, TokenError> {
    let Value::Object(lists) = value else { return Err(TokenError::Grants) };
    let mut rules = Vec::new();
    for (action, patterns) in lists {
        let actions = match action.as_str() {
            "publish" => Actions::from(Action::Publish),
            "subscribe" => Actions::READ,
            _ => return Err(TokenError::Grants),
        };
        let Value::Array(patterns) = patterns else { return Err(TokenError::Grants) };
        for pattern in patterns {
            let pattern = pattern.as_str().ok_or(TokenError::Grants)?;
            let pattern = Pattern::new(pattern).map_err(|_| TokenError::Grants)?;
            rules.push(Rule { effect: Effect::Allow, who: Who::Any, actions, pattern });
        }
    }
    if rules.len() > GRANTS_MAXIMUM {
        return Err(TokenError::Grants);
    }
    Permissions::new(Effect::Deny, rules).map(Arc::new).map_err(|_| TokenError::Grants)
}

#[cfg(test)]
mod tests;
