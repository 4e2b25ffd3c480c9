//! Coverage: which situations a run has been in, so that a batch can show that it was in all.
//!
//! A matrix says what was under way when something was cut off: its rows are states of a session
//! and its connection, its columns ways to end a connection or the broker. Beside it stand single
//! points. All of it is read off what the clients observe, so it is the same in both layers; only
//! what no client sees comes from the broker's notices.

mod effects;
mod matrix;
mod scene;

use signalhouse_core::Notice;
use signalhouse_core::notice::{Cause, SessionEnd};

use crate::disk::Operation;
use crate::history::{Event, What};
use crate::packet::{AckKind, Packet};
use crate::plan::{BrokerFault, NetworkFault};
use effects::Effects;
pub use matrix::{COLUMNS, Needs, ROWS, is_possible};
use matrix::{Column, rows_of};
use scene::Scenes;

/// The property of a CONNACK that names its client.
const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;

macro_rules! points {
    ($($name:ident = $text:literal,)+) => {
        /// A situation that some run of a batch must have been in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the texts say what the points are")]
        pub enum Point { $($name,)+ }

        impl Point {
            /// Every point.
            pub const ALL: &'static [Point] = &[$(Point::$name,)+];

            /// What it is.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Point::$name => $text,)+ }
            }
        }
    };
}

points! {
    SentAway = "a silent client was sent away",
    HalfOpenClosed = "a half-open connection was closed for silence",
    TakenOver = "a connection was told that it is taken over",
    CleanStartOverSession = "a clean start ended a session",
    ResumedAfterRestart = "a session was resumed after a restart",
    SessionExpired = "a session expired",
    SessionExpiredInRestart = "a session expired while the broker was down",
    WillPublished = "a will was published",
    WillCancelled = "a will with a delay was cancelled by a reconnect",
    WillOverRestart = "a will outlived a restart",
    SentAgain = "a PUBLISH was sent again",
    PubrelSentAgain = "a PUBREL was sent again",
    DuplicateSuppressed = "a repeated QoS 2 PUBLISH was recognised",
    WindowFull = "a client's receive maximum was reached",
    QuotaFull = "the broker's receive maximum was reached",
    UnknownAck = "an acknowledgement named an identifier not in use",
    RetainedReplaced = "a retained message was replaced",
    RetainedDeleted = "a retained message was deleted",
    RetainedExpired = "a retained message expired",
    RetainedAfterRestart = "a retained message was read after a restart",
    Expired = "a message expired before its delivery",
    QueueFull = "a queue was full",
    LongBacklog = "a client took a long backlog when it came back",
    ReadBack = "a message that waited in the journal alone was read back",
    TooLarge = "a message was too large for its receiver",
    Offline = "a QoS 0 message was dropped for a client that is away",
    ShareEnded = "a share ended with messages waiting",
    Refused = "a publication was refused",
    SubscribeRefused = "a subscription was refused",
    ConnectRefused = "a CONNECT was refused",
    MayNotRead = "a message was dropped for a client that may not read it",
    OverStoredBytes = "a message was dropped for a quota of stored bytes",
    OverQuota = "a publication was refused for a quota or a limit",
    AnsweredAhead = "a client was let in that had sent more behind CONNECT",
    RefusedAhead = "a CONNECT was refused with more behind it",
    StrangerRefused = "a stranger was refused a client's identifier",
    TokenEnded = "a connection ended with its client's token",
    Alias = "a topic alias stood for a topic",
    ClientAlias = "a client sent a topic alias for a topic",
    SeveralFilters = "a SUBSCRIBE had several filters",
    GivenName = "a client was given its identifier",
    RefusedByClient = "a client refused a message",
    Malformed = "a malformed packet ended its connection",
    NoReading = "a client did not read for a while",
    RecordsLost = "a power cut lost records",
    ClockSetBack = "the wall clock was set back",
    ClockSetForward = "the wall clock was set forward",
    Stalled = "data was held back",
    HalfClosed = "a client closed its sending side and went on reading",
    Trickled = "what a client sent trickled",
    NeverConnected = "a client's connections were never made",
    DeadForEver = "a client did not come back for the end",
    OrderedAway = "a client was sent away by order",
    OrderToNobody = "a client was to be sent away that was away",
    OrderedOut = "a session was ended by order",
    OrderedOutAway = "a session was ended by order whose client was away",
    OrderedOutWithBacklog = "a session was ended by order for which messages waited",
    OrderInQos2 = "an order came in the middle of an exchange at QoS 2",
    OrderInWillDelay = "an order ended a session in the delay of its will",
    CrashBehindOrder = "the broker crashed right behind an order",
    // Of a disk, which the core layer does not have.
    TailCut = "a recovery cut off a torn end",
    CutInRecovery = "the broker was cut off in its recovery",
    RotMet = "a recovery met rot",
    DiskFull = "a write or a new file found the disk full",
    ShortOfRoom = "the broker was short of room in its journal",
    RoomAgain = "the journal had room again",
    WriteFailed = "a write to the disk failed",
    SyncFailed = "a sync of a file failed",
    ReadFailed = "a read of the disk failed",
    FolderFailed = "a change of the folder failed",
    CutAtList = "the broker was cut off as it listed its files",
    CutAtOpen = "the broker was cut off as it opened a file",
    CutAtRead = "the broker was cut off as it read a file",
    CutAtWrite = "the broker was cut off as it wrote to a file",
    CutAtSync = "the broker was cut off as it synced a file",
    CutAtCreate = "the broker was cut off as it made a file",
    CutAtRename = "the broker was cut off as it renamed a file",
    CutAtRemove = "the broker was cut off as it removed a file",
    CutAtSyncFolder = "the broker was cut off as it synced its folder",
    CopiedAtWork = "the store of a broker at work was copied",
}

