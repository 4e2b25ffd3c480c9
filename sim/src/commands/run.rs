//! `sim run`: many seeds, in parallel processes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use clap::Args;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Profile;

use super::coverage::{Asked, Full};
use super::failure::Failure;
use super::failures;
use super::first::first;
use super::seeds::{self, SeedRange};
use super::summary::Summary;
use super::watch::{self, Watch};
use super::worker::{self, Report};
use super::{Ended, Profiles, Verdict};

/// How long Ctrl-C waits at most for its answer while the workers are silent.
const PATIENCE: Duration = Duration::from_millis(100);

/// What `run` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArguments {
    /// The seeds A..B, without B, decimal or 0x…
    #[arg(long, value_name = "A..B", value_parser = seeds::parse_range)]
    pub(super) seeds: SeedRange,
    /// The profile that the plans are drawn for, or `each` for all of them in turn
    #[arg(long, default_value = "each", value_parser = seeds::parse_profiles)]
    pub(super) profile: Profiles,
    /// How many processes run at once [default: as many as there are cores]
    #[arg(short, value_name = "N")]
    pub(super) jobs: Option<u64>,
    /// Switch a deliberate defect on; `sim canary --list` names them
    #[arg(long, value_name = "NAME")]
    pub(super) canary: Option<String>,
    /// Switch on points at which the runtime is meddled with, drawn from each seed
    #[arg(long)]
    pub(super) points: bool,
    /// Go on after a failure
    #[arg(long)]
    pub(super) keep_going: bool,
    /// Fail too if the batch shows too little: too few verdicts that bind, or plans too small; with
    /// points, one of them that never struck
    #[arg(long)]
    pub(super) strict: bool,
    /// Print which situations the seeds were in
    #[arg(long)]
    pub(super) coverage: bool,
    /// Print that of the situations named, and fail if one of them was never reached
    #[arg(long, value_enum)]
    pub(super) full: Option<Full>,
}

impl RunArguments {
    pub(super) fn has_canary(&self) -> bool {
        self.canary.is_some() || self.points
    }
}

/// What reaches the process that counts.
enum Message {
    Line(String),
    /// A worker has nothing more to say.
    Silent,
}

/// Runs the seeds, and prints failures as they come and a summary in the end.
pub(super) fn run(arguments: &RunArguments, layer: Layer) -> Ended {
    let watch = Watch::begin().logged();
    // What a canary or a point does to old failures says nothing.
    let has_old_failures = !arguments.has_canary() && first(layer)? == Verdict::Violated;
    if has_old_failures && !arguments.keep_going {
        return Ok(Verdict::Violated);
    }
    let summary = batch(arguments, layer, watch)?;
    let asked = Asked::of(arguments.full, layer, &arguments.profile);
    if arguments.coverage || arguments.full.is_some() {
        print!("{}", summary.coverage().of(asked));
    }
    // Of half a batch nothing is asked.
    let mut weaknesses = match (arguments.strict && !watch::is_interrupted(), arguments.points) {
        (true, true) => summary.points_at_rest(),
        (true, false) => summary.weaknesses(),
        (false, true | false) => Vec::new(),
    };
    if arguments.full.is_some() && !watch::is_interrupted() {
        let missing = summary.coverage().missing(asked).into_iter();
        weaknesses.extend(missing.map(|point| format!("never reached: {point}")));
    }
    for weakness in &weaknesses {
        println!("FAIL {weakness}");
    }
    let is_clean = summary.failures() == 0 && weaknesses.is_empty() && !has_old_failures;
    watch::ended(if is_clean { Verdict::Clean } else { Verdict::Violated })
}

/// Runs the seeds, prints failures as they come and sums in the end: of what was run until then, if
/// Ctrl-C ended it.
///
/// # Errors
/// If a process cannot be started, or ends early.
pub(super) fn batch(
    arguments: &RunArguments,
    layer: Layer,
    watch: Watch,
) -> Result<Summary, String> {
    let (sender, receiver) = channel();
    let mut batch = Batch {
        layer,
        summary: Summary::default(),
        watch,
        keep_going: arguments.keep_going,
        canary: arguments.canary.clone(),
        points: arguments.points,
    };
    let mut error = None;
    for profile in &arguments.profile.0 {
        match batch.profile(*profile, arguments, &sender, &receiver) {
            Ok(true) => {}
            Ok(false) => break,
            Err(cause) => {
                error = Some(cause);
                break;
            }
        }
    }
    batch.watch.end();
    print!("{}", batch.summary);
    if arguments.points {
        println!("{}", batch.summary.points());
    }
    println!("{:.1} s", batch.watch.seconds());
    error.map_or(Ok(batch.summary), Err)
}

