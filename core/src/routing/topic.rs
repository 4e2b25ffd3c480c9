//! Topic names and topic filters, parsed once.

use core::fmt;

use bytes::Bytes;

use crate::wire::scan::has_either;
use crate::wire::types::{Text, TextError};

/// A topic name: at least one character, no wildcards.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Text);

impl Topic {
    /// Checks `name` and takes it.
    ///
    /// # Errors
    /// [`TopicError`] if the name is empty or has a wildcard.
    pub fn new(name: Text) -> Result<Self, TopicError> {
        if name.is_empty() {
            return Err(TopicError::Empty); // [MQTT-4.7.3-1]
        }
        // [MQTT-3.3.2-2] [MQTT-4.7.0-1]
        if has_either(name.as_bytes(), b'+', b'#') {
            return Err(TopicError::Wildcard);
        }
        Ok(Topic(name))
    }

    /// What was a topic before, and kept in a way that cannot have changed it.
    pub(crate) const fn of_topic(bytes: Bytes) -> Self {
        Topic(Text::of_text(bytes))
    }

    /// A name that stands in where there is none yet.
    pub(crate) const fn blank() -> Self {
        Topic(Text::from_static("-"))
    }

    /// The name as a string of the protocol.
    #[must_use]
    pub fn as_text(&self) -> &Text {
        &self.0
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The same name in storage of its own.
    #[must_use]
    pub fn compact(&self) -> Self {
        Topic(self.0.compact())
    }

    /// Whether the name begins with `$`, out of reach of leading wildcards.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.as_bytes().first() == Some(&b'$')
    }

    /// Whether the journal may know of what is published there. What the broker says of itself is
    /// made anew at every start.
    pub(crate) fn is_recorded(&self) -> bool {
        self.levels().next() != Some(b"$SYS".as_slice())
    }

    /// The name's levels, in order.
    pub fn levels(&self) -> impl Iterator<Item = &[u8]> {
        self.0.as_bytes().split(|byte| *byte == b'/')
    }
}

impl TryFrom<&str> for Topic {
    type Error = TopicError;

    fn try_from(name: &str) -> Result<Self, TopicError> {
        Topic::new(Text::try_from(name)?)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A topic filter, its wildcards in their places; `$share/NAME/FILTER` is taken apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter {
    full: Text,
    /// Where the part that topics are matched against begins: 0 unless shared.
    match_start: u16,
}

impl TopicFilter {
    const SHARE_PREFIX: &[u8] = b"$share/";

    /// Checks `filter` and takes it.
    ///
    /// # Errors
    /// [`TopicError`] names the rule it breaks.
    pub fn new(filter: Text) -> Result<Self, TopicError> {
        let bytes = filter.as_bytes();
        let match_start = match bytes.strip_prefix(Self::SHARE_PREFIX) {
            None => 0,
            Some(rest) => {
                // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
                let name_bytes =
                    rest.iter().position(|byte| *byte == b'/').ok_or(TopicError::ShareName)?;
                let name = rest.get(..name_bytes).unwrap_or_default();
                if name.is_empty() || name.iter().any(|byte| matches!(byte, b'+' | b'#')) {
                    return Err(TopicError::ShareName);
                }
                Self::SHARE_PREFIX.len() + name_bytes + 1
            }
        };
        let matched = bytes.get(match_start..).unwrap_or_default();
        if matched.is_empty() {
            return Err(TopicError::Empty); // [MQTT-4.7.3-1]
        }
        let mut levels = matched.split(|byte| *byte == b'/').peekable();
        while let Some(level) = levels.next() {
            let alone = level.len() == 1;
            // [MQTT-4.7.1-1]
            if level.contains(&b'#') && !(alone && levels.peek().is_none()) {
                return Err(TopicError::HashPlace);
            }
            // [MQTT-4.7.1-2]
            if level.contains(&b'+') && !alone {
                return Err(TopicError::PlusPlace);
            }
        }
        // A string is at most 65,535 bytes long, so the place fits.
        let match_start = u16::try_from(match_start).map_err(|_| TopicError::ShareName)?;
        Ok(TopicFilter { full: filter, match_start })
    }

    /// The whole filter as the client wrote it, `$share/NAME/` included.
    #[must_use]
    pub fn as_text(&self) -> &Text {
        &self.full
    }

    /// The whole filter as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.full.as_str()
    }

    /// The share name, if the subscription is shared.
    #[must_use]
    pub fn share_name(&self) -> Option<&[u8]> {
        let end = usize::from(self.match_start).checked_sub(1)?;
        self.full.as_bytes().get(Self::SHARE_PREFIX.len()..end)
    }

    /// Whether this is a shared subscription's filter.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.match_start != 0
    }