impl Point {
    /// Whether only a run with a disk, in the profile `disk`, is surely there some time.
    #[must_use]
    pub const fn is_of_the_disk(self) -> bool {
        self as usize >= Point::TailCut as usize
    }

    /// The point of an operation that failed.
    pub(crate) fn of_failed(operation: Operation) -> Option<Point> {
        match operation {
            Operation::Write => Some(Point::WriteFailed),
            Operation::Sync => Some(Point::SyncFailed),
            Operation::Read => Some(Point::ReadFailed),
            Operation::Create | Operation::Rename | Operation::Remove | Operation::SyncFolder => {
                Some(Point::FolderFailed)
            }
            Operation::List | Operation::Open | Operation::FreeBytes => None,
        }
    }

    /// The point of an operation at which the process was cut off.
    pub(crate) fn of_cut_at(operation: Operation) -> Option<Point> {
        Some(match operation {
            Operation::List => Point::CutAtList,
            Operation::Open => Point::CutAtOpen,
            Operation::Read => Point::CutAtRead,
            Operation::Write => Point::CutAtWrite,
            Operation::Sync => Point::CutAtSync,
            Operation::Create => Point::CutAtCreate,
            Operation::Rename => Point::CutAtRename,
            Operation::Remove => Point::CutAtRemove,
            Operation::SyncFolder => Point::CutAtSyncFolder,
            Operation::FreeBytes => return None,
        })
    }
}

/// What a run has been in.
#[derive(Debug, Default)]
pub struct Coverage {
    scenes: Scenes,
    effects: Effects,
    hits: Hits,
}

/// Points and fields of the matrix, by number: the matrix row by row, then the points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits(Vec<bool>);

impl Hits {
    /// How many there are to be hit.
    #[must_use]
    pub fn count() -> usize {
        ROWS.len() * COLUMNS.len() + Point::ALL.len()
    }

    /// Whether number `place` was hit.
    #[must_use]
    pub fn has(&self, place: usize) -> bool {
        self.0.get(place).copied().unwrap_or(false)
    }

    /// The numbers that were hit.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, hit)| **hit).map(|(place, _)| place)
    }

    /// The number of a field of the matrix.
    #[must_use]
    pub const fn field(row: usize, column: usize) -> usize {
        row * COLUMNS.len() + column
    }

    /// The number of a point.
    #[must_use]
    pub const fn point(point: Point) -> usize {
        ROWS.len() * COLUMNS.len() + point as usize
    }

    fn hit(&mut self, place: usize) {
        if self.0.is_empty() {
            self.0 = vec![false; Hits::count()];
        }
        self.0[place] = true;
    }
}

impl Coverage {
    /// What was hit so far.
    #[must_use]
    pub fn hits(&self) -> &Hits {
        &self.hits
    }

    /// Takes an observation.
    pub fn event(&mut self, event: &Event) {
        self.cuts(event);
        self.points(&event.what);
        for point in self.effects.event(event, &self.scenes) {
            self.hit(point);
        }
        self.scenes.event(event);
        if let What::Received { connection, packet: Packet::Publish(publish), .. } = &event.what
            && publish.qos > 0
            && self.scenes.takes_long_backlog(*connection)
        {
            self.hit(Point::LongBacklog);
        }
    }

