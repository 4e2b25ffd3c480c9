//! Which topics a filter means, written the slow and plain way.

/// The share name and the filter behind it, if `filter` is a shared subscription's.
pub(crate) fn split_share(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix("$share/")?.split_once('/')
}

/// Whether `filter`, not a shared one, means `topic`.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let begins_wild = filter.starts_with('#') || filter.starts_with('+');
    if begins_wild && topic.starts_with('$') {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            (Some(_), Some(_) | None) | (None, Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{matches, split_share};

    #[test]
    fn filters_mean_what_the_standard_says() {
        for (filter, topic) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/+", "a/"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("#", "a/b"),
            ("+", "a"),
            ("+/+", "/a"),
            ("/+", "/a"),
            ("$SYS/#", "$SYS/x"),
            ("a/+/c", "a//c"),
        ] {
            assert!(matches(filter, topic), "{filter} means {topic}");
        }
        for (filter, topic) in [
            ("a/b", "a/c"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("+", "/a"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a", "a/"),
            ("a/b/#", "a"),
        ] {
            assert!(!matches(filter, topic), "{filter} does not mean {topic}");
        }
    }

    #[test]
    fn a_share_is_split_into_name_and_filter() {
        assert_eq!(split_share("$share/g/a/+"), Some(("g", "a/+")));
        assert_eq!(split_share("a/b"), None);
    }
}
