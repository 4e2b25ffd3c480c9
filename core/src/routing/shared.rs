//! Groups of shared subscriptions: their members and the messages that wait for one of them.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::fmt;

use slab::Slab;

use crate::hash::{KeyedMap, KeyedState};
use crate::record::{GroupId, LogPosition, QueueSeq};
use crate::routing::topic::TopicFilter;
use crate::session::queue::{Queue, Waiting};
use crate::session::{GroupKey, SessionKey, Subscription};
use crate::stored::Counted;

/// One share: the whole filter, `$share/NAME/` included.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) filter: TopicFilter,
    members: BTreeMap<SessionKey, Subscription>,
    /// Members with a connection, the one whose turn is next in front.
    online: VecDeque<SessionKey>,
    /// Members that outlive their connection. While there are any, the journal has the queue.
    durable: BTreeSet<SessionKey>,
    /// Before this is durable, a crash makes it durable again: see
    /// [`Session::transient_from`](crate::session::Session::transient_from).
    pub(crate) transient_from: LogPosition,
    /// How often the journal has lost the queue.
    journal_era: u32,
    /// Up to where connected members have found nothing that they may receive.
    passed: BTreeMap<SessionKey, QueueSeq>,
    /// Under which rules of permission.
    passed_under: u64,
    /// The member against whom quotas count what waits here.
    pub(crate) keeper: Option<SessionKey>,
    pub(crate) stored: Counted,
    /// Messages that no member could take, at the QoS and with the RETAIN they were published.
    pub(crate) queue: Queue,
}

impl Group {
    pub(crate) fn member(&self, session: SessionKey) -> Option<&Subscription> {
        self.members.get(&session)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = SessionKey> {
        self.members.keys().copied()
    }

    pub(crate) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// Members with a connection.
    pub(crate) fn online(&self) -> impl Iterator<Item = SessionKey> {
        self.online.iter().copied()
    }

    pub(crate) fn online_len(&self) -> usize {
        self.online.len()
    }

    /// Whether the journal has the queue.
    pub(crate) fn is_durable(&self) -> bool {
        !self.durable.is_empty()
    }

    /// Tells apart the times during which the journal has the queue: what it had in an earlier
    /// one is gone.
    pub(crate) fn journal_era(&self) -> u32 {
        self.journal_era
    }

    /// A member outlives its connection from now on, or no longer does.
    pub(crate) fn set_durable(&mut self, session: SessionKey, durable: bool) {
        if durable && self.members.contains_key(&session) {
            self.durable.insert(session);
        } else {
            self.unset_durable(session);
        }
    }

    /// Without a member that outlives its connection the share ends with a crash, and to the
    /// journal it has ended already.
    fn unset_durable(&mut self, session: SessionKey) {
        if self.durable.remove(&session) && self.durable.is_empty() {
            self.journal_era = self.journal_era.wrapping_add(1);
            self.queue.forget_journal();
        }
    }

    /// The member whose turn is next; it goes to the end of the line.
    pub(crate) fn next_online(&mut self) -> Option<SessionKey> {
        let session = self.online.pop_front()?;
        self.online.push_back(session);
        Some(session)
    }

    /// Where a member has to begin to look for what it may receive. `rules` tells one state of all
    /// permissions from another.
    pub(crate) fn passed_by(&mut self, session: SessionKey, rules: u64) -> QueueSeq {
        if self.passed_under != rules {
            self.passed.clear();
            self.passed_under = rules;
        }
        self.passed.get(&session).copied().unwrap_or_default()
    }

    /// A member has found nothing that it may receive before `seq`.
    pub(crate) fn pass(&mut self, session: SessionKey, seq: QueueSeq) {
        if seq > QueueSeq(0) {
            self.passed.insert(session, seq);
        }
    }

    /// A message comes back to its place in the queue.
    pub(crate) fn put_back(&mut self, entry: Waiting) {
        self.passed.clear();
        self.queue.push(entry);
    }

    /// A member's connection came or went.
    pub(crate) fn set_online(&mut self, session: SessionKey, online: bool) {
        self.passed.remove(&session);
        self.online.retain(|other| *other != session);
        if online && self.members.contains_key(&session) {
            self.online.push_back(session);
        }
    }
}

/// All groups, by key and by filter.
#[derive(Clone)]
pub(crate) struct Groups {
    slab: Slab<Group>,
    by_filter: KeyedMap<TopicFilter, GroupKey>,
}

/// With what is in them, which the slab does not show by itself, and in an order of their own.
impl fmt::Debug for Groups {
    #[allow(clippy::disallowed_methods)] // It is sorted before it shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Groups { slab, by_filter } = self;
        let groups: BTreeMap<usize, &Group> = slab.iter().collect();
        let by_filter: BTreeMap<&TopicFilter, &GroupKey> = by_filter.iter().collect();
        f.debug_struct("Groups")
            .field("groups", &groups)
            .field("next_key", &slab.vacant_key())
            .field("by_filter", &by_filter)
            .finish()
    }
}

