//! Files of rules of who may publish, subscribe and receive what: our own lines, and Mosquitto's
//! file as it is. Which of the two a file is, its first words say.
//!
//! Our own lines, in order; the first that is about client, action and topic decides, and what no
//! line decides is denied:
//!
//! ```text
//! allow|deny WHO ACTIONS TOPIC
//! WHO      everyone | users | anonymous | user NAME | client ID | claim NAME VALUE
//! ACTIONS  publish, subscribe, receive, read (subscribe and receive), all; joined by commas
//! TOPIC    a topic filter to the end of the line, with {username}, {client_id} or {claim.NAME}
//! ```

use std::str::SplitWhitespace;
use std::sync::Arc;

use signalhouse_core::permission::{
    Action, Actions, Effect, Pattern, PatternError, Permissions, Rule, Who,
};
use signalhouse_core::wire::types::Text;

/// Rules, and where each stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleFile {
    pub(crate) permissions: Arc<Permissions>,
    /// The lines of the rules, from 1, in the order of the rules; 0 for what the format implies.
    pub(crate) lines: Vec<usize>,
}

/// What is wrong with a file of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub(crate) struct RulesError {
    line: usize,
    fault: RuleFault,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleFault {
    #[error(
        "\"{0}\" begins no rule; write allow or deny (or, in Mosquitto's format, user, topic or pattern)"
    )]
    Verb(String),
    #[error(
        "this line is in another format than the lines before it; use allow and deny, or user, topic and pattern"
    )]
    Mixed,
    #[error(
        "\"{0}\" is nobody; write everyone, users, anonymous, user NAME, client ID or claim NAME VALUE"
    )]
    Who(String),
    #[error("{0} is missing; write allow|deny WHO ACTIONS TOPIC")]
    Missing(&'static str),
    #[error(
        "\"{0}\" is no action; write publish, subscribe, receive, read or all, joined by commas"
    )]
    Action(String),
    #[error("topic \"{topic}\": {error}")]
    Topic { topic: String, error: PatternError },
    #[error("a name has a character that MQTT does not allow")]
    Name,
    #[error("the topic is missing; write topic [read|write|readwrite|deny] TOPIC")]
    NoTopic,
}

impl RuleFile {
    /// Reads a file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, RulesError> {
        let mut reading = Reading::default();
        for (place, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            reading.line(place + 1, line).map_err(|fault| RulesError { line: place + 1, fault })?;
        }
        Ok(reading.finish())
    }
}

/// A rule with its line.
type Placed = (usize, Rule);

#[derive(Default)]
struct Reading {
    format: Option<Format>,
    /// Ours, in order.
    rules: Vec<Placed>,
    mosquitto: Mosquitto,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Ours,
    Mosquitto,
}

impl Reading {
    fn line(&mut self, number: usize, line: &str) -> Result<(), RuleFault> {
        let verb = line.split_whitespace().next().unwrap_or_default();
        let format = match verb {
            "allow" | "deny" => Format::Ours,
            "user" | "topic" | "pattern" => Format::Mosquitto,
            _ => return Err(RuleFault::Verb(verb.to_owned())),
        };
        if *self.format.get_or_insert(format) != format {
            return Err(RuleFault::Mixed);
        }
        match format {
            Format::Ours => self.rules.push((number, parse_rule(line)?)),
            Format::Mosquitto => self.mosquitto.line(number, verb, line)?,
        }
        Ok(())
    }

    fn finish(self) -> RuleFile {
        let rules = match self.format {
            Some(Format::Ours) | None => self.rules,
            Some(Format::Mosquitto) => self.mosquitto.finish(),
        };
        let (lines, rules) = rules.into_iter().unzip();
        // Every rule has an action: both parsers see to that.
        let permissions = Permissions::new(Effect::Deny, rules).unwrap_or_default();
        RuleFile { permissions: Arc::new(permissions), lines }
    }
}

