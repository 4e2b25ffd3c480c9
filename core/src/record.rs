//! The journal's records: what the broker must remember across a power cut, in the order it
//! happened. A record is atomic: recovery from any whole number of them is a legal state.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::credential::Claims;
use crate::message::{Message, MessageId};
use crate::quota::{Holder, Owner};
use crate::routing::topic::{Topic, TopicFilter};
use crate::time::Time;
use crate::wire::packet::{SubscriptionOptions, Will};
use crate::wire::property::SubscriptionIds;
use crate::wire::types::{InboundPacketId, OutboundPacketId, QoS, Text, Version};

/// A place in the journal. Positions rise by one from record to record, across restarts too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(pub u64);

impl LogPosition {
    /// Before the first record; always durable.
    pub const START: LogPosition = LogPosition(0);
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// A session, for as long as it exists; never used for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// A shared subscription's group, for as long as it has members; never used for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

/// A place in a session's or group's queue. Rises with every entry of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueSeq(pub u64);

impl fmt::Display for QueueSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q{}", self.0)
    }
}

/// One change of durable state.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A client connected: its session was created, resumed or changed, its will armed.
    Connected {
        /// The session, new or resumed.
        session: SessionId,
        /// Whose it is.
        client_id: Text,
        /// Which identity created it.
        identity: Option<Text>,
        /// What this CONNECT showed of the client beyond that.
        claims: Claims,
        /// The address it came from.
        address: Option<Text>,
        /// The API key it came in by.
        key: Option<Text>,
        /// The version spoken.
        version: Version,
        /// How many seconds it outlives its connection.
        session_expiry_interval_s: u32,
        /// The will armed by this CONNECT; replaces an earlier one.
        will: Option<Arc<Will>>,
        /// When.
        at: Time,
    },
    /// A connection ended and its session goes on without one.
    Disconnected {
        /// The session.
        session: SessionId,
        /// The expiry interval that counts from now.
        session_expiry_interval_s: u32,
        /// Whether the will is still to be published.
        keeps_will: bool,
        /// If a crash ended it: entries before this one, at QoS 1, may have been sent. Else 0.
        maybe_sent_before: QueueSeq,
        /// When.
        at: Time,
    },
    /// A session ended; everything of it is gone. Its will went before, in a record of its own.
    SessionEnded {
        /// The session.
        session: SessionId,
    },
    /// A session's armed will was dropped without being published.
    WillDropped {
        /// The session.
        session: SessionId,
    },
    /// A subscription was made or replaced.
    Subscribed {
        /// The session.
        session: SessionId,
        /// The filter.
        filter: TopicFilter,
        /// Its options, with the QoS granted.
        options: SubscriptionOptions,
        /// Its identifier.
        subscription_id: Option<u32>,
        /// The group, if the filter is shared.
        group: Option<GroupId>,
        /// The replay of retained messages that begins with it or, in a snapshot, goes on.
        replay: Option<ReplayState>,
    },
    /// A subscription was removed.
    Unsubscribed {
        /// The session.
        session: SessionId,
        /// The filter.
        filter: TopicFilter,
    },
    /// A message was accepted: everything that follows from that at once.
    Published {
        /// The message.
        message: Arc<Message>,
        /// Where it came from, as far as that must be remembered.
        origin: Origin,
        /// What it does to the topic's retained message.
        retained: RetainedChange,
        /// The queues it joins.
        entries: Vec<Enqueued>,
        /// When, if it expires or is retained: no time axis may begin before that, or it would live longer than its
        /// interval, and what had expired would be retained beside it.
        at: Option<Time>,
    },
    /// Queue entries of a message that an earlier record of the journal has. Only in snapshots, where
    /// the message is not in memory; what keeps the snapshot without that earlier record puts a
    /// [`Record::Published`] of the message with these entries in its place.
    Requeued {
        /// The message.
        message: MessageId,
        /// The QoS it was published at.
        qos: QoS,
        /// Its [`Message::content_bytes`].
        content_bytes: u32,
        /// When it stops being worth anything.
        expires_at: Option<Time>,
        /// The queues that have it.
        entries: Vec<Enqueued>,
    },
    /// A retained message was queued for a session by its subscribe's replay.
    Replayed {
        /// The session.
        session: SessionId,
        /// The filter whose replay it is.
        filter: TopicFilter,
        /// The retained message's topic: the replay goes on after it, unless this went out early.
        topic: Topic,
        /// Whether it went out before its turn, ahead of a live message of its topic.
        early: bool,
        /// The message.
        message: MessageId,
        /// The queue entry.
        entry: Enqueued,
    },
    /// A replay reached its end.
    ReplayEnded {
        /// The session.
        session: SessionId,
        /// The filter.
        filter: TopicFilter,
    },
    /// A queue entry got a packet identifier and is in flight.
    Bound {
        /// The session.
        session: SessionId,
        /// The entry.
        seq: QueueSeq,
        /// Its packet identifier.
        packet_id: OutboundPacketId,
    },
    /// PUBREC came for a delivery at QoS 2; PUBREL is owed.
    Received {
        /// The session.
        session: SessionId,
        /// The delivery's packet identifier.
        packet_id: OutboundPacketId,
    },
    /// A delivery in flight ended.
    Completed {
        /// The session.
        session: SessionId,
        /// The delivery's packet identifier, free again.
        packet_id: OutboundPacketId,
    },
    /// A queue entry left its queue undelivered or was delivered at QoS 0.
    Removed {
        /// The queue.
        receiver: Receiver,
        /// The entry.
        seq: QueueSeq,
    },
    /// A group's message went to a member, or back to the group or on to another member.
    Moved {
        /// The queue or flight it leaves.
        from: Receiver,
        /// The entry.
        seq: QueueSeq,
        /// The queue it joins, under the same sequence number.
        to: Receiver,
        /// The QoS it has there.
        qos: QoS,
        /// The identifiers it has there.
        subscription_ids: SubscriptionIds,
        /// RETAIN as it will be sent there.
        retain: bool,
    },
    /// A client's QoS 2 publication is received and not yet released. Only in snapshots: otherwise
    /// the publication's own record says it.
    InboundHeld {
        /// The session.
        session: SessionId,
        /// The client's packet identifier.
        packet_id: InboundPacketId,
    },
    /// PUBREL came for a client's QoS 2 publication; its packet identifier is free.
    InboundReleased {
        /// The session.
        session: SessionId,
        /// The client's packet identifier.
        packet_id: InboundPacketId,
    },
    /// A request under a key was carried out. Only in snapshots: otherwise the publication's own
    /// record says it.
    Requested(Box<Requested>),
    /// The topic's retained message is gone. Only where no publication says so.
    RetainedCleared {
        /// The topic.
        topic: Topic,
    },
    /// How many publications of this day count against the holder's quota.
    Counted {
        /// Whose.
        holder: Holder,
        /// The day of UTC, counted from 1970.
        day: u64,
        /// How many.
        count: u64,
    },
    /// Counters that must never go back. Opens a snapshot.
    Counters {
        /// The next session.
        next_session: SessionId,
        /// The next group.
        next_group: GroupId,
        /// The next message.
        next_message: MessageId,
        /// The next queue entry.
        next_seq: QueueSeq,
    },
}

