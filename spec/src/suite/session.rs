//! Sessions: how long they last, and what is in them.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::client::Client;
use crate::scene::Scene;
use crate::wire::build::{self, Connect, Subscribe};
use crate::wire::packet::{Publish, kind};
use crate::wire::property::{Properties, Value, id};

pub(super) const CASES: &[Case] = &[
    case!(a_session_without_expiry_ends_with_its_connection, "session-expiry", "MQTT-4.1.0-2"),
    case!(a_session_is_kept_until_it_expires, "MQTT-3.1.2-23", "session-expiry"),
    case!(a_session_expires, "MQTT-4.1.0-2", "session-expiry", "session-end").slow(),
    case!(a_session_does_not_end_while_connected, "MQTT-4.1.0-1").slow(),
    case!(a_session_may_last_for_ever, "session-expiry").needs(&[Need::NoSessionExpiryLimit]),
    case!(disconnect_may_shorten_the_expiry, "session-expiry-change", "MQTT-4.1.0-2"),
    case!(disconnect_may_lengthen_the_expiry, "session-expiry-change").slow(),
    case!(disconnect_may_not_begin_an_expiry, "session-expiry-change"),
    case!(a_new_connect_sets_the_expiry_anew, "session-expiry", "session-end"),
    case!(messages_queue_for_a_session, "offline-queue", "MQTT-4.5.0-1").needs(&[Need::Qos2]),
    case!(a_session_holds_several_subscriptions, "session-state").needs(&[Need::Wildcards]),
    case!(a_session_that_expired_gets_nothing, "session-end", "MQTT-3.2.2-3")
        .needs(&[Need::Qos1])
        .slow(),
    case!(a_full_queue_does_not_disturb_others, "quota-exceeded")
        .needs(&[Need::Qos1, Need::QueueLimit]),
];

fn present(scene: &Scene<'_>, connect: &Connect, expected: bool) -> Checked<Client> {
    let client = scene.connect(connect)?;
    ensure!(
        client.connack.session_present == expected,
        "[MQTT-3.2.2-3] session present {expected} expected"
    );
    Ok(client)
}

fn a_session_without_expiry_ends_with_its_connection(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    for connect in [scene.client("a"), scene.client("a").expiry(0)] {
        let mut client = scene.connect(&connect)?;
        client.subscribe(&Subscribe::to(&topic, 0))?;
        client.disconnect()?;
        let mut client = present(scene, &scene.client("a").resume(), false)?;
        client.publish(&Publish::new(&topic, "x"))?;
        client.quiet()?;
        client.disconnect()?;
    }
    Ok(())
}

fn a_session_is_kept_until_it_expires(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.cut();
    let mut client = present(scene, &scene.client("a").resume(), true)?;
    client.publish(&Publish::new(&topic, "x"))?;
    client.take_payload("x").map(|_| ())
}

fn a_session_expires(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(1))?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.cut();
    scene.wait_ms(2_200);
    let mut client = present(scene, &scene.client("a").resume(), false)?;
    client.publish(&Publish::new(&topic, "x"))?;
    client.quiet()
}

fn a_session_does_not_end_while_connected(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(1))?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    scene.wait_ms(2_200);
    client.publish(&Publish::new(&topic, "x"))?;
    client.take_payload("x")?;
    client.disconnect()?;
    present(scene, &scene.client("a").resume(), true).map(|_| ())
}

fn a_session_may_last_for_ever(scene: &Scene<'_>) -> Checked {
    scene.connect(&scene.client("a").expiry(u32::MAX))?.disconnect()?;
    present(scene, &scene.client("a").resume(), true)?.disconnect()
}

fn leave(client: &mut Client, expiry: u32) {
    let properties = Properties::none().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(expiry));
    client.send(&build::reasoned(kind::DISCONNECT, 0, &properties));
}

