//! Every transcript of the core is judged by the oracle too: played against the broker, told as a
//! history by the simulator's own codec, and held to every guarantee that does not need an end.

#[allow(dead_code, reason = "what the core's own test does with a transcript is not done here")]
#[path = "../../core/tests/transcript/edge.rs"]
mod edge;
#[path = "../../core/tests/transcript/look.rs"]
mod look;
#[path = "../../core/tests/transcript/observed.rs"]
mod observed;
#[path = "../../core/tests/transcript/packets.rs"]
mod packets;
#[allow(dead_code, reason = "as above")]
#[path = "../../core/tests/transcript/parse.rs"]
mod parse;
#[allow(dead_code, reason = "as above")]
#[path = "../../core/tests/transcript/run.rs"]
mod run;
#[path = "../../core/tests/transcript/settings.rs"]
mod settings;
#[path = "../../core/tests/transcript/show.rs"]
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use signalhouse_core::ConnectionId;
use signalhouse_sim::codec::{Decoder, Terms, decode_client};
use signalhouse_sim::core_layer::dropped;
use signalhouse_sim::history::{ConnectionNumber, Event, Violation, What};
use signalhouse_sim::oracle::{Bounds, check_within};
use signalhouse_sim::packet::{AckKind, Connect, Packet};
use signalhouse_sim::plan::BrokerFault;

use observed::Observed;

/// What keeps a transcript from being judged, by how such a command begins.
const UNJUDGED: [(&str, &str); 5] = [
    ("> permissions ", "rules by user and claim, of which the oracle knows nothing"),
    ("> command request ", "publications that no client sent"),
    ("> command end-session ", "sessions that the operator ended"),
    ("> command confirm-time", "jumps of time without a restart, which hold expiry back"),
    ("config time_jump_maximum_ms", "jumps of time without a restart, which hold expiry back"),
];

#[test]
fn transcripts_pass_the_oracle() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the core's transcripts are beside the simulator")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let (mut judged, mut failures) = (0, String::new());
    let mut unjudged: BTreeMap<&str, usize> = BTreeMap::new();
    for path in &files {
        let text = std::fs::read_to_string(path).expect("a transcript can be read");
        let begins = |line: &str| UNJUDGED.iter().find(|(order, _)| line.starts_with(order));
        if let Some((_, reason)) = text.lines().find_map(begins) {
            *unjudged.entry(reason).or_default() += 1;
            continue;
        }
        judged += 1;
        if let Err(violation) = judge(&text) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let _ = writeln!(failures, "{name}: {} {}", violation.guarantee, violation.what);
        }
    }
    println!("{judged} of {} transcripts judged", files.len());
    for (reason, count) in &unjudged {
        println!("{count} not judged: {reason}");
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(judged * 10 >= files.len() * 9, "only {judged} of {} were judged", files.len());
}

#[test]
fn a_transcript_told_wrongly_does_not_pass() {
    let text = "> a connect clean\n> a subscribe t qos=1\n> a publish t \"x\" qos=1 id=2\n";
    let mut history = history_of(text);
    assert_eq!(check_within(bounds_of(text), &history).map(|_| ()), Ok(()));
    let place = history
        .iter()
        .position(|event| matches!(&event.what, What::Received { packet: Packet::Publish(_), .. }))
        .expect("the message arrives");
    let again = history[place].clone();
    history.insert(place + 1, again);
    assert!(check_within(bounds_of(text), &history).is_err());
}

fn judge(text: &str) -> Result<(), Violation> {
    check_within(bounds_of(text), &history_of(text)).map(|_| ())
}

/// Where a transcript delays the disk or long jobs by hand, nothing has to come at once.
fn bounds_of(text: &str) -> Bounds {
    let is_delayed = text.lines().any(|line| line.starts_with("manual "));
    let expiry_s = text
        .lines()
        .flat_map(|line| line.split(' '))
        .find_map(|word| word.strip_prefix("session_expiry_interval_maximum_s="))
        .and_then(|value| value.parse().ok());
    let hour_ms = 3_600_000;
    Bounds {
        latency_ms: if is_delayed { 24 * hour_ms } else { 1 },
        slack_ms: 1,
        session_expiry_maximum_s: expiry_s.unwrap_or(u32::MAX),
        ..Bounds::default()
    }
}

/// The transcript as clients saw it, every payload made unlike all others.
fn history_of(text: &str) -> Vec<Event> {
    let played = run::play(&unique_payloads(text)).expect("the core's own test plays it too");
    let mut teller = Teller::default();
    for (at_ms, observed) in &played.observed {
        teller.tell(*at_ms, observed);
    }
    teller.events
}

