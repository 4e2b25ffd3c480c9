//! How a failure is told: one line, and the command that repeats it.

use std::fmt;

use signalhouse_sim::history::Violation;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Profile;

use super::revision::revision;
use super::source::fingerprint;

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) seed: u64,
    pub(super) profile: Profile,
    pub(super) layer: Layer,
    pub(super) guarantee: String,
    pub(super) step: String,
    pub(super) what: String,
}

impl Failure {
    pub(super) fn new(seed: u64, profile: Profile, layer: Layer, violation: &Violation) -> Self {
        let step = violation.events.last().map_or("-".to_owned(), |event| format!("#{event}"));
        let what = violation.what.replace(['\n', '\t'], " ");
        let guarantee = violation.guarantee.to_owned();
        Failure { seed, profile, layer, guarantee, step, what }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, profile, layer, guarantee, step, what } = self;
        let profile = profile.name();
        let (rev, token) = (revision(), token(what).unwrap_or("-"));
        let plan = fingerprint(*seed, self.profile);
        write!(f, "FAIL {guarantee} seed={seed:#x} rev={rev} layer={layer} profile={profile} ")?;
        writeln!(f, "plan={plan:#x} step={step} token={token}")?;
        writeln!(f, "  {what}")?;
        write!(f, "  cargo sim repro {seed:#x} --profile {profile} --plan {plan:#x}")?;
        match layer {
            Layer::Core => Ok(()),
            Layer::Runtime => write!(f, " --layer runtime"),
        }
    }
}

/// The first token that a text names, as traces have it: `c3/e1/s42`.
fn token(text: &str) -> Option<&str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '/';
    text.split(|character| !is_part(character)).find_map(|word| {
        let mut parts = word.split('/');
        let mut length = 0;
        for mark in ['c', 'e', 's'] {
            let part = parts.next()?;
            part.strip_prefix(mark)?.parse::<u64>().ok()?;
            length += part.len() + 1;
        }
        word.get(..length - 1)
    })
}

#[cfg(test)]
mod tests {
    use signalhouse_sim::history::Violation;
    use signalhouse_sim::layer::Layer;
    use signalhouse_sim::plan::Profile;

    use super::Failure;
    use crate::commands::revision::revision;
    use crate::commands::source::fingerprint;

    #[test]
    fn a_failure_is_one_line_its_cause_and_the_command_that_repeats_it() {
        let what = "a message\n\"c3/e1/s42/t0\" is lost".to_owned();
        let violation = Violation { guarantee: "Q2", what, events: vec![7, 9] };
        let failure = Failure::new(0x17, Profile::Crash, Layer::Runtime, &violation);
        let (rev, plan) = (revision(), fingerprint(0x17, Profile::Crash));
        let expected = format!(
            "FAIL Q2 seed=0x17 rev={rev} layer=runtime profile=crash plan={plan:#x} step=#9 \
             token=c3/e1/s42\n  a message \"c3/e1/s42/t0\" is lost\n  \
             cargo sim repro 0x17 --profile crash --plan {plan:#x} --layer runtime"
        );
        assert_eq!(failure.to_string(), expected);
    }
}
