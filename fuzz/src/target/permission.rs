//! Files of rules and of passwords: any text is read or refused with its line, what was read and
//! written stays the same, and what the rules say is what a plain reading of them says.

mod mosquitto;

use arbitrary::{Arbitrary, Unstructured};
use signalhouse::access::Known;
use signalhouse::access::texts::Texts;
use signalhouse_core::credential::Claims;
use signalhouse_core::permission::{Action, Effect, Subject};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::types::Text;

use super::filter::matches;
use mosquitto::{MosquittoJudged, reaches};

/// The first byte of an input that is a [`MosquittoJudged`]. Another variant of [`Case`] would give every input that
/// there is another meaning.
const MOSQUITTO: u8 = 0xFD;

const NAMES: [&str; 8] = ["ann", "bob", "c1", "$x", "a/b", "+", "#", "{username}"];
const LEVELS: [&str; 12] = [
    "a",
    "b",
    "+",
    "#",
    "",
    "$SYS",
    "{username}",
    "x{client_id}",
    "%u",
    "%c-%u",
    "{claim.role}",
    "ann",
];
const TOPICS: [&str; 7] = ["a", "b", "", "$SYS", "ann", "xc1", "c1-ann"];
const CLAIM: &str = "role";

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Rules(&'a str),
    Passwords(&'a str),
    Judged(Judged),
}

#[derive(Arbitrary, Debug)]
struct Judged {
    rules: Vec<Line>,
    user: Option<u8>,
    client: u8,
    roles: Vec<u8>,
    action: u8,
    topic: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Line {
    allows: bool,
    who: u8,
    name: u8,
    actions: u8,
    topic: Vec<u8>,
}

/// Reads a file, or asks what rules allow.
///
/// # Panics
/// If what comes of it is not as it should be.
pub fn run(data: &[u8]) {
    if let Some((&MOSQUITTO, data)) = data.split_first() {
        let judged = MosquittoJudged::arbitrary_take_rest(Unstructured::new(data));
        return judged.map_or((), |judged| judged.play());
    }
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    match case {
        Case::Rules(text) => rules_of(text),
        Case::Passwords(text) => {
            let known = read(&passwords(text));
            refused_by_line(&known);
            if let Ok(known) = known {
                let written = known.passwords_text();
                let again = read(&passwords(&written)).map(|again| again.passwords_text());
                assert_eq!(again.as_deref(), Ok(written.as_str()), "{text:?}");
            }
        }
        Case::Judged(judged) => judged.play(),
    }
}

/// What is read has a rule for each line that is one, and what is refused is refused for just the line that is named.
fn rules_of(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let words = |line: &usize| -> Vec<&str> {
        let line = lines.get(line - 1).expect("a line of the file");
        line.split_whitespace().take(2).collect()
    };
    match read(&rules(text)) {
        Ok(known) => {
            let mut seen = Vec::new();
            for (place, rule) in known.permissions().rules().iter().enumerate() {
                let line = known.rule_line(place).expect("every rule has a line");
                if line == 0 {
                    continue;
                }
                seen.push(line);
                let denies = match words(&line)[..] {
                    ["allow", _] => false,
                    ["deny", _] => true,
                    ["topic" | "pattern", access] => {
                        // The topic itself may be called so.
                        access == "deny" && lines[line - 1].split_whitespace().count() > 2
                    }
                    ref other => panic!("{other:?} is no rule"),
                };
                assert_eq!(rule.effect == Effect::Deny, denies, "line {line} of {text:?}");
            }
            seen.sort_unstable();
            let is_rule = |line: &usize| {
                matches!(words(line).first(), Some(&("allow" | "deny" | "topic" | "pattern")))
            };
            let expected: Vec<usize> = (1..=lines.len()).filter(is_rule).collect();
            assert_eq!(seen, expected, "{text:?}");
        }
        Err(error) => {
            let number = error.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
            let number: Option<usize> = number.and_then(|(number, _)| number.parse().ok());
            let number = number.unwrap_or_else(|| panic!("{error:?} names no line"));
            let until = |line: usize| lines.get(..line).expect("a line of the file").join("\n");
            assert!(!words(&number).is_empty(), "{error}, which is empty: {text:?}");
            assert!(read(&rules(&until(number - 1))).is_ok(), "{error}, not the first: {text:?}");
            assert_eq!(read(&rules(&until(number))).err(), Some(error), "{text:?}");
        }
    }
}

fn rules(text: &str) -> Texts<'_> {
    Texts { rules: Some(text), ..Texts::default() }
}

fn passwords(text: &str) -> Texts<'_> {
    Texts { passwords: Some(text), ..Texts::default() }
}

fn read(texts: &Texts<'_>) -> Result<Known, String> {
    Known::from_texts(texts)
}

fn refused_by_line(known: &Result<Known, String>) {
    if let Err(error) = known {
        assert!(error.starts_with("line "), "{error}");
    }
}

