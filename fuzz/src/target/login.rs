//! Tokens and exchanges by which clients say who they are: whoever has no token signed with the
//! secret stays out, and no bytes do harm.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use arbitrary::{Arbitrary, Unstructured};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::hmac;
use signalhouse::access::texts::Texts;
use signalhouse::access::{Access, Bounds, Known};
use signalhouse::seams::{Authenticate as _, Caller};
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::wire::types::{Text, Version};
use signalhouse_core::{ConnectionId, ExchangeStep, Question, Time};

use crate::surroundings::{Stopped, run as run_future};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const USERS: &str = "ann:$6$c2FsdHNhbHQ=$\
    s1sdcH3ROrHKo+H6JUaOBOtWCCRIh9nb2DXM6FYdwP2W3Hr9qwUPXBXWtrV2RyJvWzbHR8tvyzv1pPEd8rWJvA==\
    :SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
    $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";
const NOW: Time = Time::from_ms(1_800_000_000_000);

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// A token with these claims, signed if the first says so.
    Token {
        is_signed: bool,
        as_password: bool,
        header: u8,
        claims: &'a str,
    },
    /// Anything in place of a token.
    Junk {
        as_password: bool,
        bytes: &'a [u8],
    },
    /// A message of SCRAM; the second part stands where our nonce is in the answer.
    Scram {
        begins: bool,
        message: &'a str,
        answers: bool,
        behind: &'a str,
    },
    Forget,
}

/// Lets one connection try to log in, step by step.
///
/// # Panics
/// If it is let in without a signature.
pub fn run(data: &[u8]) {
    let Ok(steps) = <Vec<Step<'_>>>::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let texts = Texts { passwords: Some(USERS), token_secret: Some(SECRET), ..Texts::default() };
    let known = Known::from_texts(&texts).expect("the texts here are right");
    let bounds = Bounds { password_threads: 1, waiting_logins: 1 };
    let access = Rc::new(Access::new(Stopped(NOW), known, bounds));
    let connection = ConnectionId { index: 0, generation: 1 };
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let caller = Caller { connection, address, certificate: None };
    let mut nonce = String::new();
    for step in steps {
        let (question, may_pass) = match &step {
            Step::Token { is_signed, as_password, header, claims } => {
                let (token, is_right) = token(*header, claims, *is_signed);
                (show_token(*as_password, token.into_bytes()), is_right)
            }
            Step::Junk { as_password, bytes } => (show_token(*as_password, bytes.to_vec()), false),
            Step::Scram { begins, message, answers, behind } => {
                let ours = if *answers { nonce.as_str() } else { "" };
                let data = format!("{message}{ours}{behind}").into_bytes();
                let step = if *begins { ExchangeStep::Connect } else { ExchangeStep::Continue };
                (exchange("SCRAM-SHA-256", data, step), false)
            }
            Step::Forget => {
                access.forget(connection);
                continue;
            }
        };
        let Some(question) = question else { continue };
        match run_future(Rc::clone(&access).answer(caller.clone(), question)) {
            AuthOutcome::Accepted { identity, .. } => {
                assert!(may_pass, "let in by {step:?}");
                assert!(identity.is_some_and(|name| !name.is_empty()), "nobody is let in");
            }
            AuthOutcome::Continue { data } => {
                let answer = data.unwrap_or_default();
                let answer = String::from_utf8_lossy(&answer).into_owned();
                let found = answer.strip_prefix("r=").and_then(|rest| rest.split(',').next());
                nonce = found.expect("the answer begins with the nonce").to_owned();
            }
            AuthOutcome::Refused { reason } => assert!(reason.is_error()),
        }
    }
}

/// A token, and whether it may let somebody in.
fn token(header: u8, claims: &str, is_signed: bool) -> (String, bool) {
    let (header, is_ours) = [
        (r#"{"alg":"HS256","typ":"JWT"}"#, true),
        (r#"{"alg":"none"}"#, false),
        (r#"{"alg":"HS256","crit":["exp"]}"#, false),
        (r#"{"alg":"RS256"}"#, false),
        (r#"{"alg":"HS256","kid":"x"}"#, true),
    ][usize::from(header % 5)];
    let body = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = if is_signed { SECRET } else { b"fedcba9876543210fedcba9876543210" };
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, body.as_bytes()));
    // Without these there is neither an end nor a name.
    let is_whole = claims.contains("exp") && claims.contains("sub") || claims.contains('\\');
    (format!("{body}.{signature}"), is_signed && is_ours && is_whole)
}

fn show_token(as_password: bool, token: Vec<u8>) -> Option<Question> {
    if !as_password {
        return exchange("JWT", token, ExchangeStep::Connect);
    }
    // Any other password is hashed, on another thread.
    let is_token =
        token.starts_with(b"eyJ") && token.iter().filter(|byte| **byte == b'.').count() == 2;
    is_token.then(|| Question::Credentials {
        client_id: text("c"),
        version: Version::V5,
        user_name: None,
        password: Some(Bytes::from(token)),
    })
}

fn exchange(method: &str, data: Vec<u8>, step: ExchangeStep) -> Option<Question> {
    let data = Some(Bytes::from(data));
    Some(Question::Exchange { client_id: text("c"), method: text(method), data, step })
}

fn text(text: &str) -> Text {
    Text::try_from(text).expect("the texts here are well-formed")
}
