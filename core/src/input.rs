//! What the driver tells the broker.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use bytes::Bytes;

use crate::credential::Credential;
use crate::message::Message;
use crate::permission::Permissions;
use crate::quota::Quotas;
use crate::record::LogPosition;
use crate::routing::topic::Topic;
use crate::wire::DecodeError;
use crate::wire::packet::ClientPacket;
use crate::wire::property::MessageProperties;
use crate::wire::reason::ReasonCode;
use crate::wire::types::{QoS, Text, Version};

/// A network connection, named by the driver.
///
/// The driver chooses a small `index` and may use it again, under another `generation`, once the
/// broker has closed the connection or was told that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The driver's slot, kept dense so that the broker can index by it.
    pub index: u32,
    /// Tells apart the connections that used the slot one after the other.
    pub generation: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.index, self.generation)
    }
}

/// One thing that happened outside the broker.
#[derive(Clone, Debug)]
pub enum Input {
    /// A network connection was accepted.
    Opened {
        /// Its name, not in use for another.
        connection: ConnectionId,
        /// Where it comes from, for notices.
        peer: Text,
        /// Room in its outgoing buffer, as in [`Input::Writable`].
        room_bytes: u32,
    },
    /// A whole packet arrived.
    Packet {
        /// The connection it came on.
        connection: ConnectionId,
        /// The packet.
        packet: ClientPacket,
    },
    /// What arrived is not a packet that the client may send. Nothing more will be read.
    Malformed {
        /// The connection it came on.
        connection: ConnectionId,
        /// The rule that is broken.
        error: DecodeError,
        /// The version in which a client that has not been accepted can be answered, if any.
        version: Option<Version>,
    },
    /// The outgoing buffer has this much room, now.
    ///
    /// Absolute, not a difference, so nothing can leak: each PUBLISH takes its size off until the
    /// next `Writable`. Only PUBLISH waits for room; a single one may exceed what is left.
    Writable {
        /// The connection.
        connection: ConnectionId,
        /// Free bytes.
        room_bytes: u32,
    },
    /// The network connection is gone.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// How it went.
        cause: Gone,
    },
    /// The answer to an [`Action::Ask`](crate::Action::Ask) for authentication.
    Authenticated {
        /// The connection that was asked about. Each connection has one question at a time.
        connection: ConnectionId,
        /// The answer.
        outcome: AuthOutcome,
    },
    /// The answer to an [`Action::Fetch`](crate::Action::Fetch), in any order; one for each.
    Fetched {
        /// The message as it was recorded.
        message: Arc<Message>,
    },
    /// The disk has another amount of room left than before.
    JournalSpace {
        /// How much. Before the first such input it counts as ample.
        room: JournalRoom,
    },
    /// All records up to this position survive a power cut.
    Durable {
        /// The last durable position.
        through: LogPosition,
    },
    /// An order of the operator or of the embedding program.
    Command(Command),
    /// Nothing but the passing of time: a deadline may be due.
    Deadline,
}

/// How much room the disk has for records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JournalRoom {
    /// Enough for everything.
    #[default]
    Ample,
    /// So little that the broker takes on nothing new that would have to be recorded: such
    /// publications, sessions and subscriptions are refused with 0x97. What it has goes on, so these
    /// records still come, and the driver keeps room for them: ends of all kinds, exchanges in
    /// progress, wills that fall due, retained messages for subscriptions there are, and CONNECTs that
    /// resume a session.
    Short,
    /// Not even these records can be made durable until there is room again. Besides, nobody is let in who
    /// would wait for one, but refused with 0x97.
    UsedUp,
}

impl JournalRoom {
    /// Whether nothing new is taken on: it is short, or used up.
    #[must_use]
    pub fn is_short(self) -> bool {
        self >= JournalRoom::Short
    }
}

/// How a network connection went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gone {
    /// The peer closed it.
    PeerClosed,
    /// Reading or writing failed, or the peer reset it.
    Failed,
}

/// What came of an authentication.
#[derive(Clone, Debug)]
pub enum AuthOutcome {
    /// The client is who it says.
    Accepted {
        /// Whom its sessions belong to; `None` for an anonymous client.
        identity: Option<Text>,
        /// Final data of an enhanced method.
        data: Option<Bytes>,
        /// What else it showed. A re-authentication replaces what was shown before.
        credential: Credential,
    },
    /// An enhanced method wants to hear more.
    Continue {
        /// The method's next data.
        data: Option<Bytes>,
    },
    /// The client may not come in; or not stay, if it is accepted already and its re-authentication
    /// failed or what it was let in by no longer holds. The latter may come without a question.
    Refused {
        /// A code of 0x80 or above.
        reason: ReasonCode,
    },
}

/// An order to the broker.
#[derive(Clone, Debug)]
pub enum Command {
    /// Replaces the rules of who may publish, subscribe and receive what.
    SetPermissions(Arc<Permissions>),
    /// Replaces the quotas.
    SetQuotas(Arc<Quotas>),
    /// Publishes a message of the broker's own side, with no client as its publisher.
    Publish(Box<PublishCommand>),
    /// Publishes a message for somebody who has no connection, and answers what came of it.
    PublishFor(Box<PublishFor>),
    /// Disconnects a client and leaves its session.
    Disconnect {
        /// The client.
        client_id: Text,
        /// What it is told; 0x98 for an administrator's order.
        reason: ReasonCode,
    },
    /// Ends a session, disconnecting its client first.
    EndSession {
        /// The client.
        client_id: Text,
    },
    /// Accepts the time after a jump that was noticed, so that durable state expires again.
    ConfirmTime,
    /// Sends every client a DISCONNECT and closes every connection, keeping sessions and wills.
    Stop {
        /// 0x8B for a shutdown, 0x9C or 0x9D to send clients elsewhere.
        reason: ReasonCode,
        /// Where to go instead.
        server_reference: Option<Text>,
    },
}

/// A message for [`Command::Publish`].
#[derive(Clone, Debug)]
pub struct PublishCommand {
    /// Where; `$SYS` is allowed here.
    pub topic: Topic,
    /// What.
    pub payload: Bytes,
    /// At which QoS.
    pub qos: QoS,
    /// Whether it becomes the topic's retained message.
    pub retain: bool,
    /// Seconds after which it is worth nothing.
    pub message_expiry_interval_s: Option<u32>,
    /// Properties that go with it.
    pub properties: Option<Box<MessageProperties>>,
}

/// A publication for [`Command::PublishFor`].
///
/// It is judged as a client's would be, and goes the same way. What came of it is told by
/// [`Action::Answer`](crate::Action::Answer), once that survives a power cut.
#[derive(Clone, Debug)]
pub struct PublishFor {
    /// The message.
    pub message: PublishCommand,
    /// Who wants it published; `None` for the operator, who may publish what clients may not.
    pub publisher: Option<Publisher>,
    /// Names the answer. The driver's own choice.
    pub ticket: u64,
    /// Makes a repetition safe: under the key of an earlier request of the same identity, the
    /// message is not published again and the earlier answer given. What is published under `$SYS` is
    /// not recorded, and its key not known after a restart.
    pub once: Option<Text>,
}

/// Who wants something of the broker without a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// Who it proved to be; `None` for somebody unknown.
    pub identity: Option<Text>,
    /// What stands for the client identifier in rules, notices and No Local.
    pub client_id: Text,
    /// Where it comes from, as [`Input::Opened`] has it.
    pub peer: Text,
    /// What else it showed.
    pub credential: Credential,
}
