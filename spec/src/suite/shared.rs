//! Shared subscriptions.

use std::time::{Duration, Instant};

use crate::case::{Case, Checked, Failure, Need, case, ensure};
use crate::client::{Client, Event};
use crate::scene::Scene;
use crate::wire::build::{NO_LOCAL, Subscribe};
use crate::wire::packet::{Packet, Publish, kind};
use crate::wire::property::{Value, id};
use crate::wire::{Version, build};

pub(super) const CASES: &[Case] = &[
    case!(no_local_on_a_share_is_refused, "MQTT-3.8.3-4", "MQTT-4.13.1-1").needs(SHARED),
    case!(a_share_has_a_name, "MQTT-4.8.2-1").needs(SHARED),
    case!(a_share_name_is_followed_by_a_filter, "MQTT-4.8.2-2").needs(SHARED),
    case!(a_share_delivers_to_one, "shared-delivery").needs(SHARED),
    case!(a_share_and_a_plain_subscription_are_separate, "shared-independence", "shared-delivery")
        .needs(SHARED),
    case!(shares_are_told_apart_by_the_whole_filter, "shared-identity").needs(SHARED),
    case!(a_share_name_takes_no_part_in_matching, "shared-matching").needs(SHARED),
    case!(a_share_gets_no_retained_messages, "shared-retained")
        .needs(&[Need::Shared, Need::Retain]),
    case!(each_member_gets_its_own_qos, "MQTT-4.8.2-3", "shared-qos")
        .needs(&[Need::Shared, Need::Qos2]),
    case!(a_begun_qos_2_delivery_stays_with_its_member, "MQTT-4.8.2-4")
        .needs(&[Need::Shared, Need::Qos2]),
    case!(a_begun_qos_2_delivery_ends_with_the_session, "MQTT-4.8.2-5")
        .needs(&[Need::Shared, Need::Qos2])
        .slow(),
    case!(a_refused_message_goes_to_nobody_else, "MQTT-4.8.2-6").needs(&[Need::Shared, Need::Qos2]),
    case!(an_unanswered_qos_1_message_is_not_lost, "shared-reroute")
        .needs(&[Need::Shared, Need::Qos1]),
    case!(an_unanswered_qos_1_message_goes_on_when_the_session_ends, "shared-reroute")
        .needs(&[Need::Shared, Need::Qos1])
        .advice()
        .slow(),
    case!(a_member_leaves_by_unsubscribe, "shared-leave").needs(SHARED),
    case!(what_waits_for_a_share_ends_with_it, "shared-end").needs(&[Need::Shared, Need::Qos1]),
    case!(joining_twice_counts_once, "shared-resubscribe").needs(SHARED),
    case!(a_busy_member_does_not_stop_the_share, "shared-busy-member")
        .needs(&[Need::Shared, Need::Qos1])
        .advice(),
    case!(a_share_gives_the_identifier_of_the_member, "subscription-identifier-only")
        .needs(&[Need::Shared, Need::Identifiers]),
    case!(a_share_survives_in_the_session, "shared-leave", "session-state")
        .needs(&[Need::Shared, Need::Qos1]),
];

const SHARED: &[Need] = &[Need::Shared];

fn share(scene: &Scene<'_>, topic: &str) -> String {
    format!("$share/{}/{topic}", scene.unique)
}

fn refused_filter(scene: &Scene<'_>, filter: &str, options: u8) -> Checked {
    let mut client = scene.start("a")?;
    client.send(&Subscribe::to(filter, options).to_bytes(1, Version::V5));
    match client.event()? {
        Event::Closed => Ok(()),
        Event::Packet(Packet::Disconnect(disconnect)) => {
            ensure!(matches!(disconnect.reason, 0x81 | 0x82 | 0x8F), "{filter}: {disconnect:?}");
            client.ended()
        }
        Event::Packet(Packet::SubAck(answer)) => {
            ensure!(answer.codes == [0x8F] || answer.codes == [0x80], "{filter}: {answer:?}");
            Ok(())
        }
        other => Err(Failure(format!("{filter}: {other:?} came"))),
    }
}

fn no_local_on_a_share_is_refused(scene: &Scene<'_>) -> Checked {
    let mut client = scene.start("a")?;
    let filter = share(scene, &scene.topic("a"));
    client.send(&Subscribe::to(filter, NO_LOCAL).to_bytes(1, Version::V5));
    client.refused(&[0x82])
}

fn a_share_has_a_name(scene: &Scene<'_>) -> Checked {
    for filter in ["$share//a", "$share/", "$share/name"] {
        refused_filter(scene, filter, 0)?;
    }
    Ok(())
}

