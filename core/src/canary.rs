//! Canaries: small deliberate defects, by which the simulator shows that it sees such things.
//!
//! A point in the code asks `canary!(Name)`. In every build but the simulator's own that is the
//! literal `false`, and neither the point nor the name is in the program. Under
//! `--cfg signalhouse_sim` a run switches one canary on for its own thread: a field would have to
//! go through every layer down to the subscription tree and the alias table for the sake of
//! defects alone. What each canary breaks stands in the simulator.

#[cfg(not(signalhouse_sim))]
macro_rules! canary {
    ($name:ident) => {
        false
    };
}

#[cfg(signalhouse_sim)]
macro_rules! canary {
    ($name:ident) => {
        $crate::canary::is_on($crate::canary::Canary::$name)
    };
}

#[cfg(signalhouse_sim)]
pub use switch::{Canary, is_on, switch_on};

#[cfg(signalhouse_sim)]
mod switch {
    extern crate std;

    use core::cell::Cell;

    std::thread_local! {
        static ON: Cell<Option<Canary>> = const { Cell::new(None) };
    }

    /// Switches a canary on for this thread, or all of them off.
    pub fn switch_on(canary: Option<Canary>) {
        ON.set(canary);
    }

    /// Whether a canary is on for this thread.
    #[must_use]
    pub fn is_on(canary: Canary) -> bool {
        ON.get() == Some(canary)
    }