impl Groups {
    pub(crate) fn new(state: KeyedState) -> Self {
        Groups { slab: Slab::new(), by_filter: KeyedMap::with_hasher(state) }
    }

    pub(crate) fn find(&self, filter: &TopicFilter) -> Option<GroupKey> {
        self.by_filter.get(filter).copied()
    }

    /// Makes a group without members.
    pub(crate) fn insert(&mut self, id: GroupId, filter: TopicFilter) -> GroupKey {
        let group = Group {
            id,
            filter: filter.clone(),
            members: BTreeMap::new(),
            online: VecDeque::new(),
            durable: BTreeSet::new(),
            transient_from: LogPosition::START,
            journal_era: 0,
            passed: BTreeMap::new(),
            passed_under: 0,
            keeper: None,
            stored: Counted::default(),
            queue: Queue::default(),
        };
        // There are no more groups than subscriptions, which are counted in a `u32`.
        let key = GroupKey::try_from(self.slab.insert(group)).unwrap_or(GroupKey::MAX);
        self.by_filter.insert(filter, key);
        key
    }

    pub(crate) fn get(&self, key: GroupKey) -> Option<&Group> {
        self.slab.get(key as usize)
    }

    pub(crate) fn get_mut(&mut self, key: GroupKey) -> Option<&mut Group> {
        self.slab.get_mut(key as usize)
    }

    /// Whether the group is still there, the one with this number.
    pub(crate) fn is_same(&self, (key, id): (GroupKey, GroupId)) -> bool {
        self.get(key).is_some_and(|group| group.id == id)
    }

    /// The group, if it still is the one with this number.
    pub(crate) fn get_same(&mut self, (key, id): (GroupKey, GroupId)) -> Option<&mut Group> {
        self.get_mut(key).filter(|group| group.id == id)
    }

    /// The group, if it still is the one with this number and the journal has its queue.
    pub(crate) fn get_durable(&self, (key, id): (GroupKey, GroupId)) -> Option<&Group> {
        self.get(key).filter(|group| group.id == id && group.is_durable())
    }

    /// Adds a member or replaces its options.
    pub(crate) fn join(&mut self, key: GroupKey, session: SessionKey, options: Subscription) {
        if let Some(group) = self.get_mut(key) {
            group.members.insert(session, options);
        }
    }

    /// Removes a member.
    pub(crate) fn leave(&mut self, key: GroupKey, session: SessionKey) {
        if let Some(group) = self.get_mut(key) {
            group.members.remove(&session);
            group.unset_durable(session);
            group.online.retain(|other| *other != session);
            group.passed.remove(&session);
        }
    }

    /// Removes a group.
    pub(crate) fn remove(&mut self, key: GroupKey) -> Option<Group> {
        let group = self.slab.try_remove(key as usize)?;
        self.by_filter.remove(&group.filter);
        Some(group)
    }

    /// One above the highest key in use.
    pub(crate) fn end(&self) -> GroupKey {
        GroupKey::try_from(self.slab.capacity()).unwrap_or(GroupKey::MAX)
    }

    /// All groups in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (GroupKey, &Group)> {
        // A key came from a `u32`.
        self.slab
            .iter()
            .map(|(key, group)| (GroupKey::try_from(key).unwrap_or(GroupKey::MAX), group))
    }
}
