//! `sim coverage`: the table of what a batch has been in, over its seeds.

use std::fmt;

use clap::ValueEnum;
use signalhouse_sim::coverage::{COLUMNS, Hits, Point, ROWS, is_possible};
use signalhouse_sim::layer::Layer;
use signalhouse_sim::plan::Profile;

use super::run::{self, RunArguments};
use super::watch::{self, Watch};
use super::{Ended, Profiles, Verdict};

/// What is to be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Full {
    /// Whatever the batch can be in.
    All,
    /// What the disk can be in.
    Disk,
}

/// Which points are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Those that need no disk.
    WithoutDisk,
    /// Those of the disk.
    Disk,
    /// All.
    All,
}

impl Asked {
    /// What can be asked of a batch, and is.
    pub(super) fn of(full: Option<Full>, layer: Layer, profiles: &Profiles) -> Self {
        match (full, layer) {
            (Some(Full::Disk), _) => Asked::Disk,
            (_, Layer::Runtime) if profiles.0.contains(&Profile::Disk) => Asked::All,
            (_, Layer::Runtime | Layer::Core) => Asked::WithoutDisk,
        }
    }

    fn is_for(self, point: Point) -> bool {
        match self {
            Asked::WithoutDisk => !point.is_of_the_disk(),
            Asked::Disk => point.is_of_the_disk(),
            Asked::All => true,
        }
    }

    fn has_matrix(self) -> bool {
        match self {
            Asked::WithoutDisk | Asked::All => true,
            Asked::Disk => false,
        }
    }
}

/// Runs the seeds, and fails if there is a situation that none of them was in.
pub(super) fn coverage(arguments: &RunArguments, layer: Layer) -> Ended {
    let asked = Asked::of(arguments.full, layer, &arguments.profile);
    let arguments = RunArguments { keep_going: true, ..arguments.clone() };
    let summary = run::batch(&arguments, layer, Watch::begin().logged())?;
    print!("{}", summary.coverage().of(asked));
    // Of half a batch nothing is asked.
    let is_full = watch::is_interrupted() || summary.coverage().missing(asked).is_empty();
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

    /// The table as far as that is asked for.
    pub(super) fn of(&self, asked: Asked) -> View<'_> {
        View { table: self, asked }
    }

    /// The points asked for that no seed hit.
    pub(super) fn missing(&self, asked: Asked) -> Vec<String> {
        let rows = if asked.has_matrix() { ROWS.len() } else { 0 };
        let fields = (0..rows).flat_map(|row| (0..COLUMNS.len()).map(move |at| (row, at)));
        let fields = fields.filter(|(row, column)| {
            is_possible(*row, *column) && self.seeds[Hits::field(*row, *column)] == 0
        });
        let fields = fields.map(|(row, column)| format!("{} / {}", ROWS[row].0, COLUMNS[column]));
        let points = Point::ALL.iter().filter(|point| asked.is_for(**point));
        let points = points.filter(|point| self.seeds[Hits::point(**point)] == 0);
        fields.chain(points.map(|point| point.text().to_owned())).collect()
    }
}

/// A part of a table, to be printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    table: &'a Table,
    asked: Asked,
}

impl View<'_> {
    fn write_matrix(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<40}", "under way, by how it was cut off")?;
        for column in COLUMNS {
            write!(f, " {column:>8}")?;
        }
        writeln!(f)?;
        for (row, (text, _)) in ROWS.iter().enumerate() {
            write!(f, "{text:<40}")?;
            for column in 0..COLUMNS.len() {
                if is_possible(row, column) {
                    write!(f, " {:>8}", self.table.seeds[Hits::field(row, column)])?;
                } else {
                    write!(f, " {:>8}", "-")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// How many points there are in it.
    fn count(&self) -> usize {
        let rows = if self.asked.has_matrix() { ROWS.len() } else { 0 };
        let fields = (0..rows).flat_map(|row| (0..COLUMNS.len()).map(move |at| (row, at)));
        let fields = fields.filter(|(row, column)| is_possible(*row, *column)).count();
        fields + Point::ALL.iter().filter(|point| self.asked.is_for(**point)).count()
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let View { table, asked } = self;
        if asked.has_matrix() {
            self.write_matrix(f)?;
        }
        for point in Point::ALL.iter().filter(|point| asked.is_for(**point)) {
            writeln!(f, "{:<63} {:>8}", point.text(), table.seeds[Hits::point(*point)])?;
        }
        let (missing, count) = (table.missing(*asked), self.count());
        writeln!(f, "{} of {count} points reached", count - missing.len())?;
        for point in missing {
            writeln!(f, "NEVER {point}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use signalhouse_sim::coverage::{Hits, Point};
    use signalhouse_sim::layer::Layer;
    use signalhouse_sim::plan::Profile;

    use super::{Asked, Full, Table};
    use crate::commands::Profiles;

    #[test]
    fn what_no_seed_hit_is_missing_where_it_is_asked_for() {
        let mut table = Table::default();
        let all: Vec<usize> = (0..Hits::count()).collect();
        let but = |points: &[Point]| {
            let hit = |place: &usize| points.iter().all(|point| Hits::point(*point) != *place);
            all.iter().copied().filter(hit).collect::<Vec<_>>()
        };
        table.add(&but(&[Point::SentAway, Point::TailCut]));
        let [away, tail] = [Point::SentAway, Point::TailCut].map(|point| point.text().to_owned());
        assert_eq!(table.missing(Asked::WithoutDisk), vec![away.clone()]);
        assert_eq!(table.missing(Asked::Disk), vec![tail.clone()]);
        assert_eq!(table.missing(Asked::All), [away, tail]);
        table.add(&all);
        assert_eq!(table.missing(Asked::All), Vec::<String>::new());
        assert!(!Table::default().missing(Asked::Disk).is_empty());
    }

    #[test]
    fn the_disk_is_asked_for_where_there_is_one() {
        let each = Profiles(Profile::EACH.to_vec());
        let disk = Profiles(vec![Profile::Calm, Profile::Disk]);
        assert_eq!(Asked::of(None, Layer::Core, &disk), Asked::WithoutDisk);
        assert_eq!(Asked::of(None, Layer::Runtime, &each), Asked::WithoutDisk);
        assert_eq!(Asked::of(None, Layer::Runtime, &disk), Asked::All);
        assert_eq!(Asked::of(Some(Full::Disk), Layer::Runtime, &disk), Asked::Disk);
    }
}
