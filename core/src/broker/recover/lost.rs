//! Recovery where records are missing: what that puts in doubt.
//!
//! A lost record may have brought something, which is gone, or have ended something, which is still
//! here. Of the latter, whatever came before the loss is in doubt; it stays, because a message that
//! comes twice is the smaller harm, and is counted.

use alloc::vec::Vec;

use super::{Index, Recovery, Unknown};
use crate::broker::Broker;
use crate::message::MessageId;
use crate::record::SessionId;
use crate::session::flight::Stage;
use crate::session::{Session, SessionKey};
use crate::wire::types::{OutboundPacketId, QoS, Text};

/// Where records are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// Sessions below this one came before it.
    next_session: u64,
    /// Messages below this one came before it.
    next_message: u64,
}

/// What lost records may have ended, and is here nevertheless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Sessions that may have ended, or may have had other subscriptions or another will.
    pub sessions: Vec<DoubtfulSession>,
    /// Messages that wait at shares and may have gone to a member.
    pub at_shares: u64,
    /// Retained messages that may have been replaced or cleared.
    pub retained: u64,
}

/// A session that is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtfulSession {
    /// Whose it is.
    pub client_id: Text,
    /// Messages that wait for it, or are on their way, at QoS 1 and may have been delivered.
    pub at_least_once: u64,
    /// The same at QoS 2: these may come twice.
    pub exactly_once: u64,
}

impl Recovery {
    /// Records are missing here: what follows was written by a broker that had those too.
    ///
    /// From here on a record that contradicts what is here shows that this had ended. Packet
    /// identifiers that clients' QoS 2 publications hold are given free: one that is held for ever
    /// would have a client's next publication under it taken for a repetition, and lost.
    pub fn lose_records(&mut self) {
        let Recovery { broker, index, .. } = self;
        index.loss =
            Some(Loss { next_session: broker.next_session, next_message: broker.next_message });
        for key in index.sessions.values() {
            if let Some(session) = broker.sessions.get_mut(*key) {
                session.inbound.clear();
            }
        }
    }

    /// What is in doubt since the last loss; nothing without one.
    #[must_use]
    pub fn doubts(&self) -> Doubts {
        let Some(loss) = self.index.loss else { return Doubts::default() };
        let broker = &self.broker;
        let is_old = |message: MessageId| message.0 < loss.next_message;
        let known = self.index.sessions.iter().filter(|(id, _)| id.0 < loss.next_session);
        let sessions = known.filter_map(|(_, key)| broker.sessions.get(*key));
        let groups = broker.groups.iter();
        let waiting = groups.flat_map(|(_, group)| group.queue.iter());
        Doubts {
            sessions: sessions.map(|session| doubtful(session, is_old)).collect(),
            at_shares: waiting.filter(|entry| is_old(entry.message.id())).count() as u64,
            retained: broker.retained.iter().filter(|entry| is_old(entry.message.id)).count()
                as u64,
        }
    }
}

fn doubtful(session: &Session, is_old: impl Fn(MessageId) -> bool) -> DoubtfulSession {
    let (mut at_least_once, mut exactly_once) = (0, 0);
    let mut count = |qos, message| match qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => at_least_once += u64::from(is_old(message)),
        QoS::ExactlyOnce => exactly_once += u64::from(is_old(message)),
    };
    for entry in session.queue.iter() {
        count(entry.qos, entry.message.id());
    }
    for (id, _) in session.flight.in_order() {
        match session.flight.get(id).map(|exchange| &exchange.stage) {
            Some(Stage::Publish { entry, .. }) => count(entry.qos, entry.message.id()),
            // PUBREC came: nothing is delivered any more.
            Some(Stage::Release { .. }) | None => {}
        }
    }
    DoubtfulSession { client_id: session.client_id.clone(), at_least_once, exactly_once }
}

impl Broker {
    /// Makes room for a new session of a client that has one: where records are missing, that one's
    /// end is among them.
    pub(super) fn supersede(&mut self, old: SessionKey, index: &mut Index) -> Result<(), Unknown> {
        let id = self.sessions.get(old).map(|session| session.id);
        match id.filter(|_| index.loss.is_some()) {
            Some(id) => self.apply_session_ended(id, index),
            None => Err(Unknown("a client's second session")),
        }
    }

    /// The same for a packet identifier that is in use.
    pub(super) fn free_identifier(
        &mut self,
        id: SessionId,
        packet_id: OutboundPacketId,
        index: &Index,
    ) -> Result<(), Unknown> {
        let session = self.known_session(id, index)?;
        if session.flight.get(packet_id).is_none() {
            return Ok(());
        }
        if index.loss.is_none() {
            return Err(Unknown("a packet identifier's second delivery"));
        }
        drop(session.flight.remove(packet_id));
        Ok(())
    }
}
