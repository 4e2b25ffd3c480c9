//! What dies with a connection.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::input::ConnectionId;
use crate::session::SessionKey;
use crate::time::Time;
use crate::wire::packet::{ClientPacket, Connect};
use crate::wire::types::{OutboundPacketId, Text, Version};

/// One network connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) peer: Text,
    pub(crate) phase: Phase,
    /// Free bytes of the outgoing buffer; below zero after a PUBLISH larger than what was left.
    pub(crate) room_bytes: i64,
    /// When a timer for this connection is set, and whether one is.
    pub(crate) timer_at: Time,
    /// When the last whole packet came.
    pub(crate) heard_at: Time,
    /// How long the client may be silent, 0 for ever.
    pub(crate) silence_ms: u64,
    /// Packets of this connection in the gate.
    pub(crate) gated: u32,
    /// The client's publications at QoS 1 and 2 that count against our receive maximum.
    pub(crate) inbound_unacked: u16,
    /// Deliveries at QoS 1 and 2 the client takes at once.
    pub(crate) window: u16,
    /// Deliveries that count against `window`.
    pub(crate) in_window: u16,
    /// Largest packet the client takes.
    pub(crate) maximum_packet_size_bytes: u32,
    /// Exchanges to be sent, or sent again, on this connection, in order. The number tells a
    /// later exchange under the same packet identifier apart.
    pub(crate) unsent: VecDeque<(OutboundPacketId, u64)>,
    /// When what the client was let in by ends.
    pub(crate) ends_at: Time,
    /// The method of an enhanced authentication.
    pub(crate) method: Option<Text>,
    pub(crate) reauthentication: Reauthentication,
    /// Whether something that changes more than the connection was looked at before CONNACK left.
    pub(crate) served_ahead: bool,
    /// Whether its CONNECT began the session.
    pub(crate) began_session: bool,
    /// Whether its end waits in the gate, so that nothing more is taken of it.
    pub(crate) is_closing: bool,
    /// Whether its CONNECT was refused after it had entered the session.
    pub(crate) is_refused: bool,
}

/// How far a connection has come.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Nothing has come yet.
    AwaitingConnect,
    /// The driver was asked who this is.
    Authenticating(Box<Handshake>),
    /// Accepted; CONNACK waits in the gate.
    Accepting(SessionKey),
    /// CONNACK is sent.
    Live(SessionKey),
}

/// How far the re-authentication of an accepted client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reauthentication {
    /// There is none.
    None,
    /// The driver owes an answer.
    Asked,
    /// The client owes an AUTH.
    Continued,
}

/// A CONNECT whose authentication is undecided.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    pub(crate) connect: Box<Connect>,
    /// Whether the client identifier is one that we made up.
    pub(crate) assigned: bool,
    /// Whether the driver owes an answer; if not, the client owes an AUTH.
    pub(crate) asked: bool,
    /// What the client sent ahead.
    pub(crate) pipelined: VecDeque<ClientPacket>,
}

impl Link {
    pub(crate) fn new(id: ConnectionId, peer: Text, room_bytes: u32, now: Time) -> Self {
        Link {
            id,
            peer,
            phase: Phase::AwaitingConnect,
            room_bytes: i64::from(room_bytes),
            timer_at: Time::NEVER,
            heard_at: now,
            silence_ms: 0,
            gated: 0,
            inbound_unacked: 0,
            window: 0,
            in_window: 0,
            maximum_packet_size_bytes: u32::MAX,
            unsent: VecDeque::new(),
            ends_at: Time::NEVER,
            method: None,
            reauthentication: Reauthentication::None,
            served_ahead: false,
            began_session: false,
            is_closing: false,
            is_refused: false,
        }
    }

    /// The session, once the connection is accepted.
    pub(crate) fn session(&self) -> Option<SessionKey> {
        match self.phase {
            Phase::AwaitingConnect | Phase::Authenticating(_) => None,
            Phase::Accepting(session) | Phase::Live(session) => Some(session),
        }
    }

    /// When an accepted connection is due: nothing was heard of the client, or what it was let in
    /// by ends.
    pub(crate) fn due_at(&self) -> Time {
        self.silent_at().min(self.ends_at)
    }

    /// When the client's silence is too long.
    pub(crate) fn silent_at(&self) -> Time {
        let never = self.silence_ms == 0 || canary!(KeepAliveNeverCloses);
        if never { Time::NEVER } else { self.heard_at.plus_ms(self.silence_ms) }
    }

    /// Whether packets other than CONNACK and AUTH may be sent.
    pub(crate) fn is_live(&self) -> bool {
        match self.phase {
            Phase::Live(_) => true,
            Phase::AwaitingConnect | Phase::Authenticating(_) | Phase::Accepting(_) => false,
        }
    }

    /// Whether one more delivery at QoS 1 or 2 may be begun `[MQTT-4.9.0-2]`.
    pub(crate) fn has_window(&self) -> bool {
        self.in_window < self.window
    }

    pub(crate) fn has_room(&self) -> bool {
        self.room_bytes > 0
    }

    /// The size of the largest packet that the client takes, in bytes, before CONNACK too.
    pub(crate) fn taken_bytes(&self) -> u32 {
        match &self.phase {
            Phase::Authenticating(handshake) => {
                handshake.connect.maximum_packet_size_bytes.unwrap_or(u32::MAX)
            }
            Phase::AwaitingConnect | Phase::Accepting(_) | Phase::Live(_) => {
                self.maximum_packet_size_bytes
            }
        }
    }

    /// The client's version, as far as it is known.
    pub(crate) fn handshake_version(&self) -> Option<Version> {
        match &self.phase {
            Phase::Authenticating(handshake) => Some(handshake.connect.version),
            Phase::AwaitingConnect | Phase::Accepting(_) | Phase::Live(_) => None,
        }
    }
}

/// All connections, by the driver's index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    slots: Vec<Option<Box<Link>>>,
    len: usize,
}

impl Links {
    pub(crate) fn insert(&mut self, link: Link) {
        let index = link.id.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        // `resize_with` made the slot.
        let slot = &mut self.slots[index];
        assert!(slot.is_none(), "the driver opened a connection in a slot still in use");
        *slot = Some(Box::new(link));
        self.len += 1;
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Link> {
        self.slots.get(id.index as usize)?.as_deref().filter(|link| link.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Link> {
        self.slots.get_mut(id.index as usize)?.as_deref_mut().filter(|link| link.id == id)
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Box<Link>> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.as_deref().is_none_or(|link| link.id != id) {
            return None;
        }
        self.len -= 1;
        slot.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The identifiers of all connections, in the order of their slots.
    pub(crate) fn ids(&self) -> Vec<ConnectionId> {
        self.slots.iter().flatten().map(|link| link.id).collect()
    }
}
