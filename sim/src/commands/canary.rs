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

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;

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
    /// List the canaries and the guarantees that they break
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

#[cfg(not(signalhouse_sim))]
pub(super) fn canary(_arguments: &CanaryArguments) -> Ended {
    Err("this build has no canaries".to_owned())
}

#[cfg(signalhouse_sim)]
pub(super) fn canary(arguments: &CanaryArguments) -> Ended {
    use signalhouse_sim::canary::{Canary, named};
    use signalhouse_sim::layer::Layer;
    let canaries: Vec<Canary> = if arguments.names.is_empty() {
        Canary::ALL.to_vec()
    } else {
        let known = |name: &String| named(name).ok_or(format!("there is no canary `{name}`"));
        arguments.names.iter().map(known).collect::<Result<_, _>>()?
    };
    if arguments.list {
        report::list(&canaries);
        return Ok(Verdict::Clean);
    }
    if arguments.one {
        for canary in canaries {
            let layer = signalhouse_sim::canary::layer(canary);
            let mut found = match layer {
                Layer::Core => hunt::hunt(canary, arguments)?,
                Layer::Runtime => store::hunt(canary, arguments)?,
            };
            found.keep_to_bound(layer);
            println!("{}", found.line());
        }
        return Ok(Verdict::Clean);
    }
    report::all(&canaries, arguments)
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
    build.args(["run", "--quiet", "--package", "signalhouse-sim", "--bin", "sim"]);
    // Of its dependencies one build is enough: only what is ours is compiled in another way.
    build.args(["--profile", "simulator"]);
    build.env("RUSTC_WORKSPACE_WRAPPER", workspace().join(".ci/canaries/rustc"));
    build.arg("--manifest-path").arg(workspace().join("Cargo.toml"));
    build.arg("--");
    build
}
