//! What the driver and the operator tell the broker.

use std::sync::Arc;

use bytes::Bytes;
use signalhouse_core::Time;
use signalhouse_core::credential::{Claims, Credential};
use signalhouse_core::input::{AuthOutcome, PublishCommand, Publisher};
use signalhouse_core::permission::{Action, Actions, Effect, Pattern, Permissions, Rule, Who};
use signalhouse_core::quota::{Holder, Quota, Quotas};
use signalhouse_core::wire::DecodeError;
use signalhouse_core::wire::frame::PacketType;
use signalhouse_core::wire::types::Version;

use super::judge::Judge;
use super::names;
use super::names::{client_id, identity, text};
use super::step::{Bound, Bounds, Message, Rules, Shown, Stranger, Verdict};

const PATTERNS: [&str; 7] = ["x", "x/#", "+/y", "#", "x/%u", "%c/#", "x/{claim.role}"];

/// What the driver answers to a question, which is one of an exchange or one for credentials.
pub(super) fn outcome(now: Time, verdict: Verdict, is_exchange: bool) -> AuthOutcome {
    let data = |has_data: bool| (is_exchange && has_data).then(|| Bytes::from_static(b"data"));
    match verdict {
        Verdict::Accept { identity: which, has_data, shown } => AuthOutcome::Accepted {
            identity: identity(which),
            data: data(has_data),
            credential: credential(now, &shown),
        },
        // Only an exchange goes on.
        Verdict::Continue { has_data } if is_exchange => {
            AuthOutcome::Continue { data: data(has_data) }
        }
        Verdict::Continue { .. } => AuthOutcome::Refused { reason: names::refusal(1) },
        Verdict::Refuse { reason } => AuthOutcome::Refused { reason: names::refusal(reason) },
    }
}

fn credential(now: Time, shown: &Shown) -> Credential {
    let claim = shown.claim.map(|role| (text("role"), text(["y", "z"][usize::from(role % 2)])));
    let has = |bit: u8| shown.claim.is_some_and(|bits| bits & 1 << bit != 0);
    Credential {
        inbox: has(1).then(|| Box::new(names::topic_of(2))),
        key: has(2).then(|| text("key")),
        claims: Claims::new(claim.into_iter().collect()),
        grants: shown.grants.as_ref().map(|rules| Arc::new(permissions(rules))),
        ends_at: shown.ends_after_s.map(|seconds| now.plus_seconds(u32::from(seconds))),
    }
}

pub(super) fn permissions(rules: &Rules) -> Permissions {
    let effect = |allows: bool| if allows { Effect::Allow } else { Effect::Deny };
    let all = rules.rules.iter().map(|(who, what, place)| {
        let who = match who % 6 {
            0 => Who::Any,
            1 => Who::Anonymous,
            2 => Who::Named,
            3 => Who::User(text("ann")),
            4 => Who::Client(client_id(who / 6)),
            _ => Who::Claim(text("role"), text("y")),
        };
        let actions = match what / 2 % 5 {
            0 => Actions::ALL,
            1 => Actions::READ,
            2 => Action::Publish.into(),
            3 => Action::Subscribe.into(),
            _ => Action::Receive.into(),
        };
        let pattern = PATTERNS[usize::from(*place) % PATTERNS.len()];
        let pattern = Pattern::new(pattern).expect("the patterns here are valid");
        Rule { effect: effect(what % 2 == 0), who, actions, pattern }
    });
    Permissions::new(effect(rules.allows), all.collect()).expect("each rule is about something")
}

pub(super) fn quotas(bounds: &Bounds) -> Quotas {
    let of = bounds.clients.iter().map(|(client, bound)| {
        let client = Holder::Client(client_id(*client));
        (client, quota(bound))
    });
    Quotas {
        every_user: bounds.every_user.as_ref().map(quota),
        every_address: bounds.every_address.as_ref().map(quota),
        of: of.collect(),
    }
}

fn quota(bound: &Bound) -> Quota {
    Quota {
        messages_per_second: u32::from(bound.messages_per_second),
        messages_per_day: u64::from(bound.messages_per_day),
        connections: u32::from(bound.connections),
        stored_bytes: u64::from(bound.stored_bytes),
        closes_at_qos0: bound.closes_at_qos0,
    }
}

pub(super) fn message(message: &Message, judge: &mut Judge) -> PublishCommand {
    PublishCommand {
        topic: names::any_topic(message.topic),
        payload: judge.payload(message.length),
        qos: names::qos_of(message.qos),
        retain: message.retain,
        message_expiry_interval_s: message.expiry_s.map(u32::from),
        properties: names::properties(message.properties),
    }
}

pub(super) fn publisher(now: Time, stranger: &Stranger) -> Publisher {
    Publisher {
        identity: identity(stranger.identity),
        client_id: client_id(stranger.client),
        peer: text("10.0.0.1:80"),
        credential: credential(now, &stranger.shown),
    }
}

/// What is wrong with what came, and in which version it can be answered.
pub(super) fn malformed(error: u8, version: u8) -> (DecodeError, Option<Version>) {
    let packet = PacketType::Publish;
    let errors = [
        DecodeError::PacketTypeZero,
        DecodeError::FirstPacketNotConnect { packet },
        DecodeError::UnsupportedProtocol { level: 6, answer: Version::V5 },
        DecodeError::PacketTooLarge { size_bytes: 2_000_000, limit_bytes: 1_000_000 },
        DecodeError::TopicAliasUnknown { alias: 3 },
        DecodeError::ClientIdEmpty,
    ];
    let version = [None, Some(Version::V5), Some(Version::V311), Some(Version::V31)]
        [usize::from(version % 4)];
    let error = errors.into_iter().cycle().nth(usize::from(error)).expect("errors without end");
    (error, version)
}
