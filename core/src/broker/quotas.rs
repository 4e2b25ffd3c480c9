//! Where quotas are asked: a publication, a connection, new rules.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broker;
use crate::credential::Credential;
use crate::input::ConnectionId;
use crate::message::content_bytes;
use crate::notice::Cause;
use crate::outbox::Outbox;
use crate::quota::{DayCount, Holder, Over, Owner, Quota, Quotas, address_of};
use crate::record::Record;
use crate::session::SessionKey;
use crate::wire::packet::{Connect, Publish};
use crate::wire::reason::ReasonCode;
use crate::wire::types::Text;

impl Broker {
    /// Replaces the quotas. Costs a look at all that is kept, unless they are the same.
    pub(super) fn set_quotas(&mut self, quotas: Arc<Quotas>) {
        if self.quotas == quotas {
            return;
        }
        self.quotas = quotas;
        self.count_all_stored();
        let mut holders = Vec::new();
        for connection in self.links.ids() {
            holders.extend(self.bound_of(connection).into_iter().map(|(holder, _)| holder));
        }
        self.usage.recount(self.now, holders, self.config.limits.quota_holders);
    }

    /// Counts a client's publication, or says that it is over a quota.
    pub(super) fn count_publish(
        &mut self,
        key: SessionKey,
        publish: &Publish,
        out: &mut Outbox,
    ) -> Result<(), Over> {
        if self.quotas.is_empty() {
            return Ok(());
        }
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let owner = session.owner();
        let bound = self.quotas.bound(&owner);
        let Publish { topic, payload, properties, retain, .. } = publish;
        let bytes = content_bytes(topic, payload, properties.as_deref());
        if *retain && !payload.is_empty() && !self.may_retain(&owner, topic, bytes) {
            let closes_at_qos0 = bound.iter().any(|(_, quota)| quota.closes_at_qos0);
            return Err(Over { retry_after_ms: None, closes_at_qos0 });
        }
        self.count_bound(&bound, out)
    }

    /// Counts a publication of somebody.
    pub(super) fn count_bound(
        &mut self,
        bound: &[(Holder, Quota)],
        out: &mut Outbox,
    ) -> Result<(), Over> {
        let most = self.config.limits.quota_holders;
        let counts = self.usage.publish(self.now, bound, most)?;
        self.record_counts(counts, out);
        Ok(())
    }

    /// Counts a connection that is about to be accepted, or says why it may not be.
    pub(super) fn count_connection(
        &mut self,
        connection: ConnectionId,
        identity: Option<&Text>,
        credential: &Credential,
        connect: &Connect,
    ) -> Option<Cause> {
        if self.quotas.is_empty() {
            return None;
        }
        let owner = Owner {
            identity: identity.cloned(),
            client_id: connect.client_id.clone(),
            address: self.links.get(connection).and_then(|link| address_of(&link.peer)),
            key: credential.key.clone(),
        };
        let over = |detail| Some(Cause::Limit { reason: ReasonCode::QuotaExceeded, detail });
        if let Some(will) = &connect.will
            && !self.may_keep_will(&owner, will.content_bytes())
        {
            return over("the quota of stored bytes has no room for the will");
        }
        let bound = self.quotas.bound(&owner);
        // What this connection takes over ends with it, and must not count against it.
        let taken_over = self
            .sessions
            .find(&owner.client_id)
            .and_then(|key| self.sessions.get(key))
            .and_then(|session| session.connection);
        let old = taken_over.map(|old| self.bound_of(old)).unwrap_or_default();
        self.usage.disconnect(&old);
        let accepted = self.usage.connect(self.now, &bound, self.config.limits.quota_holders);
        self.usage.reconnect(&old);
        if accepted {
            return None;
        }
        over("the quota of connections is used up")
    }

    /// A connection of this session has ended.
    pub(super) fn discount_connection(&mut self, key: SessionKey) {
        if self.quotas.is_empty() || canary!(ConnectionCountNotReturned) {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        let bound = self.quotas.bound(&session.owner());
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

    fn bound_of(&mut self, connection: ConnectionId) -> Vec<(Holder, Quota)> {
        let session = self.links.get(connection).and_then(|link| link.session());
        let session = session.and_then(|key| self.sessions.get_mut(key));
        session.map_or_else(Vec::new, |session| self.quotas.bound(&session.owner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Seed, Time};

    #[test]
    fn the_same_quotas_again_count_nothing_again() {
        let mut broker = Broker::new(Config::default(), Seed(7), Time::ZERO);
        let quotas = |connections| {
            let every_user = Some(Quota { connections, ..Quota::default() });
            Arc::new(Quotas { every_user, ..Quotas::default() })
        };
        let holder = Holder::User(Text::try_from("ann").expect("a short text"));
        let bound = [(holder.clone(), Quota { connections: 1, ..Quota::default() })];
        broker.set_quotas(quotas(5));
        // Of a connection that is not there: a count would not find it.
        broker.usage.recount(Time::ZERO, alloc::vec![holder], 9);
        broker.set_quotas(quotas(5));
        assert!(!broker.usage.connect(Time::ZERO, &bound, 9));
        broker.set_quotas(quotas(6));
        assert!(broker.usage.connect(Time::ZERO, &bound, 9));
    }
}
