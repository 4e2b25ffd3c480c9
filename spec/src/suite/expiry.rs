//! Message expiry: counted down in queues and as retained.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::build::Subscribe;
use crate::wire::packet::Publish;
use crate::wire::property::{Value, id};

pub(super) const CASES: &[Case] = &[
    case!(a_message_expires_in_a_queue, "MQTT-3.3.2-5").needs(&[Need::Qos1]).slow(),
    case!(the_expiry_is_counted_down_in_a_queue, "MQTT-3.3.2-6", "message-expiry")
        .needs(&[Need::Qos1])
        .slow(),
    case!(a_live_message_has_its_whole_expiry, "MQTT-3.3.2-6", "message-expiry"),
    case!(no_expiry_means_none, "message-expiry").needs(&[Need::Qos1]),
    case!(a_retained_message_expires, "retained-expiry", "message-expiry")
        .needs(&[Need::Retain])
        .slow(),
    case!(the_expiry_of_a_retained_message_is_counted_down, "MQTT-3.3.2-6", "message-expiry")
        .needs(&[Need::Retain])
        .slow(),
    case!(an_expired_message_is_passed_over, "MQTT-3.3.2-5").needs(&[Need::Qos1]).slow(),
];

fn expiring(topic: &str, payload: &str, seconds: u32) -> Publish {
    Publish::new(topic, payload).with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds))
}

fn left(message: &Publish) -> Option<u32> {
    message.properties.number(id::MESSAGE_EXPIRY_INTERVAL)
}

/// Queues the messages for a client that is away for a time, and returns it when it is back.
fn away(scene: &Scene<'_>, messages: &[Publish], ms: u64) -> Checked<crate::client::Client> {
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(scene.topic("a"), 1))?;
    client.cut();
    let mut publisher = scene.start("p")?;
    for message in messages {
        publisher.publish(message)?;
    }
    scene.wait_ms(ms);
    scene.connect(&scene.client("a").resume())
}

fn a_message_expires_in_a_queue(scene: &Scene<'_>) -> Checked {
    let short = expiring(&scene.topic("a"), "short", 1).qos(1);
    away(scene, &[short], 2_200)?.quiet()
}

fn the_expiry_is_counted_down_in_a_queue(scene: &Scene<'_>) -> Checked {
    let long = expiring(&scene.topic("a"), "long", 100).qos(1);
    let mut client = away(scene, &[long], 2_200)?;
    let message = client.take_payload("long")?;
    ensure!(matches!(left(&message), Some(96..=98)), "100 s less 2.2 s: {:?}", left(&message));
    client.quiet()
}

fn a_live_message_has_its_whole_expiry(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    for seconds in [10, 100_000, u32::MAX] {
        client.publish(&expiring(&topic, "x", seconds))?;
        let message = client.take_payload("x")?;
        let left = left(&message);
        ensure!(
            left.is_some_and(|left| seconds.checked_sub(left).is_some_and(|gone| gone <= 1)),
            "{seconds} s, {left:?} came"
        );
    }
    Ok(())
}

fn no_expiry_means_none(scene: &Scene<'_>) -> Checked {
    let plain = Publish::new(scene.topic("a"), "plain").qos(1);
    let mut client = away(scene, &[plain], 0)?;
    let message = client.take_payload("plain")?;
    ensure!(left(&message).is_none(), "{message:?}");
    Ok(())
}

fn a_retained_message_expires(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    // More than a second, for a clock that counts in seconds.
    client.publish(&expiring(&topic, "short", 2).retain())?;
    client.alive()?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.take_payload("short")?;
    scene.wait_ms(3_200);
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.quiet()
}

fn the_expiry_of_a_retained_message_is_counted_down(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.publish(&expiring(&topic, "long", 100).retain())?;
    client.alive()?;
    scene.wait_ms(2_200);
    client.subscribe(&Subscribe::to(&topic, 0))?;
    let message = client.take_payload("long")?;
    ensure!(matches!(left(&message), Some(96..=98)), "100 s less 2.2 s: {:?}", left(&message));
    Ok(())
}

fn an_expired_message_is_passed_over(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let messages = [
        expiring(&topic, "1", 100).qos(1),
        expiring(&topic, "2", 1).qos(1),
        expiring(&topic, "3", 100).qos(1),
    ];
    let mut client = away(scene, &messages, 2_200)?;
    client.take_payload("1")?;
    client.take_payload("3")?;
    client.quiet()
}
