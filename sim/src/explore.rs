//! Every interleaving of a small world: the shipped machine with a publisher and one or two
//! subscribers, in which packets arrive, connections are cut and taken over, the journal becomes
//! durable record by record, and the process crashes between any two of these.
//!
//! `run` samples large worlds; this exhausts small ones. In each state the delivery guarantees
//! must hold, and from each state a world without further faults must come to rest with everything
//! delivered. States are compared by a canonical digest, so that what differs in counters alone is
//! visited once. Clients here exchange packets as values: bytes and partial reads are elsewhere.

mod client;
mod digest;
mod journal;
mod rest;
mod world;
mod worlds;

use std::collections::HashSet;

pub use worlds::{Setup, find, names};

use world::{Step, World};

/// What came of a search.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps taken, those to known states included.
    pub steps: u64,
    /// Steps of the longest path.
    pub depth: usize,
    /// Whether every state that can be reached was visited.
    pub is_exhausted: bool,
    /// The first state in which something is wrong.
    pub violation: Option<Found>,
}

/// A way to a state in which something is wrong.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is wrong, behind the code of its guarantee.
    pub what: String,
    /// The steps to it, in order.
    pub path: Vec<String>,
}

/// A state on the path from the beginning, with the steps not yet tried in it.
struct Visited {
    world: World,
    /// The step that led here.
    by: Option<Step>,
    untried: Vec<Step>,
}

/// Visits up to `maximum_states` states of `setup`, depth first, and stops at the first violation.
/// `progress` is called now and then with the number of states so far; `false` ends the search.
///
/// # Panics
/// If the broker panics: the search is of no use after that.
pub fn search(
    setup: &Setup,
    maximum_states: usize,
    mut progress: impl FnMut(usize) -> bool,
) -> Explored {
    const PROGRESS_STATES: usize = 1_000;
    let mut explored =
        Explored { states: 0, steps: 0, depth: 0, is_exhausted: false, violation: None };
    let mut known = HashSet::new();
    let start = World::new(setup);
    known.insert(start.digest());
    let mut path = vec![visited(start, None)];
    while let Some(visited_last) = path.last_mut() {
        let Some(step) = visited_last.untried.pop() else {
            path.pop();
            continue;
        };
        let mut world = visited_last.world.clone();
        explored.steps += 1;
        let wrong = world.take(&step);
        if let Err(what) = wrong.and_then(|()| {
            if known.insert(world.digest()) { rest::comes_to_rest(&world) } else { Ok(()) }
        }) {
            let steps = path.iter().filter_map(|visited| visited.by.as_ref());
            let path = steps.chain([&step]).map(ToString::to_string).collect();
            explored.violation = Some(Found { what, path });
            break;
        }
        if explored.states == known.len() {
            continue;
        }
        explored.states = known.len();
        if known.len() >= maximum_states
            || (known.len() % PROGRESS_STATES == 0 && !progress(known.len()))
        {
            break;
        }
        path.push(visited(world, Some(step)));
        explored.depth = explored.depth.max(path.len() - 1);
    }
    explored.states = known.len();
    explored.is_exhausted = path.is_empty();
    explored
}

fn visited(world: World, by: Option<Step>) -> Visited {
    let untried = world.steps();
    Visited { world, by, untried }
}

#[cfg(test)]
mod tests {
    use super::{find, names, search};

    #[test]
    fn every_state_of_the_smallest_world_is_right() {
        let calmer = find("crashes").expect("a world").calmer();
        let explored = search(&calmer, usize::MAX, |_| true);
        assert!(explored.violation.is_none(), "{:#?}", explored.violation);
        assert!(explored.is_exhausted && explored.states > 100, "{explored:?}");
    }

    #[test]
    fn the_beginning_of_every_world_is_right() {
        for name in names() {
            let setup = find(name).expect("a world");
            let explored = search(&setup, 100, |_| true);
            assert!(explored.violation.is_none(), "{name}: {:#?}", explored.violation);
        }
    }

    #[test]
    fn the_same_search_visits_the_same_states() {
        let setup = find("qos2").expect("a world").calmer();
        let (one, other) = (search(&setup, 100, |_| true), search(&setup, 100, |_| true));
        assert_eq!((one.states, one.steps), (other.states, other.steps));
    }

    #[test]
    fn a_world_whose_journal_forgets_is_found_wrong() {
        let mut setup = find("crashes").expect("a world").calmer();
        setup.forgets_records = true;
        let explored = search(&setup, 100_000, |_| true);
        let found = explored.violation.expect("what was acknowledged is lost");
        assert!(["DU", "Q2", "LV"].iter().any(|code| found.what.starts_with(code)), "{found:?}");
        assert!(found.path.iter().any(|step| step.starts_with("crash")), "{found:?}");
    }
}
