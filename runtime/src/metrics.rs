//! The broker's figures in Prometheus's text format.
//!
//! Fed by notices and by the broker's own counters. Units are base units, causes are labels, and
//! no label has a client identifier or a topic, so the number of series is bounded.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use signalhouse_core::notice::{Cause, DropCause, SessionEnd};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Version;
use signalhouse_core::{Census, Counters, Notice};

use crate::transport::KeptOut;

/// What the notices add up to.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    by_cause: BTreeMap<(Family, Labels), u64>,
}

/// What is counted by cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Connected,
    Refused,
    Disconnected,
    SessionEnded,
    Discarded,
    Dropped,
    PublishRefused,
    SubscribeRefused,
    Wills,
    Ignored,
}

/// A cause, and the reason code with it if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    cause: &'static str,
    code: Option<u8>,
}

impl Counts {
    /// Counts what the broker has to say.
    pub(crate) fn notice(&mut self, notice: &Notice) {
        let plain = |cause| Labels { cause, code: None };
        let coded =
            |reason: &ReasonCode| Labels { cause: reason.name(), code: Some(reason.value()) };
        match notice {
            Notice::Connected { version, .. } => {
                self.add(Family::Connected, plain(version_label(*version)), 1);
            }
            Notice::Refused { cause, .. } => self.add(Family::Refused, cause_labels(cause), 1),
            Notice::Disconnected { cause, .. } => {
                self.add(Family::Disconnected, cause_labels(cause), 1);
            }
            Notice::SessionEnded { cause, discarded, .. } => {
                let cause = match cause {
                    SessionEnd::WithConnection => "with_connection",
                    SessionEnd::Expired => "expired",
                    SessionEnd::CleanStart => "clean_start",
                    SessionEnd::Ordered => "ordered",
                };
                self.add(Family::SessionEnded, plain(cause), 1);
                self.add(Family::Discarded, plain(cause), u64::from(*discarded));
            }
            Notice::Dropped { cause, .. } | Notice::DroppedUnread { cause, .. } => {
                self.add(Family::Dropped, drop_labels(*cause), 1);
            }
            Notice::PublishRefused { reason, .. } => {
                self.add(Family::PublishRefused, coded(reason), 1);
            }
            Notice::SubscribeRefused { reason, .. } => {
                self.add(Family::SubscribeRefused, coded(reason), 1);
            }
            Notice::WillPublished { .. } => self.add(Family::Wills, plain("published"), 1),
            Notice::WillRefused { .. } => self.add(Family::Wills, plain("refused"), 1),
            Notice::UnknownAck { .. } => self.add(Family::Ignored, plain("unknown_ack"), 1),
            Notice::DuplicateSuppressed { .. } => {
                self.add(Family::Ignored, plain("repeated_publication"), 1);
            }
            Notice::SessionStarted { .. }
            | Notice::Subscribed { .. }
            | Notice::Unsubscribed { .. }
            | Notice::RetainedExpired { .. }
            | Notice::PermissionsReplaced
            | Notice::JournalSpace { .. }
            | Notice::TimeJumped { .. } => {}
        }
    }

    /// Counts a connection that did not come as far as the broker.
    pub(crate) fn keep_out(&mut self, cause: &KeptOut) {
        self.add(Family::Refused, Labels { cause: cause.word(), code: None }, 1);
    }

    fn add(&mut self, family: Family, labels: Labels, count: u64) {
        if count > 0 {
            *self.by_cause.entry((family, labels)).or_default() += count;
        }
    }
}

fn version_label(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}

fn cause_labels(cause: &Cause) -> Labels {
    let (cause, code) = match cause {
        Cause::ClientDisconnected(reason) => ("client_disconnected", Some(reason)),
        Cause::PeerClosed => ("peer_closed", None),
        Cause::NetworkFailed => ("network_failed", None),
        Cause::KeepAliveTimeout => ("keep_alive_timeout", None),
        Cause::ConnectTimeout => ("connect_timeout", None),
        Cause::TakenOver => ("taken_over", None),
        Cause::Malformed { reason, .. } => ("malformed", Some(reason)),
        Cause::Protocol { reason, .. } => ("protocol", Some(reason)),
        Cause::NotAllowed { reason, .. } => ("not_allowed", Some(reason)),
        Cause::Limit { reason, .. } => ("limit", Some(reason)),
        Cause::Ordered(reason) => ("ordered", Some(reason)),
    };
    Labels { cause, code: code.map(|reason| reason.value()) }
}

fn drop_labels(cause: DropCause) -> Labels {
    let (cause, code) = match cause {
        DropCause::QueueFull => ("queue_full", None),
        DropCause::OverQuota => ("over_quota", None),
        DropCause::Expired => ("expired", None),
        DropCause::TooLarge => ("too_large", None),
        DropCause::NotAuthorized => ("not_authorized", None),
        DropCause::Offline => ("offline", None),
        DropCause::RefusedByClient(reason) => ("refused_by_client", Some(reason.value())),
        DropCause::ShareEnded => ("share_ended", None),
    };
    Labels { cause, code }
}

/// Everything that one scrape shows, taken at one moment.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// How much there is.
    pub census: Census,
    /// How much there was.
    pub counters: Counters,
    /// What the notices add up to.
    pub counts: Counts,
    /// Requests by route and status.
    pub requests: BTreeMap<(String, u16), u64>,
    /// Requests that were not let in, by cause.
    pub refused_requests: BTreeMap<&'static str, u64>,
    /// When the process started, in milliseconds since 1970.
    pub started_at_ms: u64,
}