impl Judged {
    fn play(&self) {
        let lines: Vec<String> = self.rules.iter().map(Line::text).collect();
        let text = lines.join("\n");
        let Ok(known) = read(&rules(&text)) else { return };
        let topic = join(&self.topic, &TOPICS);
        let Ok(topic) = Topic::try_from(topic.as_str()) else { return };
        let user = self.user.map(name);
        let roles: Vec<&str> = self.roles.iter().map(|role| name(*role)).collect();
        let client = name(self.client);
        let claims = roles.iter().map(|role| (to_text(CLAIM), to_text(role))).collect();
        let claims = Claims::new(claims);
        let (user_text, client_text) = (user.map(to_text), to_text(client));
        let subject = Subject {
            user_name: user_text.as_ref(),
            client_id: &client_text,
            claims: &claims,
            grants: None,
            inbox: None,
        };
        let permissions = known.permissions();
        let plain = |action| self.plainly(user, client, &roles, action, topic.as_str());
        let (decision, expected) = match self.action % 3 {
            0 => (permissions.allows(&subject, Action::Publish, &topic), plain("publish")),
            1 => {
                let filter = TopicFilter::try_from(topic.as_str()).expect("a topic is a filter");
                if filter.is_shared() {
                    return;
                }
                (permissions.allows_subscribe(&subject, &filter), plain("subscribe"))
            }
            _ => {
                let allowed = plain("receive").0 && plain("subscribe").0;
                let line =
                    if plain("receive").0 { plain("subscribe").1 } else { plain("receive").1 };
                let line = if allowed { plain("receive").1 } else { line };
                (permissions.allows(&subject, Action::Receive, &topic), (allowed, line))
            }
        };
        let line = decision.rule.and_then(|place| known.rule_line(place));
        assert_eq!((decision.allowed, line), expected, "{text}\n{self:?}");
    }

    /// Rule by rule, as the format's description tells it: whether it is allowed, and the line.
    fn plainly(
        &self,
        user: Option<&str>,
        client: &str,
        roles: &[&str],
        action: &str,
        topic: &str,
    ) -> (bool, Option<usize>) {
        for (place, rule) in self.rules.iter().enumerate() {
            let is_about = match rule.who % 6 {
                0 => true,
                1 => user.is_some(),
                2 => user.is_none(),
                3 => user == Some(name(rule.name)),
                4 => client == name(rule.name),
                _ => roles.contains(&name(rule.name)),
            };
            let role = match roles {
                [role] => Some(*role),
                _ => None,
            };
            let variables = [
                ("{username}", user),
                ("%u", user),
                ("{client_id}", Some(client)),
                ("%c", Some(client)),
                ("{claim.role}", role),
            ];
            let pattern = expand(&join(&rule.topic, &LEVELS), &variables);
            let is_reached = pattern.is_some_and(|pattern| reaches(&pattern, topic, !rule.allows));
            if is_about && rule.actions().contains(&action) && is_reached {
                return (rule.allows, Some(place + 1));
            }
        }
        (false, None)
    }
}

impl Line {
    fn text(&self) -> String {
        let name = name(self.name);
        let who = match self.who % 6 {
            0 => "everyone".to_owned(),
            1 => "users".to_owned(),
            2 => "anonymous".to_owned(),
            3 => format!("user {name}"),
            4 => format!("client {name}"),
            _ => format!("claim {CLAIM} {name}"),
        };
        let verb = if self.allows { "allow" } else { "deny" };
        format!("{verb} {who} {} {}", self.actions().join(","), join(&self.topic, &LEVELS))
    }

    fn actions(&self) -> Vec<&'static str> {
        let all = ["publish", "subscribe", "receive"];
        let chosen = all.into_iter().zip([1, 2, 4]).filter(|(_, bit)| self.actions & bit != 0);
        let chosen: Vec<_> = chosen.map(|(name, _)| name).collect();
        if chosen.is_empty() { vec!["receive"] } else { chosen }
    }
}

fn name(place: u8) -> &'static str {
    NAMES[usize::from(place) % NAMES.len()]
}

fn to_text(text: &str) -> Text {
    Text::try_from(text).expect("the texts here are well-formed")
}

fn join(levels: &[u8], known: &[&str]) -> String {
    let levels: Vec<&str> =
        levels.iter().map(|level| known[usize::from(*level) % known.len()]).collect();
    levels.join("/")
}

/// The pattern for one client; nothing if a variable has no value that can be a level's part.
fn expand(pattern: &str, variables: &[(&str, Option<&str>)]) -> Option<String> {
    let mut rest = pattern;
    let mut out = String::new();
    'next: while !rest.is_empty() {
        for (variable, value) in variables {
            if let Some(behind) = rest.strip_prefix(variable) {
                let value =
                    value.filter(|value| !value.is_empty() && !value.contains(['/', '+', '#']))?;
                if out.is_empty() && value.starts_with('$') {
                    return None;
                }
                out.push_str(value);
                rest = behind;
                continue 'next;
            }
        }
        let mut letters = rest.chars();
        out.extend(letters.next());
        rest = letters.as_str();
    }
    Some(out)
}
