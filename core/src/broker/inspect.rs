//! What a driver may look at: read-only views of sessions, subscriptions, retained messages.
//!
//! Each view is bounded by what its caller asks for, and goes on where the last one stopped.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broker;
use crate::input::ConnectionId;
use crate::message::{Message, MessageId};
use crate::routing::retained::Scan;
use crate::routing::topic::{Topic, TopicFilter};
use crate::session::Session;
use crate::session::flight::Stage;
use crate::session::queue::Waiting;
use crate::time::Time;
use crate::wire::types::{OutboundPacketId, QoS, Text, Version};

/// A session, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// The client.
    pub client_id: Text,
    /// Whom it belongs to; `None` for an anonymous client.
    pub identity: Option<Text>,
    /// The version of its last connection.
    pub version: Version,
    /// Its connection, while it has one.
    pub connection: Option<ConnectionId>,
    /// Where that comes from.
    pub peer: Option<Text>,
    /// When its connection began or, while it has none, ended.
    pub since: Time,
    /// When it ends, if nobody connects before.
    pub ends_at: Option<Time>,
    /// How long it outlives its connection, in seconds; `u32::MAX` for ever.
    pub session_expiry_interval_s: u32,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Messages waiting.
    pub queued: usize,
    /// Bytes of their content.
    pub queued_bytes: u64,
    /// Deliveries at QoS 1 and 2 that are not finished.
    pub inflight: usize,
    /// Bytes of the content of those that the client has not received.
    pub inflight_bytes: u64,
    /// Since when nothing of these has moved: since the first of them came, or the client last
    /// took or acknowledged one, or the broker started. `None` if there is nothing.
    pub waits_since: Option<Time>,
    /// Whether it has a will that has not been published.
    pub has_will: bool,
}

/// A subscription, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionView {
    /// The filter, `$share/…` included.
    pub filter: TopicFilter,
    /// The QoS granted.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Its identifier.
    pub subscription_id: Option<u32>,
}

/// A shared subscription, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareView {
    /// The filter, `$share/NAME/` included.
    pub filter: TopicFilter,
    /// Its members.
    pub members: usize,
    /// Those of them that are connected.
    pub members_connected: usize,
    /// Messages that wait for a member.
    pub queued: usize,
    /// Bytes of their content.
    pub queued_bytes: u64,
    /// The first of them.
    pub oldest_queued: Option<DeliveryView>,
}

/// A message on its way to one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryView {
    /// The message; `None` once the client has it and the rest of QoS 2 is under way.
    pub message_id: Option<MessageId>,
    /// Its topic, unless the journal alone has it.
    pub topic: Option<Topic>,
    /// Bytes of its content.
    pub bytes: u64,
    /// At which QoS.
    pub qos: QoS,
    /// Its packet identifier; `None` while it waits in the queue.
    pub packet_id: Option<OutboundPacketId>,
    /// Whether the client may have seen it.
    pub maybe_sent: bool,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Network connections, accepted or not.
    pub connections: usize,
    /// Accepted connections.
    pub clients_connected: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Subscriptions that are not shared.
    pub subscriptions: usize,
    /// Shared subscriptions.
    pub shared_subscriptions: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of their content.
    pub retained_bytes: u64,
}

