//! `sim/canaries`: for each canary the seed that found it last, and the small plan made of it.

use std::path::PathBuf;

use signalhouse_sim::canary::{Expected, SHARD, STORE};
use signalhouse_sim::plan::{Plan, Profile};

use super::hunt::Found;
use crate::commands::seeds::parse_seed;

/// What is known of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) seed: u64,
    pub(super) profile: Profile,
    pub(super) plan: Plan,
}

impl Stored {
    /// Reads what is known; `None` if nothing is.
    pub(super) fn read(canary: Expected) -> Result<Option<Self>, String> {
        let path = path(canary);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        let plan = Plan::from_text(&text);
        let plan = plan.map_err(|error| format!("{}: {error}", path.display()))?;
        let seed = text.lines().find_map(|line| {
            let (_, rest) = line.split_once(" seed=")?;
            let (seed, rest) = rest.split_once(" profile=")?;
            let profile = rest.split_whitespace().next()?;
            Some((parse_seed(seed).ok()?, Profile::from_name(profile)?))
        });
        let (seed, profile) = seed.ok_or(format!("{} names no seed", path.display()))?;
        Ok(Some(Stored { seed, profile, plan }))
    }

    /// Writes what is known now.
    pub(super) fn write(canary: Expected, found: &Found, plan: &Plan) -> Result<(), String> {
        let path = path(canary);
        let Found { name, guarantee, seed, profile, .. } = found;
        let text = format!(
            "# {guarantee}, with the canary {name}; nothing without it.\n\
             # Found by seed={seed:#x} profile={profile}\n{}",
            plan.to_text()
        );
        std::fs::write(&path, text)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }
}

/// The file of a canary; those of the runtime have folders of their own.
pub(super) fn path(canary: Expected) -> PathBuf {
    let folder = match canary.group {
        STORE => "canaries/store",
        SHARD => "canaries/shard",
        _ => "canaries",
    };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    folder.join(format!("{}.plan", canary.name))
}
