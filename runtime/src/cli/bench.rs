//! `signalhouse bench`: puts load on any broker and says what that costs.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use signalhouse_core::wire::types::QoS;

use super::exit::{self, Exit};
use crate::bench::{self, Format, Protocol, Reporter, Scenario, Shape, Target};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  signalhouse bench pairs --target 127.0.0.1:1883,pid=$(pidof signalhouse)
  signalhouse bench fan-out --clients 1000 --qos 1 --target 127.0.0.1:1883
  signalhouse bench pairs --rate 2000 --target 127.0.0.1:1883          latency at a fixed rate
  signalhouse bench pairs --runs 5 --target a=127.0.0.1:1883,pid=1 --target b=127.0.0.1:1884,pid=2
  signalhouse bench relay --listen 127.0.0.1:1899                      the floor to compare with

Exit codes: 0 all arrived as it should, 1 something did not or the run failed, 2 arguments.")]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    shape: BenchShape,
}

#[derive(Debug, Subcommand)]
enum BenchShape {
    /// Publishers with a subscriber each.
    Pairs(Load),
    /// One publisher, many subscribers.
    FanOut(Load),
    /// Many publishers, one subscriber with a `+`.
    FanIn(Load),
    /// Many filters, of which each message matches one.
    Matching {
        /// Subscriptions in all, half of them with `+`.
        #[arg(long, default_value_t = 100_000)]
        filters: u32,
        #[command(flatten)]
        load: Load,
    },
    /// Messages for sessions that are away, and their coming back.
    Offline {
        /// Messages in all.
        #[arg(long, default_value_t = 200_000)]
        messages: u32,
        #[command(flatten)]
        load: Load,
    },
    /// Connections that connect and subscribe.
    Connect(Load),
    /// Connections that do nothing: memory and processor time of each.
    Idle(Load),
    /// A relay of bytes without a protocol, as a target to compare with.
    Relay {
        /// Where.
        #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

#[derive(Args, Debug)]
struct Load {
    /// Who is measured; repeatable, and then measured in turn.
    #[arg(long = "target", value_name = "[NAME=]HOST:PORT[,pid=PID][,relay]", required = true)]
    targets: Vec<Target>,
    /// The process of the first target, as `,pid=PID` in it.
    #[arg(long)]
    pid: Option<u32>,
    /// Pairs, subscribers, publishers, sessions or connections, by the shape.
    #[arg(long)]
    clients: Option<u32>,
    /// 0, 1 or 2, for publishing and subscribing.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    payload: u32,
    /// The version spoken.
    #[arg(long, value_enum, default_value_t = Speaks::V5)]
    protocol: Speaks,
    /// How long is counted, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long is not counted before, in seconds.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Publications of one publisher in one write at most.
    #[arg(long, default_value_t = 16)]
    burst: u32,
    /// Publications that have not arrived everywhere, for each publisher at most.
    #[arg(long, default_value_t = 200)]
    ahead: u32,
    /// Publications without an acknowledgement, for each publisher at most.
    #[arg(long, default_value_t = 50)]
    window: u32,
    /// Messages a second over all publishers, at fixed moments; otherwise as many as go.
    #[arg(long)]
    rate: Option<f64>,
    /// Loopback addresses to connect from; 28,000 connections or so fit each.
    #[arg(long, default_value_t = 1)]
    sources: u8,
    /// Times that each target is measured, the targets taking turns.
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// One JSON object a line instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Speaks {
    /// MQTT 5.0.
    #[value(name = "5.0", alias = "5")]
    V5,
    /// MQTT 3.1.1.
    #[value(name = "3.1.1")]
    V311,
}

/// Runs the command.
pub(super) fn run(args: &BenchArgs) -> Exit {
    let clients = |load: &Load, default: u32| load.clients.unwrap_or(default).max(1);
    let (shape, load) = match &args.shape {
        BenchShape::Pairs(load) => (Shape::Pairs(clients(load, 50)), load),
        BenchShape::FanOut(load) => (Shape::FanOut(clients(load, 100)), load),
        BenchShape::FanIn(load) => (Shape::FanIn(clients(load, 100)), load),
        BenchShape::Matching { filters, load } => {
            (Shape::Matching { filters: *filters, clients: clients(load, 1_000) }, load)
        }
        BenchShape::Offline { messages, load } => {
            (Shape::Offline { sessions: clients(load, 100), messages: *messages }, load)
        }
        BenchShape::Connect(load) => (Shape::Connect(clients(load, 10_000)), load),
        BenchShape::Idle(load) => (Shape::Idle(clients(load, 1_000)), load),
        BenchShape::Relay { listen } => {
            let relayed = bench::relay(*listen, |at| say!("relays on {at}"));
            return relayed
                .map_or_else(|error| exit::complain(Exit::Failed, &error), |()| Exit::Orderly);
        }
    };
    match scenario(shape, load) {
        Ok(scenario) => measure(&scenario, load),
        Err(problem) => exit::complain(Exit::Arguments, &problem),
    }
}

fn scenario(shape: Shape, load: &Load) -> Result<Scenario, String> {
    let seconds = |value: f64, name: &str| {
        Duration::try_from_secs_f64(value).map_err(|_| format!("--{name} {value} is no time"))
    };
    if load.rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
        return Err("--rate has to be above 0".to_owned());
    }
    Ok(Scenario {
        shape,
        qos: match load.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        },
        payload_bytes: load.payload as usize,
        protocol: match load.protocol {
            Speaks::V5 => Protocol::V5,
            Speaks::V311 => Protocol::V311,
        },
        warmup: seconds(load.warmup, "warmup")?,
        duration: seconds(load.seconds, "seconds")?,
        burst: load.burst.max(1),
        ahead: load.ahead.max(1),
        window: load.window.max(1),
        rate: load.rate,
        sources: load.sources,
    })
}

fn measure(scenario: &Scenario, load: &Load) -> Exit {
    let format = if load.json { Format::Json } else { Format::Text };
    let mut reporter = Reporter::new(format);
    if format == Format::Text {
        say!("{}", scenario.describe());
    }
    let mut targets = load.targets.clone();
    if let Some(first) = targets.first_mut() {
        first.pid = first.pid.or(load.pid);
    }
    let shows_progress = std::io::stderr().is_terminal();
    for turn in 1..=load.runs.max(1) {
        for target in &targets {
            let measured = bench::run(target, scenario, &mut |done| {
                if shows_progress {
                    let (name, runs) = (&target.name, load.runs);
                    eprint!("\r\x1b[K{name}, run {turn} of {runs}: {done}");
                    let _ = std::io::stderr().flush();
                }
            });
            if shows_progress {
                eprint!("\r\x1b[K");
            }
            match measured {
                Ok(measured) => reporter.take(measured),
                Err(error) => {
                    return exit::complain(Exit::Failed, &format!("{}: {error}", target.name));
                }
            }
        }
    }
    reporter.compare();
    if reporter.is_flawed() { Exit::Failed } else { Exit::Orderly }
}
