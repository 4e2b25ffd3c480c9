//! `signalhouse acl explain`: may a client do this, and which rule says so.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use signalhouse_core::credential::Claims;
use signalhouse_core::permission::{Action, Actions, Decision, Permissions, Subject};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::types::Text;

use super::connection::{parse_topic, text};
use super::exit::{Exit, complain};
use crate::access::rules::RuleFile;
use crate::http::keys;
use crate::settings::{self, Overrides, Sources};

#[derive(Args, Debug)]
pub(super) struct AclArgs {
    #[command(subcommand)]
    command: AclCommand,
}

#[derive(Debug, Subcommand)]
enum AclCommand {
    /// Say whether a client may do something, and which rule decides. Exits with 1 if it may not.
    Explain(ExplainArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  signalhouse acl explain --acl rules.txt --user ann --topic rooms/1 --action publish
  signalhouse acl explain --config broker.toml --topic 'rooms/#' --action subscribe
  signalhouse acl explain --acl rules.txt --user ann --claim room=7 --topic r/7 --action publish
  signalhouse acl explain --acl rules.txt --user ann --grant 'r/+' --topic r/7 --action receive

A file of rules has lines, of which the first that is about client, action and topic decides;
what none decides is denied:
  allow|deny WHO ACTIONS TOPIC
  WHO      everyone, users, anonymous, user NAME, client ID, claim NAME VALUE
  ACTIONS  publish, subscribe, receive, read (subscribe and receive), all; joined by commas
  TOPIC    a topic filter, with {username}, {client_id} or {claim.NAME} in it
Mosquitto's acl_file is read as it is.

Who comes in by an API key or a token may be bound to topics beyond that: a key by its --topic,
a token by its claim topics, {\"publish\": [FILTER, ...], \"subscribe\": [FILTER, ...]}. With these as
grants, what is done must be allowed by the rules and covered by one of the grants.")]
struct ExplainArgs {
    /// The user name the client came in with; without it the client is anonymous.
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    /// Its client identifier.
    #[arg(short, long, value_name = "ID", default_value = "")]
    client: String,
    /// The topic; to subscribe, a filter.
    #[arg(short, long, value_name = "TOPIC")]
    topic: String,
    /// What it wants to do.
    #[arg(short, long, value_name = "ACTION")]
    action: Wanted,
    /// A claim of its token. Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    claim: Vec<String>,
    /// What its key is bound to, for every action. Repeatable.
    #[arg(long, value_name = "FILTER")]
    grant: Vec<String>,
    /// What its token may publish to. Repeatable.
    #[arg(long, value_name = "FILTER")]
    grant_publish: Vec<String>,
    /// What its token may subscribe to and receive. Repeatable.
    #[arg(long, value_name = "FILTER")]
    grant_subscribe: Vec<String>,
    /// The file of rules.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    acl: Option<PathBuf>,
    /// The settings that name it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wanted {
    Publish,
    Subscribe,
    Receive,
}

/// The rules in force.
#[derive(Default)]
struct Rules {
    /// The file they are from; `None` where there is none, and everything is allowed.
    path: Option<PathBuf>,
    text: String,
    file: RuleFile,
}

/// What came of the question.
struct Verdict {
    /// Whether the broker lets it be done.
    allowed: bool,
    /// What the rules say, whatever is granted.
    by_rules: Decision,
    /// Whether one of the grants covers it, and which; `None` where nothing bounds the client.
    by_grants: Option<Decision>,
}

pub(super) fn run(args: &AclArgs) -> Exit {
    let AclCommand::Explain(args) = &args.command;
    let rules = match rules(args) {
        Ok(rules) => rules,
        Err(fault) => return complain(Exit::Settings, &fault),
    };
    match decide(args, &rules.file.permissions) {
        Ok(verdict) => {
            say!("{}", explain(args, &rules, &verdict));
            if verdict.allowed { Exit::Orderly } else { Exit::Failed }
        }
        Err(fault) => complain(Exit::Arguments, &fault),
    }
}

fn rules(args: &ExplainArgs) -> Result<Rules, String> {
    let path = match &args.acl {
        Some(path) => Some(path.clone()),
        None => named_by_settings(args)?,
    };
    let Some(path) = path else { return Ok(Rules::default()) };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    let file = RuleFile::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Rules { path: Some(path), text, file })
}

/// The file that the settings name. Settings that name none must be meant.
fn named_by_settings(args: &ExplainArgs) -> Result<Option<PathBuf>, String> {
    let sources = Sources::of_process(args.config.clone());
    let settings = settings::load(&sources, &Overrides::default());
    let file = settings.map_err(|problem| problem.to_string())?.security.acl_file;
    if file.is_empty() && args.config.is_none() {
        let fault = "there is no file of rules, so everybody who is in may do everything; \
                     give --acl FILE, or set security.acl_file";
        return Err(fault.to_owned());
    }
    Ok((!file.is_empty()).then(|| PathBuf::from(file)))
}

fn decide(args: &ExplainArgs, rules: &Permissions) -> Result<Verdict, String> {
    let user = args.user.as_ref().map(|name| text(name, "the user name")).transpose()?;
    let client = text(&args.client, "the client identifier")?;
    let claims: Result<Vec<(Text, Text)>, String> = args
        .claim
        .iter()
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or("--claim needs NAME=VALUE")?;
            Ok((text(name, "the claim")?, text(value, "the claim")?))
        })
        .collect();
    let claims = Claims::new(claims?);
    let grants = args.grants().map(|(_, actions, filter)| (actions, filter));
    let grants = keys::grants(grants).map_err(|fault| format!("grant {fault}"))?;
    let unbound = Subject { claims: &claims, ..Subject::new(user.as_ref(), &client) };
    let bound = Subject { grants: grants.as_deref(), ..unbound };
    let asked = Asked::new(args)?;
    Ok(Verdict {
        allowed: asked.of(rules, &bound).allowed,
        by_rules: asked.of(rules, &unbound),
        by_grants: grants.as_deref().map(|grants| asked.of(grants, &unbound)),
    })
}