fn a_share_name_is_followed_by_a_filter(scene: &Scene<'_>) -> Checked {
    for filter in ["$share/na+me/a", "$share/#/a", "$share/+/a", "$share/name/", "$share/n/a#"] {
        refused_filter(scene, filter, 0)?;
        let mut client = scene.start("b")?;
        client.send(&build::unsubscribe(1, &[filter.as_bytes()], Version::V5));
        match client.event()? {
            Event::Closed => {}
            Event::Packet(Packet::Disconnect(disconnect)) => {
                let code = disconnect.reason;
                ensure!(matches!(code, 0x81 | 0x82 | 0x8F), "{filter}: {disconnect:?}");
                client.ended()?;
            }
            Event::Packet(Packet::UnsubAck(answer)) => {
                ensure!(matches!(answer.codes.as_slice(), [0x80 | 0x8F]), "{filter}: {answer:?}");
            }
            other => return Err(Failure(format!("{filter}: {other:?} came"))),
        }
    }
    Ok(())
}

/// All messages that come to the clients, answered, until none of them gets any more.
fn drain(clients: &mut [&mut Client]) -> Checked<Vec<Vec<Publish>>> {
    let mut came = Vec::new();
    for client in clients.iter_mut() {
        let mut mine = Vec::new();
        while let Event::Packet(packet) = client.event_within(Duration::from_millis(80))? {
            match packet {
                Packet::Publish(publish) => {
                    match publish.qos {
                        1 => client.answer(kind::PUBACK, publish.packet_id, 0),
                        2 => client.answer(kind::PUBREC, publish.packet_id, 0),
                        _ => {}
                    }
                    mine.push(publish);
                }
                Packet::PubRel(release) => client.answer(kind::PUBCOMP, release.packet_id, 0),
                other => return Err(Failure(format!("{other:?} came"))),
            }
        }
        came.push(mine);
    }
    Ok(came)
}

fn payloads(came: &[Vec<Publish>]) -> Vec<String> {
    let mut all: Vec<String> = came
        .iter()
        .flatten()
        .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        .collect();
    all.sort();
    all
}

fn a_share_delivers_to_one(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let (mut one, mut two) = (scene.start("1")?, scene.start("2")?);
    for member in [&mut one, &mut two] {
        member.subscribe(&Subscribe::to(share(scene, &topic), 0))?;
    }
    let mut publisher = scene.start("p")?;
    for number in 0..6 {
        publisher.publish(&Publish::new(&topic, format!("{number}")))?;
    }
    publisher.alive()?;
    let came = drain(&mut [&mut one, &mut two])?;
    ensure!(payloads(&came) == ["0", "1", "2", "3", "4", "5"], "each once expected: {came:?}");
    Ok(())
}

fn a_share_and_a_plain_subscription_are_separate(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let (mut member, mut plain) = (scene.start("1")?, scene.start("2")?);
    let mut other = scene.start("3")?;
    member.subscribe(&Subscribe::to(share(scene, &topic), 0))?;
    other.subscribe(&Subscribe::to(format!("$share/other{}/{topic}", scene.unique), 0))?;
    plain.subscribe(&Subscribe::to(&topic, 0))?;
    let mut publisher = scene.start("p")?;
    publisher.publish(&Publish::new(&topic, "x"))?;
    publisher.alive()?;
    let came = drain(&mut [&mut member, &mut plain, &mut other])?;
    ensure!(came.iter().all(|mine| mine.len() == 1), "one for each expected: {came:?}");
    Ok(())
}

fn shares_are_told_apart_by_the_whole_filter(scene: &Scene<'_>) -> Checked {
    let (one, two) = (scene.topic("1"), scene.topic("2"));
    let (mut first, mut second) = (scene.start("1")?, scene.start("2")?);
    first.subscribe(&Subscribe::to(share(scene, &one), 0))?;
    second.subscribe(&Subscribe::to(share(scene, &two), 0))?;
    let mut publisher = scene.start("p")?;
    for number in 0..3 {
        publisher.publish(&Publish::new(&one, format!("one {number}")))?;
        publisher.publish(&Publish::new(&two, format!("two {number}")))?;
    }
    publisher.alive()?;
    let came = drain(&mut [&mut first, &mut second])?;
    ensure!(came.iter().all(|mine| mine.len() == 3), "three for each expected: {came:?}");
    let own = |mine: &[Publish], topic: &str| mine.iter().all(|one| one.topic == topic.as_bytes());
    ensure!(own(&came[0], &one) && own(&came[1], &two), "of its own topic: {came:?}");
    Ok(())
}

fn a_share_name_takes_no_part_in_matching(scene: &Scene<'_>) -> Checked {
    let topic = format!("/{}", scene.topic("a"));
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(share(scene, &topic), 0))?;
    client.publish(&Publish::new(&topic, "x"))?;
    let message = client.take_payload("x")?;
    ensure!(message.topic == topic.as_bytes(), "{message:?}");
    client.publish(&Publish::new(scene.topic("a"), "another topic"))?;
    client.quiet()
}

