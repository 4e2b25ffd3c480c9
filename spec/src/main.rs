//! The conformance suite as a command: `cargo conformance --target HOST:PORT`.

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use signalhouse_spec::capabilities::Capabilities;
use signalhouse_spec::case::Case;
use signalhouse_spec::deviations::Deviations;
use signalhouse_spec::line;
use signalhouse_spec::mutations::{self, Mutation, Noticed};
use signalhouse_spec::report::{self, Counts};
use signalhouse_spec::run::{self, Outcome};
use signalhouse_spec::suite;

/// Judges an MQTT broker by the standard, over plain TCP; a broker that serves TLS alone cannot be judged.
///
/// Ends with 0 if all is as it should be, 1 if not, 2 if it could not begin. It leaves no retained
/// messages and no sessions that outlive a minute.
#[derive(Debug, Parser)]
#[command(name = "conformance", version)]
struct Arguments {
    /// The broker, as HOST:PORT.
    #[arg(long, required_unless_present = "list")]
    target: Option<String>,
    /// What the broker offers, as a file; see spec/caps-example.toml.
    #[arg(long)]
    caps: Option<PathBuf>,
    /// Differences that are known and explained; any other, and any that is gone, fails.
    #[arg(long, conflicts_with = "mutations")]
    deviations: Option<PathBuf>,
    /// Play every case through the WebSocket that the file of --caps names, instead of TCP.
    #[arg(long, requires = "caps", conflicts_with = "mutations")]
    by_websocket: bool,
    /// Only the cases of this subject or statement, or with this in their name; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Fail on what is against advice too.
    #[arg(long)]
    strict: bool,
    /// Write the outcome to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Cases at a time.
    #[arg(long, default_value_t = 48)]
    parallel: usize,
    /// Show failures that are not explained, and sums, alone.
    #[arg(long)]
    quiet: bool,
    /// Test the suite itself: break the rules of a broker that keeps them, one by one, and see that
    /// exactly the right cases notice. Fails too if a case fails before, or if fewer than 100
    /// statements are noticed broken by the whole suite, or no rule of the part that --only names.
    #[arg(long)]
    mutations: bool,
    /// List the cases with their subjects and statements, with what of a broker they need, and end; with
    /// --only those alone that it would play.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match judge(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("conformance: {problem}");
            ExitCode::from(2)
        }
    }
}

fn judge(arguments: &Arguments) -> Result<bool, String> {
    let cases = chosen(&arguments.only)?;
    if arguments.list {
        cases.iter().for_each(|case| say(&listed(case)));
        return Ok(true);
    }
    // Whoever cannot have the outcome should know before the minutes it takes.
    if let Some(path) = &arguments.json {
        written(path, "")?;
    }
    let name = arguments.target.as_deref().unwrap_or_default();
    let capabilities = offered(arguments)?;
    let target = find(name, &capabilities)?;
    let deviations = match &arguments.deviations {
        Some(path) => Some(
            Deviations::parse(&read(path)?)
                .map_err(|problem| format!("{}: {problem}", path.display()))?,
        ),
        None => None,
    };
    let capabilities = run::probe(target, capabilities)
        .map_err(|failure| format!("{name} does not let a plain client in: {}", failure.0))?;
    let start = std::time::Instant::now();
    let outcomes = run::run(&cases, target, &capabilities, arguments.parallel);
    if arguments.quiet {
        let explained = |one: &Outcome| deviations.as_ref().is_some_and(|known| known.explain(one));
        let shown = outcomes.iter().filter(|one| one.failed() && !explained(one));
        let failed: Vec<_> = shown.cloned().collect();
        say(&report::table(&failed).to_string());
    } else {
        say(&report::table(&outcomes).to_string());
    }
    say("\n");
    say(&report::summary(&outcomes).to_string());
    say(&format!("{:.1} s\n", start.elapsed().as_secs_f64()));
    let mut document = report::json(name, &outcomes);
    if arguments.mutations {
        let noticed = mutate(target, &capabilities, &outcomes);
        document["mutations"] = report::mutations_json(&noticed);
        write_json(arguments, &document)?;
        // A part may be all of expected behaviours, of which none is a statement.
        let is_whole = arguments.only.is_empty();
        let least =
            if is_whole { mutations::LEAST_STATEMENTS } else { usize::from(noticed.is_empty()) };
        let lines = mutations::unproven(&outcomes, &noticed, least);
        lines.iter().for_each(|line| say(&format!("the suite is not proven: {line}\n")));
        return Ok(lines.is_empty());
    }
    if let Some(deviations) = &deviations {
        document["deviations"] = report::deviations_json(deviations, &outcomes);
    }
    write_json(arguments, &document)?;
    if let Some(deviations) = deviations {
        let lines = deviations.disagreements(&outcomes);
        for line in &lines {
            say(&format!("{line}\n"));
        }
        say(&format!(
            "{} differences of {} explained\n",
            deviations.deviation.len(),
            deviations.target
        ));
        return Ok(lines.is_empty());
    }
    let counts = Counts::of(&outcomes);
    Ok(counts.failed == 0 && (!arguments.strict || counts.unadvised == 0))
}