    /// Takes what the broker says of itself.
    pub fn notice(&mut self, notice: &Notice) {
        let point = match notice {
            Notice::SessionEnded { cause: SessionEnd::Expired, .. }
                if self.scenes.just_started() =>
            {
                Point::SessionExpiredInRestart
            }
            Notice::SessionEnded { cause: SessionEnd::Expired, .. } => Point::SessionExpired,
            Notice::SessionEnded { cause: SessionEnd::CleanStart, .. } => {
                Point::CleanStartOverSession
            }
            Notice::WillPublished { client_id, .. } => {
                if self.scenes.was_armed_before_start(client_id) {
                    self.hits.hit(Hits::point(Point::WillOverRestart));
                }
                Point::WillPublished
            }
            Notice::Disconnected { client_id, cause: Cause::KeepAliveTimeout, .. }
                if self.scenes.is_half_open(client_id) =>
            {
                Point::HalfOpenClosed
            }
            Notice::JournalSpace { is_short: true } => Point::ShortOfRoom,
            Notice::JournalSpace { is_short: false } => Point::RoomAgain,
            Notice::DuplicateSuppressed { .. } => Point::DuplicateSuppressed,
            Notice::UnknownAck { .. } => Point::UnknownAck,
            Notice::RetainedExpired { .. } => Point::RetainedExpired,
            Notice::SubscribeRefused { .. } => Point::SubscribeRefused,
            Notice::PublishRefused { .. } => Point::Refused,
            Notice::SessionEnded { .. }
            | Notice::Connected { .. }
            | Notice::SessionStarted { .. }
            | Notice::Dropped { .. }
            | Notice::Subscribed { .. }
            | Notice::Unsubscribed { .. }
            | Notice::Refused { .. }
            | Notice::Disconnected { .. }
            | Notice::WillRefused { .. }
            | Notice::PermissionsReplaced
            | Notice::DroppedUnread { .. }
            | Notice::TimeJumped { .. } => return,
        };
        self.hits.hit(Hits::point(point));
    }

    /// A layer has seen to it itself.
    pub fn hit(&mut self, point: Point) {
        self.hits.hit(Hits::point(point));
    }

    /// Clients stay away for the end.
    pub fn dead_for_ever(&mut self) {
        self.effects.dead_for_ever();
    }

    /// What was under way, if this event cuts something off.
    fn cuts(&mut self, event: &Event) {
        let (column, clients) = match &event.what {
            What::Network { client, fault } => {
                let column = match fault {
                    NetworkFault::Reset => Column::Reset,
                    NetworkFault::BlackHoleToBroker => Column::DeafBroker,
                    NetworkFault::BlackHoleToClient => Column::DeafClient,
                    NetworkFault::Hold
                    | NetworkFault::Release
                    | NetworkFault::HalfClose
                    | NetworkFault::Drip
                    | NetworkFault::Unreachable => return,
                };
                (column, self.scenes.of_client(*client))
            }
            What::Ended { connection, by_client: true } => {
                (Column::Vanish, self.scenes.left_in_silence(*connection))
            }
            What::Sent { connection, packet: Packet::Disconnect { .. } } => {
                (Column::Disconnect, self.scenes.of_connection(*connection))
            }
            What::Sent { connection, packet: Packet::Connect(connect) } => {
                (Column::Takeover, self.scenes.taken_over(*connection, &connect.client_id))
            }
            What::Received {
                connection, packet: Packet::Disconnect { reason: 0x8D, .. }, ..
            } => (Column::SentAway, self.scenes.of_connection(*connection)),
            What::Broker(fault) => {
                let column = match fault {
                    BrokerFault::Kill | BrokerFault::PowerCut if self.scenes.just_started() => {
                        Column::CrashAgain
                    }
                    BrokerFault::Kill => Column::Kill,
                    BrokerFault::PowerCut => Column::PowerCut,
                    BrokerFault::Stop => Column::Stop,
                    BrokerFault::Start => return,
                };
                (column, self.scenes.all())
            }
            What::Opened { .. }
            | What::Sent { .. }
            | What::Received { .. }
            | What::Undecodable { .. }
            | What::Ended { .. }
            | What::Misbehaved { .. }
            | What::Holding { .. }
            | What::Denied(_)
            | What::Beside(_)
            | What::Kept(_)
            | What::Absent { .. }
            | What::WallClock { .. }
            | What::Dropped { .. }
            | What::Calm
            | What::End => return,
        };
        for client in clients {
            let Some(scene) = self.scenes.scene(&client, event.at_ms) else { continue };
            for row in rows_of(&scene) {
                self.hits.hit(Hits::field(row, column as usize));
            }
        }
    }

