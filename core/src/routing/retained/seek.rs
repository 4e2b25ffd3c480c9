//! Where among the ordered topics a filter's matches are: the order, and the next place to look.

use core::borrow::Borrow;
use core::cmp::Ordering;

use super::Retained;
use crate::routing::topic::{Topic, TopicFilter};

/// An entry, ordered by its topic.
#[derive(Clone, Debug)]
pub(super) struct ByTopic(pub(super) Retained);

impl ByTopic {
    fn name(&self) -> &[u8] {
        self.0.topic().as_text().as_bytes()
    }
}

impl PartialEq for ByTopic {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ByTopic {}

impl PartialOrd for ByTopic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByTopic {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.name(), other.name())
    }
}

impl Topic {
    /// Whether the topic comes behind `other` in the order in which retained messages are found.
    pub(crate) fn is_sorted_behind(&self, other: &Topic) -> bool {
        compare(self.as_text().as_bytes(), other.as_text().as_bytes()).is_gt()
    }
}

/// Compares level by level: `/` is below every other byte.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match a.iter().zip(b).find(|(a, b)| a != b) {
        None => a.len().cmp(&b.len()),
        // No string of the protocol has a byte 0, which leaves its place to `/`.
        Some((b'/', _)) => Ordering::Less,
        Some((_, b'/')) => Ordering::Greater,
        Some((a, b)) => a.cmp(b),
    }
}

/// A place in the order of topics, whether or not a topic is there.
///
/// An entry and a [`Probe`] are both such places, which lets a set of entries be searched by probe
/// without building a topic.
pub(super) trait Place {
    fn probe(&self) -> Probe<'_>;
}

/// The place of the name `head` + `tail`, or behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    edge: Edge,
}

/// Where a probe stands, seen from the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    /// On it.
    At,
    /// Just behind it, before everything below it.
    After,
    /// Behind everything below it.
    Past,
}

impl<'a> Probe<'a> {
    /// The place of `topic` itself.
    pub(super) fn at(topic: &'a Topic) -> Self {
        Probe { head: topic.as_text().as_bytes(), tail: &[], edge: Edge::At }
    }

    fn compare_name(&self, name: &[u8]) -> Ordering {
        let (front, back) = name.split_at(self.head.len().min(name.len()));
        let order = match compare(self.head, front) {
            Ordering::Equal => compare(self.tail, back),
            // The name ends within the head, which therefore goes on behind it.
            order @ (Ordering::Less | Ordering::Greater) => order,
        };
        match (order, self.edge) {
            (Ordering::Equal, Edge::After | Edge::Past) => Ordering::Greater,
            (Ordering::Less, Edge::Past) if self.is_above(name) => Ordering::Greater,
            (Ordering::Less | Ordering::Equal | Ordering::Greater, _) => order,
        }
    }

    fn is_above(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.head)
            .and_then(|rest| rest.strip_prefix(self.tail))
            .is_some_and(|rest| rest.first() == Some(&b'/'))
    }
}

impl Place for Probe<'_> {
    fn probe(&self) -> Probe<'_> {
        *self
    }
}

impl Place for ByTopic {
    fn probe(&self) -> Probe<'_> {
        Probe::at(self.0.topic())
    }
}

impl<'a> Borrow<dyn Place + 'a> for ByTopic {
    fn borrow(&self) -> &(dyn Place + 'a) {
        self
    }
}

impl Ord for dyn Place + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.probe(), other.probe());
        // A search compares a probe to entries; of two places at most one is not an entry's.
        if b.edge == Edge::At && b.tail.is_empty() {
            a.compare_name(b.head)
        } else {
            b.compare_name(a.head).reverse()
        }
    }
}

impl PartialOrd for dyn Place + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Place + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for dyn Place + '_ {}

/// Where to look.
#[derive(Debug)]
pub(super) enum Seek<'a> {
    /// The first topic from here on may match; none before it does.
    From(Probe<'a>),
    /// Nothing can match any more.
    End,
}

/// Where the first match of `filter` can be.
pub(super) fn first(filter: &TopicFilter) -> Seek<'_> {
    Seek::From(Probe { head: &[], tail: literal_run(filter.match_bytes(), 0), edge: Edge::At })
}

