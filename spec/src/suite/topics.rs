//! Topic names, filters, and how they match.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::build::{RETAIN_NEVER, Subscribe};
use crate::wire::packet::{Packet, Publish};
use crate::wire::{Version, build, encode};

pub(super) const CASES: &[Case] = &[
    case!(a_hash_stands_alone_and_last, "MQTT-4.7.1-1"),
    case!(a_plus_fills_its_level, "MQTT-4.7.1-2"),
    case!(wildcards_are_for_filters, "MQTT-4.7.0-1", "MQTT-4.7.1-2").needs(&[Need::Wildcards]),
    case!(wildcards_do_not_match_dollar_topics, "MQTT-4.7.2-1", "dollar-topics")
        .needs(&[Need::Wildcards, Need::DollarTopics]),
    case!(wildcards_do_not_match_sys_topics, "MQTT-4.7.2-1", "dollar-topics")
        .needs(&[Need::Wildcards, Need::SysTopics]),
    case!(a_filter_has_a_character, "MQTT-4.7.3-1"),
    case!(topics_may_be_long, "MQTT-4.7.3-3"),
    case!(topics_are_not_normalised, "MQTT-4.7.3-4", "match-case-space"),
    case!(a_hash_matches_the_parent, "match-hash-parent").needs(&[Need::Wildcards]),
    case!(a_plus_matches_one_level, "match-plus", "MQTT-4.7.1-2").needs(&[Need::Wildcards]),
    case!(empty_levels_are_levels, "match-separators").needs(&[Need::Wildcards]),
    case!(case_and_spaces_count, "MQTT-4.7.3-4", "match-case-space"),
];

fn refused_filter(scene: &Scene<'_>, filter: &str) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&Subscribe::to(filter, 0).to_bytes(1, Version::V5));
    // It is malformed; an answer that grants nothing is a refusal too.
    match client.event()? {
        Event::Closed => {}
        Event::Packet(Packet::Disconnect(disconnect)) => {
            ensure!(matches!(disconnect.reason, 0x81 | 0x82 | 0x8F), "{filter}: {disconnect:?}");
            client.ended()?;
        }
        Event::Packet(Packet::SubAck(answer)) => {
            ensure!(answer.codes == [0x8F] || answer.codes == [0x80], "{filter}: {answer:?}");
        }
        other => return Err(crate::case::Failure(format!("{filter}: {other:?} came"))),
    }
    let mut client = scene.start("b")?;
    client.send(&build::unsubscribe(1, &[filter.as_bytes()], Version::V5));
    match client.event()? {
        Event::Closed => Ok(()),
        Event::Packet(Packet::Disconnect(disconnect)) => {
            ensure!(matches!(disconnect.reason, 0x81 | 0x82 | 0x8F), "{filter}: {disconnect:?}");
            client.ended()
        }
        Event::Packet(Packet::UnsubAck(answer)) => {
            ensure!(answer.codes == [0x8F] || answer.codes == [0x80], "{filter}: {answer:?}");
            Ok(())
        }
        other => Err(crate::case::Failure(format!("{filter}: {other:?} came"))),
    }
}

fn a_hash_stands_alone_and_last(scene: &Scene<'_>) -> Checked {
    for filter in ["a/#/b", "a#", "a/b#", "#/a", "##", "a/#b"] {
        refused_filter(scene, filter)?;
    }
    Ok(())
}

fn a_plus_fills_its_level(scene: &Scene<'_>) -> Checked {
    for filter in ["a+", "a/+b", "a/b+/c", "++"] {
        refused_filter(scene, filter)?;
    }
    Ok(())
}

fn wildcards_are_for_filters(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(scene.topic("+/x/#"), 0))?;
    client.publish(&Publish::new(scene.topic("a/x/y"), "in"))?;
    client.take_payload("in")?;
    client.send(&encode::publish(&Publish::new(scene.topic("+/x/y"), "x"), Version::V5));
    client.refused(&[0x81, 0x82, 0x90])
}

