//! What became of each client, kept after it has gone: "why was I disconnected".
//!
//! Fed by the broker's notices, and by the doors before it. Bounded in clients, in events of each,
//! and in the refused who never had a name.

use std::collections::VecDeque;
use std::hash::RandomState;

use hashlink::LruCache;
use signalhouse_core::notice::{Cause, DropCause, SessionEnd};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Text, Version};
use signalhouse_core::{Notice, Time};

mod repeats;

pub use self::repeats::Repeated;
pub(crate) use self::repeats::{Repeats, origin};
use crate::transport::KeptOut;

/// Clients that are remembered; the one that was quiet longest is forgotten first.
pub const CLIENTS: usize = 10_000;
/// Events remembered of one client; the oldest is forgotten first.
pub const EVENTS: usize = 32;
/// Refused clients that are remembered, beside connections without a name; the oldest is forgotten
/// first.
pub const REFUSED: usize = 1_000;

/// Something that happened to a client, once or several times in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened first.
    pub at: Time,
    /// When it happened last.
    pub last_at: Time,
    /// How often.
    pub count: u64,
    /// What.
    pub what: What,
}

/// What can happen to a client.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It was let in.
    Connected {
        /// Where it comes from.
        peer: Text,
        /// In which version.
        version: Version,
        /// Whether a session was resumed.
        session_present: bool,
    },
    /// Its connection ended.
    Disconnected {
        /// Why.
        cause: Cause,
        /// Messages that waited for it.
        queued: u32,
    },
    /// It was not let in.
    Refused {
        /// Where it comes from.
        peer: Text,
        /// Why.
        cause: Cause,
    },
    /// Its session ended.
    SessionEnded {
        /// Why.
        cause: SessionEnd,
        /// Messages that waited and will not be delivered.
        discarded: u32,
    },
    /// Messages did not reach it.
    Dropped {
        /// Why.
        cause: DropCause,
        /// The first one's topic, unless the journal alone has it.
        topic: Option<Topic>,
    },
    /// Its publications were refused.
    PublishRefused {
        /// What it was told.
        reason: ReasonCode,
        /// The first one's topic.
        topic: Topic,
    },
    /// Its subscriptions were refused.
    SubscribeRefused {
        /// What it was told.
        reason: ReasonCode,
        /// The first one's filter.
        filter: TopicFilter,
    },
    /// Its will was published.
    WillPublished {
        /// Where.
        topic: Topic,
    },
    /// Its will was not published.
    WillRefused {
        /// Where.
        topic: Topic,
        /// Why.
        reason: ReasonCode,
    },
}

impl What {
    /// Whether it is the same again, apart from examples.
    fn is_like(&self, other: &What) -> bool {
        match (self, other) {
            (What::Dropped { cause: one, .. }, What::Dropped { cause: other, .. }) => one == other,
            (
                What::PublishRefused { reason: one, .. },
                What::PublishRefused { reason: other, .. },
            )
            | (
                What::SubscribeRefused { reason: one, .. },
                What::SubscribeRefused { reason: other, .. },
            ) => one == other,
            (one, other) => one == other,
        }
    }
}

/// A client that was not let in.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedEvent {
    /// When.
    pub at: Time,
    /// Where it comes from.
    pub peer: Text,
    /// Who it said it was.
    pub client_id: Text,
    /// Why.
    pub cause: Cause,
}

/// Why a connection without a name was not let in.
#[derive(Clone, Debug, PartialEq)]
pub enum RefusedCause {
    /// The broker's reason.
    Broker(Cause),
    /// It did not come as far as the broker.
    Door(KeptOut),
}

#[derive(Debug, Default)]
struct Client {
    events: VecDeque<Event>,
}

/// What became of the clients.
#[derive(Debug)]
pub struct History {
    /// In the order in which something happened to each last. Names are what strangers choose, so the hash is keyed; no
    /// order hangs on it.
    clients: LruCache<Text, Client, RandomState>,
    refused: VecDeque<RefusedEvent>,
    nameless: Repeats<RefusedCause>,
}

impl Default for History {
    fn default() -> Self {
        let clients = LruCache::with_hasher(CLIENTS, RandomState::new());
        History { clients, refused: VecDeque::new(), nameless: Repeats::default() }
    }
}

