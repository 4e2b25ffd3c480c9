//! The subscription tree and the retained store against models that look at everything one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use signalhouse_core::hash::KeyedState;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::routing::retained::{RetainedStore, Scan};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::routing::tree::SubscriptionTree;
use signalhouse_core::wire::types::{QoS, Text};
use signalhouse_core::{Seed, Time};

/// Levels that are empty, begin with `$`, begin alike, or stand beside `/` and the wildcards in the
/// order of bytes; the last one is too long to be kept in a tree's node.
const LEVELS: [&str; 8] = ["", "a", "b", "ab", "$a", "!", "a!", "abcdefghijklmnopqrstuvwxyz"];

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&LEVELS[..])
}

fn topic() -> impl Strategy<Value = Topic> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter_map("an empty topic", |name| Topic::try_from(name.as_str()).ok())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![2 => level(), 1 => Just("+")];
    let share = prop_oneof![4 => Just(""), 1 => Just("$share/s/")];
    (share, prop::collection::vec(level, 0..5), any::<bool>())
        .prop_map(|(share, mut levels, hash)| {
            if hash {
                levels.push("#");
            }
            format!("{share}{}", levels.join("/"))
        })
        .prop_filter_map("an empty filter", |text| TopicFilter::try_from(text.as_str()).ok())
}

#[derive(Clone, Debug)]
enum TreeStep {
    Insert(TopicFilter, u32, u16),
    Remove(TopicFilter, u32),
    /// Takes out the subscription at this place among those there are.
    RemoveOne(prop::sample::Index),
    Match(Topic),
}

fn tree_step() -> impl Strategy<Value = TreeStep> {
    prop_oneof![
        4 => (filter(), 0..6_u32, any::<u16>())
            .prop_map(|(filter, key, value)| TreeStep::Insert(filter, key, value)),
        1 => (filter(), 0..6_u32).prop_map(|(filter, key)| TreeStep::Remove(filter, key)),
        2 => any::<prop::sample::Index>().prop_map(TreeStep::RemoveOne),
        3 => topic().prop_map(TreeStep::Match),
    ]
}

fn matched(text: &TopicFilter) -> TopicFilter {
    let text = std::str::from_utf8(text.match_bytes()).expect("a filter is UTF-8");
    TopicFilter::try_from(text).expect("a filter's matched part is a filter")
}

/// A place among a tree's matches: by level `#`, the end, `+`, others; then by key.
fn tree_order(filter: &TopicFilter, key: u32) -> (Vec<u8>, u32) {
    let mut order: Vec<u8> = filter
        .levels()
        .map(|level| match level {
            b"#" => 0,
            b"+" => 2,
            _ => 3,
        })
        .collect();
    order.push(1);
    (order, key)
}

fn config() -> ProptestConfig {
    // A failure prints its smallest input, which then becomes a test of its own.
    ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_tree_agrees_with_a_list(steps in prop::collection::vec(tree_step(), 0..120)) {
        let mut tree = SubscriptionTree::new(KeyedState::new(Seed(7)));
        let mut model: BTreeMap<(TopicFilter, u32), u16> = BTreeMap::new();
        for step in steps {
            match step {
                TreeStep::Insert(filter, key, value) => {
                    let old = model.insert((matched(&filter), key), value);
                    prop_assert_eq!(tree.insert(&filter, key, value), old);
                    prop_assert_eq!(tree.get(&filter, key), Some(&value));
                }
                TreeStep::Remove(filter, key) => {
                    let old = model.remove(&(matched(&filter), key));
                    prop_assert_eq!(tree.remove(&filter, key), old);
                    prop_assert_eq!(tree.get(&filter, key), None);
                }
                TreeStep::RemoveOne(_) if model.is_empty() => {}
                TreeStep::RemoveOne(place) => {
                    let at = place.index(model.len());
                    let (filter, key) = model.keys().nth(at).expect("within the length").clone();
                    let old = model.remove(&(filter.clone(), key));
                    prop_assert_eq!(tree.remove(&filter, key), old);
                }
                TreeStep::Match(topic) => {
                    let mut expected: Vec<_> = model
                        .iter()
                        .filter(|((filter, _), _)| filter.matches(&topic))
                        .map(|((filter, key), value)| (tree_order(filter, *key), *value))
                        .collect();
                    expected.sort_unstable();
                    let expected: Vec<_> =
                        expected.into_iter().map(|((_, key), value)| (key, value)).collect();
                    let mut found = Vec::new();
                    tree.clone().for_each_match(&topic, |key, value| found.push((key, *value)));
                    prop_assert_eq!(found, expected);
                }
            }
            prop_assert_eq!(tree.len(), model.len());
        }
        for (filter, key) in model.into_keys() {
            prop_assert!(tree.remove(&filter, key).is_some());
        }
        prop_assert_eq!(tree.node_count(), 1);
    }
}

