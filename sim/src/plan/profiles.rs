//! Profiles: what a plan is biased towards.

/// A bias for the drawing of plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// No faults: any violation is a plain defect.
    Calm,
    /// The network stalls, loses and resets.
    Network,
    /// The broker's process dies and comes back.
    Crash,
    /// Clients share identifiers and take each other's sessions over.
    Takeover,
    /// Clients read and acknowledge slowly or not at all for a while.
    Slow,
    /// Clients break the protocol.
    Hostile,
    /// The broker's limits are within reach.
    Limits,
    /// Hours and days, with long pauses.
    Soak,
    /// Anything.
    All,
    /// The disk fails, fills up and hangs, while clients come and go and networks fail too. Only the runtime layer has
    /// one.
    Disk,
}

impl Profile {
    /// Every profile that both layers can play.
    pub const EACH: [Profile; 9] = [
        Profile::Calm,
        Profile::Network,
        Profile::Crash,
        Profile::Takeover,
        Profile::Slow,
        Profile::Hostile,
        Profile::Limits,
        Profile::Soak,
        Profile::All,
    ];

    /// Its name on the command line and in plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Calm => "calm",
            Profile::Network => "network",
            Profile::Crash => "crash",
            Profile::Takeover => "takeover",
            Profile::Slow => "slow",
            Profile::Hostile => "hostile",
            Profile::Limits => "limits",
            Profile::Soak => "soak",
            Profile::All => "all",
            Profile::Disk => "disk",
        }
    }

    /// The profile of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Profile::EACH.into_iter().chain([Profile::Disk]).find(|profile| profile.name() == name)
    }

    /// How likely each family of faults is switched on for a seed, in percent.
    pub(super) const fn odds(self) -> Odds {
        let mut odds = Odds::NONE;
        match self {
            Profile::Calm => {}
            Profile::Network => {
                odds.holds = 70;
                odds.black_holes = 60;
                odds.resets = 70;
                odds.vanishes = 50;
            }
            Profile::Crash => {
                odds.kills = 75;
                odds.power_cuts = 75;
                odds.stops = 40;
                odds.disk_stalls = 40;
                odds.vanishes = 25;
            }
            Profile::Takeover => {
                odds.takeovers = 100;
                odds.shared_ids = 60;
                odds.vanishes = 40;
                odds.slow_readers = 20;
                odds.disk_stalls = 20;
                odds.black_holes = 20;
            }
            Profile::Slow => {
                odds.slow_readers = 80;
                odds.slow_ackers = 80;
                odds.holds = 40;
                odds.vanishes = 30;
                odds.disk_stalls = 30;
            }
            Profile::Hostile => {
                odds.misbehaves = 100;
                odds.vanishes = 30;
                odds.takeovers = 20;
                odds.kills = 20;
                odds.power_cuts = 20;
                odds.stops = 10;
            }
            Profile::Limits => {
                odds.limits = 100;
                odds.vanishes = 40;
                odds.slow_readers = 40;
                odds.slow_ackers = 30;
                odds.kills = 20;
                odds.power_cuts = 30;
            }
            Profile::Soak => {
                odds.vanishes = 60;
                odds.resets = 30;
                odds.kills = 30;
                odds.power_cuts = 30;
                odds.stops = 30;
                odds.black_holes = 20;
            }
            Profile::All => odds = Odds::ALL,
            Profile::Disk => odds = Odds::DISK,
        }
        odds
    }
}

/// How likely each family of faults is on, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odds {
    pub(super) holds: u64,
    pub(super) black_holes: u64,
    pub(super) resets: u64,
    pub(super) vanishes: u64,
    pub(super) kills: u64,
    pub(super) power_cuts: u64,
    pub(super) stops: u64,
    pub(super) disk_stalls: u64,
    pub(super) takeovers: u64,
    pub(super) shared_ids: u64,
    pub(super) slow_readers: u64,
    pub(super) slow_ackers: u64,
    pub(super) misbehaves: u64,
    pub(super) limits: u64,
}

impl Odds {
    const NONE: Odds = Odds::same(0);

    /// Half of the families in a median plan would leave no fault alone for long.
    const ALL: Odds = Odds { limits: 0, misbehaves: 15, shared_ids: 20, ..Odds::same(30) };

    const DISK: Odds = Odds {
        kills: 30,
        power_cuts: 50,
        stops: 20,
        disk_stalls: 60,
        holds: 15,
        black_holes: 10,
        resets: 20,
        vanishes: 15,
        takeovers: 20,
        misbehaves: 10,
        ..Odds::NONE
    };

    const fn same(percent: u64) -> Odds {
        Odds {
            holds: percent,
            black_holes: percent,
            resets: percent,
            vanishes: percent,
            kills: percent,
            power_cuts: percent,
            stops: percent,
            disk_stalls: percent,
            takeovers: percent,
            shared_ids: percent,
            slow_readers: percent,
            slow_ackers: percent,
            misbehaves: percent,
            limits: percent,
        }
    }
}
