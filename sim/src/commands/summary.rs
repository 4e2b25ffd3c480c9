//! What a batch of seeds came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use signalhouse_sim::plan::Profile;
use signalhouse_sim::point;

use super::coverage::Table;
use super::worker::Report;

/// The least share of verdicts that must bind, in thousandths: in `calm`, and over all profiles.
const MUST_CALM: u64 = 950;
const MUST_ALL: u64 = 600;
/// The least that the median plan has.
const MEDIAN_INPUTS: u64 = 300;
const MEDIAN_CLIENTS: u64 = 5;

/// Sums over the seeds run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    profiles: BTreeMap<Profile, Sums>,
    /// Failures by guarantee.
    guarantees: BTreeMap<String, u64>,
    coverage: Table,
    /// The points that struck.
    struck: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Sums {
    inputs_of_seeds: Vec<u64>,
    clients_of_seeds: Vec<u64>,
    failures: u64,
    inputs: u64,
    simulated_ms: u64,
    micros: u64,
    must: u64,
    verdicts: u64,
}

impl Summary {
    /// Takes one seed's report.
    pub(super) fn add(&mut self, report: &Report) {
        self.profiles.entry(report.profile).or_default().add(report);
        self.coverage.add(&report.hits);
        if let Some(failure) = &report.failure {
            *self.guarantees.entry(failure.guarantee.clone()).or_default() += 1;
        }
    }

    /// Takes the names of points that struck in some seed.
    pub(super) fn strike<'a>(&mut self, points: impl Iterator<Item = &'a str>) {
        self.struck.extend(points.map(str::to_owned));
    }

    /// How many of the points struck, in words.
    pub(super) fn points(&self) -> String {
        format!("{} of {} points struck", self.struck.len(), point::names().count())
    }

    /// What the batch does not show of points: those that never struck.
    pub(super) fn points_at_rest(&self) -> Vec<String> {
        let never = point::names().filter(|name| !self.struck.contains(*name));
        never.map(|name| format!("the point {name} never struck")).collect()
    }

    /// Which situations the seeds were in.
    pub(super) fn coverage(&self) -> &Table {
        &self.coverage
    }

    /// What makes the batch show too little: verdicts that bind nobody, or plans that are too small.
    pub(super) fn weaknesses(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (profile, least) in [(Some(Profile::Calm), MUST_CALM), (None, MUST_ALL)] {
            let Some(share) = self.must_thousandths(profile) else { continue };
            if share < least {
                let name = profile.map_or("all profiles", Profile::name);
                let [share, least] = [share, least].map(in_percent);
                found
                    .push(format!("{share} of the verdicts bind in {name}, at least {least} must"));
            }
        }
        let all = || self.profiles.values();
        let (inputs, clients) = (
            median(all().flat_map(|sums| &sums.inputs_of_seeds)),
            median(all().flat_map(|sums| &sums.clients_of_seeds)),
        );
        if inputs < MEDIAN_INPUTS || clients < MEDIAN_CLIENTS {
            found.push(format!(
                "the median plan has {inputs} inputs and {clients} clients, at least \
                 {MEDIAN_INPUTS} and {MEDIAN_CLIENTS} are asked for"
            ));
        }
        found
    }

    /// The share of verdicts that bind the broker, in thousandths: of one profile, or of all.
    fn must_thousandths(&self, profile: Option<Profile>) -> Option<u64> {
        let wanted = |found: &Profile| profile.is_none_or(|profile| profile == *found);
        let sums = self.profiles.iter().filter(|(found, _)| wanted(found));
        let (must, all) =
            sums.fold((0, 0), |(must, all), (_, sums)| (must + sums.must, all + sums.verdicts));
        (must * 1000_u64).checked_div(all)
    }

    /// How many seeds were run.
    pub(super) fn seeds(&self) -> usize {
        self.profiles.values().map(|sums| sums.inputs_of_seeds.len()).sum()
    }

    /// How many of them failed.
    pub(super) fn failures(&self) -> u64 {
        self.profiles.values().map(|sums| sums.failures).sum()
    }

    /// How many inputs the broker took.
    pub(super) fn inputs(&self) -> u64 {
        self.profiles.values().map(|sums| sums.inputs).sum()
    }
}

impl Sums {
    fn add(&mut self, report: &Report) {
        self.inputs_of_seeds.push(report.inputs);
        self.clients_of_seeds.push(report.clients);
        self.failures += u64::from(report.failure.is_some());
        self.inputs += report.inputs;
        self.simulated_ms += report.simulated_ms;
        self.micros += report.micros;
        self.must += report.verdicts.must;
        self.verdicts += report.verdicts.all;
    }

    fn line(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (inputs, clients) = (median(&self.inputs_of_seeds), median(&self.clients_of_seeds));
        let seeds = self.inputs_of_seeds.len();
        let per_second = self.inputs.saturating_mul(1_000_000).checked_div(self.micros);
        let per_second = per_second.unwrap_or(0);
        let hours = self.simulated_ms / 3_600_000;
        let must = match (self.must * 1000).checked_div(self.verdicts) {
            Some(thousandths) => in_percent(thousandths),
            None => "-".to_owned(),
        };
        writeln!(
            f,
            "{name:<10} {seeds:>8} {:>8} {:>12} {inputs:>8} {clients:>8} {per_second:>13} {hours:>9} {must:>8}",
            self.failures, self.inputs
        )
    }
}

fn median<'a>(values: impl IntoIterator<Item = &'a u64>) -> u64 {
    let mut values: Vec<u64> = values.into_iter().copied().collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn in_percent(thousandths: u64) -> String {
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:>8} {:>8} {:>12} {:>8} {:>8} {:>13} {:>9} {:>8}",
            "profile",
            "seeds",
            "failed",
            "inputs",
            "median",
            "clients",
            "inputs/s/core",
            "sim hours",
            "must"
        )?;
        let mut total = Sums::default();
        for (profile, sums) in &self.profiles {
            sums.line(profile.name(), f)?;
            total.inputs_of_seeds.extend(&sums.inputs_of_seeds);
            total.clients_of_seeds.extend(&sums.clients_of_seeds);
            total.failures += sums.failures;
            total.inputs += sums.inputs;
            total.simulated_ms += sums.simulated_ms;
            total.micros += sums.micros;
            total.must += sums.must;
            total.verdicts += sums.verdicts;
        }
        if self.profiles.len() > 1 {
            total.line("total", f)?;
        }
        for (guarantee, failures) in &self.guarantees {
            writeln!(f, "{guarantee}: {failures} failed")?;
        }
        Ok(())
    }
}
