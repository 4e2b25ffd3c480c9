//! The subscription tree: which subscribers a topic reaches.
//!
//! Insertion, removal and matching live here; how a node keeps its level and its subscribers is in
//! `tree/node.rs`, where nodes are stored in `tree/arena.rs`, and how a filter is named in four bytes in
//! `tree/place.rs`. What a subscription means, shared or not, is not known here.

use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;

use crate::hash::KeyedState;
use crate::routing::topic::{Topic, TopicFilter};

mod arena;
mod node;
mod place;

use arena::{Arena, NodeId};
use node::{Level, Node};
pub(crate) use place::Place;

/// Subscriptions by topic filter. Each is named by its filter and the subscriber's key, and has a
/// value of type `V`.
///
/// Only the part of a filter that topics are matched against counts: `$share/NAME/` is ignored.
///
/// Matching costs one hash lookup for each level of the topic and live branch, however many
/// subscriptions there are; insertion and removal one for each level of the filter. Memory: one
/// node of 56 bytes (if `V` has at most 8, aligned to 4) and an edge of 8 for each level that no
/// other filter shares. With a million subscriptions to filters of their own that is 74 bytes each
/// for `inbox/ID`, 130 for `inbox/ID/#` and 149 for `devices/ID/commands`, all counted.
#[derive(Clone)]
pub struct SubscriptionTree<V> {
    nodes: Arena<Node<V>>,
    /// Every child that is neither `+` nor `#`, found by its parent and its level.
    edges: HashTable<Edge>,
    state: KeyedState,
    root: NodeId,
    len: usize,
    changes: u64,
}

/// The way to a node. Its hash stays with it, so that a growing table reads no nodes.
#[derive(Clone, Copy)]
struct Edge {
    hash: u32,
    node: NodeId,
}

