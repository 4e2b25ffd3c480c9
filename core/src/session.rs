//! What survives a connection: subscriptions, queues, exchanges in progress, the will.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use slab::Slab;

use crate::credential::Claims;
use crate::hash::{KeyedMap, KeyedState};
use crate::input::ConnectionId;
use crate::message::MessageId;
use crate::permission::{Permissions, Subject};
use crate::quota::Owner;
use crate::record::{GroupId, LogPosition, SessionId};
use crate::routing::topic::{Topic, TopicFilter};
use crate::session::flight::Flight;
use crate::session::places::Places;
use crate::session::queue::{Queue, Waiting};
use crate::session::subscriptions::Subscriptions;
use crate::stored::Counted;
use crate::time::Time;
use crate::wire::packet::{SubscriptionOptions, Will};
use crate::wire::types::{InboundPacketId, Text, Version};

pub(crate) mod flight;
pub(crate) mod held;
pub(crate) mod page;
mod places;
pub(crate) mod queue;
pub(crate) mod slot;
pub(crate) mod subscriptions;

/// A session's place in [`Sessions`]; used again once the session is gone.
pub(crate) type SessionKey = u32;

/// A group's place in [`Groups`](crate::routing::shared::Groups); used again once it is gone.
pub(crate) type GroupKey = u32;

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) client_id: Text,
    pub(crate) identity: Option<Text>,
    /// What its latest connection showed beyond that.
    pub(crate) claims: Claims,
    /// What its latest connection may do at most.
    pub(crate) grants: Option<Arc<Permissions>>,
    /// What its latest connection may read whatever the rules say.
    pub(crate) inbox: Option<Box<Topic>>,
    /// Where its latest connection came from.
    pub(crate) address: Option<Text>,
    /// The API key that its latest connection came in by.
    pub(crate) key: Option<Box<Text>>,
    /// Whom what its client retains counts against; made when it is first asked for.
    owner: Option<Arc<Owner>>,
    pub(crate) version: Version,
    pub(crate) connection: Option<ConnectionId>,
    /// How long it outlives its connection; `u32::MAX` for ever.
    pub(crate) expiry_interval_s: u32,
    /// Before this is durable, a crash makes a session that no longer outlives its connection one that
    /// does: who publishes for it is told nothing before.
    pub(crate) transient_from: LogPosition,
    /// When its connection ended, while it has none.
    pub(crate) left_at: Time,
    /// When it ends, while it has no connection.
    pub(crate) ends_at: Time,
    /// Whether its last connection has not ended, as far as the journal knows.
    pub(crate) open_in_journal: bool,
    /// Whether the journal knows it.
    pub(crate) recorded: bool,
    /// Whether it has ended and only waits to be taken apart.
    pub(crate) ended: bool,
    pub(crate) will: Option<ArmedWill>,
    /// Its own ones.
    pub(crate) subscriptions: Subscriptions,
    /// The groups it is a member of, by its shared ones.
    pub(crate) groups: Vec<GroupKey>,
    pub(crate) queue: Queue,
    /// The queue's bytes in memory, as the broker last counted them.
    pub(crate) counted_bytes: u64,
    /// What is kept for it, as quotas count it.
    pub(crate) stored: Counted,
    /// What of its queue is counted among the bytes that the journal has.
    pub(crate) counted_live_bytes: u64,
    pub(crate) flight: Flight,
    /// The client's QoS 2 publications not yet released; `true` while one counts against the
    /// receive maximum of the present connection.
    pub(crate) inbound: Places<InboundPacketId, bool>,
    pub(crate) replays: VecDeque<Replay>,
    /// Whether it is in the list of sessions with more work.
    pub(crate) has_work: bool,
    /// When something last moved on its way to the client: a first message came to wait, one went
    /// out at QoS 0, or one was acknowledged; or when the broker was recovered.
    pub(crate) moved_at: Time,
}

