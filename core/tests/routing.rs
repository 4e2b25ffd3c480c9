//! The subscription tree and the retained store against models that look at everything one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use signalhouse_core::hash::KeyedState;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::quota::Owner;
use signalhouse_core::routing::retained::{RetainedStore, Scan};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::routing::tree::SubscriptionTree;
use signalhouse_core::wire::types::{QoS, Text};
use signalhouse_core::{Seed, Time};

/// Levels that are empty, begin alike, or stand beside `$`, `/` and the wildcards in the order of
/// bytes; the last one is too long to be kept in a tree's node.
const LEVELS: [&str; 9] = ["", "a", "b", "ab", "$a", "%", "!", "a!", "abcdefghijklmnopqrstuvwxyz"];

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

/// All topics of up to five levels out of a few, one of which (`z`) no short filter has.
fn short_topics() -> Vec<Topic> {
    let mut names = vec![String::new()];
    let mut last = names.clone();
    for depth in 0..5 {
        last = last
            .iter()
            .flat_map(|name| {
                ["", "a", "b", "$", "z"].map(|level| match depth {
                    0 => level.to_owned(),
                    _ => format!("{name}/{level}"),
                })
            })
            .collect();
        names.extend_from_slice(&last);
    }
    names.iter().filter_map(|name| Topic::try_from(name.as_str()).ok()).collect()
}

fn short_filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop::sample::select(&["", "a", "b", "$", "+", "+"][..]);
    (prop::collection::vec(level, 0..4), any::<bool>())
        .prop_map(|(mut levels, hash)| {
            if hash {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter_map("an empty filter", |text| TopicFilter::try_from(text.as_str()).ok())
}

#[test]
fn a_filter_covers_those_that_match_no_topic_it_does_not() {
    let topics = short_topics();
    let mut runner = TestRunner::new(config());
    runner
        .run(&(short_filter(), short_filter()), |(wide, narrow)| {
            let covers = topics.iter().all(|topic| wide.matches(topic) || !narrow.matches(topic));
            prop_assert_eq!(wide.covers(&narrow), covers);
            prop_assert!(wide.covers(&wide));
            Ok(())
        })
        .expect("covers agrees with the enumeration");
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

/// A store, its model, and a scan that goes on while both change.
struct Checked {
    store: RetainedStore,
    model: BTreeMap<Vec<Vec<u8>>, Arc<Message>>,
    filter: TopicFilter,
    after: Option<Topic>,
    /// Topics that were there when the scan began and have not gone since; `None` before it begins.
    lasting: Option<Vec<Topic>>,
    found: Vec<Topic>,
}

fn owner(number: u8) -> Owner {
    let client_id = Text::try_from(number.to_string()).expect("a number is a text");
    Owner { identity: None, client_id, address: None, key: None }
}

impl Checked {
    fn new(filter: TopicFilter) -> Self {
        Checked {
            store: RetainedStore::new(),
            model: BTreeMap::new(),
            filter,
            after: None,
            lasting: None,
            found: Vec::new(),
        }
    }

    fn step(&mut self, id: u64, step: StoreStep) -> Result<(), TestCaseError> {
        match step {
            StoreStep::Set(topic, size, expiry) => {
                let new = message(id, &topic, size, expiry);
                let publisher = Some(Arc::new(owner(size)));
                let old = self.store.set(Arc::clone(&new), publisher.clone());
                let expected = self.model.insert(store_order(&topic), Arc::clone(&new));
                prop_assert_eq!(old.map(|old| old.message), expected);
                let entry = self.store.get(&topic).expect("it was just set");
                prop_assert_eq!((&entry.message, &entry.publisher), (&new, &publisher));
            }
            StoreStep::Clear(topic) => {
                let old = self.store.clear(&topic);
                prop_assert_eq!(old.map(|old| old.message), self.forget(&topic));
            }
            StoreStep::Expire(now_ms, budget) => self.expire(Time::from_ms(now_ms), budget)?,
            StoreStep::Scan(budget) => self.scan(budget)?,
        }
        self.compare()
    }

    fn expire(&mut self, now: Time, budget: usize) -> Result<(), TestCaseError> {
        let due = self.model.values().filter(|message| message.is_expired(now));
        let mut due: Vec<_> = due.filter_map(|message| message.expires_at).collect();
        due.sort_unstable();
        due.truncate(budget);
        let taken = self.store.take_expired(now, budget);
        let taken: Vec<_> = taken
            .iter()
            .map(|old| self.forget(old.topic()).and_then(|message| message.expires_at))
            .collect();
        prop_assert_eq!(taken, due.into_iter().map(Some).collect::<Vec<_>>());
        Ok(())
    }

    fn scan(&mut self, budget: usize) -> Result<(), TestCaseError> {
        if self.lasting.is_none() {
            let topics = self.model.values().map(|message| message.topic.clone());
            self.lasting = Some(topics.collect());
        }
        let mut visits = budget;
        match self.store.next_match(&self.filter, self.after.as_ref(), &mut visits) {
            Scan::Found(entry) => {
                prop_assert!(visits < budget);
                prop_assert!(self.filter.matches(entry.topic()));
                self.found.push(entry.topic().clone());
                self.after = Some(entry.topic().clone());
            }
            Scan::Paused(topic) => {
                prop_assert_eq!(visits, 0);
                let headway =
                    topic.as_ref().map(store_order) > self.after.as_ref().map(store_order);
                prop_assert_eq!(headway, budget > 0);
                self.after = topic;
            }
            Scan::End => self.end_scan()?,
        }
        Ok(())
    }

    fn end_scan(&mut self) -> Result<(), TestCaseError> {
        let mut sorted = self.found.clone();
        sorted.sort_by_key(store_order);
        sorted.dedup();
        prop_assert_eq!(&sorted, &self.found, "in order, each once");
        for topic in self.lasting.take().unwrap_or_default() {
            let found = self.found.contains(&topic);
            prop_assert_eq!(self.filter.matches(&topic), found, "{}", topic);
        }
        self.found.clear();
        self.after = None;
        Ok(())
    }

    fn forget(&mut self, gone: &Topic) -> Option<Arc<Message>> {
        if let Some(lasting) = &mut self.lasting {
            lasting.retain(|topic| topic != gone);
        }
        self.model.remove(&store_order(gone))
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let model = self.model.values();
        prop_assert!(self.store.iter().map(|entry| &entry.message).eq(model.clone()));
        prop_assert_eq!(self.store.len(), self.model.len());
        let bytes: usize = model.clone().map(|message| message.content_bytes()).sum();
        prop_assert_eq!(self.store.content_bytes(), bytes as u64);
        let next = model.filter_map(|message| message.expires_at).min();
        prop_assert_eq!(self.store.next_expiry(), next);
        Ok(())
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_store_agrees_with_a_map_and_scans_survive_changes(
        filter in filter(),
        before in prop::collection::vec(topic(), 0..40),
        steps in prop::collection::vec(store_step(), 0..120),
    ) {
        let mut checked = Checked::new(filter);
        let before = before.into_iter().map(|topic| StoreStep::Set(topic, 1, None));
        for (step, id) in before.chain(steps).zip(0..) {
            checked.step(id, step)?;
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