impl Edge {
    /// The table looks at the highest bits and at the lowest.
    fn table_hash(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl<V> SubscriptionTree<V> {
    /// An empty tree whose hash table is keyed by `state`.
    #[must_use]
    pub fn new(state: KeyedState) -> Self {
        let mut nodes = Arena::new();
        let root = nodes.insert(Node::new(NodeId::NONE, Level::default()));
        SubscriptionTree { nodes, edges: HashTable::new(), state, root, len: 0, changes: 0 }
    }

    /// The number of subscriptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no subscription.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of nodes, the root among them. At most the levels of all filters, and 1.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How often a subscription was added, replaced or removed. What matched a topic still does while
    /// this stays the same.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Adds the subscription of `key` to `filter`. If it exists, its value is replaced and the old
    /// one returned.
    ///
    /// # Panics
    /// With 2^32 - 1 nodes, for which no machine has the memory.
    pub fn insert(&mut self, filter: &TopicFilter, key: u32, value: V) -> Option<V> {
        self.put(filter, key, value).1
    }

    /// The same, which also says where the filter is.
    pub(crate) fn put(&mut self, filter: &TopicFilter, key: u32, value: V) -> (Place, Option<V>) {
        let mut at = self.root;
        for level in filter.levels() {
            at = match level {
                b"+" => self.plus_or_insert(at),
                b"#" => self.hash_or_insert(at),
                _ => self.literal_or_insert(at, level),
            };
        }
        let old = self.nodes.get_mut(at).subscribers.insert(key, value);
        self.len += usize::from(old.is_none());
        self.changes += 1;
        (Place(at), old)
    }

    /// Removes the subscription of `key` to `filter` and returns its value, if it exists.
    pub fn remove(&mut self, filter: &TopicFilter, key: u32) -> Option<V> {
        self.remove_at(Place(self.find(filter)?), key)
    }

    /// The value of the subscription of `key` to `filter`.
    #[must_use]
    pub fn get(&self, filter: &TopicFilter, key: u32) -> Option<&V> {
        self.nodes.get(self.find(filter)?).subscribers.get(key)
    }

    /// Calls `f` with the key and value of every subscription whose filter matches `topic`.
    ///
    /// The order depends on the subscriptions alone: by filter, and for each filter by key. Of two
    /// filters that differ first at some level, `#` comes before the end, the end before `+`, and
    /// `+` before the level as it is written. A key with several matching filters comes several
    /// times.
    pub fn for_each_match(&self, topic: &Topic, mut f: impl FnMut(u32, &V)) {
        let name = topic.as_text().as_bytes();
        // [MQTT-4.7.2-1]
        let mut wildcards = !topic.is_system() || canary!(WildcardMatchesDollar);
        let mut pending = Pending::new();
        let mut next = Some(Branch { node: self.root, level_start: 0 });
        while let Some(Branch { node, level_start }) = next {
            let node_ref = self.nodes.get(node);
            // `#` stands for the levels to come and also for none of them, so `sport/#` matches
            // `sport` [MQTT-4.7.1-1].
            if wildcards && node_ref.hash != NodeId::NONE {
                self.nodes.get(node_ref.hash).subscribers.for_each(&mut f);
            }
            let plus = if wildcards { node_ref.plus } else { NodeId::NONE };
            wildcards = true; // From the second level on, `$` is a character like any other.
            let Some(rest) = name.get(level_start as usize..) else {
                node_ref.subscribers.for_each(&mut f);
                next = pending.pop();
                continue;
            };
            let level_bytes = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let level = rest.get(..level_bytes).unwrap_or(rest);
            let literal =
                if node_ref.literals == 0 { None } else { self.find_literal(node, level) };
            // At the last level this is one past the end of the name, where `get` finds nothing.
            let level_start = level_start + level_bytes as u32 + 1;
            next = match (plus, literal) {
                (NodeId::NONE, None) => pending.pop(),
                (NodeId::NONE, Some(node)) | (node, None) => Some(Branch { node, level_start }),
                (node, Some(literal)) => {
                    pending.push(Branch { node: literal, level_start });
                    Some(Branch { node, level_start })
                }
            };
        }
    }

    fn find(&self, filter: &TopicFilter) -> Option<NodeId> {
        let mut at = self.root;
        for level in filter.levels() {
            at = match level {
                b"+" => self.nodes.get(at).plus.some()?,
                b"#" => self.nodes.get(at).hash.some()?,
                _ => self.find_literal(at, level)?,
            };
        }
        Some(at)
    }

    fn find_literal(&self, parent: NodeId, level: &[u8]) -> Option<NodeId> {
        let hash = self.edge_hash(parent, level);
        self.edges
            .find(Edge::table_hash(hash), |edge| {
                edge.hash == hash && self.nodes.get(edge.node).is_child(parent, level)
            })
            .map(|edge| edge.node)
    }

    fn literal_or_insert(&mut self, parent: NodeId, level: &[u8]) -> NodeId {
        if let Some(node) = self.find_literal(parent, level) {
            return node;
        }
        let node = self.nodes.insert(Node::new(parent, Level::new(level)));
        let hash = self.edge_hash(parent, level);
        let edge = Edge { hash, node };
        self.edges.insert_unique(Edge::table_hash(hash), edge, |edge| Edge::table_hash(edge.hash));
        self.nodes.get_mut(parent).literals += 1;
        node
    }

    fn plus_or_insert(&mut self, parent: NodeId) -> NodeId {
        if let Some(node) = self.nodes.get(parent).plus.some() {
            return node;
        }
        let node = self.nodes.insert(Node::new(parent, Level::default()));
        self.nodes.get_mut(parent).plus = node;
        node
    }

    fn hash_or_insert(&mut self, parent: NodeId) -> NodeId {
        if let Some(node) = self.nodes.get(parent).hash.some() {
            return node;
        }
        let node = self.nodes.insert(Node::new(parent, Level::default()));
        self.nodes.get_mut(parent).hash = node;
        node
    }

    /// Takes out `at` and what is above it as far as there is nothing left in it.
    fn prune(&mut self, mut at: NodeId) {
        while at != self.root && self.nodes.get(at).is_bare() {
            let node = self.nodes.remove(at);
            let parent = self.nodes.get_mut(node.parent);
            if parent.plus == at {
                parent.plus = NodeId::NONE;
            } else if parent.hash == at {
                parent.hash = NodeId::NONE;
            } else {
                parent.literals -= 1;
                let hash = self.edge_hash(node.parent, node.level.as_bytes());
                let edge = self.edges.find_entry(Edge::table_hash(hash), |edge| edge.node == at);
                if let Ok(edge) = edge {
                    edge.remove();
                }
            }
            at = node.parent;
        }
    }

    fn edge_hash(&self, parent: NodeId, level: &[u8]) -> u32 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u32(parent.0);
        hasher.write(level);
        // The low half is as good as any: 32 bits tell apart far more nodes than fit in memory.
        hasher.finish() as u32
    }
}

/// The subscriptions in the order of their filters and keys, with where each is found. How often there was a
/// change makes no difference to that.
impl<V: fmt::Debug> fmt::Debug for SubscriptionTree<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.in_order().map(|((filter, key), value)| {
            let found = self.find(&filter);
            ((filter, key), (found, value))
        });
        let subscriptions: Vec<_> = shown.collect();
        f.debug_struct("SubscriptionTree")
            .field("subscriptions", &subscriptions)
            .field("len", &self.len)
            .field("nodes", &self.nodes.len())
            .field("edges", &self.edges.len())
            .finish_non_exhaustive()
    }
}

