//! Known differences of a target from the standard, each explained.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::run::Outcome;

/// A file of known differences.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviations {
    /// The target and its version.
    pub target: String,
    /// The differences.
    #[serde(default)]
    pub deviation: Vec<Deviation>,
}

/// One difference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// The case that fails.
    pub case: String,
    /// The statement or expected behaviour that is not kept.
    pub statement: String,
    /// What was on the wire, `>` towards the target and `<` from it.
    pub bytes: String,
    /// What is different, and why it is the target's.
    pub why: String,
    /// Whether it depends on chance, so that it may also not occur.
    #[serde(default)]
    pub sometimes: bool,
}

impl Deviations {
    /// Reads such a file.
    ///
    /// # Errors
    /// Where the text is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// What the outcomes and the file do not agree in, one line each.
    #[must_use]
    pub fn disagreements(&self, outcomes: &[Outcome]) -> Vec<String> {
        let mut lines = Vec::new();
        let known: BTreeSet<&str> = self.deviation.iter().map(|one| one.case.as_str()).collect();
        for outcome in outcomes.iter().filter(|outcome| outcome.failed()) {
            if !known.contains(outcome.case.name) {
                lines.push(format!("{} fails and is not explained", outcome.case.name));
            }
        }
        for deviation in &self.deviation {
            let Deviation { case, statement, .. } = deviation;
            match outcomes.iter().find(|outcome| outcome.case.name == case) {
                None => lines.push(format!("{case} is explained and was not played")),
                Some(outcome) if !outcome.failed() && deviation.sometimes => {}
                Some(outcome) if !outcome.failed() => {
                    lines.push(format!("{case} is explained and no longer fails"));
                }
                Some(outcome) if !outcome.case.statements.contains(&statement.as_str()) => {
                    lines.push(format!("{case} does not name {statement}"));
                }
                Some(_) => {}
            }
        }
        lines
    }
}
