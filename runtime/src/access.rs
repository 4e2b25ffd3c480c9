//! Who comes in, and what they may do: password files, tokens, certificates, rules about topics.
//!
//! [`Access`] answers the shard's questions; [`files`] reads what it goes by, as a whole or not at
//! all. Formats have a file each. The broker itself applies the rules; transport is elsewhere.

mod backoff;
pub mod files;
mod guests;
pub(crate) mod hash;
mod hashing;
pub(crate) mod passwords;
pub(crate) mod rules;
pub(crate) mod scram;
pub mod texts;
pub(crate) mod token;

#[cfg(test)]
mod leaving;
#[cfg(test)]
mod robustness;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use signalhouse_core::credential::Credential;
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::permission::Permissions;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{ConnectionId, ExchangeStep, Question};
use tracing::info;

use self::backoff::Backoff;
pub use self::guests::Review;
use self::guests::{Guests, Proof};
use self::hashing::{Busy, Hashing};
use self::passwords::Passwords;
use self::rules::RuleFile;
use self::scram::Exchange;
pub use self::token::issue::Issuer;
use self::token::{Bearer, Tokens};
use crate::seams::{Authenticate, Caller, Clock};
use crate::transport::tls::Authority;

/// The enhanced methods.
const METHODS: [&str; 2] = [token::METHOD, scram::METHOD];

/// What clients are judged by, as it was read from files.
#[derive(Clone, Debug, Default)]
pub struct Known {
    passwords: Option<Arc<Passwords>>,
    tokens: Arc<Tokens>,
    authority: Option<Authority>,
    rules: Option<Arc<RuleFile>>,
    asks: bool,
    allow_anonymous: bool,
}

impl Known {
    /// The rules about topics. Without a file of them everything is allowed.
    #[must_use]
    pub fn permissions(&self) -> Arc<Permissions> {
        self.rules.as_ref().map(|rules| Arc::clone(&rules.permissions)).unwrap_or_default()
    }

    /// Whether clients have to say who they are. Where they are asked and need not answer, they have not.
    #[must_use]
    pub fn requires_names(&self) -> bool {
        self.asks && !self.allow_anonymous
    }

    /// Whether there is a file for this enhanced method.
    fn serves(&self, method: &str) -> bool {
        match method {
            token::METHOD => !self.tokens.is_empty(),
            scram::METHOD => self.passwords.is_some(),
            _ => false,
        }
    }

    /// How many users, keys' worth of tokens, and rules there are, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let users = self.passwords.as_ref().map_or(0, |passwords| passwords.len());
        let rules = self.rules.as_ref().map_or(0, |rules| rules.lines.len());
        format!("{users} users, {rules} rules")
    }
}

/// How much may be asked at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Passwords checked at once.
    pub password_threads: u16,
    /// Logins that may wait for that.
    pub waiting_logins: u32,
}

/// Answers who a client is.
#[derive(Debug)]
pub struct Access<C> {
    clock: C,
    known: RefCell<Arc<Known>>,
    hashing: Hashing,
    backoff: RefCell<Backoff>,
    exchanges: RefCell<BTreeMap<ConnectionId, Exchange>>,
    guests: RefCell<Guests>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    reason: ReasonCode,
    cause: String,
}

impl Refusal {
    fn new(reason: ReasonCode, cause: impl fmt::Display) -> Self {
        Refusal { reason, cause: cause.to_string() }
    }

    /// One answer for a wrong name and a wrong password, so that names cannot be found out.
    fn wrong_password() -> Self {
        Refusal::new(ReasonCode::BadUserNameOrPassword, "no such user, or not this password")
    }
}

impl<C: Clock> Access<C> {
    /// Judges by `known`. Clones share everything.
    #[must_use]
    pub fn new(clock: C, known: Known, bounds: Bounds) -> Self {
        Access {
            clock,
            known: RefCell::new(Arc::new(known)),
            hashing: Hashing::new(bounds),
            backoff: RefCell::default(),
            exchanges: RefCell::default(),
            guests: RefCell::default(),
        }
    }

    /// Whether clients have to say who they are.
    #[must_use]
    pub fn requires_names(&self) -> bool {
        self.known.borrow().requires_names()
    }

    /// Judges by `known` from now on. What comes of those who are in already is for the review
    /// to say.
    pub fn replace(&self, known: Known) -> Review {
        let known = Arc::new(known);
        let review = self.guests.borrow().review(&known);
        *self.known.borrow_mut() = known;
        review
    }

    async fn credentials(
        &self,
        caller: &Caller,
        known: &Known,
        user_name: Option<&Text>,
        password: Option<&Bytes>,
    ) -> Result<Entrance, Refusal> {
        if let Some(shown) = &caller.certificate {
            let credential = Credential { ends_at: Some(shown.ends_at), ..Credential::default() };
            let proof = Proof::Certificate(Arc::clone(shown));
            return Ok(Entrance::new(shown.name.clone(), credential, proof));
        }
        if let Some(password) = password
            && !known.tokens.is_empty()
            && token::looks_like_token(password)
        {
            return self.bearer(caller, known, password);
        }
        match (user_name, password, &known.passwords) {
            (Some(user_name), Some(password), Some(passwords)) => {
                self.password(caller, passwords, user_name, password).await
            }
            (Some(_), _, _) | (None, Some(_), _) => Err(Refusal::wrong_password()),
            (None, None, _) => {
                Err(Refusal::new(ReasonCode::NotAuthorized, "the client does not say who it is"))
            }
        }
    }