fn a_share_gets_no_retained_messages(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.publish(&Publish::new(&topic, "kept").retain())?;
    client.alive()?;
    for _ in 0..2 {
        client.subscribe(&Subscribe::to(share(scene, &topic), 0))?;
        client.quiet()?;
    }
    Ok(())
}

fn each_member_gets_its_own_qos(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut members = [scene.start("0")?, scene.start("1")?, scene.start("2")?];
    for (member, qos) in members.iter_mut().zip(0..) {
        member.subscribe(&Subscribe::to(share(scene, &topic), qos))?;
    }
    let mut publisher = scene.start("p")?;
    for number in 0..9 {
        publisher.publish(&Publish::new(&topic, format!("{number}")).qos(2))?;
    }
    let [zero, one, two] = &mut members;
    let came = drain(&mut [zero, one, two])?;
    for (mine, granted) in came.iter().zip(0..) {
        ensure!(mine.iter().all(|message| message.qos == granted), "granted {granted}: {mine:?}");
    }
    ensure!(payloads(&came).len() == 9, "each once expected: {came:?}");
    Ok(())
}

/// A share of two, a QoS 2 message begun with one of them: who has it, and who has not.
fn begun(scene: &Scene<'_>, expiry: u32) -> Checked<(Client, &'static str, Client, Publish)> {
    let topic = scene.topic("a");
    let mut one = scene.connect(&scene.client("1").expiry(expiry))?;
    let mut two = scene.connect(&scene.client("2").expiry(expiry))?;
    for member in [&mut one, &mut two] {
        member.subscribe(&Subscribe::to(share(scene, &topic), 2))?;
    }
    scene.start("p")?.publish(&Publish::new(&topic, "begun").qos(2))?;
    let (is_first, message) = of_either(scene, &mut one, &mut two)?;
    Ok(if is_first { (one, "1", two, message) } else { (two, "2", one, message) })
}

/// The message that comes to one of two clients, not answered, and whether it came to the first.
fn of_either(scene: &Scene<'_>, one: &mut Client, two: &mut Client) -> Checked<(bool, Publish)> {
    let end = Instant::now() + Duration::from_millis(scene.capabilities.patience_ms);
    while Instant::now() < end {
        for (is_first, client) in [(true, &mut *one), (false, &mut *two)] {
            match client.event_within(Duration::from_millis(50))? {
                Event::Packet(Packet::Publish(message)) => return Ok((is_first, message)),
                Event::Silence => {}
                other => return Err(Failure(format!("a message expected, {other:?} came"))),
            }
        }
    }
    Err("a message expected by either, and nothing came".into())
}

fn a_begun_qos_2_delivery_stays_with_its_member(scene: &Scene<'_>) -> Checked {
    let (holder, name, mut other, message) = begun(scene, 60)?;
    holder.cut();
    other.quiet()?;
    let mut holder = scene.connect(&scene.client(name).resume().expiry(60))?;
    let again = holder.take_payload("begun")?;
    ensure!(again.packet_id == message.packet_id && again.dup, "{again:?}");
    holder.quiet()?;
    other.quiet()
}

fn a_begun_qos_2_delivery_ends_with_the_session(scene: &Scene<'_>) -> Checked {
    let (holder, name, mut other, _) = begun(scene, 1)?;
    holder.cut();
    scene.wait_ms(2_200);
    other.quiet()?;
    let mut holder = scene.connect(&scene.client(name).resume())?;
    ensure!(!holder.connack.session_present, "the session has not expired");
    holder.quiet()?;
    other.quiet()
}

fn a_refused_message_goes_to_nobody_else(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    for (qos, answer) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        let (mut one, mut two) = (scene.start("1")?, scene.start("2")?);
        for member in [&mut one, &mut two] {
            member.subscribe(&Subscribe::to(share(scene, &topic), qos))?;
        }
        scene.start("p")?.publish(&Publish::new(&topic, "refused").qos(qos))?;
        let wait = Duration::from_millis(150);
        let (mut holder, mut other, message) = match one.event_within(wait)? {
            Event::Packet(Packet::Publish(message)) => (one, two, message),
            _ => {
                let message = two.message()?;
                (two, one, message)
            }
        };
        holder.answer(answer, message.packet_id, 0x83);
        holder.quiet()?;
        holder.cut();
        other.quiet()?;
    }
    Ok(())
}

fn an_unanswered_qos_1_message_is_not_lost(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut one = scene.connect(&scene.client("1").expiry(60))?;
    one.subscribe(&Subscribe::to(share(scene, &topic), 1))?;
    scene.start("p")?.publish(&Publish::new(&topic, "x").qos(1))?;
    one.message()?;
    let mut two = scene.connect(&scene.client("2").expiry(60))?;
    two.subscribe(&Subscribe::to(share(scene, &topic), 1))?;
    one.cut();
    // It waits for the first, or goes to the other.
    let mut one = scene.connect(&scene.client("1").resume())?;
    let (_, message) = of_either(scene, &mut one, &mut two)?;
    ensure!(message.payload == b"x", "{message:?}");
    Ok(())
}

