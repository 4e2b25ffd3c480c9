//! One node of the subscription tree: the level it stands for, and the subscribers whose filter
//! ends there.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;

use super::arena::NodeId;

/// A level of one or more filters that agree up to there.
#[derive(Clone)]
pub(super) struct Node<V> {
    pub(super) parent: NodeId,
    /// The child for `+`.
    pub(super) plus: NodeId,
    /// The child for `#`, which has no children.
    pub(super) hash: NodeId,
    /// The number of other children.
    pub(super) literals: u32,
    /// Empty in the root and for `+` and `#`.
    pub(super) level: Level,
    pub(super) subscribers: Subscribers<V>,
}

impl<V> Node<V> {
    pub(super) fn new(parent: NodeId, level: Level) -> Self {
        Node {
            parent,
            plus: NodeId::NONE,
            hash: NodeId::NONE,
            literals: 0,
            level,
            subscribers: Subscribers::None,
        }
    }

    pub(super) fn is_child(&self, parent: NodeId, level: &[u8]) -> bool {
        self.parent == parent && self.level.as_bytes() == level
    }

    /// Whether nothing is lost with it.
    pub(super) fn is_bare(&self) -> bool {
        self.literals == 0
            && self.plus == NodeId::NONE
            && self.hash == NodeId::NONE
            && matches!(self.subscribers, Subscribers::None)
    }
}

/// The bytes of a level, short ones in place.
#[derive(Clone)]
pub(super) enum Level {
    Short { len: u8, bytes: [u8; Level::SHORT_BYTES] },
    Long(Box<[u8]>),
}

impl Level {
    const SHORT_BYTES: usize = 22;

    pub(super) fn new(level: &[u8]) -> Self {
        let mut bytes = [0; Self::SHORT_BYTES];
        match bytes.get_mut(..level.len()) {
            Some(place) => {
                place.copy_from_slice(level);
                Level::Short { len: level.len() as u8, bytes }
            }
            None => Level::Long(level.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Level::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Level::Long(bytes) => bytes,
        }
    }
}

impl Default for Level {
    fn default() -> Self {
        Level::Short { len: 0, bytes: [0; Self::SHORT_BYTES] }
    }
}

/// Subscribers by key. Most nodes have none or one; those with very many must still change fast.
// Boxed so that nodes with none or one stay small.
#[allow(clippy::box_collection)]
#[derive(Clone)]
pub(super) enum Subscribers<V> {
    None,
    One(u32, V),
    /// At least one, ascending by key.
    Few(Box<Vec<(u32, V)>>),
    /// At least one.
    Many(Box<BTreeMap<u32, V>>),
}

impl<V> Subscribers<V> {
    /// Inserting among so many costs less than the lookup that led here.
    const FEW: usize = 64;

    pub(super) fn get(&self, key: u32) -> Option<&V> {
        match self {
            Subscribers::None => None,
            Subscribers::One(only, value) => (*only == key).then_some(value),
            Subscribers::Few(all) => {
                let place = all.binary_search_by_key(&key, |(key, _)| *key).ok()?;
                all.get(place).map(|(_, value)| value)
            }
            Subscribers::Many(all) => all.get(&key),
        }
    }

    pub(super) fn for_each<'a>(&'a self, f: &mut impl FnMut(u32, &'a V)) {
        match self {
            Subscribers::None => {}
            Subscribers::One(key, value) => f(*key, value),
            Subscribers::Few(all) => all.iter().for_each(|(key, value)| f(*key, value)),
            Subscribers::Many(all) => all.iter().for_each(|(key, value)| f(*key, value)),
        }
    }

    pub(super) fn insert(&mut self, key: u32, value: V) -> Option<V> {
        match self {
            Subscribers::None => {
                *self = Subscribers::One(key, value);
                None
            }
            Subscribers::One(only, old) if *only == key => Some(mem::replace(old, value)),
            Subscribers::One(..) => {
                if let Subscribers::One(only, old) = mem::replace(self, Subscribers::None) {
                    let mut all = Vec::with_capacity(2);
                    all.push((only, old));
                    all.insert(usize::from(only < key), (key, value));
                    *self = Subscribers::Few(Box::new(all));
                }
                None
            }
            Subscribers::Few(all) => match all.binary_search_by_key(&key, |(key, _)| *key) {
                Ok(place) => all.get_mut(place).map(|(_, old)| mem::replace(old, value)),
                Err(place) => {
                    all.insert(place, (key, value));
                    if all.len() > Self::FEW {
                        let all = mem::take(&mut **all).into_iter().collect();
                        *self = Subscribers::Many(Box::new(all));
                    }
                    None
                }
            },
            Subscribers::Many(all) => all.insert(key, value),
        }
    }

    pub(super) fn remove(&mut self, key: u32) -> Option<V> {
        match self {
            Subscribers::None => None,
            Subscribers::One(only, _) if *only != key => None,
            Subscribers::One(..) => match mem::replace(self, Subscribers::None) {
                Subscribers::One(_, value) => Some(value),
                Subscribers::None | Subscribers::Few(_) | Subscribers::Many(_) => None,
            },
            Subscribers::Few(all) => {
                let place = all.binary_search_by_key(&key, |(key, _)| *key).ok()?;
                let (_, value) = all.remove(place);
                if all.len() == 1
                    && let Some((only, value)) = all.pop()
                {
                    *self = Subscribers::One(only, value);
                }
                Some(value)
            }
            Subscribers::Many(all) => {
                let value = all.remove(&key)?;
                // Half of the bound, so that one subscriber coming and going converts nothing.
                if all.len() <= Self::FEW / 2 {
                    let all = mem::take(&mut **all).into_iter().collect();
                    *self = Subscribers::Few(Box::new(all));
                }
                Some(value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_fits_a_cache_line() {
        assert!(size_of::<Node<u64>>() <= 64, "{}", size_of::<Node<u64>>());
        assert!(size_of::<Node<[u32; 2]>>() <= 56, "{}", size_of::<Node<[u32; 2]>>());
    }

    #[test]
    fn subscribers_agree_with_a_map_at_every_size() {
        let mut subscribers = Subscribers::None;
        let mut model = BTreeMap::new();
        let keys = (0..200_u32).map(|n| n * 37 % 200);
        for key in keys.clone().chain(0..50) {
            assert_eq!(subscribers.insert(key, key + 1), model.insert(key, key + 1));
            check(&subscribers, &model);
        }
        for key in (0..50).chain(keys).chain(0..10) {
            assert_eq!(subscribers.remove(key), model.remove(&key));
            check(&subscribers, &model);
        }
        assert!(matches!(subscribers, Subscribers::None));
    }

    fn check(subscribers: &Subscribers<u32>, model: &BTreeMap<u32, u32>) {
        let mut all = Vec::new();
        subscribers.for_each(&mut |key, value| all.push((key, *value)));
        assert!(all.iter().map(|(key, value)| (key, value)).eq(model));
        assert!((0..201).all(|key| subscribers.get(key) == model.get(&key)));
    }
}
