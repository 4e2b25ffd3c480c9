//! `signalhouse pub`.

use std::io::{BufRead, Read};
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::packet::{ConnAck, Disconnect, Publish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, QoS};
use tokio::sync::mpsc;

use super::connection::{ConnectionArgs, Plan, ToolClient, parse_topic};
use super::exit::{Exit, complain};
use super::tool;
use crate::client::{ClientError, Outbox, Outcome};
use crate::seams::{Clock, TokioClock};

/// Unacknowledged publications at once, whatever the broker allows.
const WINDOW: u16 = 100;
/// Publications read ahead of what could be sent.
const AHEAD: usize = 1_000;
/// Bytes to gather before they are written.
const GATHERED_BYTES: usize = 64 * 1024;

#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  signalhouse pub -t rooms/1 -m 21.5
  signalhouse pub -t rooms/1 -m 21.5 -q 1 -r           acknowledged, and kept for later subscribers
  tail -f /var/log/syslog | signalhouse pub -t log -l  every line a message
  signalhouse pub -t rooms/1 -r -n                     removes the retained message
  signalhouse pub -t t -m '{}' -D publish content-type application/json
  signalhouse pub -h broker.example --cafile ca.pem -u ann -P secret -t t -m x     over TLS
  signalhouse pub -L wss://broker.example:8084/mqtt --cafile ca.pem -t t -m x      over WebSocket

Exits with 0 when every message is sent and, at QoS 1 and 2, acknowledged; with 1 if not."
)]
pub(super) struct PublishArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Topic to publish to.
    #[arg(short, long)]
    topic: Option<String>,
    #[command(flatten)]
    payload: PayloadArgs,
    /// QoS.
    #[arg(short, long, value_name = "0|1|2", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Make it the topic's retained message.
    #[arg(short, long)]
    retain: bool,
    /// How often to publish.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    repeat: u64,
    /// Seconds between repeats.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    repeat_delay: f64,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct PayloadArgs {
    /// Payload.
    #[arg(short, long, allow_hyphen_values = true)]
    message: Option<String>,
    /// An empty payload.
    #[arg(short, long)]
    null_message: bool,
    /// A file as the payload.
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Every line of standard input as a payload.
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// All of standard input as one payload.
    #[arg(short, long)]
    stdin_file: bool,
}

pub(super) fn run(args: &PublishArgs, groups: &[Vec<String>]) -> Exit {
    let plan = match args.connection.plan(groups) {
        Ok(plan) => plan,
        Err(fault) => return complain(Exit::Arguments, &fault),
    };
    let Some(topic) = args.topic.as_ref().or(plan.topic()) else {
        return complain(Exit::Arguments, &"where to? give a topic with -t");
    };
    let topic = match parse_topic(topic) {
        Ok(topic) => topic,
        Err(fault) => return complain(Exit::Arguments, &fault),
    };
    if !(0.0..=1e6).contains(&args.repeat_delay) {
        return complain(Exit::Arguments, &"--repeat-delay takes seconds, 0 or more");
    }
    let payloads = match args.payload.payloads(args.repeat) {
        Ok(payloads) => payloads,
        Err(fault) => return complain(Exit::Failed, &fault),
    };
    tool::block_on(async { publish(args, &plan, topic, payloads).await })
}

/// What is published: known at once, or line by line.
enum Payloads {
    Repeated(Bytes, u64),
    Lines(mpsc::Receiver<std::io::Result<Bytes>>),
}

impl PayloadArgs {
    fn payloads(&self, repeat: u64) -> Result<Payloads, String> {
        if self.stdin_line {
            return Ok(Payloads::Lines(lines()));
        }
        let payload = if let Some(message) = &self.message {
            Bytes::copy_from_slice(message.as_bytes())
        } else if let Some(file) = &self.file {
            let read = std::fs::read(file);
            Bytes::from(read.map_err(|error| format!("{}: {error}", file.display()))?)
        } else if self.stdin_file {
            let mut all = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut all);
            read.map_err(|error| format!("standard input: {error}"))?;
            Bytes::from(all)
        } else {
            Bytes::new()
        };
        Ok(Payloads::Repeated(payload, repeat))
    }
}

