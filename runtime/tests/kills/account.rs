//! What receivers got, against what publishers were promised.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;

use crate::publisher::Published;
use crate::stage::Stage;

/// A promise that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    /// `lost`, `doubled`, `overtaken` and so on.
    kind: &'static str,
    what: String,
}

impl Wrong {
    pub(crate) fn new(kind: &'static str, what: String) -> Self {
        Wrong { kind, what }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)
    }
}

/// A publisher and one of its lanes.
type Lane = (usize, usize);

/// What one subscription got, whichever of its clients took it.
#[derive(Debug)]
pub(crate) struct Account {
    name: &'static str,
    /// Whether one client gets everything, so that there is an order.
    is_ordered: bool,
    lanes: Mutex<BTreeMap<Lane, Got>>,
}

#[derive(Debug, Default)]
struct Got {
    numbers: BTreeSet<u64>,
    deliveries: u64,
}

impl Account {
    pub(crate) fn new(name: &'static str, is_ordered: bool) -> Self {
        Account { name, is_ordered, lanes: Mutex::default() }
    }

    /// A client got a message.
    pub(crate) fn take(&self, stage: &Stage, payload: &[u8], dup: bool) {
        let Some((lane, number)) = read(payload) else {
            let text = String::from_utf8_lossy(payload).into_owned();
            stage.wrong(Wrong::new("damaged", text));
            return;
        };
        let mut lanes = self.lanes.lock().expect("no panic holds it");
        let got = lanes.entry(lane).or_default();
        got.deliveries += 1;
        let last = got.numbers.last().copied().unwrap_or(0);
        let name = self.name;
        if !got.numbers.insert(number) {
            if lane.1 == 1 {
                let what = format!("{name} got {number} of {lane:?} again, dup={dup}");
                stage.wrong(Wrong::new("doubled", what));
            }
        } else if self.is_ordered && number < last {
            let what = format!("{name} got {number} of {lane:?} after {last}");
            stage.wrong(Wrong::new("overtaken", what));
        }
    }

    /// How much of what was published is missing; all that was published is acknowledged.
    pub(crate) fn missing(&self, published: &[Published]) -> Vec<Wrong> {
        let lanes = self.lanes.lock().expect("no panic holds it");
        let mut missing = Vec::new();
        for (publisher, published) in published.iter().enumerate() {
            for (lane, last) in published.lanes.iter().enumerate() {
                let got = lanes.get(&(publisher, lane));
                let is_missing = |number: &u64| got.is_none_or(|got| !got.numbers.contains(number));
                let numbers: Vec<u64> = (1..=*last).filter(is_missing).collect();
                if !numbers.is_empty() {
                    let shown: Vec<String> =
                        numbers.iter().take(10).map(ToString::to_string).collect();
                    let what = format!(
                        "{} of {last} acknowledged messages of {:?} for {}: {}",
                        numbers.len(),
                        (publisher, lane),
                        self.name,
                        shown.join(" ")
                    );
                    missing.push(Wrong::new("lost", what));
                }
            }
        }
        missing
    }

    /// Deliveries, and how many of them were repetitions.
    pub(crate) fn deliveries(&self) -> (u64, u64) {
        let lanes = self.lanes.lock().expect("no panic holds it");
        let all: u64 = lanes.values().map(|got| got.deliveries).sum();
        let distinct: u64 = lanes.values().map(|got| got.numbers.len() as u64).sum();
        (all, all - distinct)
    }
}

/// Publisher, lane and number of a message.
pub(crate) fn read(payload: &[u8]) -> Option<(Lane, u64)> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut words = text.split(' ');
    let publisher = words.next()?.parse().ok()?;
    let lane = words.next()?.parse().ok()?;
    Some(((publisher, lane), words.next()?.parse().ok()?))
}
