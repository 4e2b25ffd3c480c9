//! What the simulator must say of each canary of the broker.
//!
//! A plan switches a canary on by the setting `canary.NAME`. Only the simulator's build with
//! canaries knows any; to every other build the setting is unknown.

use crate::layer::Layer;
use crate::plan::Plan;

/// What the names of settings that switch a canary on begin with.
pub const SETTING: &str = "canary.";

/// The canary that a plan switches on, by name.
#[must_use]
pub fn name_in(plan: &Plan) -> Option<&str> {
    plan.settings.iter().find_map(|(name, _)| name.strip_prefix(SETTING))
}

/// Has a plan switch a canary on.
pub fn add_to(plan: &mut Plan, name: &str) {
    plan.settings.push((format!("{SETTING}{name}"), 1));
}

/// The same plan without a canary.
#[must_use]
pub fn without(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.settings.retain(|(name, _)| !name.starts_with(SETTING));
    plan
}

/// What must be found of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its name.
    pub name: &'static str,
    /// Its group of guarantees, or the part of the runtime that has it.
    pub group: &'static str,
    /// The guarantee that it breaks. Another may be seen broken first; a search goes on until this one is.
    pub guarantee: &'static str,
}

impl Expected {
    /// The layer in which it shows.
    #[must_use]
    pub fn layer(&self) -> Layer {
        match self.group {
            STORE | SHARD => Layer::Runtime,
            _ => Layer::Core,
        }
    }
}

/// The groups of those that are in the runtime: in its journal, and between network and machine.
pub const STORE: &str = "store";
/// See [`STORE`].
pub const SHARD: &str = "shard";

/// What must be found of each canary, in every build.
pub fn all() -> impl Iterator<Item = Expected> {
    TABLE.iter().flat_map(|(group, guarantee, names)| {
        names.iter().map(|name| Expected { name, group, guarantee })
    })
}

/// What must be found of the canary of that name, if there is one.
#[must_use]
pub fn expected(name: &str) -> Option<Expected> {
    all().find(|canary| canary.name == name)
}