fn disconnect_may_shorten_the_expiry(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    leave(&mut client, 0);
    client.ended()?;
    present(scene, &scene.client("a").resume(), false).map(|_| ())
}

fn disconnect_may_lengthen_the_expiry(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&scene.client("a").expiry(1))?;
    leave(&mut client, 60);
    client.ended()?;
    scene.wait_ms(2_200);
    present(scene, &scene.client("a").resume(), true).map(|_| ())
}

fn disconnect_may_not_begin_an_expiry(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("will");
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&topic, 0))?;
    let will = build::Will { topic, payload: b"gone".to_vec(), ..build::Will::default() };
    let mut client = scene.connect(&scene.client("a").will(will))?;
    leave(&mut client, 60);
    client.refused(&[0x82])?;
    watcher.take_payload("gone")?;
    present(scene, &scene.client("a").resume(), false).map(|_| ())
}

fn a_new_connect_sets_the_expiry_anew(scene: &Scene<'_>) -> Checked {
    scene.connect(&scene.client("a").expiry(60))?.disconnect()?;
    present(scene, &scene.client("a").resume().expiry(60), true)?.disconnect()?;
    present(scene, &scene.client("a").resume(), true)?.disconnect()?;
    present(scene, &scene.client("a").resume(), false).map(|_| ())
}

fn messages_queue_for_a_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 2))?;
    client.cut();
    let mut publisher = scene.start("p")?;
    for qos in [1, 2] {
        publisher.publish(&Publish::new(&topic, format!("{qos}")).qos(qos))?;
    }
    let mut client = present(scene, &scene.client("a").resume(), true)?;
    for qos in [1, 2] {
        let message = client.take_payload(&format!("{qos}"))?;
        ensure!(message.qos == qos && !message.dup, "{message:?}");
    }
    client.quiet()
}

fn a_session_holds_several_subscriptions(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    let subscribe = Subscribe::to(scene.topic("1"), 0).and(scene.topic("2/+"), 0);
    client.subscribe(&subscribe)?;
    client.subscribe(&Subscribe::to(scene.topic("3/#"), build::NO_LOCAL))?;
    client.subscribe(&Subscribe::to(scene.topic("4"), 0))?;
    client.unsubscribe(&[scene.topic("4").as_bytes()])?;
    client.disconnect()?;
    let mut client = present(scene, &scene.client("a").resume(), true)?;
    for name in ["3/x", "4", "1", "2/x"] {
        client.publish(&Publish::new(scene.topic(name), name))?;
    }
    client.take_payload("1")?;
    client.take_payload("2/x")?;
    client.quiet()
}

fn a_session_that_expired_gets_nothing(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(1))?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    client.disconnect()?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "queued").qos(1))?;
    scene.wait_ms(2_200);
    publisher.publish(&Publish::new(&topic, "too late").qos(1))?;
    let mut client = present(scene, &scene.client("a").resume().expiry(60), false)?;
    client.quiet()
}

fn a_full_queue_does_not_disturb_others(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut away = scene.connect(&scene.client("a").expiry(60))?;
    away.subscribe(&Subscribe::to(&topic, 1))?;
    away.cut();
    let mut publisher = scene.start("p")?;
    let limit = scene.capabilities.queue_messages;
    for number in 0..limit {
        publisher.publish(&Publish::new(&topic, format!("{number}")).qos(1))?;
    }
    // Nobody else would get it, so the publisher may be told.
    let over = publisher.publish_answer(&Publish::new(&topic, "over").qos(1))?;
    ensure!(matches!(over.reason, 0 | 0x97), "{over:?}");
    let mut here = scene.start("b")?;
    here.subscribe(&Subscribe::to(&topic, 1))?;
    publisher.publish(&Publish::new(&topic, "for who is here").qos(1))?;
    here.take_payload("for who is here")?;
    let mut back = scene.connect(&scene.client("a").resume())?;
    back.take()?;
    Ok(())
}
