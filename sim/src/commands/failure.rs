//! How a failure is told: one line, and the command that repeats it.

use std::fmt;

use signalhouse_sim::history::Violation;
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Profile;

use super::revision::revision;

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
        write!(f, "FAIL {guarantee} seed={seed:#x} rev={rev} layer={layer} profile={profile} ")?;
        writeln!(f, "step={step} token={token}")?;
        writeln!(f, "  {what}")?;
        write!(f, "  cargo sim repro {seed:#x} --profile {profile}")?;
        match layer {
            Layer::Core => Ok(()),
            Layer::Runtime => write!(f, " --layer runtime"),
        }
    }
}

/// The first token that a text names: `c3/e1/s42`.
fn token(text: &str) -> Option<&str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '/';
    text.split(|character| !is_part(character)).find(|word| {
        let mut parts = word.split('/');
        let mut is_number = |mark: char| {
            let digits = parts.next().and_then(|part| part.strip_prefix(mark));
            digits.is_some_and(|digits| digits.parse::<u64>().is_ok())
        };
        is_number('c') && is_number('e') && is_number('s')
    })
}
