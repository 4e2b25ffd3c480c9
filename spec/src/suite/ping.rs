//! PINGREQ and keep alive.

use std::time::{Duration, Instant};

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::build::{self, Subscribe, Will};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::id;

pub(super) const CASES: &[Case] = &[
    case!(pingreq_is_answered, "MQTT-3.12.4-1", "pingreq-any-time"),
    case!(pingreq_is_answered_without_keep_alive, "MQTT-3.12.4-1", "pingreq-any-time"),
    case!(a_silent_client_is_closed, "MQTT-3.1.2-20", "MQTT-3.1.2-22", "MQTT-3.2.2-22")
        .needs(&[Need::NoServerKeepAlive])
        .slow(),
    case!(a_silent_client_leaves_its_will, "MQTT-3.1.2-22", "will-conditions")
        .needs(&[Need::NoServerKeepAlive])
        .slow(),
    case!(any_packet_keeps_alive, "MQTT-3.1.2-22").needs(&[Need::NoServerKeepAlive]).slow(),
    case!(keep_alive_zero_is_no_limit, "keep-alive-zero", "MQTT-3.1.2-22")
        .needs(&[Need::NoServerKeepAlive])
        .slow(),
    case!(what_a_client_receives_does_not_keep_it_alive, "MQTT-3.1.2-22")
        .needs(&[Need::NoServerKeepAlive])
        .slow(),
    case!(
        the_servers_keep_alive_counts,
        "server-keep-alive",
        "MQTT-3.1.2-21",
        "MQTT-3.1.2-22",
        "MQTT-3.2.2-21"
    )
    .needs(&[Need::ServerKeepAlive])
    .slow(),
];

fn pingreq_is_answered(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    for _ in 0..3 {
        client.send(&build::PINGREQ);
        client.expect(kind::PINGRESP)?;
    }
    client.send(&[build::PINGREQ, build::PINGREQ].concat());
    client.expect(kind::PINGRESP)?;
    client.expect(kind::PINGRESP)?;
    client.quiet()
}

fn pingreq_is_answered_without_keep_alive(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&scene.client("a").keep_alive(0))?;
    client.send(&build::PINGREQ);
    client.expect(kind::PINGRESP).map(|_| ())
}

/// The client is closed between one and two and a half keep alives from now.
/// `start` is before CONNECT: on a busy machine its answer may be read late.
fn closed_in_time(client: &mut Client, keep_alive_s: u64, start: Instant) -> Checked {
    let limit = Duration::from_millis(keep_alive_s * 2_500 + 500);
    let event = client.event_within(limit)?;
    let waited = start.elapsed();
    match event {
        Event::Closed => {}
        Event::Packet(Packet::Disconnect(disconnect)) => {
            ensure!(disconnect.reason == 0x8D, "0x8D expected: {disconnect:?}");
            client.ended()?;
        }
        other => return Err(Failure(format!("[MQTT-3.1.2-22] a close expected: {other:?}"))),
    }
    // One and a half is demanded; a little less is the imprecision of clocks.
    let least = Duration::from_millis(keep_alive_s * 1_400);
    ensure!(waited >= least, "closed after {} ms already", waited.as_millis());
    Ok(())
}

fn a_silent_client_is_closed(scene: &Scene<'_>) -> Checked {
    let start = Instant::now();
    let mut client = scene.connect(&scene.client("a").keep_alive(1))?;
    closed_in_time(&mut client, 1, start)
}

fn a_silent_client_leaves_its_will(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("will");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let will = Will { topic, payload: b"silent".to_vec(), ..Will::default() };
    let _client = scene.connect(&scene.client("a").keep_alive(1).will(will))?;
    watcher.take_payload("silent").map(|_| ())
}

fn any_packet_keeps_alive(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&scene.client("a").keep_alive(1))?;
    for _ in 0..4 {
        scene.wait_ms(700);
        client.publish(&Publish::new(scene.topic("a"), "x"))?;
    }
    client.quiet()
}

fn keep_alive_zero_is_no_limit(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&scene.client("a").keep_alive(0))?;
    scene.wait_ms(2_500);
    client.quiet()
}

fn what_a_client_receives_does_not_keep_it_alive(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").keep_alive(1))?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    let mut publisher = scene.start("p")?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(4_000) {
        publisher.publish(&Publish::new(&topic, "x"))?;
        match client.event_within(Duration::from_millis(300))? {
            Event::Closed | Event::Packet(Packet::Disconnect(_)) => return Ok(()),
            Event::Packet(Packet::Publish(_)) => scene.wait_ms(200),
            other => return Err(Failure(format!("{other:?} came"))),
        }
    }
    Err("[MQTT-3.1.2-22] a silent client is still connected after 4 s".into())
}

fn the_servers_keep_alive_counts(scene: &Scene<'_>) -> Checked {
    let start = Instant::now();
    let mut client = scene.connect(&scene.client("a").keep_alive(600))?;
    let granted = client.connack.properties.number(id::SERVER_KEEP_ALIVE);
    let Some(granted) = granted else { return Err("no Server Keep Alive".into()) };
    closed_in_time(&mut client, u64::from(granted), start)
}
