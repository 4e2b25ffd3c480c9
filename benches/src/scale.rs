//! What many connections, subscriptions, retained messages and receivers cost the machine, in process: memory and
//! time of each size, and how much more it is than half of it.

use std::process::Command;
use std::time::Instant;
use std::{fs, io};

use signalhouse_benches::{Driven, broker};
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::packet::ClientPacket;
use signalhouse_core::wire::types::Delivery;

use crate::median;

/// Times that the messages are routed; the middle one counts.
const ROUNDS: usize = 5;
/// Topics that messages go to in turn, so that what they touch is not at hand already.
const TOPICS: u32 = 20_000;

type Measure = fn(u32) -> Cost;

/// What is measured, and at which sizes.
const TABLES: [(&str, &[u32], Measure); 4] = [
    ("connections", &[25_000, 50_000, 100_000], connections),
    ("subscriptions", &[125_000, 250_000, 500_000, 1_000_000], subscriptions),
    ("retained", &[125_000, 250_000, 500_000, 1_000_000], retained),
    ("receivers", &[1_250, 2_500, 5_000, 10_000], receivers),
];

/// Prints the table, each line from a process of its own; or, given a kind and a size, measures that one.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> io::Result<()> {
    if let (Some(kind), Some(size)) = (arguments.next(), arguments.next()) {
        let size = size.parse().map_err(io::Error::other)?;
        let table = TABLES.iter().find(|(name, ..)| *name == kind);
        let (.., measure) = table.ok_or_else(|| io::Error::other(format!("no {kind}")))?;
        let Cost { bytes, added_us, routed_us } = measure(size);
        println!("{bytes} {added_us} {routed_us}");
        return Ok(());
    }
    println!("| Size | Bytes each | us to add one | us to route one message | To half the size |");
    println!("|---|---|---|---|---|");
    for (kind, sizes, _) in TABLES {
        let mut before: Option<f64> = None;
        for size in sizes {
            let program = std::env::current_exe()?;
            let output = Command::new(program).args(["scale", kind, &size.to_string()]).output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let figures: Vec<f64> =
                text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
            let [bytes, added_us, routed_us] = figures[..] else {
                return Err(io::Error::other(format!("{size} {kind}: {text}")));
            };
            let growth =
                before.map_or("-".to_owned(), |before| format!("{:.2} x", routed_us / before));
            let digits = if routed_us < 0.01 { 6 } else { 3 };
            println!(
                "| {size} {kind} | {bytes:.0} | {added_us:.2} | {routed_us:.digits$} | {growth} |"
            );
            before = Some(routed_us);
        }
    }
    Ok(())
}

/// What one size came to.
struct Cost {
    bytes: f64,
    added_us: f64,
    routed_us: f64,
}

/// Clients with a subscription each; a message goes to one of them.
fn connections(size: u32) -> Cost {
    let mut driven = Driven::new();
    let publisher = driven.connect(0, 0, 0);
    let (bytes, added_us) = add(size, |number| {
        let client = driven.connect(number + 1, 0, 0);
        driven.subscribe(client, &[format!("scale/{number}")]);
    });
    let topics: Vec<Topic> = spread(size).map(|number| topic(&format!("scale/{number}"))).collect();
    let routed_us = route(&mut driven, publisher, &topics, false);
    Cost { bytes, added_us, routed_us }
}

/// Subscriptions of 1,000 clients, half of them with `+`; a message matches one.
fn subscriptions(size: u32) -> Cost {
    const CLIENTS: u32 = 1_000;
    let mut driven = Driven::new();
    let publisher = driven.connect(0, 0, 0);
    let clients: Vec<_> = (1..=CLIENTS).map(|index| driven.connect(index, 0, 0)).collect();
    let place = |number: u32| format!("scale/{}/{number}", number % 97);
    let filter = |number: u32| {
        if number.is_multiple_of(2) { place(number) } else { format!("{}/+", place(number)) }
    };
    let (bytes, added_us) = add(size, |number| {
        driven.subscribe(clients[(number % CLIENTS) as usize], &[filter(number)]);
    });
    let topics: Vec<Topic> =
        spread(size).map(|number| topic(&filter(number).replace('+', "x"))).collect();
    let routed_us = route(&mut driven, publisher, &topics, false);
    Cost { bytes, added_us, routed_us }
}

/// Retained messages; a message replaces one.
fn retained(size: u32) -> Cost {
    let mut driven = Driven::new();
    let publisher = driven.connect(0, 0, 0);
    let place = |number: u32| topic(&format!("scale/{}/{number}", number % 97));
    let (bytes, added_us) = add(size, |number| {
        let publish = broker::publish(&place(number), Delivery::AtMostOnce, true);
        driven.packet(publisher, ClientPacket::Publish(publish));
        driven.settle();
    });
    let topics: Vec<Topic> = spread(size).map(place).collect();
    let routed_us = route(&mut driven, publisher, &topics, true);
    Cost { bytes, added_us, routed_us }
}

/// Subscribers of one topic; a message goes to all, and the time is that of one delivery.
fn receivers(size: u32) -> Cost {
    let mut driven = Driven::new();
    let publisher = driven.connect(0, 0, 0);
    let (bytes, added_us) = add(size, |number| {
        let client = driven.connect(number + 1, 0, 0);
        driven.subscribe(client, &["scale/all".to_owned()]);
    });
    let topics = vec![topic("scale/all"); 20];
    let routed_us = route(&mut driven, publisher, &topics, false) / f64::from(size);
    Cost { bytes, added_us, routed_us }
}

/// Numbers all over `0..size`.
fn spread(size: u32) -> impl Iterator<Item = u32> {
    (0..TOPICS).map(move |number| (u64::from(number) * 2_654_435_761 % u64::from(size)) as u32)
}

fn topic(name: &str) -> Topic {
    Topic::try_from(name).expect("a topic")
}

/// Adds `size` of something. Returns the bytes and microseconds of each.
fn add(size: u32, mut add: impl FnMut(u32)) -> (f64, f64) {
    let (before, begun) = (resident_bytes(), Instant::now());
    (0..size).for_each(&mut add);
    let took = begun.elapsed();
    let bytes = resident_bytes().saturating_sub(before) as f64 / f64::from(size);
    (bytes, took.as_secs_f64() * 1e6 / f64::from(size))
}

/// Microseconds that a message to one of `topics` takes.
fn route(
    driven: &mut Driven,
    publisher: signalhouse_core::ConnectionId,
    topics: &[Topic],
    retain: bool,
) -> f64 {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for topic in topics {
            let publish = broker::publish(topic, Delivery::AtMostOnce, retain);
            driven.packet(publisher, ClientPacket::Publish(publish));
            driven.settle();
        }
        rounds.push(begun.elapsed().as_secs_f64() * 1e6 / topics.len() as f64);
    }
    median(&mut rounds)
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    kib * 1024
}