/// Gives each payload that a later command publishes anew a name of its own. What is sent again
/// with DUP keeps the name it had under its identifier.
fn unique_payloads(text: &str) -> String {
    let mut names = Names::default();
    let mut story = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words.first() != Some(&">") {
            let _ = writeln!(story, "{line}");
        } else if let (Some(from), Some(to), Some(&"publish")) =
            (line.find('"'), line.rfind('"'), words.get(2))
        {
            let id = words.iter().find(|word| word.starts_with("id=")).copied();
            let key = (words[1].to_owned(), id.unwrap_or_default().to_owned());
            let fresh = names.of(key, &line[from + 1..to.max(from + 1)], words.contains(&"dup"));
            let _ = writeln!(story, "{}{fresh}{}", &line[..=from], &line[to.max(from + 1)..]);
        } else if let Some(will) = words.iter().find(|word| word.starts_with("will="))
            && let Some((head, payload)) = will.split_once(':')
        {
            let fresh = names.of((String::new(), String::new()), payload, false);
            let _ = writeln!(story, "{}", line.replace(will, &format!("{head}:{fresh}")));
        } else {
            let _ = writeln!(story, "{line}");
        }
    }
    story
}

/// Payloads that were given names.
#[derive(Default)]
struct Names {
    known: BTreeMap<(String, String), String>,
    used: BTreeSet<String>,
}

impl Names {
    /// The name of a payload, by client and packet identifier.
    fn of(&mut self, key: (String, String), payload: &str, is_again: bool) -> String {
        let before = self.known.get(&key).filter(|_| is_again).cloned();
        let name = before.unwrap_or_else(|| {
            if self.used.insert(payload.to_owned()) || payload.is_empty() {
                payload.to_owned()
            } else {
                format!("{payload}~{}", self.known.len() + self.used.len())
            }
        });
        self.used.insert(name.clone());
        self.known.insert(key, name.clone());
        name
    }
}

/// Tells what was observed, in the simulator's words.
#[derive(Default)]
struct Teller {
    events: Vec<Event>,
    connections: BTreeMap<ConnectionId, Connection>,
    next: ConnectionNumber,
}

struct Connection {
    number: ConnectionNumber,
    level: u8,
    decoder: Decoder,
    /// Where its client's last packet is.
    last_sent: usize,
    /// QoS 2 publications of the client without PUBREC on this connection.
    unrecorded: BTreeSet<u16>,
}

impl Connection {
    /// Whether a client goes on with a QoS 2 exchange as no client may: it sends PUBLISH again on
    /// the same connection [MQTT-4.4.0-1], or PUBREL before it had PUBREC.
    fn breaks_off(&mut self, packet: &Packet) -> bool {
        if let Packet::Publish(publish) = packet
            && publish.qos == 2
        {
            return !self.unrecorded.insert(publish.id.unwrap_or_default());
        }
        let Packet::Ack { kind: AckKind::PubRel, id, .. } = packet else { return false };
        self.unrecorded.contains(id)
    }

    fn hears(&mut self, packet: &Packet) {
        if let Packet::Ack { kind: AckKind::PubRec, id, .. } = packet {
            self.unrecorded.remove(id);
        }
    }
}

impl Teller {
    fn tell(&mut self, at_ms: u64, observed: &Observed) {
        match observed {
            Observed::Opened { connection } => {
                let number = self.next;
                self.next += 1;
                let decoder = Decoder::new(terms(5));
                let last_sent = self.events.len();
                let unrecorded = BTreeSet::new();
                let told = Connection { number, level: 5, decoder, last_sent, unrecorded };
                self.connections.insert(*connection, told);
                let client = usize::try_from(number).expect("there are few");
                self.push(at_ms, What::Opened { client, connection: number });
            }
            Observed::Sent { connection, bytes } => self.sent(at_ms, *connection, bytes),
            Observed::Malformed { connection } => {
                if let Some(told) = self.connections.get(connection) {
                    let connection = told.number;
                    self.push(at_ms, What::Misbehaved { connection });
                }
            }
            Observed::Read { connection, bytes } => self.read(at_ms, *connection, bytes),
            Observed::Closed { connection } => self.ended(at_ms, *connection, false),
            Observed::Gone { connection } => self.ended(at_ms, *connection, true),
            Observed::Ordered { bytes } => self.ordered(at_ms, bytes),
            Observed::Crashed => {
                self.push(at_ms, What::Broker(BrokerFault::PowerCut));
                self.push(at_ms, What::Broker(BrokerFault::Start));
            }
            Observed::Noticed(notice) => {
                if let Some(what) = dropped(notice, |_| None) {
                    self.push(at_ms, what);
                }
            }
        }
    }

