//! The routing tree under any list of insertions, removals and matches, against a list that is looked at one by one.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Arbitrary, Unstructured};
use signalhouse_core::Seed;
use signalhouse_core::hash::KeyedState;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::routing::tree::SubscriptionTree;

use super::matches;

/// Levels that are empty, begin alike, or stand beside `$`, `/` and the wildcards in the order of bytes; the last but
/// one just fits into a node, and the last does not.
const LEVELS: [&str; 13] = [
    "",
    "a",
    "b",
    "ab",
    "$a",
    "$",
    "%",
    "!",
    "a!",
    "$share",
    "é",
    "abcdefghijklmnopqrstuv",
    "abcdefghijklmnopqrstuvw",
];

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Insert {
        filter: Name,
        key: u8,
        value: u16,
    },
    Remove {
        filter: Name,
        key: u8,
    },
    /// Takes out the subscription at this place among those there are.
    RemoveOne {
        place: u16,
    },
    Match {
        topic: Name,
    },
    /// As many subscribers of one filter as a node keeps in another way than a few.
    InsertMany {
        filter: Name,
        first: u8,
        count: u8,
    },
    /// As they come, for what the table of levels does not have.
    InsertText {
        filter: &'a str,
        key: u8,
    },
    MatchText {
        topic: &'a str,
    },
}

/// Levels by number.
#[derive(Arbitrary, Debug)]
struct Name {
    /// From the lowest bit: two for a share, one for `#` at the end.
    form: u8,
    levels: Vec<u8>,
}

impl Name {
    fn text(&self, wildcard: Option<&'static str>) -> String {
        let level = |number: &u8| match (wildcard, number % 4) {
            (Some(wildcard), 3) => wildcard,
            (Some(_) | None, _) => LEVELS[usize::from(*number) % LEVELS.len()],
        };
        self.levels.iter().map(level).collect::<Vec<_>>().join("/")
    }

    fn topic(&self) -> Option<Topic> {
        Topic::try_from(self.text(None).as_str()).ok()
    }

    fn filter(&self) -> Option<TopicFilter> {
        let mut text = self.text(Some("+"));
        if self.form & 4 != 0 {
            text.push_str(if self.levels.is_empty() { "#" } else { "/#" });
        }
        let share = ["", "", "$share/s/", "$share/t/"][usize::from(self.form & 3)];
        TopicFilter::try_from(format!("{share}{text}").as_str()).ok()
    }
}

/// What the tree must be like: filters as they are matched, and who subscribed.
struct Checked {
    tree: SubscriptionTree<u16>,
    list: BTreeMap<(String, u32), u16>,
}

/// Takes the steps in `data`.
///
/// # Panics
/// If the tree finds what the list does not, another value, or in another order; or keeps nodes for nothing.
pub(super) fn run(data: &[u8]) {
    let mut steps = Unstructured::new(data);
    let tree = SubscriptionTree::new(KeyedState::new(Seed(7)));
    let mut checked = Checked { tree, list: BTreeMap::new() };
    while !steps.is_empty() {
        let Ok(step) = Step::arbitrary(&mut steps) else { break };
        checked.take(&step);
    }
    checked.end();
}

impl Checked {
    fn take(&mut self, step: &Step<'_>) {
        match step {
            Step::Insert { filter, key, value } => {
                self.insert(filter.filter(), u32::from(*key), *value);
            }
            Step::InsertText { filter, key } => {
                self.insert(TopicFilter::try_from(*filter).ok(), u32::from(*key), 0);
            }
            Step::InsertMany { filter, first, count } => {
                for key in 0..u32::from(*count) {
                    self.insert(filter.filter(), u32::from(*first) + key, 1);
                }
            }
            Step::Remove { filter, key } => {
                if let Some(filter) = filter.filter() {
                    self.remove(&filter, u32::from(*key));
                }
            }
            Step::RemoveOne { place } => {
                let place = usize::from(*place) % self.list.len().max(1);
                if let Some((filter, key)) = self.list.keys().nth(place).cloned() {
                    self.remove(&filter_of(&filter), key);
                }
            }
            Step::Match { topic } => self.look_for(topic.topic()),
            Step::MatchText { topic } => self.look_for(Topic::try_from(*topic).ok()),
        }
        assert_eq!(self.tree.len(), self.list.len());
    }

