//! `sim explore`: every interleaving of small worlds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Args;
use signalhouse_sim::explore::{self, Explored, Setup};

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
    /// Fail if a world was stopped before its end
    #[arg(long)]
    exhausted: bool,
    /// Look for deliberate defects instead, each in a world where it must be found
    #[arg(long, conflicts_with_all = ["world", "exhausted", "at_least"])]
    canaries: bool,
    /// Fail if there are fewer distinct states in all
    #[arg(long, value_name = "N", default_value_t = 0)]
    at_least: usize,
}

impl ExploreArguments {
    /// Whether only the build with canaries can do it.
    pub(super) fn has_canaries(&self) -> bool {
        self.canaries
    }
}

/// Explores the worlds, several at once, and stops at the first violation. Too little visited fails as well.
pub(super) fn explore(arguments: &ExploreArguments) -> Ended {
    if arguments.canaries {
        return canaries(arguments.states);
    }
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
    let next = AtomicUsize::new(0);
    let visited = Mutex::new(Visited::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(setups.len()) {
            scope.spawn(|| {
                while let Some((name, setup)) = setups.get(next.fetch_add(1, Ordering::Relaxed))
                    && !is_over(&visited)
                {
                    visit(name, setup, arguments.states, &watch, &visited);
                    if watch::is_interrupted() {
                        break;
                    }
                }
            });
        }
    });
    let Visited { states, mut stopped, is_violated, .. } = visited.into_inner().unwrap_or_default();
    if is_violated {
        return Ok(Verdict::Violated);
    }
    println!("{states} distinct states in all");
    if watch::is_interrupted() {
        return watch::ended(Verdict::Clean);
    }
    stopped.sort_unstable();
    let lines = too_little(arguments, &stopped, states);
    lines.iter().for_each(|line| println!("FAIL {line}"));
    Ok(if lines.is_empty() { Verdict::Clean } else { Verdict::Violated })
}

/// What came of the worlds so far.
#[derive(Debug, Default)]
struct Visited<'a> {
    states: usize,
    /// Those that were stopped before their end.
    stopped: Vec<&'a str>,
    is_violated: bool,
    /// It was said that Ctrl-C was pressed.
    is_told: bool,
}

/// Whether nothing more is looked for.
fn is_over(visited: &Mutex<Visited<'_>>) -> bool {
    visited.lock().is_ok_and(|visited| visited.is_violated)
}

/// Explores one world.
fn visit<'a>(
    name: &'a str,
    setup: &Setup,
    maximum_states: usize,
    watch: &Watch,
    visited: &Mutex<Visited<'a>>,
) {
    let start = Instant::now();
    let explored = explore::search(setup, maximum_states, |states| {
        watch.show(|| format!("{name}: {states} states"));
        !watch::is_interrupted() && !is_over(visited)
    });
    let Ok(mut visited) = visited.lock() else { return };
    if visited.is_violated {
        return;
    }
    if watch::is_interrupted() && !std::mem::replace(&mut visited.is_told, true) {
        watch.end();
    } else {
        watch.clear();
    }
    println!("{}", line(name, &explored, start.elapsed().as_secs_f64()));
    visited.states += explored.states;
    if let Some(found) = explored.violation {
        println!("FAIL {} rev={} world={name}", found.what, revision());
        println!("  cargo sim explore {name} --states {maximum_states}");
        for (number, step) in (1..).zip(&found.path) {
            println!("  {number:3}. {step}");
        }
        visited.is_violated = true;
    } else if !explored.is_exhausted {
        visited.stopped.push(name);
    }
}

#[cfg(not(signalhouse_sim))]
fn canaries(_maximum_states: usize) -> Ended {
    Err("this build has no canaries".to_owned())
}

/// Looks for each of the defects, and fails if one is not found for what it is.
#[cfg(signalhouse_sim)]
fn canaries(maximum_states: usize) -> Ended {
    let hunts = explore::hunts();
    let (mut found, count) = (0, hunts.len());
    for hunt in hunts {
        let start = Instant::now();
        let explored = hunt.search(maximum_states);
        let seconds = start.elapsed().as_secs_f64();
        let (name, world) = (hunt.canary.name(), hunt.setup.name);
        let steps = explored.violation.as_ref().map_or(0, |violation| violation.path.len());
        let what = explored.violation.as_ref().map_or("nothing", |violation| &violation.what);
        let states = explored.states;
        println!(
            "{name:<28} {world:<15} {states:>7} states, {steps:>2} steps, {seconds:.1} s: {what}"
        );
        if hunt.is_found(&explored) {
            found += 1;
        } else {
            println!("FAIL {name} must be found in {world} as {}", hunt.code);
        }
        if watch::is_interrupted() {
            break;
        }
    }
    println!("{found} of {count} defects found by the model check");
    Ok(if found == count { Verdict::Clean } else { Verdict::Violated })
}

/// What was asked for and not visited, if these worlds were stopped and so many states were found.
fn too_little(arguments: &ExploreArguments, stopped: &[&str], states: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if arguments.exhausted && !stopped.is_empty() {
        lines.push(format!("stopped before the end: {}", stopped.join(", ")));
    }
    if states < arguments.at_least {
        lines.push(format!("at least {} states are asked for", arguments.at_least));
    }
    lines
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

#[cfg(test)]
mod tests {
    use super::{ExploreArguments, too_little};

    #[test]
    fn what_was_asked_for_has_to_be_visited() {
        let said = |exhausted, at_least, stopped: &[&str], states| {
            let (world, canaries) = (Vec::new(), false);
            let arguments = ExploreArguments { world, states: 1, exhausted, canaries, at_least };
            too_little(&arguments, stopped, states).join("; ")
        };
        assert_eq!(said(false, 0, &["a"], 0), "");
        assert_eq!(said(true, 10, &[], 10), "");
        assert_eq!(said(false, 10, &["a"], 9), "at least 10 states are asked for");
        assert_eq!(said(true, 10, &["a", "b"], 10), "stopped before the end: a, b");
        let both = "stopped before the end: a; at least 10 states are asked for";
        assert_eq!(said(true, 10, &["a"], 9), both);
    }
}