fn parse_rule(line: &str) -> Result<Rule, RuleFault> {
    let mut words = line.split_whitespace();
    let effect = if words.next() == Some("allow") { Effect::Allow } else { Effect::Deny };
    let who = parse_who(&mut words)?;
    let actions = parse_actions(words.next().ok_or(RuleFault::Missing("the action"))?)?;
    let topic = rest_of(line, &mut words);
    if topic.is_empty() {
        return Err(RuleFault::Missing("the topic"));
    }
    Ok(Rule { effect, who, actions, pattern: parse_pattern(topic)? })
}

fn parse_who(words: &mut SplitWhitespace<'_>) -> Result<Who, RuleFault> {
    let mut next = |what| words.next().ok_or(RuleFault::Missing(what));
    Ok(match next("WHO")? {
        "everyone" => Who::Any,
        "users" => Who::Named,
        "anonymous" => Who::Anonymous,
        "user" => Who::User(parse_name(next("the user's name")?)?),
        "client" => Who::Client(parse_name(next("the client identifier")?)?),
        "claim" => {
            Who::Claim(parse_name(next("the claim's name")?)?, parse_name(next("its value")?)?)
        }
        other => return Err(RuleFault::Who(other.to_owned())),
    })
}

/// Reads actions joined by commas.
fn parse_actions(text: &str) -> Result<Actions, RuleFault> {
    text.split(',').try_fold(Actions::NONE, |all, word| {
        Ok(all
            | match word {
                "publish" => Actions::from(Action::Publish),
                "subscribe" => Action::Subscribe.into(),
                "receive" => Action::Receive.into(),
                "read" => Actions::READ,
                "all" => Actions::ALL,
                _ => return Err(RuleFault::Action(word.to_owned())),
            })
    })
}

fn parse_pattern(topic: &str) -> Result<Pattern, RuleFault> {
    Pattern::new(topic).map_err(|error| RuleFault::Topic { topic: topic.to_owned(), error })
}

fn parse_name(name: &str) -> Result<Text, RuleFault> {
    // Names may stand in quotes, as they do in the examples of many shells.
    Text::try_from(name.trim_matches('"')).map_err(|_| RuleFault::Name)
}

/// What of `line` lies behind the words already taken.
fn rest_of<'a>(line: &'a str, words: &mut SplitWhitespace<'_>) -> &'a str {
    match words.next() {
        // The next word is a part of the same line, so its place in it can be computed.
        Some(word) => &line[word.as_ptr().addr() - line.as_ptr().addr()..],
        None => "",
    }
}

/// Mosquitto's file: lines about clients without a user name, then those of users, and patterns
/// for all. What denies comes before what allows, wherever it stands.
#[derive(Default)]
struct Mosquitto {
    user: Option<Text>,
    topics: Sorted,
    patterns: Sorted,
}

#[derive(Default)]
struct Sorted {
    denying: Vec<Placed>,
    allowing: Vec<Placed>,
}

impl Mosquitto {
    fn line(&mut self, number: usize, verb: &str, line: &str) -> Result<(), RuleFault> {
        let rest = line[verb.len()..].trim_start();
        if verb == "user" {
            if rest.is_empty() {
                return Err(RuleFault::Missing("the user's name"));
            }
            self.user = Some(Text::try_from(rest).map_err(|_| RuleFault::Name)?);
            return Ok(());
        }
        let (access, topic) = match rest.split_once(char::is_whitespace) {
            Some((word @ ("read" | "write" | "readwrite" | "deny"), topic)) => {
                (word, topic.trim_start())
            }
            Some(_) | None => ("readwrite", rest),
        };
        if topic.is_empty() {
            return Err(RuleFault::NoTopic);
        }
        let actions = match access {
            "read" => Action::Receive.into(),
            "write" => Action::Publish.into(),
            // To deny subscribing is to deny what it would bring.
            _ => Action::Publish | Action::Receive,
        };
        let effect = if access == "deny" { Effect::Deny } else { Effect::Allow };
        let is_pattern = verb == "pattern";
        let (who, pattern, sorted) = if is_pattern {
            (Who::Any, mosquitto_pattern(topic)?, &mut self.patterns)
        } else {
            let who = self.user.clone().map_or(Who::Anonymous, Who::User);
            (who, literal(topic)?, &mut self.topics)
        };
        let placed = (number, Rule { effect, who, actions, pattern });
        match effect {
            Effect::Deny => sorted.denying.push(placed),
            Effect::Allow => sorted.allowing.push(placed),
        }
        Ok(())
    }

