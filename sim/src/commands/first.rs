//! What is run before anything else: the plans of every defect once found, and the seeds that
//! failed last.

use std::path::{Path, PathBuf};

use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::draw;

use super::failure::Failure;
use super::failures::{self, Kept};
use super::source::read_plan;
use super::{Ended, Verdict};

/// Plays both on a layer, and prints what is violated.
pub(super) fn first(layer: Layer) -> Ended {
    let mut verdict = corpus(layer)?;
    if last_failures(layer, false)? == Verdict::Violated {
        verdict = Verdict::Violated;
    }
    Ok(verdict)
}

/// Plays the plans that are kept for a layer.
fn corpus(layer: Layer) -> Ended {
    let paths = plans(layer)?;
    let mut broken = 0;
    for path in &paths {
        if let Some(violation) = layer.run(&read_plan(path)?, false)?.violation {
            broken += 1;
            println!("FAIL {} {}: {}", violation.guarantee, path.display(), violation.what);
            println!("  cargo sim replay {} --layer {layer}", path.display());
        }
    }
    println!("corpus: {} plans, {broken} failed", paths.len());
    Ok(if broken > 0 { Verdict::Violated } else { Verdict::Clean })
}

/// The plans that are kept for a layer: those of the runtime layer have a folder of their own.
fn plans(layer: Layer) -> Result<Vec<PathBuf>, String> {
    let folder = match layer {
        Layer::Core => "corpus",
        Layer::Runtime => "corpus/runtime",
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder)
        .map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "plan"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Runs the seeds that failed last.
pub(super) fn last_failures(layer: Layer, shows_passing: bool) -> Ended {
    let mut verdict = Verdict::Clean;
    let kept = failures::read().into_iter().filter(|kept| kept.layer == layer);
    for Kept { seed, profile, .. } in kept {
        let outcome = layer.run(&draw(seed, profile), false)?;
        match &outcome.violation {
            Some(violation) => {
                println!("{}", Failure::new(seed, profile, layer, violation));
                verdict = Verdict::Violated;
            }
            None if shows_passing => {
                println!("passes seed={seed:#x} layer={layer} profile={}", profile.name());
            }
            None => {}
        }
    }
    Ok(verdict)
}
