//! What is run before anything else: the plans of every defect once found, and the seeds that
//! failed last.

use std::path::{Path, PathBuf};

use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::draw;

use super::failure::Failure;
use super::failures::{self, Kept};
use super::revision::revision;
use super::source::read_plan;
use super::watch::{self, Watch};
use super::{Ended, Verdict};

/// Plays both on a layer, and prints what is violated.
pub(super) fn first(layer: Layer) -> Ended {
    let mut verdict = corpus(layer)?;
    if last_failures(layer, false)? == Verdict::Violated {
        verdict = Verdict::Violated;
    }
    Ok(verdict)
}

/// Plays the seeds that failed last, and nothing else.
pub(super) fn again(layer: Layer) -> Ended {
    let watch = Watch::begin();
    let verdict = last_failures(layer, true)?;
    watch.clear();
    watch::ended(verdict)
}

/// Plays the plans that are kept for a layer.
fn corpus(layer: Layer) -> Ended {
    let paths = plans(layer)?;
    let (mut played, mut broken) = (0, 0);
    for path in paths.iter().take_while(|_| !watch::is_interrupted()) {
        played += 1;
        if let Some(violation) = layer.run(&read_plan(path)?, false)?.violation {
            broken += 1;
            let (rev, path) = (revision(), path.display());
            println!("FAIL {} rev={rev} {path}: {}", violation.guarantee, violation.what);
            println!("  cargo sim replay {path} --layer {layer}");
        }
    }
    println!("corpus: {played} plans, {broken} failed");
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
fn last_failures(layer: Layer, shows_passing: bool) -> Ended {
    let mut verdict = Verdict::Clean;
    let mut kept = failures::read()?;
    kept.retain(|kept| kept.layer == layer);
    if kept.is_empty() && shows_passing {
        let path = failures::path();
        println!("no failures of layer={layer} are kept in {}", path.display());
    }
    for kept in kept.iter().take_while(|_| !watch::is_interrupted()) {
        let Kept { seed, profile, .. } = *kept;
        let outcome = layer.run(&draw(seed, profile), false)?;
        match &outcome.violation {
            Some(violation) => {
                println!("{}", Failure::new(seed, profile, layer, violation));
                verdict = Verdict::Violated;
            }
            None if shows_passing => {
                println!("passes seed={seed:#x} layer={layer} profile={}", profile.name());
            }
            None => continue,
        }
        if let Some(note) = kept.note() {
            println!("  {note}");
        }
    }
    Ok(verdict)
}
