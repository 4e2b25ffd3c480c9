//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as an enhanced method: a password proves itself without being
//! sent, and the broker proves that it knows it.
//!
//! Names and passwords are taken as their bytes: what SASLprep would change is not changed.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq as _;

use super::hash::random;

/// The name of the method.
pub(crate) const METHOD: &str = "SCRAM-SHA-256";

/// Iterations of a new verifier. More would burden small clients, fewer make the file easier to
/// attack.
const ITERATIONS: u32 = 100_000;
const ITERATIONS_LEAST: u32 = 4_096;
const ITERATIONS_MAXIMUM: u32 = 10_000_000;
const HASH_BYTES: usize = digest::SHA256_OUTPUT_LEN;
/// Longest message of a client; names, nonces and proofs are much shorter.
const MESSAGE_MAXIMUM_BYTES: usize = 4_096;

/// What the broker must know of a password to check a proof of it. The password cannot be computed
/// from it, only guessed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: [u8; HASH_BYTES],
    server_key: [u8; HASH_BYTES],
}

impl Verifier {
    /// Derives a verifier with a fresh salt. Takes tens of milliseconds.
    pub(crate) fn new(password: &[u8]) -> Self {
        let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
        Verifier::derive(password, iterations, random::<16>().to_vec())
    }

    fn derive(password: &[u8], iterations: NonZeroU32, salt: Vec<u8>) -> Self {
        let mut salted = [0; HASH_BYTES];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let server_key = mac(&salted, b"Server Key");
        Verifier { iterations, salt, stored_key: sha256(&client_key), server_key }
    }

    /// Reads what [`Verifier`]'s `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(METHOD)?.strip_prefix('$')?;
        let (head, keys) = rest.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|iterations: &NonZeroU32| {
            (ITERATIONS_LEAST..=ITERATIONS_MAXIMUM).contains(&iterations.get())
        })?;
        let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        Some(Verifier {
            iterations,
            salt: STANDARD.decode(salt).ok().filter(|salt| (8..=64).contains(&salt.len()))?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |bytes: &[u8]| STANDARD.encode(bytes);
        let (iterations, salt) = (self.iterations, encode(&self.salt));
        let (stored, server) = (encode(&self.stored_key), encode(&self.server_key));
        write!(f, "{METHOD}${iterations}:{salt}${stored}:{server}")
    }
}

/// A verifier is nothing for a log.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// An exchange that has begun: the client has named itself and is to prove it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Whom the client says it is.
    pub(crate) user_name: String,
    verifier: Verifier,
    /// Whether there is such a user; if not, no proof is right.
    known: bool,
    /// The client's first message without its header, and our answer to it.
    transcript: String,
    header: String,
    nonce: String,
}

impl Exchange {
    /// Takes the client's first message, and gives our answer. `verifier_of` finds a user's
    /// verifier; for others one is made up, so that names cannot be found out.
    pub(crate) fn begin(
        message: &[u8],
        verifier_of: impl FnOnce(&str) -> Option<Verifier>,
    ) -> Option<(Self, String)> {
        let first = parse_first(message)?;
        let found = verifier_of(&first.user_name);
        let known = found.is_some();
        let verifier = found.unwrap_or_else(|| Verifier {
            iterations: NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN),
            salt: made_up_salt(&first.user_name),
            stored_key: random(),
            server_key: random(),
        });
        let nonce = format!("{}{}", first.nonce, STANDARD.encode(random::<18>()));
        let salt = STANDARD.encode(&verifier.salt);
        let answer = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let transcript = format!("{},{answer}", first.bare);
        let (user_name, header) = (first.user_name, first.header);
        Some((Exchange { user_name, verifier, known, transcript, header, nonce }, answer))
    }

    /// Takes the client's proof. If it is right, gives our own proof.
    pub(crate) fn finish(&self, message: &[u8]) -> Option<String> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let header = fields.next()?.strip_prefix("c=")?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        if STANDARD.decode(header).ok()? != self.header.as_bytes() || nonce != self.nonce {
            return None;
        }
        let proof: [u8; HASH_BYTES] = STANDARD.decode(proof).ok()?.try_into().ok()?;
        let transcript = format!("{},{without_proof}", self.transcript);
        let signature = mac(&self.verifier.stored_key, transcript.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(byte, other)| *byte ^= other);
        let stored_key = sha256(&client_key);
        let right = bool::from(stored_key.ct_eq(&self.verifier.stored_key));
        let ours = mac(&self.verifier.server_key, transcript.as_bytes());
        (right && self.known).then(|| format!("v={}", STANDARD.encode(ours)))
    }
}

