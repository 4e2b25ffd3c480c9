//! `sim explore`: every interleaving of small worlds.

use std::time::Instant;

use clap::Args;
use signalhouse_sim::explore::{self, Explored};

use super::revision::revision;
use super::watch::{self, Watch};
use super::{Ended, Verdict};

/// What `explore` is told.
#[derive(Debug, Args)]
pub(super) struct ExploreArguments {
    /// The worlds, by name; all of them if none is named
    world: Vec<String>,
    /// Stop a world after so many states, exhausted or not
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    states: usize,
}

/// Explores the worlds one after the other and stops at the first violation.
pub(super) fn explore(arguments: &ExploreArguments) -> Ended {
    let names: Vec<&str> = if arguments.world.is_empty() {
        explore::names()
    } else {
        arguments.world.iter().map(String::as_str).collect()
    };
    let find = |name| {
        explore::find(name).ok_or_else(|| {
            format!("there is no world called {name}; there are: {}", explore::names().join(", "))
        })
    };
    let setups = names.into_iter().map(|name| Ok((name, find(name)?)));
    let setups = setups.collect::<Result<Vec<_>, String>>()?;
    let watch = Watch::begin();
    let mut total = 0;
    for (name, setup) in setups {
        let start = Instant::now();
        let explored = explore::search(&setup, arguments.states, |states| {
            watch.show(|| format!("{name}: {states} states"));
            !watch::is_interrupted()
        });
        watch.end();
        println!("{}", line(name, &explored, start.elapsed().as_secs_f64()));
        total += explored.states;
        if let Some(found) = explored.violation {
            println!("FAIL {} rev={} world={name}", found.what, revision());
            println!("  cargo sim explore {name} --states {}", arguments.states);
            for (number, step) in (1..).zip(&found.path) {
                println!("  {number:3}. {step}");
            }
            return Ok(Verdict::Violated);
        }
        if watch::is_interrupted() {
            break;
        }
    }
    println!("{total} distinct states in all");
    watch::ended(Verdict::Clean)
}

fn line(name: &str, explored: &Explored, seconds: f64) -> String {
    let end = if explored.violation.is_some() {
        "violated"
    } else if explored.is_exhausted {
        "exhausted"
    } else {
        "not exhausted"
    };
    format!(
        "{name:<19} {:>9} states, {:>10} steps, all of {:>2} steps and fewer, {end}, {seconds:.1} s",
        explored.states, explored.steps, explored.depth
    )
}
