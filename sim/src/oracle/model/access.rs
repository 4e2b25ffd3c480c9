//! Who may publish and read what, and since when: the rules as the operator replaced them.

use std::collections::BTreeMap;

use super::{Model, Moment, Publication};
use crate::history::Permit;
use crate::oracle::{permit, topic};
use crate::plan::Denial;

/// A set of rules, in force from a moment on until the next one. What it does not deny is allowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    since: Moment,
    denials: Vec<Denial>,
    /// Who may do only this, by client identifier.
    permits: BTreeMap<String, Permit>,
}

impl Access {
    pub(crate) fn denies_publish(&self, client_id: &str, topic: &str) -> bool {
        self.about(client_id).any(|denial| denial.publish && reaches(denial, topic))
            || self.lacks(client_id, |own| permit::may_publish(own, topic))
    }

    pub(crate) fn denies_read(&self, client_id: &str, topic: &str) -> bool {
        self.about(client_id).any(|denial| denial.read && reaches(denial, topic))
            || self.lacks(client_id, |own| permit::may_receive(own, topic))
    }

    /// Whether a subscription surely must be refused: a denial is about just this filter, or the
    /// filter means one topic.
    pub(crate) fn denies_filter(&self, client_id: &str, filter: &str) -> bool {
        let is_topic = !filter.contains(['+', '#']);
        self.about(client_id).any(|denial| {
            denial.read && (denial.filter == filter || is_topic && reaches(denial, filter))
        }) || self.lacks(client_id, |own| permit::may_subscribe(own, filter))
    }

    /// Whether a subscription may have to be refused.
    pub(crate) fn may_deny_filter(&self, client_id: &str, filter: &str) -> bool {
        self.about(client_id).any(|denial| denial.read)
            || self.lacks(client_id, |own| permit::may_subscribe(own, filter))
    }

    /// Whether a client has rules of its own, which do not allow this.
    fn lacks(&self, client_id: &str, allows: impl Fn(&Permit) -> bool) -> bool {
        self.permits.get(client_id).is_some_and(|own| !allows(own))
    }

    fn about<'a>(&'a self, client_id: &'a str) -> impl Iterator<Item = &'a Denial> {
        let is_about =
            move |denial: &&Denial| denial.client_id.is_empty() || denial.client_id == client_id;
        self.denials.iter().filter(is_about)
    }
}

/// Whether a denial is about a topic. It reaches topics that begin with `$` too.
fn reaches(denial: &Denial, topic: &str) -> bool {
    topic::matches(&format!("x/{}", denial.filter), &format!("x/{topic}"))
}

impl Model {
    /// The rules are replaced.
    pub(super) fn denied(&mut self, denials: &[Denial]) {
        let permits = self.rules_in_force().permits.clone();
        self.access.push(Access { since: self.now, denials: denials.to_vec(), permits });
    }

    /// The rules of single clients are replaced.
    pub(super) fn permitted(&mut self, permits: &BTreeMap<String, Permit>) {
        let denials = self.rules_in_force().denials.clone();
        self.access.push(Access { since: self.now, denials, permits: permits.clone() });
    }

    /// Whether anything was ever denied to anybody.
    pub(crate) fn has_denied(&self) -> bool {
        self.access.iter().any(|access| !access.denials.is_empty() || !access.permits.is_empty())
    }

    fn rules_in_force(&self) -> &Access {
        &self.access[self.access.len() - 1]
    }

    /// Every set of rules that was in force at or after a moment.
    pub(crate) fn rules_since(&self, moment: Moment) -> &[Access] {
        self.rules_after(|access| access.since.index <= moment.index)
    }

    /// Every set of rules that was in force at or after a time.
    pub(crate) fn rules_since_ms(&self, at_ms: u64) -> &[Access] {
        self.rules_after(|access| access.since.at_ms < at_ms)
    }

    /// Client identifiers of the surely living members of a share, given by its whole filter.
    pub(crate) fn members<'a>(&'a self, share: &'a str) -> impl Iterator<Item = &'a str> {
        let living = self.sessions.iter().filter(|session| {
            let last = session.connections.last().and_then(|last| self.connections.get(last));
            let is_here = last.is_some_and(|last| last.is_open() || self.expiry_s(last.number) > 0);
            is_here && session.hostile.is_none() && !self.is_over(session)
        });
        let members = living.filter(|session| {
            let versions = session.subscriptions.get(share).into_iter().flatten();
            let mut last = versions.filter(|found| !found.refused);
            last.any(|found| {
                found.is_certain && found.granted.is_some() && found.end_requested.is_none()
            })
        });
        members.map(|session| session.client_id.as_str())
    }

    /// Whether a client may have read the publication ever since it was sent.
    pub(crate) fn may_always_read(&self, client_id: &str, publication: &Publication) -> bool {
        let mut rules = self.rules_since(publication.first()).iter();
        rules.all(|access| !access.denies_read(client_id, &publication.topic))
    }

    /// Whether the publisher of a publication may have published it ever since it was sent.
    pub(crate) fn may_always_publish(&self, publication: &Publication) -> bool {
        let Publication { client_id, topic, .. } = publication;
        let mut rules = self.rules_since(publication.first()).iter();
        rules.all(|access| !access.denies_publish(client_id, topic))
    }

    fn rules_after(&self, is_before: impl Fn(&Access) -> bool) -> &[Access] {
        let place = self.access.partition_point(is_before);
        &self.access[place.saturating_sub(1)..]
    }
}