/// A group, a guarantee, and the canaries of both.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// Every canary, once.
const TABLE: &[Row] = &[
    (
        "delivery",
        "Q2",
        &["duplicate-detection-off", "held-ids-die-with-connection", "backlog-lost-at-takeover"],
    ),
    ("delivery", "RX", &["flight-lost-at-resume", "expired-in-flight-dropped"]),
    ("delivery", "OR", &["resent-in-reverse"]),
    ("delivery", "CI", &["one-subscription-id", "lowest-qos-of-overlap"]),
    ("delivery", "NS", &["wildcard-matches-dollar", "no-local-lost-at-recovery"]),
    ("delivery", "AH", &["dropped-as-queue-full", "refused-yet-acknowledged"]),
    ("delivery", "Q1", &["empty-payload-dropped"]),
    (
        "protocol",
        "RX",
        &["pubrel-not-resent", "dup-not-set", "resent-under-new-id", "refused-sent-again"],
    ),
    ("protocol", "PI", &["ids-restart-on-resume"]),
    ("protocol", "Q2", &["window-not-reset", "refused-keeps-window"]),
    ("protocol", "FC", &["resent-beside-window", "credit-given-twice", "pubrec-gives-credit"]),
    ("protocol", "AL", &["alias-table-shared"]),
    ("protocol", "CI", &["inbound-alias-kept"]),
    ("protocol", "PR", &["malformed-passed-over", "publish-before-connack", "bystander-accused"]),
    ("protocol", "AH", &["suback-reversed", "ping-unanswered"]),
    ("protocol", "NS", &["only-first-filter-removed"]),
    ("protocol", "SZ", &["packet-size-ignored"]),
    ("protocol", "KA", &["keep-alive-never-closes", "keep-alive-too-short"]),
    ("protocol", "OR", &["early-packets-reversed"]),
    ("sessions", "SO", &["takeover-in-silence", "assigned-id-repeats"]),
    ("sessions", "SP", &["session-present-echoed"]),
    ("sessions", "PR", &["order-hits-newest"]),
    ("sessions", "SS", &["clean-start-keeps-session"]),
    (
        "sessions",
        "SX",
        &[
            "session-never-expires",
            "expiry-override-ignored",
            "expiry-restarts-at-recovery",
            "ordered-end-not-recorded",
        ],
    ),
    ("sessions", "DU", &["expiry-override-lost-at-recovery", "axis-follows-wall-clock"]),
    (
        "sessions",
        "WL",
        &[
            "will-not-cancelled",
            "will-lost-at-takeover",
            "will-lost-at-recovery",
            "will-after-disconnect",
            "error-disconnect-drops-will",
            "order-drops-will",
        ],
    ),
    (
        "retained",
        "RT",
        &["old-retained-restored", "deleted-retained-restored", "retain-handling-ignored"],
    ),
    ("retained", "MX", &["expired-delivered", "expiry-passed-on-too-long"]),
    (
        "shared",
        "SH",
        &["shared-lost-with-member", "shared-qos2-moves", "refused-goes-on", "shared-twice"],
    ),
    (
        "durability",
        "DU",
        &["ack-before-commit", "release-not-recorded", "snapshot-forgets-subscriptions"],
    ),
    ("durability", "CI", &["suback-before-commit"]),
    ("durability", "Q2", &["receipt-not-recorded", "snapshot-forgets-held-ids"]),
    ("durability", "RC", &["session-end-not-recorded"]),
    ("resources", "BM", &["queue-limit-ignored"]),
    ("resources", "FR", &["backlog-holds-others"]),
    ("permissions", "LV", &["revoked-release-unanswered"]),
    (
        "permissions",
        "AH",
        &[
            "stored-bytes-not-returned",
            "stored-bytes-counted-again",
            "rate-quota-ignored",
            "day-count-lost-at-recovery",
            "connection-count-not-returned",
        ],
    ),
    ("permissions", "WL", &["token-end-drops-will"]),
    (
        "permissions",
        "AU",
        &[
            "denied-publish-taken",
            "denied-subscribe-granted",
            "denied-will-published",
            "revoked-still-delivered",
            "token-never-ends",
            "stranger-takes-over",
            "stranger-resumes",
        ],
    ),
    (
        "store",
        "RC",
        &[
            "durable-when-written",
            "snapshot-name-not-synced",
            "deletion-not-recorded",
            "mark-proves-itself",
            "tail-not-cut",
            "sync-failure-ignored",
        ],
    ),
    ("shard", "PR", &["short-write-counts-as-whole"]),
    ("shard", "DU", &["durable-when-appended"]),
    ("shard", "RC", &["export-leaves-out"]),
    ("shard", "SX", &["end-not-told"]),
    ("shard", "WL", &["timer-not-brought-forward"]),
    ("shard", "Q1", &["room-not-told", "only-last-read-back"]),
];

#[cfg(not(signalhouse_sim))]
mod known {
    /// Whether this build has a canary of that name. It has none.
    #[must_use]
    pub fn is_known(_name: &str) -> bool {
        false
    }

    /// Switches a canary on in this thread. There is none.
    pub fn switch_on(_name: Option<&str>) {}
}

#[cfg(signalhouse_sim)]
mod known {
    use signalhouse_core::canary::{self, Canary};

    /// Says which canaries are in the table and not in this build, or the other way round.
    #[must_use]
    pub fn strays() -> Vec<&'static str> {
        let built = || Canary::ALL.iter().map(|canary| canary.name());
        let listed = || super::all().map(|expected| expected.name);
        let unlisted = built().filter(|name| !listed().any(|other| other == *name));
        unlisted.chain(listed().filter(|name| !is_known(name))).collect()
    }

    /// Whether this build has a canary of that name.
    #[must_use]
    pub fn is_known(name: &str) -> bool {
        named(name).is_some()
    }

    /// Switches a canary on in this thread, or all of them off.
    pub fn switch_on(name: Option<&str>) {
        canary::switch_on(name.and_then(named));
    }

    fn named(name: &str) -> Option<Canary> {
        Canary::ALL.iter().copied().find(|canary| canary.name() == name)
    }
}

#[cfg(signalhouse_sim)]
pub use known::strays;
pub use known::{is_known, switch_on};
