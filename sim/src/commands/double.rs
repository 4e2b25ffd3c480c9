//! `sim double`: a seed run again must give the same trace, in this process and in another.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::{Profile, draw};
use signalhouse_sim::point;

use super::revision::revision;
use super::watch::{self, Watch};
use super::{Ended, Verdict};

/// Lines shown before the first difference.
const CONTEXT: usize = 5;

/// Runs every seed with every profile three times, several seeds at once.
pub(super) fn double(seeds: &[u64], profiles: &[Profile], points: bool, layer: Layer) -> Ended {
    let pairs = profiles.iter().flat_map(|profile| seeds.iter().map(|seed| (*seed, *profile)));
    let pairs: Vec<(u64, Profile)> = pairs.collect();
    let watch = Watch::begin();
    let next = AtomicUsize::new(0);
    // Compared, and different.
    let counts = Mutex::new((0, 0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            while let Some((seed, profile)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if watch::is_interrupted() {
                    break;
                }
                let compared = compare(*seed, *profile, points, layer)?;
                let Ok(mut counts) = counts.lock() else { break };
                counts.0 += 1;
                counts.1 += usize::from(compared.is_err());
                watch.clear();
                tell(*seed, *profile, points, layer, compared);
                let (done, different) = *counts;
                watch.show(|| format!("{done} of {} compared, {different} differ", pairs.len()));
            }
            Ok(())
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| Err("a comparison ended without a word".to_owned()))
        });
        ended.collect::<Result<Vec<()>, String>>()
    })?;
    let (compared, different) = counts.into_inner().unwrap_or_default();
    watch.end();
    println!("{compared} of {} seeds compared, {different} differ", pairs.len());
    watch::ended(if different == 0 { Verdict::Clean } else { Verdict::Violated })
}

fn tell(seed: u64, profile: Profile, points: bool, layer: Layer, compared: Result<String, String>) {
    let (name, more) = (profile.name(), if points { " --points" } else { "" });
    match compared {
        Ok(trace) => println!("same seed={seed:#x} layer={layer} profile={name}: {trace}"),
        Err(difference) => {
            let rev = revision();
            println!(
                "DIFFERENT seed={seed:#x} rev={rev} layer={layer} profile={name}\n  \
                 cargo sim double {seed:#x} --profile {name} --layer {layer}{more}\n\
                 {difference}"
            );
        }
    }
}

/// Runs a seed three times; says what the trace is, or where two of them part.
fn compare(
    seed: u64,
    profile: Profile,
    points: bool,
    layer: Layer,
) -> Result<Result<String, String>, String> {
    let mut plan = draw(seed, profile);
    if points {
        point::add_to(&mut plan);
    }
    let first = layer.run(&plan, true)?;
    let second = layer.run(&plan, true)?;
    let other = lines_of_other_process(seed, profile, points, layer)?;
    let in_process = same(&first.lines, &second.lines);
    let across = same(&first.lines, &other);
    let trace = || format!("{} lines, trace {:#018x}", first.lines.len(), first.trace_hash);
    Ok(in_process.and(across).map(|()| trace()))
}

fn lines_of_other_process(
    seed: u64,
    profile: Profile,
    points: bool,
    layer: Layer,
) -> Result<Vec<String>, String> {
    let output = watch::this_program()?
        .args(["repro", &seed.to_string(), "--profile", profile.name()])
        .args(["--layer", layer.name()])
        .args(points.then_some("--points"))
        .output()
        .map_err(|error| format!("another process cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().take_while(|line| !line.starts_with("trace ")).map(str::to_owned);
    Ok(lines.collect())
}

fn same(one: &[String], other: &[String]) -> Result<(), String> {
    let length = one.len().max(other.len());
    let Some(place) = (0..length).find(|place| one.get(*place) != other.get(*place)) else {
        return Ok(());
    };
    let from = place.saturating_sub(CONTEXT);
    let mut text = one[from..place.min(one.len())].join("\n");
    for (mark, lines) in [("<", one), (">", other)] {
        let line = lines.get(place).map_or("(the trace ends)", String::as_str);
        text.push_str(&format!("\n{mark} {line}"));
    }
    Err(text)
}
