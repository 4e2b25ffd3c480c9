//! The real binary as a child process, and a raw client that says what no library would.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    ClientPacket, ConnAck, Publish, ServerPacket, Subscribe, SubscriptionOptions,
};
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Text, Version};
use signalhouse_core::wire::{ClientReader, ReaderLimits, encode_client};

pub(crate) use crate::connect::connect;

/// How long anything may take on a busy machine before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A broker in a process of its own, killed at the end.
pub(crate) struct Broker {
    child: Child,
    pub(crate) port: u16,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// The binary, with none of the environment's settings.
pub(crate) fn signalhouse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SIGNALHOUSE_") {
            command.env_remove(name);
        }
    }
    // What a test wants kept, it says where.
    command.env("SIGNALHOUSE_STORE__DURABILITY", "memory");
    command.stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    signalhouse()
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the binary starts")
}

impl Broker {
    pub(crate) fn start() -> Self {
        Broker::with(&[], &[])
    }

    pub(crate) fn with(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = signalhouse();
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        command.envs(environment.iter().copied());
        Broker::of(command)
    }

    /// Starts what is told where to listen, and waits until it does.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writer.lines.lock().expect("no panic holds it").push(line);
                writer.more.notify_all();
            }
        });
        let mut broker = Broker { child, port: 0, log };
        let line = broker.wait_for_line(&["signalhouse serves"]);
        let at = line.split("127.0.0.1:").nth(1).expect("the line says where");
        let port: String = at.chars().take_while(char::is_ascii_digit).collect();
        broker.port = port.parse().expect("a port");
        broker
    }

    /// The first line of the log that has all of `parts`.
    pub(crate) fn wait_for_line(&self, parts: &[&str]) -> String {
        let mut lines = self.log.lines.lock().expect("no panic holds it");
        let mut seen = 0;
        loop {
            let new = &lines[seen..];
            if let Some(line) = new.iter().find(|line| parts.iter().all(|part| line.contains(part)))
            {
                return line.clone();
            }
            seen = lines.len();
            let (guard, waited) =
                self.log.more.wait_timeout(lines, DEADLINE).expect("no panic holds it");
            lines = guard;
            assert!(!waited.timed_out(), "no line with {parts:?} in\n{}", lines.join("\n"));
        }
    }

    /// Waits for the log to have `count` lines with all of `parts`; more are a failure.
    pub(crate) fn wait_for_lines(&self, parts: &[&str], count: usize) {
        let started = Instant::now();
        while self.count_lines(parts) < count {
            assert!(started.elapsed() < DEADLINE, "{} lines", self.count_lines(parts));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.count_lines(parts), count);
    }

    /// Lines of the log that have all of `parts`, so far.
    pub(crate) fn count_lines(&self, parts: &[&str]) -> usize {
        let lines = self.log.lines.lock().expect("no panic holds it");
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the process to end, and says how it did.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        for _ in 0..DEADLINE.as_millis() / 10 {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the broker does not end");
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory in use, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a known format");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A connection that can send anything.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    reader: ClientReader,
    input: BytesMut,
}

impl Raw {
    pub(crate) fn open(broker: &Broker) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", broker.port)).expect("the broker listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        stream.set_write_timeout(Some(DEADLINE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        let reader = ClientReader::new(Version::V5, ReaderLimits::default());
        Raw { stream, reader, input: BytesMut::new() }
    }

    /// Opens and is let in.
    pub(crate) fn connect(broker: &Broker, client_id: &str) -> (Self, ConnAck) {
        let mut raw = Raw::open(broker);
        raw.send_packet(&ClientPacket::Connect(Box::new(connect(client_id))));
        match raw.receive() {
            Some(ServerPacket::ConnAck(ack)) => {
                assert!(!ack.reason.is_error(), "{ack:?}");
                (raw, *ack)
            }
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    pub(crate) fn send_packet(&mut self, packet: &ClientPacket) {
        let bytes = encoded(packet);
        self.send(&bytes);
    }

    /// The next packet; `None` when the connection ends.
    pub(crate) fn receive(&mut self) -> Option<ServerPacket> {
        loop {
            if let Some(packet) = self.reader.read(&mut self.input).expect("well-formed packets") {
                return Some(packet);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(bytes) => self.input.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("the broker is silent: {error}"),
            }
        }
    }

    /// Everything until the connection ends.
    pub(crate) fn receive_to_end(&mut self) -> Vec<ServerPacket> {
        std::iter::from_fn(|| self.receive()).collect()
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.send_packet(&subscribe(filter, qos));
        match self.receive() {
            Some(ServerPacket::SubAck(ack)) => assert!(!ack.reasons[0].is_error(), "{ack:?}"),
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }
}

pub(crate) fn encoded(packet: &ClientPacket) -> BytesMut {
    let mut bytes = BytesMut::new();
    let _written = encode_client(packet, Version::V5, &mut bytes);
    assert!(!bytes.is_empty());
    bytes
}

pub(crate) fn publish(topic: &str, payload: &[u8]) -> ClientPacket {
    ClientPacket::Publish(Publish {
        dup: false,
        retain: false,
        delivery: Delivery::AtMostOnce,
        topic: Topic::try_from(topic).expect("a topic"),
        payload: Bytes::copy_from_slice(payload),
        message_expiry_interval_s: None,
        properties: None,
    })
}

pub(crate) fn subscribe(filter: &str, qos: QoS) -> ClientPacket {
    let options = SubscriptionOptions { maximum_qos: qos, ..SubscriptionOptions::default() };
    let filter = TopicFilter::new(Text::try_from(filter).expect("a short text"));
    ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: InboundPacketId(PacketId::MIN),
        subscription_id: None,
        subscriptions: vec![(filter.expect("a filter"), options)],
        user_properties: Vec::new(),
    }))
}

/// A client that minds its own business while others misbehave.
pub(crate) struct Bystander {
    raw: Raw,
    rounds: u32,
}

impl Bystander {
    pub(crate) fn new(broker: &Broker) -> Self {
        let (mut raw, _) = Raw::connect(broker, "bystander");
        raw.subscribe("bystander/+", QoS::AtMostOnce);
        Bystander { raw, rounds: 0 }
    }

    /// One message to itself and back.
    pub(crate) fn check(&mut self) {
        self.rounds += 1;
        let payload = self.rounds.to_string();
        self.raw.send_packet(&publish("bystander/x", payload.as_bytes()));
        match self.raw.receive() {
            Some(ServerPacket::Publish(publish)) => {
                assert_eq!(&publish.message.payload[..], payload.as_bytes());
            }
            other => panic!("the bystander noticed: {other:?}"),
        }
    }
}
