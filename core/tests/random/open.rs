//! Lists of inputs that wait for no answer: the same list is played with a fast and a slow disk, and with none.

use std::collections::BTreeMap;

use bytes::Bytes;
use signalhouse_core::wire::packet::{Ack, ClientPacket, Connect, Publish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{QoS, Version};
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, Limits, LogPosition, Outbox, Seed, Time,
};

use super::client::{self, Habits, inbound, text};
use super::rng::Rng;

const NOW: Time = Time::from_ms(1_700_000_000_000);

/// What came, by connection and kind, in order.
pub(crate) type Came = BTreeMap<(ConnectionId, &'static str), Vec<String>>;

fn config() -> Config {
    // Nobody acknowledges, so windows and quotas must not run out.
    let limits = Limits { inflight_messages: 65_535, receive_maximum: 65_535, ..Limits::default() };
    Config { limits, sys_interval_ms: 0, ..Config::default() }
}

/// Clients that subscribe, publish and release without listening. Nothing is retained or shared:
/// what becomes of such messages may depend on time.
pub(crate) fn inputs(seed: u64, clients: u32, length: usize) -> Vec<Input> {
    let mut rng = Rng::new(seed);
    let mut inputs = Vec::new();
    let mut versions = Vec::new();
    for index in 0..clients {
        let connection = ConnectionId { index, generation: 1 };
        let room_bytes = u32::MAX;
        inputs.push(Input::Opened { connection, peer: text("peer"), room_bytes });
        let connect = client::connect(&mut rng, &format!("k{index}"), 0);
        versions.push(connect.version);
        let connect = Connect {
            will: None,
            receive_maximum: 65_535,
            maximum_packet_size_bytes: None,
            ..connect
        };
        inputs.push(packet(connection, ClientPacket::Connect(Box::new(connect))));
    }
    let mut held: Vec<(ConnectionId, u16)> = Vec::new();
    for number in 1..=length {
        let index = rng.place(versions.len());
        let connection = ConnectionId { index: u32::try_from(index).unwrap_or(0), generation: 1 };
        let id = u16::try_from(number).expect("few inputs");
        inputs.push(packet(connection, one(&mut rng, connection, versions[index], id, &mut held)));
    }
    inputs
}

fn one(
    rng: &mut Rng,
    connection: ConnectionId,
    version: Version,
    id: u16,
    held: &mut Vec<(ConnectionId, u16)>,
) -> ClientPacket {
    let habits = Habits { shares: false };
    match rng.below(100) {
        0..=14 => ClientPacket::Subscribe(Box::new(client::subscribe(rng, version, habits, id))),
        15..=19 => ClientPacket::Unsubscribe(Box::new(client::unsubscribe(rng, habits, id))),
        20..=39 if held.iter().any(|(of, _)| *of == connection) => {
            let place = held.iter().position(|(of, _)| *of == connection).unwrap_or(0);
            let (_, id) = held.remove(place);
            ClientPacket::PubRel(Ack::new(inbound(id), ReasonCode::Success))
        }
        20..=25 => ClientPacket::PingReq,
        _ => {
            let qos = client::any_qos(rng);
            if qos == QoS::ExactlyOnce {
                held.push((connection, id));
            }
            let publish = client::publish(rng, version, qos, u64::from(id), id);
            ClientPacket::Publish(Publish {
                retain: false,
                message_expiry_interval_s: None,
                payload: Bytes::from(id.to_string()),
                ..publish
            })
        }
    }
}

fn packet(connection: ConnectionId, packet: ClientPacket) -> Input {
    Input::Packet { connection, packet }
}

/// What becomes of records.
pub(crate) enum Disk {
    /// Each is durable at once.
    Fast,
    /// It takes a while.
    Slow(Rng),
    /// Nobody keeps any.
    None,
}

/// Plays the inputs.
pub(crate) fn play(inputs: &[Input], disk: Disk) -> Came {
    let (keeps_records, mut delays) = match disk {
        Disk::Fast => (true, None),
        Disk::Slow(rng) => (true, Some(rng)),
        Disk::None => (false, None),
    };
    let mut broker = Broker::new(Config { keeps_records, ..config() }, Seed(1), NOW);
    let mut outbox = Outbox::new();
    let (mut appended, mut durable) = (0, 0);
    let mut came = Came::new();
    let last = inputs.len().saturating_sub(1);
    for (index, input) in inputs.iter().enumerate() {
        broker.handle(NOW, input.clone(), &mut outbox);
        appended += take(&mut outbox, &mut came);
        let through = match &mut delays {
            Some(rng) if index < last => {
                let more = if rng.chance(15) { rng.below(appended - durable + 1) } else { 0 };
                durable + more
            }
            _ => appended,
        };
        durable = through;
        // What becomes durable may give rise to more records.
        loop {
            broker.handle(NOW, Input::Durable { through: LogPosition(durable) }, &mut outbox);
            appended += take(&mut outbox, &mut came);
            while broker.has_more_work() {
                broker.resume(NOW, 1000, &mut outbox);
                appended += take(&mut outbox, &mut came);
            }
            if durable == appended || (delays.is_some() && index < last) {
                break;
            }
            durable = appended;
        }
    }
    assert!(keeps_records || appended == 0, "{appended} records for nobody");
    came
}

/// Sorts what came; returns how many records there were.
fn take(outbox: &mut Outbox, came: &mut Came) -> u64 {
    let mut records = 0;
    for action in outbox.drain() {
        match action {
            Action::Send { connection, packet } => {
                let kind = match &packet {
                    ServerPacket::Publish(publish) => match publish.delivery.qos() {
                        QoS::AtMostOnce => "QoS 0",
                        QoS::AtLeastOnce => "QoS 1",
                        QoS::ExactlyOnce => "QoS 2",
                    },
                    ServerPacket::PingResp => "PINGRESP",
                    ServerPacket::ConnAck(_)
                    | ServerPacket::PubAck(_)
                    | ServerPacket::PubRec(_)
                    | ServerPacket::PubRel(_)
                    | ServerPacket::PubComp(_)
                    | ServerPacket::SubAck(_)
                    | ServerPacket::UnsubAck(_)
                    | ServerPacket::Disconnect(_)
                    | ServerPacket::Auth(_) => "answers",
                };
                came.entry((connection, kind)).or_default().push(format!("{packet:?}"));
            }
            Action::Close { connection } => {
                came.entry((connection, "answers")).or_default().push("closed".into());
            }
            Action::Persist { .. } => records += 1,
            Action::Ask { .. } | Action::Answer(_) | Action::Fetch { .. } | Action::Notice(_) => {}
        }
    }
    records
}
