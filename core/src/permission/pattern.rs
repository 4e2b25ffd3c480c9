//! The topics a rule is about: a topic filter that may name the client it is applied to.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::Subject;
use crate::routing::topic::{TopicError, TopicFilter};
use crate::wire::types::Text;

/// A topic filter that may have variables.
///
/// | Variable | Stands for |
/// |---|---|
/// | `{username}`, `%u` | the user name |
/// | `{client_id}`, `%c` | the client identifier |
/// | `{claim.NAME}` | what is claimed of the client under that name |
///
/// A variable is a level or a part of one and can never become more: where it would stand for
/// something empty, or with `/`, `+` or `#`, the pattern matches nothing. The same holds where it
/// begins the pattern and would begin with `$`. A rule that denies does not reach such clients
/// then: deny by default and allow with variables, not the other way round.
///
/// As everywhere, a wildcard on the first level does not reach topics that begin with `$`.
/// [`Pattern::everything`] reaches them, and so do the wildcards of a rule that denies.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    source: Text,
    levels: Box<[Level]>,
    /// Whether a wildcard on the first level reaches topics that begin with `$`.
    reaches_system: bool,
    variables: Variables,
}

#[derive(Clone, PartialEq, Eq)]
enum Level {
    Plus,
    Hash,
    Literal(Box<[u8]>),
    /// At least one variable.
    Mixed(Box<[Part]>),
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<[u8]>),
    Variable(Variable),
}

#[derive(Clone, PartialEq, Eq)]
enum Variable {
    UserName,
    ClientId,
    Claim(Text),
}

/// What must be looked at before a pattern is tried.
#[derive(Clone, Default, PartialEq, Eq)]
struct Variables {
    all: Box<[Variable]>,
    leading: Option<Variable>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// A `%` before anything but `u` and `c`, and a `{` that does not begin a name in braces,
    /// stand for themselves. See [`Pattern::literal`] for topics in which a variable's name occurs.
    ///
    /// # Errors
    /// [`PatternError`], also for names in braces that are no variables.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        Pattern::parse(source, Syntax::Own)
    }

    /// Reads a pattern in which `%u` and `%c` are the variables, and braces stand for themselves.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn with_percents(source: &str) -> Result<Self, PatternError> {
        Pattern::parse(source, Syntax::Percents)
    }

    fn parse(source: &str, syntax: Syntax) -> Result<Self, PatternError> {
        let mut filter = String::new();
        let mut levels = Vec::new();
        let mut variables = Vec::new();
        let mut leading = None;
        for (place, level) in source.split('/').enumerate() {
            let parts = parse_level(level, syntax)?;
            if place > 0 {
                filter.push('/');
            }
            for (part_place, part) in parts.iter().enumerate() {
                match part {
                    RawPart::Literal(text) => filter.push_str(text),
                    RawPart::Variable(variable) => {
                        filter.push('x');
                        if place == 0 && part_place == 0 {
                            leading = Some(variable.clone());
                        }
                        if !variables.contains(variable) {
                            variables.push(variable.clone());
                        }
                    }
                }
            }
            levels.push(compile_level(&parts));
        }
        // What is a filter with `x` in the place of its variables is one with any allowed value.
        if TopicFilter::try_from(filter.as_str())?.is_shared() {
            return Err(PatternError::Shared);
        }
        let source = Text::try_from(source).map_err(TopicError::Text)?;
        let variables = Variables { all: variables.into(), leading };
        Ok(Pattern { source, levels: levels.into(), reaches_system: false, variables })
    }

    /// A pattern without variables: `%` and `{` stand for themselves.
    ///
    /// # Errors
    /// [`PatternError::Shared`] if the filter is shared.
    pub fn literal(filter: &TopicFilter) -> Result<Self, PatternError> {
        if filter.is_shared() {
            return Err(PatternError::Shared);
        }
        let levels = filter.levels().map(compile_literal).collect();
        let source = filter.as_text().compact();
        Ok(Pattern { source, levels, reaches_system: false, variables: Variables::default() })
    }

    /// All topics, also those that begin with `$`.
    #[must_use]
    pub fn everything() -> Self {
        Pattern {
            // Two characters are a string of the protocol.
            source: Text::try_from("#").unwrap_or_default(),
            levels: Box::new([Level::Hash]),
            reaches_system: true,
            variables: Variables::default(),
        }
    }

    /// The pattern as it was written; `#` for [`Pattern::everything`].
    #[must_use]
    pub fn as_text(&self) -> &Text {
        &self.source
    }

    /// Whether the pattern, applied to `subject`, matches whatever `narrow` does: the bytes of a
    /// topic, or a filter's [`covered_bytes`](TopicFilter::covered_bytes). A wildcard on the first
    /// level reaches topics that begin with `$` if `reaches_system`.
    pub(super) fn covers(
        &self,
        subject: &Subject<'_>,
        narrow: &[u8],
        reaches_system: bool,
    ) -> bool {
        if !self.variables.are_harmless(subject) {
            return false;
        }
        let leading_wildcard = matches!(self.levels.first(), Some(Level::Plus | Level::Hash));
        // [MQTT-4.7.2-1]
        let reaches_system = reaches_system || self.reaches_system;
        if leading_wildcard && !reaches_system && narrow.first() == Some(&b'$') {
            return false;
        }
        let mut narrow_levels = narrow.split(|byte| *byte == b'/');
        for level in &self.levels {
            let narrow_level = narrow_levels.next();
            let covered = match (level, narrow_level) {
                (Level::Hash, _) => return true,
                (Level::Plus, Some(narrow)) => narrow != b"#",
                // A wildcard is never equal to what it is compared to here.
                (Level::Literal(bytes), Some(narrow)) => **bytes == *narrow,
                (Level::Mixed(parts), Some(narrow)) => is_expansion(parts, subject, narrow),
                (Level::Plus | Level::Literal(_) | Level::Mixed(_), None) => false,
            };
            if !covered {
                return false;
            }
        }
        narrow_levels.next().is_none()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

/// Why a string is not a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a topic filter, whatever its variables stand for.
    #[error(transparent)]
    Filter(#[from] TopicError),
    /// Shared: rules are about topics, and hold for shared subscriptions to them too.
    #[error("a pattern does not begin with $share/")]
    Shared,
    /// A name in braces is not a variable.
    #[error(
        "there is no variable {0}; the variables are {{username}}, {{client_id}} and {{claim.NAME}}"
    )]
    UnknownVariable(String),
}