impl Broker {
    /// How much there is of everything.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            connections: self.links.len(),
            clients_connected: self.clients_connected(),
            sessions: self.sessions.len(),
            subscriptions: self.subscriptions.len(),
            shared_subscriptions: self.shares.len(),
            retained_messages: self.retained.len(),
            retained_bytes: self.retained.content_bytes(),
        }
    }

    /// The present moment, as the broker was last told.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Sessions for which `wanted` says so, from the place `from` (0 at first), and the place to
    /// go on from. Looks at `visits` places at most.
    pub fn sessions(
        &self,
        from: u32,
        limit: usize,
        visits: u32,
        wanted: impl Fn(&SessionView) -> bool,
    ) -> (Vec<SessionView>, Option<u32>) {
        let end = self.sessions.end();
        let mut found = Vec::new();
        let mut place = from;
        while place < end && place - from < visits && found.len() < limit {
            let session = self.live_session(place);
            found.extend(session.map(|session| self.view(session)).filter(&wanted));
            place += 1;
        }
        (found, (place < end).then_some(place))
    }

    /// Shared subscriptions with at least `least` messages that wait for a member, as
    /// [`Broker::sessions`] lists sessions.
    #[must_use]
    pub fn shares(
        &self,
        from: u32,
        limit: usize,
        visits: u32,
        least: usize,
    ) -> (Vec<ShareView>, Option<u32>) {
        let end = self.groups.end();
        let mut found = Vec::new();
        let mut place = from;
        while place < end && place - from < visits && found.len() < limit {
            let group = self.groups.get(place).filter(|group| group.queue.len() >= least);
            found.extend(group.map(|group| ShareView {
                filter: group.filter.clone(),
                members: group.members().count(),
                members_connected: group.online_len(),
                queued: group.queue.len(),
                queued_bytes: group.queue.content_bytes(),
                oldest_queued: group.queue.iter().next().map(|entry| delivery(&entry, None)),
            }));
            place += 1;
        }
        (found, (place < end).then_some(place))
    }

    /// The session of a client.
    #[must_use]
    pub fn session(&self, client_id: &Text) -> Option<SessionView> {
        self.session_of(client_id).map(|session| self.view(session))
    }

    /// `limit` subscriptions of a client, those after the filter `after`.
    #[must_use]
    pub fn subscriptions_of(
        &self,
        client_id: &Text,
        after: Option<&TopicFilter>,
        limit: usize,
    ) -> Vec<SubscriptionView> {
        let Some(session) = self.session_of(client_id) else { return Vec::new() };
        self.subscriptions_behind(session, after)
            .take(limit)
            .map(|(filter, subscription)| SubscriptionView {
                filter,
                qos: subscription.options.maximum_qos,
                no_local: subscription.options.no_local,
                retain_as_published: subscription.options.retain_as_published,
                subscription_id: subscription.subscription_id,
            })
            .collect()
    }

    /// Unfinished deliveries to a client, in the order in which they began: `limit` at most.
    #[must_use]
    pub fn inflight_of(&self, client_id: &Text, limit: usize) -> Vec<DeliveryView> {
        let Some(session) = self.session_of(client_id) else { return Vec::new() };
        let ids = session.flight.in_order().into_iter().take(limit);
        ids.filter_map(|(id, _)| {
            Some(match &session.flight.get(id)?.stage {
                Stage::Publish { entry, .. } => delivery(entry, Some(id)),
                Stage::Release { .. } => DeliveryView {
                    message_id: None,
                    topic: None,
                    bytes: 0,
                    qos: QoS::ExactlyOnce,
                    packet_id: Some(id),
                    maybe_sent: true,
                },
            })
        })
        .collect()
    }

    /// The first `limit` messages waiting for a client.
    #[must_use]
    pub fn queue_of(&self, client_id: &Text, limit: usize) -> Vec<DeliveryView> {
        let Some(session) = self.session_of(client_id) else { return Vec::new() };
        session.queue.iter().take(limit).map(|entry| delivery(&entry, None)).collect()
    }

    /// `limit` retained messages that match `filter`, after the topic `after`, in the store's
    /// order, and where to go on. Takes `visits` steps at most.
    #[must_use]
    pub fn retained_matching(
        &self,
        filter: &TopicFilter,
        after: Option<&Topic>,
        limit: usize,
        visits: usize,
    ) -> (Vec<Arc<Message>>, Option<Topic>) {
        let (mut visits, mut after) = (visits, after.cloned());
        let mut found = Vec::new();
        while found.len() < limit {
            match self.retained.next_match(filter, after.as_ref(), &mut visits) {
                Scan::Found(entry) => {
                    after = Some(entry.topic().clone());
                    if !entry.message.is_expired(self.now) {
                        found.push(entry.message.clone());
                    }
                }
                Scan::Paused(at) => return (found, at.or(after)),
                Scan::End => return (found, None),
            }
        }
        (found, after)
    }

    /// Whose connection this is, once it is accepted.
    #[must_use]
    pub fn client_of(&self, connection: ConnectionId) -> Option<&Text> {
        let key = self.links.get(connection)?.session()?;
        self.sessions.get(key).map(|session| &session.client_id)
    }

    fn session_of(&self, client_id: &Text) -> Option<&Session> {
        self.sessions.find(client_id).and_then(|key| self.live_session(key))
    }

    fn view(&self, session: &Session) -> SessionView {
        let link = session.connection.and_then(|connection| self.links.get(connection));
        SessionView {
            client_id: session.client_id.clone(),
            identity: session.identity.clone(),
            version: session.version,
            connection: session.connection,
            peer: link.map(|link| link.peer.clone()),
            since: session.left_at,
            ends_at: (session.ends_at != Time::NEVER).then_some(session.ends_at),
            session_expiry_interval_s: session.expiry_interval_s,
            subscriptions: self.subscription_count(session),
            queued: session.queue.len(),
            queued_bytes: session.queue.content_bytes(),
            inflight: session.flight.len(),
            inflight_bytes: session.flight.content_bytes(),
            waits_since: (session.backlog() > 0).then_some(session.moved_at),
            has_will: session.will.is_some(),
        }
    }
}

fn delivery(entry: &Waiting, packet_id: Option<OutboundPacketId>) -> DeliveryView {
    DeliveryView {
        message_id: Some(entry.message.id()),
        topic: entry.message.topic(),
        bytes: entry.message.content_bytes(),
        qos: entry.qos,
        packet_id,
        maybe_sent: entry.maybe_sent,
    }
}
