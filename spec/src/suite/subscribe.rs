//! SUBSCRIBE and SUBACK, overlapping subscriptions, and subscription identifiers.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::build::{NO_LOCAL, Subscribe};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Value, id};
use crate::wire::{Version, encode, framed};

pub(super) const CASES: &[Case] = &[
    case!(a_code_about_the_whole_is_given_for_each_filter, "subscribe-common-code")
        .needs(&[Need::Qos2]),
    case!(subscribe_is_answered, "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-2.2.1-6"),
    case!(a_subscribe_without_filters_is_refused, "MQTT-3.8.3-2", "MQTT-4.13.1-1"),
    case!(reserved_option_bits_are_malformed, "MQTT-3.8.3-5", "MQTT-4.13.1-1"),
    case!(options_out_of_range_are_refused, "subscribe-options-invalid"),
    case!(no_local_keeps_own_messages_away, "MQTT-3.8.3-3"),
    case!(no_local_goes_by_client_identifier, "MQTT-3.8.3-3", "no-local").needs(&[Need::Qos1]),
    case!(a_subscription_is_replaced, "MQTT-3.8.4-3").needs(&[Need::Qos1]),
    case!(replacing_loses_no_message, "MQTT-3.8.4-4").needs(&[Need::Qos1]),
    case!(retained_messages_come_again_on_replacing, "MQTT-3.8.4-4").needs(&[Need::Retain]),
    case!(several_filters_are_several_subscriptions, "MQTT-3.8.4-5", "MQTT-3.8.4-6")
        .needs(&[Need::Qos1]),
    case!(the_same_filter_twice_in_one_packet, "MQTT-3.8.4-5", "MQTT-3.8.4-3").needs(&[Need::Qos1]),
    case!(a_code_for_each_filter_in_order, "MQTT-3.8.4-6", "MQTT-3.9.3-1", "MQTT-3.8.4-7")
        .needs(&[Need::Qos2]),
    case!(suback_codes_are_listed, "MQTT-3.9.3-2", "MQTT-3.8.4-7", "subscribe-lower-grant"),
    case!(overlapping_subscriptions_deliver_the_highest_qos, "MQTT-3.3.4-2", "overlapping")
        .needs(&[Need::Qos2, Need::Wildcards]),
    case!(
        overlapping_subscriptions_give_their_identifiers,
        "MQTT-3.3.4-3",
        "MQTT-3.3.4-4",
        "MQTT-3.3.4-5"
    )
    .needs(&[Need::Identifiers, Need::Wildcards]),
    case!(an_identifier_comes_with_the_message, "subscription-identifier")
        .needs(&[Need::Identifiers]),
    case!(an_identifier_out_of_range_is_refused, "subscription-identifier")
        .needs(&[Need::Identifiers]),
    case!(an_identifier_goes_with_every_filter_of_the_packet, "subscription-identifier")
        .needs(&[Need::Identifiers]),
    case!(no_identifier_means_none, "subscription-identifier", "subscription-identifier-only")
        .needs(&[Need::Identifiers]),
    case!(
        an_identifier_is_replaced_with_its_subscription,
        "MQTT-3.8.4-3",
        "subscription-identifier-lifetime"
    )
    .needs(&[Need::Identifiers]),
    case!(one_identifier_of_several_subscriptions_comes_for_each, "subscription-identifier-repeat")
        .needs(&[Need::Identifiers, Need::Wildcards]),
    case!(retained_messages_carry_the_identifier, "subscription-identifier-retained")
        .needs(&[Need::Identifiers, Need::Retain]),
    case!(identifiers_survive_in_the_session, "subscription-identifier-lifetime", "session-state")
        .needs(&[Need::Identifiers]),
    case!(
        a_refused_filter_harms_no_other,
        "filter-refused",
        "error-acknowledged",
        "MQTT-3.9.3-2",
        "MQTT-3.9.3-1"
    )
    .needs(&[Need::RefusedFilter]),
    case!(an_identifier_ends_with_its_session, "subscription-identifier-lifetime")
        .needs(&[Need::Identifiers]),
];

