//! A plan's settings as the broker and its surroundings take them.

use signalhouse_core::wire::types::QoS;
use signalhouse_core::{Config, Limits};

use crate::canary;
use crate::plan::Plan;
use crate::point;

/// Settings of what surrounds the broker.
const SURROUNDINGS: [&str; 20] = [
    "network.latency_ms",
    "network.jitter_ms",
    "network.split",
    "network.capacity_bytes",
    "connection.outgoing_buffer_bytes",
    "disk.cut_at",
    "disk.cut_power",
    "disk.cut_again_at",
    "disk.cut_again_power",
    "disk.fail_at",
    "disk.capacity_bytes",
    "journal.relaxed_ms",
    "journal.segment_bytes",
    "journal.sync_ms",
    "journal.snapshots",
    "quota.connections",
    "quota.messages_per_day",
    "quota.messages_per_second",
    "quota.stored_bytes",
    "token.lifetime_ms",
];

/// A setting's value in a plan, if it is there.
pub(crate) fn setting(plan: &Plan, name: &str) -> Option<u64> {
    plan.settings.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

/// The broker's configuration.
///
/// # Errors
/// Names the setting that is not known.
pub(crate) fn config(plan: &Plan) -> Result<Config, String> {
    let mut config = Config::default();
    for (name, value) in &plan.settings {
        if SURROUNDINGS.contains(&name.as_str()) {
            continue;
        }
        if let Some(name) = name.strip_prefix(canary::SETTING) {
            if canary::is_known(name) {
                continue;
            }
            return Err(format!("this build has no canary `{name}`"));
        }
        if let Some(name) = name.strip_prefix(point::SETTING) {
            if point::is_known(name) {
                continue;
            }
            return Err(format!("this build has no point `{name}`"));
        }
        let known = set_number(&mut config, name, *value)
            || set_size(&mut config.limits, name, *value)
            || set_switch(&mut config, name, *value != 0);
        if !known {
            return Err(format!("the setting `{name}` is not known"));
        }
    }
    Ok(config)
}

fn set_number(config: &mut Config, name: &str, value: u64) -> bool {
    let limits = &mut config.limits;
    let in_u16 = u16::try_from(value).unwrap_or(u16::MAX);
    match name {
        "receive_maximum" => limits.receive_maximum = in_u16,
        "topic_alias_maximum" => limits.topic_alias_maximum = in_u16,
        "topic_alias_outbound_maximum" => limits.topic_alias_outbound_maximum = in_u16,
        "client_id_bytes" => limits.client_id_bytes = in_u16,
        "keep_alive_maximum_s" => limits.keep_alive_maximum_s = in_u16,
        "topic_levels" => limits.topic_levels = in_u16,
        "inflight_messages" => limits.inflight_messages = in_u16,
        "pipelined_packets" => limits.pipelined_packets = in_u16,
        "connect_timeout_ms" => limits.connect_timeout_ms = value,
        "queue_bytes" => limits.queue_bytes = value,
        "queue_memory_bytes" => limits.queue_memory_bytes = value,
        "retained_bytes" => limits.retained_bytes = value,
        "sys_interval_ms" => config.sys_interval_ms = value,
        "time_jump_maximum_ms" => config.time_jump_maximum_ms = value,
        _ => return false,
    }
    true
}

fn set_size(limits: &mut Limits, name: &str, value: u64) -> bool {
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    match name {
        "connections" => limits.connections = value,
        "sessions" => limits.sessions = value,
        "maximum_packet_size_bytes" => limits.maximum_packet_size_bytes = value,
        "session_expiry_interval_maximum_s" => limits.session_expiry_interval_maximum_s = value,
        "subscriptions_per_session" => limits.subscriptions_per_session = value,
        "queue_messages" => limits.queue_messages = value,
        "retained_messages" => limits.retained_messages = value,
        "maximum_qos" => {
            limits.maximum_qos = match value {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            }
        }
        _ => return false,
    }
    true
}

fn set_switch(config: &mut Config, name: &str, on: bool) -> bool {
    let limits = &mut config.limits;
    match name {
        "retain_available" => limits.retain_available = on,
        "wildcard_subscription_available" => limits.wildcard_subscription_available = on,
        "subscription_identifiers_available" => limits.subscription_identifiers_available = on,
        "shared_subscription_available" => limits.shared_subscription_available = on,
        "ask_credentials" => config.ask_credentials = on,
        "queue_qos0_offline" => config.queue_qos0_offline = on,
        _ => return false,
    }
    true
}
