//! Retained messages: kept, replaced, removed, and sent at SUBSCRIBE.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::client::Client;
use crate::scene::Scene;
use crate::wire::build::{AS_PUBLISHED, RETAIN_IF_NEW, RETAIN_NEVER, Subscribe};
use crate::wire::packet::Publish;

pub(super) const CASES: &[Case] = &[
    case!(a_retained_message_replaces_the_one_before, "MQTT-3.3.1-5").needs(RETAIN),
    case!(retained_messages_keep_their_qos, "MQTT-3.3.1-5", "MQTT-3.8.4-8")
        .needs(&[Need::Retain, Need::Qos2]),
    case!(a_retained_message_of_qos_0_is_kept, "retained-qos0").needs(RETAIN).advice(),
    case!(an_empty_retained_message_removes, "MQTT-3.3.1-6").needs(RETAIN),
    case!(an_empty_retained_message_is_delivered, "MQTT-3.3.1-6").needs(RETAIN),
    case!(an_empty_message_is_never_retained, "MQTT-3.3.1-7").needs(RETAIN),
    case!(a_message_without_retain_changes_nothing, "MQTT-3.3.1-8").needs(RETAIN),
    case!(retain_handling_0_sends_at_every_subscribe, "MQTT-3.3.1-9", "MQTT-3.8.4-4").needs(RETAIN),
    case!(retain_handling_1_sends_to_new_subscriptions, "MQTT-3.3.1-10", "subscribe-new")
        .needs(RETAIN),
    case!(retain_handling_1_knows_the_subscriptions_of_a_session, "MQTT-3.3.1-10").needs(RETAIN),
    case!(retain_handling_2_sends_none, "MQTT-3.3.1-11").needs(RETAIN),
    case!(retain_handling_rules_the_subscribe_alone, "retain-handling-scope").needs(RETAIN),
    case!(live_messages_lose_retain, "MQTT-3.3.1-12").needs(RETAIN),
    case!(retain_as_published_keeps_retain, "MQTT-3.3.1-13").needs(RETAIN),
    case!(retained_messages_always_have_retain, "retain-as-published-retained").needs(RETAIN),
    case!(every_matching_retained_message_is_sent, "MQTT-3.3.1-9")
        .needs(&[Need::Retain, Need::Wildcards]),
    case!(retained_messages_outlive_the_session, "session-retained").needs(RETAIN),
];

const RETAIN: &[Need] = &[Need::Retain];

fn retain(client: &mut Client, topic: &str, payload: &str) -> Checked {
    client.publish(&Publish::new(topic, payload).retain())?;
    client.alive()
}

/// What a new subscriber gets.
fn retained(scene: &Scene<'_>, topic: &str, expected: Option<&str>) -> Checked {
    let mut client = scene.start("new")?;
    client.subscribe(&Subscribe::to(topic, 2))?;
    if let Some(payload) = expected {
        let message = client.take_payload(payload)?;
        ensure!(message.retain, "without RETAIN: {message:?}");
    }
    client.quiet()?;
    client.disconnect()
}

fn a_retained_message_replaces_the_one_before(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    retain(&mut client, &topic, "one")?;
    retained(scene, &topic, Some("one"))?;
    retain(&mut client, &topic, "two")?;
    retained(scene, &topic, Some("two"))
}

fn retained_messages_keep_their_qos(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    for published in [0, 1, 2] {
        let topic = scene.topic(&format!("{published}"));
        client.publish(&Publish::new(&topic, "x").qos(published).retain())?;
        client.alive()?;
        for granted in [0, 1, 2] {
            client.subscribe(&Subscribe::to(&topic, granted))?;
            let message = client.take_payload("x")?;
            ensure!(
                message.qos == published.min(granted) && message.retain,
                "published {published}, granted {granted}: {message:?}"
            );
        }
    }
    client.quiet()
}

fn a_retained_message_of_qos_0_is_kept(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    retain(&mut scene.start("a")?, &topic, "kept")?;
    retained(scene, &topic, Some("kept"))
}

fn an_empty_retained_message_removes(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    retain(&mut client, &topic, "one")?;
    retain(&mut client, &topic, "")?;
    retained(scene, &topic, None)?;
    retain(&mut client, &topic, "two")?;
    retained(scene, &topic, Some("two"))
}

fn an_empty_retained_message_is_delivered(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    retain(&mut client, &topic, "one")?;
    client.subscribe(&Subscribe::to(&topic, RETAIN_NEVER))?;
    client.publish(&Publish::new(&topic, "").retain())?;
    let message = client.take_payload("")?;
    ensure!(!message.retain, "with RETAIN: {message:?}");
    client.quiet()
}

