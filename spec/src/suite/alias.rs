//! Topic aliases, both ways.

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::build::Subscribe;
use crate::wire::packet::Publish;
use crate::wire::property::{Value, id};
use crate::wire::{Version, encode};

pub(super) const CASES: &[Case] = &[
    case!(every_alias_up_to_the_maximum_is_taken, "MQTT-3.3.2-12", "topic-alias-client")
        .needs(ALIAS),
    case!(an_alias_is_set_changed_and_used, "topic-alias-client").needs(ALIAS),
    case!(an_alias_lives_with_its_connection, "MQTT-3.3.2-7").needs(ALIAS),
    case!(alias_zero_is_refused, "MQTT-3.3.2-8", "topic-alias-invalid"),
    case!(
        an_alias_over_the_maximum_is_refused,
        "MQTT-3.3.2-9",
        "MQTT-3.2.2-17",
        "topic-alias-invalid"
    )
    .needs(&[Need::LimitedTopicAlias]),
    case!(an_alias_is_refused_where_there_is_none, "MQTT-3.2.2-18", "topic-alias-invalid")
        .needs(&[Need::NoTopicAlias]),
    case!(an_unknown_alias_is_refused, "topic-alias-client").needs(ALIAS),
    case!(no_alias_comes_unless_allowed, "MQTT-3.1.2-27", "topic-alias-server"),
    case!(
        aliases_that_come_stay_within_the_maximum,
        "MQTT-3.1.2-26",
        "MQTT-3.3.2-11",
        "topic-alias-server"
    ),
    case!(aliases_that_come_begin_anew, "MQTT-3.3.2-7", "topic-alias-server"),
    case!(aliases_are_each_connections_own, "topic-alias-server").needs(ALIAS),
];

const ALIAS: &[Need] = &[Need::TopicAlias];

fn aliased(topic: &str, payload: &str, alias: u16) -> Publish {
    Publish::new(topic, payload).with(id::TOPIC_ALIAS, Value::Two(alias))
}

fn maximum(scene: &Scene<'_>) -> u16 {
    let announced = scene.capabilities.announces(id::TOPIC_ALIAS_MAXIMUM).unwrap_or(0);
    u16::try_from(announced).unwrap_or(u16::MAX)
}

fn every_alias_up_to_the_maximum_is_taken(scene: &Scene<'_>) -> Checked {
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(scene.topic("+"), 0))?;
    let mut client = scene.start("a")?;
    // All of a usual number, the ends of a large one.
    let maximum = maximum(scene);
    let aliases: Vec<u16> =
        if maximum <= 64 { (1..=maximum).collect() } else { vec![1, 2, maximum - 1, maximum] };
    for alias in &aliases {
        client.publish(&aliased(&scene.topic(&alias.to_string()), "set", *alias))?;
        watcher.take_payload("set")?;
    }
    for alias in &aliases {
        client.publish(&aliased("", "used", *alias))?;
        let message = watcher.take_payload("used")?;
        let topic = scene.topic(&alias.to_string());
        ensure!(message.topic == topic.as_bytes(), "alias {alias} is {topic}: {message:?}");
    }
    Ok(())
}

fn an_alias_is_set_changed_and_used(scene: &Scene<'_>) -> Checked {
    let (one, two) = (scene.topic("1"), scene.topic("2"));
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&one, 0).and(&two, 0))?;
    for (published, expected) in [(one.as_str(), &one), ("", &one), (&two, &two), ("", &two)] {
        client.publish(&aliased(published, "x", 1))?;
        let message = client.take_payload("x")?;
        ensure!(message.topic == expected.as_bytes(), "{expected} expected: {message:?}");
        ensure!(message.properties.get(id::TOPIC_ALIAS).is_none(), "passed on: {message:?}");
    }
    Ok(())
}

fn an_alias_lives_with_its_connection(scene: &Scene<'_>) -> Checked {
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.publish(&aliased(&scene.topic("a"), "x", 1))?;
    client.disconnect()?;
    let mut client = scene.connect(&scene.client("a").resume())?;
    ensure!(client.connack.session_present, "the session is not present");
    client.send_publish(&aliased("", "x", 1));
    client.refused(&[0x82])
}

fn refused(scene: &Scene<'_>, topic: &str, alias: u16, codes: &[u8]) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&encode::publish(&aliased(topic, "x", alias), Version::V5));
    client.refused(codes)
}