fn a_code_about_the_whole_is_given_for_each_filter(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.send(&encode::publish(&Publish::new(&topic, "x").qos(2).id(7), Version::V5));
    client.ack(kind::PUBREC, 7)?;
    client.send(&Subscribe::to(&topic, 0).and(scene.topic("b"), 1).to_bytes(7, Version::V5));
    let Packet::SubAck(answer) = client.expect(kind::SUBACK)? else { return Ok(()) };
    ensure!(answer.codes.len() == 2, "two codes expected: {answer:?}");
    let in_use = answer.codes.iter().filter(|code| **code == 0x91).count();
    ensure!(in_use == 0 || in_use == 2, "0x91 is about both filters: {answer:?}");
    Ok(())
}

fn subscribe_is_answered(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    for packet_id in [1, 0x1234, 0xFFFF] {
        client.send(&Subscribe::to(&topic, 0).to_bytes(packet_id, Version::V5));
        let answer = client.expect(9)?;
        let crate::wire::packet::Packet::SubAck(answer) = answer else {
            return Err("no SUBACK".into());
        };
        ensure!(answer.packet_id == packet_id, "SUBACK of {packet_id} expected: {answer:?}");
    }
    client.quiet()
}

fn a_subscribe_without_filters_is_refused(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&framed(0x82, &[0, 1, 0]));
    client.refused(&[0x81, 0x82])
}

fn refused_options(scene: &Scene<'_>, options: u8, codes: &[u8]) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&Subscribe::to(scene.topic("a"), options).to_bytes(1, Version::V5));
    client.refused(codes)
}

fn reserved_option_bits_are_malformed(scene: &Scene<'_>) -> Checked {
    refused_options(scene, 0x40, &[0x81, 0x82])?;
    refused_options(scene, 0x80, &[0x81, 0x82])
}

fn options_out_of_range_are_refused(scene: &Scene<'_>) -> Checked {
    refused_options(scene, 0x03, &[0x81, 0x82])?;
    refused_options(scene, 0x30, &[0x81, 0x82])
}

fn no_local_keeps_own_messages_away(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, NO_LOCAL))?;
    client.publish(&Publish::new(&topic, "mine"))?;
    let mut other = scene.start("b")?;
    other.publish(&Publish::new(&topic, "theirs"))?;
    client.take_payload("theirs")?;
    client.quiet()
}

fn no_local_goes_by_client_identifier(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 1 | NO_LOCAL))?;
    // Published on this connection, it does not come on the next one either.
    client.publish(&Publish::new(&topic, "earlier").qos(1))?;
    client.disconnect()?;
    let mut client = scene.connect(&scene.client("a").resume())?;
    client.quiet()?;
    client.publish(&Publish::new(&topic, "mine").qos(1))?;
    client.quiet()
}

fn a_subscription_is_replaced(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    client.publish(&Publish::new(&topic, "x").qos(1))?;
    let message = client.take_payload("x")?;
    ensure!(message.qos == 1, "the new maximum QoS is 1: {message:?}");
    client.quiet()?;
    client.subscribe(&Subscribe::to(&topic, 1 | NO_LOCAL))?;
    client.publish(&Publish::new(&topic, "x").qos(1))?;
    client.quiet()
}

fn replacing_loses_no_message(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    let mut publisher = scene.start("p")?;
    for number in 0..10 {
        publisher.send_publish(&Publish::new(&topic, format!("{number}")).qos(1));
        client.subscribe(&Subscribe::to(&topic, 1))?;
    }
    for number in 0..10 {
        client.take_payload(&format!("{number}"))?;
    }
    client.quiet()
}

fn retained_messages_come_again_on_replacing(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.publish(&Publish::new(&topic, "kept").retain())?;
    client.alive()?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.take_payload("kept")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.take_payload("kept")?;
    client.quiet()
}

fn several_filters_are_several_subscriptions(scene: &Scene<'_>) -> Checked {
    let (one, two, three) = (scene.topic("1"), scene.topic("2"), scene.topic("3"));
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&one, 0).and(&two, 1).and(&three, NO_LOCAL))?;
    for topic in [&one, &two, &three] {
        client.publish(&Publish::new(topic, "x").qos(1))?;
    }
    let message = client.take()?;
    ensure!(message.topic == one.as_bytes() && message.qos == 0, "{message:?}");
    let message = client.take()?;
    ensure!(message.topic == two.as_bytes() && message.qos == 1, "{message:?}");
    client.quiet()
}