/// Reads lines on a thread of its own: a read from a terminal cannot be abandoned otherwise.
fn lines() -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(1_024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            if sender.blocking_send(line.map(Bytes::from)).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn publish(args: &PublishArgs, plan: &Plan, topic: Topic, payloads: Payloads) -> Exit {
    let (client, ack) = match plan.carry_out().await {
        Ok(connected) => connected,
        Err(error) => return complain(Exit::Failed, &error),
    };
    let qos = QoS::from_u8(args.qos).unwrap_or_default();
    if let Err(fault) = check(&ack, qos, args.retain) {
        return complain(Exit::Failed, &fault);
    }
    let template = Publish {
        dup: false,
        retain: args.retain,
        delivery: Delivery::AtMostOnce,
        topic,
        payload: Bytes::new(),
        message_expiry_interval_s: plan.properties.publish.expiry_interval_s,
        properties: plan.properties.publish.boxed(),
    };
    let mut publisher = Publisher {
        client,
        outbox: Outbox::new(ack.receive_maximum.unwrap_or(u16::MAX).min(WINDOW)),
        template,
        qos,
        number: 0,
        failed: 0,
        quiet: args.connection.quiet,
        debug: args.connection.debug,
    };
    let delay_ms = (args.repeat_delay * 1_000.0) as u64;
    if let Err(error) = publisher.run(payloads, delay_ms).await {
        let left = publisher.outbox.len();
        let of =
            if left > 0 { format!(" ({left} messages not acknowledged)") } else { String::new() };
        return complain(Exit::Failed, &format!("{error}{of}"));
    }
    let goodbye = Disconnect {
        session_expiry_interval_s: plan.properties.disconnect.session_expiry_interval_s,
        reason_string: plan.properties.disconnect.reason_string.clone(),
        user_properties: plan.properties.disconnect.user_properties.clone(),
        ..Disconnect::default()
    };
    let failed = publisher.failed;
    match publisher.client.disconnect(goodbye).await {
        Ok(()) if failed == 0 => Exit::Orderly,
        Ok(()) => Exit::Failed,
        Err(error) => complain(Exit::Failed, &error),
    }
}

/// What the broker said it cannot do needs not be tried.
fn check(ack: &ConnAck, qos: QoS, retain: bool) -> Result<(), String> {
    if ack.maximum_qos.is_some_and(|maximum| qos > maximum) {
        return Err(format!("the broker does not take QoS {qos}"));
    }
    if retain && ack.retain_available == Some(false) {
        return Err("the broker keeps no retained messages".to_owned());
    }
    Ok(())
}

struct Publisher {
    client: ToolClient,
    outbox: Outbox,
    template: Publish,
    qos: QoS,
    number: u64,
    failed: u64,
    quiet: bool,
    debug: bool,
}

impl Publisher {
    async fn run(&mut self, payloads: Payloads, delay_ms: u64) -> Result<(), ClientError> {
        match payloads {
            Payloads::Repeated(payload, times) => {
                for time in 0..times {
                    if time > 0 && delay_ms > 0 {
                        self.wait(delay_ms).await?;
                    }
                    self.push(payload.clone());
                    self.drain(AHEAD).await?;
                }
            }
            Payloads::Lines(mut lines) => loop {
                let line = tokio::select! {
                    biased;
                    packet = self.client.receive() => {
                        self.acknowledge(&packet?)?;
                        self.send()?;
                        continue;
                    }
                    line = lines.recv() => line,
                };
                match line.transpose()? {
                    Some(line) => self.push(line),
                    None => break,
                }
                // What is there already goes out together.
                while self.outbox.len() < AHEAD
                    && let Ok(line) = lines.try_recv()
                {
                    self.push(line?);
                }
                self.drain(AHEAD).await?;
            },
        }
        self.drain(0).await?;
        self.client.flush().await
    }

    fn push(&mut self, payload: Bytes) {
        self.number += 1;
        let publish = Publish { payload, ..self.template.clone() };
        self.outbox.push(self.number, self.qos, publish);
    }

    /// Sends and waits until no more than `left` publications are under way.
    async fn drain(&mut self, left: usize) -> Result<(), ClientError> {
        loop {
            self.send()?;
            if self.client.queued_bytes() >= GATHERED_BYTES {
                self.client.flush().await?;
            }
            if self.outbox.len() <= left {
                return Ok(());
            }
            let packet = self.client.receive().await?;
            self.acknowledge(&packet)?;
        }
    }

    fn send(&mut self) -> Result<(), ClientError> {
        while self.client.queued_bytes() < GATHERED_BYTES {
            let Some(packet) = self.outbox.next_packet() else { return Ok(()) };
            if self.debug {
                eprintln!("sending {packet:?}");
            }
            self.client.queue(&packet)?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, packet: &ServerPacket) -> Result<(), ClientError> {
        if self.debug {
            eprintln!("received {packet:?}");
        }
        let (answer, outcome) = self.outbox.acknowledge(packet)?;
        if let Some(answer) = answer {
            self.client.queue(&answer)?;
        }
        if let Some(outcome) = outcome {
            self.judge(&outcome);
        }
        Ok(())
    }

    fn judge(&mut self, outcome: &Outcome) {
        let Outcome { number, reason, detail } = outcome;
        if reason.is_error() {
            self.failed += 1;
            let detail = detail.as_ref().map_or(String::new(), |detail| format!(": {detail}"));
            if !self.quiet {
                eprintln!("signalhouse: message {number} was refused: {reason}{detail}");
            }
        } else if *reason == ReasonCode::NoMatchingSubscribers && self.debug {
            eprintln!("message {number} has no subscribers");
        }
    }

    /// Lets time pass, and takes what comes meanwhile.
    async fn wait(&mut self, ms: u64) -> Result<(), ClientError> {
        let clock = TokioClock::from_wall_clock();
        let mut over = std::pin::pin!(clock.sleep_until(clock.now().plus_ms(ms)));
        loop {
            self.send()?;
            let packet = tokio::select! {
                biased;
                packet = self.client.receive() => packet?,
                () = over.as_mut() => return Ok(()),
            };
            self.acknowledge(&packet)?;
        }
    }
}
