//! The bars: what is run, and what of it may cost how much at most.

/// One run of the load generator and what it is judged by.
pub(super) struct Run {
    pub(super) name: &'static str,
    /// What `signalhouse bench` is told.
    pub(super) words: &'static str,
    /// Whether the relay can play it too.
    pub(super) relay: bool,
    /// Whether mosquitto plays it.
    pub(super) mosquitto: bool,
    /// Whether each turn has processes of its own, because their memory is measured.
    pub(super) is_fresh: bool,
    /// Our own level of durability.
    pub(super) level: &'static str,
    pub(super) bars: &'static [Bar],
}

/// One figure and its bound.
pub(super) struct Bar {
    pub(super) figure: Figure,
    pub(super) phase: &'static str,
    pub(super) bound: Bound,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// Processor time of the target for each unit, in microseconds.
    Processor,
    /// Half of the latencies are below, in milliseconds.
    P50,
    /// 99 of 100 latencies are below, in milliseconds.
    P99,
    /// Growth of resident memory for each unit, in bytes.
    Resident,
}

impl Figure {
    /// What the table calls it: its unit, and of which percentile.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Figure::Processor => "us",
            Figure::P50 => "p50 ms",
            Figure::P99 => "p99 ms",
            Figure::Resident => "bytes",
        }
    }

    /// Where it stands in the generator's JSON.
    pub(super) const fn pointer(self) -> &'static str {
        match self {
            Figure::Processor => "/processor_us_per_unit",
            Figure::P50 => "/latency_ms/p50",
            Figure::P99 => "/latency_ms/p99",
            Figure::Resident => "/resident_bytes_per_unit",
        }
    }
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    /// So many times the relay's.
    Relay(f64),
    /// So many times mosquitto's.
    Mosquitto(f64),
    /// So many times our own in another run, which has to be played before.
    Run(&'static str, f64),
    /// A number.
    Absolute(f64),
}

const fn processor(phase: &'static str, bound: Bound) -> Bar {
    Bar { figure: Figure::Processor, phase, bound }
}

const fn resident(phase: &'static str, bytes: f64) -> Bar {
    Bar { figure: Figure::Resident, phase, bound: Bound::Absolute(bytes) }
}

const fn traffic(bound: Bound) -> Bar {
    processor("traffic", bound)
}

/// All runs, at 64 bytes and MQTT 5.
pub(super) const RUNS: &[Run] = &[
    Run {
        name: "pairs-0",
        words: "pairs",
        relay: true,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[traffic(Bound::Relay(1.7)), traffic(Bound::Mosquitto(0.055))],
    },
    Run {
        name: "pairs-1",
        words: "pairs --qos 1",
        relay: false,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[traffic(Bound::Mosquitto(0.09))],
    },
    Run {
        name: "pairs-2",
        words: "pairs --qos 2",
        relay: false,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[traffic(Bound::Mosquitto(0.067))],
    },
    Run {
        name: "thin-0",
        words: "pairs --burst 1 --ahead 1",
        relay: true,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[traffic(Bound::Relay(1.15)), traffic(Bound::Mosquitto(0.68))],
    },
    Run {
        name: "thin-1",
        words: "pairs --qos 1 --window 1",
        relay: false,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[traffic(Bound::Mosquitto(0.72))],
    },
    Run {
        name: "steady",
        words: "pairs --rate 2000",
        relay: true,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[
            traffic(Bound::Relay(1.2)),
            traffic(Bound::Mosquitto(0.7)),
            Bar { figure: Figure::P50, phase: "traffic", bound: Bound::Mosquitto(1.1) },
            Bar { figure: Figure::P99, phase: "traffic", bound: Bound::Mosquitto(1.1) },
        ],
    },
    Run {
        name: "fan-out-100",
        words: "fan-out --clients 100",
        relay: true,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[traffic(Bound::Relay(2.0)), traffic(Bound::Mosquitto(0.045))],
    },
    Run {
        name: "fan-out-1000",
        words: "fan-out --clients 1000",
        relay: true,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[traffic(Bound::Relay(1.6)), traffic(Bound::Mosquitto(0.09))],
    },
    Run {
        name: "fan-in-0",
        words: "fan-in --clients 100",
        relay: false,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[traffic(Bound::Mosquitto(0.06))],
    },
    Run {
        name: "fan-in-1",
        words: "fan-in --clients 100 --qos 1",
        relay: false,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[traffic(Bound::Mosquitto(0.075))],
    },
    Run {
        name: "matching-100k",
        words: "matching --filters 100000",
        relay: false,
        mosquitto: true,
        is_fresh: true,
        level: "memory",
        bars: &[traffic(Bound::Mosquitto(0.8)), resident("subscribe", 150.0)],
    },
    Run {
        name: "matching-1m",
        words: "matching --filters 1000000",
        relay: false,
        mosquitto: false,
        is_fresh: true,
        level: "memory",
        bars: &[traffic(Bound::Run("matching-100k", 1.2)), resident("subscribe", 150.0)],
    },
    Run {
        name: "offline",
        words: "offline --qos 1",
        relay: false,
        mosquitto: true,
        is_fresh: true,
        level: "memory",
        bars: &[
            processor("queue", Bound::Mosquitto(0.15)),
            processor("drain", Bound::Mosquitto(0.09)),
            resident("queue", 190.0),
        ],
    },
    Run {
        name: "offline-strict",
        words: "offline --qos 1",
        relay: false,
        mosquitto: true,
        is_fresh: true,
        level: "strict",
        bars: &[processor("queue", Bound::Mosquitto(0.26))],
    },
    Run {
        name: "connect",
        words: "connect",
        relay: false,
        mosquitto: true,
        is_fresh: false,
        level: "memory",
        bars: &[processor("connect", Bound::Mosquitto(0.85))],
    },
    Run {
        name: "idle",
        words: "idle --clients 8000",
        relay: false,
        mosquitto: true,
        is_fresh: true,
        level: "memory",
        bars: &[resident("connect", 3_500.0)],
    },
];
