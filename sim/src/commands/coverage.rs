//! `sim coverage`: the table of what a batch has been in, over its seeds.

use std::fmt;

use signalhouse_sim::coverage::{COLUMNS, Hits, Point, ROWS, is_possible};
use signalhouse_sim::layer::Layer;

use super::run::{self, RunArguments};
use super::watch::{self, Watch};
use super::{Ended, Verdict};

/// Runs the seeds, and fails if there is a situation that none of them was in.
pub(super) fn coverage(arguments: &RunArguments, layer: Layer) -> Ended {
    let arguments = RunArguments { keep_going: true, ..arguments.clone() };
    let summary = run::batch(&arguments, layer, Watch::begin().logged())?;
    print!("{}", summary.coverage());
    // Of half a batch nothing is asked.
    let is_full = watch::is_interrupted() || summary.coverage().missing().is_empty();
    let is_clean = is_full && summary.failures() == 0;
    watch::ended(if is_clean { Verdict::Clean } else { Verdict::Violated })
}

/// How many seeds hit each point.
#[derive(Debug)]
pub(super) struct Table {
    seeds: Vec<u64>,
}

impl Default for Table {
    fn default() -> Self {
        Table { seeds: vec![0; Hits::count()] }
    }
}

impl Table {
    /// Takes what one seed hit.
    pub(super) fn add(&mut self, hits: &[usize]) {
        for place in hits {
            if let Some(count) = self.seeds.get_mut(*place) {
                *count += 1;
            }
        }
    }

    /// The points that no seed hit.
    pub(super) fn missing(&self) -> Vec<String> {
        let fields = (0..ROWS.len()).flat_map(|row| (0..COLUMNS.len()).map(move |at| (row, at)));
        let fields = fields.filter(|(row, column)| {
            is_possible(*row, *column) && self.seeds[Hits::field(*row, *column)] == 0
        });
        let fields = fields.map(|(row, column)| format!("{} / {}", ROWS[row].0, COLUMNS[column]));
        let points = Point::ALL.iter().filter(|point| self.seeds[Hits::point(**point)] == 0);
        fields.chain(points.map(|point| point.text().to_owned())).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<40}", "under way, by how it was cut off")?;
        for column in COLUMNS {
            write!(f, " {column:>8}")?;
        }
        writeln!(f)?;
        for (row, (text, _)) in ROWS.iter().enumerate() {
            write!(f, "{text:<40}")?;
            for column in 0..COLUMNS.len() {
                if is_possible(row, column) {
                    write!(f, " {:>8}", self.seeds[Hits::field(row, column)])?;
                } else {
                    write!(f, " {:>8}", "-")?;
                }
            }
            writeln!(f)?;
        }
        for point in Point::ALL {
            writeln!(f, "{:<63} {:>8}", point.text(), self.seeds[Hits::point(*point)])?;
        }
        let missing = self.missing();
        let all = Hits::count()
            - (0..ROWS.len() * COLUMNS.len())
                .filter(|place| !is_possible(place / COLUMNS.len(), place % COLUMNS.len()))
                .count();
        writeln!(f, "{} of {all} points reached", all - missing.len())?;
        for point in missing {
            writeln!(f, "NEVER {point}")?;
        }
        Ok(())
    }
}
