//! What came of a run, for people and for machines.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::deviations::Deviations;
use crate::mutations::Noticed;
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

/// How much of what was on the wire a terminal shows; JSON has it whole.
const LINES: usize = 12;
const COLUMNS: usize = 200;

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
            for line in wire.iter().skip(wire.len().saturating_sub(LINES)) {
                let end = line.char_indices().nth(COLUMNS).map(|(end, _)| end);
                let _ = match end {
                    Some(end) => writeln!(text, "    {} …", line.get(..end).unwrap_or_default()),
                    None => writeln!(text, "    {line}"),
                };
            }
        }
    }
    text
}

/// The last lines: sums, and what they cover.
#[must_use]
pub fn summary(outcomes: &[Outcome]) -> String {
    let Counts { passed, failed, unadvised, not_offered } = Counts::of(outcomes);
    format!(
        "{passed} of {} cases passed, {failed} failed, {unadvised} against advice, {not_offered} not offered\n\
         {}\n",
        outcomes.len(),
        coverage(outcomes),
    )
}

/// How many statements these cases show, in a sentence or two.
fn coverage(outcomes: &[Outcome]) -> String {
    let requirements = Requirements::load();
    let mut text = format!(
        "{} of {} statements of MQTT 5.0 shown ({} only a client can obey; to {} of them no server has an answer)",
        requirements.covered_by(&passed_by(outcomes)),
        requirements.statement.len(),
        requirements.client_only(),
        requirements.unanswered(),
    );
    let unjudged = unjudged(outcomes);
    if !unjudged.is_empty() {
        let ids: Vec<&str> = unjudged.iter().map(|id| id.trim_start_matches("MQTT-")).collect();
        let _ = write!(
            text,
            "\n{} of these are kept because the target does nothing that they are about: {}",
            unjudged.len(),
            ids.join(" ")
        );
    }
    text
}

/// Statements that cases passed without anything to judge, and no other case showed.
#[must_use]
pub fn unjudged(outcomes: &[Outcome]) -> BTreeSet<&'static str> {
    let passed = |outcome: &&Outcome| outcome.verdict == Verdict::Passed;
    let said = outcomes.iter().filter(passed).flat_map(|outcome| &outcome.unjudged).copied();
    let judged = |statement: &str| {
        outcomes.iter().filter(passed).any(|outcome| {
            outcome.case.statements.contains(&statement) && !outcome.unjudged.contains(statement)
        })
    };
    said.filter(|statement| !judged(statement)).collect()
}

fn passed_by(outcomes: &[Outcome]) -> BTreeSet<&str> {
    let passed = outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Passed);
    passed.map(|outcome| outcome.case.name).collect()
}

/// The same for machines.
#[must_use]
pub fn json(target: &str, outcomes: &[Outcome]) -> Value {
    let Counts { passed, failed, unadvised, not_offered } = Counts::of(outcomes);
    let cases: Vec<Value> = outcomes.iter().map(case).collect();
    let requirements = Requirements::load();
    let passed_by = passed_by(outcomes);
    let unjudged = unjudged(outcomes);
    let statements: Vec<Value> = requirements
        .all()
        .into_iter()
        .map(|(id, _)| statement(id, outcomes, unjudged.contains(id)))
        .collect();
    json!({
        "target": target,
        "passed": passed,
        "failed": failed,
        "against_advice": unadvised,
        "not_offered": not_offered,
        "statements": requirements.statement.len(),
        "statements_shown": requirements.covered_by(&passed_by),
        "statements_without_anything_to_judge": unjudged,
        "requirements": statements,
        "cases": cases,
    })
}

/// A statement of either version or an expected behaviour, and how it fared in the cases that were played.
fn statement(id: &str, outcomes: &[Outcome], is_unjudged: bool) -> Value {
    let of_it: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.case.statements.contains(&id)).collect();
    let names = |wanted: fn(&Outcome) -> bool| -> Vec<&str> {
        let wanted = of_it.iter().filter(|outcome| wanted(outcome));
        wanted.map(|outcome| outcome.case.name).collect()
    };
    let shown_by = names(|outcome| outcome.verdict == Verdict::Passed);
    let failed = names(Outcome::failed);
    let outcome = match (shown_by.is_empty(), failed.is_empty()) {
        (_, false) => "failed",
        (false, true) if is_unjudged => "nothing to judge",
        (false, true) => "shown",
        (true, true) => "not shown",
    };
    json!({ "id": id, "outcome": outcome, "shown_by": shown_by, "failed": failed })
}

/// Which failures the file of differences explains, and what it and the outcomes do not agree in.
#[must_use]
pub fn deviations_json(deviations: &Deviations, outcomes: &[Outcome]) -> Value {
    let explained: Vec<Value> = outcomes
        .iter()
        .filter(|outcome| deviations.explain(outcome))
        .map(|outcome| {
            let name = outcome.case.name;
            let why = deviations.deviation.iter().find(|one| one.case == name);
            json!({
                "case": name,
                "statement": why.map(|one| &one.statement),
                "why": why.map(|one| &one.why),
            })
        })
        .collect();
    json!({
        "target": deviations.target,
        "explained": explained,
        "disagreements": deviations.disagreements(outcomes),
    })
}

/// What came of mutations, for machines; `fault` is empty where exactly the right cases noticed.
#[must_use]
pub fn mutations_json(noticed: &[Noticed]) -> Value {
    let one = |one: &Noticed| {
        json!({
            "name": one.mutation.name,
            "statement": one.mutation.statement,
            "noticed_by": one.failed,
            "played": one.played,
            "fault": one.fault().unwrap_or_default(),
        })
    };
    noticed.iter().map(one).collect()
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
