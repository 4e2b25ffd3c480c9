//! Records made of typed fields: every kind, with everything that it may have.

use std::sync::Arc;

use arbitrary::Arbitrary;
use bytes::Bytes;
use signalhouse_core::credential::Claims;
use signalhouse_core::message::{self, MessageId};
use signalhouse_core::quota::{Holder, Owner};
use signalhouse_core::record::{
    Enqueued, GroupId, Origin, QueueSeq, Receiver, ReplayState, Requested, RetainedChange,
    SessionId,
};
use signalhouse_core::wire::packet::Will;
use signalhouse_core::wire::types::Version;
use signalhouse_core::{Record, Time};

use crate::target::values::{
    Message, Pairs, filter_of, inbound, options_of, outbound, pairs_of, qos_of, subscription_id_of,
    text_of, topic_of, version_of,
};

#[derive(Arbitrary, Debug)]
pub(super) enum Made<'a> {
    Connected(Box<Client<'a>>),
    Disconnected {
        session: Number,
        expiry_s: u32,
        keeps_will: bool,
        before: Number,
        at: Number,
    },
    SessionEnded {
        session: Number,
    },
    WillDropped {
        session: Number,
    },
    Subscribed(Box<Subscribed<'a>>),
    Unsubscribed {
        session: Number,
        filter: &'a str,
    },
    Published(Box<Published<'a>>),
    Requeued {
        message: Number,
        qos: u8,
        content_bytes: u32,
        expires_at: Option<Number>,
        entries: Vec<Entry>,
    },
    Replayed {
        session: Number,
        filter: &'a str,
        topic: &'a str,
        early: bool,
        message: Number,
        entry: Entry,
    },
    ReplayEnded {
        session: Number,
        filter: &'a str,
    },
    OfExchange {
        step: Step,
        session: Number,
        seq: Number,
        id: u16,
    },
    Removed {
        receiver: Queue,
        seq: Number,
    },
    Moved {
        from: Queue,
        seq: Number,
        to: Queue,
        qos: u8,
        ids: Vec<u32>,
        retain: bool,
    },
    Requested(Request<'a>),
    RetainedCleared {
        topic: &'a str,
    },
    Counted {
        kind: u8,
        name: &'a str,
        day: Number,
        count: Number,
    },
    Counters([Number; 4]),
}

/// Small for the most part, so that records speak of the same things; else near a bound.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Number(u8);

/// What a record says of a packet identifier.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Step {
    Bound,
    Received,
    Completed,
    InboundHeld,
    InboundReleased,
}

/// A session's queue, or a share's.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Queue {
    is_share: bool,
    number: Number,
}

#[derive(Arbitrary, Debug)]
pub(super) struct Entry {
    receiver: Queue,
    seq: Number,
    qos: u8,
    retain: bool,
    maybe_sent: bool,
    group: Option<Number>,
    ids: Vec<u32>,
}

#[derive(Arbitrary, Debug)]
pub(super) struct Client<'a> {
    session: Number,
    client_id: &'a str,
    identity: Option<&'a str>,
    claims: Pairs<'a>,
    address: Option<&'a str>,
    key: Option<&'a str>,
    version: u8,
    expiry_s: u32,
    will: Option<(u8, bool, u32, Message<'a>)>,
    at: Number,
}

#[derive(Arbitrary, Debug)]
pub(super) struct Subscribed<'a> {
    session: Number,
    filter: &'a str,
    options: u8,
    subscription_id: Option<u32>,
    group: Number,
    replay: Option<(Number, Option<&'a str>, Vec<&'a str>)>,
}

#[derive(Arbitrary, Debug)]
pub(super) struct Published<'a> {
    id: Number,
    qos: u8,
    message: Message<'a>,
    origin: From<'a>,
    retained: Change<'a>,
    entries: Vec<Entry>,
    at: Option<Number>,
}

#[derive(Arbitrary, Debug)]
enum From<'a> {
    Nobody,
    Client { session: Number, id: u16 },
    Will { session: Number },
    Request(Request<'a>),
}

#[derive(Arbitrary, Debug)]
enum Change<'a> {
    None,
    Set(Option<(&'a str, [Option<&'a str>; 3])>),
    Clear,
}

