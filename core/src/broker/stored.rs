//! Stored bytes: what counts against whose quota, and where a quota is asked before something is
//! kept.
//!
//! What waits or is in flight counts against whom its session belongs to, for nobody else can have
//! it go; so does the session's will. What waits at a share counts against the member whose session
//! is the oldest, its keeper. A retained message counts against its publisher. A quota stands
//! against what is new; nothing that is kept goes because of one.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broker;
use crate::message::Message;
use crate::quota::{Holder, Owner};
use crate::record::RetainedChange;
use crate::routing::retained::Retained;
use crate::routing::topic::Topic;
use crate::session::{GroupKey, SessionKey};
use crate::stored::{Accounts, Bound, Counted};

impl Broker {
    /// What is kept for each holder whose quota bounds stored bytes, if that is anything.
    pub fn stored_bytes(&self) -> impl Iterator<Item = (&Holder, u64)> {
        self.accounts.iter()
    }

    /// Counts everything anew, under new quotas.
    pub(super) fn count_all_stored(&mut self) {
        self.accounts = Accounts::new(self.quotas.bound_stored_bytes());
        for key in 0..self.groups.end() {
            if let Some(group) = self.groups.get_mut(key) {
                (group.stored, group.keeper) = (Counted::default(), None);
            }
        }
        for key in 0..self.sessions.end() {
            if let Some(session) = self.sessions.get_mut(key) {
                session.stored = Counted::default();
                self.rebind_stored(key);
            }
        }
        for key in 0..self.groups.end() {
            self.find_keeper(key);
        }
        if self.accounts.is_kept() {
            for retained in self.retained.iter() {
                let bounds = bounds_of(&self.quotas, retained);
                self.accounts.add(&bounds, retained.message.content_bytes() as u64);
            }
        }
    }

    /// Counts what is kept for a session, after it may have changed.
    pub(super) fn count_stored(&mut self, key: SessionKey) {
        if self.accounts.is_kept()
            && let Some(session) = self.sessions.get_mut(key)
        {
            let bytes = session.stored_bytes();
            self.accounts.count(&mut session.stored, bytes);
        }
    }

    /// Counts a session's share of the quotas for those whose it is now.
    pub(super) fn rebind_stored(&mut self, key: SessionKey) {
        if !self.accounts.is_kept() {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        let bounds = self.quotas.stored_bounds(&session.owner());
        self.accounts.rebind(&mut session.stored, bounds);
        for group in session.groups.clone() {
            self.rebind_group(group);
        }
        self.count_stored(key);
    }

    /// Counts what waits at a share, after it may have changed.
    pub(super) fn count_group(&mut self, key: GroupKey) {
        if let Some(group) = self.groups.get_mut(key)
            && self.accounts.is_kept()
        {
            let bytes = group.queue.content_bytes();
            self.accounts.count(&mut group.stored, bytes);
        }
    }

    /// Finds the member against whom a share's bytes count, after one came or went.
    pub(super) fn find_keeper(&mut self, key: GroupKey) {
        if !self.accounts.is_kept() {
            return;
        }
        let Some(group) = self.groups.get(key) else { return };
        let of_member = |member| self.sessions.get(member).map(|session| (session.id, member));
        let oldest = group.members().filter_map(of_member).min();
        if let Some(group) = self.groups.get_mut(key) {
            group.keeper = oldest.map(|(_, member)| member);
        }
        self.rebind_group(key);
        self.count_group(key);
    }

    /// A session has joined a share, and keeps it if it is the first.
    pub(super) fn may_keep(&mut self, key: GroupKey, member: SessionKey) {
        let id_of = |key| self.sessions.get(key).map(|session| session.id);
        let keeper = self.groups.get(key).and_then(|group| group.keeper);
        if keeper.is_none_or(|keeper| id_of(member) < id_of(keeper)) {
            self.find_keeper(key);
        }
    }

    fn rebind_group(&mut self, key: GroupKey) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let keeper = group.keeper.and_then(|keeper| self.sessions.get_mut(keeper));
        let bounds = keeper.map(|keeper| self.quotas.stored_bounds(&keeper.owner()));
        self.accounts.rebind(&mut group.stored, bounds.unwrap_or_default());
    }