impl Record {
    /// The record with its message, where `find` knows it: a [`Record::Requeued`] becomes the
    /// [`Record::Published`] that stands for it alone.
    #[must_use]
    pub fn with_message(self, find: impl FnOnce(MessageId) -> Option<Arc<Message>>) -> Self {
        let Record::Requeued { message: id, entries, .. } = &self else { return self };
        let Some(message) = find(*id) else { return self };
        Record::Published {
            message,
            origin: Origin::Untracked,
            retained: RetainedChange::None,
            entries: entries.clone(),
            at: None,
        }
    }

    /// The message that the record brings, if it is the one with this number.
    #[must_use]
    pub fn message(&self, id: MessageId) -> Option<&Arc<Message>> {
        if let Record::Published { message, .. } = self
            && message.id == id
        {
            return Some(message);
        }
        None
    }
}

/// A subscribe's delivery of retained messages.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayState {
    /// Messages from this one on were delivered live.
    pub before: MessageId,
    /// It goes on behind this topic.
    pub after_topic: Option<Topic>,
    /// Topics behind that one whose message went out early, in order.
    pub early: Vec<Topic>,
}

/// Where a published message came from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Nothing about the publisher must be remembered.
    Untracked,
    /// A durable session's QoS 2 PUBLISH: its packet identifier is now held.
    Inbound {
        /// The publisher's session.
        session: SessionId,
        /// The publisher's packet identifier.
        packet_id: InboundPacketId,
    },
    /// A session's will, which is thereby no longer armed.
    Will {
        /// The session.
        session: SessionId,
    },
    /// A request that must not be carried out twice.
    Request(Box<Requested>),
}

/// A request under a key that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// Whose it was; the keys of one identity are its own.
    pub identity: Option<Text>,
    /// Its key.
    pub key: Text,
    /// Tells its message from another that comes under the same key.
    pub fingerprint: u64,
    /// Sessions and shares with a matching subscription.
    pub matched: u32,
    /// When.
    pub at: Time,
}

/// What a publication does to its topic's retained message.
#[derive(Clone, Debug, PartialEq)]
pub enum RetainedChange {
    /// Nothing.
    None,
    /// The message becomes it.
    Set {
        /// The publishing client, for No Local and for quotas of stored bytes.
        publisher: Option<Arc<Owner>>,
    },
    /// It is removed.
    Clear,
}

/// Whose queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receiver {
    /// A session's.
    Session(SessionId),
    /// A shared subscription's group's.
    Group(GroupId),
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Receiver::Session(session) => session.fmt(f),
            Receiver::Group(group) => group.fmt(f),
        }
    }
}

/// A message's entry in one queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Enqueued {
    /// The queue.
    pub receiver: Receiver,
    /// The place in it.
    pub seq: QueueSeq,
    /// The QoS it will be delivered at.
    pub qos: QoS,
    /// RETAIN as it will be sent.
    pub retain: bool,
    /// Whether the client may have seen it. Only in snapshots.
    pub maybe_sent: bool,
    /// The group a session has it from.
    pub group: Option<GroupId>,
    /// The identifiers it will be sent with.
    pub subscription_ids: SubscriptionIds,
}

impl Enqueued {
    /// An entry in a group's queue, with QoS and RETAIN as the message was published.
    pub(crate) fn at_group(group: GroupId, seq: QueueSeq, qos: QoS, retain: bool) -> Self {
        Enqueued {
            receiver: Receiver::Group(group),
            seq,
            qos,
            retain,
            maybe_sent: false,
            group: None,
            subscription_ids: SubscriptionIds::None,
        }
    }
}
