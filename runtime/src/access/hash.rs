//! Hashes of passwords: the formats that are read, and the one that is written.

use std::fmt;
use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, pbkdf2};
use subtle::ConstantTimeEq as _;

/// What a new hash costs: 19 MiB and two passes, as OWASP advises for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Bounds of what a file may ask for, so that one line cannot stall the logins of all.
const MEMORY_MAXIMUM_KIB: u32 = 1024 * 1024;
const PASSES_MAXIMUM: u32 = 64;
const LANES_MAXIMUM: u32 = 16;
const ITERATIONS_MAXIMUM: u32 = 10_000_000;

/// The hash of one password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PasswordHash {
    /// Mosquitto's `$6$`: SHA-512 of the password and a salt, once.
    Sha512 { salt: Vec<u8>, hash: Vec<u8> },
    /// Mosquitto's `$7$`: PBKDF2 with HMAC-SHA-512.
    Pbkdf2 { iterations: NonZeroU32, salt: Vec<u8>, hash: Vec<u8> },
    /// `$argon2id$` and its sisters, as a PHC string.
    Argon2 { algorithm: Algorithm, version: Version, params: Params, salt: Vec<u8>, hash: Vec<u8> },
}

/// Why a text is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// It is something else, perhaps the password itself.
    #[error("this is no hash; it begins with $argon2id$, $6$ or $7$")]
    UnknownFormat,
    /// A part is missing or wrong.
    #[error("the hash is damaged")]
    Damaged,
    /// It would take more than a login may.
    #[error("the hash asks for more memory or time than a login may take")]
    TooCostly,
}

impl PasswordHash {
    /// Hashes `password` with a fresh salt. Takes tens of milliseconds.
    pub(crate) fn new(password: &[u8]) -> Self {
        let salt = random::<SALT_BYTES>().to_vec();
        // The constants are within argon2's bounds.
        let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).unwrap_or_default();
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let mut hash = vec![0; HASH_BYTES];
        let argon2 = Argon2::new(algorithm, version, params.clone());
        let hashed = argon2.hash_password_into(password, &salt, &mut hash);
        assert!(hashed.is_ok(), "salt and output have allowed lengths");
        PasswordHash::Argon2 { algorithm, version, params, salt, hash }
    }

    /// Reads a hash.
    pub(crate) fn parse(text: &str) -> Result<Self, HashError> {
        let mut parts = text.strip_prefix('$').ok_or(HashError::UnknownFormat)?.split('$');
        let parsed = match parts.next() {
            Some("6") => {
                let (salt, hash) = (base64(parts.next())?, base64(parts.next())?);
                PasswordHash::Sha512 { salt, hash }
            }
            Some("7") => {
                let iterations = number(parts.next())?;
                let iterations = NonZeroU32::new(iterations).ok_or(HashError::Damaged)?;
                if iterations.get() > ITERATIONS_MAXIMUM {
                    return Err(HashError::TooCostly);
                }
                let (salt, hash) = (base64(parts.next())?, base64(parts.next())?);
                PasswordHash::Pbkdf2 { iterations, salt, hash }
            }
            Some(name) if name.starts_with("argon2") => parse_argon2(name, &mut parts)?,
            Some(_) | None => return Err(HashError::UnknownFormat),
        };
        let whole = match &parsed {
            PasswordHash::Sha512 { hash, .. } | PasswordHash::Pbkdf2 { hash, .. } => {
                hash.len() == digest::SHA512_OUTPUT_LEN
            }
            PasswordHash::Argon2 { salt, hash, .. } => {
                (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len())
            }
        };
        if whole && parts.next().is_none() { Ok(parsed) } else { Err(HashError::Damaged) }
    }

    /// Whether it is the hash of `password`. May take long; belongs off the broker's thread.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        match self {
            PasswordHash::Sha512 { salt, hash } => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(salt);
                let computed = context.finish();
                bool::from(computed.as_ref().ct_eq(hash))
            }
            PasswordHash::Pbkdf2 { iterations, salt, hash } => {
                let algorithm = pbkdf2::PBKDF2_HMAC_SHA512;
                pbkdf2::verify(algorithm, *iterations, salt, password, hash).is_ok()
            }
            PasswordHash::Argon2 { algorithm, version, params, salt, hash } => {
                let mut computed = vec![0; hash.len()];
                Argon2::new(*algorithm, *version, params.clone())
                    .hash_password_into(password, salt, &mut computed)
                    .is_ok()
                    && bool::from(computed.ct_eq(hash))
            }
        }
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordHash::Sha512 { salt, hash } => {
                write!(f, "$6${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            PasswordHash::Pbkdf2 { iterations, salt, hash } => {
                write!(f, "$7${iterations}${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            PasswordHash::Argon2 { algorithm, version, params, salt, hash } => write!(
                f,
                "${algorithm}$v={}$m={},t={},p={}${}${}",
                u32::from(*version),
                params.m_cost(),
                params.t_cost(),
                params.p_cost(),
                STANDARD_NO_PAD.encode(salt),
                STANDARD_NO_PAD.encode(hash)
            ),
        }
    }
}