impl Variable {
    fn value<'a>(&self, subject: &Subject<'a>) -> Option<&'a [u8]> {
        match self {
            Variable::UserName => subject.user_name.map(Text::as_bytes),
            Variable::ClientId => Some(subject.client_id.as_bytes()),
            Variable::Claim(name) => subject.claims.value(name).map(Text::as_bytes),
        }
    }

    /// Whether the value can be a part of a level and of nothing else.
    fn is_harmless(&self, subject: &Subject<'_>) -> bool {
        self.value(subject).is_some_and(|value| {
            !value.is_empty() && !value.iter().any(|byte| matches!(byte, b'/' | b'+' | b'#'))
        })
    }
}

impl Variables {
    fn are_harmless(&self, subject: &Subject<'_>) -> bool {
        let leading = self.leading.as_ref().and_then(|variable| variable.value(subject));
        self.all.iter().all(|variable| variable.is_harmless(subject))
            && leading.is_none_or(|value| value.first() != Some(&b'$'))
    }
}

fn is_expansion(parts: &[Part], subject: &Subject<'_>, level: &[u8]) -> bool {
    let rest = parts.iter().try_fold(level, |rest, part| match part {
        Part::Literal(bytes) => rest.strip_prefix(&**bytes),
        Part::Variable(variable) => rest.strip_prefix(variable.value(subject)?),
    });
    rest.is_some_and(<[u8]>::is_empty)
}

/// A part of a level as it was read.
enum RawPart<'a> {
    Literal(&'a str),
    Variable(Variable),
}

/// Which variables a pattern may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    /// All of them.
    Own,
    /// `%u` and `%c`.
    Percents,
}

fn parse_level(level: &str, syntax: Syntax) -> Result<Vec<RawPart<'_>>, PatternError> {
    let mut parts = Vec::new();
    let mut rest = level;
    // Of `rest`, what is known to be literal.
    let mut literal_bytes = 0;
    while let Some(found) = rest.get(literal_bytes..).and_then(|tail| tail.find(['%', '{'])) {
        let start = literal_bytes + found;
        let (before, tail) = rest.split_at(start);
        let Some((variable, bytes)) = parse_variable(before, tail, syntax)? else {
            literal_bytes = start + 1;
            continue;
        };
        if !before.is_empty() {
            parts.push(RawPart::Literal(before));
        }
        parts.push(RawPart::Variable(variable));
        (rest, literal_bytes) = (tail.get(bytes..).unwrap_or_default(), 0);
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(RawPart::Literal(rest));
    }
    Ok(parts)
}

