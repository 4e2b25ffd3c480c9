//! What clients sent behind a CONNECT of which they do not know whether it let them in.

use super::{Connection, Model, Moment, Publication};
use crate::history::ConnectionNumber;
use crate::oracle::topic;
use crate::packet::{Packet, Publish};

impl Model {
    /// Whether a client may have joined a share that means `publication`, for all that is known.
    pub(crate) fn may_be_joined_ahead(&self, publication: &Publication) -> bool {
        self.asked_ahead().any(|(_, _, whole)| {
            let share = topic::split_share(whole);
            share.is_some_and(|(_, filter)| topic::matches(filter, &publication.topic))
        })
    }

    /// When a share may have got members of which nothing else is known.
    pub(super) fn joined_ahead(&self, share: &str) -> impl Iterator<Item = Moment> {
        self.asked_ahead().filter(move |(.., whole)| *whole == share).map(|(_, moment, _)| moment)
    }

    /// Whether another publication at QoS 2 under the same identifier may hold it: it was sent behind a CONNECT of that
    /// client which was never answered, and which can have arrived last.
    pub(super) fn may_be_held_ahead(&self, number: ConnectionNumber, publish: &Publish) -> bool {
        let Some(connection) = self.connections.get(&number).filter(|_| publish.qos == 2) else {
            return false;
        };
        let is_other = |packet: &Packet| {
            let Packet::Publish(other) = packet else { return false };
            // One without a payload may be any other's.
            let is_same = other.payload == publish.payload && !publish.payload.is_empty();
            other.qos == 2 && other.id == publish.id && !is_same
        };
        let mut unanswered = self.others(connection).filter(|other| other.connack.is_none());
        unanswered.any(|other| other.pipelined.iter().any(|(_, packet)| is_other(packet)))
    }

    /// Subscriptions that were asked for on connections which have no session yet, if they ever do.
    fn asked_ahead(&self) -> impl Iterator<Item = (&Connection, Moment, &str)> {
        let is_unknown = |found: &&Connection| found.session.is_none() && found.refused.is_none();
        self.connections.values().filter(is_unknown).flat_map(|found| {
            found.pipelined.iter().flat_map(move |(moment, packet)| {
                let filters = if let Packet::Subscribe { filters, .. } = packet {
                    filters.as_slice()
                } else {
                    &[]
                };
                filters.iter().map(move |(whole, _)| (found, *moment, whole.as_str()))
            })
        })
    }
}
