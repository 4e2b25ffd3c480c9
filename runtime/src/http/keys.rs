//! API keys: what the file of keys says, and which key a request bears.
//!
//! A key is `shk_ID_SECRET`. The secret has 256 random bits, so the file keeps its SHA-256: a slow
//! hash protects secrets that can be guessed, and this cannot.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use signalhouse_core::Time;
use signalhouse_core::credential::Credential;
use signalhouse_core::permission::{Actions, Effect, Pattern, Permissions, Rule, Who};
use signalhouse_core::wire::types::Text;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// `POST /v1/publish` and, with [`Scope::Subscribe`], `POST /v1/request`.
    Publish,
    /// `GET /v1/subscribe`, `GET /v1/messages`, `POST /v1/ack`.
    Subscribe,
    /// `POST /v1/tokens`.
    Tokens,
    /// `GET /metrics`.
    Metrics,
    /// Sessions, subscriptions, retained messages, what is stuck and who was refused.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 5] =
        [Scope::Publish, Scope::Subscribe, Scope::Tokens, Scope::Metrics, Scope::Admin];

    /// Its word in the file and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Scope::Publish => "publish",
            Scope::Subscribe => "subscribe",
            Scope::Tokens => "tokens",
            Scope::Metrics => "metrics",
            Scope::Admin => "admin",
        }
    }
}

/// One key, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Names the key, in the key itself and in logs.
    pub id: String,
    /// Whose key it is: the identity that permissions and quotas of users are about.
    pub user: String,
    /// SHA-256 of the secret, in hexadecimal.
    pub sha256: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Filters that bound what it may publish, subscribe to and receive; none for no bound beyond
    /// the user's permissions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub created_at_s: u64,
    /// When it ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_s: Option<u64>,
}

/// The file of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The keys, in the order in which they were made.
    #[serde(default, rename = "key", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyEntry>,
}

/// What is wrong with a file of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is not what `signalhouse key` writes.
    #[error("{0}")]
    Parse(String),
    /// A key in it makes no sense.
    #[error("key {id}: {fault}")]
    Key {
        /// The key.
        id: String,
        /// What is wrong with it.
        fault: String,
    },
}

/// A key that a request can bear.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) id: Text,
    pub(crate) user: Text,
    pub(crate) scopes: Vec<Scope>,
    grants: Option<Arc<Permissions>>,
    sha256: [u8; 32],
    expires_at: Time,
}

/// The keys in force.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    keys: Vec<Arc<Key>>,
}

/// Why a request's key is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyFault {
    /// There is no such key, or its secret is another.
    #[error("the key is not known")]
    Unknown,
    /// It was known, by this id, until its time was over.
    #[error("the key {0} has expired")]
    Expired(Text),
}

impl KeyFile {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        KeyFile::parse(&std::fs::read_to_string(path)?)
    }

    /// Reads the text of a file of keys.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            KeyFileError::Parse(format!("line {line}: {}", error.message()))
        })
    }

    /// Adds a fresh key and returns what its bearer must show. It cannot be found out again.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn add(&mut self, mut entry: KeyEntry) -> Result<String, getrandom::Error> {
        let (mut id, mut secret) = ([0; 6], [0; 32]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        entry.id = hex(&id);
        let secret = URL_SAFE_NO_PAD.encode(secret);
        entry.sha256 = hex(&Sha256::digest(secret.as_bytes()));
        let key = format!("shk_{}_{secret}", entry.id);
        self.keys.push(entry);
        Ok(key)
    }
}

impl Keys {
    /// The keys of a file, checked.
    ///
    /// # Errors
    /// [`KeyFileError::Key`] names the first key that makes no sense.
    pub fn new(file: &KeyFile) -> Result<Self, KeyFileError> {
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for entry in &file.keys {
            let fault = |fault: String| KeyFileError::Key { id: entry.id.clone(), fault };
            if keys.iter().any(|key| key.id.as_str() == entry.id) {
                return Err(fault("is there twice".to_owned()));
            }
            keys.push(Arc::new(Key::new(entry).map_err(fault)?));
        }
        Ok(Keys { keys })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the key is there, good for just what it was.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.keys.iter().any(|known| **known == *key)
    }