/// The variable with which `tail` begins, and its length in bytes.
fn parse_variable(
    before: &str,
    tail: &str,
    syntax: Syntax,
) -> Result<Option<(Variable, usize)>, PatternError> {
    if tail.starts_with("%u") {
        return Ok(Some((Variable::UserName, 2)));
    }
    if tail.starts_with("%c") {
        return Ok(Some((Variable::ClientId, 2)));
    }
    if syntax == Syntax::Percents {
        return Ok(None);
    }
    let Some((name, _)) = tail.strip_prefix('{').and_then(|tail| tail.split_once('}')) else {
        return Ok(None);
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(is_name) {
        return Ok(None);
    }
    let bytes = name.len() + 2;
    // `${name}` is how others write variables; taken literally it would silently match nothing.
    let dollar = if before.ends_with('$') { "$" } else { "" };
    match (dollar, name) {
        ("", "username") => Ok(Some((Variable::UserName, bytes))),
        ("", "client_id") => Ok(Some((Variable::ClientId, bytes))),
        ("", _) if name.strip_prefix("claim.").is_some_and(|claim| !claim.is_empty()) => {
            let claim = name.strip_prefix("claim.").unwrap_or_default();
            let claim = Text::try_from(claim).map_err(TopicError::Text)?;
            Ok(Some((Variable::Claim(claim), bytes)))
        }
        _ => Err(PatternError::UnknownVariable(alloc::format!("{dollar}{{{name}}}"))),
    }
}

fn compile_level(parts: &[RawPart<'_>]) -> Level {
    if let [RawPart::Literal(text)] = parts {
        return compile_literal(text.as_bytes());
    }
    let compiled = parts.iter().map(|part| match part {
        RawPart::Literal(text) => Part::Literal(text.as_bytes().into()),
        RawPart::Variable(variable) => Part::Variable(variable.clone()),
    });
    Level::Mixed(compiled.collect())
}

fn compile_literal(level: &[u8]) -> Level {
    match level {
        b"+" => Level::Plus,
        b"#" => Level::Hash,
        _ => Level::Literal(level.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, user_name: Option<&str>, client_id: &str, topic: &str) -> bool {
        let user_name = user_name.and_then(|name| Text::try_from(name).ok());
        let client_id = Text::try_from(client_id).unwrap_or_default();
        let subject = Subject::new(user_name.as_ref(), &client_id);
        Pattern::new(pattern).is_ok_and(|pattern| pattern.covers(&subject, topic.as_bytes(), false))
    }

    #[test]
    fn variables_are_levels_or_parts_of_levels() {
        assert!(matches("users/{username}/#", Some("ann"), "c", "users/ann/inbox"));
        assert!(matches("users/%u/%c", Some("ann"), "c", "users/ann/c"));
        assert!(matches("x-{client_id}-{username}-y", Some("ann"), "c", "x-c-ann-y"));
        assert!(matches("%c%u", Some("ann"), "c", "cann"));
        assert!(!matches("users/{username}/#", Some("ann"), "c", "users/bob/inbox"));
        assert!(!matches("x-{client_id}-y", None, "c", "x-c-yy"));
        assert!(!matches("users/{username}/#", None, "c", "users//inbox"));
        assert!(matches("50%/{a b}/{}/{", None, "c", "50%/{a b}/{}/{"));
    }

    #[test]
    fn a_variable_cannot_become_more_than_it_is() {
        for name in ["", "a/b", "+", "#", "a+", "#b", "/"] {
            let topic = alloc::format!("users/{name}");
            assert!(!matches("users/{username}", Some(name), "c", &topic), "{name}");
            assert!(!matches("users/%c", None, name, &topic), "{name}");
            assert!(!matches("users/{username}", Some(name), "c", "users/ann"), "{name}");
        }
        assert!(!matches("{username}/#", Some("$SYS"), "c", "$SYS/broker"));
        assert!(matches("users/{username}", Some("$SYS"), "c", "users/$SYS"));
        assert!(!matches("users/{username}", Some("%c"), "c", "users/c"));
        assert!(matches("users/{username}", Some("{client_id}"), "c", "users/{client_id}"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        fn error(source: &str) -> Result<Text, PatternError> {
            Pattern::new(source).map(|pattern| pattern.source)
        }
        assert_eq!(error(""), Err(TopicError::Empty.into()));
        assert_eq!(error("a#"), Err(TopicError::HashPlace.into()));
        assert_eq!(error("%u#"), Err(TopicError::HashPlace.into()));
        assert_eq!(error("{username}+/a"), Err(TopicError::PlusPlace.into()));
        assert_eq!(error("$share/g/a"), Err(PatternError::Shared));
        for variable in ["{clientid}", "${username}", "{user.name}"] {
            let source = alloc::format!("a/{variable}/b");
            assert_eq!(error(&source), Err(PatternError::UnknownVariable(variable.into())));
        }
    }

    #[test]
    fn braces_may_stand_for_themselves() {
        let name = Text::try_from("ann").expect("a name");
        let subject = Subject::new(Some(&name), &name);
        for (source, topic) in
            [("mail/%u/{id}", "mail/ann/{id}"), ("%c/{username}/${x}/+", "ann/{username}/${x}/y")]
        {
            let pattern = Pattern::with_percents(source).expect("a pattern");
            assert!(pattern.covers(&subject, topic.as_bytes(), false), "{source}");
        }
        let pattern = Pattern::with_percents("%u/{username}").expect("a pattern");
        assert!(!pattern.covers(&subject, b"ann/ann", false));
        assert_eq!(Pattern::with_percents("$share/g/%u"), Err(PatternError::Shared));
    }

    #[test]
    fn a_literal_pattern_has_no_variables() {
        let filter = TopicFilter::try_from("a/{username}/%c/+").expect("a filter");
        let pattern = Pattern::literal(&filter).expect("not shared");
        let client_id = Text::default();
        let subject = Subject::new(None, &client_id);
        assert!(pattern.covers(&subject, b"a/{username}/%c/x", false));
        assert!(Pattern::everything().covers(&subject, b"$SYS/x", false));
    }
}
