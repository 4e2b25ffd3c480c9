//! What requests are believed for, and which clients inside the process rest on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use signalhouse_core::permission::Action;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{ConnectionId, Time};

use super::State;
use super::door::Caller;
use super::fault::{Fault, Outcome};
use super::keys::{Key, KeyFault, Keys, Scope};
use super::refused::Why;
use crate::access::Issuer;
use crate::access::token::{Basis, Bearer, TokenError, Tokens};

/// The keys in force, and what tokens are judged by: the same as at the doors of MQTT.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: Arc<Keys>,
    tokens: Arc<Tokens>,
    /// Makes tokens, if the broker makes any.
    pub(super) issuer: Option<Issuer>,
    /// Whether clients without credentials are let in, by any door.
    pub(super) allows_anonymous: bool,
}

/// What a caller was let in by.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    /// An API key, with all that it was good for.
    Key(Arc<Key>),
    /// A token. When it ends is the broker's matter.
    Token(Basis),
}

impl Trust {
    pub(crate) fn new(
        keys: Keys,
        tokens: Arc<Tokens>,
        issuer: Option<Issuer>,
        allows_anonymous: bool,
    ) -> Self {
        Trust { keys: Arc::new(keys), tokens, issuer, allows_anonymous }
    }

    /// Trust in these keys and in no token, and in requests of the machine's own.
    #[must_use]
    pub fn in_keys(keys: Keys) -> Self {
        Trust::new(keys, Arc::default(), None, true)
    }

    /// The same, and in tokens that are signed with this secret, and made with it.
    ///
    /// # Errors
    /// If the secret is too short.
    pub fn in_keys_and_tokens(keys: Keys, secret: &[u8]) -> Result<Self, String> {
        let user_claim = "sub";
        let mut tokens = Tokens::default();
        user_claim.clone_into(&mut tokens.user_claim);
        tokens.add_secret(secret).map_err(|error| error.to_string())?;
        let issuer = Issuer::new(Arc::from(secret), "", "", user_claim);
        Ok(Trust::new(keys, Arc::new(tokens), Some(issuer), true))
    }

    /// Who bears this key or token.
    pub(super) fn caller(&self, bearer: &str, now: Time, peer: Text) -> Outcome<Caller> {
        if bearer.starts_with("shk_") {
            self.bearer_of_key(bearer, now, peer)
        } else {
            self.bearer_of_token(bearer, now, peer)
        }
    }

    fn bearer_of_key(&self, bearer: &str, now: Time, peer: Text) -> Outcome<Caller> {
        let key = self.keys.find(bearer, now).map_err(refused_key)?;
        Ok(Caller {
            identity: Some(key.user.clone()),
            client_id: Text::try_from(format!("http-{}", key.id).as_str()).unwrap_or_default(),
            credential: key.credential(),
            peer,
            scopes: key.scopes.clone(),
            evidence: Some(Evidence::Key(Arc::clone(key))),
        })
    }

    /// A token that is bound to topics opens what it has topics for.
    fn bearer_of_token(&self, token: &str, now: Time, peer: Text) -> Outcome<Caller> {
        if self.tokens.is_empty() {
            return Err(refused_key(KeyFault::Unknown));
        }
        let bearer = self.tokens.check(now, token.as_bytes()).map_err(refused_token)?;
        let Bearer { identity, credential, basis } = bearer;
        let may = |action: Action| {
            let grants = credential.grants.as_deref();
            grants.is_none_or(|grants| grants.rules().iter().any(|r| r.actions.contains(action)))
        };
        let scopes = [(Scope::Publish, Action::Publish), (Scope::Subscribe, Action::Subscribe)];
        let scopes = scopes.into_iter().filter(|(_, action)| may(*action));
        Ok(Caller {
            scopes: scopes.map(|(scope, _)| scope).collect(),
            identity: Some(identity),
            client_id: Text::try_from("http-token").unwrap_or_default(),
            credential,
            peer,
            evidence: Some(Evidence::Token(basis)),
        })
    }

    /// Whether the doors take this token.
    pub(super) fn judge(&self, now: Time, token: &str) -> Result<(), TokenError> {
        self.tokens.check(now, token.as_bytes()).map(drop)
    }

    fn holds(&self, evidence: Option<&Evidence>) -> bool {
        match evidence {
            None => self.allows_anonymous,
            Some(Evidence::Key(key)) => self.keys.has(key),
            Some(Evidence::Token(basis)) => self.tokens.still_has(*basis),
        }
    }
}

fn refused_key(fault: KeyFault) -> Fault {
    let why = match fault {
        KeyFault::Unknown => Why::KeyUnknown,
        KeyFault::Expired(_) => Why::KeyExpired,
    };
    Fault::unauthorized(why, fault.to_string())
}

fn refused_token(error: TokenError) -> Fault {
    let why = match error {
        TokenError::Ended => Why::TokenEnded,
        TokenError::NotYet => Why::TokenNotYet,
        TokenError::Malformed
        | TokenError::TooLong
        | TokenError::Critical
        | TokenError::Signature
        | TokenError::NoEnd
        | TokenError::Issuer
        | TokenError::Audience
        | TokenError::NoUser(_)
        | TokenError::Grants => Why::TokenInvalid,
    };
    Fault::unauthorized(why, error.to_string())
}

/// Clients inside the process that receive for a request, by what that was believed for; `None` for
/// the machine's own.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<BTreeMap<ConnectionId, Option<Evidence>>>);

impl Guests {
    /// Those whose evidence counts for nothing any more.
    pub(super) fn gone(&self, trust: &Trust) -> Vec<ConnectionId> {
        let guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = guests.iter().filter(|(_, evidence)| !trust.holds(evidence.as_ref()));
        gone.map(|(connection, _)| *connection).collect()
    }
}

/// A guest, for as long as this lives.
pub(crate) struct Guest {
    state: State,
    connection: ConnectionId,
}

impl Guest {
    /// Notes that `caller` has a client now.
    ///
    /// # Errors
    /// If what the caller showed was withdrawn since its request was let in.
    pub(super) fn enter(state: &State, caller: &Caller, connection: ConnectionId) -> Outcome<Self> {
        let evidence = &caller.evidence;
        let mut guests = state.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        guests.insert(connection, evidence.clone());
        drop(guests);
        let guest = Guest { state: state.clone(), connection };
        if state.trust().holds(evidence.as_ref()) {
            Ok(guest)
        } else {
            Err(Fault::unauthorized(Why::Withdrawn, "the key has just been withdrawn"))
        }
    }
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guest({})", self.connection)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.state.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        guests.remove(&self.connection);
    }
}
