//! One scenario against one target, from the first connection to the last count.

use std::time::{Duration, Instant};

use signalhouse_core::wire::types::QoS;

use super::BenchError;
use super::frames::Session;
use super::load::{Hello, Load};
use super::process;
use super::relay;
use super::report::{Latency, Measured};
use super::scenario::{Protocol, Scenario, Shape};
use super::target::Target;
use super::traffic::Tally;

/// How long sessions of offline runs outlive their connections, in seconds.
const EXPIRY_S: u32 = 3_600;
/// Topics that the publisher of a matching run goes round.
const TOPICS_MAXIMUM: u32 = 1_000;

/// Runs `scenario` against `target`, and says what each of its phases came to. `tell` hears now and
/// then how far it is.
///
/// # Errors
/// [`BenchError`] when the target cannot be reached, or what it does makes the figures worthless.
pub fn run(
    target: &Target,
    scenario: &Scenario,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Measured>, BenchError> {
    if target.is_relay {
        suits_relay(scenario)?;
    }
    let mut load = Load::new(target, scenario, tell)?;
    let load = &mut load;
    match scenario.shape {
        Shape::Pairs(clients) => traffic(load, target, scenario, clients, clients),
        Shape::FanOut(subscribers) => traffic(load, target, scenario, 1, subscribers),
        Shape::FanIn(publishers) => traffic(load, target, scenario, publishers, 1),
        Shape::Matching { filters, clients } => matching(load, target, scenario, filters, clients),
        Shape::Offline { sessions, messages } => {
            offline(load, target, scenario, sessions, messages)
        }
        Shape::Connect(clients) => connections(load, target, scenario, clients, true),
        Shape::Idle(clients) => connections(load, target, scenario, clients, false),
    }
}

fn suits_relay(scenario: &Scenario) -> Result<(), BenchError> {
    let shape_suits = match scenario.shape {
        Shape::Pairs(_) | Shape::FanOut(_) | Shape::FanIn(_) => true,
        Shape::Matching { .. } | Shape::Offline { .. } | Shape::Connect(_) | Shape::Idle(_) => {
            false
        }
    };
    if shape_suits && scenario.qos == QoS::AtMostOnce {
        Ok(())
    } else {
        Err(BenchError::Unsuitable("the relay knows pairs, fan-out and fan-in at QoS 0".to_owned()))
    }
}

/// Pairs, fan-out and fan-in: streams from publishers to subscribers that stay connected.
fn traffic(
    load: &mut Load<'_>,
    target: &Target,
    scenario: &Scenario,
    publishers: u32,
    subscribers: u32,
) -> Result<Vec<Measured>, BenchError> {
    let is_paired = publishers == subscribers;
    let filter = |number: u32| match (is_paired, publishers) {
        (true, _) => format!("bench/pair/{number}"),
        (false, 1) => "bench/out/0".to_owned(),
        (false, _) => "bench/in/+".to_owned(),
    };
    let topic = |number: u32| match (is_paired, publishers) {
        (true, _) => format!("bench/pair/{number}"),
        (false, 1) => format!("bench/out/{number}"),
        (false, _) => format!("bench/in/{number}"),
    };
    // In the relay a pair has a channel of its own, and all others share one.
    let channel = |number: u32| if is_paired { number } else { 0 };
    let mut hellos = Vec::new();
    for number in 0..subscribers {
        load.traffic.subscriber(load.len() + hellos.len());
        hellos.push(if target.is_relay {
            Hello::Relay(relay::Role::Receiver, channel(number))
        } else {
            transient(format!("bench-s{number}"), vec![filter(number)], scenario.qos)
        });
    }
    load.connect(hellos)?;
    let receivers = if is_paired { 1 } else { subscribers };
    let mut hellos = Vec::new();
    for number in 0..publishers {
        let stream = load.traffic.stream(&topic(number), scenario.payload_bytes, receivers);
        load.traffic.publisher(load.len() + hellos.len(), vec![stream]);
        hellos.push(if target.is_relay {
            Hello::Relay(relay::Role::Sender, channel(number))
        } else {
            transient(format!("bench-p{number}"), Vec::new(), scenario.qos)
        });
    }
    load.connect(hellos)?;
    measure_traffic(load, target, scenario)
}

/// Many filters, of which each message matches one.
fn matching(
    load: &mut Load<'_>,
    target: &Target,
    scenario: &Scenario,
    filters: u32,
    clients: u32,
) -> Result<Vec<Measured>, BenchError> {
    let clients = clients.clamp(1, filters.max(1));
    let place = |number: u32| format!("bench/match/{}/{number}", number % 97);
    let filter = |number: u32| {
        if number.is_multiple_of(2) { place(number) } else { format!("{}/+", place(number)) }
    };
    let mut hellos = Vec::new();
    for client in 0..clients {
        let held = (client..filters).step_by(clients as usize).map(filter).collect();
        load.traffic.subscriber(load.len() + hellos.len());
        hellos.push(transient(format!("bench-s{client}"), held, scenario.qos));
    }
    let probe = Probe::start(target, load);
    load.connect(hellos)?;
    let subscribed = probe.finish(load, "subscribe", "subscription", u64::from(filters), scenario);
    let step = (filters / TOPICS_MAXIMUM).max(1) | 1;
    let streams = (0..filters).step_by(step as usize).map(|number| {
        let topic =
            if number.is_multiple_of(2) { place(number) } else { format!("{}/x", place(number)) };
        load.traffic.stream(&topic, scenario.payload_bytes, 1)
    });
    let streams = streams.collect();
    load.traffic.publisher(load.len(), streams);
    load.connect(vec![transient("bench-p".to_owned(), Vec::new(), scenario.qos)])?;
    let mut measured = vec![subscribed];
    measured.extend(measure_traffic(load, target, scenario)?);
    Ok(measured)
}

/// Messages for sessions that are away, and their coming back.
fn offline(
    load: &mut Load<'_>,
    target: &Target,
    scenario: &Scenario,
    sessions: u32,
    messages: u32,
) -> Result<Vec<Measured>, BenchError> {
    // Sessions of an earlier run must not mix in.
    let run = std::process::id();
    let session = |number: u32, clean_start: bool, subscribes: bool| {
        let filters =
            if subscribes { vec![format!("bench/off/{run}/{number}")] } else { Vec::new() };
        Hello::Mqtt(Box::new(Session {
            client_id: format!("bench-o{run}-{number}"),
            clean_start,
            expiry_interval_s: EXPIRY_S,
            filters,
            maximum_qos: scenario.qos,
        }))
    };
    for number in 0..sessions {
        load.traffic.subscriber(number as usize);
    }
    // In 3.1.1 a session that begins clean ends with its connection.
    let clean_start = scenario.protocol == Protocol::V5;
    load.connect((0..sessions).map(|number| session(number, clean_start, true)).collect())?;
    load.disconnect(0)?;
    load.idle(Instant::now() + Duration::from_millis(300))?;
    let streams = (0..sessions).map(|number| {
        load.traffic.stream(&format!("bench/off/{run}/{number}"), scenario.payload_bytes, 0)
    });
    let streams: Vec<u32> = streams.collect();
    load.traffic.publisher(load.len(), streams.clone());
    load.connect(vec![transient(format!("bench-p{run}"), Vec::new(), scenario.qos)])?;
    let probe = Probe::start(target, load);
    load.flood_count(u64::from(messages))?;
    load.drain()?;
    let queued = probe.finish(load, "queue", "message", u64::from(messages), scenario);
    load.traffic.expect_arrivals(&streams);
    let first = load.len();
    for number in 0..sessions as usize {
        load.traffic.move_subscriber(number, first + number);
    }
    let probe = Probe::start(target, load);
    // CONNACK comes first, and behind it, at once, what has waited.
    load.connect((0..sessions).map(|number| session(number, false, false)).collect())?;
    load.drain()?;
    let delivered = load.traffic.tally.delivered;
    let drained = probe.finish(load, "drain", "delivery", delivered, scenario);
    load.end_sessions(first, sessions, &|number| session(number, true, false))?;
    Ok(vec![queued, drained])
}

/// Connections that come, and stay for a moment.
fn connections(
    load: &mut Load<'_>,
    target: &Target,
    scenario: &Scenario,
    clients: u32,
    subscribes: bool,
) -> Result<Vec<Measured>, BenchError> {
    // Several processes may do this at once, for more connections than one may have.
    let run = std::process::id();
    let hello = |number: u32| {
        let filters = if subscribes { vec![format!("bench/c/{run}/{number}")] } else { Vec::new() };
        transient(format!("bench-c{run}-{number}"), filters, scenario.qos)
    };
    let probe = Probe::start(target, load);
    load.connect((0..clients).map(hello).collect())?;
    let made = probe.finish(load, "connect", "connection", u64::from(clients), scenario);
    if subscribes {
        return Ok(vec![made]);
    }
    let probe = Probe::start(target, load);
    load.idle(Instant::now() + scenario.duration)?;
    let idle = probe.finish(load, "idle", "connection", u64::from(clients), scenario);
    Ok(vec![made, idle])
}

fn measure_traffic(
    load: &mut Load<'_>,
    target: &Target,
    scenario: &Scenario,
) -> Result<Vec<Measured>, BenchError> {
    let send = |load: &mut Load<'_>, time: Duration| {
        let until = Instant::now() + time;
        match scenario.rate {
            Some(rate) => load.pace(rate, until),
            None => load.flood(until),
        }
    };
    send(load, scenario.warmup)?;
    load.traffic.counts_latency = true;
    let probe = Probe::start(target, load);
    send(load, scenario.duration)?;
    let delivered = load.traffic.tally.delivered - probe.tally.delivered;
    let mut measured = probe.finish(load, "traffic", "delivery", delivered, scenario);
    load.traffic.counts_latency = false;
    load.drain()?;
    // Loss shows when nothing is under way any more.
    measured.count(&load.traffic.tally, load.traffic.missing());
    load.disconnect(0)?;
    Ok(vec![measured])
}

