//! Reads everything that says who comes in and what they may do: as a whole, or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use signalhouse_core::quota::Quotas;

use super::passwords::Passwords;
use super::rules::RuleFile;
use super::token::{KeyError, Tokens};
use super::{Issuer, Known};
use crate::http::Trust;
use crate::http::keys::{KeyFile, Keys};
use crate::settings::Settings;
use crate::transport::tls::{self, Secured, TlsError};

/// Largest file that is read, in bytes.
const FILE_MAXIMUM_BYTES: u64 = 512 * 1024 * 1024;

/// What the files say.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Who comes in, and what they may do.
    pub known: Known,
    /// How connections are secured, if there is a certificate.
    pub secured: Option<Secured>,
    /// Who may use the HTTP interface.
    pub trust: Trust,
    /// How much everybody may use.
    pub quotas: Arc<Quotas>,
    /// The state of the files before they were read: what changes while they are is seen later.
    pub stamp: Stamp,
}

/// What is wrong with one of the files.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// One about users, tokens or topics.
    #[error("{key}: {}: {fault}", .path.display())]
    Access {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        fault: String,
    },
    /// The one of quotas.
    #[error("quotas.file: {0}")]
    Quotas(String),
    /// One of TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Reads all the files that `settings` name. May take long; belongs off the broker's thread.
///
/// # Errors
/// The first fault that was found.
pub fn load(settings: &Settings) -> Result<Loaded, FileError> {
    let stamp = Stamp::of(settings);
    let (security, jwt) = (&settings.security, &settings.jwt);
    let passwords = read_text("security.password_file", &security.password_file, |text| {
        Passwords::parse(text).map_err(|error| error.to_string())
    })?;
    let rules = read_text("security.acl_file", &security.acl_file, |text| {
        RuleFile::parse(text).map_err(|error| error.to_string())
    })?;
    let mut tokens = Tokens::default();
    tokens.issuer.clone_from(&jwt.issuer);
    tokens.audience.clone_from(&jwt.audience);
    tokens.user_claim.clone_from(&jwt.user_name_claim);
    read_bytes("jwt.secret_file", &jwt.secret_file, |bytes| tokens.add_secret(bytes))?;
    read_bytes("jwt.public_key_file", &jwt.public_key_file, |bytes| tokens.add_pem(bytes))?;
    read_bytes("jwt.jwks_file", &jwt.jwks_file, |bytes| tokens.add_jwks(bytes))?;
    // What HTTP hands out is good at every door.
    let http = &settings.http;
    let issuer = read_bytes("http.token_secret_file", &http.token_secret_file, |secret| {
        tokens.add_secret(secret)?;
        let secret = Arc::from(secret.trim_ascii_end());
        Ok::<_, KeyError>(Issuer::new(secret, &jwt.issuer, &jwt.audience, &jwt.user_name_claim))
    })?;
    let keys = read_text("http.keys_file", &http.keys_file, |text| {
        let keys = KeyFile::parse(text).and_then(|file| Keys::new(&file));
        keys.map_err(|error| error.to_string())
    })?;
    let secured = if settings.tls.certificate_file.is_empty() {
        None
    } else {
        Some(tls::load(&settings.tls)?)
    };
    let tokens = Arc::new(tokens);
    let allow_anonymous = security.allow_anonymous || !settings.authenticates();
    let trust = Trust::new(keys.unwrap_or_default(), Arc::clone(&tokens), issuer, allow_anonymous);
    let known = Known {
        passwords: passwords.map(Arc::new),
        tokens,
        authority: secured.as_ref().and_then(|secured| secured.authority.clone()),
        rules: rules.map(Arc::new),
        asks: settings.authenticates(),
        allow_anonymous,
    };
    let quotas = Arc::new(settings.quotas.to_core().map_err(FileError::Quotas)?);
    Ok(Loaded { known, secured, trust, quotas, stamp })
}

/// The state of all the files, to see whether one has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<Option<(SystemTime, u64, u64)>>);

impl Stamp {
    /// Looks at the files.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let paths = paths(settings).into_iter();
        Stamp(
            paths
                .map(|path| {
                    let metadata = std::fs::metadata(path).ok()?;
                    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
                })
                .collect(),
        )
    }
}

/// Every file that the settings name.
fn paths(settings: &Settings) -> Vec<&Path> {
    let (tls, security, jwt) = (&settings.tls, &settings.security, &settings.jwt);
    let http = &settings.http;
    [
        &tls.certificate_file,
        &tls.key_file,
        &tls.client_ca_file,
        &tls.revoked_file,
        &security.password_file,
        &security.acl_file,
        &jwt.secret_file,
        &jwt.public_key_file,
        &jwt.jwks_file,
        &http.keys_file,
        &http.token_secret_file,
        &settings.quotas.file,
    ]
    .into_iter()
    .filter(|path| !path.is_empty())
    .map(Path::new)
    .collect()
}

/// Reads a text, if a file is named.
fn read_text<T>(
    key: &'static str,
    path: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, FileError> {
    read_bytes(key, path, |bytes| {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
        parse(text)
    })
}

fn read_bytes<T, E: ToString>(
    key: &'static str,
    path: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<Option<T>, FileError> {
    if path.is_empty() {
        return Ok(None);
    }
    let path = Path::new(path);
    let wrong = |fault: String| FileError::Access { key, path: path.to_owned(), fault };
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > FILE_MAXIMUM_BYTES {
        return Err(wrong(format!("{} bytes are too many", metadata.len())));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    parse(&bytes).map(Some).map_err(|error| wrong(error.to_string()))
}
