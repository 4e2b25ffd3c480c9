//! Mosquitto's file of rules, written from made-up lines, against a plain reading of its description.

use arbitrary::Arbitrary;
use signalhouse_core::permission::{Action, Subject};
use signalhouse_core::routing::topic::{Topic, TopicFilter};

use super::{expand, join, matches, name, read, rules, to_text};

const LEVELS: [&str; 14] = [
    "a",
    "b",
    "+",
    "#",
    "",
    "$SYS",
    "%u",
    "%c",
    "x%c-%u",
    "{username}",
    "{client_id}x",
    "%c{claim.role}",
    "deny x",
    "ann",
];
const TOPICS: [&str; 11] = [
    "a",
    "b",
    "",
    "$SYS",
    "ann",
    "c1",
    "xc1-ann",
    "{username}",
    "{client_id}x",
    "c1{claim.role}",
    "deny x",
];
const ACCESS: [&str; 5] = ["", "read ", "write ", "readwrite ", "deny "];

#[derive(Arbitrary, Debug)]
pub(super) struct MosquittoJudged {
    lines: Vec<Line>,
    user: Option<u8>,
    client: u8,
    action: u8,
    topic: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Line {
    User { name: u8 },
    Topic { access: u8, topic: Vec<u8> },
    Pattern { access: u8, topic: Vec<u8> },
    Comment,
}

impl Line {
    fn text(&self) -> String {
        let access = |place: &u8| ACCESS[usize::from(*place) % ACCESS.len()];
        match self {
            Line::User { name: place } => format!("user {}", name(*place)),
            Line::Topic { access: word, topic } => {
                format!("topic {}{}", access(word), join(topic, &LEVELS))
            }
            Line::Pattern { access: word, topic } => {
                format!("pattern {}{}", access(word), join(topic, &LEVELS))
            }
            Line::Comment => "# topic deny a".to_owned(),
        }
    }
}

impl MosquittoJudged {
    pub(super) fn play(&self) {
        let lines: Vec<String> = self.lines.iter().map(Line::text).collect();
        let topic = join(&self.topic, &TOPICS);
        judge(&lines, self.user.map(name), name(self.client), self.action, &topic);
    }
}

/// Holds what the rules in `lines` say against a plain reading of them.
fn judge(lines: &[String], user: Option<&str>, client: &str, action: u8, topic: &str) {
    let text = lines.join("\n");
    let Ok(known) = read(&rules(&text)) else { return };
    // Of a file without rules nothing tells whose it is.
    if lines.iter().all(|line| line.starts_with('#')) {
        return;
    }
    let Ok(topic) = Topic::try_from(topic) else { return };
    let (user_text, client_text) = (user.map(to_text), to_text(client));
    let subject = Subject::new(user_text.as_ref(), &client_text);
    let permissions = known.permissions();
    let plain = |wants| plainly(lines, user, client, wants, topic.as_str());
    let (decision, expected) = match action % 3 {
        0 => (permissions.allows(&subject, Action::Publish, &topic), plain("write")),
        1 => {
            let filter = TopicFilter::try_from(topic.as_str()).expect("a topic is a filter");
            // Subscribing is free, and what it brings is not.
            (permissions.allows_subscribe(&subject, &filter), (true, Some(0)))
        }
        _ => (permissions.allows(&subject, Action::Receive, &topic), plain("read")),
    };
    let line = decision.rule.and_then(|place| known.rule_line(place));
    let asked = (user, client, action % 3, topic.as_str());
    assert_eq!((decision.allowed, line), expected, "{text}\n{asked:?}");
}

/// Whether it is allowed, and by which line: those about the client itself come before patterns, and of each what
/// denies before what allows.
fn plainly(
    lines: &[String],
    user: Option<&str>,
    client: &str,
    wants: &str,
    topic: &str,
) -> (bool, Option<usize>) {
    for (verb, denies) in [("topic", true), ("topic", false), ("pattern", true), ("pattern", false)]
    {
        // Lines before the first `user` are about clients without a name.
        let mut about = None;
        for (place, line) in lines.iter().enumerate() {
            let (word, rest) = line.trim_end().split_once(' ').expect("every line has two words");
            if word == "user" {
                about = Some(rest);
            }
            if word != verb || (verb == "topic" && about != user) {
                continue;
            }
            let accesses = ["read", "write", "readwrite", "deny"];
            let (access, pattern) = match rest.split_once(' ') {
                Some((access, pattern)) if accesses.contains(&access) => (access, pattern),
                _ => ("readwrite", rest),
            };
            let is_about = access == "deny" || access.contains(wants);
            if (access == "deny") != denies || !is_about {
                continue;
            }
            let pattern = match verb {
                "pattern" => expand(pattern, &[("%u", user), ("%c", Some(client))]),
                _ => Some(pattern.to_owned()),
            };
            if pattern.is_some_and(|pattern| reaches(&pattern, topic, denies)) {
                return (!denies, Some(place + 1));
            }
        }
    }
    (false, None)
}

/// Whether a topic is meant; what denies reaches what begins with $ as well.
pub(super) fn reaches(pattern: &str, topic: &str, denies: bool) -> bool {
    match topic.strip_prefix('$') {
        Some(rest) if denies && pattern.starts_with(['+', '#']) => {
            matches(pattern, &format!("_{rest}"))
        }
        _ => matches(pattern, topic),
    }
}

#[cfg(test)]
mod tests {
    use super::{ACCESS, LEVELS, TOPICS, judge, plainly};

    /// Chance seldom finds a topic to a line.
    #[test]
    fn every_line_means_what_a_plain_reading_says() {
        for verb in ["topic", "pattern"] {
            for access in ACCESS {
                for level in LEVELS {
                    for topic in TOPICS {
                        // Behind a line that denies one topic of two levels.
                        let lines = ["topic deny a/a", &format!("{verb} {access}a/{level}")];
                        let lines = lines.map(str::to_owned);
                        for asked in 0..6 {
                            let user = (asked > 2).then_some("ann");
                            judge(&lines, user, "c1", asked, &format!("a/{topic}"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_plain_reading_knows_the_examples_of_the_description() {
        let lines = [
            "topic read $SYS/#",
            "pattern deny mail/%u/x",
            "user ann",
            "topic news",
            "topic deny news",
            "topic write to/{username}",
            "pattern mail/%u/#",
        ]
        .map(str::to_owned);
        let ask = |user, wants, topic| plainly(&lines, user, "c1", wants, topic);
        let ann = Some("ann");
        assert_eq!(ask(None, "read", "$SYS/a"), (true, Some(1)));
        assert_eq!(ask(None, "write", "$SYS/a"), (false, None));
        assert_eq!(ask(ann, "read", "$SYS/a"), (false, None));
        assert_eq!(ask(ann, "read", "news"), (false, Some(5)));
        assert_eq!(ask(ann, "write", "to/{username}"), (true, Some(6)));
        assert_eq!(ask(ann, "write", "to/ann"), (false, None));
        assert_eq!(ask(ann, "write", "mail/ann/y"), (true, Some(7)));
        assert_eq!(ask(ann, "write", "mail/ann/x"), (false, Some(2)));
        assert_eq!(ask(None, "write", "mail/ann/y"), (false, None));
    }
}