/// Why an alias out of range is refused. That 0x94 is the code for it is advice, which `error` shows.
const INVALID: &[u8] = &[0x81, 0x82, 0x94];

fn alias_zero_is_refused(scene: &Scene<'_>) -> Checked {
    refused(scene, &scene.topic("a"), 0, INVALID)?;
    refused(scene, "", 0, INVALID)
}

fn an_alias_over_the_maximum_is_refused(scene: &Scene<'_>) -> Checked {
    let maximum = maximum(scene);
    refused(scene, &scene.topic("a"), maximum + 1, INVALID)?;
    refused(scene, &scene.topic("a"), u16::MAX, INVALID)
}

fn an_alias_is_refused_where_there_is_none(scene: &Scene<'_>) -> Checked {
    refused(scene, &scene.topic("a"), 1, INVALID)
}

fn an_unknown_alias_is_refused(scene: &Scene<'_>) -> Checked {
    refused(scene, "", 1, &[0x82])
}

/// Publishes to several topics several times; a receiver with this maximum resolves what comes.
fn resolved(scene: &Scene<'_>, maximum: Option<u16>) -> Checked {
    let connect = scene.client("s");
    let connect = match maximum {
        Some(maximum) => connect.with(id::TOPIC_ALIAS_MAXIMUM, Value::Two(maximum)),
        None => connect,
    };
    let mut client = scene.connect(&connect)?;
    let mut known = std::collections::BTreeMap::new();
    let mut publisher = scene.start("p")?;
    let topics: Vec<String> = (0..5).map(|number| scene.topic(&number.to_string())).collect();
    for topic in &topics {
        client.subscribe(&Subscribe::to(topic, 0))?;
    }
    for topic in topics.iter().cycle().take(20) {
        publisher.publish(&Publish::new(topic, topic))?;
        let message = client.take()?;
        let alias = message.properties.number(id::TOPIC_ALIAS);
        if let Some(alias) = alias {
            let most = u32::from(maximum.unwrap_or(0));
            ensure!(alias <= most, "alias {alias}, at most {most} allowed: {message:?}");
            if !message.topic.is_empty() {
                known.insert(alias, message.topic.clone());
            }
        }
        let meant = if message.topic.is_empty() {
            let alias = alias.ok_or_else(|| Failure(format!("no topic at all: {message:?}")))?;
            known.get(&alias).cloned()
        } else {
            Some(message.topic.clone())
        };
        ensure!(meant.as_deref() == Some(topic.as_bytes()), "{topic} was meant: {message:?}");
        ensure!(message.payload == topic.as_bytes(), "{topic} expected: {message:?}");
    }
    client.disconnect()
}

fn no_alias_comes_unless_allowed(scene: &Scene<'_>) -> Checked {
    resolved(scene, None)?;
    resolved(scene, Some(0))
}

fn aliases_that_come_stay_within_the_maximum(scene: &Scene<'_>) -> Checked {
    resolved(scene, Some(1))?;
    resolved(scene, Some(3))?;
    resolved(scene, Some(u16::MAX))
}

fn aliases_that_come_begin_anew(scene: &Scene<'_>) -> Checked {
    // Each round is a new connection: an alias of the one before would not resolve.
    for _ in 0..3 {
        resolved(scene, Some(10))?;
    }
    Ok(())
}

fn aliases_are_each_connections_own(scene: &Scene<'_>) -> Checked {
    let (one, two) = (scene.topic("1"), scene.topic("2"));
    let mut watcher = scene.start("w")?;
    watcher.subscribe(&Subscribe::to(&one, 0).and(&two, 0))?;
    let (mut first, mut second) = (scene.start("a")?, scene.start("b")?);
    first.publish(&aliased(&one, "x", 1))?;
    watcher.take()?;
    second.publish(&aliased(&two, "x", 1))?;
    watcher.take()?;
    first.publish(&aliased("", "first", 1))?;
    let message = watcher.take_payload("first")?;
    ensure!(message.topic == one.as_bytes(), "{message:?}");
    second.publish(&aliased("", "second", 1))?;
    let message = watcher.take_payload("second")?;
    ensure!(message.topic == two.as_bytes(), "{message:?}");
    Ok(())
}
