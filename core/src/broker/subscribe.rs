//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::Broker;
use crate::input::ConnectionId;
use crate::message::MessageId;
use crate::notice::{Cause, Notice};
use crate::outbox::Outbox;
use crate::record::{LogPosition, Record, ReplayState};
use crate::routing::topic::TopicFilter;
use crate::session::{Replay, Session, SessionKey, Subscription};
use crate::wire::codes_len;
use crate::wire::packet::{
    RetainHandling, ServerPacket, SubAck, Subscribe, SubscriptionOptions, UnsubAck, Unsubscribe,
};
use crate::wire::reason::ReasonCode;
use crate::wire::types::{InboundPacketId, QoS, Version};

impl Broker {
    pub(super) fn subscribe(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        subscribe: Subscribe,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get(key) else { return };
        let session_id = session.id;
        let id_in_use = is_held(session, subscribe.packet_id);
        if self.closes_instead(connection, key, &subscribe, out) {
            return;
        }
        let before = self.gate.appended();
        let mut reasons = Vec::with_capacity(subscribe.subscriptions.len());
        // [MQTT-3.8.4-5] [MQTT-3.8.4-6]
        for (filter, options) in &subscribe.subscriptions {
            let reason = if id_in_use {
                Err(ReasonCode::PacketIdentifierInUse)
            } else {
                self.check_filter(key, filter)
            };
            match reason {
                Ok(()) => {
                    let filter = filter.compact();
                    let qos = self.add_subscription(
                        key,
                        filter,
                        *options,
                        subscribe.subscription_id,
                        out,
                    );
                    reasons.push(granted(qos)); // [MQTT-3.8.4-7]
                }
                Err(reason) => {
                    let client_id = self.sessions.get(key).map(|session| session.client_id.clone());
                    out.notice(Notice::SubscribeRefused {
                        client_id: client_id.unwrap_or_default(),
                        filter: filter.compact(),
                        reason,
                    });
                    reasons.push(reason);
                }
            }
        }
        let after = self.gate.appended_since(before);
        if canary!(SubackReversed) {
            reasons.reverse();
        }
        // [MQTT-3.8.4-1] [MQTT-3.8.4-2]
        let suback = SubAck { packet_id: subscribe.packet_id, reasons, details: None };
        let told = if canary!(SubackBeforeCommit) { LogPosition::START } else { after };
        self.send_after(told, connection, ServerPacket::SubAck(Box::new(suback)), false, out);
        if !self.gate.is_durable(after) {
            let item = crate::gate::Item::Wake { session: key, id: session_id };
            self.gate.hold(after, item);
        }
        // Groups that the session joined may have something waiting.
        self.pump(key, out);
    }

    pub(super) fn unsubscribe(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        unsubscribe: Unsubscribe,
        out: &mut Outbox,
    ) {
        if self.cannot_be_told(connection, unsubscribe.filters.len(), out) {
            return;
        }
        let Some(session) = self.sessions.get(key) else { return };
        let id_in_use = is_held(session, unsubscribe.packet_id);
        let before = self.gate.appended();
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        // [MQTT-3.10.4-6]
        for filter in &unsubscribe.filters {
            reasons.push(if id_in_use {
                ReasonCode::PacketIdentifierInUse
            } else if canary!(OnlyFirstFilterRemoved) && !reasons.is_empty()
                || self.remove_subscription(key, filter, out)
            {
                ReasonCode::Success
            } else {
                ReasonCode::NoSubscriptionExisted
            });
        }
        let after = self.gate.appended_since(before);
        // [MQTT-3.10.4-4] [MQTT-3.10.4-5]
        let unsuback = UnsubAck { packet_id: unsubscribe.packet_id, reasons, details: None };
        self.send_after(after, connection, ServerPacket::UnsubAck(Box::new(unsuback)), false, out);
    }

