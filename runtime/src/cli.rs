//! The command line.

mod acl;
mod bench;
mod check;
mod connection;
mod exit;
mod format;
mod health;
mod key;
mod passwd;
mod place;
mod properties;
mod publish;
mod replace;
mod store;
mod subscribe;
mod tool;

use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::exit::Exit;
use crate::logging::Logging;
use crate::serve::{ServeError, serve};
use crate::settings::{self, Overrides, Sources};

/// An MQTT 5.0 broker (MQTT 3.1.1 and 3.1 too), and tools to publish and subscribe.
#[derive(Debug, Parser)]
#[command(
    name = "signalhouse",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  signalhouse                               a broker on 127.0.0.1:1883
  signalhouse --listen 127.0.0.1:2883       on another port
  signalhouse check --config broker.toml    what is open to whom
  signalhouse store check                   is everything on disk as it was written
  signalhouse sub -t 'rooms/#' -v           print every message below rooms/
  signalhouse pub -t rooms/1 -m 21.5        publish one

Every key of the settings is also a variable: SIGNALHOUSE_LIMITS__CONNECTIONS=1000.
Exit codes: 0 orderly, 1 failed, 2 arguments, 65 unusable store, 78 settings,
141 nobody reads what is printed."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as a broker; the same as no command at all.
    Serve(ServeArgs),
    /// Check the settings, and show what is open to whom and every key in force.
    Check(ServeArgs),
    /// Look at, copy or mend what a broker keeps on disk.
    Store(store::StoreArgs),
    /// Add, list and remove API keys for HTTP.
    Key(key::KeyArgs),
    /// Ask a running broker whether it serves.
    Health(health::HealthArgs),
    /// Add, change and remove the users of a password file.
    Passwd(passwd::PasswdArgs),
    /// Explain the rules about topics.
    Acl(acl::AclArgs),
    /// Publish messages to any broker.
    Pub(Box<publish::PublishArgs>),
    /// Subscribe at any broker, and print what comes.
    Sub(Box<subscribe::SubscribeArgs>),
    /// Put load on any broker, and say what it costs.
    Bench(Box<bench::BenchArgs>),
}

#[derive(Args, Debug)]
struct ServeArgs {
    /// Settings, as TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here, instead of where the settings say. Repeatable.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<String>,
    /// The folder of what outlives the process, instead of what the settings say.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// `strict` (safe when acknowledged), `relaxed` (synced within a delay) or `memory`.
    #[arg(long, value_name = "LEVEL")]
    durability: Option<String>,
    /// Listen here for HTTP, instead of where the settings say. Repeatable.
    #[arg(long, value_name = "ADDR:PORT")]
    http: Vec<String>,
    /// `text` for people or `json` for machines.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl ServeArgs {
    fn split(self) -> (Sources, Overrides) {
        let overrides = Overrides {
            listen: self.listen,
            data: self.data,
            durability: self.durability,
            http: self.http,
            log_format: self.log_format,
            log_level: self.log_level,
        };
        (Sources::of_process(self.config), overrides)
    }
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> Exit {
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version come this way too, and are no failure.
            drop(error.print());
            return if error.use_stderr() { Exit::Arguments } else { Exit::Orderly };
        }
    };
    match cli.command {
        None => run_broker(cli.serve),
        Some(Command::Serve(args)) => run_broker(args),
        Some(Command::Check(args)) => {
            let (sources, overrides) = args.split();
            check::run(&sources, &overrides)
        }
        Some(Command::Store(args)) => store::run(args),
        Some(Command::Key(args)) => key::run(args),
        Some(Command::Health(args)) => health::run(&args),
        Some(Command::Passwd(args)) => passwd::run(&args),
        Some(Command::Acl(args)) => acl::run(&args),
        Some(Command::Pub(args)) => publish::run(&args, &property_groups(&matches)),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Sub(args)) => subscribe::run(&args, &property_groups(&matches)),
    }
}

/// The values of each `-D`, kept apart.
fn property_groups(matches: &ArgMatches) -> Vec<Vec<String>> {
    let tool = matches.subcommand().map(|(_, tool)| tool);
    let groups = tool.and_then(|tool| tool.get_occurrences::<String>("property"));
    groups.into_iter().flatten().map(|group| group.cloned().collect()).collect()
}

fn run_broker(args: ServeArgs) -> Exit {
    let (sources, overrides) = args.split();
    let settings = match settings::load(&sources, &overrides) {
        Ok(settings) => settings,
        Err(problem) => return exit::complain(Exit::Settings, &problem),
    };
    let logging = match Logging::start(&settings.log) {
        Ok(logging) => logging,
        Err(error) => return exit::complain(Exit::Failed, &error),
    };
    let served = serve(settings, sources, overrides, &logging);
    logging.finish();
    match served {
        Ok(()) => Exit::Orderly,
        Err(error @ ServeError::Files(_)) => exit::complain(Exit::Settings, &error),
        Err(error @ (ServeError::Folder(_) | ServeError::Store { .. })) => {
            exit::complain(Exit::Store, &error)
        }
        Err(
            error @ (ServeError::Listen { .. }
            | ServeError::ListenHttp { .. }
            | ServeError::Start(_)
            | ServeError::Run(_)),
        ) => exit::complain(Exit::Failed, &error),
    }
}