#[derive(Clone, Debug)]
enum StoreStep {
    Set(Topic, u8, Option<u64>),
    Clear(Topic),
    Expire(u64, usize),
    /// Takes one step of the scan, with this budget.
    Scan(usize),
}

fn store_step() -> impl Strategy<Value = StoreStep> {
    prop_oneof![
        3 => (topic(), any::<u8>(), prop::option::of(0..50_u64))
            .prop_map(|(topic, size, expiry)| StoreStep::Set(topic, size, expiry)),
        1 => topic().prop_map(StoreStep::Clear),
        1 => (0..50_u64, 0..4_usize).prop_map(|(now, budget)| StoreStep::Expire(now, budget)),
        3 => (0..4_usize).prop_map(StoreStep::Scan),
    ]
}

fn message(id: u64, topic: &Topic, size: u8, expires_at_ms: Option<u64>) -> Arc<Message> {
    Arc::new(Message {
        id: MessageId(id),
        topic: topic.clone(),
        payload: Bytes::from(vec![0; usize::from(size)]),
        qos: QoS::AtMostOnce,
        expires_at: expires_at_ms.map(Time::from_ms),
        properties: None,
    })
}

/// The store's order: level by level.
fn store_order(topic: &Topic) -> Vec<Vec<u8>> {
    topic.levels().map(<[u8]>::to_vec).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_store_agrees_with_a_map_and_scans_survive_changes(
        before in prop::collection::vec((topic(), any::<u8>(), prop::option::of(0..50_u64)), 0..40),
        filter in filter(),
        steps in prop::collection::vec(store_step(), 0..80),
    ) {
        let mut store = RetainedStore::new();
        let mut model: BTreeMap<Vec<Vec<u8>>, Arc<Message>> = BTreeMap::new();
        let first = before.into_iter().map(|(topic, size, expiry)| StoreStep::Set(topic, size, expiry));
        let mut after: Option<Topic> = None;
        // Topics that were there at the beginning of the scan and have not gone since.
        let mut lasting: Option<Vec<Topic>> = None;
        let mut found: Vec<Topic> = Vec::new();
        for (step, id) in first.chain(steps).zip(0..) {
            match step {
                StoreStep::Set(topic, size, expiry) => {
                    let new = message(id, &topic, size, expiry);
                    let publisher = Text::try_from(size.to_string()).ok();
                    let old = store.set(Arc::clone(&new), publisher.clone());
                    prop_assert_eq!(
                        old.map(|old| old.message),
                        model.insert(store_order(&topic), Arc::clone(&new))
                    );
                    let entry = store.get(&topic).expect("it was just set");
                    prop_assert_eq!((&entry.message, &entry.publisher), (&new, &publisher));
                }
                StoreStep::Clear(topic) => {
                    let old = model.remove(&store_order(&topic));
                    prop_assert_eq!(store.clear(&topic).map(|old| old.message), old);
                    forget(&mut lasting, &topic);
                }
                StoreStep::Expire(now_ms, budget) => {
                    let now = Time::from_ms(now_ms);
                    let mut due: Vec<_> =
                        model.values().filter(|message| message.is_expired(now)).cloned().collect();
                    let taken = store.take_expired(now, budget);
                    prop_assert_eq!(taken.len(), due.len().min(budget));
                    due.sort_by_key(|message| message.expires_at);
                    for (topic, due) in taken.iter().zip(&due) {
                        let message = model.remove(&store_order(topic)).expect("it was there");
                        prop_assert_eq!(message.expires_at, due.expires_at);
                        forget(&mut lasting, topic);
                    }
                }
                StoreStep::Scan(budget) => {
                    if lasting.is_none() {
                        lasting = Some(model.values().map(|message| message.topic.clone()).collect());
                    }
                    let mut visits = budget;
                    match store.next_match(&filter, after.as_ref(), &mut visits) {
                        Scan::Found(entry) => {
                            prop_assert!(visits < budget);
                            prop_assert!(filter.matches(entry.topic()));
                            prop_assert!(model.contains_key(&store_order(entry.topic())));
                            found.push(entry.topic().clone());
                            after = Some(entry.topic().clone());
                        }
                        Scan::Paused(topic) => {
                            prop_assert_eq!(visits, 0);
                            // Each visit makes headway.
                            prop_assert!(budget == 0 || topic.as_ref().map(store_order) > after.as_ref().map(store_order));
                            after = topic;
                        }
                        Scan::End => check_scan(&filter, &mut lasting, &mut found, &mut after)?,
                    }
                }
            }
            prop_assert!(store.iter().map(|entry| &entry.message).eq(model.values()));
            prop_assert_eq!(store.len(), model.len());
            let bytes: usize = model.values().map(|message| message.content_bytes()).sum();
            prop_assert_eq!(store.content_bytes(), bytes as u64);
            let next = model.values().filter_map(|message| message.expires_at).min();
            prop_assert_eq!(store.next_expiry(), next);
        }
    }

    #[test]
    fn a_scan_finds_all_matches_with_any_budget(
        topics in prop::collection::vec(topic(), 0..80),
        filter in filter(),
        budget in 1..10_usize,
    ) {
        let mut store = RetainedStore::new();
        let mut model = BTreeMap::new();
        for topic in topics {
            store.set(message(0, &topic, 0, None), None);
            model.insert(store_order(&topic), topic);
        }
        let expected: Vec<Topic> =
            model.into_values().filter(|topic| filter.matches(topic)).collect();
        let (mut found, mut after, mut spent) = (Vec::new(), None, 0);
        loop {
            let mut visits = budget;
            let scan = store.next_match(&filter, after.as_ref(), &mut visits);
            spent += budget - visits;
            match scan {
                Scan::Found(entry) => {
                    found.push(entry.topic().clone());
                    after = Some(entry.topic().clone());
                }
                Scan::Paused(topic) => after = topic,
                Scan::End => break,
            }
        }
        prop_assert_eq!(found, expected);
        prop_assert!(spent <= store.len() + 1, "visited {} of {}", spent, store.len());
    }
}

fn forget(lasting: &mut Option<Vec<Topic>>, gone: &Topic) {
    if let Some(lasting) = lasting {
        lasting.retain(|topic| topic != gone);
    }
}

fn check_scan(
    filter: &TopicFilter,
    lasting: &mut Option<Vec<Topic>>,
    found: &mut Vec<Topic>,
    after: &mut Option<Topic>,
) -> Result<(), TestCaseError> {
    let mut sorted = found.clone();
    sorted.sort_by_key(store_order);
    sorted.dedup();
    prop_assert_eq!(&sorted, &*found, "in order, each once");
    for topic in lasting.take().unwrap_or_default() {
        prop_assert_eq!(filter.matches(&topic), found.contains(&topic), "{}", topic);
    }
    found.clear();
    *after = None;
    Ok(())
}