    fn insert(&mut self, filter: Option<TopicFilter>, key: u32, value: u16) {
        let Some(filter) = filter else { return };
        let old = self.list.insert((matched(&filter), key), value);
        let changes = self.tree.changes();
        assert_eq!(self.tree.insert(&filter, key, value), old, "{filter:?} {key}");
        assert_eq!(self.tree.get(&filter, key), Some(&value), "{filter:?} {key}");
        assert_ne!(self.tree.changes(), changes, "{filter:?} {key}");
    }

    fn remove(&mut self, filter: &TopicFilter, key: u32) {
        let old = self.list.remove(&(matched(filter), key));
        let changes = self.tree.changes();
        assert_eq!(self.tree.remove(filter, key), old, "{filter:?} {key}");
        assert_eq!(self.tree.get(filter, key), None, "{filter:?} {key}");
        assert!(old.is_none() || self.tree.changes() != changes, "{filter:?} {key}");
    }

    fn look_for(&self, topic: Option<Topic>) {
        let Some(topic) = topic else { return };
        let is_met = |filter: &str| matches(&shared(filter), topic.as_str());
        let matching = self.list.iter().filter(|((filter, _), _)| is_met(filter));
        let mut expected: Vec<_> =
            matching.map(|((filter, key), value)| (order(filter), *key, *value)).collect();
        expected.sort_unstable();
        let expected: Vec<_> = expected.into_iter().map(|(_, key, value)| (key, value)).collect();
        let mut found = Vec::new();
        self.tree.for_each_match(&topic, |key, value| found.push((key, *value)));
        assert_eq!(found, expected, "{topic:?}");
    }

    fn end(mut self) {
        // A node for each beginning of a filter, and the root.
        let beginnings: BTreeSet<&str> =
            self.list.keys().flat_map(|(filter, _)| beginnings(filter)).collect();
        assert_eq!(self.tree.node_count(), 1 + beginnings.len(), "{:?}", self.list.keys());
        for (filter, key) in std::mem::take(&mut self.list).into_keys() {
            let filter = filter_of(&filter);
            assert!(self.tree.remove(&filter, key).is_some(), "{filter:?} {key}");
        }
        assert_eq!((self.tree.len(), self.tree.node_count()), (0, 1));
    }
}

/// A filter without its share.
fn matched(filter: &TopicFilter) -> String {
    String::from_utf8(filter.match_bytes().to_vec()).expect("a filter is UTF-8")
}

/// A filter of which this is what topics are matched against, even if it looks like a share itself.
fn shared(matched: &str) -> String {
    format!("$share/any/{matched}")
}

fn filter_of(matched: &str) -> TopicFilter {
    let filter = shared(matched);
    TopicFilter::try_from(filter.as_str()).expect("what is matched of a filter is one")
}

/// Where a filter stands among those that match a topic: by level `#`, the end, `+`, the level itself.
fn order(filter: &str) -> Vec<u8> {
    let rank = |level| match level {
        "#" => 0,
        "+" => 2,
        _ => 3,
    };
    filter.split('/').map(rank).chain([1]).collect()
}

/// The filter's first level, its first two, and so on.
fn beginnings(filter: &str) -> impl Iterator<Item = &str> {
    let ends = filter.match_indices('/').map(|(at, _)| at).chain([filter.len()]);
    ends.map(move |end| &filter[..end])
}

#[cfg(test)]
mod tests {
    use super::{beginnings, order};

    #[test]
    fn filters_have_their_order_and_their_beginnings() {
        let mut filters = ["a/b", "a/+", "+/b", "#", "a/b/#", "a/#", "+/#", "+/+"];
        filters.sort_by_key(|filter| order(filter));
        assert_eq!(filters, ["#", "+/#", "+/+", "+/b", "a/#", "a/+", "a/b/#", "a/b"]);
        assert_eq!(beginnings("a//#").collect::<Vec<_>>(), ["a", "a/", "a//#"]);
    }
}
