//! The failures of the last runs, kept so that they can be run again first.

use std::path::PathBuf;

use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Profile;

use super::failure::Failure;

/// How many are kept.
const KEPT: usize = 100;

/// A seed that failed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) seed: u64,
    pub(super) profile: Profile,
    pub(super) layer: Layer,
}

/// Reads what is kept, oldest first.
pub(super) fn read() -> Vec<Kept> {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// Adds a failure, forgetting the oldest.
///
/// # Errors
/// Names the file that cannot be written.
pub(super) fn keep(failure: &Failure, rev: &str) -> Result<(), String> {
    let path = path();
    let line = format!(
        "{:#x}\t{}\t{}\t{}\t{rev}",
        failure.seed,
        failure.profile.name(),
        failure.layer,
        failure.guarantee
    );
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let same = parse(&line);
    let mut lines: Vec<&str> = text.lines().filter(|old| parse(old) != same).collect();
    lines.push(&line);
    let from = lines.len().saturating_sub(KEPT);
    let text = lines[from..].join("\n") + "\n";
    let folder = path.parent().map(std::fs::create_dir_all).transpose();
    folder
        .and_then(|_| std::fs::write(&path, text))
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// Where they are kept, from the folder in which the program was started.
pub(super) fn path() -> PathBuf {
    PathBuf::from("target/sim/failures.tsv")
}

fn parse(line: &str) -> Option<Kept> {
    let mut parts = line.split('\t');
    Some(Kept {
        seed: super::seeds::parse_seed(parts.next()?).ok()?,
        profile: Profile::from_name(parts.next()?)?,
        layer: parts.next()?.parse().ok()?,
    })
}
