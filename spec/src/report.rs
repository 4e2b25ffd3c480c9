//! What came of a run, for people and for machines.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::requirements::Requirements;
use crate::run::{Outcome, Verdict};

/// How many cases came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Against advice.
    pub unadvised: usize,
    /// Left out.
    pub not_offered: usize,
}

impl Counts {
    /// Counts outcomes.
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut counts = Counts::default();
        for outcome in outcomes {
            match outcome.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed(..) => counts.failed += 1,
                Verdict::Unadvised(..) => counts.unadvised += 1,
                Verdict::NotOffered(_) => counts.not_offered += 1,
            }
        }
        counts
    }
}

/// The table for a terminal: a line for each case, then what failed with what was on the wire.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let word = match &outcome.verdict {
            Verdict::Passed => "passed".to_owned(),
            Verdict::Failed(..) => "FAILED".to_owned(),
            Verdict::Unadvised(..) => "advice".to_owned(),
            Verdict::NotOffered(_) => "-".to_owned(),
        };
        let statements = outcome.case.statements.join(" ");
        let _ = write!(text, "{word:6} {:>5} ms  {}", outcome.ms, outcome.case.name);
        let _ = match &outcome.verdict {
            Verdict::NotOffered(need) => writeln!(text, "  (needs {need:?})"),
            Verdict::Passed | Verdict::Failed(..) | Verdict::Unadvised(..) => {
                writeln!(text, "  {statements}")
            }
        };
    }
    for outcome in outcomes {
        if let Verdict::Failed(why, wire) | Verdict::Unadvised(why, wire) = &outcome.verdict {
            let _ = writeln!(text, "\n{}: {why}", outcome.case.name);
            for line in wire {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    text
}

/// The last lines: sums, and what they cover.
#[must_use]
pub fn summary(outcomes: &[Outcome]) -> String {
    let Counts { passed, failed, unadvised, not_offered } = Counts::of(outcomes);
    let requirements = Requirements::load();
    let shown: BTreeSet<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Passed)
        .map(|outcome| outcome.case.name)
        .collect();
    format!(
        "{passed} of {} cases passed, {failed} failed, {unadvised} against advice, {not_offered} not offered\n\
         {} of {} statements of MQTT 5.0 shown ({} only a client can obey)\n",
        outcomes.len(),
        requirements.covered_by(&shown),
        requirements.statement.len(),
        requirements.client_only(),
    )
}

/// The same for machines.
#[must_use]
pub fn json(target: &str, outcomes: &[Outcome]) -> Value {
    let Counts { passed, failed, unadvised, not_offered } = Counts::of(outcomes);
    let cases: Vec<Value> = outcomes.iter().map(case).collect();
    json!({
        "target": target,
        "passed": passed,
        "failed": failed,
        "against_advice": unadvised,
        "not_offered": not_offered,
        "cases": cases,
    })
}

fn case(outcome: &Outcome) -> Value {
    let (verdict, why, wire) = match &outcome.verdict {
        Verdict::Passed => ("passed", String::new(), Vec::new()),
        Verdict::Failed(why, wire) => ("failed", why.clone(), wire.clone()),
        Verdict::Unadvised(why, wire) => ("against advice", why.clone(), wire.clone()),
        Verdict::NotOffered(need) => ("not offered", format!("needs {need:?}"), Vec::new()),
    };
    json!({
        "name": outcome.case.name,
        "statements": outcome.case.statements,
        "verdict": verdict,
        "why": why,
        "wire": wire,
        "ms": u64::try_from(outcome.ms).unwrap_or(u64::MAX),
    })
}