    /// The part that topics are matched against.
    #[must_use]
    pub fn match_bytes(&self) -> &[u8] {
        self.full.as_bytes().get(usize::from(self.match_start)..).unwrap_or_default()
    }

    /// The levels that topics are matched against; a wildcard is a level `+` or `#`.
    pub fn levels(&self) -> impl Iterator<Item = &[u8]> {
        self.match_bytes().split(|byte| *byte == b'/')
    }

    /// Whether a level is a wildcard.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.match_bytes().iter().any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// The same filter in storage of its own.
    #[must_use]
    pub fn compact(&self) -> Self {
        TopicFilter { full: self.full.compact(), match_start: self.match_start }
    }

    /// Whether `topic` matches, judged level by level.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut filter_levels = self.levels();
        let mut topic_levels = topic.levels();
        // [MQTT-4.7.2-1]
        if topic.is_system() && matches!(self.match_bytes().first(), Some(b'+' | b'#')) {
            return false;
        }
        loop {
            match (filter_levels.next(), topic_levels.next()) {
                (Some(b"#"), _) | (None, None) => return true,
                (Some(b"+"), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                (Some(_), Some(_) | None) | (None, Some(_)) => return false,
            }
        }
    }

    /// Whether `self` matches every topic that `other` matches; share names do not count.
    ///
    /// Exact but for one thing: that topics are bounded in length is left out of account.
    #[must_use]
    pub fn covers(&self, other: &TopicFilter) -> bool {
        // [MQTT-4.7.2-1]
        let other_system = other.match_bytes().first() == Some(&b'$');
        if other_system && matches!(self.match_bytes().first(), Some(b'+' | b'#')) {
            return false;
        }
        let narrow = other.covered_bytes().split(|byte| *byte == b'/');
        covers_levels(self.levels(), narrow)
    }

    /// The part that topics are matched against, written so that what it needs shows: no topic is
    /// empty, so `#` is the same as `+/#`, and `/#` as `/+/#`.
    pub(crate) fn covered_bytes(&self) -> &[u8] {
        match self.match_bytes() {
            b"#" => b"+/#",
            b"/#" => b"/+/#",
            bytes => bytes,
        }
    }
}

/// Whether a filter of the levels `wide` matches everything that one of the levels `narrow` does;
/// topics beginning with `$` apart.
fn covers_levels<'a>(
    mut wide: impl Iterator<Item = &'a [u8]>,
    mut narrow: impl Iterator<Item = &'a [u8]>,
) -> bool {
    loop {
        match (wide.next(), narrow.next()) {
            (Some(b"#"), _) | (None, None) => return true,
            // `#` stands for no level as well as for many, which nothing else does.
            (_, Some(b"#")) => return false,
            (Some(b"+"), Some(_)) => {}
            (Some(wide), Some(narrow)) if wide == narrow => {}
            (Some(_), Some(_) | None) | (None, Some(_)) => return false,
        }
    }
}

impl TryFrom<&str> for TopicFilter {
    type Error = TopicError;

    fn try_from(filter: &str) -> Result<Self, TopicError> {
        TopicFilter::new(Text::new(Bytes::copy_from_slice(filter.as_bytes()))?)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.full, f)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.full, f)
    }
}