/// Where the first match of `filter` behind `topic` can be. `topic` itself may match or not, and
/// may be there or not.
pub(super) fn next<'a>(filter: &'a TopicFilter, topic: &'a Topic) -> Seek<'a> {
    let pattern = filter.match_bytes();
    let name = topic.as_text().as_bytes();
    // No match begins with `$` [MQTT-4.7.2-1], so go to where that is over.
    if topic.is_system() && matches!(pattern.first(), Some(b'+' | b'#')) {
        return Seek::From(Probe { head: &[], tail: b"%", edge: Edge::At });
    }
    // The end of the last level that a `+` took: the levels behind it can begin again below the
    // next topic there.
    let mut restart = None;
    let (mut pattern_start, mut name_start) = (0, 0_usize);
    loop {
        let level = match pattern.get(pattern_start..) {
            Some(rest) => first_level(rest),
            // All levels are taken: nothing that begins like this matches any more.
            None => return past(name, restart),
        };
        if level == b"#" {
            return Seek::From(Probe { head: name, tail: &[], edge: Edge::After });
        }
        // One place further back there is the `/`, if this is not the first level.
        let head = name.get(..name_start.saturating_sub(1)).unwrap_or(name);
        let Some(rest) = name.get(name_start..) else {
            // The name ends here: on to the first below it that can match.
            let tail = literal_run(pattern, pattern_start);
            let edge = if tail.is_empty() { Edge::After } else { Edge::At };
            return Seek::From(Probe { head, tail, edge });
        };
        let name_level = first_level(rest);
        let name_end = name_start + name_level.len();
        if level == b"+" {
            restart = Some(name_end);
        } else {
            match name_level.cmp(level) {
                Ordering::Less => {
                    let tail = literal_run(pattern, pattern_start);
                    return Seek::From(Probe { head, tail, edge: Edge::At });
                }
                Ordering::Equal => {}
                Ordering::Greater => return past(name, restart),
            }
        }
        name_start = name_end + 1;
        pattern_start += level.len() + 1;
    }
}

/// Behind all that begins with the first `end` bytes of `name`.
fn past(name: &[u8], end: Option<usize>) -> Seek<'_> {
    match end {
        Some(end) => {
            let head = name.get(..end).unwrap_or(name);
            Seek::From(Probe { head, tail: &[], edge: Edge::Past })
        }
        None => Seek::End,
    }
}

fn first_level(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    rest.get(..end).unwrap_or(rest)
}

/// The levels from `start` to before the next wildcard, with the `/` before them, if any; empty if
/// there is no such level.
fn literal_run(pattern: &[u8], start: usize) -> &[u8] {
    let mut end = start;
    while let Some(rest) = pattern.get(end..) {
        let level = first_level(rest);
        if matches!(level, b"+" | b"#") {
            break;
        }
        end += level.len() + 1;
    }
    if end == start {
        return &[];
    }
    pattern.get(start.saturating_sub(1)..end - 1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_stand_where_they_say() {
        let names: [&[u8]; 7] = [b"a", b"a/", b"a/b", b"a/b/c", b"a/b!", b"a!", b"b"];
        for (place, name) in names.iter().enumerate() {
            for split in 0..=name.len() {
                let (head, tail) = name.split_at(split);
                for (other_place, other) in names.iter().enumerate() {
                    let at = Probe { head, tail, edge: Edge::At };
                    assert_eq!(at.compare_name(other), place.cmp(&other_place));
                    let after = Probe { edge: Edge::After, ..at };
                    assert_eq!(
                        after.compare_name(other) == Ordering::Greater,
                        other_place <= place
                    );
                    let below = other.starts_with(name) && other.get(name.len()) == Some(&b'/');
                    let past = Probe { edge: Edge::Past, ..at };
                    let is_past = other_place <= place || below;
                    assert_eq!(past.compare_name(other) == Ordering::Greater, is_past);
                }
            }
        }
    }

    #[test]
    fn a_literal_run_ends_before_a_wildcard() {
        assert_eq!(literal_run(b"a/b/+/c", 0), b"a/b");
        assert_eq!(literal_run(b"a/b/+/c", 2), b"/b");
        assert_eq!(literal_run(b"a/b/+/c", 4), b"");
        assert_eq!(literal_run(b"a/b/+/c", 6), b"/c");
        assert_eq!(literal_run(b"//+", 0), b"/");
        assert_eq!(literal_run(b"+", 0), b"");
        assert_eq!(literal_run(b"/", 0), b"/");
    }
}
