//! What was measured, for people, for machines, and side by side.

use hdrhistogram::Histogram;
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines and a table.
    Text,
    /// One JSON object for each phase of each run, a line each.
    Json,
}

/// Latencies of deliveries, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Half are below.
    pub p50: f64,
    /// 90 of 100 are below.
    pub p90: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// 999 of 1,000 are below.
    pub p999: f64,
    /// None is above.
    pub maximum: f64,
}

impl Latency {
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let ms = |ns: u64| ns as f64 / 1e6;
        let at = |quantile: f64| ms(histogram.value_at_quantile(quantile));
        Some(Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            maximum: ms(histogram.max()),
        })
    }
}

/// What one phase of one run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The target's name.
    pub target: String,
    /// The scenario in words.
    pub scenario: String,
    /// Which part of it.
    pub phase: &'static str,
    /// What is counted: deliveries, messages, connections or subscriptions.
    pub unit: &'static str,
    /// How many of them.
    pub units: u64,
    /// How long it took.
    pub seconds: f64,
    /// Units each second.
    pub units_per_second: f64,
    /// Processor time of the target for each unit, in microseconds, if its process is known.
    pub processor_us_per_unit: Option<f64>,
    /// Processor time of the load generator for each unit, in microseconds.
    pub load_us_per_unit: f64,
    /// Resident memory of the target at the end.
    pub resident_bytes: Option<u64>,
    /// By how much it grew for each unit.
    pub resident_bytes_per_unit: Option<f64>,
    /// From the moment a message was due to its arrival.
    pub latency_ms: Option<Latency>,
    /// Messages published since the load began.
    pub published: u64,
    /// Publications acknowledged.
    pub acknowledged: u64,
    /// Publications refused with a reason code.
    pub refused: u64,
    /// Deliveries, repeats included.
    pub delivered: u64,
    /// Deliveries that should have happened and did not.
    pub lost: u64,
    /// Deliveries of what had been delivered before.
    pub duplicated: u64,
    /// Deliveries behind a later message of the same stream.
    pub out_of_order: u64,
}

impl Measured {
    pub(super) fn count(&mut self, tally: &super::traffic::Tally, lost: u64) {
        self.published = tally.published;
        self.acknowledged = tally.acknowledged;
        self.refused = tally.refused;
        self.delivered = tally.delivered;
        self.duplicated = tally.duplicated;
        self.out_of_order = tally.out_of_order;
        self.lost = lost;
    }

    /// Whether something did not arrive, or not as it should.
    #[must_use]
    pub fn is_flawed(&self) -> bool {
        self.lost + self.duplicated + self.out_of_order + self.refused > 0
    }

    fn line(&self) -> String {
        let processor = self
            .processor_us_per_unit
            .map_or(String::new(), |us| format!(", broker {us:.3} us/{}", self.unit));
        let memory = self.resident_bytes.map_or(String::new(), |bytes| {
            format!(", resident {:.1} MiB", bytes as f64 / 1_048_576.0)
        });
        let latency = self.latency_ms.map_or(String::new(), |latency| {
            format!(
                ", p50 {:.3} ms p99 {:.3} ms max {:.1} ms",
                latency.p50, latency.p99, latency.maximum
            )
        });
        let flaws = if self.is_flawed() {
            format!(
                ", LOST {} DUPLICATED {} OUT OF ORDER {} REFUSED {}",
                self.lost, self.duplicated, self.out_of_order, self.refused
            )
        } else {
            String::new()
        };
        format!(
            "{:<12} {:<9} {:>11.0} {}/s{processor}, load {:.3} us{latency}{memory}{flaws}",
            self.target,
            self.phase,
            self.units_per_second,
            plural(self.unit),
            self.load_us_per_unit,
        )
    }
}

fn plural(unit: &str) -> String {
    unit.strip_suffix('y').map_or_else(|| format!("{unit}s"), |stem| format!("{stem}ies"))
}

/// Prints results as they come, and compares them in the end.
#[derive(Debug)]
pub struct Reporter {
    format: Format,
    all: Vec<Measured>,
}

impl Reporter {
    /// A reporter that has nothing to report yet.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Reporter { format, all: Vec::new() }
    }

    /// Takes and prints what a run came to.
    pub fn take(&mut self, run: Vec<Measured>) {
        for measured in run {
            match self.format {
                Format::Text => say!("{}", measured.line()),
                Format::Json => {
                    // Strings, numbers and options cannot fail to be written.
                    say!("{}", serde_json::to_string(&measured).unwrap_or_default());
                }
            }
            self.all.push(measured);
        }
    }

    /// Whether anything arrived otherwise than it should.
    #[must_use]
    pub fn is_flawed(&self) -> bool {
        self.all.iter().any(Measured::is_flawed)
    }

    /// Prints the median of each target's runs, and how it compares with the first target's.
    pub fn compare(&self) {
        if self.format == Format::Json || self.all.is_empty() {
            return;
        }
        say!(
            "\n{:<12} {:<9} {:>12} {:>14} {:>8} {:>10} {:>10} {:>5}",
            "median of",
            "phase",
            "units/s",
            "broker us/unit",
            "ratio",
            "p50 ms",
            "p99 ms",
            "runs"
        );
        let phases = distinct(self.all.iter().map(|measured| measured.phase));
        let targets = distinct(self.all.iter().map(|measured| measured.target.as_str()));
        for phase in phases {
            let mut first = None;
            for target in &targets {
                let runs: Vec<&Measured> = self
                    .all
                    .iter()
                    .filter(|one| one.phase == phase && one.target == *target)
                    .collect();
                if runs.is_empty() {
                    continue;
                }
                let cost = median(runs.iter().filter_map(|run| run.processor_us_per_unit));
                first = first.or(cost);
                say!(
                    "{target:<12} {phase:<9} {:>12.0} {:>14} {:>8} {:>10} {:>10} {:>5}",
                    median(runs.iter().map(|run| run.units_per_second)).unwrap_or(0.0),
                    shown(cost),
                    shown(cost.zip(first).map(|(cost, first)| cost / first)),
                    shown(median(runs.iter().filter_map(|run| run.latency_ms.map(|it| it.p50)))),
                    shown(median(runs.iter().filter_map(|run| run.latency_ms.map(|it| it.p99)))),
                    runs.len(),
                );
            }
        }
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some((upper + values[middle - 1]) / 2.0) }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }
}