/// A will that has not been published.
#[derive(Clone, Debug)]
pub(crate) struct ArmedWill {
    pub(crate) will: Arc<Will>,
    /// When it goes out; [`Time::NEVER`] while the connection is there.
    pub(crate) due_at: Time,
}

/// One subscription of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Subscription {
    pub(crate) options: SubscriptionOptions,
    pub(crate) subscription_id: Option<u32>,
    pub(crate) group: Option<(GroupKey, GroupId)>,
}

/// A subscribe's delivery of retained messages, in progress.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) filter: TopicFilter,
    pub(crate) options: SubscriptionOptions,
    pub(crate) subscription_id: Option<u32>,
    /// It goes on behind this topic.
    pub(crate) after_topic: Option<Topic>,
    /// Size of its next message, if there was no space for it in the queue; 0 otherwise.
    pub(crate) needs_bytes: usize,
    /// Topics whose message went out before its turn.
    pub(crate) early: BTreeSet<Topic>,
    /// It begins when the subscription is durable.
    pub(crate) after: LogPosition,
    /// What became retained later was delivered live.
    pub(crate) before: MessageId,
    /// Whether it goes on after a recovery. How far it got at QoS 0 is not known then.
    pub(crate) is_recovered: bool,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        client_id: Text,
        identity: Option<Text>,
        version: Version,
    ) -> Self {
        Session {
            id,
            client_id,
            identity,
            claims: Claims::NONE,
            grants: None,
            inbox: None,
            address: None,
            key: None,
            owner: None,
            version,
            connection: None,
            expiry_interval_s: 0,
            transient_from: LogPosition::START,
            left_at: Time::ZERO,
            ends_at: Time::NEVER,
            open_in_journal: false,
            recorded: false,
            ended: false,
            will: None,
            subscriptions: Subscriptions::default(),
            groups: Vec::new(),
            queue: Queue::default(),
            counted_bytes: 0,
            stored: Counted::default(),
            counted_live_bytes: 0,
            flight: Flight::default(),
            inbound: Places::default(),
            replays: VecDeque::new(),
            has_work: false,
            moved_at: Time::ZERO,
        }
    }

    /// Its client comes from there and by this key now.
    pub(crate) fn moved_to(&mut self, address: Option<Text>, key: Option<Text>) {
        if self.address != address || self.key.as_deref() != key.as_ref() {
            self.address = address;
            self.key = key.map(Box::new);
            self.owner = None;
        }
    }

    /// Whom what its client retains counts against.
    pub(crate) fn owner(&mut self) -> Arc<Owner> {
        let owner = self.owner.get_or_insert_with(|| {
            Arc::new(Owner {
                identity: self.identity.clone(),
                client_id: self.client_id.clone(),
                address: self.address.clone(),
                key: self.key.as_deref().cloned(),
            })
        });
        Arc::clone(owner)
    }

    /// Bytes of what is kept for it: what waits, what it has not received yet, its will.
    pub(crate) fn stored_bytes(&self) -> u64 {
        if self.ended {
            return 0;
        }
        let will = self.will.as_ref().map_or(0, |armed| armed.will.content_bytes() as u64);
        self.queue.content_bytes() + self.flight.content_bytes() + will
    }

    /// Whom the rules of permission are applied to.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            user_name: self.identity.as_ref(),
            client_id: &self.client_id,
            claims: &self.claims,
            grants: self.grants.as_deref(),
            inbox: self.inbox.as_deref(),
        }
    }

    /// Whether it outlives its connection, so that the journal must know what it receives.
    pub(crate) fn is_durable(&self) -> bool {
        self.expiry_interval_s > 0
    }

    /// Puts a message into the queue.
    pub(crate) fn wait(&mut self, now: Time, entry: impl Into<Waiting>) {
        self.note_waiting(now);
        self.queue.push(entry);
    }

    /// A message is about to wait, or to go out at once.
    pub(crate) fn note_waiting(&mut self, now: Time) {
        if self.backlog() == 0 {
            self.moved_at = now;
        }
    }

    /// Messages waiting or in flight.
    pub(crate) fn backlog(&self) -> usize {
        self.queue.len() + self.flight.len()
    }
}

