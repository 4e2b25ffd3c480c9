//! The client's side of a session: what survives a connection.

use std::collections::BTreeSet;

use super::link::Link;
use crate::packet::{Level, Publish};
use crate::plan::ClientIndex;

/// One session, shared by the clients with its identifier.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The client that connected last.
    pub(super) owner: Option<ClientIndex>,
    /// QoS 1 and 2 publications under way to the broker, in the order of their first sending.
    pub(super) outbound: Vec<Outbound>,
    /// Identifiers of QoS 2 publications from the broker that wait for their PUBREL.
    pub(super) inbound: BTreeSet<u16>,
    /// How often it was begun anew.
    pub(super) epoch: u32,
    /// The identifier that the broker chose.
    pub(super) assigned_id: Option<String>,
    /// Whether there is a session to be resumed, as far as the client knows.
    is_held: bool,
    /// The broker may have a session that the client does not know: only Clean Start can make them
    /// agree.
    must_be_clean: bool,
}

/// A publication under way.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) publish: Publish,
    /// PUBREC came: what is owed is PUBREL.
    pub(super) is_released: bool,
    /// Sent on this connection, as PUBLISH or as PUBREL.
    pub(super) is_sent_here: bool,
}

impl Session {
    /// Whether CONNECT is to say Clean Start, and what follows from saying so.
    pub(super) fn begin_connect(&mut self, wished: bool) -> bool {
        self.outbound.iter_mut().for_each(|outbound| outbound.is_sent_here = false);
        let clean_start = wished || self.must_be_clean;
        if clean_start {
            // From here on, nobody knows whether the broker still has the old session, until it
            // accepts.
            self.begin_anew();
            self.must_be_clean = true;
        }
        clean_start
    }

    /// The broker accepted. Tells whether both agree; if not, the client must close [MQTT-3.2.2-4].
    pub(super) fn accept(&mut self, level: Level, session_present: bool) -> bool {
        // 3.1 does not tell. Its client assumes what it would itself have kept.
        let is_present = if level == 3 { self.is_held } else { session_present };
        if is_present && !self.is_held {
            self.must_be_clean = true;
            return false;
        }
        if !is_present {
            // What was sent right behind CONNECT belongs to the new session.
            let mut ahead = std::mem::take(&mut self.outbound);
            ahead.retain(|outbound| outbound.is_sent_here);
            self.begin_anew();
            self.outbound = ahead;
        }
        self.is_held = true;
        self.must_be_clean = false;
        true
    }

    /// Whether the client knows which identifiers are in use before it is told whether there is a
    /// session: it has one, never had one, or begins anew.
    pub(super) fn knows_ids(&self, clean_start: bool) -> bool {
        clean_start || self.is_held || self.epoch == 0
    }

    /// The connection is over.
    pub(super) fn link_gone(&mut self, link: &Link, level: Level) {
        // Before level 5, a clean session ends with its connection.
        if level < 5 && link.clean_start && link.is_serving {
            self.begin_anew();
        }
    }

    /// The client loses its memory.
    pub(super) fn forget(&mut self, level: Level) {
        // Who is not told whether a session is present cannot find out that one is.
        self.must_be_clean |= level == 3 && self.is_held;
        self.begin_anew();
    }

    /// The outbound publication with this identifier.
    pub(super) fn find(&self, id: u16) -> Option<usize> {
        self.outbound.iter().position(|outbound| outbound.publish.id == Some(id))
    }

    /// How many of the broker's receive maximum are used on this connection.
    pub(super) fn sent_here(&self) -> usize {
        self.outbound.iter().filter(|outbound| outbound.is_sent_here).count()
    }

    /// The lowest free identifier: one that was just given back is taken again at once, which is
    /// legal and unfriendly.
    pub(super) fn free_id(&self, requests: &BTreeSet<u16>) -> Option<u16> {
        let is_free = |id: &u16| self.find(*id).is_none() && !requests.contains(id);
        (1..=u16::MAX).find(is_free)
    }

    pub(super) fn has_exchanges(&self) -> bool {
        !self.outbound.is_empty() || !self.inbound.is_empty()
    }

    fn begin_anew(&mut self) {
        self.outbound.clear();
        self.inbound.clear();
        self.epoch += 1;
        self.is_held = false;
    }
}
