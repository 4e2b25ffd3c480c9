//! What is known of clients from texts instead of files: for programs that keep theirs elsewhere,
//! and for those who test the parsers.

use std::sync::Arc;

use super::Known;
use super::passwords::Passwords;
use super::rules::RuleFile;
use super::token::Tokens;

/// The texts; `None` for those that there are not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Texts<'a> {
    /// A password file.
    pub passwords: Option<&'a str>,
    /// A file of rules, of either format.
    pub rules: Option<&'a str>,
    /// The secret that signs tokens, at least 32 bytes; their claim `sub` says who bears them.
    pub token_secret: Option<&'a [u8]>,
    /// Public keys of those who sign tokens, in PEM.
    pub token_key: Option<&'a [u8]>,
    /// The same in a JWKS document.
    pub token_keys: Option<&'a [u8]>,
}

impl Known {
    /// Reads the texts. Whoever shows nothing of himself comes in anonymously if there is
    /// nothing to be known by.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn from_texts(texts: &Texts<'_>) -> Result<Self, String> {
        let passwords = texts.passwords.map(Passwords::parse).transpose();
        let rules = texts.rules.map(RuleFile::parse).transpose();
        let mut tokens = Tokens::default();
        "sub".clone_into(&mut tokens.user_claim);
        if let Some(secret) = texts.token_secret {
            tokens.add_secret(secret).map_err(|error| error.to_string())?;
        }
        if let Some(pem) = texts.token_key {
            tokens.add_pem(pem).map_err(|error| error.to_string())?;
        }
        if let Some(json) = texts.token_keys {
            tokens.add_jwks(json).map_err(|error| error.to_string())?;
        }
        let has_tokens = [texts.token_secret, texts.token_key, texts.token_keys];
        let asks = texts.passwords.is_some() || has_tokens.iter().any(Option::is_some);
        Ok(Known {
            passwords: passwords.map_err(|error| error.to_string())?.map(Arc::new),
            tokens: Arc::new(tokens),
            authority: None,
            rules: rules.map_err(|error| error.to_string())?.map(Arc::new),
            asks,
            allow_anonymous: !asks,
        })
    }

    /// The password file, as it would be written again; empty without one.
    #[must_use]
    pub fn passwords_text(&self) -> String {
        self.passwords.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// The line, from 1, of the rule at this place; 0 for what the format implies.
    #[must_use]
    pub fn rule_line(&self, place: usize) -> Option<usize> {
        self.rules.as_ref()?.lines.get(place).copied()
    }
}
