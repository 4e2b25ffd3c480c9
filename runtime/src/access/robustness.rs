//! Every reader of what strangers or operators write, given nearly right and quite wrong input: it may
//! refuse, and must neither panic nor take what it then writes differently.

use proptest::prelude::*;
use signalhouse_core::Time;

use super::hash::PasswordHash;
use super::passwords::Passwords;
use super::rules::RuleFile;
use super::scram::{Exchange, Verifier};
use super::token::Tokens;

/// Text made of the words that a format knows, and of others.
fn words(known: &'static [&'static str]) -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => prop::sample::select(known).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
    ];
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rules(text in words(&[
        "allow ", "deny ", "everyone ", "users ", "user ", "client ", "claim ", "ann ", "all ", "read ",
        "publish,", "subscribe ", "a/", "#", "+", "{username}", "{claim.", "}", "%u", "\n", "topic ",
        "pattern ", "write ", "$share/", " ", "\t", "\"", "\u{0}",
    ])) {
        if let Ok(file) = RuleFile::parse(&text) {
            prop_assert_eq!(file.lines.len(), file.permissions.rules().len());
            for line in file.lines {
                prop_assert!(line <= text.lines().count());
            }
        }
    }

    #[test]
    fn passwords(text in words(&[
        "ann", "bob", ":", "$6$", "$7$", "$argon2id$", "v=19$", "m=8,t=1,p=1$", "c2FsdHNhbHQ=", "$",
        "c2FsdHNhbHRzYWx0c2FsdA", "SCRAM-SHA-256$4096:", "1$", "#", "\n", "\r\n", "\u{0}",
    ])) {
        if let Ok(passwords) = Passwords::parse(&text) {
            let written = passwords.to_string();
            prop_assert_eq!(Passwords::parse(&written).map(|again| again.to_string()), Ok(written));
        }
        if let Ok(hash) = PasswordHash::parse(&text) {
            prop_assert_eq!(PasswordHash::parse(&hash.to_string()), Ok(hash));
        }
        if let Some(verifier) = Verifier::parse(&text) {
            prop_assert_eq!(Verifier::parse(&verifier.to_string()), Some(verifier));
        }
    }

    #[test]
    fn tokens(token in words(&[
        "eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9", ".", "eyJzdWIiOiJhbm4ifQ", "=", "-", "_", "e30",
    ]), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut tokens = Tokens::default();
        prop_assert_eq!(tokens.add_secret(&[7; 32]), Ok(()));
        prop_assert!(tokens.check(Time::ZERO, token.as_bytes()).is_err());
        prop_assert!(tokens.check(Time::ZERO, &bytes).is_err());
        prop_assert!(tokens.add_jwks(&bytes).is_err() && tokens.add_pem(&bytes).is_err());
    }

    #[test]
    fn scram(first in words(&[
        "n,,", "y,,", "n=", "ann", "r=", "abc", ",", "=2C", "=3D", "a=", "m=", "p=",
    ]), last in words(&["c=", "biws", "r=", "abc", ",p=", "AAAA", ",", "="])) {
        if let Some((exchange, answer)) = Exchange::begin(first.as_bytes(), |_| None) {
            prop_assert!(answer.starts_with("r="));
            prop_assert_eq!(exchange.finish(last.as_bytes()), None);
        }
    }
}