struct First {
    header: String,
    bare: String,
    user_name: String,
    nonce: String,
}

fn parse_first(message: &[u8]) -> Option<First> {
    let message = text(message)?;
    // No channel binding, and nobody speaks for somebody else.
    let header = ["n,,", "y,,"].into_iter().find(|header| message.starts_with(header))?;
    let bare = &message[header.len()..];
    let mut fields = bare.split(',');
    let name = fields.next()?.strip_prefix("n=")?;
    let nonce = fields.next()?.strip_prefix("r=")?;
    let printable = |c: char| matches!(c, '\x21'..='\x7e');
    if name.is_empty() || nonce.is_empty() || !nonce.chars().all(printable) {
        return None;
    }
    Some(First {
        header: header.to_owned(),
        bare: bare.to_owned(),
        user_name: unescape(name)?,
        nonce: nonce.to_owned(),
    })
}

/// `=2C` is a comma and `=3D` an equals sign; no other `=` may be there.
fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut whole = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        whole.push(sign);
        whole.push_str(rest);
    }
    Some(whole)
}

fn text(message: &[u8]) -> Option<&str> {
    let message = std::str::from_utf8(message).ok()?;
    (message.len() <= MESSAGE_MAXIMUM_BYTES).then_some(message)
}

/// The same salt for the same unknown name, for as long as the process runs.
fn made_up_salt(user_name: &str) -> Vec<u8> {
    static SECRET: std::sync::OnceLock<[u8; HASH_BYTES]> = std::sync::OnceLock::new();
    let secret = SECRET.get_or_init(random);
    mac(secret, user_name.as_bytes())[..16].to_vec()
}

fn mac(key: &[u8], message: &[u8]) -> [u8; HASH_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut bytes = [0; HASH_BYTES];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

fn sha256(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let hash = digest::digest(&digest::SHA256, bytes);
    let mut bytes = [0; HASH_BYTES];
    bytes.copy_from_slice(hash.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677: its nonce of the server is put in.
    #[test]
    fn the_example_of_the_rfc_holds() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let iterations = NonZeroU32::new(4096).expect("not zero");
        let verifier = Verifier::derive(b"pencil", iterations, salt);
        assert_eq!(Verifier::parse(&verifier.to_string()), Some(verifier.clone()));
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let (mut exchange, answer) =
            Exchange::begin(first, |name| (name == "user").then_some(verifier)).expect("a message");
        let ours = exchange.nonce.clone();
        let theirs = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        assert_eq!(answer, format!("r={ours},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
        exchange.transcript = exchange.transcript.replace(&ours, theirs);
        exchange.nonce = theirs.to_owned();
        let proof = "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let last = format!("c=biws,r={theirs},{proof}");
        let expected = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(exchange.finish(last.as_bytes()).as_deref(), Some(expected));
        for wrong in [
            last.replace("dHz", "dHy"),
            last.replace("biws", "eSws"),
            last.replace("%hv", "%hw"),
            last.replace(",p=", ",q="),
            String::new(),
        ] {
            assert_eq!(exchange.finish(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn unknown_users_are_answered_like_known_ones_and_never_let_in() {
        let salt_of = |answer: &str| answer.split(',').nth(1).map(str::to_owned);
        let begin = || Exchange::begin(b"n,,n=eve,r=abc", |_| None).expect("a message");
        let ((_, one), (_, other)) = (begin(), begin());
        assert_eq!(salt_of(&one), salt_of(&other));
        assert!(one.ends_with(",i=100000"));
    }

    #[test]
    fn messages_that_are_none_are_refused() {
        for wrong in [
            &b""[..],
            b"n,,",
            b"p=tls-unique,,n=a,r=b",
            b"n,a=admin,n=a,r=b",
            b"n,,n=,r=b",
            b"n,,n=a",
            b"n,,n=a=2,r=b",
            b"n,,m=x,n=a,r=b",
            b"n,,n=a,r=b c",
            b"n,,n=\xff,r=b",
        ] {
            assert!(Exchange::begin(wrong, |_| None).is_none(), "{wrong:?}");
        }
        let long = format!("n,,n=a,r={}", "x".repeat(MESSAGE_MAXIMUM_BYTES));
        assert!(Exchange::begin(long.as_bytes(), |_| None).is_none());
        assert_eq!(unescape("a=2Cb=3D").as_deref(), Some("a,b="));
    }
}
