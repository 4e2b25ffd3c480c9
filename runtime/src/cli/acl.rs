//! `signalhouse acl explain`: may a client do this, and which rule says so.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use signalhouse_core::credential::Claims;
use signalhouse_core::permission::{Action, Decision, Subject};
use signalhouse_core::routing::topic::TopicFilter;
use signalhouse_core::wire::types::Text;

use super::connection::{parse_topic, text};
use super::exit::{Exit, complain};
use crate::access::rules::RuleFile;
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

A file of rules has lines, of which the first that is about client, action and topic decides;
what none decides is denied:
  allow|deny WHO ACTIONS TOPIC
  WHO      everyone, users, anonymous, user NAME, client ID, claim NAME VALUE
  ACTIONS  publish, subscribe, receive, read (subscribe and receive), all; joined by commas
  TOPIC    a topic filter, with {username}, {client_id} or {claim.NAME} in it
Mosquitto's acl_file is read as it is.")]
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

pub(super) fn run(args: &AclArgs) -> Exit {
    let AclCommand::Explain(args) = &args.command;
    let path = match path_of(args) {
        Ok(path) => path,
        Err(fault) => return complain(Exit::Settings, &fault),
    };
    let source = match std::fs::read_to_string(&path) {
        Ok(source) => source,
        Err(error) => {
            let fault = format!("{}: cannot be read: {error}", path.display());
            return complain(Exit::Settings, &fault);
        }
    };
    let rules = match RuleFile::parse(&source) {
        Ok(rules) => rules,
        Err(error) => {
            return complain(Exit::Settings, &format!("{}: {error}", path.display()));
        }
    };
    match decide(args, &rules) {
        Ok(decision) => {
            say!("{}", explain(args, &rules, &source, &path, decision));
            if decision.allowed { Exit::Orderly } else { Exit::Failed }
        }
        Err(fault) => complain(Exit::Arguments, &fault),
    }
}

fn path_of(args: &ExplainArgs) -> Result<PathBuf, String> {
    if let Some(path) = &args.acl {
        return Ok(path.clone());
    }
    let sources = Sources::of_process(args.config.clone());
    let settings = settings::load(&sources, &Overrides::default());
    let file = settings.map_err(|problem| problem.to_string())?.security.acl_file;
    if file.is_empty() {
        let fault = "there is no file of rules, so everybody who is in may do everything; \
                     give --acl FILE, or set security.acl_file";
        return Err(fault.to_owned());
    }
    Ok(PathBuf::from(file))
}

fn decide(args: &ExplainArgs, rules: &RuleFile) -> Result<Decision, String> {
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
    let subject = Subject { claims: &claims, ..Subject::new(user.as_ref(), &client) };
    let permissions = &rules.permissions;
    Ok(match args.action {
        Wanted::Publish => {
            permissions.allows(&subject, Action::Publish, &parse_topic(&args.topic)?)
        }
        Wanted::Receive => {
            permissions.allows(&subject, Action::Receive, &parse_topic(&args.topic)?)
        }
        Wanted::Subscribe => {
            let filter = TopicFilter::try_from(args.topic.as_str())
                .map_err(|error| format!("filter \"{}\": {error}", args.topic))?;
            permissions.allows_subscribe(&subject, &filter)
        }
    })
}

fn explain(
    args: &ExplainArgs,
    rules: &RuleFile,
    source: &str,
    path: &Path,
    decision: Decision,
) -> String {
    let verdict = if decision.allowed { "allowed" } else { "denied" };
    let who =
        args.user.as_ref().map_or("an anonymous client".to_owned(), |user| format!("user {user}"));
    let what = match args.action {
        Wanted::Publish => "publish to",
        Wanted::Subscribe => "subscribe to",
        Wanted::Receive => "receive on",
    };
    let line = decision.rule.and_then(|place| rules.lines.get(place)).copied();
    let why = match line {
        None => "no rule is about it, and what no rule allows is denied".to_owned(),
        Some(0) => "in Mosquitto's format everybody may subscribe; see --action receive".to_owned(),
        Some(line) => {
            let text = source.lines().nth(line - 1).unwrap_or_default().trim();
            format!("{}:{line}: {text}", path.display())
        }
    };
    format!("{verdict}: {who}, {what} {}\n{why}", args.topic)
}
