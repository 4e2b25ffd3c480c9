//! `sim double`: a seed run again must give the same trace, in this process and in another.

use std::process::{Command, Stdio};

use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::{Profile, draw};
use signalhouse_sim::point;

use super::{Ended, Verdict};

/// Lines shown before the first difference.
const CONTEXT: usize = 5;

/// Runs every seed with every profile three times.
pub(super) fn double(seeds: &[u64], profiles: &[Profile], points: bool, layer: Layer) -> Ended {
    let mut verdict = Verdict::Clean;
    for profile in profiles {
        for seed in seeds {
            let mut plan = draw(*seed, *profile);
            if points {
                point::add_to(&mut plan);
            }
            let first = layer.run(&plan, true)?;
            let second = layer.run(&plan, true)?;
            let other = lines_of_other_process(*seed, *profile, points, layer)?;
            let name = format!("seed={seed:#x} layer={layer} profile={}", profile.name());
            let in_process = same(&first.lines, &second.lines);
            let across = same(&first.lines, &other);
            match in_process.and(across) {
                Ok(()) => println!(
                    "same {name}: {} lines, trace {:#018x}",
                    first.lines.len(),
                    first.trace_hash
                ),
                Err(difference) => {
                    println!("DIFFERENT {name}\n{difference}");
                    verdict = Verdict::Violated;
                }
            }
        }
    }
    Ok(verdict)
}

fn lines_of_other_process(
    seed: u64,
    profile: Profile,
    points: bool,
    layer: Layer,
) -> Result<Vec<String>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["repro", &seed.to_string(), "--profile", profile.name()])
        .args(["--layer", layer.name()])
        .args(points.then_some("--points"))
        .stdin(Stdio::null())
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