/// All sessions, by key and by client identifier.
#[derive(Clone)]
pub(crate) struct Sessions {
    slab: Slab<Session>,
    by_client: KeyedMap<Text, SessionKey>,
    /// Ends of sessions that are recorded but perhaps not yet durable.
    ends: KeyedMap<Text, LogPosition>,
    ends_in_order: VecDeque<(LogPosition, Text)>,
}

/// With what is in them, which the slab does not show by itself, and in an order of their own.
impl fmt::Debug for Sessions {
    #[allow(clippy::disallowed_methods)] // It is sorted before it shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sessions { slab, by_client, ends, ends_in_order } = self;
        let sessions: BTreeMap<usize, &Session> = slab.iter().collect();
        let by_client: BTreeMap<&Text, &SessionKey> = by_client.iter().collect();
        let ends: BTreeMap<&Text, &LogPosition> = ends.iter().collect();
        f.debug_struct("Sessions")
            .field("sessions", &sessions)
            .field("next_key", &slab.vacant_key())
            .field("by_client", &by_client)
            .field("ends", &ends)
            .field("ends_in_order", ends_in_order)
            .finish()
    }
}

impl Sessions {
    pub(crate) fn new(state: KeyedState) -> Self {
        Sessions {
            slab: Slab::new(),
            by_client: KeyedMap::with_hasher(state.clone()),
            ends: KeyedMap::with_hasher(state),
            ends_in_order: VecDeque::new(),
        }
    }

    pub(crate) fn insert(&mut self, session: Session) -> SessionKey {
        let client_id = session.client_id.clone();
        let key = key_of(self.slab.insert(session));
        let earlier = self.by_client.insert(client_id, key);
        assert!(earlier.is_none(), "a client identifier has one session at most");
        key
    }

    pub(crate) fn find(&self, client_id: &Text) -> Option<SessionKey> {
        self.by_client.get(client_id).copied()
    }

    pub(crate) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.slab.get(key as usize)
    }

    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.slab.get_mut(key as usize)
    }

    /// Makes the client identifier free; the session itself stays until [`Sessions::remove`].
    pub(crate) fn forget_client(&mut self, key: SessionKey) {
        if let Some(session) = self.slab.get(key as usize) {
            self.by_client.remove(&session.client_id);
        }
    }

    /// Remembers where the end of a client's session is recorded.
    pub(crate) fn ended_at(&mut self, client_id: Text, at: LogPosition) {
        self.ends.insert(client_id.clone(), at);
        self.ends_in_order.push_back((at, client_id));
    }

    /// Where the end of the client's last session is recorded, if that may not be durable yet.
    pub(crate) fn recent_end(&self, client_id: &Text) -> LogPosition {
        self.ends.get(client_id).copied().unwrap_or(LogPosition::START)
    }

    /// Forgets the ends that are durable.
    pub(crate) fn forget_ends(&mut self, is_durable: impl Fn(LogPosition) -> bool) {
        while let Some((at, client_id)) = self.ends_in_order.pop_front_if(|(at, _)| is_durable(*at))
        {
            if self.ends.get(&client_id) == Some(&at) {
                self.ends.remove(&client_id);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: SessionKey) {
        self.slab.remove(key as usize);
    }

    /// Sessions that have not ended.
    pub(crate) fn len(&self) -> usize {
        self.by_client.len()
    }

    /// One above the highest key in use.
    pub(crate) fn end(&self) -> SessionKey {
        key_of(self.slab.capacity())
    }

    /// All sessions in the order of their keys, ended ones included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.slab.iter().map(|(key, session)| (key_of(key), session))
    }
}

fn key_of(index: usize) -> SessionKey {
    // `Limits::sessions` is a `u32`, and ended sessions are taken apart before many more come.
    SessionKey::try_from(index).unwrap_or(SessionKey::MAX)
}
