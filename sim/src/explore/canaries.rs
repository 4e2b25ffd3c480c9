//! Deliberate defects of the broker that the search must find, each in a world in which it shows soon.

use signalhouse_core::canary::{self, Canary};
use signalhouse_core::wire::types::QoS;

use super::{Explored, Setup, find, search};

/// A defect, and how it must be found.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The defect.
    pub canary: Canary,
    /// Where it shows.
    pub setup: Setup,
    /// What the violation begins with.
    pub code: &'static str,
}

impl Hunt {
    /// Searches the world with the defect, up to `maximum_states` states.
    #[must_use]
    pub fn search(&self, maximum_states: usize) -> Explored {
        canary::switch_on(Some(self.canary));
        let explored = search(&self.setup, maximum_states, |_| true);
        canary::switch_on(None);
        explored
    }

    /// Whether that is what had to be found.
    #[must_use]
    pub fn is_found(&self, explored: &Explored) -> bool {
        explored.violation.as_ref().is_some_and(|found| found.what.starts_with(self.code))
    }
}

/// Every defect that is to be found.
///
/// # Panics
/// If a world of that name is missing.
#[must_use]
pub fn hunts() -> Vec<Hunt> {
    let hunt = |(canary, world, code)| {
        let setup = find(world).expect("a world");
        Hunt { canary, setup: setup_for(canary, setup), code }
    };
    HUNTS.iter().copied().map(hunt).collect()
}

const HUNTS: &[(Canary, &str, &str)] = &[
    (Canary::DuplicateDetectionOff, "qos2", "Q2"),
    (Canary::HeldIdsDieWithConnection, "qos2", "Q2"),
    (Canary::BacklogLostAtTakeover, "qos1-one", "Q1"),
    (Canary::FlightLostAtResume, "qos1-one", "Q1"),
    (Canary::ResentInReverse, "qos1", "OR"),
    (Canary::PubrelNotResent, "qos2", "LV"),
    (Canary::DupNotSet, "qos1-one", "RX"),
    (Canary::IdsRestartOnResume, "qos1", "PI"),
    (Canary::WindowNotReset, "window", "Q2"),
    (Canary::ResentBesideWindow, "window-shrinks", "FC"),
    (Canary::CreditGivenTwice, "window-two", "Q1"),
    (Canary::PubrecGivesCredit, "window-one", "FC"),
    (Canary::PublishBeforeConnack, "qos1-one", "PR"),
    (Canary::SharedLostWithMember, "share", "Q1"),
    (Canary::SharedQos2Moves, "share", "Q2"),
    (Canary::SharedTwice, "share-one", "Q1"),
    (Canary::AckBeforeCommit, "crashes", "Q2"),
    (Canary::ReleaseNotRecorded, "crashes", "LV"),
    (Canary::ReceiptNotRecorded, "crashes", "RX"),
    (Canary::SessionEndNotRecorded, "expiry-one", "RC"),
    (Canary::SessionNeverExpires, "expiry-one", "SX"),
];

/// Where only one kind of fault matters, the others only make the search longer.
fn setup_for(canary: Canary, mut setup: Setup) -> Setup {
    let of_cuts = [Canary::ResentInReverse, Canary::IdsRestartOnResume, Canary::WindowNotReset];
    let of_shares = [Canary::SharedLostWithMember, Canary::SharedQos2Moves];
    if of_cuts.contains(&canary) {
        (setup.takeovers, setup.crashes) = (0, 0);
    } else if of_shares.contains(&canary) {
        let is_qos2 = canary == Canary::SharedQos2Moves;
        let qos = if is_qos2 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        (setup.messages, setup.crashes) = (vec![qos], 0);
    }
    setup
}