#[derive(Arbitrary, Debug)]
pub(super) struct Request<'a> {
    identity: Option<&'a str>,
    key: &'a str,
    fingerprint: u64,
    matched: u32,
    at: Number,
}

impl Number {
    fn value(self) -> u64 {
        match self.0 {
            0xFF => u64::MAX,
            0xFE => u64::MAX / 2 + 1,
            0xFD => u64::MAX / 2,
            0xFC => u64::from(u32::MAX),
            small => u64::from(small),
        }
    }

    fn session(self) -> SessionId {
        SessionId(self.value())
    }

    fn seq(self) -> QueueSeq {
        QueueSeq(self.value())
    }

    fn group(self) -> GroupId {
        GroupId(self.value())
    }

    fn message(self) -> MessageId {
        MessageId(self.value())
    }

    fn time(self) -> Time {
        Time::from_ms(self.value())
    }
}

impl Queue {
    fn receiver(self) -> Receiver {
        if self.is_share {
            Receiver::Group(self.number.group())
        } else {
            Receiver::Session(self.number.session())
        }
    }
}

impl Entry {
    fn enqueued(&self) -> Enqueued {
        Enqueued {
            receiver: self.receiver.receiver(),
            seq: self.seq.seq(),
            qos: qos_of(self.qos),
            retain: self.retain,
            maybe_sent: self.maybe_sent,
            group: self.group.map(Number::group),
            subscription_ids: self.ids.iter().map(|id| subscription_id_of(*id)).collect(),
        }
    }
}

impl Made<'_> {
    pub(super) fn record(&self) -> Record {
        match self {
            Made::Connected(client) => client.record(),
            Made::Disconnected { session, expiry_s, keeps_will, before, at } => {
                Record::Disconnected {
                    session: session.session(),
                    session_expiry_interval_s: *expiry_s,
                    keeps_will: *keeps_will,
                    maybe_sent_before: before.seq(),
                    at: at.time(),
                }
            }
            Made::SessionEnded { session } => Record::SessionEnded { session: session.session() },
            Made::WillDropped { session } => Record::WillDropped { session: session.session() },
            Made::Subscribed(subscribed) => subscribed.record(),
            Made::Unsubscribed { session, filter } => {
                Record::Unsubscribed { session: session.session(), filter: filter_of(filter) }
            }
            Made::Published(published) => published.record(),
            Made::Requeued { message, qos, content_bytes, expires_at, entries } => {
                Record::Requeued {
                    message: message.message(),
                    qos: qos_of(*qos),
                    content_bytes: *content_bytes,
                    expires_at: expires_at.map(Number::time),
                    entries: entries.iter().map(Entry::enqueued).collect(),
                }
            }
            Made::Replayed { session, filter, topic, early, message, entry } => Record::Replayed {
                session: session.session(),
                filter: filter_of(filter),
                topic: topic_of(topic),
                early: *early,
                message: message.message(),
                entry: entry.enqueued(),
            },
            Made::ReplayEnded { session, filter } => {
                Record::ReplayEnded { session: session.session(), filter: filter_of(filter) }
            }
            Made::Removed { receiver, seq } => {
                Record::Removed { receiver: receiver.receiver(), seq: seq.seq() }
            }
            Made::Moved { from, seq, to, qos, ids, retain } => Record::Moved {
                from: from.receiver(),
                seq: seq.seq(),
                to: to.receiver(),
                qos: qos_of(*qos),
                subscription_ids: ids.iter().map(|id| subscription_id_of(*id)).collect(),
                retain: *retain,
            },
            Made::OfExchange { step, session, seq, id } => {
                step.record(session.session(), seq.seq(), *id)
            }
            Made::Requested(request) => Record::Requested(Box::new(request.requested())),
            Made::RetainedCleared { topic } => Record::RetainedCleared { topic: topic_of(topic) },
            Made::Counted { kind, name, day, count } => Record::Counted {
                holder: holder(*kind, name),
                day: day.value(),
                count: count.value(),
            },
            Made::Counters([session, group, message, seq]) => Record::Counters {
                next_session: session.session(),
                next_group: group.group(),
                next_message: message.message(),
                next_seq: seq.seq(),
            },
        }
    }
}

