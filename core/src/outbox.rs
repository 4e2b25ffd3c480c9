//! What the broker tells the driver.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::{self, Vec};

use bytes::Bytes;

use crate::input::ConnectionId;
use crate::message::MessageId;
use crate::notice::Notice;
use crate::record::{LogPosition, Record};
use crate::wire::packet::{OutboundPublish, ServerPacket};
use crate::wire::reason::ReasonCode;
use crate::wire::types::{Text, Version};

/// One consequence of an input.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write this packet.
    Send {
        /// To this connection.
        connection: ConnectionId,
        /// The packet.
        packet: ServerPacket,
    },
    /// Close the connection once what was sent before is written. Its last action: the broker has
    /// forgotten the connection, and no `Closed` is owed for it.
    Close {
        /// The connection.
        connection: ConnectionId,
    },
    /// Append this record to the journal. Positions rise by one.
    Persist {
        /// The record's position.
        at: LogPosition,
        /// The record.
        record: Record,
    },
    /// Answer this question with [`Input::Authenticated`](crate::Input::Authenticated).
    Ask {
        /// The connection in question.
        connection: ConnectionId,
        /// The question.
        question: Box<Question>,
    },
    /// Read this message back from the journal and answer with
    /// [`Input::Fetched`](crate::Input::Fetched).
    ///
    /// It is that of any [`Record::Published`] with this number that the journal has at this place in
    /// the order of actions; records that follow may be the last to speak of it. There is no answer
    /// for a message that cannot be read: then what was promised is damaged, and the driver stops.
    Fetch {
        /// The message.
        message: MessageId,
    },
    /// What came of a [`Command::PublishFor`](crate::input::Command::PublishFor).
    Answer(Answer),
    /// Something worth knowing.
    Notice(Notice),
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which request.
    pub ticket: u64,
    /// What a client would read in PUBACK: [`ReasonCode::Success`],
    /// [`ReasonCode::NoMatchingSubscribers`] or a refusal; and
    /// [`ReasonCode::PacketIdentifierInUse`] for a key that another message was published under.
    pub reason: ReasonCode,
    /// Sessions and shares with a matching subscription.
    pub matched: u32,
    /// Whether it is that of an earlier request with the same key.
    pub repeated: bool,
    /// Where its quotas stand.
    pub quota: QuotaState,
}

/// Where the quotas of a request stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaState {
    /// How many more publications there may be today, if that is bound.
    pub remaining_today: Option<u64>,
    /// Set if a quota is used up, which is then why it was refused: when to try again.
    pub retry_after_ms: Option<u64>,
    /// Set if its quota of stored bytes has no room, which is then why it was refused.
    pub is_storage_full: bool,
}

/// Who is this?
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// By user name and password, or by what the connection itself shows.
    Credentials {
        /// The client identifier, assigned if it was empty.
        client_id: Text,
        /// The protocol version.
        version: Version,
        /// User name, if any.
        user_name: Option<Text>,
        /// Password, if any.
        password: Option<Bytes>,
    },
    /// By an enhanced method's next step.
    Exchange {
        /// The client identifier, assigned if it was empty.
        client_id: Text,
        /// The method.
        method: Text,
        /// The client's data.
        data: Option<Bytes>,
        /// Which step.
        step: ExchangeStep,
    },
}

/// Where an enhanced authentication stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeStep {
    /// The CONNECT's data.
    Connect,
    /// The first AUTH of a re-authentication.
    ReAuthenticate,
    /// A later AUTH of either.
    Continue,
}

/// An action, or the same for many at once.
#[derive(Clone, Debug)]
pub enum Step {
    /// One action.
    One(Action),
    /// [`Action::Send`] of this PUBLISH to each of these connections, in this order. It is at QoS 0 and
    /// without subscription identifiers, and all of them speak one version and take packets of any size.
    Alike {
        /// To whom. What follows for the very same list shares it.
        connections: Arc<[ConnectionId]>,
        /// What.
        publish: OutboundPublish,
    },
}

/// The consequences of one or more inputs, in order. The driver owns it and reuses its memory.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    steps: Vec<Step>,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub const fn new() -> Self {
        Outbox { steps: Vec::new() }
    }

    /// Takes every action out, in order, and keeps the memory.
    pub fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        Actions { steps: self.steps.drain(..), alike: None }
    }

    /// The same for a driver that writes to many at once.
    pub fn drain_steps(&mut self) -> impl Iterator<Item = Step> + '_ {
        self.steps.drain(..)
    }

    pub(crate) fn push(&mut self, action: Action) {
        self.steps.push(Step::One(action));
    }

    pub(crate) fn push_alike(
        &mut self,
        connections: Arc<[ConnectionId]>,
        publish: OutboundPublish,
    ) {
        self.steps.push(Step::Alike { connections, publish });
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.push(Action::Notice(notice));
    }
}

/// Takes steps apart.
struct Actions<'a> {
    steps: vec::Drain<'a, Step>,
    /// What is being taken apart, and how many have had it.
    alike: Option<(Arc<[ConnectionId]>, usize, OutboundPublish)>,
}

impl Iterator for Actions<'_> {
    type Item = Action;

    fn next(&mut self) -> Option<Action> {
        loop {
            if let Some((connections, next, publish)) = &mut self.alike
                && let Some(connection) = connections.get(*next).copied()
            {
                *next += 1;
                let packet = ServerPacket::Publish(publish.clone());
                return Some(Action::Send { connection, packet });
            }
            match self.steps.next()? {
                Step::One(action) => return Some(action),
                Step::Alike { connections, publish } => {
                    self.alike = Some((connections, 0, publish));
                }
            }
        }
    }
}
