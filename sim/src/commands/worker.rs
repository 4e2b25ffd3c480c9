//! One of the processes that `run` starts: runs every so many-th seed and says one line for each.

use std::io::{BufWriter, Write as _};

use signalhouse_sim::core_layer::{Outcome, Verdicts};
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::{Profile, draw};
use signalhouse_sim::{canary, point};

use super::failure::Failure;
use super::seeds::SeedRange;
use super::{Ended, Verdict};

/// What the last line of a worker begins with where points are on.
const STRUCK: &str = "struck ";

/// What a worker says of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) profile: Profile,
    pub(super) clients: u64,
    pub(super) inputs: u64,
    pub(super) simulated_ms: u64,
    pub(super) micros: u64,
    pub(super) verdicts: Verdicts,
    /// Which situations it was in, by number.
    pub(super) hits: Vec<usize>,
    pub(super) failure: Option<Failure>,
}

/// Runs the seeds of the range, every `step`-th.
pub(super) fn work(
    seeds: SeedRange,
    profile: Profile,
    step: u64,
    layer: Layer,
    (canary, points): (Option<&str>, bool),
) -> Ended {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut seed = seeds.first;
    while seed < seeds.end {
        let start = std::time::Instant::now();
        let mut plan = draw(seed, profile);
        if let Some(name) = canary {
            canary::add_to(&mut plan, name);
        }
        if points {
            point::add_to(&mut plan);
        }
        let outcome = layer.run(&plan, false)?;
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let place = (seed, profile, layer, plan.clients.len());
        let line = line(place, micros, &outcome);
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            break; // nobody listens any more
        }
        match seed.checked_add(step) {
            Some(next) => seed = next,
            None => break,
        }
    }
    let struck = point::struck();
    if !struck.is_empty() {
        let said = writeln!(out, "{STRUCK}{}", struck.join(" ")).and_then(|()| out.flush());
        // Nobody listens any more if that failed.
        drop(said);
    }
    Ok(Verdict::Clean)
}

/// The points that struck, if a line of a worker says that.
pub(super) fn struck(line: &str) -> Option<impl Iterator<Item = &str>> {
    line.strip_prefix(STRUCK).map(str::split_whitespace)
}

fn line(
    (seed, profile, layer, clients): (u64, Profile, Layer, usize),
    micros: u64,
    outcome: &Outcome,
) -> String {
    let Outcome { inputs, simulated_ms, verdicts, violation, hits, .. } = outcome;
    let Verdicts { must, all } = verdicts;
    let name = profile.name();
    let mut line =
        format!("{seed}\t{name}\t{clients}\t{inputs}\t{simulated_ms}\t{micros}\t{must}\t{all}");
    line.push('\t');
    line.extend(hits.iter().map(|place| format!("{place} ")));
    if let Some(violation) = violation {
        let Failure { guarantee, step, what, .. } = Failure::new(seed, profile, layer, violation);
        line.push_str(&format!("\t{guarantee}\t{step}\t{what}"));
    }
    line
}

/// Reads a worker's line.
pub(super) fn read(line: &str, layer: Layer) -> Option<Report> {
    let mut parts = line.split('\t');
    let seed = parts.next()?.parse().ok()?;
    let profile = Profile::from_name(parts.next()?)?;
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (clients, inputs) = (number()?, number()?);
    let (simulated_ms, micros) = (number()?, number()?);
    let verdicts = Verdicts { must: number()?, all: number()? };
    let hits = parts.next()?.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let failure = match parts.next() {
        None => None,
        Some(guarantee) => Some(Failure {
            seed,
            profile,
            layer,
            guarantee: guarantee.to_owned(),
            step: parts.next()?.to_owned(),
            what: parts.next()?.to_owned(),
        }),
    };
    Some(Report { profile, clients, inputs, simulated_ms, micros, verdicts, hits, failure })
}
