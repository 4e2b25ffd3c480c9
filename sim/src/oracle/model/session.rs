//! Sessions and their subscriptions as clients know them.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::ConnectionNumber;
use crate::oracle::model::Moment;
use crate::oracle::model::publication::{DeliveryId, Holder, Publication, PublicationId};
use crate::oracle::topic;

/// A session's place in the model.
pub(crate) type SessionId = usize;

/// One session of one client identifier, from its first CONNECT to its end.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) client_id: String,
    pub(crate) started: Moment,
    pub(crate) connections: Vec<ConnectionNumber>,
    /// Every subscription asked for, by filter, in the order of the requests.
    pub(crate) subscriptions: BTreeMap<String, Vec<Subscription>>,
    /// From when on nothing is owed to it.
    pub(crate) hostile: Option<Moment>,
    /// When it is known to be gone: another has taken its place, or it was ended by order.
    pub(crate) replaced: Option<Moment>,
    /// When the operator ended it.
    pub(crate) ended_by_order: Option<Moment>,
    /// Exchanges from the broker, by packet identifier.
    pub(crate) exchanges: BTreeMap<u16, Holder>,
    /// Exchanges at QoS 2 of sessions that this one may be the same as: identifier and token.
    pub(crate) inherited: BTreeSet<(u16, Vec<u8>)>,
    /// QoS 2 publications that the broker may hold, by packet identifier.
    pub(crate) inbound: BTreeMap<u16, PublicationId>,
    pub(crate) deliveries: BTreeMap<PublicationId, Vec<DeliveryId>>,
    /// Identifiers ever used by the broker for QoS 2.
    pub(crate) used_ids: BTreeSet<u16>,
}

/// One request for a subscription.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// The share's name.
    pub(crate) share: Option<String>,
    /// The filter, without the share.
    pub(crate) filter: String,
    /// As asked for, and from SUBACK on as granted.
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: u8,
    /// 0 for none.
    pub(crate) id: u32,
    pub(crate) requested: Moment,
    /// From when on it may take messages: what waits at a share goes to members that come later.
    pub(crate) reaches_back: Moment,
    pub(crate) granted: Option<Moment>,
    pub(crate) refused: bool,
    /// When its end or replacement was asked for.
    pub(crate) end_requested: Option<Moment>,
    /// When the client read that it is over.
    pub(crate) ended: Option<Moment>,
    /// Whether it is known to have outlived what happened to its session.
    pub(crate) is_certain: bool,
}

impl Subscription {
    /// Whether it means `topic`.
    pub(crate) fn means(&self, topic: &str) -> bool {
        topic::matches(&self.filter, topic)
    }

    /// Whether it may have been there when `publication` was routed.
    pub(crate) fn is_possible(&self, publication: &Publication) -> bool {
        let too_late =
            publication.settled.is_some_and(|settled| settled.index < self.reaches_back.index)
                && !publication.may_come_late;
        let over = self.ended.is_some_and(|ended| ended.index < publication.first().index);
        !self.refused && !too_late && !over
    }

    /// Whether it was surely there when the accepted `publication` was routed.
    pub(crate) fn is_stable(&self, publication: &Publication) -> bool {
        let Some(settled) = publication.settled else { return false };
        self.is_certain
            && !self.refused
            && self.granted.is_some_and(|granted| granted.index < publication.first().index)
            && self.end_requested.is_none_or(|end| end.index > settled.index)
    }

    /// Whether it contributes nothing to what its own client publishes.
    pub(crate) fn excludes(&self, session: &Session, publication: &Publication) -> bool {
        self.no_local && session.client_id == publication.client_id
    }
}

impl Session {
    /// All subscriptions ever asked for.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.values().flatten()
    }

    /// Subscriptions that may have taken `publication`, shared and not.
    pub(crate) fn possible<'a>(
        &'a self,
        publication: &'a Publication,
    ) -> impl Iterator<Item = &'a Subscription> {
        self.all().filter(move |subscription| {
            subscription.means(&publication.topic)
                && subscription.is_possible(publication)
                && !subscription.excludes(self, publication)
        })
    }

    /// Requests for a subscription that may have sent `publication` as a retained message.
    pub(crate) fn replays<'a>(
        &'a self,
        publication: &'a Publication,
    ) -> impl Iterator<Item = &'a Subscription> {
        let readable = publication.retain;
        self.subscriptions.values().flat_map(move |versions| {
            versions.iter().enumerate().filter_map(move |(place, subscription)| {
                let exists = versions[..place].iter().any(|earlier| {
                    earlier.is_certain
                        && earlier.granted.is_some_and(|at| at.index < subscription.requested.index)
                        && earlier
                            .end_requested
                            .is_none_or(|at| at.index >= subscription.requested.index)
                });
                let asks = match subscription.retain_handling {
                    0 => true,
                    1 => !exists,
                    _ => false,
                };
                let too_late = subscription
                    .granted
                    .is_some_and(|granted| granted.index < publication.first().index);
                (readable
                    && asks
                    && !too_late
                    && !subscription.refused
                    && subscription.share.is_none()
                    && !subscription.excludes(self, publication)
                    && subscription.means(&publication.topic))
                .then_some(subscription)
            })
        })
    }

    /// How many copies of `publication` the session may get at most.
    pub(crate) fn copies(&self, publication: &Publication) -> usize {
        let plain = self.possible(publication).any(|found| found.share.is_none());
        let mut shares: Vec<(&str, &str)> = Vec::new();
        for found in self.possible(publication) {
            if let Some(share) = &found.share {
                shares.push((share, &found.filter));
            }
        }
        shares.sort_unstable();
        shares.dedup();
        (usize::from(plain) + shares.len()) * publication.instances
            + self.replays(publication).count()
    }

    /// The QoS at which it surely has `publication`, by subscriptions that are not shared.
    pub(crate) fn stable_qos(&self, publication: &Publication) -> Option<u8> {
        self.possible(publication)
            .filter(|found| found.share.is_none() && found.is_stable(publication))
            .map(|found| found.qos.min(publication.qos))
            .max()
    }
}