/// A node that matches the topic's levels before `level_start`, a place in the topic's name.
#[derive(Clone, Copy)]
struct Branch {
    node: NodeId,
    level_start: u32,
}

/// Branches still to be walked, latest first. The first few need no allocation.
struct Pending {
    near: [Branch; Pending::NEAR],
    near_len: usize,
    far: Vec<Branch>,
}

impl Pending {
    const NEAR: usize = 8;

    fn new() -> Self {
        let unused = Branch { node: NodeId::NONE, level_start: 0 };
        Pending { near: [unused; Self::NEAR], near_len: 0, far: Vec::new() }
    }

    fn push(&mut self, branch: Branch) {
        if let Some(place) = self.near.get_mut(self.near_len) {
            *place = branch;
            self.near_len += 1;
        } else {
            self.far.push(branch);
        }
    }

    fn pop(&mut self) -> Option<Branch> {
        if let Some(branch) = self.far.pop() {
            return Some(branch);
        }
        self.near_len = self.near_len.checked_sub(1)?;
        self.near.get(self.near_len).copied()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec;

    use super::*;
    use crate::rng::Seed;

    fn tree() -> SubscriptionTree<u8> {
        SubscriptionTree::new(KeyedState::new(Seed(1)))
    }

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::try_from(text).expect("a filter")
    }

    fn keys(tree: &SubscriptionTree<u8>, topic: &str) -> Vec<u32> {
        let mut keys = Vec::new();
        let topic = Topic::try_from(topic).expect("a topic");
        tree.for_each_match(&topic, |key, _| keys.push(key));
        keys
    }

    #[test]
    fn a_subscription_is_found_replaced_and_removed() {
        let mut tree = tree();
        assert_eq!(tree.insert(&filter("a/b"), 7, 1), None);
        assert_eq!(tree.insert(&filter("a/b"), 7, 2), Some(1));
        assert_eq!(tree.get(&filter("a/b"), 7), Some(&2));
        assert_eq!(tree.get(&filter("a/b"), 8), None);
        assert_eq!(tree.get(&filter("a"), 7), None);
        assert_eq!(tree.len(), 1);
        assert_eq!(tree.remove(&filter("a/+"), 7), None);
        assert_eq!(tree.remove(&filter("a/b"), 7), Some(2));
        assert_eq!(tree.remove(&filter("a/b"), 7), None);
        assert!(tree.is_empty());
    }

    #[test]
    fn matches_come_in_the_documented_order() {
        let mut tree = tree();
        for (key, text) in
            ["a/b", "a/+", "+/b", "#", "a/b/#", "a/#", "+/#", "+/+"].iter().enumerate()
        {
            tree.insert(&filter(text), key as u32, 0);
        }
        assert_eq!(keys(&tree, "a/b"), [3, 6, 7, 2, 5, 1, 4, 0]);
        for key in [30, 10, 20] {
            tree.insert(&filter("a/b"), key, 0);
        }
        assert_eq!(keys(&tree, "a/b"), [3, 6, 7, 2, 5, 1, 4, 0, 10, 20, 30]);
    }

