//! What the `[http]` section means: the server's options, its keys, and what must not be.

use std::net::SocketAddr;
use std::path::Path;

use super::problem::{Place, Problem};
use super::{Http, is_loopback};
use crate::http::Options;
use crate::http::keys::{KeyFile, Keys};

/// Shortest secret that tokens may be signed with, in bytes.
const SECRET_BYTES: usize = 32;

/// What no single key can be wrong about.
pub(super) fn check(http: &Http, place: impl Fn(&str) -> Place) -> Result<(), Problem> {
    let problem = |name: &str, fault: String, mend: &str| {
        let key = format!("http.{name}");
        Problem::new(place(&key), Some(key), fault, mend)
    };
    let keys = read_keys(http).map_err(|fault| {
        problem("keys_file", fault, "`signalhouse key list` shows what is in it")
    })?;
    let mut open = http.addresses().into_iter().filter(|address| !is_loopback(address.ip()));
    if let Some(address) = open.next()
        && keys.is_empty()
    {
        let fault = format!("{address} is open to the network, and nobody has a key");
        let mend = "make keys with `signalhouse key add` and name their file in http.keys_file, or \
                    listen on 127.0.0.1";
        return Err(problem("listen", fault, mend));
    }
    let response = &http.response_topics;
    if response.is_empty() || response.contains(['+', '#']) || response.starts_with('$') {
        let fault = format!("\"{response}\" cannot be the beginning of a topic");
        return Err(problem("response_topics", fault, "write levels such as \"responses\""));
    }
    check_secret(http).map_err(|fault| {
        let mend = "write at least 32 bytes into it, such as those of `openssl rand -base64 32`";
        problem("token_secret_file", fault, mend)
    })?;
    Ok(())
}

fn read_keys(http: &Http) -> Result<Keys, String> {
    if http.keys_file.is_empty() {
        return Ok(Keys::default());
    }
    let read = KeyFile::read(Path::new(&http.keys_file)).and_then(|file| Keys::new(&file));
    read.map_err(|error| format!("{}: {error}", http.keys_file))
}

/// Whether tokens can be signed with the secret, if there is one.
fn check_secret(http: &Http) -> Result<(), String> {
    let file = &http.token_secret_file;
    if file.is_empty() {
        return Ok(());
    }
    let secret = std::fs::read(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
    let secret = secret.trim_ascii_end();
    if secret.len() < SECRET_BYTES {
        return Err(format!("{file}: {} bytes are too short to be safe", secret.len()));
    }
    Ok(())
}

impl Http {
    /// Where to listen. The loader has checked the addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listen.iter().filter_map(|address| address.parse().ok()).collect()
    }

    /// Whether nobody said where to listen, so that a port in use is no reason not to start.
    #[must_use]
    pub fn listens_by_default(&self) -> bool {
        self.listen == Http::default().listen
    }

    /// How the server is to behave.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            connections: self.connections,
            strangers_per_address: self.strangers_per_address,
            header_timeout_ms: self.header_timeout_ms,
            body_timeout_ms: self.body_timeout_ms,
            write_stall_timeout_ms: self.write_stall_timeout_ms,
            header_bytes: self.header_bytes as usize,
            body_bytes: self.body_bytes as usize,
            loopback_without_key: self.loopback_without_key,
            health_without_key: self.health_without_key,
            cors_origins: self.cors_origins.clone(),
            session_expiry_s: self.session_expiry_s,
            response_topics: self.response_topics.clone(),
        }
    }
}