    /// Closes the connection where no SUBACK can say what is to be said.
    fn closes_instead(
        &mut self,
        connection: ConnectionId,
        key: SessionKey,
        subscribe: &Subscribe,
        out: &mut Outbox,
    ) -> bool {
        if self.cannot_be_told(connection, subscribe.subscriptions.len(), out) {
            return true;
        }
        let version = self.sessions.get(key).map(|session| session.version);
        if version == Some(Version::V5)
            && let Some(cause) = self.unavailable(subscribe)
        {
            self.close(connection, cause, out);
            return true;
        }
        if version == Some(Version::V31)
            && let Some((_, reason)) = self.first_refusal(key, subscribe)
        {
            // Its SUBACK has no code that says no.
            let detail = "a subscription refused to a client that cannot be told";
            self.close_behind(connection, Cause::NotAllowed { reason, detail }, out);
            return true;
        }
        false
    }

    /// Closes the connection of a client that would wait in vain for an answer with so many codes,
    /// because it takes no packet of that size `[MQTT-3.1.2-24]`. Nothing has been done for it yet.
    fn cannot_be_told(&mut self, connection: ConnectionId, codes: usize, out: &mut Outbox) -> bool {
        let maximum = self.links.get(connection).map(|link| link.maximum_packet_size_bytes);
        let is_too_large = maximum.is_some_and(|maximum| codes_len(codes) > maximum as usize);
        if is_too_large {
            let reason = ReasonCode::PacketTooLarge;
            let detail = "the client's maximum packet size is too small for the answer";
            self.close_behind(connection, Cause::Limit { reason, detail }, out);
        }
        is_too_large
    }

    /// The first subscription of a SUBSCRIBE that would be refused now, by its place, and why.
    #[must_use]
    pub fn first_refused(
        &self,
        connection: ConnectionId,
        subscribe: &Subscribe,
    ) -> Option<(usize, ReasonCode)> {
        let key = self.links.get(connection)?.session()?;
        self.first_refusal(key, subscribe)
    }

    fn first_refusal(&self, key: SessionKey, subscribe: &Subscribe) -> Option<(usize, ReasonCode)> {
        let held = self.subscription_count(self.sessions.get(key)?);
        let maximum = self.config.limits.subscriptions_per_session as usize;
        let mut fresh = BTreeSet::new();
        for (place, (filter, _)) in subscribe.subscriptions.iter().enumerate() {
            if let Err(reason) = self.check_filter(key, filter) {
                return Some((place, reason));
            }
            // Those before it take room too.
            let is_new = !self.is_subscribed(key, filter) && fresh.insert(filter);
            if is_new && held + fresh.len() > maximum {
                return Some((place, ReasonCode::QuotaExceeded));
            }
        }
        None
    }

    /// What CONNACK called unavailable closes the connection.
    fn unavailable(&self, subscribe: &Subscribe) -> Option<Cause> {
        let limits = &self.config.limits;
        let uses = |of: fn(&TopicFilter) -> bool| {
            subscribe.subscriptions.iter().any(|(filter, _)| of(filter))
        };
        let (reason, detail) = if !limits.wildcard_subscription_available
            && uses(TopicFilter::has_wildcard)
        {
            (ReasonCode::WildcardSubscriptionsNotSupported, "wildcards are switched off")
        } else if !limits.subscription_identifiers_available && subscribe.subscription_id.is_some()
        {
            (
                ReasonCode::SubscriptionIdentifiersNotSupported,
                "subscription identifiers are switched off",
            )
        } else if !limits.shared_subscription_available && uses(TopicFilter::is_shared) {
            (ReasonCode::SharedSubscriptionsNotSupported, "shared subscriptions are switched off")
        } else {
            return None;
        };
        Some(Cause::Protocol { reason, detail })
    }