    /// Checks a password, off this thread.
    async fn password(
        &self,
        caller: &Caller,
        passwords: &Passwords,
        user_name: &Text,
        password: &Bytes,
    ) -> Result<Entrance, Refusal> {
        let (address, name) = (caller.address, user_name.as_bytes());
        self.check_backoff(caller, Some(name))?;
        let hash = passwords.user(user_name.as_str()).and_then(|user| user.hash.clone());
        let right = self.hashing.verify(address, hash.clone(), password.clone()).await;
        let right = right.map_err(|Busy| {
            Refusal::new(ReasonCode::ServerBusy, "too many logins wait for their passwords")
        })?;
        // Others may have failed meanwhile; whoever guesses in parallel gains nothing.
        self.check_backoff(caller, Some(name))?;
        match hash.filter(|_| right) {
            Some(hash) => {
                self.backoff.borrow_mut().succeeded(address, name);
                let proof = Proof::Password { user: user_name.as_str().into(), hash };
                Ok(Entrance::new(user_name.compact(), Credential::default(), proof))
            }
            None => {
                self.backoff.borrow_mut().failed(self.clock.now(), address, Some(name));
                Err(Refusal::wrong_password())
            }
        }
    }

    fn check_backoff(&self, caller: &Caller, name: Option<&[u8]>) -> Result<(), Refusal> {
        let now = self.clock.now();
        let waits = self.backoff.borrow().waits_until(now, caller.address, name);
        waits.map_or(Ok(()), |until| {
            let cause = format!("after failed logins, not before {} ms", until.since_ms(now));
            Err(Refusal::new(ReasonCode::ConnectionRateExceeded, cause))
        })
    }

    fn bearer(&self, caller: &Caller, known: &Known, token: &[u8]) -> Result<Entrance, Refusal> {
        // A wrong token names nobody: it counts against the address alone.
        self.check_backoff(caller, None)?;
        let checked = known.tokens.check(self.clock.now(), token).map_err(|error| {
            // Whoever has one that has ended does not guess, and may share the address with many.
            if !error.is_of_time() {
                self.backoff.borrow_mut().failed(self.clock.now(), caller.address, None);
            }
            Refusal::new(ReasonCode::NotAuthorized, error)
        });
        let Bearer { identity, credential, basis } = checked?;
        Ok(Entrance::new(identity, credential, Proof::Token(basis)))
    }

    fn exchange(
        &self,
        caller: &Caller,
        known: &Known,
        method: &Text,
        data: Option<&Bytes>,
        step: ExchangeStep,
    ) -> Result<Step, Refusal> {
        let data = data.map_or(&b""[..], |data| data);
        if !known.serves(method.as_str()) {
            // DISCONNECT has no code of its own for this.
            let reason = match step {
                ExchangeStep::Connect => ReasonCode::BadAuthenticationMethod,
                ExchangeStep::Continue | ExchangeStep::ReAuthenticate => ReasonCode::NotAuthorized,
            };
            let cause = "there is no file for this authentication method";
            return Err(Refusal::new(reason, cause));
        }
        if method.as_str() == token::METHOD {
            return self.bearer(caller, known, data).map(Step::In);
        }
        match step {
            ExchangeStep::Connect | ExchangeStep::ReAuthenticate => {
                let verifier_of = |name: &str| {
                    let user = known.passwords.as_ref()?.user(name)?;
                    user.hash.as_ref().and(user.verifier.clone())
                };
                let begun = Exchange::begin(data, verifier_of);
                let (exchange, answer) = begun.ok_or_else(Refusal::wrong_password)?;
                self.check_backoff(caller, Some(exchange.user_name.as_bytes()))?;
                Ok(Step::Further(exchange, Bytes::from(answer)))
            }
            ExchangeStep::Continue => {
                let exchange = self.exchanges.borrow_mut().remove(&caller.connection);
                let exchange = exchange.ok_or_else(Refusal::wrong_password)?;
                let name = exchange.user_name.as_str();
                // Many exchanges may have begun before the first of them failed.
                self.check_backoff(caller, Some(name.as_bytes()))?;
                let Some(proof) = exchange.finish(data) else {
                    let mut backoff = self.backoff.borrow_mut();
                    backoff.failed(self.clock.now(), caller.address, Some(name.as_bytes()));
                    return Err(Refusal::wrong_password());
                };
                self.backoff.borrow_mut().succeeded(caller.address, name.as_bytes());
                let user = known.passwords.as_ref().and_then(|passwords| passwords.user(name));
                let hash = user.and_then(|user| user.hash.clone());
                let hash = hash.ok_or_else(Refusal::wrong_password)?;
                let identity = Text::try_from(name).map_err(|_| Refusal::wrong_password())?;
                let user = Proof::Password { user: name.into(), hash };
                let entrance = Entrance::new(identity, Credential::default(), user);
                Ok(Step::In(Entrance { data: Some(Bytes::from(proof)), ..entrance }))
            }
        }
    }

