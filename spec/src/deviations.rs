//! Known differences of a target from the standard, each explained.

use serde::Deserialize;

use crate::run::{Outcome, Verdict};

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
    /// How the sentence begins with which the case fails, so that another difference in the same case does not pass for
    /// this one.
    pub fails: String,
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

    /// Whether the outcome is a failure that the file explains.
    #[must_use]
    pub fn explain(&self, outcome: &Outcome) -> bool {
        let of_case = |one: &&Deviation| one.case == outcome.case.name;
        sentence(outcome).is_some_and(|sentence| {
            self.deviation.iter().filter(of_case).any(|one| one.explains(sentence))
        })
    }

    /// What the outcomes and the file do not agree in, one line each.
    #[must_use]
    pub fn disagreements(&self, outcomes: &[Outcome]) -> Vec<String> {
        let mut lines = Vec::new();
        for outcome in outcomes {
            let Some(sentence) = sentence(outcome) else { continue };
            let name = outcome.case.name;
            if self.explain(outcome) {
                continue;
            }
            let is_known = self.deviation.iter().any(|one| one.case == name);
            let how = if is_known { "otherwise than explained" } else { "and is not explained" };
            lines.push(format!("{name} fails {how}: {sentence}"));
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

impl Deviation {
    /// Whether this is the difference that a case tells in `sentence`.
    fn explains(&self, sentence: &str) -> bool {
        !self.fails.is_empty() && sentence.starts_with(&self.fails)
    }
}

/// How a case failed, if it did.
fn sentence(outcome: &Outcome) -> Option<&str> {
    match &outcome.verdict {
        Verdict::Failed(sentence, _) | Verdict::Unadvised(sentence, _) => Some(sentence),
        Verdict::Passed | Verdict::NotOffered(_) => None,
    }
}