    macro_rules! canaries {
        ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
            /// A deliberate defect.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub enum Canary { $($(#[$doc])+ $name,)+ }

            impl Canary {
                /// Every canary.
                pub const ALL: &'static [Canary] = &[$(Canary::$name,)+];

                /// Its name on the command line and in plans.
                #[must_use]
                pub const fn name(self) -> &'static str {
                    match self { $(Canary::$name => $text,)+ }
                }
            }
        };
    }

    canaries! {
        // Delivery.
        /// A repeated QoS 2 PUBLISH is taken for a new one.
        DuplicateDetectionOff = "duplicate-detection-off",
        /// The QoS 2 identifiers that a client has in use are forgotten with its connection.
        HeldIdsDieWithConnection = "held-ids-die-with-connection",
        /// What waits for a session is lost when another connection takes it over.
        BacklogLostAtTakeover = "backlog-lost-at-takeover",
        /// What was in flight when a connection ended is not sent again on the next one.
        FlightLostAtResume = "flight-lost-at-resume",
        /// A message in flight at QoS 2 is given up once it has expired, on the next connection.
        ExpiredInFlightDropped = "expired-in-flight-dropped",
        /// What comes back goes out in the reverse order.
        ResentInReverse = "resent-in-reverse",
        /// Only the first of the matching subscriptions gives its identifier.
        OneSubscriptionId = "one-subscription-id",
        /// The lowest of the QoS granted counts, not the highest.
        LowestQosOfOverlap = "lowest-qos-of-overlap",
        /// Leading wildcards match topics that begin with `$`.
        WildcardMatchesDollar = "wildcard-matches-dollar",
        /// No Local is forgotten at recovery.
        NoLocalLostAtRecovery = "no-local-lost-at-recovery",
        /// What is refused for want of space is acknowledged as if it were taken.
        RefusedYetAcknowledged = "refused-yet-acknowledged",
        /// Every tenth message is dropped as if its receiver's queue were full.
        DroppedAsQueueFull = "dropped-as-queue-full",

        /// A message without a payload is dropped for whoever subscribes to it.
        EmptyPayloadDropped = "empty-payload-dropped",
        // Protocol.
        /// PUBRELs that are owed are not sent again on a new connection.
        PubrelNotResent = "pubrel-not-resent",
        /// What is sent again has no DUP.
        DupNotSet = "dup-not-set",
        /// What is sent again at QoS 1 has a new packet identifier.
        ResentUnderNewId = "resent-under-new-id",
        /// Packet identifiers start anew with each connection, in use or not.
        IdsRestartOnResume = "ids-restart-on-resume",
        /// The window of a new connection begins as full as the last one ended.
        WindowNotReset = "window-not-reset",
        /// What is sent again counts against no window.
        ResentBesideWindow = "resent-beside-window",
        /// An acknowledgement gives back two credits.
        CreditGivenTwice = "credit-given-twice",
        /// PUBREC gives back the credit that PUBCOMP is to give.
        PubrecGivesCredit = "pubrec-gives-credit",
        /// Every topic counts as introduced, as if connections shared one table of aliases.
        AliasTableShared = "alias-table-shared",
        /// The client's maximum packet size is ignored.
        PacketSizeIgnored = "packet-size-ignored",
        /// Silence closes nothing.
        KeepAliveNeverCloses = "keep-alive-never-closes",
        /// Silence of once the keep alive closes.
        KeepAliveTooShort = "keep-alive-too-short",
        /// Messages go out while CONNACK waits for the journal.
        PublishBeforeConnack = "publish-before-connack",
        /// What waits for an authentication's outcome is looked at in the reverse order.
        EarlyPacketsReversed = "early-packets-reversed",
        /// An alias of a client's goes on standing for the topic that it was set to first.
        InboundAliasKept = "inbound-alias-kept",
        /// A client that refuses a message does not get its credit back.
        RefusedKeepsWindow = "refused-keeps-window",
        /// What a client has refused is sent again when its session is resumed.
        RefusedSentAgain = "refused-sent-again",
        /// What cannot be decoded ends another connection, too.
        BystanderAccused = "bystander-accused",
        /// What cannot be decoded is passed over, and the connection stays.
        MalformedPassedOver = "malformed-passed-over",
        /// The codes of a SUBACK come in the reverse order.
        SubackReversed = "suback-reversed",
        /// Of several filters in one UNSUBSCRIBE only the first is removed.
        OnlyFirstFilterRemoved = "only-first-filter-removed",
        /// A ping is answered only if nothing waits for the client's acknowledgement.
        PingUnanswered = "ping-unanswered",

        // Sessions and wills.
        /// An order for a client that is away sends away who came last.
        OrderHitsNewest = "order-hits-newest",
        /// The end of a session by order is forgotten with the next crash.
        OrderedEndNotRecorded = "ordered-end-not-recorded",
        /// A timer that is set for later is not brought forward.
        TimerNotBroughtForward = "timer-not-brought-forward",
        /// Who is sent away by order loses its will.
        OrderDropsWill = "order-drops-will",
        /// The connection that is taken over is closed without a word.
        TakeoverInSilence = "takeover-in-silence",
        /// Session Present says what the client asked for.
        SessionPresentEchoed = "session-present-echoed",
        /// A clean start keeps the old session.
        CleanStartKeepsSession = "clean-start-keeps-session",
        /// Every client without an identifier is given the same one.
        AssignedIdRepeats = "assigned-id-repeats",
        /// Sessions do not expire.
        SessionNeverExpires = "session-never-expires",
        /// The session expiry interval begins anew at recovery.
        ExpiryRestartsAtRecovery = "expiry-restarts-at-recovery",
        /// The session expiry interval in DISCONNECT is ignored.
        ExpiryOverrideIgnored = "expiry-override-ignored",
        /// The session expiry interval in DISCONNECT is forgotten at recovery.
        ExpiryOverrideLostAtRecovery = "expiry-override-lost-at-recovery",
        /// The time axis goes back with the wall clock at recovery.
        AxisFollowsWallClock = "axis-follows-wall-clock",
        /// A client that comes back in time does not cancel its will.
        WillNotCancelled = "will-not-cancelled",
        /// A takeover counts as an orderly end: the will is dropped.
        WillLostAtTakeover = "will-lost-at-takeover",
        /// Wills are forgotten at recovery.
        WillLostAtRecovery = "will-lost-at-recovery",
        /// DISCONNECT 0x00 does not delete the will.
        WillAfterDisconnect = "will-after-disconnect",
        /// DISCONNECT deletes the will whatever its reason.
        ErrorDisconnectDropsWill = "error-disconnect-drops-will",

        // Retained and expiring messages.
        /// At recovery the oldest retained message of a topic wins.
        OldRetainedRestored = "old-retained-restored",
        /// At recovery a deleted retained message is back.
        DeletedRetainedRestored = "deleted-retained-restored",
        /// Retain Handling 1 is taken for 0.
        RetainHandlingIgnored = "retain-handling-ignored",
        /// Expired messages are delivered from the queue.
        ExpiredDelivered = "expired-delivered",
        /// The expiry interval passed on is a minute too long.
        ExpiryPassedOnTooLong = "expiry-passed-on-too-long",

        // Shared subscriptions.
        /// What a member had not acknowledged when it went is lost to the group.
        SharedLostWithMember = "shared-lost-with-member",
        /// QoS 2 in progress moves to another member.
        SharedQos2Moves = "shared-qos2-moves",
        /// What a member refuses goes to another.
        RefusedGoesOn = "refused-goes-on",
        /// A group's next message goes to two members.
        SharedTwice = "shared-twice",

        // Durability.
        /// PUBACK and PUBREC do not wait for the journal.
        AckBeforeCommit = "ack-before-commit",
        /// SUBACK does not wait for the journal.
        SubackBeforeCommit = "suback-before-commit",
        /// PUBCOMP's release of the identifier is not recorded.
        ReleaseNotRecorded = "release-not-recorded",
        /// PUBREC of a receiver is not recorded.
        ReceiptNotRecorded = "receipt-not-recorded",
        /// The end of a session is not recorded.
        SessionEndNotRecorded = "session-end-not-recorded",
        /// Snapshots forget the QoS 2 identifiers that clients have in use.
        SnapshotForgetsHeldIds = "snapshot-forgets-held-ids",
        /// Snapshots forget subscriptions.
        SnapshotForgetsSubscriptions = "snapshot-forgets-subscriptions",

        // Resources.
        /// A session's queue takes more than its limit.
        QueueLimitIgnored = "queue-limit-ignored",
        /// While a client has more to come than it may have in flight, nobody else is sent anything.
        BacklogHoldsOthers = "backlog-holds-others",

        // Permissions, quotas and identities.
        /// A publication is taken although the rules deny it.
        DeniedPublishTaken = "denied-publish-taken",
        /// A subscription is granted although the rules deny it.
        DeniedSubscribeGranted = "denied-subscribe-granted",
        /// A will is published although the rules deny it by then.
        DeniedWillPublished = "denied-will-published",
        /// What waits is sent without a look at the rules in force by then.
        RevokedStillDelivered = "revoked-still-delivered",
        /// While anything is denied to anybody, PUBREL for what came on an earlier connection is not
        /// answered.
        RevokedReleaseUnanswered = "revoked-release-unanswered",
        /// What has expired still counts against quotas of stored bytes.
        StoredBytesNotReturned = "stored-bytes-not-returned",
        /// What waits for a session counts against quotas once more for each connection.
        StoredBytesCountedAgain = "stored-bytes-counted-again",
        /// A quota of publications in a second bounds nobody.
        RateQuotaIgnored = "rate-quota-ignored",
        /// A connection that has ended still counts against its quota.
        ConnectionCountNotReturned = "connection-count-not-returned",
        /// A day's count against a quota is forgotten at recovery.
        DayCountLostAtRecovery = "day-count-lost-at-recovery",
        /// The end of a client's token counts as an orderly end: the will is dropped.
        TokenEndDropsWill = "token-end-drops-will",
        /// A client may stay when its token has ended.
        TokenNeverEnds = "token-never-ends",
        /// Whoever comes takes a connected client's session over, whoever's it is.
        StrangerTakesOver = "stranger-takes-over",
        /// Whoever comes resumes the session of a client that is away, whoever's it is.
        StrangerResumes = "stranger-resumes",

        // The store, which is the runtime's.
        /// Records count as durable when they are written, not when they are synced.
        DurableWhenWritten = "durable-when-written",
        /// A snapshot's name is not synced before what it covers is used again.
        SnapshotNameNotSynced = "snapshot-name-not-synced",
        /// Ends of deliveries do not get into the log.
        DeletionNotRecorded = "deletion-not-recorded",
        /// A frame whose sync failed counts as durable.
        SyncFailureIgnored = "sync-failure-ignored",
        /// A frame that only says what is durable counts as durable too.
        MarkProvesItself = "mark-proves-itself",
        /// Frames behind the end that was found stay there.
        TailNotCut = "tail-not-cut",

        // The shard, which is the runtime's too.
        /// What a stream takes a part of counts as written as a whole.
        ShortWriteCountsAsWhole = "short-write-counts-as-whole",
        /// The broker is told that records are durable when the journal has been given them.
        DurableWhenAppended = "durable-when-appended",
        /// The broker is not told that a connection has ended.
        EndNotTold = "end-not-told",
        /// The broker is not told that there is room again to send in.
        RoomNotTold = "room-not-told",
        /// Of several messages read back at once only the last is handed on.
        OnlyLastReadBack = "only-last-read-back",
        /// A copy of a store at work has all but the last of its records.
        ExportLeavesOut = "export-leaves-out",
    }
}