fn an_unanswered_qos_1_message_goes_on_when_the_session_ends(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut one = scene.connect(&scene.client("1").expiry(1))?;
    one.subscribe(&Subscribe::to(share(scene, &topic), 1))?;
    scene.start("p")?.publish(&Publish::new(&topic, "x").qos(1))?;
    one.message()?;
    let mut two = scene.start("2")?;
    two.subscribe(&Subscribe::to(share(scene, &topic), 1))?;
    one.cut();
    scene.wait_ms(2_200);
    two.take_payload("x")?;
    two.quiet()
}

fn what_waits_for_a_share_ends_with_it(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let filter = share(scene, &topic);
    let mut member = scene.connect(&scene.client("1").expiry(60))?;
    member.subscribe(&Subscribe::to(&filter, 1))?;
    member.disconnect()?;
    scene.start("p")?.publish(&Publish::new(&topic, "waits").qos(1))?;
    // Its last session ends by a clean start.
    let mut member = scene.start("1")?;
    member.subscribe(&Subscribe::to(&filter, 1))?;
    member.quiet()
}

fn a_member_leaves_by_unsubscribe(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let filter = share(scene, &topic);
    let (mut one, mut two) = (scene.start("1")?, scene.start("2")?);
    one.subscribe(&Subscribe::to(&filter, 0))?;
    two.subscribe(&Subscribe::to(&filter, 0))?;
    let answer = one.unsubscribe(&[topic.as_bytes()])?;
    ensure!(answer.codes == [0x11], "the plain filter is not subscribed: {answer:?}");
    let answer = one.unsubscribe(&[filter.as_bytes()])?;
    ensure!(answer.codes == [0], "{answer:?}");
    let mut publisher = scene.start("p")?;
    for _ in 0..3 {
        publisher.publish(&Publish::new(&topic, "x"))?;
        two.take_payload("x")?;
    }
    one.quiet()?;
    two.disconnect()?;
    publisher.publish(&Publish::new(&topic, "to nobody"))?;
    publisher.alive()?;
    one.subscribe(&Subscribe::to(&filter, 0))?;
    one.quiet()
}

fn joining_twice_counts_once(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let filter = share(scene, &topic);
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&filter, 0))?;
    client.subscribe(&Subscribe::to(&filter, 1))?;
    client.publish(&Publish::new(&topic, "once"))?;
    client.take_payload("once")?;
    client.quiet()?;
    client.unsubscribe(&[filter.as_bytes()])?;
    client.publish(&Publish::new(&topic, "to nobody"))?;
    client.quiet()
}

fn a_busy_member_does_not_stop_the_share(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut busy = scene.connect(&scene.client("1").with(id::RECEIVE_MAXIMUM, Value::Two(1)))?;
    let mut free = scene.start("2")?;
    for member in [&mut busy, &mut free] {
        member.subscribe(&Subscribe::to(share(scene, &topic), 1))?;
    }
    let mut publisher = scene.start("p")?;
    for number in 0..6 {
        publisher.publish(&Publish::new(&topic, format!("{number}")).qos(1))?;
    }
    // The busy one answers nothing, so all but its one go to the other.
    for _ in 0..5 {
        free.take()?;
    }
    Ok(())
}

fn a_share_gives_the_identifier_of_the_member(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let (mut one, mut two) = (scene.start("1")?, scene.start("2")?);
    one.subscribe(&Subscribe::to(share(scene, &topic), 0).id(1))?;
    two.subscribe(&Subscribe::to(share(scene, &topic), 0).id(2))?;
    let mut publisher = scene.start("p")?;
    for _ in 0..4 {
        publisher.publish(&Publish::new(&topic, "x"))?;
    }
    publisher.alive()?;
    let came = drain(&mut [&mut one, &mut two])?;
    for (mine, identifier) in came.iter().zip([1, 2]) {
        for message in mine {
            let ids = message.properties.all(id::SUBSCRIPTION_IDENTIFIER);
            ensure!(ids == [&Value::Variable(identifier)], "{identifier} expected: {message:?}");
        }
    }
    ensure!(came.iter().flatten().count() == 4, "{came:?}");
    Ok(())
}

fn a_share_survives_in_the_session(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(share(scene, &topic), 1))?;
    client.disconnect()?;
    let mut client = scene.connect(&scene.client("a").resume())?;
    client.publish(&Publish::new(&topic, "x").qos(1))?;
    client.take_payload("x")?;
    client.quiet()
}