/// A case's line: subject, name, statements, and in brackets what is special about it.
fn listed(case: &Case) -> String {
    let needs: Vec<String> = case.needs.iter().map(|need| format!("{need:?}")).collect();
    let mut special = Vec::new();
    if !needs.is_empty() {
        special.push(format!("needs {}", needs.join(", ")));
    }
    special.extend(case.advice.then(|| "advice".to_owned()));
    special.extend(case.slow.then(|| "takes seconds".to_owned()));
    let special =
        if special.is_empty() { String::new() } else { format!("  ({})", special.join("; ")) };
    format!("{}  {}  {}{special}\n", case.subject(), case.name, case.statements.join(" "))
}

fn write_json(arguments: &Arguments, document: &serde_json::Value) -> Result<(), String> {
    let Some(path) = &arguments.json else { return Ok(()) };
    written(path, &format!("{document:#}\n"))
}

fn written(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What the target offers, as far as its operator says.
fn offered(arguments: &Arguments) -> Result<Capabilities, String> {
    let mut capabilities = match &arguments.caps {
        Some(path) => Capabilities::parse(&read(path)?)
            .map_err(|problem| format!("{}: {problem}", path.display()))?,
        None => Capabilities::default(),
    };
    if arguments.by_websocket && capabilities.websocket.is_none() {
        return Err("--by-websocket: the file of --caps names no websocket".to_owned());
    }
    capabilities.by_websocket = arguments.by_websocket;
    Ok(capabilities)
}

/// Breaks each rule that the target has, and says whether exactly the cases that should notice it.
fn mutate(target: SocketAddr, capabilities: &Capabilities, sound: &[Outcome]) -> Vec<Noticed> {
    let start = std::time::Instant::now();
    let of_target = mutations::of_target(sound);
    let noticed = mutations::play_widely(&of_target, target, capabilities, sound, 8);
    let mut right = 0;
    for one in &noticed {
        let Mutation { name, statement, .. } = one.mutation;
        match one.fault() {
            None => {
                right += 1;
                say(&format!(
                    "noticed  {statement}  {name} ({} of {})\n",
                    one.failed.len(),
                    one.played
                ));
            }
            Some(fault) => say(&format!("FAULT    {statement}  {name}: {fault}\n")),
        }
    }
    say(&format!(
        "{right} of {} mutations noticed by exactly the right cases, {} of rules that are not offered; \
         {} statements broken, {:.1} s\n",
        noticed.len(),
        mutations::all().len() - of_target.len(),
        mutations::statements(&noticed).len(),
        start.elapsed().as_secs_f64()
    ));
    noticed
}

/// Prints. If nobody reads any more, the program ends without a word, as if SIGPIPE had ended it.
fn say(text: &str) {
    const UNREAD: i32 = 141;
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(UNREAD);
    }
}

fn chosen(only: &[String]) -> Result<Vec<Case>, String> {
    let wanted = |case: &Case, word: &String| {
        case.name.contains(word.as_str())
            || case.subject() == word
            || case.statements.iter().any(|id| id == word || id.strip_prefix("MQTT-") == Some(word))
    };
    let all = suite::cases();
    for word in only {
        if !all.iter().any(|case| wanted(case, word)) {
            return Err(format!(
                "no case or subject is called {word}, and none shows it; --list names them"
            ));
        }
    }
    let chosen = |case: &Case| only.is_empty() || only.iter().any(|word| wanted(case, word));
    Ok(all.into_iter().filter(chosen).collect())
}

/// The address of the target: of several, the first at which somebody listens.
fn find(target: &str, capabilities: &Capabilities) -> Result<SocketAddr, String> {
    let mut found = target
        .to_socket_addrs()
        .map_err(|error| format!("{target}: {error}; a target is HOST:PORT"))?
        .peekable();
    if found.peek().is_none() {
        return Err(format!("{target}: no address"));
    }
    let patience = Duration::from_millis(capabilities.patience_ms);
    line::first(found, patience)
        .map(|(at, _)| at)
        .map_err(|error| format!("{target} does not let a plain client in: {error}"))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
