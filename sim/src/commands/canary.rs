//! `sim canary`: deliberate defects, to show that the simulator sees what it is there to see.
//!
//! They exist only in a build with `--cfg signalhouse_sim`, which shares its dependencies with the ordinary one in the
//! profile `simulator`; every other build of this program makes that one and hands the command over to it.

#[cfg(signalhouse_sim)]
mod hunt;
#[cfg(signalhouse_sim)]
mod report;
#[cfg(signalhouse_sim)]
mod store;
#[cfg(signalhouse_sim)]
mod stored;

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use signalhouse_sim::canary::{self, Expected};

use super::revision::workspace;
use super::watch;
use super::{Ended, Verdict};

/// How often it is looked whether the other build has ended.
const EVERY: Duration = Duration::from_millis(50);
/// How long it may take to say what it found, once Ctrl-C was pressed.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What `canary` is told.
#[derive(Debug, Args)]
pub(super) struct CanaryArguments {
    /// The canaries [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Begin with the seeds and plans in sim/canaries, and search only for what they no longer find
    #[arg(long)]
    quick: bool,
    /// Write what is found to sim/canaries
    #[arg(long)]
    write: bool,
    /// List the canaries and the guarantees that they break, and look for none
    #[arg(long)]
    list: bool,
    /// How many seeds are tried at most, over all profiles in turn; in the runtime layer never more than
    /// 200. A canary that takes more than 1,000, or 200 there, counts as not found
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// How many processes run at once [default: as many as there are cores]
    #[arg(short, value_name = "N")]
    jobs: Option<usize>,
    /// What the processes are told: one canary, and a line for this program
    #[arg(long, hide = true)]
    one: bool,
}

impl CanaryArguments {
    /// Whether only the build with canaries can do it.
    pub(super) fn has_canary(&self) -> bool {
        !self.list && self.wanted().is_ok()
    }

    /// What must be found of those that are named, or of all.
    fn wanted(&self) -> Result<Vec<Expected>, String> {
        if self.names.is_empty() {
            return Ok(canary::all().collect());
        }
        let known =
            |name: &String| canary::expected(name).ok_or(format!("there is no canary `{name}`"));
        self.names.iter().map(known).collect()
    }
}

/// Lists the canaries, or looks for them.
pub(super) fn canary(arguments: &CanaryArguments) -> Ended {
    let canaries = arguments.wanted()?;
    if !arguments.list {
        return look_for(&canaries, arguments);
    }
    for Expected { name, group, guarantee } in canaries {
        println!("{name:<32} {group:<11} {guarantee}");
    }
    Ok(Verdict::Clean)
}

#[cfg(not(signalhouse_sim))]
fn look_for(_canaries: &[Expected], _arguments: &CanaryArguments) -> Ended {
    Err("this build has no canaries".to_owned())
}

#[cfg(signalhouse_sim)]
fn look_for(canaries: &[Expected], arguments: &CanaryArguments) -> Ended {
    use signalhouse_sim::canary::{STORE, strays};
    if !strays().is_empty() {
        return Err(format!(
            "the table of canaries differs from the build: {}",
            strays().join(", ")
        ));
    }
    if !arguments.one {
        return report::all(canaries, arguments);
    }
    for canary in canaries {
        let mut found = match canary.group {
            STORE => store::hunt(*canary, arguments)?,
            _ => hunt::hunt(*canary, arguments)?,
        };
        found.keep_to_bound(canary.layer());
        println!("{}", found.line());
    }
    Ok(Verdict::Clean)
}

/// Looks for every canary, in the build that has them.
pub(super) fn all_canaries() -> Ended {
    let child = build_with_canaries().arg("canary").spawn();
    let cannot = |error| format!("cargo cannot be started: {error}");
    let mut child = child.map_err(cannot)?;
    let mut interrupted: Option<Instant> = None;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            break status;
        }
        // It hears Ctrl-C too, but not a signal that is for this process alone.
        if watch::is_interrupted()
            && interrupted.get_or_insert_with(Instant::now).elapsed() > LAST_WORDS
        {
            child.kill().map_err(cannot)?;
        }
        std::thread::sleep(EVERY);
    };
    match status.code() {
        Some(0) => Ok(Verdict::Clean),
        Some(1) => Ok(Verdict::Violated),
        Some(_) | None if watch::is_interrupted() => Ok(Verdict::Clean),
        Some(_) | None => Err("the build with canaries did not run".to_owned()),
    }
}

/// Does the whole command line again in the build with canaries, in the place of this process.
pub(super) fn hand_over() -> Ended {
    let error = build_with_canaries().args(std::env::args_os().skip(1)).exec();
    Err(format!("cargo cannot be started: {error}"))
}

/// Cargo, told to run the build with canaries; what that is to do comes behind.
fn build_with_canaries() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    let is_watched = std::io::stderr().is_terminal();
    if !is_watched {
        eprintln!(
            "sim: what canaries and points are for has a build of its own, which is made first"
        );
    }
    build.arg("run").args((!is_watched).then_some("--quiet"));
    build.args(["--package", "signalhouse-sim", "--bin", "sim"]);
    // Of its dependencies one build is enough: only what is ours is compiled in another way.
    build.args(["--profile", "simulator"]);
    build.env("RUSTC_WORKSPACE_WRAPPER", workspace().join(".ci/canaries/rustc"));
    // Where it is started from elsewhere, cargo does not find the flags by itself; twice would be another build.
    if !std::env::current_dir().is_ok_and(|folder| folder.starts_with(workspace())) {
        build.arg("--config").arg(workspace().join(".cargo/config.toml"));
    }
    build.arg("--manifest-path").arg(workspace().join("Cargo.toml"));
    build.arg("--");
    build
}