/// Why a string is not a topic name or topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Not a string of the protocol.
    #[error(transparent)]
    Text(#[from] TextError),
    /// No characters.
    #[error("a topic name or filter is empty")]
    Empty,
    /// A topic name with a wildcard.
    #[error("a topic name contains a wildcard")]
    Wildcard,
    /// `#` is not alone on the last level.
    #[error("# stands elsewhere than alone on the last level")]
    HashPlace,
    /// `+` does not fill its level.
    #[error("+ does not fill its level")]
    PlusPlace,
    /// The share name is missing, empty or has a wildcard.
    #[error("the share name is missing, empty or has a wildcard")]
    ShareName,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::try_from(text).expect("a filter")
    }

    fn matches(text: &str, topic: &str) -> bool {
        filter(text).matches(&Topic::try_from(topic).expect("a topic"))
    }

    #[test]
    fn wildcards_stand_alone_on_their_level() {
        for text in ["#", "+", "sport/tennis/#", "+/tennis/#", "sport/+/player1", "/", "+/+", "//#"]
        {
            assert_eq!(TopicFilter::try_from(text).err(), None, "{text}");
        }
        for text in ["sport/tennis#", "sport/tennis/#/ranking", "##", "#/", "#+"] {
            assert_eq!(TopicFilter::try_from(text).err(), Some(TopicError::HashPlace), "{text}");
        }
        for text in ["sport+", "+sport/a", "a/++", "a/+b/c"] {
            assert_eq!(TopicFilter::try_from(text).err(), Some(TopicError::PlusPlace), "{text}");
        }
        assert_eq!(TopicFilter::try_from("").err(), Some(TopicError::Empty));
    }

    #[test]
    fn topics_have_no_wildcards_and_at_least_one_character() {
        for text in ["/", "a b", "$SYS/x", "a//b", "\u{feff}"] {
            assert_eq!(Topic::try_from(text).err(), None, "{text}");
        }
        assert_eq!(Topic::try_from("").err(), Some(TopicError::Empty));
        assert_eq!(Topic::try_from("a/+").err(), Some(TopicError::Wildcard));
        assert_eq!(Topic::try_from("a#").err(), Some(TopicError::Wildcard));
        assert_eq!(Topic::try_from("a\0").err(), Some(TopicError::Text(TextError::Null)));
    }

    #[test]
    fn share_names_are_taken_off() {
        let shared = filter("$share/consumer1//finance");
        assert_eq!(shared.share_name(), Some(&b"consumer1"[..]));
        assert_eq!(shared.match_bytes(), b"/finance");
        assert!(matches("$share/consumer1//finance", "/finance"));
        assert!(!filter("$shares/a/b").is_shared());
        for text in ["$share/", "$share/a", "$share//b", "$share/a+/b", "$share/#/b"] {
            assert_eq!(TopicFilter::try_from(text).err(), Some(TopicError::ShareName), "{text}");
        }
        assert_eq!(TopicFilter::try_from("$share/a/").err(), Some(TopicError::Empty));
    }

    #[test]
    fn matching_is_by_level_and_character() {
        assert!(matches("sport/tennis/player1/#", "sport/tennis/player1"));
        assert!(matches("sport/#", "sport"));
        assert!(matches("sport/+", "sport/"));
        assert!(!matches("sport/+", "sport"));
        assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
        assert!(matches("+/+", "/finance") && matches("/+", "/finance"));
        assert!(!matches("+", "/finance"));
        assert!(!matches("ACCOUNTS", "Accounts"));
        assert!(!matches("#", "$SYS/x") && !matches("+/x", "$SYS/x"));
        assert!(matches("$SYS/#", "$SYS/x") && matches("a/#", "a/$SYS"));
    }

    #[test]
    fn coverage_knows_what_wildcards_stand_for() {
        let covers = |wide, narrow| filter(wide).covers(&filter(narrow));
        assert!(covers("a/#", "a/+/c") && covers("a/#", "a") && covers("a/#", "a/#"));
        assert!(covers("+/b", "a/b") && covers("+", "+"));
        assert!(!covers("a/+", "a/#") && !covers("a/b", "a/+") && !covers("a/+/#", "a/#"));
        assert!(!covers("#", "$SYS/#") && !covers("+/x", "$SYS/x") && covers("$SYS/#", "$SYS/x"));
        // No topic is empty.
        assert!(covers("+/#", "#") && covers("/+/#", "/#") && covers("+/+/#", "/#"));
        assert!(covers("$share/g/a/#", "$share/h/a/b"));
    }
}
