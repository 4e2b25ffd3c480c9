//! What is written down of a run: trace, history, and the oracle's word on it.

use std::collections::BTreeSet;
use std::fmt;

use signalhouse_core::Notice;

use super::{EPOCH_MS, Verdicts, setting};
use crate::coverage::{Coverage, Hits, Point};
use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::oracle::{Bounds, Oracle};
use crate::plan::{DiskFault, Do, Plan};
use crate::trace::{Shown, Trace};

/// What the broker takes at most to fill the network again when a client has read, in milliseconds: until its next
/// round in one layer, for a tick or two in the other.
const TURN_MS: u64 = 3;

/// Takes everything observed.
pub(crate) struct Recorder {
    oracle: Oracle,
    coverage: Coverage,
    pub(crate) trace: Trace,
    events: usize,
    keeps_history: bool,
    pub(crate) history: Vec<Event>,
    misbehaved: BTreeSet<ConnectionNumber>,
    pub(crate) violation: Option<Violation>,
}

impl Recorder {
    /// A recorder for a layer where nothing takes longer on its way than so many milliseconds, if that is known.
    pub(crate) fn new(plan: &Plan, latency_ms: Option<u64>, keeps_lines: bool) -> Self {
        let default = Bounds::default();
        let expiry_s = setting(plan, "session_expiry_interval_maximum_s");
        let capacity_bytes = setting(plan, "network.capacity_bytes").filter(|bytes| *bytes > 0);
        let bounds = Bounds {
            latency_ms: latency_ms.unwrap_or(default.latency_ms),
            capacity_bytes: capacity_bytes.unwrap_or(default.capacity_bytes),
            turn_ms: super::hop_ms(plan) + TURN_MS,
            delivery_ms: plan.bound_ms.saturating_mul(2),
            session_expiry_maximum_s: expiry_s
                .map_or(u32::MAX, |seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            time_jump_maximum_ms: setting(plan, "time_jump_maximum_ms")
                .unwrap_or(default.time_jump_maximum_ms),
            queue_messages: setting(plan, "queue_messages").unwrap_or(default.queue_messages),
            queue_bytes: setting(plan, "queue_bytes").unwrap_or(default.queue_bytes),
            retained_messages: setting(plan, "retained_messages")
                .unwrap_or(default.retained_messages),
            stored_bytes: setting(plan, "quota.stored_bytes"),
            messages_per_day: setting(plan, "quota.messages_per_day"),
            messages_per_second: setting(plan, "quota.messages_per_second"),
            connections: setting(plan, "quota.connections"),
            token_lifetime_ms: setting(plan, "token.lifetime_ms"),
            has_limits: matches!(plan.profile.as_str(), "limits" | "disk")
                || setting(plan, "disk.fail_at").is_some(),
            sessions: setting(plan, "sessions").unwrap_or(u64::MAX),
            connect_timeout_ms: setting(plan, "connect_timeout_ms")
                .unwrap_or(default.connect_timeout_ms),
            connections_at_once: setting(plan, "connections").unwrap_or(u64::MAX),
            packet_bytes: setting(plan, "maximum_packet_size_bytes").unwrap_or(u64::MAX),
            topic_levels: setting(plan, "topic_levels").unwrap_or(u64::MAX),
            maximum_qos: setting(plan, "maximum_qos")
                .map_or(2, |qos| u8::try_from(qos).unwrap_or(2)),
            retain_available: is_on(plan, "retain_available"),
            wildcards_available: is_on(plan, "wildcard_subscription_available"),
            shares_available: is_on(plan, "shared_subscription_available"),
            may_fill_disk: setting(plan, "disk.capacity_bytes").is_some_and(|bytes| bytes > 0)
                || plan
                    .steps
                    .iter()
                    .any(|step| matches!(step.what, Do::Disk(DiskFault::Space { .. }))),
            epoch_ms: EPOCH_MS,
            ..default
        };
        let mut coverage = Coverage::default();
        if !plan.dead.is_empty() {
            coverage.dead_for_ever();
        }
        Recorder {
            coverage,
            oracle: Oracle::with_bounds(bounds),
            trace: Trace::new(keeps_lines),
            events: 0,
            keeps_history: keeps_lines,
            history: Vec::new(),
            misbehaved: BTreeSet::new(),
            violation: None,
        }
    }

    /// An observation, for trace and oracle.
    pub(crate) fn event(&mut self, at_ms: u64, what: What) {
        let index = self.events;
        self.events += 1;
        if let What::Misbehaved { connection, .. } = &what {
            self.misbehaved.insert(*connection);
        }
        let event = Event { at_ms, what };
        self.trace.line(at_ms, format_args!("#{index} {}", Shown(&event.what)));
        self.coverage.event(&event);
        if self.violation.is_none() {
            self.violation = self.oracle.event(&event);
        }
        if self.keeps_history {
            self.history.push(event);
        }
    }

    /// What the broker says of itself, for the coverage.
    pub(crate) fn notice(&mut self, notice: &Notice) {
        self.coverage.notice(notice);
    }

    /// A situation that the layer itself sees to.
    pub(crate) fn hit(&mut self, point: Point) {
        self.coverage.hit(point);
    }

    /// Acknowledged records are lost, as the level of durability allows.
    pub(crate) fn waive(&mut self) {
        self.oracle.waive();
    }

    /// Which situations the run was in.
    pub(crate) fn hits(&self) -> Hits {
        self.coverage.hits().clone()
    }

    /// A line for the trace alone.
    pub(crate) fn note(&mut self, at_ms: u64, text: fmt::Arguments<'_>) {
        self.trace.line(at_ms, text);
    }

    /// Whether the client broke the protocol on this connection.
    pub(crate) fn has_misbehaved(&self, connection: ConnectionNumber) -> bool {
        self.misbehaved.contains(&connection)
    }

    /// Something wrong that the engine found itself. The first one counts.
    pub(crate) fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// The history is complete.
    pub(crate) fn finish(&mut self) -> Verdicts {
        if let Some(violation) = self.oracle.finish().into_iter().next() {
            self.fail(violation);
        }
        let verdicts = self.oracle.verdicts();
        Verdicts { must: verdicts.must, all: verdicts.must + verdicts.may }
    }
}

/// Whether a switch that is on by default is left so.
fn is_on(plan: &Plan, name: &str) -> bool {
    setting(plan, name) != Some(0)
}
