//! Every interleaving of a small world: the shipped machine with a publisher and one or two
//! subscribers, in which packets arrive, connections are cut and taken over, the journal becomes
//! durable record by record, and the process crashes between any two of these.
//!
//! `run` samples large worlds; this exhausts small ones. In each state the delivery guarantees
//! must hold, and from each state a world without further faults must come to rest with everything
//! delivered. States are compared by a canonical digest, so that what differs in counters alone is
//! visited once. Clients here exchange packets as values: bytes and partial reads are elsewhere.

#[cfg(signalhouse_sim)]
mod canaries;
mod client;
mod deliveries;
mod digest;
mod journal;
mod rest;
mod world;
mod worlds;

use std::collections::{HashSet, VecDeque};

#[cfg(signalhouse_sim)]
pub use canaries::{Hunt, hunts};
pub use worlds::{Setup, find, names};

use client::Wrong;
use world::{Step, World};

/// States that wait for their turn as they are; those beyond are made again from their steps.
const WORLDS_KEPT: usize = 50_000;

/// What came of a search.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps taken, those to known states included.
    pub steps: u64,
    /// Every state that so many steps reach was visited.
    pub depth: usize,
    /// Whether every state that can be reached was visited.
    pub is_exhausted: bool,
    /// The first state in which something is wrong.
    pub violation: Option<Found>,
}

/// A shortest way to a state in which something is wrong.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is wrong, behind the code of its guarantee.
    pub what: String,
    /// The steps to it, in order.
    pub path: Vec<String>,
}

/// Visits up to `maximum_states` states of `setup`, those that fewer steps reach first, and stops at
/// the first violation. `progress` is called now and then with the number of states so far; `false`
/// ends the search.
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
        Explored { states: 1, steps: 0, depth: 0, is_exhausted: false, violation: None };
    let start = World::new(setup);
    let mut known = HashSet::from([start.digest()]);
    let mut ways = Ways::default();
    let mut waiting = Waiting::default();
    waiting.push(Reached { way: None, depth: 0, world: Some(start.clone()) });
    while let Some(Reached { way, depth, world }) = waiting.pop() {
        // All states that `depth` steps reach were known when the first of them came.
        explored.depth = depth;
        let world = world.unwrap_or_else(|| ways.world(&start, way));
        for step in world.steps() {
            let mut next = world.clone();
            explored.steps += 1;
            let is_new = match visit(&mut next, &step, &mut known) {
                Ok(is_new) => is_new,
                Err(what) => {
                    let steps = ways.steps(way);
                    let path = steps.iter().chain([&step]).map(ToString::to_string).collect();
                    explored.violation = Some(Found { what, path });
                    return explored;
                }
            };
            if !is_new {
                continue;
            }
            explored.states += 1;
            if explored.states >= maximum_states
                || (explored.states.is_multiple_of(PROGRESS_STATES) && !progress(explored.states))
            {
                return explored;
            }
            let way = Some(ways.push(way, step));
            waiting.push(Reached { way, depth: depth + 1, world: Some(next) });
        }
    }
    explored.is_exhausted = true;
    explored
}

/// Takes one step, and says whether that leads to a state not known so far.
fn visit(world: &mut World, step: &Step, known: &mut HashSet<u64>) -> Result<bool, Wrong> {
    world.take(step)?;
    let is_new = known.insert(world.digest());
    if is_new {
        rest::comes_to_rest(world)?;
    }
    Ok(is_new)
}

/// A state whose steps have not been tried.
struct Reached {
    /// The last of the steps that led there; none at the beginning.
    way: Option<usize>,
    depth: usize,
    /// The state, unless it is to be made again.
    world: Option<World>,
}

/// The states that wait for their turn.
#[derive(Default)]
struct Waiting {
    queue: VecDeque<Reached>,
    /// How many of them are kept as they are.
    worlds: usize,
}

impl Waiting {
    fn push(&mut self, mut reached: Reached) {
        if self.worlds < WORLDS_KEPT {
            self.worlds += 1;
        } else {
            reached.world = None;
        }
        self.queue.push_back(reached);
    }

    fn pop(&mut self) -> Option<Reached> {
        let reached = self.queue.pop_front()?;
        self.worlds -= usize::from(reached.world.is_some());
        Some(reached)
    }
}

/// How each state was first reached: a step, and the place of the step before it.
#[derive(Default)]
struct Ways(Vec<(Option<usize>, Step)>);

impl Ways {
    fn push(&mut self, before: Option<usize>, step: Step) -> usize {
        self.0.push((before, step));
        self.0.len() - 1
    }

    /// The steps from the beginning to `last`, in order.
    fn steps(&self, mut last: Option<usize>) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((before, step)) = last.and_then(|last| self.0.get(last)) {
            steps.push(*step);
            last = *before;
        }
        steps.reverse();
        steps
    }

    /// The state to which the steps up to `last` lead.
    fn world(&self, start: &World, last: Option<usize>) -> World {
        let mut world = start.clone();
        for step in self.steps(last) {
            let taken = world.take(&step);
            assert!(taken.is_ok(), "what went well goes well again: {taken:?}");
        }
        world
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};

    use super::world::World;
    use super::{Ways, find, names, search};

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
    fn a_state_made_again_from_its_steps_is_the_same() {
        let start = World::new(&find("mixed").expect("a world"));
        let (mut world, mut ways, mut way) = (start.clone(), Ways::default(), None);
        for turn in 0..20 {
            let steps = world.steps();
            let step = steps[turn * 7 % steps.len()];
            world.take(&step).expect("nothing is wrong");
            way = Some(ways.push(way, step));
            assert_eq!(ways.world(&start, way).digest(), world.digest(), "{:?}", ways.steps(way));
        }
    }

    /// What one step makes of a state, whatever the steps are called.
    fn successors(world: &World) -> BTreeSet<u64> {
        let after = |step| {
            let mut next = world.clone();
            next.take(&step).expect("nothing is wrong");
            next.digest()
        };
        world.steps().into_iter().map(after).collect()
    }

    #[test]
    fn states_that_count_as_the_same_go_on_alike() {
        for name in names() {
            let start = World::new(&find(name).expect("a world").calmer());
            let mut known = BTreeMap::from([(start.digest(), successors(&start))]);
            let mut waiting = VecDeque::from([start]);
            while let Some(world) = waiting.pop_front() {
                for step in world.steps() {
                    let mut next = world.clone();
                    next.take(&step).expect("nothing is wrong");
                    let after = successors(&next);
                    if let Some(before) = known.insert(next.digest(), after.clone()) {
                        assert_eq!(before, after, "{name}: after {step}");
                    } else if known.len() < 15 {
                        waiting.push_back(next);
                    }
                }
            }
        }
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