impl Step {
    fn record(self, session: SessionId, seq: QueueSeq, id: u16) -> Record {
        let (inbound, outbound) = (inbound(id), outbound(id));
        match self {
            Step::Bound => Record::Bound { session, seq, packet_id: outbound },
            Step::Received => Record::Received { session, packet_id: outbound },
            Step::Completed => Record::Completed { session, packet_id: outbound },
            Step::InboundHeld => Record::InboundHeld { session, packet_id: inbound },
            Step::InboundReleased => Record::InboundReleased { session, packet_id: inbound },
        }
    }
}

fn holder(kind: u8, name: &str) -> Holder {
    let name = text_of(name);
    match kind % 4 {
        0 => Holder::User(name),
        1 => Holder::Client(name),
        2 => Holder::Address(name),
        _ => Holder::Key(name),
    }
}

impl Client<'_> {
    fn record(&self) -> Record {
        let will = self.will.as_ref().map(|(qos, retain, delay_s, message)| {
            Arc::new(Will {
                topic: topic_of(message.topic),
                payload: Bytes::copy_from_slice(message.payload),
                qos: qos_of(*qos),
                retain: *retain,
                delay_interval_s: *delay_s,
                message_expiry_interval_s: message.expiry_s,
                properties: message.properties(Version::V5),
            })
        });
        Record::Connected {
            session: self.session.session(),
            client_id: text_of(self.client_id),
            identity: self.identity.map(text_of),
            claims: Claims::new(pairs_of(&self.claims)),
            address: self.address.map(text_of),
            key: self.key.map(text_of),
            version: version_of(self.version),
            session_expiry_interval_s: self.expiry_s,
            will,
            at: self.at.time(),
        }
    }
}

impl Subscribed<'_> {
    fn record(&self) -> Record {
        let filter = filter_of(self.filter);
        let is_shared = filter.is_shared();
        let replay = self.replay.as_ref().map(|(before, after, early)| ReplayState {
            before: before.message(),
            after_topic: after.map(topic_of),
            early: early.iter().map(|topic| topic_of(topic)).collect(),
        });
        Record::Subscribed {
            session: self.session.session(),
            filter,
            options: options_of(self.options, Version::V5, is_shared),
            subscription_id: self.subscription_id.map(subscription_id_of),
            group: is_shared.then(|| self.group.group()),
            replay,
        }
    }
}

impl Published<'_> {
    fn record(&self) -> Record {
        let message = message::Message {
            id: self.id.message(),
            topic: topic_of(self.message.topic),
            payload: Bytes::copy_from_slice(self.message.payload),
            qos: qos_of(self.qos),
            expires_at: self.message.expiry_s.map(|after_s| Time::ZERO.plus_seconds(after_s)),
            properties: self.message.properties(Version::V5),
        };
        Record::Published {
            message: Arc::new(message),
            origin: match &self.origin {
                From::Nobody => Origin::Untracked,
                From::Client { session, id } => {
                    Origin::Inbound { session: session.session(), packet_id: inbound(*id) }
                }
                From::Will { session } => Origin::Will { session: session.session() },
                From::Request(request) => Origin::Request(Box::new(request.requested())),
            },
            retained: match &self.retained {
                Change::None => RetainedChange::None,
                Change::Set(publisher) => RetainedChange::Set {
                    publisher: publisher.as_ref().map(|(client_id, [identity, address, key])| {
                        Arc::new(Owner {
                            identity: identity.map(text_of),
                            client_id: text_of(client_id),
                            address: address.map(text_of),
                            key: key.map(text_of),
                        })
                    }),
                },
                Change::Clear => RetainedChange::Clear,
            },
            entries: self.entries.iter().map(Entry::enqueued).collect(),
            at: self.at.map(Number::time),
        }
    }
}

impl Request<'_> {
    fn requested(&self) -> Requested {
        Requested {
            identity: self.identity.map(text_of),
            key: text_of(self.key),
            fingerprint: self.fingerprint,
            matched: self.matched,
            at: self.at.time(),
        }
    }
}
