//! Permissions against an evaluator that expands every rule and tries them one after the other.

use proptest::prelude::*;
use signalhouse_core::credential::Claims;
use signalhouse_core::permission::{
    Action, Actions, Decision, Effect, Pattern, Permissions, Rule, Subject, Who,
};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::types::Text;

const NAMES: [&str; 7] = ["ann", "bob", "$a", "", "+", "a/b", "#"];
const LEVELS: [&str; 6] = ["", "a", "$a", "ann", "xann", "bobann"];

fn text(text: &str) -> Text {
    Text::try_from(text).expect("a string of the protocol")
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn topic() -> impl Strategy<Value = Topic> {
    prop::collection::vec(prop::sample::select(&LEVELS[..]), 1..4)
        .prop_filter_map("an empty topic", |levels| Topic::try_from(levels.join("/").as_str()).ok())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![2 => prop::sample::select(&LEVELS[..]), 1 => Just("+")];
    let share = prop_oneof![4 => Just(""), 1 => Just("$share/s/")];
    (share, prop::collection::vec(level, 0..4), any::<bool>()).prop_filter_map(
        "an empty filter",
        |(share, mut levels, hash)| {
            if hash {
                levels.push("#");
            }
            TopicFilter::try_from(format!("{share}{}", levels.join("/")).as_str()).ok()
        },
    )
}

/// A pattern's source, or `None` for everything.
fn pattern() -> impl Strategy<Value = Option<String>> {
    let variable = prop::sample::select(
        &[
            "{username}",
            "%c",
            "x%u",
            "{client_id}{username}",
            "$%c",
            "{username}x",
            "{claim.a}",
            "{claim.b}x%c",
        ][..],
    );
    let level = prop_oneof![2 => prop::sample::select(&LEVELS[..]), 1 => Just("+"), 2 => variable];
    let source = (prop::collection::vec(level, 0..4), any::<bool>())
        .prop_map(|(mut levels, hash)| {
            if hash {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("an empty pattern", |source| !source.is_empty());
    prop_oneof![8 => source.prop_map(Some), 1 => Just(None)]
}

#[derive(Clone, Debug)]
struct RawRule {
    allow: bool,
    who: Who,
    actions: u8,
    pattern: Option<String>,
}

fn rule() -> impl Strategy<Value = RawRule> {
    let who = prop_oneof![
        3 => Just(Who::Any),
        1 => Just(Who::Anonymous),
        1 => Just(Who::Named),
        2 => name().prop_map(|name| Who::User(text(name))),
        2 => name().prop_map(|name| Who::Client(text(name))),
        1 => name().prop_map(|name| Who::Claim(text("a"), text(name))),
    ];
    (any::<bool>(), who, 1..8_u8, pattern()).prop_map(|(allow, who, actions, pattern)| RawRule {
        allow,
        who,
        actions,
        pattern,
    })
}

const ACTIONS: [(u8, Action); 3] =
    [(1, Action::Publish), (2, Action::Subscribe), (4, Action::Receive)];

fn compile(default: Effect, rules: &[RawRule]) -> Permissions {
    let rules = rules.iter().map(|raw| Rule {
        effect: if raw.allow { Effect::Allow } else { Effect::Deny },
        who: raw.who.clone(),
        actions: ACTIONS
            .iter()
            .filter(|(bit, _)| raw.actions & bit != 0)
            .fold(Actions::NONE, |all, (_, action)| all | Actions::from(*action)),
        pattern: match &raw.pattern {
            Some(source) => Pattern::new(source).expect("a pattern"),
            None => Pattern::everything(),
        },
    });
    Permissions::new(default, rules.collect()).expect("rules")
}

/// What the evaluator knows of a client: user name, identifier, and the claims `a` and `b`.
type Known<'a> = (Option<&'a str>, &'a str, [Option<&'a str>; 2]);

/// The pattern's filter for this client, if it has one.
fn expand(source: &str, (user_name, client_id, claims): Known<'_>) -> Option<TopicFilter> {
    let mut expanded = source.to_owned();
    for (variables, value) in [
        (["{username}", "%u"], user_name),
        (["{client_id}", "%c"], Some(client_id)),
        (["{claim.a}"; 2], claims[0]),
        (["{claim.b}"; 2], claims[1]),
    ] {
        for variable in variables {
            if !source.contains(variable) {
                continue;
            }
            let value =
                value.filter(|value| !value.is_empty() && !value.contains(['/', '+', '#']))?;
            if source.starts_with(variable) && value.starts_with('$') {
                return None;
            }
            expanded = expanded.replace(variable, value);
        }
    }
    Some(TopicFilter::try_from(expanded.as_str()).expect("an expanded pattern is a filter"))
}

/// Whether the rule is about all that `narrow` matches.
fn is_about(rule: &RawRule, client: Known<'_>, narrow: &TopicFilter) -> bool {
    let (user_name, client_id, claims) = client;
    let who = match &rule.who {
        Who::Any => true,
        Who::Anonymous => user_name.is_none(),
        Who::Named => user_name.is_some(),
        Who::User(name) => user_name == Some(name.as_str()),
        Who::Client(id) => client_id == id.as_str(),
        Who::Claim(_, value) => claims[0] == Some(value.as_str()),
    };
    let Some(source) = &rule.pattern else { return who };
    let Some(filter) = expand(source, client) else { return false };
    let narrow_text = narrow.as_str();
    let leading_wildcard = source.starts_with(['+', '#']);
    let covers =
        if !rule.allow && leading_wildcard && narrow_text.starts_with('$') && !narrow.is_shared() {
            filter.covers(
                &TopicFilter::try_from(narrow_text.replacen('$', "z", 1).as_str())
                    .expect("a filter"),
            )
        } else {
            filter.covers(narrow)
        };
    who && covers
}

fn decide(
    default: Effect,
    rules: &[RawRule],
    client: Known<'_>,
    action: u8,
    narrow: &TopicFilter,
) -> Decision {
    let place =
        rules.iter().position(|rule| rule.actions & action != 0 && is_about(rule, client, narrow));
    match place.and_then(|place| rules.get(place)) {
        Some(rule) => Decision { allowed: rule.allow, rule: place },
        None => Decision { allowed: default == Effect::Allow, rule: None },
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        // A failure prints its smallest input, which then becomes a test of its own.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn permissions_agree_with_a_list_of_rules(
        allow in any::<bool>(),
        rules in prop::collection::vec(rule(), 0..8),
        user_name in prop::option::of(name()),
        client_id in name(),
        claims in [prop::option::of(name()), prop::option::of(name())],
        grants in prop::option::of(prop::collection::vec(rule(), 0..4)),
        inbox in prop::option::of(topic()),
        topic in topic(),
        filter in filter(),
    ) {
        let default = if allow { Effect::Allow } else { Effect::Deny };
        let permissions = compile(default, &rules);
        let user_text = user_name.map(text);
        let client_text = text(client_id);
        let named = [("a", claims[0]), ("b", claims[1])];
        let claimed = named.iter().filter_map(|(name, value)| Some((text(name), text((*value)?))));
        let claimed = Claims::new(claimed.collect());
        let granted = grants.as_ref().map(|grants| compile(Effect::Deny, grants));
        let subject = Subject {
            user_name: user_text.as_ref(),
            client_id: &client_text,
            claims: &claimed,
            grants: granted.as_ref(),
            inbox: inbox.as_ref(),
        };
        let own = Decision { allowed: true, rule: None };
        let who = (user_name, client_id, claims);

        let on_topic = TopicFilter::try_from(topic.as_str()).expect("a topic is a filter");
        for (bit, action) in ACTIONS {
            let judge = |default, rules: &[RawRule]| {
                let decision = decide(default, rules, who, bit, &on_topic);
                let subscribe = decide(default, rules, who, 2, &on_topic);
                let reads = action == Action::Receive && decision.allowed && !subscribe.allowed;
                if reads { subscribe } else { decision }
            };
            let mut expected = judge(default, &rules);
            if let Some(grants) = &grants {
                expected.allowed &= judge(Effect::Deny, grants).allowed;
            }
            if action != Action::Publish && inbox.as_ref() == Some(&topic) {
                expected = own;
            }
            prop_assert_eq!(permissions.allows(&subject, action, &topic), expected);
        }
        let matched = std::str::from_utf8(filter.match_bytes()).expect("UTF-8");
        let matched = TopicFilter::try_from(matched).expect("a filter");
        let mut expected = decide(default, &rules, who, 2, &matched);
        if let Some(grants) = &grants {
            expected.allowed &= decide(Effect::Deny, grants, who, 2, &matched).allowed;
        }
        if inbox.as_ref().is_some_and(|inbox| inbox.as_text() == matched.as_text()) {
            expected = own;
        }
        prop_assert_eq!(permissions.allows_subscribe(&subject, &filter), expected);
    }
}
