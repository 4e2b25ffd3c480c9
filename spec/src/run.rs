//! Plays cases against a target, many at a time, because most of them wait for something.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::capabilities::Capabilities;
use crate::case::{Case, Checked, Need};
use crate::scene::Scene;

/// How much of what was on the wire is kept of a case that failed.
const MOST_LINES: usize = 200;

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// Not as the standard demands: why, and the last that went over the wire.
    Failed(String, Vec<String>),
    /// Not as the standard advises.
    Unadvised(String, Vec<String>),
    /// The target does not offer what it needs.
    NotOffered(Need),
}

/// A case that was played.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub ms: u128,
    /// The types of packets as bits: those that came low, those that were sent high.
    pub kinds: u32,
    /// Statements of the case to which nothing applied that the target did.
    pub unjudged: BTreeSet<&'static str>,
}

impl Outcome {
    /// Whether the target did what it should not.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(..) | Verdict::Unadvised(..))
    }
}

/// Asks the target what it offers, beside what `capabilities` say.
///
/// # Errors
/// It does not answer a plain CONNECT.
pub fn probe(target: SocketAddr, capabilities: Capabilities) -> Checked<Capabilities> {
    let connack = {
        let scene = Scene::new(target, &capabilities, prefix());
        let key = crate::wire::property::id::REQUEST_RESPONSE_INFORMATION;
        let connect = scene.client("p").with(key, crate::wire::property::Value::Byte(1));
        let never = connect.expiry(u32::MAX);
        let mut client = scene.connect(&never)?;
        let connack = std::mem::take(&mut client.connack);
        // The session is not to stay for ever.
        client.cut();
        let client = scene.start("p")?;
        client.disconnect()?;
        connack
    };
    Ok(capabilities.announced_by(connack))
}

/// Plays the cases, at most `parallel` at a time, and returns what came of each in their order.
#[must_use]
pub fn run(
    cases: &[Case],
    target: SocketAddr,
    capabilities: &Capabilities,
    parallel: usize,
) -> Vec<Outcome> {
    let prefix = prefix();
    // Those that wait for time to pass begin first, so that the others fill the waiting.
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|index| !cases.get(*index).is_some_and(|case| case.slow));
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(vec![None; cases.len()]);
    std::thread::scope(|scope| {
        for _ in 0..parallel.clamp(1, cases.len().max(1)) {
            scope.spawn(|| {
                while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some(case) = cases.get(*index) else { continue };
                    let unique = format!("{prefix}{index:03}");
                    let outcome = play(case, target, capabilities, unique);
                    let mut outcomes = outcomes.lock().unwrap_or_else(|error| error.into_inner());
                    if let Some(place) = outcomes.get_mut(*index) {
                        *place = Some(outcome);
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(|error| error.into_inner());
    outcomes.into_iter().flatten().collect()
}

fn play(case: &Case, target: SocketAddr, offered: &Capabilities, unique: String) -> Outcome {
    let start = Instant::now();
    if let Some(need) = case.missing(offered) {
        let (verdict, unjudged) = (Verdict::NotOffered(need), BTreeSet::new());
        return Outcome { case: *case, verdict, ms: 0, kinds: 0, unjudged };
    }
    let scene = Scene::new(target, offered, unique);
    let played = catch_unwind(AssertUnwindSafe(|| (case.play)(&scene)));
    let verdict = match played {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(failure)) if case.advice => Verdict::Unadvised(failure.0, scene.log(MOST_LINES)),
        Ok(Err(failure)) => Verdict::Failed(failure.0, scene.log(MOST_LINES)),
        Err(_) => Verdict::Failed("the case itself panicked".to_owned(), scene.log(MOST_LINES)),
    };
    let (kinds, unjudged) = (scene.kinds(), scene.unjudged());
    // What cannot be removed any more is not this case's to judge.
    let _ = scene.clean();
    Outcome { case: *case, verdict, ms: start.elapsed().as_millis(), kinds, unjudged }
}

/// Six letters and digits that another run hardly has.
fn prefix() -> String {
    let mut chance = RandomState::new().hash_one(std::process::id());
    let mut letters = String::new();
    for _ in 0..6 {
        letters.extend(char::from_digit((chance % 36) as u32, 36));
        chance /= 36;
    }
    letters
}
