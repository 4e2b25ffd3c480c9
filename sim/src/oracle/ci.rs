//! CI: a message arrives as it was published, with the QoS, RETAIN and subscription identifiers
//! that its receiver's subscriptions call for.

use crate::history::{Event, Violation};
use crate::oracle::model::{Delivery, Model, Publication, Seen, Session, Subscription};
use crate::oracle::properties as property;
use crate::oracle::rule::{Rule, violation};

/// Judges CI.
#[derive(Default)]
pub(crate) struct Content {
    /// What subscriptions call for is not judged: nobody knows which there are.
    has_waived: bool,
}

impl Rule for Content {
    fn waive(&mut self) -> bool {
        self.has_waived = true;
        true
    }

    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let Some(id) = delivery.publication else { return Ok(()) };
        let publication = &model.publications[id];
        let session = &model.sessions[delivery.session];
        let level = model.connections.get(&delivery.connection).map_or(5, |found| found.level());
        let called_for = || {
            let is_judged = !self.has_waived;
            is_judged.then(|| called_for(publication, delivery, session, level)).flatten()
        };
        let wrong = same(publication, delivery, level).or_else(called_for);
        let Some(wrong) = wrong.filter(|_| session.hostile.is_none()) else { return Ok(()) };
        let what = format!(
            "{} on {:?} reached {:?} changed: {wrong}",
            publication.name(),
            publication.topic,
            session.client_id,
        );
        Err(violation("CI", what, [publication.first().index, delivery.moment.index]))
    }
}

/// What differs from the publication itself.
fn same(publication: &Publication, delivery: &Delivery, level: u8) -> Option<String> {
    if delivery.topic != publication.topic {
        return Some(format!("its topic is {:?}", delivery.topic));
    }
    if delivery.payload != publication.payload {
        return Some("its payload differs".to_owned());
    }
    let expected =
        if level < 5 { Vec::new() } else { property::forwarded(&publication.properties) };
    let found = property::forwarded(&delivery.properties);
    (expected != found).then(|| format!("properties {expected:?} expected, {found:?} read"))
}

/// What differs from every copy that the subscriptions can call for.
fn called_for(
    publication: &Publication,
    delivery: &Delivery,
    session: &Session,
    level: u8,
) -> Option<String> {
    let plain: Vec<&Subscription> =
        session.possible(publication).filter(|found| found.share.is_none()).collect();
    let single = |found: &Subscription, retain: bool| {
        let ids: Vec<u32> =
            Some(found.id).filter(|id| *id != 0 && level >= 5).into_iter().collect();
        found.qos.min(publication.qos) == delivery.qos
            && retain == delivery.retain
            && ids == sorted_ids(delivery)
    };
    let as_published = |found: &Subscription| publication.retain && found.retain_as_published;
    // Before SUBACK the QoS granted is not known; one that is refused part of it is rare enough.
    let is_shared = session
        .possible(publication)
        .filter(|found| found.share.is_some())
        .any(|found| single(found, as_published(found)));
    let is_replay = session.replays(publication).any(|found| single(found, true));
    if is_shared || is_replay || merged(publication, delivery, &plain, level) {
        return None;
    }
    Some(format!(
        "QoS {}, RETAIN {} and subscription identifiers {:?} fit no copy that {} subscriptions \
         call for",
        delivery.qos,
        u8::from(delivery.retain),
        sorted_ids(delivery),
        plain.len(),
    ))
}

/// Whether the delivery can be the one copy for all subscriptions that are not shared.
fn merged(
    publication: &Publication,
    delivery: &Delivery,
    plain: &[&Subscription],
    level: u8,
) -> bool {
    let stable: Vec<&Subscription> =
        plain.iter().copied().filter(|found| found.is_stable(publication)).collect();
    let qos = |found: &&Subscription| found.qos.min(publication.qos);
    let least = stable.iter().map(qos).max().unwrap_or(0);
    let fits_qos = delivery.qos >= least && plain.iter().any(|found| qos(found) == delivery.qos);
    let asks = |found: &&Subscription| found.retain_as_published;
    let fits_retain = if delivery.retain {
        publication.retain && plain.iter().any(asks)
    } else {
        !(publication.retain && stable.iter().any(asks))
    };
    let ids = sorted_ids(delivery);
    let has = |found: &&Subscription| found.id == 0 || ids.contains(&found.id);
    let fits_ids = if level < 5 {
        ids.is_empty()
    } else {
        stable.iter().all(has) && ids.iter().all(|id| plain.iter().any(|found| found.id == *id))
    };
    !plain.is_empty() && fits_qos && fits_retain && fits_ids
}

