//! The failures of the last runs, kept so that they can be run again first.

use std::path::PathBuf;

use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Profile;

use super::failure::Failure;
use super::revision::revision;
use super::seeds::parse_seed;
use super::source::fingerprint;

/// How many are kept.
const KEPT: usize = 100;

/// A seed that failed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) seed: u64,
    pub(super) profile: Profile,
    pub(super) layer: Layer,
    guarantee: String,
    /// The revision in which it failed.
    rev: String,
    /// The fingerprint of the plan that failed. Earlier programs kept none.
    plan: Option<u64>,
}

/// Reads what is kept, oldest first.
///
/// # Errors
/// Names the file that cannot be read, and the line in it that is no failure.
pub(super) fn read() -> Result<Vec<Kept>, String> {
    let path = path();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let kept = text.lines().zip(1..).map(|(line, number)| {
        let wrong = || format!("{}: line {number} is no failure; delete it", path.display());
        Kept::from_line(line).ok_or_else(wrong)
    });
    kept.collect()
}

/// Adds a failure, forgetting the oldest.
///
/// # Errors
/// Names the file that cannot be read or written.
pub(super) fn keep(failure: &Failure) -> Result<(), String> {
    let path = path();
    let kept = Kept::new(failure);
    let mut all = read()?;
    all.retain(|old| !old.is_run_like(kept.seed, kept.profile, kept.layer));
    all.push(kept);
    let from = all.len().saturating_sub(KEPT);
    let text: String = all[from..].iter().map(|kept| kept.line() + "\n").collect();
    let folder = path.parent().map(std::fs::create_dir_all).transpose();
    folder
        .and_then(|_| std::fs::write(&path, text))
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// Says on standard error what is to be known of a seed that failed in another revision. That it
/// cannot be told is no reason not to run it.
pub(super) fn tell_revision(seed: u64, profile: Profile, layer: Layer) {
    let kept = read().unwrap_or_default();
    let kept = kept.iter().find(|kept| kept.is_run_like(seed, profile, layer));
    if let Some(note) = kept.and_then(Kept::note) {
        eprintln!("sim: {note}");
    }
}

/// Where they are kept, from the folder in which the program was started.
pub(super) fn path() -> PathBuf {
    PathBuf::from("target/sim/failures.tsv")
}

impl Kept {
    fn new(failure: &Failure) -> Self {
        let Failure { seed, profile, layer, guarantee, .. } = failure;
        Kept {
            seed: *seed,
            profile: *profile,
            layer: *layer,
            guarantee: guarantee.clone(),
            rev: revision().to_owned(),
            plan: Some(fingerprint(*seed, *profile)),
        }
    }

    fn is_run_like(&self, seed: u64, profile: Profile, layer: Layer) -> bool {
        (self.seed, self.profile, self.layer) == (seed, profile, layer)
    }

    /// What is to be known where it is run again: `None` if it failed in this revision.
    pub(super) fn note(&self) -> Option<String> {
        let Kept { seed, profile, guarantee, rev, plan, .. } = self;
        let is_same_plan = plan.map(|plan| plan == fingerprint(*seed, *profile));
        if rev == revision() && is_same_plan != Some(false) {
            return None;
        }
        let plan = match is_same_plan {
            Some(true) => "the same plan is drawn from the seed",
            Some(false) => {
                "another plan is drawn from the seed, and what failed then is not what runs now"
            }
            None => "another plan may be drawn from the seed",
        };
        let now = revision();
        Some(format!("{seed:#x} failed {guarantee} in rev={rev}; this is rev={now}: {plan}"))
    }

    fn line(&self) -> String {
        let Kept { seed, profile, layer, guarantee, rev, plan } = self;
        let profile = profile.name();
        let plan = plan.map(|plan| format!("\t{plan:#x}")).unwrap_or_default();
        format!("{seed:#x}\t{profile}\t{layer}\t{guarantee}\t{rev}{plan}")
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut parts = line.split('\t');
        Some(Kept {
            seed: parse_seed(parts.next()?).ok()?,
            profile: Profile::from_name(parts.next()?)?,
            layer: parts.next()?.parse().ok()?,
            guarantee: parts.next()?.to_owned(),
            rev: parts.next()?.to_owned(),
            plan: parts.next().map(parse_seed).transpose().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use signalhouse_sim::layer::Layer;
    use signalhouse_sim::plan::Profile;

    use super::Kept;
    use crate::commands::revision::revision;
    use crate::commands::source::fingerprint;

    #[test]
    fn a_failure_of_another_revision_is_told_with_what_became_of_its_plan() {
        let plan = fingerprint(23, Profile::Crash);
        let kept = |rev: &str, plan: Option<u64>| Kept {
            seed: 23,
            profile: Profile::Crash,
            layer: Layer::Runtime,
            guarantee: "Q2".to_owned(),
            rev: rev.to_owned(),
            plan,
        };
        let now = revision();
        assert_eq!(kept(now, Some(plan)).note(), None);
        let note = |kept: Kept| kept.note().unwrap_or_default();
        let text = note(kept("0ld", Some(plan)));
        assert!(text.starts_with("0x17 failed Q2 in rev=0ld; this is rev="), "{text}");
        assert!(text.ends_with(": the same plan is drawn from the seed"), "{text}");
        let text = note(kept(now, Some(plan + 1)));
        assert!(text.contains("another plan is drawn from the seed"), "{text}");
        let text = note(kept("0ld", None));
        assert!(text.contains("another plan may be drawn"), "{text}");
        for kept in [kept("0ld", Some(plan)), kept("0ld", None)] {
            assert_eq!(Kept::from_line(&kept.line()), Some(kept));
        }
        assert_eq!(Kept::from_line("0x17\tcrash\tmoon\tQ2\t0ld\t0x0"), None);
    }
}