    fn push(&mut self, at_ms: u64, what: What) {
        self.events.push(Event { at_ms, what });
    }

    fn sent(&mut self, at_ms: u64, connection: ConnectionId, bytes: &[u8]) {
        let place = self.events.len();
        let Some(told) = self.connections.get_mut(&connection) else { return };
        let number = told.number;
        // The protocol name of CONNECT is four or six bytes, the level follows.
        if bytes.first() == Some(&0x10)
            && let Some(level) = bytes.windows(5).find_map(|window| match window {
                [b'M', b'Q', b'T', b'T', level] => Some(*level),
                [b'I', b's', b'd', b'p', level] => Some(*level),
                _ => None,
            })
        {
            told.level = level;
            let mut terms = terms(level);
            if let Ok(Some((Packet::Connect(connect), _))) = decode_client(bytes, level) {
                terms.topic_alias_maximum =
                    signalhouse_sim::codec::number(&connect.properties, 0x22)
                        .and_then(|maximum| u16::try_from(maximum).ok())
                        .unwrap_or(0);
            }
            told.decoder = Decoder::new(terms);
        }
        told.last_sent = place;
        match decode_client(bytes, told.level) {
            Ok(Some((packet, _))) => {
                if told.breaks_off(&packet) {
                    self.push(at_ms, What::Misbehaved { connection: number });
                }
                self.push(at_ms, What::Sent { connection: number, packet });
            }
            Ok(None) | Err(_) => self.push(at_ms, What::Misbehaved { connection: number }),
        }
    }

    /// What the operator publishes is told of a client that does so and is gone before it is answered.
    fn ordered(&mut self, at_ms: u64, bytes: &[u8]) {
        let number = self.next;
        self.next += 1;
        let client = usize::try_from(number).expect("there are few");
        let connect = Connect {
            level: 5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: format!("operator-{number}"),
            will: None,
            user_name: None,
            password: None,
            properties: Vec::new(),
        };
        let connack = Packet::ConnAck { session_present: false, reason: 0, properties: Vec::new() };
        let Ok(Some((publish, _))) = decode_client(bytes, 5) else { return };
        self.push(at_ms, What::Opened { client, connection: number });
        self.push(at_ms, What::Sent { connection: number, packet: Packet::Connect(connect) });
        let (alias_topic, size_bytes) = (None, 5);
        let what = What::Received { connection: number, packet: connack, alias_topic, size_bytes };
        self.push(at_ms, what);
        self.push(at_ms, What::Sent { connection: number, packet: publish });
        self.push(at_ms, What::Ended { connection: number, by_client: true });
    }

    fn read(&mut self, at_ms: u64, connection: ConnectionId, bytes: &[u8]) {
        let Some(told) = self.connections.get_mut(&connection) else { return };
        let number = told.number;
        told.decoder.feed(bytes);
        let what = match told.decoder.next_packet() {
            Ok(Some(decoded)) => {
                told.hears(&decoded.packet);
                What::Received {
                    connection: number,
                    packet: decoded.packet,
                    alias_topic: decoded.alias_topic,
                    size_bytes: decoded.size_bytes,
                }
            }
            Ok(None) => return,
            Err(fault) => What::Undecodable {
                connection: number,
                guarantee: fault.guarantee(),
                cause: fault.to_string(),
            },
        };
        self.push(at_ms, what);
    }

    /// A client that is sent away had broken the protocol, if that is what the reason says: from
    /// its last packet on, nothing is owed to it.
    fn ended(&mut self, at_ms: u64, connection: ConnectionId, by_client: bool) {
        let Some(told) = self.connections.remove(&connection) else { return };
        let number = told.number;
        self.push(at_ms, What::Ended { connection: number, by_client });
        if !by_client && told.last_sent < self.events.len() {
            let at_ms = self.events[told.last_sent].at_ms;
            let what = What::Misbehaved { connection: number };
            self.events.insert(told.last_sent, Event { at_ms, what });
            for other in self.connections.values_mut() {
                other.last_sent += usize::from(other.last_sent >= told.last_sent);
            }
        }
    }
}

fn terms(level: u8) -> Terms {
    Terms { level, topic_alias_maximum: 0, maximum_packet_size_bytes: 0 }
}