fn an_empty_message_is_never_retained(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    retain(&mut client, &topic, "")?;
    retained(scene, &topic, None)
}

fn a_message_without_retain_changes_nothing(scene: &Scene<'_>) -> Checked {
    let (full, empty) = (scene.topic("full"), scene.topic("empty"));
    let mut client = scene.start("a")?;
    retain(&mut client, &full, "kept")?;
    for payload in ["other", ""] {
        client.publish(&Publish::new(&full, payload))?;
        client.publish(&Publish::new(&empty, payload))?;
    }
    client.alive()?;
    retained(scene, &full, Some("kept"))?;
    retained(scene, &empty, None)
}

fn retain_handling_0_sends_at_every_subscribe(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    retain(&mut client, &topic, "kept")?;
    for _ in 0..3 {
        client.subscribe(&Subscribe::to(&topic, 0))?;
        client.take_payload("kept")?;
        client.quiet()?;
    }
    Ok(())
}

fn retain_handling_1_sends_to_new_subscriptions(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    retain(&mut client, &topic, "kept")?;
    let subscribe = Subscribe::to(&topic, RETAIN_IF_NEW);
    client.subscribe(&subscribe)?;
    client.take_payload("kept")?;
    client.subscribe(&subscribe)?;
    client.quiet()?;
    client.unsubscribe(&[topic.as_bytes()])?;
    client.subscribe(&subscribe)?;
    client.take_payload("kept")?;
    client.quiet()
}

fn retain_handling_1_knows_the_subscriptions_of_a_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, RETAIN_IF_NEW))?;
    client.disconnect()?;
    retain(&mut scene.start("b")?, &topic, "kept")?;
    let mut client = scene.connect(&scene.client("a").resume())?;
    // The live copy may have been queued; the retained one must not come.
    while client.event_within(std::time::Duration::from_millis(50))?
        != crate::client::Event::Silence
    {}
    client.subscribe(&Subscribe::to(&topic, RETAIN_IF_NEW))?;
    client.quiet()
}

fn retain_handling_2_sends_none(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    retain(&mut client, &topic, "kept")?;
    for _ in 0..2 {
        client.subscribe(&Subscribe::to(&topic, RETAIN_NEVER))?;
        client.quiet()?;
    }
    Ok(())
}

fn retain_handling_rules_the_subscribe_alone(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, RETAIN_NEVER | AS_PUBLISHED))?;
    client.publish(&Publish::new(&topic, "live").retain())?;
    let message = client.take_payload("live")?;
    ensure!(message.retain, "{message:?}");
    client.quiet()
}

fn live_messages_lose_retain(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.publish(&Publish::new(&topic, "live").retain())?;
    let message = client.take_payload("live")?;
    ensure!(!message.retain, "with RETAIN: {message:?}");
    client.quiet()
}

fn retain_as_published_keeps_retain(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, AS_PUBLISHED))?;
    client.publish(&Publish::new(&topic, "with").retain())?;
    let message = client.take_payload("with")?;
    ensure!(message.retain, "without RETAIN: {message:?}");
    client.publish(&Publish::new(&topic, "without"))?;
    let message = client.take_payload("without")?;
    ensure!(!message.retain, "with RETAIN: {message:?}");
    client.quiet()
}

fn retained_messages_always_have_retain(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    retain(&mut client, &topic, "kept")?;
    for options in [0, AS_PUBLISHED] {
        client.subscribe(&Subscribe::to(&topic, options))?;
        let message = client.take_payload("kept")?;
        ensure!(message.retain, "options {options:#04X}, without RETAIN: {message:?}");
    }
    Ok(())
}

fn every_matching_retained_message_is_sent(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    for name in ["1", "2", "3/deep"] {
        retain(&mut client, &scene.topic(&format!("in/{name}")), name)?;
    }
    retain(&mut client, &scene.topic("out"), "out")?;
    client.subscribe(&Subscribe::to(scene.topic("in/#"), 0))?;
    let mut came = Vec::new();
    for _ in 0..3 {
        came.push(String::from_utf8_lossy(&client.take()?.payload).into_owned());
    }
    came.sort();
    ensure!(came == ["1", "2", "3/deep"], "{came:?} came");
    client.quiet()
}

fn retained_messages_outlive_the_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    retain(&mut client, &topic, "kept")?;
    client.disconnect()?;
    scene.start("a")?.disconnect()?;
    retained(scene, &topic, Some("kept"))
}
