//! What a broker may end a connection for, or refuse it for.

use crate::oracle::model::{Connection, Model, Network, Request};
use crate::oracle::properties as property;
use crate::oracle::quotas;
use crate::packet::{Packet, Will};

/// What CONNACK may take at most, and an answer besides its codes, in bytes.
const CONNACK_BYTES: u64 = 128;
const ANSWER_BYTES: u64 = 8;

const NOT_VALID: u8 = 0x85;
const NOT_AUTHORIZED: u8 = 0x87;
const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
const TAKEN_OVER: u8 = 0x8e;
const TOPIC_NAME_INVALID: u8 = 0x90;
const PACKET_TOO_LARGE: u8 = 0x95;
const RATE_TOO_HIGH: u8 = 0x96;
const QUOTA_EXCEEDED: u8 = 0x97;
const NO_RETAIN: u8 = 0x9a;
const NO_SUCH_QOS: u8 = 0x9b;
const NO_SHARES: u8 = 0x9e;
const TIME_IS_OVER: u8 = 0xa0;
const NO_WILDCARDS: u8 = 0xa2;

/// Whether the history or the settings give a cause for what was said, or for an end without a word.
pub(super) fn excuses(model: &Model, connection: &Connection, reason: Option<u8>) -> bool {
    is_beyond_words(model, connection)
        || match reason {
            Some(reason) if connection.level() >= 5 => named(model, connection, reason),
            Some(_) | None => unnamed(model, connection),
        }
}

/// What befell the connection whatever the broker says of it.
fn is_beyond_words(model: &Model, connection: &Connection) -> bool {
    let since_ms = connection.opened.at_ms.saturating_sub(model.bounds.latency_ms);
    // Where the network stood still, a process that is gone may have taken it.
    let held_until_ms = model.peers.get(&connection.client).and_then(|peer| peer.held_until_ms);
    let was_held =
        connection.connack.is_none() && held_until_ms.is_some_and(|until| until >= since_ms);
    let since_ms = if was_held { 0 } else { since_ms };
    let was_down = model
        .outages
        .iter()
        .any(|outage| outage.started.is_none_or(|started| started.at_ms >= since_ms));
    was_down
        || connection.misbehaved.is_some()
        || connection.was_reset
        || connection.network == Network::BlackHole
        || connection.goodbye.is_some()
}

/// Whether a reason can be the true one.
fn named(model: &Model, connection: &Connection, reason: u8) -> bool {
    let bounds = &model.bounds;
    let is_let_in = connection.connack.is_some();
    if connection.sent_away.iter().any(|order| order.is_told_by(reason, is_let_in)) {
        return true;
    }
    match reason {
        NOT_VALID => is_anothers(model, connection),
        NOT_AUTHORIZED => !is_let_in && may_not_have_will(model, connection),
        KEEP_ALIVE_TIMEOUT => may_be_silent(model, connection),
        TAKEN_OVER => model.later(connection).next().is_some(),
        TOPIC_NAME_INVALID => {
            let levels = |will: &Will| will.topic.split('/').count() as u64;
            let is_wrong =
                |will: &Will| levels(will) > bounds.topic_levels || will.topic.starts_with('$');
            !is_let_in && will(connection).is_some_and(is_wrong)
        }
        PACKET_TOO_LARGE => may_be_too_large(model, connection),
        RATE_TOO_HIGH => bounds.messages_per_second.or(bounds.messages_per_day).is_some(),
        QUOTA_EXCEEDED if is_let_in => bounds.stored_bytes.or(bounds.messages_per_day).is_some(),
        QUOTA_EXCEEDED => {
            let is_kept = model.expiry_s(connection.number) > 0 || will(connection).is_some();
            let will_is_over = !quotas::will_surely_has_room(model, connection);
            sessions_may_be_full(model, connection)
                || bounds.may_fill_disk && is_kept
                || bounds.stored_bytes.is_some() && will_is_over
                || bounds.connections.is_some()
        }
        NO_RETAIN => {
            let of_will = will(connection).is_some_and(|will| will.retain);
            !bounds.retain_available && (of_will || publishes_ahead(connection))
        }
        NO_SUCH_QOS => {
            let of_will = will(connection).is_some_and(|will| will.qos > bounds.maximum_qos);
            bounds.maximum_qos < 2 && (of_will || publishes_ahead(connection))
        }
        NO_SHARES => !bounds.shares_available && subscribes_ahead(connection),
        NO_WILDCARDS => !bounds.wildcards_available && subscribes_ahead(connection),
        TIME_IS_OVER => model.may_outstay(connection, model.now.at_ms),
        _ => false,
    }
}