struct Batch {
    layer: Layer,
    summary: Summary,
    watch: Watch,
    keep_going: bool,
    canary: Option<String>,
    points: bool,
}

impl Batch {
    /// Runs one profile's seeds. `false` if that was enough.
    fn profile(
        &mut self,
        profile: Profile,
        arguments: &RunArguments,
        sender: &Sender<Message>,
        receiver: &Receiver<Message>,
    ) -> Result<bool, String> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let jobs = arguments.jobs.unwrap_or(cores).max(1);
        let SeedRange { first, end } = arguments.seeds;
        let mut workers = Workers(Vec::new());
        for seed in first..end.min(first.saturating_add(jobs)) {
            let seeds = SeedRange { first: seed, end };
            let with = (arguments.canary.as_deref(), arguments.points);
            workers.0.push(start_worker(profile, self.layer, seeds, jobs, with, sender.clone())?);
        }
        let wanted = self.summary.seeds() as u64 + (end - first);
        let mut speaking = workers.0.len();
        while speaking > 0 {
            if watch::is_interrupted() {
                return Ok(false);
            }
            match receiver.recv_timeout(PATIENCE) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(error @ RecvTimeoutError::Disconnected) => return Err(error.to_string()),
                Ok(Message::Line(line)) => {
                    if let Some(points) = worker::struck(&line) {
                        self.summary.strike(points);
                        continue;
                    }
                    let report = worker::read(&line, self.layer);
                    let report = report.ok_or_else(|| format!("a worker said: {line}"))?;
                    if !self.take(&report) {
                        return Ok(false);
                    }
                }
                Ok(Message::Silent) => speaking -= 1,
            }
        }
        if (self.summary.seeds() as u64) < wanted {
            return Err("a worker ended before it had run all its seeds".to_owned());
        }
        Ok(true)
    }

    /// Takes a report; `false` if the batch ends with it.
    fn take(&mut self, report: &Report) -> bool {
        self.summary.add(report);
        if let Some(failure) = &report.failure {
            self.watch.clear();
            self.tell(failure);
            return self.keep_going;
        }
        self.watch.show(|| {
            format!(
                "{}: {} seeds, {} failed, {:.1} million inputs",
                report.profile.name(),
                self.summary.seeds(),
                self.summary.failures(),
                self.summary.inputs() as f64 / 1e6,
            )
        });
        true
    }

    /// Prints a failure, and keeps it.
    fn tell(&self, failure: &Failure) {
        match &self.canary {
            Some(name) => println!("{failure} --canary {name}"),
            None if self.points => println!("{failure} --points"),
            None => {
                println!("{failure}");
                if let Err(error) = failures::keep(failure) {
                    eprintln!("sim: {error}");
                }
            }
        }
    }
}

/// Started processes, ended with this value.
struct Workers(Vec<Child>);

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

fn start_worker(
    profile: Profile,
    layer: Layer,
    seeds: SeedRange,
    step: u64,
    (canary, points): (Option<&str>, bool),
    sender: Sender<Message>,
) -> Result<Child, String> {
    let mut worker = watch::this_program()?
        .args(["--layer", layer.name()])
        .args(["worker", "--profile", profile.name(), "--step", &step.to_string()])
        .args(["--seeds", &format!("{}..{}", seeds.first, seeds.end)])
        .args(canary.map(|name| format!("--canary={name}")))
        .args(points.then_some("--points"))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("a worker cannot be started: {error}"))?;
    let output = worker.stdout.take();
    std::thread::spawn(move || {
        let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
        for line in lines.map_while(Result::ok) {
            if sender.send(Message::Line(line)).is_err() {
                return;
            }
        }
        let _ = sender.send(Message::Silent);
    });
    Ok(worker)
}