fn the_same_filter_twice_in_one_packet(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 1).and(&topic, 0))?;
    client.publish(&Publish::new(&topic, "x").qos(1))?;
    let message = client.take_payload("x")?;
    ensure!(message.qos == 0, "the second stands: {message:?}");
    client.quiet()
}

fn a_code_for_each_filter_in_order(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    let subscribe = Subscribe::to(scene.topic("1"), 2)
        .and(scene.topic("2"), 0)
        .and(scene.topic("3"), 1)
        .and(scene.topic("4"), 0);
    let answer = client.subscribe(&subscribe)?;
    ensure!(answer.codes == [2, 0, 1, 0], "2, 0, 1, 0 were asked for: {answer:?}");
    Ok(())
}

fn suback_codes_are_listed(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    for qos in 0..3 {
        let answer = client.subscribe(&Subscribe::to(scene.topic("a"), qos))?;
        let highest = qos.min(scene.capabilities.maximum_qos);
        ensure!(answer.codes.iter().all(|code| *code <= highest), "{qos} asked for: {answer:?}");
    }
    client.quiet()
}

fn overlapping_subscriptions_deliver_the_highest_qos(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a/b");
    let mut client = scene.start("a")?;
    let subscribe =
        Subscribe::to(scene.topic("+/b"), 0).and(scene.topic("a/+"), 2).and(scene.topic("#"), 1);
    client.subscribe(&subscribe)?;
    client.publish(&Publish::new(&topic, "x").qos(2))?;
    let mut qos = vec![client.take_payload("x")?.qos];
    // One copy, or one for each subscription.
    while let crate::client::Event::Packet(crate::wire::packet::Packet::Publish(more)) =
        client.event_within(std::time::Duration::from_millis(60))?
    {
        qos.push(more.qos);
        match more.qos {
            1 => client.answer(4, more.packet_id, 0),
            2 => client.answer(5, more.packet_id, 0),
            _ => {}
        }
    }
    qos.sort_unstable();
    ensure!(qos == [2] || qos == [0, 1, 2], "copies at {qos:?}");
    Ok(())
}

/// The identifiers of each copy of one message.
fn copies(client: &mut crate::client::Client) -> Checked<Vec<Vec<u32>>> {
    let mut copies = Vec::new();
    let mut message = client.take()?;
    loop {
        let mut ids = Vec::new();
        for value in message.properties.all(id::SUBSCRIPTION_IDENTIFIER) {
            if let Value::Variable(value) = value {
                ids.push(*value);
            }
        }
        copies.push(ids);
        match client.event_within(std::time::Duration::from_millis(60))? {
            crate::client::Event::Packet(crate::wire::packet::Packet::Publish(more)) => {
                message = more;
            }
            _ => break,
        }
    }
    Ok(copies)
}

fn sorted(copies: &[Vec<u32>]) -> Vec<u32> {
    let mut ids = copies.concat();
    ids.sort_unstable();
    ids
}

fn overlapping_subscriptions_give_their_identifiers(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(scene.topic("+/b"), 0).id(7))?;
    client.subscribe(&Subscribe::to(scene.topic("a/+"), 0).id(8))?;
    client.subscribe(&Subscribe::to(scene.topic("a/b"), 0))?;
    client.subscribe(&Subscribe::to(scene.topic("other"), 0).id(9))?;
    client.publish(&Publish::new(scene.topic("a/b"), "x"))?;
    let copies = copies(&mut client)?;
    ensure!(sorted(&copies) == [7, 8], "identifiers 7 and 8 expected, {copies:?} came");
    if copies.len() == 1 {
        scene.nothing_to_judge("MQTT-3.3.4-5");
        return Ok(());
    }
    scene.nothing_to_judge("MQTT-3.3.4-3");
    scene.nothing_to_judge("MQTT-3.3.4-4");
    // Each copy is of one subscription.
    let own = copies.iter().all(|ids| ids.len() <= 1);
    ensure!(own, "[MQTT-3.3.4-5] identifiers of other subscriptions in a copy: {copies:?}");
    Ok(())
}

fn one_identifier(client: &mut crate::client::Client, expected: Option<u32>) -> Checked {
    let message = client.take()?;
    let ids = message.properties.all(id::SUBSCRIPTION_IDENTIFIER);
    let expected: Vec<Value> = expected.into_iter().map(Value::Variable).collect();
    ensure!(ids == expected.iter().collect::<Vec<_>>(), "{expected:?} expected: {message:?}");
    Ok(())
}

