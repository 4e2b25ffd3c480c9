//! The bars that the broker is to reach beside its peers: plays the runs in turns and says what came of each.
//!
//! Every bar is a ratio of medians from one row of alternating turns, so that a machine that is slow today is slow for
//! all. What is run and how high the bars are stands in `bars/table.rs`.

mod peers;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use self::peers::{Peer, Running};
use self::table::{Bar, Bound, Figure, RUNS, Run};
use crate::{TURNS, median};

/// What every run is told beside its own words.
const COMMON: [&str; 5] = ["--json", "--warmup", "0.3", "--seconds", "1"];

/// How the runs are played.
struct Options {
    /// The broker's binary, which is the load generator and the relay as well.
    binary: PathBuf,
    /// Where the peers' settings go.
    folder: PathBuf,
    /// Alternating turns.
    turns: usize,
    /// Beginnings of the names of runs; all if none.
    names: Vec<String>,
}

/// Figures of one target in one run, one for each turn.
type Figures = BTreeMap<(&'static str, Peer, &'static str, &'static str), Vec<f64>>;

/// Reads `[--binary FILE] [--turns NUMBER] [NAME...]`, plays the runs and prints each bar with its verdict.
pub(crate) fn run(folder: &Path, arguments: impl Iterator<Item = String>) -> io::Result<()> {
    let mut options = Options {
        binary: PathBuf::from("target/release/signalhouse"),
        folder: folder.join("bars"),
        turns: TURNS,
        names: Vec::new(),
    };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--binary" => options.binary = value().into(),
            "--turns" => options.turns = value().parse().map_err(io::Error::other)?,
            name if RUNS.iter().any(|run| run.name.starts_with(name)) => {
                options.names.push(argument);
            }
            name => return Err(io::Error::other(format!("there is no run `{name}`"))),
        }
    }
    play_all(&options)
}

fn play_all(options: &Options) -> io::Result<()> {
    std::fs::create_dir_all(&options.folder)?;
    println!("| Run | Figure | Signalhouse | Relay | Mosquitto | Bar | Is | Verdict |");
    println!("|---|---|---|---|---|---|---|---|");
    let is_wanted = |run: &Run| {
        options.names.is_empty() || options.names.iter().any(|it| run.name.starts_with(it))
    };
    let mut figures = Figures::new();
    for run in RUNS.iter().filter(|run| is_wanted(run)) {
        play(run, options, &mut figures)?;
        for bar in run.bars {
            println!("{}", verdict(run, bar, &figures));
        }
    }
    Ok(())
}

/// Plays all turns of one run.
fn play(run: &Run, options: &Options, figures: &mut Figures) -> io::Result<()> {
    let mut peers = vec![Peer::Signalhouse];
    peers.extend(run.relay.then_some(Peer::Relay));
    peers.extend(run.mosquitto.then_some(Peer::Mosquitto));
    let start = |peer| peers::start(peer, run.level, &options.binary, &options.folder);
    let mut running: Vec<Running> = Vec::new();
    if !run.is_fresh {
        running = peers.iter().map(|peer| start(*peer)).collect::<io::Result<_>>()?;
    }
    for _ in 0..options.turns {
        for (place, peer) in peers.iter().enumerate() {
            let fresh = if run.is_fresh { Some(start(*peer)?) } else { None };
            let Some(target) = fresh.as_ref().or_else(|| running.get(place)) else { continue };
            for phase in load(&options.binary, run, &target.target)? {
                keep(run, *peer, &phase, figures);
            }
        }
    }
    Ok(())
}

/// Runs the load generator once.
fn load(binary: &Path, run: &Run, target: &str) -> io::Result<Vec<Value>> {
    let mut command = Command::new(binary);
    // What a run says for itself comes last and counts.
    command.arg("bench").args(run.words.split(' ').take(1)).args(COMMON);
    command.args(run.words.split(' ').skip(1)).args(["--target", target]);
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let phases: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if phases.is_empty() || !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("{} at {target}: {text}{complaint}", run.name)));
    }
    Ok(phases)
}

fn keep(run: &Run, peer: Peer, phase: &Value, figures: &mut Figures) {
    for bar in run.bars.iter().filter(|bar| phase["phase"] == bar.phase) {
        let key = (run.name, peer, bar.phase, bar.figure.pointer());
        // Several bars on one figure count it once.
        let is_first = run
            .bars
            .iter()
            .find(|other| other.phase == bar.phase && other.figure == bar.figure)
            .is_some_and(|first| std::ptr::eq(first, bar));
        if let Some(value) = phase.pointer(bar.figure.pointer()).and_then(Value::as_f64)
            && is_first
        {
            figures.entry(key).or_default().push(value);
        }
    }
}

/// A line of the table.
fn verdict(run: &Run, bar: &Bar, figures: &Figures) -> String {
    let of = |name: &'static str, peer: Peer| {
        let key = (name, peer, bar.phase, bar.figure.pointer());
        figures.get(&key).map(|values| median(&mut values.clone()))
    };
    let own = of(run.name, Peer::Signalhouse);
    let (wanted, reference, factor) = match bar.bound {
        Bound::Relay(factor) => (format!("{factor} x relay"), of(run.name, Peer::Relay), factor),
        Bound::Mosquitto(factor) => {
            (format!("{factor} x mosquitto"), of(run.name, Peer::Mosquitto), factor)
        }
        Bound::Run(other, factor) => {
            (format!("{factor} x {other}"), of(other, Peer::Signalhouse), factor)
        }
        Bound::Absolute(most) => (format!("{most} {}", bar.figure.name()), Some(1.0), most),
    };
    let is = own.zip(reference).map(|(own, reference)| own / reference);
    let verdict = match is {
        Some(is) if is <= factor => "reached",
        Some(_) => "**missed**",
        None => "not played",
    };
    let shown = |value: Option<f64>| match (value, bar.figure) {
        (None, _) => "-".to_owned(),
        (Some(value), Figure::Resident) => format!("{value:.0}"),
        (Some(value), Figure::Processor | Figure::P50 | Figure::P99) => format!("{value:.3}"),
    };
    format!(
        "| {} | {} {} | {} | {} | {} | {wanted} | {} | {verdict} |",
        run.name,
        bar.phase,
        bar.figure.name(),
        shown(own),
        shown(of(run.name, Peer::Relay)),
        shown(of(run.name, Peer::Mosquitto)),
        is.map_or_else(|| "-".to_owned(), |is| format!("{is:.3}")),
    )
}