/// What is to be done, and where.
enum Asked {
    Topic(Action, Topic),
    Filter(TopicFilter),
}

impl Asked {
    fn new(args: &ExplainArgs) -> Result<Self, String> {
        Ok(match args.action {
            Wanted::Publish => Asked::Topic(Action::Publish, parse_topic(&args.topic)?),
            Wanted::Receive => Asked::Topic(Action::Receive, parse_topic(&args.topic)?),
            Wanted::Subscribe => {
                let filter = TopicFilter::try_from(args.topic.as_str());
                Asked::Filter(
                    filter.map_err(|error| format!("filter \"{}\": {error}", args.topic))?,
                )
            }
        })
    }

    fn of(&self, permissions: &Permissions, subject: &Subject<'_>) -> Decision {
        match self {
            Asked::Topic(action, topic) => permissions.allows(subject, *action, topic),
            Asked::Filter(filter) => permissions.allows_subscribe(subject, filter),
        }
    }
}

impl ExplainArgs {
    /// The grants: the option, what it is about, and its filter.
    fn grants(&self) -> impl Iterator<Item = (&'static str, Actions, &str)> {
        let of = |option, actions, filters| {
            let filters: &[String] = filters;
            filters.iter().map(move |filter| (option, actions, filter.as_str()))
        };
        of("--grant", Actions::ALL, &self.grant)
            .chain(of("--grant-publish", Action::Publish.into(), &self.grant_publish))
            .chain(of("--grant-subscribe", Actions::READ, &self.grant_subscribe))
    }
}

fn explain(args: &ExplainArgs, rules: &Rules, verdict: &Verdict) -> String {
    let word = if verdict.allowed { "allowed" } else { "denied" };
    let who =
        args.user.as_ref().map_or("an anonymous client".to_owned(), |user| format!("user {user}"));
    let what = match args.action {
        Wanted::Publish => "publish to",
        Wanted::Subscribe => "subscribe to",
        Wanted::Receive => "receive on",
    };
    let mut said = format!("{word}: {who}, {what} {}\n{}", args.topic, rules.why(verdict.by_rules));
    // What the rules deny, no grant allows.
    if let Some(by_grants) = verdict.by_grants.filter(|_| verdict.by_rules.allowed) {
        said.push('\n');
        said.push_str(&match by_grants.rule.and_then(|place| args.grants().nth(place)) {
            Some((option, _, filter)) => format!("{option} {filter} covers it"),
            None => "the rules allow it, and no grant covers it".to_owned(),
        });
    }
    said
}

impl Rules {
    /// Which rule decided, in words.
    fn why(&self, decision: Decision) -> String {
        let Some(path) = &self.path else {
            return "there is no file of rules, so everybody who is in may do everything"
                .to_owned();
        };
        match decision.rule.and_then(|place| self.file.lines.get(place)).copied() {
            None => "no rule is about it, and what no rule allows is denied".to_owned(),
            Some(0) => {
                "in Mosquitto's format everybody may subscribe; see --action receive".to_owned()
            }
            Some(line) => {
                let text = self.text.lines().nth(line - 1).unwrap_or_default().trim();
                format!("{}:{line}: {text}", path.display())
            }
        }
    }
}