/// Whether there is any cause: to those of an older version it is not told, nor does a client hear it that cannot be
/// reached, or that has asked for another connection before this one was answered.
fn unnamed(model: &Model, connection: &Connection) -> bool {
    let opened_ms = connection.opened.at_ms;
    let is_let_in = connection.connack.is_some();
    let is_cut_off = !model.is_prompt(connection, opened_ms);
    let waited_ms = model.now.at_ms + model.bounds.latency_ms - opened_ms;
    let is_late = !is_let_in
        && (is_cut_off || connection.connect.is_none())
        && waited_ms >= model.bounds.connect_timeout_ms;
    let is_untold = connection.level() < 5 || is_cut_off || !is_let_in;
    let has_silent_cause = || {
        model.later(connection).next().is_some()
            || !connection.sent_away.is_empty()
            || may_be_silent(model, connection)
            || model.may_outstay(connection, model.now.at_ms)
            || model.bounds.may_refuse()
            || model.has_denied()
            || !is_let_in && is_anothers(model, connection)
            || !is_let_in && sessions_may_be_full(model, connection)
    };
    is_late || connections_may_be_full(model, connection) || is_untold && has_silent_cause()
}

/// Whether somebody else came with the same identifier.
fn is_anothers(model: &Model, connection: &Connection) -> bool {
    model.others(connection).any(|other| other.user_name() != connection.user_name())
}

fn will(connection: &Connection) -> Option<&Will> {
    connection.connect.as_ref().and_then(|(_, connect)| connect.will.as_ref())
}

/// Whether its client may have been denied to publish its will when it came.
fn may_not_have_will(model: &Model, connection: &Connection) -> bool {
    let (Some(will), Some((sent, _))) = (will(connection), &connection.connect) else {
        return false;
    };
    let since_ms = sent.at_ms.saturating_sub(model.bounds.latency_ms);
    let mut rules = model.rules_since_ms(since_ms).iter();
    rules.any(|access| access.denies_publish(&connection.client_id, &will.topic))
}

/// Whether nothing of its client may have arrived for one and a half times its keep alive.
fn may_be_silent(model: &Model, connection: &Connection) -> bool {
    let silence_ms = u64::from(connection.keep_alive_s()) * 1500;
    let quiet_ms = connection.longest_silence_ms(model.now);
    silence_ms > 0
        && (quiet_ms + 2 * model.bounds.latency_ms >= silence_ms
            || !model.is_prompt(connection, connection.opened.at_ms))
}

/// Whether an answer may be too large for its client, or what it sent before it knew the limit for the broker.
fn may_be_too_large(model: &Model, connection: &Connection) -> bool {
    let maximum = connection.asked(property::MAXIMUM_PACKET_SIZE).map_or(u64::MAX, u64::from);
    let is_long = |request: &Request| match request {
        Request::Subscribe(filters) => filters.len() as u64 + ANSWER_BYTES > maximum,
        Request::Unsubscribe(filters) => filters.len() as u64 + ANSWER_BYTES > maximum,
        Request::Connect
        | Request::Ping
        | Request::Publish(..)
        | Request::Recorded(_)
        | Request::Release(_) => false,
    };
    let is_unaware = connection.connack.is_none() || !connection.pipelined.is_empty();
    model.bounds.packet_bytes < u64::MAX && is_unaware
        || connection.connack.is_none() && maximum < CONNACK_BYTES
        || connection.outstanding.values().any(|open| is_long(&open.request))
}

fn publishes_ahead(connection: &Connection) -> bool {
    let is_publish = |packet: &Packet| matches!(packet, Packet::Publish(_));
    connection.is_unsettled() || connection.pipelined.iter().any(|(_, packet)| is_publish(packet))
}

fn subscribes_ahead(connection: &Connection) -> bool {
    let is_subscribe = |packet: &Packet| matches!(packet, Packet::Subscribe { .. });
    connection.pipelined.iter().any(|(_, packet)| is_subscribe(packet))
}

/// Whether as many sessions as there may be may have lived when a connection's CONNECT was looked at.
fn sessions_may_be_full(model: &Model, connection: &Connection) -> bool {
    let most = model.bounds.sessions;
    if most == u64::MAX {
        return false;
    }
    let asked = connection.connect.as_ref().map_or(model.now, |(sent, _)| *sent);
    let is_open = |number: &u64| {
        let found = model.connections.get(number);
        found.is_some_and(|one| one.connack.is_none() && one.refused.is_none())
    };
    let may_have_one = model.clients.values().filter(|client| {
        let mut sessions = client.sessions.iter().map(|session| &model.sessions[*session]);
        sessions.any(|session| !model.is_over_at(session, asked))
            || client.connections.iter().any(is_open)
    });
    let nameless = model
        .connections
        .values()
        .filter(|one| one.client_id.is_empty() && one.connect.is_some() && one.refused.is_none());
    (may_have_one.count() + nameless.count()) as u64 >= most
}

/// Whether as many other connections as there may be may have been open.
fn connections_may_be_full(model: &Model, connection: &Connection) -> bool {
    let most = model.bounds.connections_at_once;
    if most == u64::MAX {
        return false;
    }
    let others = model.connections.values().filter(|other| {
        other.number != connection.number && model.closing(other).to_ms >= connection.opened.at_ms
    });
    others.count() as u64 >= most
}
