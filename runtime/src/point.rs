//! Points at which the simulator meddles: it yields, puts off, shortens, or shrinks what the code
//! leaves open anyway, so that rare orders and sizes become frequent ones.
//!
//! `sim_point!(Name)` says whether the point strikes now. In every build but the simulator's own it
//! is the literal `false`, and neither the point nor its name is in the program. Under
//! `--cfg signalhouse_sim` a run names the points that are on for its thread, and how often they
//! strike. What a point does must be right at any time: it makes a run unusual, never wrong.

#[cfg(not(signalhouse_sim))]
macro_rules! sim_point {
    ($name:ident) => {
        false
    };
}

#[cfg(signalhouse_sim)]
macro_rules! sim_point {
    ($name:ident) => {
        $crate::point::strikes($crate::point::Point::$name)
    };
}

#[cfg(signalhouse_sim)]
pub use switch::{Point, strikes, struck, switch_on};

#[cfg(signalhouse_sim)]
mod switch {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static STRUCK: RefCell<BTreeSet<Point>> = const { RefCell::new(BTreeSet::new()) };
        static ON: RefCell<Switch> = const { RefCell::new(Switch { odds: Vec::new(), state: 0 }) };
    }

    struct Switch {
        /// Points with the number of times in which they strike once.
        odds: Vec<(Point, u64)>,
        state: u64,
    }

    /// Switches points on for this thread, all others off. Each strikes once in so many times; what
    /// chance decides comes from `seed`.
    pub fn switch_on(odds: Vec<(Point, u64)>, seed: u64) {
        ON.with_borrow_mut(|on| *on = Switch { odds, state: seed });
    }

    /// Whether a point strikes this time.
    #[must_use]
    pub fn strikes(point: Point) -> bool {
        ON.with_borrow_mut(|on| {
            let Some((_, once_in)) = on.odds.iter().find(|(known, _)| *known == point) else {
                return false;
            };
            // SplitMix64: no place but this draws from it.
            on.state = on.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut drawn = on.state;
            drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let strikes = (drawn ^ (drawn >> 31)).is_multiple_of((*once_in).max(1));
            if strikes {
                STRUCK.with_borrow_mut(|struck| struck.insert(point));
            }
            strikes
        })
    }

    /// The points that have ever struck in this thread.
    #[must_use]
    pub fn struck() -> BTreeSet<Point> {
        STRUCK.with_borrow(Clone::clone)
    }

    macro_rules! points {
        ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
            /// A place where the simulator can meddle.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub enum Point { $($(#[$doc])+ $name,)+ }

            impl Point {
                /// Every point.
                pub const ALL: &'static [Point] = &[$(Point::$name,)+];

                /// Its name in plans.
                #[must_use]
                pub const fn name(self) -> &'static str {
                    match self { $(Point::$name => $text,)+ }
                }
            }
        };
    }

    points! {
        // The driver and its connections.
        /// The driver lets everybody else go first.
        YieldBeforeRound = "yield-before-round",
        /// Long jobs get one message in a round.
        ResumeOne = "resume-one",
        /// A connection brings one packet at a time.
        DecodeOne = "decode-one",
        /// The inbox counts as full.
        InboxFull = "inbox-full",
        /// The shard's read buffer is dropped, for one of a few bytes.
        ScratchSmall = "scratch-small",
        /// Half of what waits is offered to the stream.
        WriteHalf = "write-half",

        // The journal.
        /// A frame takes one record.
        FrameOfOne = "frame-of-one",
        /// A frame waits for the one before it.
        FrameWaits = "frame-waits",
        /// That a frame is done is noticed a turn later.
        FrameNoticedLate = "frame-noticed-late",
        /// The half of a write is made alone.
        WriteShort = "write-short",
        /// Files are read in small pieces.
        ReadSmall = "read-small",
        /// Any sealed segment is worth a snapshot.
        CompactEarly = "compact-early",
        /// Snapshots are read and written record by record.
        PieceSmall = "piece-small",
        /// A snapshot is synced after each piece.
        SnapshotSyncedOften = "snapshot-synced-often",
        /// An obsolete segment is not used again.
        SegmentNotReused = "segment-not-reused",
        /// A segment that is needed is made a little later.
        SegmentLate = "segment-late",
    }
}