/// A client whose session ends with its connection.
fn transient(client_id: String, filters: Vec<String>, maximum_qos: QoS) -> Hello {
    Hello::Mqtt(Box::new(Session {
        client_id,
        clean_start: true,
        expiry_interval_s: 0,
        filters,
        maximum_qos,
    }))
}

/// What was spent before a phase.
struct Probe<'a> {
    target: &'a Target,
    start: Instant,
    processor_ns: Option<u64>,
    own_ns: u64,
    resident_bytes: Option<u64>,
    tally: Tally,
}

impl<'a> Probe<'a> {
    fn start(target: &'a Target, load: &Load<'_>) -> Self {
        Probe {
            target,
            processor_ns: target.pid.and_then(process::processor_ns),
            own_ns: process::own_processor_ns(),
            resident_bytes: target.pid.and_then(process::resident_bytes),
            tally: load.traffic.tally,
            start: Instant::now(),
        }
    }

    fn finish(
        self,
        load: &Load<'_>,
        phase: &'static str,
        unit: &'static str,
        units: u64,
        scenario: &Scenario,
    ) -> Measured {
        let seconds = self.start.elapsed().as_secs_f64();
        let us_each = |ns: u64| ns as f64 / 1_000.0 / units.max(1) as f64;
        let now = self.target.pid.and_then(process::processor_ns);
        let spent = self.processor_ns.zip(now).map(|(before, now)| now.saturating_sub(before));
        let resident = self.target.pid.and_then(process::resident_bytes);
        let grown = self.resident_bytes.zip(resident);
        let mut measured = Measured {
            target: self.target.name.clone(),
            scenario: scenario.describe(),
            phase,
            unit,
            units,
            seconds,
            units_per_second: units as f64 / seconds.max(1e-9),
            processor_us_per_unit: spent.map(us_each),
            load_us_per_unit: us_each(process::own_processor_ns().saturating_sub(self.own_ns)),
            resident_bytes: resident,
            resident_bytes_per_unit: grown
                .map(|(before, now)| (now as f64 - before as f64) / units.max(1) as f64),
            latency_ms: Latency::of(&load.traffic.latency),
            published: 0,
            acknowledged: 0,
            refused: 0,
            delivered: 0,
            lost: 0,
            duplicated: 0,
            out_of_order: 0,
        };
        measured.count(&load.traffic.tally, load.traffic.missing());
        measured
    }
}