/// A hash is nothing for a log.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    assert!(filled.is_ok(), "the operating system has randomness");
    bytes
}

fn parse_argon2<'a>(
    name: &str,
    parts: &mut impl Iterator<Item = &'a str>,
) -> Result<PasswordHash, HashError> {
    let algorithm = match name {
        "argon2id" => Algorithm::Argon2id,
        "argon2i" => Algorithm::Argon2i,
        "argon2d" => Algorithm::Argon2d,
        _ => return Err(HashError::UnknownFormat),
    };
    let version = match parts.next().and_then(|part| part.strip_prefix("v=")) {
        Some("19") => Version::V0x13,
        Some("16") => Version::V0x10,
        Some(_) | None => return Err(HashError::Damaged),
    };
    let (mut memory_kib, mut passes, mut lanes) = (0, 0, 0);
    for part in parts.next().ok_or(HashError::Damaged)?.split(',') {
        let (name, value) = part.split_once('=').ok_or(HashError::Damaged)?;
        let value = number(Some(value))?;
        match name {
            "m" => memory_kib = value,
            "t" => passes = value,
            "p" => lanes = value,
            _ => return Err(HashError::Damaged),
        }
    }
    if memory_kib > MEMORY_MAXIMUM_KIB || passes > PASSES_MAXIMUM || lanes > LANES_MAXIMUM {
        return Err(HashError::TooCostly);
    }
    let (salt, hash) = (base64(parts.next())?, base64(parts.next())?);
    let params = Params::new(memory_kib, passes, lanes, Some(hash.len()));
    let params = params.map_err(|_| HashError::Damaged)?;
    Ok(PasswordHash::Argon2 { algorithm, version, params, salt, hash })
}

fn number(part: Option<&str>) -> Result<u32, HashError> {
    part.and_then(|part| part.parse().ok()).ok_or(HashError::Damaged)
}

/// With or without padding, as the formats differ.
fn base64(part: Option<&str>) -> Result<Vec<u8>, HashError> {
    let text = part.ok_or(HashError::Damaged)?.trim_end_matches('=');
    STANDARD_NO_PAD.decode(text).map_err(|_| HashError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `mosquitto_passwd` 2.0.11 and argon2's own command wrote these, of `secret`.
    #[test]
    fn hashes_that_other_programs_wrote_hold() {
        for text in [
            "$6$zrqi+3LSR+Bc/y9W$QhqK6DcQJlIs4CkB+mmIQJUNVjHMnsnjPV6wA+ugjbkhXN7Oxabkq5lKMR1RIIJA1ZxsZgSCeAm0\
             WXpFYmSTVQ==",
            "$7$101$q3wBraWR/o1sDCLG$xMz9N95nKT2esHuNBVC7eKM680dQPUQW8FhqctUypdzVMZyWNoKrz9SxffWYhXUyLjD+pl/W\
             GM4Z0b1YyxeQmQ==",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZSBzYWx0IGhlcmU$GAMoMODQzuMmsGzLUQpZg2LpMTprUDQzqeuTM4KRWUw",
        ] {
            let hash = PasswordHash::parse(text).expect("a hash");
            assert!(hash.verify(b"secret") && !hash.verify(b"secrets"), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_holds_for_its_password_alone() {
        let hash = PasswordHash::new(b"secret");
        let text = hash.to_string();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let read = PasswordHash::parse(&text).expect("our own text");
        assert_eq!(read, hash);
        assert!(read.verify(b"secret"));
        assert!(!read.verify(b"Secret") && !read.verify(b""));
        assert_ne!(PasswordHash::new(b"secret").to_string(), text, "salts differ");
    }

    #[test]
    fn damaged_and_costly_hashes_are_refused() {
        for (text, error) in [
            ("", HashError::UnknownFormat),
            ("secret", HashError::UnknownFormat),
            ("$5$a$b", HashError::UnknownFormat),
            ("$argon2x$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", HashError::UnknownFormat),
            ("$6$c2FsdA==", HashError::Damaged),
            ("$6$c2FsdA==$c2hvcnQ=", HashError::Damaged),
            ("$6$!$c2hvcnQ=", HashError::Damaged),
            ("$7$0$c2FsdA==$c2hvcnQ=", HashError::Damaged),
            ("$7$99999999$c2FsdA==$c2hvcnQ=", HashError::TooCostly),
            ("$argon2id$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", HashError::Damaged),
            ("$argon2id$v=19$m=8,t=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", HashError::Damaged),
            ("$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$aGFzaA", HashError::TooCostly),
            ("$argon2id$v=19$m=8,t=4000000000,p=1$c2FsdHNhbHQ$aGFzaA", HashError::TooCostly),
        ] {
            assert_eq!(PasswordHash::parse(text), Err(error), "{text}");
        }
    }
}