    #[test]
    fn a_tree_shows_a_subscription_that_is_not_found() {
        let mut tree = tree();
        tree.insert(&filter("a"), 7, 9);
        let shown = r#"SubscriptionTree { subscriptions: [(("a", 7), (Some(NodeId(1)), 9))], "#;
        assert!(format!("{tree:?}").starts_with(shown), "{tree:?}");
        tree.edges.clear();
        let shown = r#"SubscriptionTree { subscriptions: [(("a", 7), (None, 9))], "#;
        assert!(format!("{tree:?}").starts_with(shown), "{tree:?}");
    }

    #[test]
    fn the_standards_examples_of_the_multi_level_wildcard_hold() {
        let mut tree = tree();
        tree.insert(&filter("sport/tennis/player1/#"), 1, 0);
        tree.insert(&filter("sport/#"), 2, 0);
        tree.insert(&filter("#"), 3, 0);
        assert_eq!(keys(&tree, "sport/tennis/player1"), [3, 2, 1]);
        assert_eq!(keys(&tree, "sport/tennis/player1/score/wimbledon"), [3, 2, 1]);
        assert_eq!(keys(&tree, "sport/tennis/player2"), [3, 2]);
        assert_eq!(keys(&tree, "sport"), [3, 2]);
        assert_eq!(keys(&tree, "sports"), [3]);
    }

    #[test]
    fn the_standards_examples_of_the_single_level_wildcard_hold() {
        let mut tree = tree();
        tree.insert(&filter("sport/tennis/+"), 1, 0);
        tree.insert(&filter("sport/+"), 2, 0);
        tree.insert(&filter("+/+"), 3, 0);
        tree.insert(&filter("/+"), 4, 0);
        tree.insert(&filter("+"), 5, 0);
        assert_eq!(keys(&tree, "sport/tennis/player1"), [1]);
        assert_eq!(keys(&tree, "sport/tennis/player1/ranking"), [0; 0]);
        assert_eq!(keys(&tree, "sport"), [5]);
        assert_eq!(keys(&tree, "sport/"), [3, 2]);
        assert_eq!(keys(&tree, "/finance"), [3, 4]);
    }

    #[test]
    fn a_leading_wildcard_does_not_reach_system_topics() {
        let mut tree = tree();
        tree.insert(&filter("#"), 1, 0);
        tree.insert(&filter("+/monitor/Clients"), 2, 0);
        tree.insert(&filter("$SYS/#"), 3, 0);
        tree.insert(&filter("$SYS/monitor/+"), 4, 0);
        assert_eq!(keys(&tree, "$SYS/monitor/Clients"), [3, 4]);
        assert_eq!(keys(&tree, "$SYS"), [3]);
        assert_eq!(keys(&tree, "a/monitor/Clients"), [1, 2]);
        tree.insert(&filter("a/+"), 5, 0);
        assert_eq!(keys(&tree, "a/$b"), [1, 5]);
    }

    #[test]
    fn a_share_name_is_not_matched() {
        let mut tree = tree();
        tree.insert(&filter("$share/consumer1//finance"), 1, 0);
        assert_eq!(keys(&tree, "/finance"), [1]);
        assert_eq!(tree.remove(&filter("/finance"), 1), Some(0));
    }

    #[test]
    fn nothing_is_left_of_removed_subscriptions() {
        let mut tree = tree();
        let filters = ["a/b/c", "a/+/c", "a/#", "+/#", "#", "a/b", "/", "x//y"];
        for text in filters {
            tree.insert(&filter(text), 1, 0);
        }
        for text in filters {
            tree.remove(&filter(text), 1);
        }
        assert_eq!(tree.node_count(), 1);
        assert_eq!(tree.edges.len(), 0);
    }

    #[test]
    fn topics_of_the_longest_kind_are_walked_without_recursion() {
        let mut tree = tree();
        let levels = 32_768;
        let deep: String = vec!["+"; levels].join("/");
        let fork: String = vec![""; levels].join("/");
        tree.insert(&filter(&deep), 1, 0);
        tree.insert(&filter(&fork), 2, 0);
        for depth in 1..200 {
            let mut text: String = vec!["+"; depth].join("/");
            text.push_str("//#");
            tree.insert(&filter(&text), 3, 0);
        }
        let mut matches = keys(&tree, &fork);
        matches.sort_unstable();
        assert_eq!(matches.len(), 201);
        assert_eq!(tree.remove(&filter(&deep), 1), Some(0));
        assert_eq!(tree.remove(&filter(&fork), 2), Some(0));
    }
}