impl Scrape {
    /// In Prometheus's text format (OpenMetrics 1.0).
    ///
    /// # Errors
    /// Writing to a string does not fail; the encoder's own errors would come here.
    pub fn to_text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.gauges(&mut encoder)?;
        self.totals(&mut encoder)?;
        self.causes(&mut encoder)?;
        self.encode_requests(&mut encoder)
    }
}

impl Scrape {
    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let census = &self.census;
        for (name, help, value) in [
            ("connections", "Network connections, accepted or not", census.connections as u64),
            ("clients_connected", "Clients connected", census.clients_connected as u64),
            ("sessions", "Sessions, connected or not", census.sessions as u64),
            ("subscriptions", "Subscriptions that are not shared", census.subscriptions as u64),
            ("shared_subscriptions", "Shared subscriptions", census.shared_subscriptions as u64),
            ("retained_messages", "Retained messages", census.retained_messages as u64),
            ("retained_bytes", "Content of the retained messages", census.retained_bytes),
        ] {
            let name = format!("signalhouse_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        let help = "When the process started, since 1970";
        let name = "process_start_time_seconds";
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        #[allow(clippy::cast_precision_loss)] // milliseconds fit for 285,000 years
        ConstGauge::new(self.started_at_ms as f64 / 1000.0).encode(metric)
    }

    fn totals(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counters = &self.counters;
        for (name, help, value) in [
            ("connections_opened", "Network connections opened", counters.connections_opened),
            ("packets_received", "MQTT packets received", counters.packets_received),
            ("packets_sent", "MQTT packets sent", counters.packets_sent),
            ("publish_received", "Publications received", counters.publish_received),
            ("publish_sent", "Publications sent to clients", counters.publish_sent),
            (
                "publish_received_bytes",
                "Payload of the publications received",
                counters.publish_bytes_received,
            ),
            ("publish_sent_bytes", "Payload of the publications sent", counters.publish_bytes_sent),
        ] {
            let name = format!("signalhouse_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }

    fn causes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (family, name, label, help) in [
            (Family::Connected, "clients_accepted", "version", "Connections let in"),
            (Family::Refused, "clients_refused", "cause", "Connections not let in"),
            (
                Family::Disconnected,
                "clients_disconnected",
                "cause",
                "Accepted connections that ended",
            ),
            (Family::SessionEnded, "sessions_ended", "cause", "Sessions that ended"),
            (
                Family::Discarded,
                "messages_discarded",
                "cause",
                "Messages that ended with a session",
            ),
            (
                Family::Dropped,
                "messages_dropped",
                "cause",
                "Messages that did not reach one of their receivers",
            ),
            (
                Family::PublishRefused,
                "publish_refused",
                "reason",
                "Publications refused or ignored",
            ),
            (Family::SubscribeRefused, "subscribe_refused", "reason", "Subscriptions refused"),
            (Family::Wills, "wills", "outcome", "Wills that came due"),
            (Family::Ignored, "packets_ignored", "cause", "Packets that had no effect"),
        ] {
            let name = format!("signalhouse_{name}");
            let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            let range = (family, Labels::FIRST)..=(family, Labels::LAST);
            for ((_, labels), count) in self.counts.by_cause.range(range) {
                let mut set = vec![(label, labels.cause.to_owned())];
                set.extend(labels.code.map(|code| ("code", format!("0x{code:02x}"))));
                ConstCounter::new(*count).encode(metric.encode_family(&set)?)?;
            }
        }
        Ok(())
    }

    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let name = "signalhouse_http_requests";
        let help = "HTTP requests answered";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for ((route, status), count) in &self.requests {
            let set = [("route", route.clone()), ("status", status.to_string())];
            ConstCounter::new(*count).encode(metric.encode_family(&set)?)?;
        }
        let name = "signalhouse_http_refused";
        let help = "HTTP requests not let in";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (cause, count) in &self.refused_requests {
            let set = [("cause", *cause)];
            ConstCounter::new(*count).encode(metric.encode_family(&set)?)?;
        }
        Ok(())
    }
}

impl Labels {
    const FIRST: Labels = Labels { cause: "", code: None };
    const LAST: Labels = Labels { cause: "\u{10FFFF}", code: None };
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalhouse_core::wire::types::Text;
    use signalhouse_core::{Broker, Config, ConnectionId, Seed, Time};

    #[test]
    fn causes_are_labels_and_clients_are_not() {
        let mut counts = Counts::default();
        let connection = ConnectionId { index: 0, generation: 0 };
        let client_id = Text::try_from("secret-client").expect("a short text");
        for cause in [
            Cause::KeepAliveTimeout,
            Cause::KeepAliveTimeout,
            Cause::Limit { reason: ReasonCode::QuotaExceeded, detail: "a limit" },
        ] {
            let client_id = client_id.clone();
            counts.notice(&Notice::Disconnected { connection, client_id, cause, queued: 0 });
        }
        let broker = Broker::new(Config::default(), Seed(1), Time::ZERO);
        let scrape = Scrape {
            census: broker.census(),
            counters: broker.counters().clone(),
            counts,
            requests: BTreeMap::from([(("/v1/publish".to_owned(), 200), 3)]),
            refused_requests: BTreeMap::from([("key_unknown", 2)]),
            started_at_ms: 1_500,
        };
        let text = scrape.to_text().expect("a string takes everything");
        for line in [
            "signalhouse_clients_disconnected_total{cause=\"keep_alive_timeout\"} 2",
            "signalhouse_clients_disconnected_total{cause=\"limit\",code=\"0x97\"} 1",
            "signalhouse_http_requests_total{route=\"/v1/publish\",status=\"200\"} 3",
            "signalhouse_http_refused_total{cause=\"key_unknown\"} 2",
            "signalhouse_sessions 0",
            "process_start_time_seconds 1.5",
            "# EOF",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("secret-client"));
    }
}
