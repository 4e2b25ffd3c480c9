//! What operators write into files and strangers into CONNECT and AUTH, read behind plain signatures:
//! the way in for fuzz targets. [`websocket::judge`](crate::transport::websocket::judge) and
//! [`http::read`](crate::http::read) are the others.

use signalhouse_core::Time;

use super::passwords::Passwords;
use super::rules::RuleFile;
use super::scram::Exchange;
use super::token::Tokens;

/// Reads a password file. Gives it as it would be written again.
///
/// # Errors
/// The line, and what is wrong with it.
pub fn password_file(text: &str) -> Result<String, String> {
    let passwords = Passwords::parse(text).map_err(|error| error.to_string())?;
    Ok(passwords.to_string())
}

/// Reads a file of rules, in our format or Mosquitto's. Gives the line of each rule.
///
/// # Errors
/// The line, and what is wrong with it.
pub fn rule_file(text: &str) -> Result<Vec<usize>, String> {
    RuleFile::parse(text).map(|file| file.lines).map_err(|error| error.to_string())
}

/// Judges a token at the moment `now` by a secret, a public key in PEM and a JWKS document; what of
/// these makes no sense is left out. Gives its bearer's name.
///
/// # Errors
/// Why it lets nobody in.
pub fn token(
    now: Time,
    secret: &[u8],
    pem: &[u8],
    jwks: &[u8],
    token: &[u8],
) -> Result<String, String> {
    let mut tokens = Tokens::default();
    "sub".clone_into(&mut tokens.user_claim);
    let _unusable = (tokens.add_secret(secret), tokens.add_pem(pem), tokens.add_jwks(jwks));
    let bearer = tokens.check(now, token).map_err(|error| error.to_string())?;
    Ok(bearer.identity.as_str().to_owned())
}

/// Takes the two messages of a client of SCRAM whom nobody knows. Gives the answer to the first,
/// and whether the second was taken for a proof, which it never may be.
#[must_use]
pub fn scram(first: &[u8], last: &[u8]) -> Option<(String, bool)> {
    let (exchange, answer) = Exchange::begin(first, |_| None)?;
    Some((answer, exchange.finish(last).is_some()))
}