fn sorted_ids(delivery: &Delivery) -> Vec<u32> {
    let mut ids = property::numbers(&delivery.properties, property::SUBSCRIPTION_ID);
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use super::Content;
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, fails, number, passes, publish_of};
    use crate::packet::{Packet, Property, Publish, Value};

    fn two() -> Told {
        let mut told = Told::new();
        told.connect(1, "a").connect(2, "b").subscribe_with(2, "t", 1, 7);
        told
    }

    fn user(name: &str) -> Property {
        Property { id: property::USER_PROPERTY, value: Value::Pair(name.into(), "v".into()) }
    }

    fn with(ids: &[u32], token: &str, qos: u8) -> Publish {
        let properties = ids.iter().map(|id| number(property::SUBSCRIPTION_ID, *id)).collect();
        Publish { properties, ..publish_of("t", token, qos, 9) }
    }

    #[test]
    fn one_copy_has_all_identifiers_and_the_highest_qos() {
        let mut told = two();
        told.subscribe_with(2, "#", 2, 8)
            .publish(1, "t", "one", 2)
            .reads(2, with(&[8, 7], "one", 2));
        passes(Content::default(), &told);
    }

    #[test]
    fn a_subscription_on_its_way_may_count_or_not() {
        for (ids, qos) in [(&[7][..], 1), (&[7, 8], 2)] {
            let mut told = two();
            let filters = vec![("#".to_owned(), 2)];
            let properties = vec![number(property::SUBSCRIPTION_ID, 8)];
            told.sent(2, Packet::Subscribe { id: 3, filters, properties });
            told.publish(1, "t", "one", 2).reads(2, with(ids, "one", qos));
            passes(Content::default(), &told);
        }
    }

    #[test]
    fn properties_travel_in_order() {
        let mut told = two();
        let properties = vec![user("x"), user("y")];
        told.publishes(1, Publish { properties, ..publish_of("t", "one", 1, 4) });
        let properties = vec![number(property::SUBSCRIPTION_ID, 7), user("x"), user("y")];
        told.reads(2, Publish { properties, ..publish_of("t", "one", 1, 4) });
        passes(Content::default(), &told);
    }

    #[test]
    fn a_changed_order_of_properties_is_wrong() {
        let mut told = two();
        let properties = vec![user("x"), user("y")];
        told.publishes(1, Publish { properties, ..publish_of("t", "one", 1, 4) });
        let properties = vec![number(property::SUBSCRIPTION_ID, 7), user("y"), user("x")];
        told.reads(2, Publish { properties, ..publish_of("t", "one", 1, 4) });
        fails(Content::default(), &told, "CI");
    }

    #[test]
    fn a_lower_qos_than_granted_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 2).reads(2, with(&[7], "one", 0));
        fails(Content::default(), &told, "CI");
    }

    #[test]
    fn a_missing_identifier_is_wrong() {
        let mut told = two();
        told.publish(1, "t", "one", 1).reads(2, with(&[], "one", 1));
        fails(Content::default(), &told, "CI");
    }

    #[test]
    fn retain_without_retain_as_published_is_wrong() {
        let mut told = two();
        told.subscribe_with(2, "t", 0x21, 7).retain(1, "t", "one", 1);
        told.reads(2, Publish { retain: true, ..with(&[7], "one", 1) });
        fails(Content::default(), &told, "CI");
    }

    #[test]
    fn another_topic_is_wrong() {
        let mut told = two();
        told.subscribe_with(2, "#", 1, 7).publish(1, "t", "one", 1);
        told.reads(2, Publish { topic: "u".into(), ..with(&[7], "one", 1) });
        fails(Content::default(), &told, "CI");
    }
}
