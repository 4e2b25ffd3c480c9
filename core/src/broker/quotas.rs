//! Where quotas are asked: a publication, a connection, new rules.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broker;
use crate::input::ConnectionId;
use crate::notice::Cause;
use crate::outbox::Outbox;
use crate::quota::{DayCount, Holder, Over, Quota, Quotas};
use crate::record::Record;
use crate::session::SessionKey;
use crate::wire::reason::ReasonCode;
use crate::wire::types::Text;

impl Broker {
    pub(super) fn set_quotas(&mut self, quotas: Arc<Quotas>) {
        self.quotas = quotas;
        self.usage.forget_connections();
        for connection in self.links.ids() {
            let bound = self.bound_of(connection);
            // Who is in stays in; the count may be over the quota for a while.
            let unbounded: Vec<_> =
                bound.into_iter().map(|(holder, _)| (holder, Quota::default())).collect();
            self.usage.connect(self.now, &unbounded, self.config.limits.quota_holders);
        }
    }

    /// Counts a client's publication, or says that it is over a quota.
    pub(super) fn count_publish(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        out: &mut Outbox,
    ) -> Result<(), Over> {
        if self.quotas.is_empty() {
            return Ok(());
        }
        let Some(session) = self.sessions.get(key) else { return Ok(()) };
        let peer = self.links.get(connection).map(|link| &link.peer);
        let bound = self.quotas.bound(session.identity.as_ref(), &session.client_id, peer);
        self.count_bound(&bound, out).map(drop)
    }

    /// Counts a publication of somebody; says how many more there may be today.
    pub(super) fn count_bound(
        &mut self,
        bound: &[(Holder, Quota)],
        out: &mut Outbox,
    ) -> Result<Option<u64>, Over> {
        let most = self.config.limits.quota_holders;
        let (remaining, counts) = self.usage.publish(self.now, bound, most)?;
        self.record_counts(counts, out);
        Ok(remaining)
    }

    /// Counts a connection that is about to be accepted, or says why it may not be.
    pub(super) fn count_connection(
        &mut self,
        connection: ConnectionId,
        identity: Option<&Text>,
        client_id: &Text,
    ) -> Option<Cause> {
        if self.quotas.is_empty() {
            return None;
        }
        let peer = self.links.get(connection).map(|link| &link.peer);
        let bound = self.quotas.bound(identity, client_id, peer);
        // What this connection takes over ends with it, and must not count against it.
        let taken_over = self
            .sessions
            .find(client_id)
            .and_then(|key| self.sessions.get(key))
            .and_then(|session| session.connection);
        let old = taken_over.map(|old| self.bound_of(old)).unwrap_or_default();
        self.usage.disconnect(&old);
        let accepted = self.usage.connect(self.now, &bound, self.config.limits.quota_holders);
        self.usage.reconnect(&old);
        if accepted {
            return None;
        }
        let reason = ReasonCode::QuotaExceeded;
        Some(Cause::Limit { reason, detail: "the quota of connections is used up" })
    }

    /// A connection of this session has ended.
    pub(super) fn discount_connection(&mut self, key: SessionKey, peer: &Text) {
        if self.quotas.is_empty() {
            return;
        }
        let Some(session) = self.sessions.get(key) else { return };
        let bound = self.quotas.bound(session.identity.as_ref(), &session.client_id, Some(peer));
        self.usage.disconnect(&bound);
    }

    /// Records what a restart is to know of the day.
    pub(super) fn record_day(&mut self, out: &mut Outbox) {
        let counts = self.usage.unrecorded();
        self.record_counts(counts, out);
    }

    fn record_counts(&mut self, counts: Vec<DayCount>, out: &mut Outbox) {
        for DayCount { holder, day, count } in counts {
            self.gate.persist(Record::Counted { holder, day, count }, out);
        }
    }

    fn bound_of(&self, connection: ConnectionId) -> Vec<(Holder, Quota)> {
        let Some(link) = self.links.get(connection) else { return Vec::new() };
        let Some(session) = link.session().and_then(|key| self.sessions.get(key)) else {
            return Vec::new();
        };
        let client_id = &session.client_id;
        self.quotas.bound(session.identity.as_ref(), client_id, Some(&link.peer))
    }
}
