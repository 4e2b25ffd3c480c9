//! What a client's rules say, read slowly: rule by rule, topic by topic.

use super::topic;
use crate::history::{Permit, PermitRule, RuleList};

/// A level of a topic that no pattern names.
const FRESH: &str = "a level that nobody names";

/// Whether it allows to publish on a topic.
pub(crate) fn may_publish(permit: &Permit, topic: &str) -> bool {
    let allows = |list: &RuleList| decide(list, |rule| rule.publish && reaches(rule, topic));
    permit.lists.iter().all(allows)
}

/// Whether it allows to subscribe to a filter, given without a share's name.
pub(crate) fn may_subscribe(permit: &Permit, filter: &str) -> bool {
    let is_inbox = permit.inbox.as_deref() == Some(filter);
    let allows = |list: &RuleList| decide(list, |rule| rule.subscribe && covers(rule, filter));
    is_inbox || permit.lists.iter().all(allows)
}

/// Whether it allows to be sent a message on a topic: for that it takes the right to subscribe to just
/// this topic, too.
pub(crate) fn may_receive(permit: &Permit, topic: &str) -> bool {
    let is_inbox = permit.inbox.as_deref() == Some(topic);
    let allows = |list: &RuleList| decide(list, |rule| rule.receive && reaches(rule, topic));
    is_inbox || permit.lists.iter().all(allows) && may_subscribe(permit, topic)
}

/// What the first rule that is meant says.
fn decide(list: &RuleList, is_meant: impl Fn(&PermitRule) -> bool) -> bool {
    let first = list.rules.iter().find(|rule| is_meant(rule));
    first.map_or(list.default_allows, |rule| rule.allows)
}

/// Whether a rule is about a topic. The wildcards of one that denies mean topics that begin with `$` too.
fn reaches(rule: &PermitRule, topic: &str) -> bool {
    if rule.allows {
        topic::matches(&rule.pattern, topic)
    } else {
        topic::matches(&format!("x/{}", rule.pattern), &format!("x/{topic}"))
    }
}

/// Whether a rule is about every topic that a filter means. What stands for a wildcard is any level, so
/// the rule is asked about one that it cannot name, and, for `#`, about any number of them that it can
/// tell apart.
fn covers(rule: &PermitRule, filter: &str) -> bool {
    let plain = filter.split('/').map(|level| if level == "+" { FRESH } else { level });
    let mut levels: Vec<&str> = plain.collect();
    if levels.last() != Some(&"#") {
        return reaches(rule, &levels.join("/"));
    }
    levels.pop();
    let longest = rule.pattern.split('/').count() + 1;
    (0..=longest).all(|count| {
        let mut topic = levels.clone();
        topic.extend(vec![FRESH; count]);
        topic.is_empty() || reaches(rule, &topic.join("/"))
    })
}

#[cfg(test)]
mod tests {
    use super::{covers, may_publish, may_receive, may_subscribe};
    use crate::history::{Permit, PermitRule, RuleList};

    fn rule(allows: bool, actions: &str, pattern: &str) -> PermitRule {
        PermitRule {
            allows,
            publish: actions.contains('p'),
            subscribe: actions.contains('s'),
            receive: actions.contains('r'),
            pattern: pattern.to_owned(),
        }
    }

    fn permit(default_allows: bool, rules: Vec<PermitRule>) -> Permit {
        Permit { lists: vec![RuleList { rules, default_allows }], inbox: None }
    }

    #[test]
    fn a_pattern_covers_what_means_nothing_else() {
        for (pattern, filter) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/+", "a/+"),
            ("a/#", "a/#"),
            ("a/#", "a"),
            ("a/#", "a/+/b/#"),
            ("#", "+/+"),
            ("#", "#"),
            ("+/#", "#"),
            ("+/+", "/+"),
            ("$SYS/#", "$SYS/+"),
        ] {
            assert!(covers(&rule(true, "s", pattern), filter), "{pattern} covers {filter}");
        }
        for (pattern, filter) in [
            ("a/b", "a/+"),
            ("a/+", "a/#"),
            ("a/+/#", "a/#"),
            ("a/#", "#"),
            ("a/#", "+/b"),
            ("+", "#"),
            ("+/+", "+/+/#"),
            ("#", "$SYS/#"),
        ] {
            assert!(!covers(&rule(true, "s", pattern), filter), "{pattern}, {filter}");
        }
        assert!(covers(&rule(false, "s", "#"), "$SYS/#"), "to deny is to deny all");
    }

    #[test]
    fn the_first_rule_about_it_decides() {
        let permit = permit(false, vec![rule(false, "ps", "a/b"), rule(true, "psr", "a/#")]);
        assert!(may_publish(&permit, "a/c") && !may_publish(&permit, "a/b"));
        assert!(!may_publish(&permit, "b"));
        assert!(may_subscribe(&permit, "a/#") && !may_subscribe(&permit, "a/b"));
        assert!(!may_subscribe(&permit, "#"));
        assert!(may_receive(&permit, "a/c") && !may_receive(&permit, "a/b"), "nor subscribe to it");
    }

    #[test]
    fn every_list_must_allow_and_an_inbox_is_above_all() {
        let mut permit = permit(true, vec![rule(false, "sr", "r/#")]);
        let rules = vec![rule(true, "psr", "+/1")];
        permit.lists.push(RuleList { rules, default_allows: false });
        assert!(may_publish(&permit, "r/1") && !may_publish(&permit, "r/2"));
        assert!(may_receive(&permit, "a/1") && !may_receive(&permit, "r/1"));
        permit.inbox = Some("r/1".to_owned());
        assert!(may_receive(&permit, "r/1") && may_subscribe(&permit, "r/1"));
        assert!(!may_subscribe(&permit, "r/+") && !may_receive(&permit, "r/1/x"));
    }
}