fn wildcards_do_not_match_dollar_topics(scene: &Scene<'_>) -> Checked {
    let topic = format!("$t{}/{}", scene.unique, scene.unique);
    let mut client = scene.start("a")?;
    let wild = format!("+/{}", scene.unique);
    client.subscribe(&Subscribe::to(&wild, 0))?;
    client.publish(&Publish::new(&topic, "hidden"))?;
    client.quiet()?;
    // By its name it can be had, and a wildcard further on matches.
    client.subscribe(&Subscribe::to(format!("$t{}/+", scene.unique), 0))?;
    client.publish(&Publish::new(&topic, "seen"))?;
    client.take_payload("seen")?;
    client.unsubscribe(&[format!("$t{}/+", scene.unique).as_bytes()])?;
    // The whole of everything, without what others are just sending.
    client.subscribe(&Subscribe::to("#", RETAIN_NEVER))?;
    client.publish(&Publish::new(&topic, "hidden"))?;
    client.publish(&Publish::new(scene.topic("last"), "last"))?;
    loop {
        let message = client.take()?;
        ensure!(!message.topic.starts_with(b"$"), "# matched {message:?}");
        if message.topic == scene.topic("last").as_bytes() {
            return Ok(());
        }
    }
}

fn wildcards_do_not_match_sys_topics(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to("$SYS/#", 0))?;
    let message = client.take()?;
    ensure!(message.topic.starts_with(b"$SYS/"), "{message:?}");
    client.cut();
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to("#", 0))?;
    client.publish(&Publish::new(scene.topic("last"), "last"))?;
    loop {
        let message = client.take()?;
        ensure!(!message.topic.starts_with(b"$"), "# matched {message:?}");
        if message.topic == scene.topic("last").as_bytes() {
            return Ok(());
        }
    }
}

fn a_filter_has_a_character(scene: &Scene<'_>) -> Checked {
    refused_filter(scene, "")
}

fn topics_may_be_long(scene: &Scene<'_>) -> Checked {
    // One level, because how many levels there may be is a limit of its own.
    let topic = format!("{}{}", scene.topic("long"), "x".repeat(60_000));
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.publish(&Publish::new(&topic, "far"))?;
    let message = client.take_payload("far")?;
    ensure!(message.topic == topic.as_bytes(), "the topic came with {} bytes", message.topic.len());
    Ok(())
}

/// Which of the topics the filter matches, by trying.
fn matches(client: &mut Client, filter: &str, topics: &[(String, bool)]) -> Checked {
    client.subscribe(&Subscribe::to(filter, 0))?;
    for (topic, expected) in topics {
        client.publish(&Publish::new(topic, topic))?;
        if *expected {
            let message = client.take()?;
            ensure!(
                message.topic == topic.as_bytes(),
                "{filter} should match {topic}: {message:?} came"
            );
        } else {
            client.quiet()?;
        }
    }
    client.quiet()?;
    client.unsubscribe(&[filter.as_bytes()]).map(|_| ())
}

fn table(scene: &Scene<'_>, filter: &str, topics: &[(&str, bool)]) -> Checked {
    let topics: Vec<(String, bool)> =
        topics.iter().map(|(topic, expected)| (scene.topic(topic), *expected)).collect();
    matches(&mut scene.start("a")?, &scene.topic(filter), &topics)
}

fn topics_are_not_normalised(scene: &Scene<'_>) -> Checked {
    // The same letter composed and decomposed, an escape, a dot, a doubled separator.
    table(scene, "\u{E9}", &[("e\u{301}", false), ("\u{E9}", true), ("%C3%A9", false)])?;
    table(scene, "a/./b", &[("a/b", false), ("a/./b", true), ("a//b", false)])?;
    table(scene, "\u{212B}", &[("\u{C5}", false), ("\u{212B}", true)])
}

fn a_hash_matches_the_parent(scene: &Scene<'_>) -> Checked {
    table(
        scene,
        "sport/#",
        &[("sport", true), ("sport/", true), ("sport/a/b/c", true), ("sports", false)],
    )
}

fn a_plus_matches_one_level(scene: &Scene<'_>) -> Checked {
    table(
        scene,
        "sport/+",
        &[("sport", false), ("sport/", true), ("sport/a", true), ("sport/a/b", false)],
    )?;
    table(scene, "+/a/+", &[("x/a/y", true), ("x/b/y", false), ("/a/", true), ("x/a", false)])
}

fn empty_levels_are_levels(scene: &Scene<'_>) -> Checked {
    table(scene, "/a", &[("a", false), ("/a", true), ("/a/", false), ("//a", false)])?;
    table(scene, "a//b", &[("a/b", false), ("a//b", true)])?;
    table(scene, "a/+/b", &[("a//b", true), ("a/b", false)])?;
    table(scene, "+/+", &[("/", true), ("a", false), ("/a", true)])
}

fn case_and_spaces_count(scene: &Scene<'_>) -> Checked {
    table(
        scene,
        "Accounts payable",
        &[("ACCOUNTS PAYABLE", false), ("Accounts payable", true), ("Accountspayable", false)],
    )?;
    table(scene, " ", &[("", false), (" ", true)])
}
