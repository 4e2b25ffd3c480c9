//! What is wrong with the settings, in one line.

use std::fmt;
use std::path::{Path, PathBuf};

/// A fault in the settings: where it is, which key, what is wrong and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: Place,
    key: Option<String>,
    fault: String,
    mend: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file as a whole.
    File(PathBuf),
    /// A line and column of a file, from 1.
    Spot(PathBuf, usize, usize),
    /// A variable of the environment.
    Variable(String),
    /// An option of the command line.
    Argument(&'static str),
    /// What holds when nothing is said.
    Defaults,
}

impl Place {
    /// The place of the byte `offset` of a file's text.
    pub(super) fn at(path: &Path, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        Place::Spot(path.to_owned(), line, column)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Spot(path, line, column) => write!(f, "{}:{line}:{column}", path.display()),
            Place::Variable(name) => f.write_str(name),
            Place::Argument(name) => f.write_str(name),
            Place::Defaults => f.write_str("settings"),
        }
    }
}

impl Problem {
    pub(super) fn new(
        place: Place,
        key: Option<String>,
        fault: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Problem { place, key, fault: fault.into(), mend: mend.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{}", self.fault.replace('\n', " "))?;
        if !self.mend.is_empty() {
            write!(f, "; {}", self.mend.replace('\n', " "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// The one of `known` that `given` was probably meant to be.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let furthest = (given.len() / 3).max(2);
    known
        .map(|name| (distance(given, name), name))
        .filter(|(distance, _)| *distance <= furthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many characters must be inserted, removed or replaced to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_nothing_far() {
        let known = ["connections", "sessions", "queue_bytes"];
        assert_eq!(nearest("conections", known.into_iter()), Some("connections"));
        assert_eq!(nearest("queue_byte", known.into_iter()), Some("queue_bytes"));
        assert_eq!(nearest("zebra", known.into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