    fn points(&mut self, what: &What) {
        let point = match what {
            What::Received { connection, packet, alias_topic, .. } => {
                if alias_topic.is_some() {
                    self.hits.hit(Hits::point(Point::Alias));
                }
                match self.received(*connection, packet) {
                    Some(point) => point,
                    None => return,
                }
            }
            What::Dropped { cause, .. } => match cause.as_str() {
                "Expired" => Point::Expired,
                "QueueFull" => Point::QueueFull,
                "TooLarge" => Point::TooLarge,
                "Offline" => Point::Offline,
                "ShareEnded" => Point::ShareEnded,
                "NotAuthorized" => Point::MayNotRead,
                "OverQuota" => Point::OverStoredBytes,
                _ => return,
            },
            What::Holding { serving: false, .. } => Point::NoReading,
            What::Sent { connection, packet } => match self.sent(*connection, packet) {
                Some(point) => point,
                None => return,
            },
            What::Opened { .. }
            | What::Undecodable { .. }
            | What::Ended { .. }
            | What::Misbehaved { .. }
            | What::Holding { .. }
            | What::Network { .. }
            | What::WallClock { .. }
            | What::Broker(_)
            | What::Denied(_)
            | What::Beside(_)
            | What::Kept(_)
            | What::Absent { .. }
            | What::Calm
            | What::End => return,
        };
        self.hits.hit(Hits::point(point));
    }

    fn sent(&self, connection: u64, packet: &Packet) -> Option<Point> {
        match packet {
            Packet::Publish(publish) if publish.topic.is_empty() => Some(Point::ClientAlias),
            Packet::Publish(_) => self.scenes.quota_is_full(connection).then_some(Point::QuotaFull),
            Packet::Subscribe { filters, .. } => {
                (filters.len() > 1).then_some(Point::SeveralFilters)
            }
            Packet::Ack { kind: AckKind::PubAck | AckKind::PubRec, reason: 0x80.., .. } => {
                Some(Point::RefusedByClient)
            }
            Packet::Connect(_)
            | Packet::ConnAck { .. }
            | Packet::Ack { .. }
            | Packet::SubAck { .. }
            | Packet::Unsubscribe { .. }
            | Packet::UnsubAck { .. }
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect { .. }
            | Packet::Auth { .. } => None,
        }
    }

    fn received(&mut self, connection: u64, packet: &Packet) -> Option<Point> {
        match packet {
            Packet::Publish(publish) if publish.dup => Some(Point::SentAgain),
            Packet::Publish(publish) if publish.retain && self.scenes.has_restarted() => {
                Some(Point::RetainedAfterRestart)
            }
            Packet::Publish(publish) => (publish.qos > 0 && self.scenes.fills_window(connection))
                .then_some(Point::WindowFull),
            Packet::Ack { kind: AckKind::PubRel, id, .. } => {
                self.scenes.was_released(connection, *id).then_some(Point::PubrelSentAgain)
            }
            Packet::Ack { reason: 0x97, .. } => Some(Point::OverQuota),
            Packet::ConnAck { reason, session_present, properties } => {
                if properties.iter().any(|property| property.id == ASSIGNED_CLIENT_IDENTIFIER) {
                    self.hits.hit(Hits::point(Point::GivenName));
                }
                if self.scenes.is_ahead(connection) {
                    let point =
                        if *reason == 0 { Point::AnsweredAhead } else { Point::RefusedAhead };
                    self.hits.hit(Hits::point(point));
                }
                match (reason, session_present) {
                    (0, true) if self.scenes.has_restarted() => Some(Point::ResumedAfterRestart),
                    (0, _) => None,
                    (0x85, _) => Some(Point::StrangerRefused),
                    (_, _) => Some(Point::ConnectRefused),
                }
            }
            Packet::Disconnect { reason: 0x81, .. } => Some(Point::Malformed),
            Packet::Disconnect { reason: 0x8E, .. } => Some(Point::TakenOver),
            Packet::Disconnect { reason: 0x8D, .. } => Some(Point::SentAway),
            Packet::Disconnect { reason: 0xA0, .. } => Some(Point::TokenEnded),
            Packet::Connect(_)
            | Packet::Ack { .. }
            | Packet::Subscribe { .. }
            | Packet::SubAck { .. }
            | Packet::Unsubscribe { .. }
            | Packet::UnsubAck { .. }
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect { .. }
            | Packet::Auth { .. } => None,
        }
    }
}