impl History {
    /// What is remembered of a client, the oldest first.
    pub fn events_of(&self, client_id: &Text) -> impl Iterator<Item = &Event> {
        self.clients.peek(client_id).into_iter().flat_map(|client| &client.events)
    }

    /// Clients that were not let in, the latest first.
    pub fn refused(&self) -> impl Iterator<Item = &RefusedEvent> {
        self.refused.iter().rev()
    }

    /// Connections that were not let in and did not say who they are, the latest first.
    pub fn nameless(&self) -> impl Iterator<Item = &Repeated<RefusedCause>> {
        self.nameless.latest()
    }

    /// How many clients are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Remembers what the broker has to say of its clients.
    pub(crate) fn notice(&mut self, now: Time, notice: &Notice) {
        let (client_id, what) = match notice {
            Notice::Connected { peer, client_id, version, session_present, .. } => {
                let (peer, version) = (peer.clone(), *version);
                (client_id, What::Connected { peer, version, session_present: *session_present })
            }
            Notice::Refused { peer, client_id, cause, .. } => {
                let Some(client_id) = client_id else {
                    self.nameless.add(now, peer, RefusedCause::Broker(cause.clone()));
                    return;
                };
                self.refuse(now, peer, client_id, cause.clone());
                (client_id, What::Refused { peer: peer.clone(), cause: cause.clone() })
            }
            Notice::Disconnected { client_id, cause, queued, .. } => {
                (client_id, What::Disconnected { cause: cause.clone(), queued: *queued })
            }
            Notice::SessionEnded { client_id, cause, discarded } => {
                (client_id, What::SessionEnded { cause: *cause, discarded: *discarded })
            }
            Notice::Dropped { receiver, topic, cause } => {
                (receiver, What::Dropped { cause: *cause, topic: Some(topic.clone()) })
            }
            Notice::DroppedUnread { receiver, cause, .. } => {
                (receiver, What::Dropped { cause: *cause, topic: None })
            }
            Notice::PublishRefused { client_id, topic, reason } => {
                (client_id, What::PublishRefused { reason: *reason, topic: topic.clone() })
            }
            Notice::SubscribeRefused { client_id, filter, reason } => {
                (client_id, What::SubscribeRefused { reason: *reason, filter: filter.clone() })
            }
            Notice::WillPublished { client_id, topic } => {
                (client_id, What::WillPublished { topic: topic.clone() })
            }
            Notice::WillRefused { client_id, topic, reason } => {
                (client_id, What::WillRefused { topic: topic.clone(), reason: *reason })
            }
            Notice::SessionStarted { .. }
            | Notice::Subscribed { .. }
            | Notice::Unsubscribed { .. }
            | Notice::UnknownAck { .. }
            | Notice::DuplicateSuppressed { .. }
            | Notice::RetainedExpired { .. }
            | Notice::PermissionsReplaced
            | Notice::JournalSpace { .. }
            | Notice::TimeJumped { .. } => return,
        };
        self.remember(now, client_id, what);
    }

    fn remember(&mut self, now: Time, client_id: &Text, what: What) {
        if let Some(client) = self.clients.get_mut(client_id) {
            client.add(now, what);
            return;
        }
        let mut client = Client::default();
        client.add(now, what);
        // A slice of a read buffer must not stay.
        self.clients.insert(client_id.compact(), client);
    }

    /// Remembers a connection that did not come as far as the broker.
    pub(crate) fn keep_out(&mut self, now: Time, peer: &Text, cause: KeptOut) {
        self.nameless.add(now, peer, RefusedCause::Door(cause));
    }

    fn refuse(&mut self, now: Time, peer: &Text, client_id: &Text, cause: Cause) {
        if self.refused.len() >= REFUSED {
            self.refused.pop_front();
        }
        let client_id = client_id.compact();
        self.refused.push_back(RefusedEvent { at: now, peer: peer.clone(), client_id, cause });
    }
}