    fn check_filter(&self, key: SessionKey, filter: &TopicFilter) -> Result<(), ReasonCode> {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get(key) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        if !limits.wildcard_subscription_available && filter.has_wildcard() {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        if !limits.shared_subscription_available && filter.is_shared() {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if filter.levels().count() > usize::from(limits.topic_levels) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let is_full = self.subscription_count(session) >= limits.subscriptions_per_session as usize;
        if is_full && !self.is_subscribed(key, filter) {
            return Err(ReasonCode::QuotaExceeded);
        }
        if self.journal_room.is_short() && session.is_durable() {
            return Err(ReasonCode::QuotaExceeded);
        }
        let subject = session.subject();
        let may = self.permissions.allows_subscribe(&subject, filter).allowed;
        if !may && !canary!(DeniedSubscribeGranted) {
            return Err(ReasonCode::NotAuthorized);
        }
        Ok(())
    }

    /// Makes or replaces a subscription `[MQTT-3.8.4-3]` and returns the QoS granted.
    fn add_subscription(
        &mut self,
        key: SessionKey,
        filter: TopicFilter,
        mut options: SubscriptionOptions,
        subscription_id: Option<u32>,
        out: &mut Outbox,
    ) -> QoS {
        options.maximum_qos = options.maximum_qos.min(self.config.limits.maximum_qos);
        let Some(session) = self.sessions.get(key) else { return options.maximum_qos };
        let is_new = !self.is_subscribed(key, &filter);
        let (session_id, is_durable) = (session.id, session.is_durable());
        let client_id = session.client_id.clone();
        let replays = !filter.is_shared()
            && match options.retain_handling {
                RetainHandling::Always => true, // [MQTT-3.3.1-9]
                // [MQTT-3.3.1-10]
                RetainHandling::IfNew => is_new || canary!(RetainHandlingIgnored),
                RetainHandling::Never => false, // [MQTT-3.3.1-11]
            }
            && self.may_replay(&filter);
        let subscription = self.store_subscription(
            key,
            &filter,
            Subscription { options, subscription_id, group: None },
        );
        let before = MessageId(self.next_message);
        let mut after = LogPosition::START;
        if is_durable {
            let record = Record::Subscribed {
                session: session_id,
                filter: filter.clone(),
                options,
                subscription_id,
                group: subscription.group.map(|(_, id)| id),
                replay: replays.then_some(ReplayState {
                    before,
                    after_topic: None,
                    early: Vec::new(),
                }),
            };
            after = self.gate.persist(record, out);
        }
        if let Some(session) = self.sessions.get_mut(key) {
            session.replays.retain(|replay| replay.filter != filter);
            if replays {
                session.replays.push_back(Replay {
                    filter: filter.clone(),
                    options,
                    subscription_id,
                    after_topic: None,
                    needs_bytes: 0,
                    early: BTreeSet::new(),
                    after,
                    before,
                    is_recovered: false,
                });
            }
        }
        out.notice(Notice::Subscribed { client_id, filter, qos: options.maximum_qos });
        options.maximum_qos
    }

    /// Removes a subscription `[MQTT-3.10.4-1]`; tells whether there was one. What is already
    /// queued may still be delivered, and what is in flight is finished `[MQTT-3.10.4-3]`.
    fn remove_subscription(
        &mut self,
        key: SessionKey,
        filter: &TopicFilter,
        out: &mut Outbox,
    ) -> bool {
        if !self.is_subscribed(key, filter) {
            return false;
        }
        let Some(session) = self.sessions.get_mut(key) else { return false };
        // It must not keep a read buffer alive.
        let filter = filter.compact();
        session.replays.retain(|replay| replay.filter != filter);
        let client_id = session.client_id.clone();
        if session.is_durable() {
            let record = Record::Unsubscribed { session: session.id, filter: filter.clone() };
            self.gate.persist(record, out);
        }
        match self.groups.find(&filter) {
            Some(group) => self.leave_group(key, group, out),
            None => self.remove_own_subscription(key, &filter),
        }
        out.notice(Notice::Unsubscribed { client_id, filter });
        true
    }
}

/// Whether a QoS 2 publication holds the identifier of a request, and the client can be told so. Others are served:
/// their answers cannot be taken for those of a publication.
fn is_held(session: &Session, id: InboundPacketId) -> bool {
    session.version == Version::V5 && session.inbound.contains(id)
}

/// The SUBACK code for a granted QoS.
fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