    fn finish(self) -> Vec<Placed> {
        // Subscribing is free there, and what it brings is not.
        let subscribe = Rule {
            effect: Effect::Allow,
            who: Who::Any,
            actions: Action::Subscribe.into(),
            pattern: Pattern::everything(),
        };
        let parts = [
            self.topics.denying,
            self.topics.allowing,
            self.patterns.denying,
            self.patterns.allowing,
        ];
        parts.into_iter().flatten().chain([(0, subscribe)]).collect()
    }
}

/// A topic in which nothing stands for something else.
fn literal(topic: &str) -> Result<Pattern, RuleFault> {
    let wrong = |error: PatternError| RuleFault::Topic { topic: topic.to_owned(), error };
    let filter = topic.try_into().map_err(|error| wrong(PatternError::Filter(error)))?;
    Pattern::literal(&filter).map_err(wrong)
}

/// A pattern in which `%u` and `%c` stand for something else, and names in braces do not.
fn mosquitto_pattern(topic: &str) -> Result<Pattern, RuleFault> {
    Pattern::with_percents(topic)
        .map_err(|error| RuleFault::Topic { topic: topic.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use signalhouse_core::permission::Subject;
    use signalhouse_core::routing::topic::{Topic, TopicFilter};

    use super::*;

    /// Whether user `user` at client `c1` may, and which line says so.
    fn ask(file: &RuleFile, user: Option<&str>, action: Action, topic: &str) -> (bool, usize) {
        let user = user.map(|name| Text::try_from(name).expect("a name"));
        let client_id = Text::try_from("c1").expect("a name");
        let subject = Subject::new(user.as_ref(), &client_id);
        let decision = if action == Action::Subscribe {
            let filter = TopicFilter::try_from(topic).expect("a filter");
            file.permissions.allows_subscribe(&subject, &filter)
        } else {
            let topic = Topic::try_from(topic).expect("a topic");
            file.permissions.allows(&subject, action, &topic)
        };
        (decision.allowed, decision.rule.map_or(0, |place| file.lines[place]))
    }

    #[test]
    fn our_lines_are_read_in_order() {
        let file = RuleFile::parse(
            "# rooms\n\
             deny  everyone   read               secret/#\n\
             allow user ann   publish,subscribe  rooms/{username}/a b\n\
             allow client c1  receive            rooms/%c\n\
             allow anonymous  all                lobby\n\
             \n\
             allow claim role admin all #\n\
             allow users read public/#\n",
        )
        .expect("rules");
        let ann = Some("ann");
        assert_eq!(file.lines, [2, 3, 4, 5, 7, 8]);
        assert_eq!(ask(&file, ann, Action::Subscribe, "secret/x"), (false, 2));
        assert_eq!(ask(&file, ann, Action::Publish, "secret/x"), (false, 0));
        assert_eq!(ask(&file, ann, Action::Publish, "rooms/ann/a b"), (true, 3));
        assert_eq!(ask(&file, Some("bob"), Action::Publish, "rooms/bob/a b"), (false, 0));
        assert_eq!(ask(&file, None, Action::Publish, "lobby"), (true, 5));
        assert_eq!(ask(&file, ann, Action::Receive, "public/x"), (true, 8));
        assert_eq!(ask(&file, None, Action::Receive, "public/x"), (false, 0));
    }

    #[test]
    fn an_empty_file_allows_nothing() {
        for text in ["", "# nothing\n\n"] {
            let file = RuleFile::parse(text).expect("rules");
            assert!(!ask(&file, Some("ann"), Action::Publish, "a").0);
        }
    }

    /// The file of Mosquitto's own documentation, with a denial.
    #[test]
    fn mosquittos_file_is_read_as_it_is() {
        let file = RuleFile::parse(
            "# This affects access control for clients with no username.\n\
             topic read $SYS/#\n\
             topic lobby\n\
             \n\
             user roger smith\n\
             topic foo/bar\n\
             topic read from/#\n\
             topic deny from/secret\n\
             topic write to/{username} x\n\
             pattern write $SYS/broker/connection/%c/state\n\
             pattern readwrite mail/%u\n\
             pattern read mail/%u/{id}\n\
             pattern read by/%c/{username}/${x}\n",
        )
        .expect("rules");
        let roger = Some("roger smith");
        assert_eq!(ask(&file, None, Action::Receive, "$SYS/broker/uptime"), (true, 2));
        assert_eq!(ask(&file, roger, Action::Receive, "$SYS/broker/uptime"), (false, 0));
        assert_eq!(ask(&file, None, Action::Publish, "lobby"), (true, 3));
        assert_eq!(ask(&file, roger, Action::Publish, "foo/bar"), (true, 6));
        assert_eq!(ask(&file, roger, Action::Receive, "from/x"), (true, 7));
        assert_eq!(ask(&file, roger, Action::Publish, "from/x"), (false, 0));
        assert_eq!(ask(&file, roger, Action::Receive, "from/secret"), (false, 8));
        assert_eq!(ask(&file, roger, Action::Publish, "to/{username} x"), (true, 9));
        assert_eq!(
            ask(&file, None, Action::Publish, "$SYS/broker/connection/c1/state"),
            (true, 10)
        );
        assert_eq!(ask(&file, roger, Action::Receive, "mail/roger smith"), (true, 11));
        assert_eq!(ask(&file, None, Action::Receive, "mail/roger smith"), (false, 0));
        assert_eq!(ask(&file, roger, Action::Receive, "mail/roger smith/{id}"), (true, 12));
        assert_eq!(ask(&file, roger, Action::Receive, "by/c1/{username}/${x}"), (true, 13));
        assert_eq!(ask(&file, roger, Action::Receive, "by/c1/roger smith/${x}"), (false, 0));
        assert_eq!(ask(&file, roger, Action::Subscribe, "anything/#"), (true, 0));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            (
                "\npermit all a",
                "line 2: \"permit\" begins no rule; write allow or deny (or, in Mosquitto's \
                 format, user, topic or pattern)",
            ),
            (
                "allow everyone all a\ntopic b",
                "line 2: this line is in another format than the lines before it; use allow \
                 and deny, or user, topic and pattern",
            ),
            (
                "allow ann all a",
                "line 1: \"ann\" is nobody; write everyone, users, anonymous, user NAME, client ID or claim NAME VALUE",
            ),
            (
                "allow user",
                "line 1: the user's name is missing; write allow|deny WHO ACTIONS TOPIC",
            ),
            (
                "allow everyone write a",
                "line 1: \"write\" is no action; write publish, subscribe, receive, read or all, joined by commas",
            ),
            (
                "deny everyone all",
                "line 1: the topic is missing; write allow|deny WHO ACTIONS TOPIC",
            ),
            ("user", "line 1: the user's name is missing; write allow|deny WHO ACTIONS TOPIC"),
            (
                "topic",
                "line 1: the topic is missing; write topic [read|write|readwrite|deny] TOPIC",
            ),
        ] {
            assert_eq!(RuleFile::parse(text).expect_err(text).to_string(), expected);
        }
        for text in
            ["allow everyone all a#", "topic a#", "pattern %u#", "allow users read {nobody}"]
        {
            let error = RuleFile::parse(text).expect_err(text).to_string();
            assert!(error.starts_with("line 1: topic \""), "{error}");
        }
    }
}