    /// The key that `bearer` is.
    pub(crate) fn find(&self, bearer: &str, now: Time) -> Result<&Arc<Key>, KeyFault> {
        let parts = bearer.strip_prefix("shk_").and_then(|rest| rest.split_once('_'));
        let (id, secret) = parts.ok_or(KeyFault::Unknown)?;
        let key = self.keys.iter().find(|key| key.id.as_str() == id).ok_or(KeyFault::Unknown)?;
        // Of the digest of what was sent, nothing can be learned by the time this takes.
        if Sha256::digest(secret.as_bytes())[..] != key.sha256 {
            return Err(KeyFault::Unknown);
        }
        if key.expires_at <= now { Err(KeyFault::Expired(key.id.clone())) } else { Ok(key) }
    }
}

impl Key {
    fn new(entry: &KeyEntry) -> Result<Self, String> {
        let sha256 = unhex(&entry.sha256).ok_or("sha256 is not 64 hexadecimal digits")?;
        let user = Text::try_from(entry.user.as_str()).map_err(|error| format!("user: {error}"))?;
        if user.is_empty() {
            return Err("user is empty".to_owned());
        }
        if entry.scopes.contains(&Scope::Admin) && !entry.topics.is_empty() {
            return Err("the scope admin sees every topic, and topics cannot bound it".to_owned());
        }
        let grants = grants(entry.topics.iter().map(|topic| (Actions::ALL, topic.as_str())))?;
        let expires_at = entry
            .expires_at_s
            .map_or(Time::NEVER, |seconds| Time::from_ms(seconds.saturating_mul(1000)));
        let id = Text::try_from(entry.id.as_str()).map_err(|error| format!("id: {error}"))?;
        Ok(Key { id, user, scopes: entry.scopes.clone(), grants, sha256, expires_at })
    }

    /// What a client with this key is bound by.
    pub(crate) fn credential(&self) -> Credential {
        let ends_at = Some(self.expires_at).filter(|at| *at != Time::NEVER);
        let (grants, key) = (self.grants.clone(), Some(self.id.clone()));
        Credential { grants, key, ends_at, ..Credential::default() }
    }
}

/// What may be done at most where only these actions on these topics are granted; `None` if there
/// are none. The grants are the rules, in their order.
pub(crate) fn grants<'a>(
    grants: impl IntoIterator<Item = (Actions, &'a str)>,
) -> Result<Option<Arc<Permissions>>, String> {
    let mut rules = Vec::new();
    for (actions, topic) in grants {
        let pattern = Pattern::new(topic).map_err(|error| format!("{topic}: {error}"))?;
        rules.push(Rule { effect: Effect::Allow, who: Who::Any, actions, pattern });
    }
    if rules.is_empty() {
        return Ok(None);
    }
    let permissions = Permissions::new(Effect::Deny, rules).map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(permissions)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> KeyEntry {
        KeyEntry {
            id: String::new(),
            user: "ann".to_owned(),
            sha256: String::new(),
            scopes: vec![Scope::Publish],
            topics: vec!["a/#".to_owned()],
            created_at_s: 1,
            expires_at_s: Some(100),
        }
    }

    #[test]
    fn a_key_is_found_until_it_expires_and_only_with_its_secret() {
        let mut file = KeyFile::default();
        let bearer = file.add(entry()).expect("randomness");
        let text = toml::to_string(&file).expect("plain values");
        assert!(!text.contains(bearer.rsplit('_').next().expect("a secret")), "{text}");
        let read = KeyFile::parse(&text).expect("its own format");
        assert_eq!(read, file);
        let keys = Keys::new(&read).expect("a right file");
        let now = Time::from_ms(99_999);
        assert_eq!(keys.find(&bearer, now).expect("a key").user.as_str(), "ann");
        let late = keys.find(&bearer, Time::from_ms(100_000));
        let id = Text::try_from(read.keys[0].id.as_str()).expect("a name");
        assert_eq!(late.expect_err("expired"), KeyFault::Expired(id));
        for wrong in ["", "shk_", "shk__", "shk_x_y", &bearer[..bearer.len() - 1], &bearer[1..]] {
            assert_eq!(keys.find(wrong, now).expect_err(wrong), KeyFault::Unknown);
        }
    }

    #[test]
    fn files_that_make_no_sense_are_refused_with_the_place() {
        for (text, expected) in [
            ("[[key]]\nid = 1", "line 2"),
            ("[[kex]]", "line 1"),
            (
                "[[key]]\nid = \"a\"\nuser = \"u\"\nsha256 = \"zz\"\nscopes = []",
                "key a: sha256 is not 64 hexadecimal digits",
            ),
            ("[[key]]\nid = \"a\"\nuser = \"u\"\nsha256 = \"00\"\nscopes = [\"all\"]", "line 5"),
        ] {
            let error = KeyFile::parse(text).and_then(|file| Keys::new(&file)).expect_err(text);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
