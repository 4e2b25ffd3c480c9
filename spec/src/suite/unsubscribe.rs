//! UNSUBSCRIBE and UNSUBACK.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::build::Subscribe;
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Value, id};
use crate::wire::{Version, build, framed};

pub(super) const CASES: &[Case] = &[
    case!(unsubscribe_is_answered, "MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-2.2.1-6"),
    case!(an_unsubscribe_without_filters_is_refused, "MQTT-3.10.3-2", "MQTT-4.13.1-1"),
    case!(unsubscribe_removes_the_same_filter, "MQTT-3.10.4-1").needs(&[Need::Wildcards]),
    case!(after_unsuback_nothing_new_comes, "MQTT-3.10.4-2"),
    case!(what_was_begun_is_finished, "MQTT-3.10.4-3", "unsubscribe-buffered").needs(&[Need::Qos2]),
    case!(an_unknown_filter_is_answered_0x11, "MQTT-3.10.4-5", "unsubscribe-no-match"),
    case!(several_filters_are_removed_at_once, "MQTT-3.10.4-6", "MQTT-3.11.3-1"),
    case!(unsuback_codes_are_listed, "MQTT-3.11.3-2"),
    case!(after_suback_and_unsuback_the_identifier_is_free, "packet-id-reuse").needs(&[Need::Qos2]),
];

fn unsubscribe_is_answered(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    for packet_id in [0x4321, 0xFFFF] {
        client.send(&build::unsubscribe(packet_id, &[topic.as_bytes()], Version::V5));
        let Packet::UnsubAck(answer) = client.expect(kind::UNSUBACK)? else {
            return Err("no UNSUBACK".into());
        };
        ensure!(answer.packet_id == packet_id, "UNSUBACK of {packet_id} expected: {answer:?}");
    }
    client.quiet()
}

fn an_unsubscribe_without_filters_is_refused(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&framed(0xA2, &[0, 1, 0]));
    client.refused(&[0x81, 0x82])
}

fn unsubscribe_removes_the_same_filter(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    let (wild, plain) = (scene.topic("+"), scene.topic("a"));
    client.subscribe(&Subscribe::to(&wild, 0))?;
    // Filters that match the same topics, or differ in case, are others.
    for other in [plain.clone(), scene.topic("#"), wild.to_uppercase()] {
        let answer = client.unsubscribe(&[other.as_bytes()])?;
        ensure!(answer.codes == [0x11], "{other} is not subscribed: {answer:?}");
    }
    client.publish(&Publish::new(&plain, "still"))?;
    client.take_payload("still")?;
    let answer = client.unsubscribe(&[wild.as_bytes()])?;
    ensure!(answer.codes == [0], "{wild} was subscribed: {answer:?}");
    client.publish(&Publish::new(&plain, "no more"))?;
    client.quiet()
}

fn after_unsuback_nothing_new_comes(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    let mut other = scene.start("b")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.unsubscribe(&[topic.as_bytes()])?;
    other.publish(&Publish::new(&topic, "new"))?;
    other.alive()?;
    client.quiet()
}

fn what_was_begun_is_finished(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client =
        scene.connect(&scene.client("a").expiry(60).with(id::RECEIVE_MAXIMUM, Value::Two(2)))?;
    client.subscribe(&Subscribe::to(&topic, 2))?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "one").qos(1))?;
    publisher.publish(&Publish::new(&topic, "two").qos(2))?;
    let (one, two) = (client.message()?, client.message()?);
    client.unsubscribe(&[topic.as_bytes()])?;
    client.answer(kind::PUBREC, two.packet_id, 0);
    client.ack(kind::PUBREL, two.packet_id)?;
    client.cut();
    // The delivery that is not over goes on with the session.
    let mut client = scene.connect(&scene.client("a").resume())?;
    client.ack(kind::PUBREL, two.packet_id)?;
    client.answer(kind::PUBCOMP, two.packet_id, 0);
    let again = client.take_payload("one")?;
    ensure!(again.packet_id == one.packet_id && again.dup, "{again:?}");
    client.quiet()
}

fn an_unknown_filter_is_answered_0x11(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    let answer = client.unsubscribe(&[scene.topic("never").as_bytes()])?;
    ensure!(answer.codes == [0x11], "{answer:?}");
    client.quiet()
}

fn several_filters_are_removed_at_once(scene: &Scene<'_>) -> Checked {
    let (one, two, three) = (scene.topic("1"), scene.topic("2"), scene.topic("3"));
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&one, 0).and(&two, 0).and(&three, 0))?;
    let never = scene.topic("never");
    let filters = [one.as_bytes(), never.as_bytes(), three.as_bytes(), one.as_bytes()];
    let answer = client.unsubscribe(&filters)?;
    ensure!(answer.codes == [0, 0x11, 0, 0x11], "{answer:?}");
    for topic in [&one, &three, &two] {
        client.publish(&Publish::new(topic, topic))?;
    }
    client.take_payload(&two)?;
    client.quiet()
}

fn unsuback_codes_are_listed(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    let answer = client.unsubscribe(&[topic.as_bytes(), topic.as_bytes()])?;
    ensure!(answer.codes == [0, 0x11], "{answer:?}");
    client.quiet()
}

fn after_suback_and_unsuback_the_identifier_is_free(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    let message = |qos| Publish::new(&topic, "x").qos(qos).id(7);
    for _ in 0..2 {
        client.send(&Subscribe::to(&topic, 0).to_bytes(7, Version::V5));
        let Packet::SubAck(answer) = client.expect(kind::SUBACK)? else {
            return Err("no SUBACK".into());
        };
        ensure!(answer.packet_id == 7 && answer.codes == [0], "SUBACK 0x00 of 7: {answer:?}");
        client.publish(&message(1))?;
        client.take_payload("x")?;
        client.send(&build::unsubscribe(7, &[topic.as_bytes()], Version::V5));
        let Packet::UnsubAck(answer) = client.expect(kind::UNSUBACK)? else {
            return Err("no UNSUBACK".into());
        };
        ensure!(answer.packet_id == 7 && answer.codes == [0], "UNSUBACK 0x00 of 7: {answer:?}");
        client.publish(&message(2))?;
    }
    client.quiet()
}