impl Client {
    fn add(&mut self, now: Time, what: What) {
        if let Some(last) = self.events.back_mut()
            && last.what.is_like(&what)
        {
            last.count += 1;
            last.last_at = now;
            return;
        }
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        if self.events.len() == self.events.capacity() {
            // Of most clients there is one thing to know, that they came.
            self.events.reserve_exact((self.events.len() / 2).max(1));
        }
        self.events.push_back(Event { at: now, last_at: now, count: 1, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::TooMany;

    fn text(text: &str) -> Text {
        Text::try_from(text).expect("a short text")
    }

    fn dropped(client: &str, cause: DropCause) -> Notice {
        let topic = Topic::try_from("t").expect("a topic");
        Notice::Dropped { receiver: text(client), topic, cause }
    }

    #[test]
    fn the_same_again_is_counted() {
        let mut history = History::default();
        for ms in 0..5 {
            history.notice(Time::from_ms(ms), &dropped("a", DropCause::QueueFull));
        }
        history.notice(Time::from_ms(9), &dropped("a", DropCause::Expired));
        let events: Vec<_> = history.events_of(&text("a")).collect();
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].count, events[0].at), (5, Time::from_ms(0)));
        assert_eq!(events[0].last_at, Time::from_ms(4));
    }

    #[test]
    fn the_client_that_was_quiet_longest_is_forgotten() {
        let mut history = History::default();
        for number in 0..CLIENTS {
            history.notice(Time::ZERO, &dropped(&format!("c{number}"), DropCause::Expired));
        }
        history.notice(Time::ZERO, &dropped("c0", DropCause::QueueFull));
        history.notice(Time::ZERO, &dropped("new", DropCause::Expired));
        assert_eq!(history.len(), CLIENTS);
        assert_eq!(history.events_of(&text("c0")).count(), 2);
        assert_eq!(history.events_of(&text("c1")).count(), 0);
        assert_eq!(history.events_of(&text("new")).count(), 1);
    }

    #[test]
    fn events_and_refused_are_bounded() {
        let mut history = History::default();
        for number in 0..EVENTS as u32 + 8 {
            let cause = Cause::PeerClosed;
            let connection = signalhouse_core::ConnectionId { index: 0, generation: number };
            let queued = number;
            let client_id = text("a");
            history
                .notice(Time::ZERO, &Notice::Disconnected { connection, client_id, cause, queued });
        }
        assert_eq!(history.events_of(&text("a")).count(), EVENTS);
        for number in 0..REFUSED as u32 + 8 {
            let connection = signalhouse_core::ConnectionId { index: 0, generation: number };
            let cause = Cause::ConnectTimeout;
            let (peer, client_id) = (text(&number.to_string()), Some(text("b")));
            history.notice(Time::ZERO, &Notice::Refused { connection, peer, client_id, cause });
        }
        assert_eq!(history.refused().count(), REFUSED);
        let latest = history.refused().next().expect("there are some");
        assert_eq!(latest.peer.as_str(), (REFUSED + 7).to_string());
    }

    #[test]
    fn who_connects_in_a_loop_hides_nobody() {
        let mut history = History::default();
        let refuse = |history: &mut History, client_id, peer: &str, cause| {
            let connection = signalhouse_core::ConnectionId { index: 0, generation: 0 };
            let peer = text(peer);
            history.notice(Time::ZERO, &Notice::Refused { connection, peer, client_id, cause });
        };
        refuse(&mut history, Some(text("a")), "192.0.2.1:1", Cause::ConnectTimeout);
        refuse(&mut history, None, "192.0.2.1:2", Cause::ConnectTimeout);
        let strangers = || KeptOut::Strangers(TooMany::OfAddress);
        for port in 0..REFUSED + 8 {
            let peer = format!("192.0.2.2:{port}");
            history.keep_out(Time::ZERO, &text(&peer), strangers());
            refuse(&mut history, None, &peer, Cause::PeerClosed);
        }
        let named: Vec<_> = history.refused().map(|one| one.client_id.as_str()).collect();
        assert_eq!(named, ["a"]);
        let nameless: Vec<_> = history.nameless().map(|one| (&one.cause, one.count)).collect();
        let most = REFUSED as u64 + 8;
        assert_eq!(
            nameless,
            [
                (&RefusedCause::Broker(Cause::PeerClosed), most),
                (&RefusedCause::Door(strangers()), most),
                (&RefusedCause::Broker(Cause::ConnectTimeout), 1),
            ]
        );
    }
}
