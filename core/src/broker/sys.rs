//! `$SYS/broker/...`: the broker's figures as retained messages, under Mosquitto's names.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use super::Broker;
use super::route::Source;
use crate::message::Message;
use crate::outbox::Outbox;
use crate::record::Origin;
use crate::routing::topic::Topic;
use crate::time::Time;
use crate::wire::types::QoS;

/// What the last update showed.
#[derive(Clone, Debug)]
pub(super) struct Sys {
    started_at: Time,
    shown: Vec<String>,
    loads: [Load; LOADS.len()],
}

/// Averages of one rate, in hundredths per minute.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    total: u64,
    averages: [u64; WINDOWS.len()],
}

/// Over how many milliseconds the averages go, with their names.
const WINDOWS: [(u64, &str); 3] = [(60_000, "1min"), (300_000, "5min"), (900_000, "15min")];

/// Names of the rates, in the order of [`Broker::totals`].
const LOADS: [&str; 6] = [
    "messages/received",
    "messages/sent",
    "publish/received",
    "publish/sent",
    "publish/dropped",
    "connections",
];

impl Sys {
    pub(super) fn new(started_at: Time) -> Self {
        Sys { started_at, shown: Vec::new(), loads: [Load::default(); LOADS.len()] }
    }
}

impl Broker {
    /// Clients with a connection that have been accepted.
    pub(super) fn clients_connected(&self) -> usize {
        usize::try_from(self.counters.clients_accepted - self.counters.clients_gone)
            .unwrap_or(usize::MAX)
    }

    /// Publishes the figures that have changed since the last update.
    pub(super) fn update_sys(&mut self, out: &mut Outbox) {
        let mut values = self.sys_values();
        values.extend(self.update_loads());
        for (index, (name, value)) in values.into_iter().enumerate() {
            if self.sys.shown.get(index) == Some(&value) {
                continue;
            }
            let Ok(topic) = Topic::try_from(format!("$SYS/broker/{name}").as_str()) else {
                continue;
            };
            let message = Message {
                id: self.fresh_message_id(),
                topic,
                payload: Bytes::from(value.clone().into_bytes()),
                qos: QoS::AtMostOnce,
                expires_at: None,
                properties: None,
            };
            let source = Source {
                session: None,
                publisher: None,
                origin: Origin::Untracked,
                is_recorded: false,
                is_refusable: false,
            };
            let _routed = self.route(message, true, source, out);
            if let Some(shown) = self.sys.shown.get_mut(index) {
                *shown = value;
            } else {
                self.sys.shown.push(value);
            }
        }
    }

    fn sys_values(&self) -> Vec<(String, String)> {
        let counters = &self.counters;
        let connected = self.clients_connected();
        let sessions = self.sessions.len();
        let uptime_s = self.now.since_ms(self.sys.started_at) / 1000;
        [
            ("version", self.config.version_text.to_string()),
            ("uptime", format!("{uptime_s} seconds")),
            ("clients/total", sessions.to_string()),
            ("clients/connected", connected.to_string()),
            ("clients/active", connected.to_string()),
            ("clients/disconnected", sessions.saturating_sub(connected).to_string()),
            ("clients/inactive", sessions.saturating_sub(connected).to_string()),
            ("clients/maximum", counters.clients_maximum.to_string()),
            ("clients/expired", counters.sessions_expired.to_string()),
            ("messages/received", counters.packets_received.to_string()),
            ("messages/sent", counters.packets_sent.to_string()),
            ("publish/messages/received", counters.publish_received.to_string()),
            ("publish/messages/sent", counters.publish_sent.to_string()),
            ("publish/messages/dropped", counters.dropped.to_string()),
            ("publish/bytes/received", counters.publish_bytes_received.to_string()),
            ("publish/bytes/sent", counters.publish_bytes_sent.to_string()),
            ("retained messages/count", self.retained.len().to_string()),
            ("store/messages/count", self.retained.len().to_string()),
            ("store/messages/bytes", self.retained.content_bytes().to_string()),
            ("subscriptions/count", self.subscriptions.len().to_string()),
            ("shared_subscriptions/count", self.shares.len().to_string()),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .into()
    }

    /// Totals whose rates are shown, in the order of [`LOADS`].
    fn totals(&self) -> [u64; LOADS.len()] {
        let counters = &self.counters;
        [
            counters.packets_received,
            counters.packets_sent,
            counters.publish_received,
            counters.publish_sent,
            counters.dropped,
            counters.clients_accepted,
        ]
    }

    fn update_loads(&mut self) -> Vec<(String, String)> {
        let interval_ms = self.config.sys_interval_ms.max(1);
        let mut values = Vec::new();
        let totals = self.totals();
        for ((load, total), name) in self.sys.loads.iter_mut().zip(totals).zip(LOADS) {
            let since = total.saturating_sub(load.total);
            load.total = total;
            let rate = since.saturating_mul(100 * 60_000) / interval_ms;
            for (average, (window_ms, window)) in load.averages.iter_mut().zip(WINDOWS) {
                let weight_ms = interval_ms.min(window_ms);
                let sum = average.saturating_mul(window_ms - weight_ms);
                *average = sum.saturating_add(rate.saturating_mul(weight_ms)) / window_ms;
                let value = format!("{}.{:02}", *average / 100, *average % 100);
                values.push((format!("load/{name}/{window}"), value));
            }
        }
        values
    }
}