    async fn judge(
        &self,
        caller: &Caller,
        known: &Known,
        question: &Question,
    ) -> Result<Step, Refusal> {
        match question {
            Question::Credentials { user_name: None, password: None, .. }
                if known.allow_anonymous && caller.certificate.is_none() =>
            {
                Ok(Step::Anonymous)
            }
            Question::Credentials { user_name, password, .. } => {
                let (user_name, password) = (user_name.as_ref(), password.as_ref());
                self.credentials(caller, known, user_name, password).await.map(Step::In)
            }
            Question::Exchange { method, data, step, .. } => {
                self.exchange(caller, known, method, data.as_ref(), *step)
            }
        }
    }

    /// What comes of a question whose connection waits among the guests.
    async fn outcome(&self, caller: &Caller, question: &Question) -> Result<AuthOutcome, Refusal> {
        let known = Arc::clone(&self.known.borrow());
        let step = self.judge(caller, &known, question).await;
        // Nothing may be kept for a connection that has gone meanwhile: nobody would take it out.
        let is_there = self.guests.borrow_mut().answer(caller.connection);
        Ok(match step? {
            Step::Anonymous => {
                if is_there {
                    self.guests.borrow_mut().enter_unnamed(caller.connection);
                }
                let credential = Credential::default();
                AuthOutcome::Accepted { identity: None, data: None, credential }
            }
            Step::Further(exchange, answer) => {
                if is_there {
                    self.exchanges.borrow_mut().insert(caller.connection, exchange);
                }
                AuthOutcome::Continue { data: Some(answer) }
            }
            Step::In(Entrance { identity, data, credential, proof }) => {
                // It may have been judged, or its handshake made, by what is replaced by now.
                if !proof.holds(&Arc::clone(&self.known.borrow())) {
                    let cause = "what the client shows has just been withdrawn";
                    return Err(Refusal::new(ReasonCode::NotAuthorized, cause));
                }
                if is_there {
                    self.guests.borrow_mut().enter(caller.connection, proof);
                }
                AuthOutcome::Accepted { identity: Some(identity), data, credential }
            }
        })
    }
}

/// How far a client comes.
enum Step {
    /// In, without a name.
    Anonymous,
    /// In.
    In(Entrance),
    /// To the next message of an exchange, which our answer calls for.
    Further(Exchange, Bytes),
}

/// How a client comes in.
struct Entrance {
    identity: Text,
    /// The last message of an exchange.
    data: Option<Bytes>,
    credential: Credential,
    proof: Proof,
}

impl Entrance {
    fn new(identity: Text, credential: Credential, proof: Proof) -> Self {
        Entrance { identity, data: None, credential, proof }
    }
}

impl<C: Clock> Authenticate for Access<C> {
    fn asks_credentials(&self, connection: ConnectionId) -> bool {
        let asks = self.known.borrow().asks;
        if !asks {
            self.guests.borrow_mut().enter_unnamed(connection);
        }
        asks
    }

    /// Those for which there are files now, and those for which there may be some later.
    fn methods(&self) -> Vec<Text> {
        METHODS.into_iter().filter_map(|name| Text::try_from(name).ok()).collect()
    }

    fn answer(
        self: Rc<Self>,
        caller: Caller,
        question: Question,
    ) -> impl Future<Output = AuthOutcome> + 'static {
        // Before anything can be forgotten again.
        self.guests.borrow_mut().wait(caller.connection);
        async move {
            self.outcome(&caller, &question).await.unwrap_or_else(|refusal| {
                let Refusal { reason, cause } = refusal;
                let (connection, address) = (caller.connection, caller.address);
                let user = match &question {
                    Question::Credentials { user_name, .. } => user_name.as_ref(),
                    Question::Exchange { method, .. } => Some(method),
                };
                let user = user.map(tracing::field::display);
                info!(%connection, %address, user, %cause, "login refused");
                AuthOutcome::Refused { reason }
            })
        }
    }

    fn forget(&self, connection: ConnectionId) {
        self.exchanges.borrow_mut().remove(&connection);
        self.guests.borrow_mut().leave(connection);
    }
}

/// One authority for every listener, and for whoever reads the files again.
impl<C: Clock> Authenticate for Rc<Access<C>> {
    fn asks_credentials(&self, connection: ConnectionId) -> bool {
        (**self).asks_credentials(connection)
    }

    fn methods(&self) -> Vec<Text> {
        (**self).methods()
    }

    fn answer(
        self: Rc<Self>,
        caller: Caller,
        question: Question,
    ) -> impl Future<Output = AuthOutcome> + 'static {
        Rc::clone(&*self).answer(caller, question)
    }

    fn forget(&self, connection: ConnectionId) {
        (**self).forget(connection);
    }
}
