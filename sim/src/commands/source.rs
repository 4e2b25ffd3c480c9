//! Where the plan of a command comes from: a seed and a profile, or a file.

use std::path::Path;

use clap::Args;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::{Plan, Profile, draw};
use signalhouse_sim::trace::Trace;
use signalhouse_sim::{canary, point};

use super::failures;
use super::revision::revision;
use super::seeds::{parse_profile, parse_seed};

/// Which plan a command is about.
#[derive(Clone, Debug, Args)]
pub(super) struct Source {
    /// A seed, decimal or 0x…, or a file with a plan
    #[arg(value_name = "SEED|PLAN")]
    what: String,
    /// The profile that a seed's plan is drawn for
    #[arg(long, default_value = "all", value_parser = parse_profile)]
    profile: Profile,
    /// Switch a deliberate defect on; `sim canary --list` names them
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
    /// Switch on points at which the runtime is meddled with, drawn from the seed
    #[arg(long)]
    points: bool,
    /// The fingerprint of the plan that is meant, as failures give it: a build that draws another
    /// plan from the seed refuses
    #[arg(long = "plan", value_name = "HASH", value_parser = parse_seed)]
    fingerprint: Option<u64>,
}

impl Source {
    /// Whether the plan has a canary or a point in it, of which only a build of its own knows.
    pub(super) fn has_canary(&self) -> bool {
        let has = |plan: &Plan| canary::name_in(plan).is_some() || point::is_any_in(plan);
        self.points || self.plan().is_ok_and(|plan| has(&plan))
    }

    /// The plan.
    ///
    /// # Errors
    /// Names what is wrong with the file, or that the seed's plan is not the one meant.
    pub(super) fn plan(&self) -> Result<Plan, String> {
        let path = Path::new(&self.what);
        let mut plan = match parse_seed(&self.what) {
            Ok(seed) => self.drawn(seed)?,
            Err(_) if path.exists() => read_plan(path)?,
            Err(error) => return Err(format!("{error}. Nor is there a file of that name")),
        };
        if let Some(name) = &self.canary {
            plan = canary::without(&plan);
            canary::add_to(&mut plan, name);
        }
        if self.points {
            point::add_to(&mut plan);
        }
        Ok(plan)
    }

    /// The plan of a seed, if it is the one that is meant.
    fn drawn(&self, seed: u64) -> Result<Plan, String> {
        let found = fingerprint(seed, self.profile);
        match self.fingerprint {
            Some(meant) if meant != found => Err(format!(
                "rev={} draws the plan {found:#x} from the seed {seed:#x}, not {meant:#x}: go back to the \
                 revision that named it, or leave out --plan",
                revision()
            )),
            Some(_) | None => Ok(draw(seed, self.profile)),
        }
    }

    /// Says so if the seed failed when last run, in a revision that is not this one.
    pub(super) fn tell_revision(&self, layer: Layer) {
        let is_plain = self.canary.is_none() && !self.points;
        if let (Ok(seed), true) = (parse_seed(&self.what), is_plain) {
            failures::tell_revision(seed, self.profile, layer);
        }
    }
}

/// A plan from a file.
pub(super) fn read_plan(path: &Path) -> Result<Plan, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Plan::from_text(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Tells the plans apart that different revisions draw from a seed.
pub(super) fn fingerprint(seed: u64, profile: Profile) -> u64 {
    let mut text = Trace::new(false);
    text.line(0, format_args!("{}", draw(seed, profile).to_text()));
    text.hash()
}
