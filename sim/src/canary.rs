//! What the simulator must say of each canary of the broker.
//!
//! A plan switches a canary on by the setting `canary.NAME`. Only the simulator's build with
//! canaries knows any; to every other build the setting is unknown.

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
    use signalhouse_core::canary;
    pub use signalhouse_core::canary::Canary;

    use crate::layer::Layer;

    /// The canary of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Canary> {
        Canary::ALL.iter().copied().find(|canary| canary.name() == name)
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

    /// What must be found of a canary.
    #[derive(Clone, Copy, Debug)]
    pub struct Expected {
        /// Its group of guarantees.
        pub group: &'static str,
        /// The guarantees that it breaks: any of these codes is right, no other.
        pub guarantees: &'static [&'static str],
    }

    /// The layer in which `canary` shows.
    #[must_use]
    pub fn layer(canary: Canary) -> Layer {
        if expected(canary).group == "store" { Layer::Runtime } else { Layer::Core }
    }

    /// What must be found of `canary`.
    #[must_use]
    pub fn expected(canary: Canary) -> Expected {
        let row = TABLE.iter().find(|(canaries, _, _)| canaries.contains(&canary));
        let (_, group, guarantees) = row.expect("every canary is in the table");
        Expected { group, guarantees }
    }

    /// What is broken by a message that is lost though it was said to be kept, or by a subscription's options that are.
    const LOST: &[&str] = &["DU", "Q1", "Q2", "CI"];
    /// What a subscription breaks that is.
    const UNSUBSCRIBED: &[&str] = &["DU", "RC", "Q1", "Q2", "AH", "SS"];

    /// Canaries, the group of their guarantees, and those which they break.
    type Row = (&'static [Canary], &'static str, &'static [&'static str]);

    /// Every canary, once.
    const TABLE: &[Row] = &[
        (&[Canary::DuplicateDetectionOff], "delivery", &["Q2", "SH"]),
        (&[Canary::HeldIdsDieWithConnection], "delivery", &["Q2", "SH", "AH"]),
        (&[Canary::BacklogLostAtTakeover], "delivery", &["Q1", "Q2", "WL"]),
        (&[Canary::FlightLostAtResume], "delivery", &["RX", "Q1", "Q2", "LV"]),
        (&[Canary::ExpiredInFlightDropped], "delivery", &["RX", "Q2", "MX"]),
        (&[Canary::ResentInReverse], "delivery", &["OR", "RX"]),
        (&[Canary::OneSubscriptionId, Canary::LowestQosOfOverlap], "delivery", &["CI"]),
        (&[Canary::WildcardMatchesDollar, Canary::NoLocalLostAtRecovery], "delivery", &["NS"]),
        (&[Canary::DroppedAsQueueFull], "delivery", &["AH"]),
        (&[Canary::EmptyPayloadDropped], "delivery", &["Q1", "Q2"]),
        (&[Canary::RefusedYetAcknowledged], "delivery", &["AH", "Q1", "Q2", "RT"]),
        (&[Canary::PubrelNotResent], "protocol", &["RX", "LV", "WL", "Q1", "Q2"]),
        // To its receiver a repeat without DUP is a new message.
        (&[Canary::DupNotSet], "protocol", &["RX", "Q1", "Q2"]),
        (&[Canary::ResentUnderNewId], "protocol", &["RX"]),
        (&[Canary::IdsRestartOnResume], "protocol", &["PI"]),
        // Whatever is owed to the session, wills too, never comes.
        (&[Canary::WindowNotReset], "protocol", &["RX", "Q1", "Q2", "LV", "WL"]),
        (
            &[Canary::ResentBesideWindow, Canary::CreditGivenTwice, Canary::PubrecGivesCredit],
            "protocol",
            &["FC"],
        ),
        (&[Canary::AliasTableShared], "protocol", &["AL"]),
        (&[Canary::InboundAliasKept], "protocol", &["CI"]),
        // The window fills up, until nothing more comes.
        (&[Canary::RefusedKeepsWindow], "protocol", &["RX", "Q1", "Q2", "LV", "WL", "BM"]),
        (&[Canary::RefusedSentAgain], "protocol", &["RX"]),
        (&[Canary::MalformedPassedOver], "protocol", &["PR"]),
        (&[Canary::SubackReversed], "protocol", &["AH", "CI", "Q1", "Q2"]),
        (&[Canary::OnlyFirstFilterRemoved], "protocol", &["NS"]),
        (&[Canary::PacketSizeIgnored], "protocol", &["SZ"]),
        (&[Canary::KeepAliveNeverCloses, Canary::KeepAliveTooShort], "protocol", &["KA"]),
        (&[Canary::PublishBeforeConnack], "protocol", &["PR"]),
        (&[Canary::EarlyPacketsReversed], "protocol", &["OR", "AH"]),
        (&[Canary::PingUnanswered], "protocol", &["AH", "LV"]),
        (&[Canary::TakeoverInSilence], "sessions", &["SO"]),
        (&[Canary::SessionPresentEchoed], "sessions", &["SP"]),
        (&[Canary::CleanStartKeepsSession], "sessions", &["SS", "NS", "RX"]),
        (&[Canary::AssignedIdRepeats], "sessions", &["SO", "SP"]),
        (&[Canary::SessionNeverExpires], "sessions", &["SX", "BM"]),
        (
            &[Canary::ExpiryOverrideIgnored, Canary::ExpiryOverrideLostAtRecovery],
            "sessions",
            &["SX", "BM", "DU"],
        ),
        (&[Canary::ExpiryRestartsAtRecovery], "sessions", &["SX"]),
        // Whatever expires does so late.
        (&[Canary::AxisFollowsWallClock], "sessions", &["SX", "DU", "WL", "MX", "BM", "RT"]),
        (
            &[
                Canary::WillNotCancelled,
                Canary::WillLostAtTakeover,
                Canary::WillLostAtRecovery,
                Canary::WillAfterDisconnect,
                Canary::ErrorDisconnectDropsWill,
            ],
            "sessions",
            &["WL"],
        ),
        (&[Canary::OldRetainedRestored], "retained", &["RT", "RC"]),
        (&[Canary::DeletedRetainedRestored], "retained", &["RT", "BM"]),
        (&[Canary::RetainHandlingIgnored], "retained", &["RT", "Q0", "Q1", "Q2"]),
        (&[Canary::ExpiredDelivered, Canary::ExpiryPassedOnTooLong], "retained", &["MX"]),
        (&[Canary::SharedLostWithMember], "shared", &["SH"]),
        (&[Canary::SharedQos2Moves], "shared", &["SH", "Q2"]),
        (&[Canary::RefusedGoesOn], "shared", &["SH"]),
        // Both copies may go to the same member.
        (&[Canary::SharedTwice], "shared", &["SH", "Q0", "Q1", "Q2"]),
        (&[Canary::AckBeforeCommit, Canary::SubackBeforeCommit], "durability", LOST),
        (&[Canary::ReleaseNotRecorded], "durability", &["DU", "Q1", "Q2", "AH"]),
        (&[Canary::ReceiptNotRecorded], "durability", &["DU", "RX", "Q2"]),
        (&[Canary::SessionEndNotRecorded], "durability", &["RC", "SP"]),
        (&[Canary::SnapshotForgetsHeldIds], "durability", &["DU", "RC", "Q2", "AH"]),
        (&[Canary::SnapshotForgetsSubscriptions], "durability", UNSUBSCRIBED),
        (&[Canary::QueueLimitIgnored], "resources", &["BM"]),
        (&[Canary::BacklogHoldsOthers], "resources", &["FR"]),
        (&[Canary::RevokedReleaseUnanswered], "permissions", &["LV", "AH", "Q2", "SH", "DU"]),
        (
            &[
                Canary::StoredBytesNotReturned,
                Canary::StoredBytesCountedAgain,
                Canary::RateQuotaIgnored,
                Canary::DayCountLostAtRecovery,
            ],
            "permissions",
            &["AH"],
        ),
        (&[Canary::ConnectionCountNotReturned], "permissions", &["AH", "LV"]),
        (&[Canary::TokenEndDropsWill], "permissions", &["WL"]),
        (
            &[
                Canary::DeniedPublishTaken,
                Canary::DeniedSubscribeGranted,
                Canary::DeniedWillPublished,
                Canary::RevokedStillDelivered,
                Canary::TokenNeverEnds,
                Canary::StrangerTakesOver,
                Canary::StrangerResumes,
            ],
            "permissions",
            &["AU"],
        ),
        (
            &[
                Canary::DurableWhenWritten,
                Canary::SnapshotNameNotSynced,
                Canary::DeletionNotRecorded,
                Canary::MarkProvesItself,
                Canary::TailNotCut,
                Canary::SyncFailureIgnored,
            ],
            "store",
            &["RC", "DU"],
        ),
    ];
}

#[cfg(signalhouse_sim)]
pub use known::{Canary, Expected, expected, layer, named};
pub use known::{is_known, switch_on};
