//! Topics and filters against a matcher that is plain enough to be right: a filter by itself, or the routing tree under
//! any list of changes.

mod tree;

use arbitrary::{Arbitrary, Unstructured};
use signalhouse_core::routing::topic::{Topic, TopicFilter};

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    topic: &'a str,
    filter: &'a str,
    other: &'a str,
}

/// The first byte of an input that is a list of the tree's changes; no text begins with it.
const TREE: u8 = 0xFE;

/// Matches a topic with a filter, and two filters with each other; or changes a tree and matches topics with it.
///
/// # Panics
/// If the plain matcher finds otherwise, or a filter covers one that matches more.
pub fn run(data: &[u8]) {
    if let Some((&TREE, steps)) = data.split_first() {
        return tree::run(steps);
    }
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let topic = Topic::try_from(case.topic);
    let filter = TopicFilter::try_from(case.filter);
    if let Ok(topic) = &topic {
        assert_eq!(topic.as_str(), case.topic);
        assert!(!case.topic.is_empty() && !case.topic.contains(['#', '+', '\0']));
    }
    let (Ok(topic), Ok(filter)) = (topic, filter) else { return };
    assert_eq!(filter.matches(&topic), matches(case.filter, case.topic), "{case:?}");
    if let Ok(other) = TopicFilter::try_from(case.other)
        && filter.covers(&other)
        && other.matches(&topic)
    {
        assert!(filter.matches(&topic), "{case:?}");
    }
}

/// Level by level, as the standard tells it.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, filter)| filter),
        None => filter,
    };
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        let Some(level) = levels.next() else { return false };
        if wanted != "+" && wanted != level {
            return false;
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn the_plain_matcher_knows_the_examples_of_the_standard() {
        for (filter, topic) in
            [("a/#", "a"), ("a/#", "a/b/c"), ("+", "a"), ("/+", "/a"), ("+/+", "/a")]
        {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in
            [("+", "/a"), ("a/+", "a"), ("#", "$SYS"), ("+/x", "$SYS/x"), ("a", "A")]
        {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }
}
