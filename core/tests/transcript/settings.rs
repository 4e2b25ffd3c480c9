//! Applies a transcript's `config` line.

use signalhouse_core::Config;
use signalhouse_core::wire::types::QoS;

use crate::parse::{Args, number, text};

/// Sets every `field=value` of `args` in `config`.
pub(crate) fn apply(config: &mut Config, args: &mut Args) -> Result<(), String> {
    for (name, value) in args.rest() {
        if !(set_choice(config, &name, &value)? || set_limit(config, &name, &value)?) {
            return Err(format!("no setting {name}"));
        }
    }
    args.finish()
}

fn set_choice(config: &mut Config, name: &str, value: &str) -> Result<bool, String> {
    match name {
        "ask_credentials" => config.ask_credentials = flag(value)?,
        "authentication_methods" => {
            config.authentication_methods = value.split(',').map(text).collect::<Result<_, _>>()?;
        }
        "keeps_records" => config.keeps_records = flag(value)?,
        "queue_qos0_offline" => config.queue_qos0_offline = flag(value)?,
        "sys_interval_ms" => config.sys_interval_ms = number(value)?,
        "response_information" => config.response_information = Some(text(value)?),
        "time_jump_maximum_ms" => config.time_jump_maximum_ms = number(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn set_limit(config: &mut Config, name: &str, value: &str) -> Result<bool, String> {
    let limits = &mut config.limits;
    match name {
        "connections" => limits.connections = number(value)?,
        "sessions" => limits.sessions = number(value)?,
        "connect_timeout_ms" => limits.connect_timeout_ms = number(value)?,
        "maximum_packet_size_bytes" => limits.maximum_packet_size_bytes = number(value)?,
        "receive_maximum" => limits.receive_maximum = number(value)?,
        "topic_alias_maximum" => limits.topic_alias_maximum = number(value)?,
        "topic_alias_outbound_maximum" => limits.topic_alias_outbound_maximum = number(value)?,
        "client_id_bytes" => limits.client_id_bytes = number(value)?,
        "maximum_qos" => limits.maximum_qos = QoS::from_u8(number(value)?).ok_or("no such QoS")?,
        "retain_available" => limits.retain_available = flag(value)?,
        "wildcard_subscription_available" => limits.wildcard_subscription_available = flag(value)?,
        "subscription_identifiers_available" => {
            limits.subscription_identifiers_available = flag(value)?;
        }
        "shared_subscription_available" => limits.shared_subscription_available = flag(value)?,
        "session_expiry_interval_maximum_s" => {
            limits.session_expiry_interval_maximum_s = number(value)?;
        }
        "keep_alive_maximum_s" => limits.keep_alive_maximum_s = number(value)?,
        "subscriptions_per_session" => limits.subscriptions_per_session = number(value)?,
        "topic_levels" => limits.topic_levels = number(value)?,
        "queue_messages" => limits.queue_messages = number(value)?,
        "queue_bytes" => limits.queue_bytes = number(value)?,
        "queue_memory_bytes" => limits.queue_memory_bytes = number(value)?,
        "inflight_messages" => limits.inflight_messages = number(value)?,
        "retained_messages" => limits.retained_messages = number(value)?,
        "retained_bytes" => limits.retained_bytes = number(value)?,
        "request_keys" => limits.request_keys = number(value)?,
        "request_key_ms" => limits.request_key_ms = number(value)?,
        "quota_holders" => limits.quota_holders = number(value)?,
        "pipelined_packets" => limits.pipelined_packets = number(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn flag(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("`{value}` is neither true nor false"))
}