fn an_identifier_comes_with_the_message(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    for identifier in [1, 127, 128, 16_384, 268_435_455] {
        let topic = scene.topic(&format!("{identifier}"));
        client.subscribe(&Subscribe::to(&topic, 0).id(identifier))?;
        client.publish(&Publish::new(&topic, "x"))?;
        one_identifier(&mut client, Some(identifier))?;
    }
    client.quiet()
}

fn an_identifier_out_of_range_is_refused(scene: &Scene<'_>) -> Checked {
    let zero = Subscribe::to(scene.topic("a"), 0).id(0);
    let two = Subscribe::to(scene.topic("a"), 0).id(1).id(2);
    for subscribe in [zero, two] {
        let mut client = scene.start("a")?;
        client.send(&subscribe.to_bytes(1, Version::V5));
        client.refused(&[0x81, 0x82])?;
    }
    Ok(())
}

fn an_identifier_goes_with_every_filter_of_the_packet(scene: &Scene<'_>) -> Checked {
    let (one, two) = (scene.topic("1"), scene.topic("2"));
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&one, 0).and(&two, 0).id(5))?;
    for topic in [one, two] {
        client.publish(&Publish::new(&topic, "x"))?;
        one_identifier(&mut client, Some(5))?;
    }
    client.quiet()
}

fn no_identifier_means_none(scene: &Scene<'_>) -> Checked {
    let (one, two) = (scene.topic("1"), scene.topic("2"));
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&one, 0).id(5))?;
    client.subscribe(&Subscribe::to(&two, 0))?;
    client.publish(&Publish::new(&two, "x"))?;
    one_identifier(&mut client, None)?;
    client.quiet()
}

fn an_identifier_is_replaced_with_its_subscription(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    for identifier in [Some(5), Some(6), None] {
        let subscribe = Subscribe::to(&topic, 0);
        let subscribe = match identifier {
            Some(identifier) => subscribe.id(identifier),
            None => subscribe,
        };
        client.subscribe(&subscribe)?;
        client.publish(&Publish::new(&topic, "x"))?;
        one_identifier(&mut client, identifier)?;
    }
    client.subscribe(&Subscribe::to(&topic, 0).id(7))?;
    client.unsubscribe(&[topic.as_bytes()])?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.publish(&Publish::new(&topic, "x"))?;
    one_identifier(&mut client, None)?;
    client.quiet()
}

fn one_identifier_of_several_subscriptions_comes_for_each(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(scene.topic("+/b"), 0).and(scene.topic("a/+"), 0).id(7))?;
    client.publish(&Publish::new(scene.topic("a/b"), "x"))?;
    let copies = copies(&mut client)?;
    ensure!(sorted(&copies) == [7, 7], "identifier 7 twice expected, {copies:?} came");
    Ok(())
}

fn retained_messages_carry_the_identifier(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.publish(&Publish::new(&topic, "kept").retain())?;
    client.alive()?;
    client.subscribe(&Subscribe::to(&topic, 0).id(11))?;
    one_identifier(&mut client, Some(11))?;
    client.quiet()
}

fn identifiers_survive_in_the_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 0).id(11))?;
    client.disconnect()?;
    let mut client = scene.connect(&scene.client("a").resume())?;
    client.publish(&Publish::new(&topic, "x"))?;
    one_identifier(&mut client, Some(11))?;
    client.quiet()
}

fn a_refused_filter_harms_no_other(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    let refused = scene.refused_filter()?;
    let answer = client.subscribe_answer(&Subscribe::to(refused, 0).and(&topic, 0))?;
    ensure!(
        matches!(answer.codes.as_slice(), [0x80 | 0x83 | 0x87 | 0x8F | 0x97, 0]),
        "the second filter is granted: {answer:?}"
    );
    client.publish(&Publish::new(&topic, "x"))?;
    client.take_payload("x")?;
    client.quiet()
}

fn an_identifier_ends_with_its_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0).id(7))?;
    client.disconnect()?;
    let mut client = scene.connect(&scene.client("a").resume())?;
    ensure!(!client.connack.session_present, "a session without expiry is still there");
    client.subscribe(&Subscribe::to(&topic, 0))?;
    client.publish(&Publish::new(&topic, "x"))?;
    one_identifier(&mut client, None)?;
    client.quiet()
}