    /// Whether a session may be given so much more to keep.
    pub(super) fn session_may_store(&self, key: SessionKey, bytes: usize) -> bool {
        let bounds = self.sessions.get(key).map(|session| &session.stored.bounds);
        bounds.is_none_or(|bounds| self.accounts.has_space(bounds, bytes as u64))
    }

    /// Whether a share may be given so much more to keep.
    pub(super) fn group_may_store(&self, key: GroupKey, bytes: usize) -> bool {
        let bounds = self.groups.get(key).map(|group| &group.stored.bounds);
        bounds.is_none_or(|bounds| self.accounts.has_space(bounds, bytes as u64))
    }

    /// Whether somebody may have a message of `bytes` retained in place of the topic's present one.
    pub(super) fn may_retain(&self, owner: &Owner, topic: &Topic, bytes: usize) -> bool {
        if !self.accounts.is_kept() {
            return true;
        }
        let bounds = self.quotas.stored_bounds(owner);
        let (freed, freed_for) = match self.retained.get(topic) {
            Some(old) => (old.message.content_bytes() as u64, bounds_of(&self.quotas, old)),
            None => (0, Vec::new()),
        };
        bounds.into_iter().all(|bound| {
            let freed = if freed_for.contains(&bound) { freed } else { 0 };
            let kept = self.accounts.of(&bound.holder).saturating_sub(freed);
            kept.saturating_add(bytes as u64) <= bound.most_bytes
        })
    }

    /// Whether a client with this will may come in, which replaces the one its session has.
    pub(super) fn may_keep_will(&self, owner: &Owner, bytes: usize) -> bool {
        if !self.accounts.is_kept() {
            return true;
        }
        let session = self.sessions.find(&owner.client_id).and_then(|key| self.sessions.get(key));
        let freed = session.map_or(0, |session| {
            session.will.as_ref().map_or(0, |armed| armed.will.content_bytes() as u64)
        });
        let freed_for = session.map_or(&[][..], |session| &session.stored.bounds);
        self.quotas.stored_bounds(owner).into_iter().all(|bound| {
            let freed = if freed_for.contains(&bound) { freed } else { 0 };
            let kept = self.accounts.of(&bound.holder).saturating_sub(freed);
            kept.saturating_add(bytes as u64) <= bound.most_bytes
        })
    }

    /// Changes a topic's retained message.
    pub(super) fn change_retained(&mut self, message: &Arc<Message>, change: RetainedChange) {
        let earlier = self.retained.next_expiry();
        let old = match change {
            RetainedChange::None => return,
            RetainedChange::Set { publisher } => {
                if self.accounts.is_kept()
                    && let Some(publisher) = &publisher
                {
                    let bounds = self.quotas.stored_bounds(publisher);
                    self.accounts.add(&bounds, message.content_bytes() as u64);
                }
                self.retained.set(message.clone(), publisher) // [MQTT-3.3.1-5]
            }
            RetainedChange::Clear => self.retained.clear(&message.topic),
        };
        self.discount_retained(old.as_ref());
        self.set_retained_timer(earlier);
    }

    /// A message is retained no more.
    pub(super) fn discount_retained(&mut self, old: Option<&Retained>) {
        if let Some(old) = old
            && self.accounts.is_kept()
        {
            let bounds = bounds_of(&self.quotas, old);
            self.accounts.take(&bounds, old.message.content_bytes() as u64);
        }
    }
}

fn bounds_of(quotas: &crate::quota::Quotas, retained: &Retained) -> Vec<Bound> {
    retained.publisher.as_ref().map(|owner| quotas.stored_bounds(owner)).unwrap_or_default()
}
