//! The password file: `USER:HASH` on each line, and behind another colon what SCRAM needs.
//!
//! Mosquitto's file is read as it is. Lines are kept in order, with those that say nothing, so that
//! a changed file differs only where it was changed.

use std::collections::BTreeMap;
use std::fmt;

use super::hash::{HashError, PasswordHash};
use super::scram::Verifier;

/// Longest user name, in bytes.
const NAME_MAXIMUM_BYTES: usize = 1_024;

/// What is known of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Of the password; `None` keeps everybody out.
    pub(crate) hash: Option<PasswordHash>,
    pub(crate) verifier: Option<Verifier>,
}

/// A password file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passwords {
    lines: Vec<Line>,
    places: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// Empty, or a remark.
    Other(String),
    User(String, Box<User>),
}

/// What is wrong with a password file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub(crate) struct PasswordsError {
    line: usize,
    fault: PasswordFault,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasswordFault {
    #[error("this is not USER:HASH; `signalhouse passwd` writes such lines")]
    NoColon,
    #[error("the user name {0}")]
    Name(NameError),
    #[error("user \"{0}\" is there twice")]
    Twice(String),
    #[error("{0}; `signalhouse passwd` writes one")]
    Hash(HashError),
    #[error("the SCRAM verifier is damaged; `signalhouse passwd` writes one")]
    Verifier,
}

/// Why a name cannot be a user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("is empty")]
    Empty,
    #[error("is longer than 1024 bytes")]
    TooLong,
    #[error("has a colon or a control character")]
    Character,
    #[error("begins with #, which begins a remark")]
    Remark,
}

impl Passwords {
    /// Reads a file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, PasswordsError> {
        let mut passwords = Passwords::default();
        for (place, line) in text.lines().enumerate() {
            let wrong = |fault| PasswordsError { line: place + 1, fault };
            if line.trim().is_empty() || line.starts_with('#') {
                passwords.lines.push(Line::Other(line.trim_end().to_owned()));
                continue;
            }
            let (name, user) = parse_line(line.trim_end()).map_err(wrong)?;
            if passwords.places.insert(name.clone(), place).is_some() {
                return Err(wrong(PasswordFault::Twice(name)));
            }
            passwords.lines.push(Line::User(name, Box::new(user)));
        }
        Ok(passwords)
    }

    /// Adds a user, or replaces one. Says whether there was one.
    pub(crate) fn set(&mut self, name: &str, user: User) -> bool {
        let line = Line::User(name.to_owned(), Box::new(user));
        if let Some(place) = self.places.get(name) {
            self.lines[*place] = line;
            return true;
        }
        self.places.insert(name.to_owned(), self.lines.len());
        self.lines.push(line);
        false
    }

    /// Removes a user. Says whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let Some(place) = self.places.remove(name) else { return false };
        self.lines.remove(place);
        self.places.values_mut().filter(|other| **other > place).for_each(|other| *other -= 1);
        true
    }

    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        match self.lines.get(*self.places.get(name)?)? {
            Line::User(_, user) => Some(user),
            Line::Other(_) => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}

impl fmt::Display for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Other(text) => writeln!(f, "{text}")?,
                Line::User(name, user) => {
                    write!(f, "{name}:")?;
                    if let Some(hash) = &user.hash {
                        write!(f, "{hash}")?;
                    }
                    if let Some(verifier) = &user.verifier {
                        write!(f, ":{verifier}")?;
                    }
                    writeln!(f)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether `name` can be a user's.
pub(crate) fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name.len() > NAME_MAXIMUM_BYTES {
        Err(NameError::TooLong)
    } else if name.contains(|c: char| c == ':' || c.is_control()) {
        Err(NameError::Character)
    } else if name.starts_with('#') {
        Err(NameError::Remark)
    } else {
        Ok(())
    }
}

fn parse_line(line: &str) -> Result<(String, User), PasswordFault> {
    let (name, rest) = line.split_once(':').ok_or(PasswordFault::NoColon)?;
    check_name(name).map_err(PasswordFault::Name)?;
    let (hash, verifier) = match rest.split_once(':') {
        Some((hash, verifier)) => (hash, Some(verifier)),
        None => (rest, None),
    };
    let hash = Some(hash).filter(|hash| !hash.is_empty()).map(PasswordHash::parse).transpose();
    let verifier = verifier.map(|text| Verifier::parse(text).ok_or(PasswordFault::Verifier));
    let user = User { hash: hash.map_err(PasswordFault::Hash)?, verifier: verifier.transpose()? };
    Ok((name.to_owned(), user))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIX: &str = "$6$c2FsdHNhbHQ=$\
        s1sdcH3ROrHKo+H6JUaOBOtWCCRIh9nb2DXM6FYdwP2W3Hr9qwUPXBXWtrV2RyJvWzbHR8tvyzv1pPEd8rWJvA==";

    #[test]
    fn a_file_is_read_and_written_as_it_was() {
        let text = format!("# ours\n\nann:{SIX}\nlocked:\n");
        let mut passwords = Passwords::parse(&text).expect("a right file");
        assert_eq!(passwords.to_string(), text);
        assert_eq!(passwords.len(), 2);
        assert!(passwords.user("ann").is_some_and(|user| user.hash.is_some()));
        assert!(passwords.user("locked").is_some_and(|user| user.hash.is_none()));
        assert!(passwords.user("").is_none() && passwords.user("# ours").is_none());
        let ann = passwords.user("ann").cloned().expect("just seen");
        assert!(!passwords.set("bob", ann.clone()) && passwords.set("bob", ann));
        assert!(passwords.remove("ann") && !passwords.remove("ann"));
        assert_eq!(passwords.to_string(), format!("# ours\n\nlocked:\nbob:{SIX}\n"));
        assert!(passwords.user("bob").is_some());
        let odd = Passwords::parse("\r").expect("a right file").to_string();
        assert_eq!(Passwords::parse(&odd).expect("a right file").to_string(), odd);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let twice = format!("ann:{SIX}\nann:{SIX}");
        for (text, expected) in [
            ("\nann", "line 2: this is not USER:HASH; `signalhouse passwd` writes such lines"),
            (":x", "line 1: the user name is empty"),
            ("a\u{7}b:x", "line 1: the user name has a colon or a control character"),
            (&twice, "line 2: user \"ann\" is there twice"),
            (
                "ann:secret",
                "line 1: this is no hash; it begins with $argon2id$, $6$ or $7$; \
                 `signalhouse passwd` writes one",
            ),
            (
                "ann::SCRAM-SHA-256$1:a$b:c",
                "line 1: the SCRAM verifier is damaged; `signalhouse passwd` writes one",
            ),
        ] {
            let error = Passwords::parse(text).expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
    }
}
