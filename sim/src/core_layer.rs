//! The core layer: the real broker, called directly, in a world of its own time.
//!
//! Everything that will happen stands in one agenda; the loop takes the earliest, moves the clock
//! to it, and lets it happen. Clients and broker exchange bytes over a simulated network; records
//! go to a model of the journal, and a crash leaves of them what a disk could leave.

pub(crate) mod access;
mod agenda;
mod connection;
mod journal;
pub(crate) mod kept;
mod network;
pub(crate) mod panics;
mod process;
pub(crate) mod record;
pub(crate) mod settings;
mod world;

use bytes::Bytes;
use signalhouse_core::message::MessageId;
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::{Config, Notice, Time};

pub use panics::quiet_panics;

use crate::chance::{Stream, Streams};
use crate::coverage::Hits;
use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::plan::{Do, NetworkFault, Plan};
use agenda::Agenda;
use journal::Journal;
use network::{End, Network, Signal};
use record::Recorder;
pub(crate) use settings::setting;
use world::World;

/// The broker's clock at the start of a run, in milliseconds since the Unix epoch.
pub(crate) const EPOCH_MS: u64 = 1_000_000_000_000;

/// What the broker's process takes at most until it comes to what has arrived, in milliseconds.
const ROUNDS_MS: u64 = 100;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Hash of the whole trace.
    pub trace_hash: u64,
    /// The trace's lines, if they were asked for.
    pub lines: Vec<String>,
    /// Inputs that the broker took.
    pub inputs: u64,
    /// Packets that the broker sent.
    pub packets: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// What is wrong, if anything.
    pub violation: Option<Violation>,
    /// Verdicts of the oracle on publications that matched a subscription.
    pub verdicts: Verdicts,
    /// Which situations it was in.
    pub hits: Hits,
    /// What was observed, if the trace's lines were asked for; `#7` in a line is number 7 here.
    pub history: Vec<Event>,
}

/// How many of the oracle's verdicts bind the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Publications at QoS 1 and 2 and sessions that had to receive them.
    pub must: u64,
    /// All of those with a subscription that matched.
    pub all: u64,
}

/// Runs a plan. The same plan gives the same outcome, on every machine.
///
/// # Errors
/// If the plan has a setting that is not known.
pub fn run(plan: &Plan, keeps_lines: bool) -> Result<Outcome, String> {
    let mut world = World::new(plan, keeps_lines)?;
    let panic = panics::catch(|| world.run());
    let mut outcome = world.outcome();
    if let Some(what) = panic {
        outcome.violation = Some(Violation { guarantee: "PR", what, events: Vec::new() });
    }
    Ok(outcome)
}

/// Something that will happen.
#[derive(Debug)]
enum Happening {
    /// A step of the plan.
    Step { place: usize },
    /// Something arrives at an end of a connection.
    Arrives { connection: ConnectionNumber, at: End, signal: Signal },
    /// A round of the broker's process.
    Round { incarnation: u32 },
    /// A timer of the broker's process rings.
    Timer { incarnation: u32, at_ms: u64 },
    /// A sync of the journal completes.
    Synced { ticket: u64 },
    /// A client is to be called.
    Client { at_ms: u64 },
    /// The faults are over.
    Calm,
    /// Those that should be back by now and are not, come back.
    Return,
    /// The bound has passed.
    End,
}

/// Everything around the broker's process and the clients.
struct Around {
    now_ms: u64,
    agenda: Agenda<Happening>,
    network: Network,
    journal: Journal,
    record: Recorder,
    rounds: Stream,
    /// By how much the wall clock of the broker's host was set forward, in milliseconds.
    wall_ahead_ms: i64,
    /// Counts the broker's processes.
    incarnation: u32,
    inputs: u64,
    packets: u64,
}

impl Around {
    fn new(plan: &Plan, config: Config, streams: Streams, keeps_lines: bool) -> Self {
        Around {
            now_ms: 0,
            agenda: Agenda::new(),
            network: Network::new(plan, streams),
            journal: Journal::new(plan, config, streams),
            record: Recorder::new(plan, latency_ms(plan), keeps_lines),
            rounds: streams.stream("rounds"),
            wall_ahead_ms: 0,
            incarnation: 0,
            inputs: 0,
            packets: 0,
        }
    }

    fn event(&mut self, what: What) {
        self.record.event(self.now_ms, what);
    }

    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        self.record.note(self.now_ms, text);
    }

    fn send(&mut self, connection: ConnectionNumber, to: End, signal: Signal) {
        self.network.send(self.now_ms, connection, to, signal, &mut self.agenda);
    }

    fn send_bytes(&mut self, connection: ConnectionNumber, to: End, bytes: Bytes) {
        self.network.send_bytes(self.now_ms, connection, to, bytes, &mut self.agenda);
    }

    /// What the broker says of itself.
    fn notice(&mut self, notice: &Notice) {
        self.record.notice(notice);
        if let Some(dropped) = dropped(notice, |id| Some(self.journal.message(id)?.topic.clone())) {
            self.event(dropped);
        } else if is_telling(notice) {
            self.note(format_args!("  {notice:?}"));
        }
    }
}

/// How long anything is on its way at most, between a client that reads and the broker, if nothing but what the plan's
/// network and journal always take delays it.
fn latency_ms(plan: &Plan) -> Option<u64> {
    let is_delayed = plan.steps.iter().any(|step| match step.what {
        Do::DiskSyncs { .. } | Do::Frozen { .. } => true,
        Do::Network { fault, .. } => fault == NetworkFault::Drip,
        Do::Connect { .. }
        | Do::Subscribe { .. }
        | Do::Unsubscribe { .. }
        | Do::Publish { .. }
        | Do::Ping { .. }
        | Do::Disconnect { .. }
        | Do::Vanish { .. }
        | Do::Misbehave { .. }
        | Do::Reading { .. }
        | Do::Acknowledging { .. }
        | Do::Pinging { .. }
        | Do::Broker(_)
        | Do::WallClock { .. }
        | Do::Deny(_)
        | Do::AllowAll
        | Do::Order(_)
        | Do::Disk(_) => false,
    });
    let sync_ms = setting(plan, "journal.sync_ms").unwrap_or(0);
    // There and back, and once more where little fits into the network at a time; a sync, and the one before it. What
    // is before it on a network that is full comes to that.
    let plain_ms = 4 * hop_ms(plan) + 2 * sync_ms + ROUNDS_MS;
    (!is_delayed).then_some(plain_ms)
}

/// How long what goes over the network is on its way at most.
fn hop_ms(plan: &Plan) -> u64 {
    let setting = |name| setting(plan, name).unwrap_or(0);
    setting("network.latency_ms") + setting("network.jitter_ms")
}

/// What is observed of a notice about a message that was dropped, or a will that was refused. `topic_of` knows
/// the topics of messages that the broker has left to the journal.
#[must_use]
pub fn dropped(notice: &Notice, topic_of: impl FnOnce(MessageId) -> Option<Topic>) -> Option<What> {
    if let Notice::WillRefused { client_id, topic, .. } = notice {
        let (receiver, topic) = (client_id.to_string(), topic.to_string());
        return Some(What::Dropped { receiver, topic, cause: What::WILL_REFUSED.to_owned() });
    }
    let (receiver, topic, cause) = if let Notice::Dropped { receiver, topic, cause } = notice {
        (receiver, topic.to_string(), cause)
    } else if let Notice::DroppedUnread { receiver, message, cause } = notice {
        (receiver, topic_of(*message)?.to_string(), cause)
    } else {
        return None;
    };
    let cause = format!("{cause:?}");
    Some(What::Dropped {
        receiver: receiver.to_string(),
        topic,
        cause: cause.split('(').next().unwrap_or_default().to_owned(),
    })
}

/// Whether a notice says something that the packets in the trace do not.
pub(crate) fn is_telling(notice: &Notice) -> bool {
    match notice {
        Notice::Connected { .. }
        | Notice::SessionStarted { .. }
        | Notice::Dropped { .. }
        | Notice::Subscribed { .. }
        | Notice::Unsubscribed { .. } => false,
        Notice::Refused { .. }
        | Notice::Disconnected { .. }
        | Notice::SessionEnded { .. }
        | Notice::PublishRefused { .. }
        | Notice::SubscribeRefused { .. }
        | Notice::WillPublished { .. }
        | Notice::WillRefused { .. }
        | Notice::DroppedUnread { .. }
        | Notice::UnknownAck { .. }
        | Notice::DuplicateSuppressed { .. }
        | Notice::RetainedExpired { .. }
        | Notice::JournalSpace { .. }
        | Notice::PermissionsReplaced
        | Notice::TimeJumped { .. } => true,
    }
}

/// A moment of the run on a time axis that is ahead of the run's by so much.
pub(crate) fn broker_time(at_ms: u64, ahead_ms: i64) -> Time {
    Time::from_ms((EPOCH_MS + at_ms).saturating_add_signed(ahead_ms))
}

/// By how much a moment of the broker's time axis is ahead of a moment of the run.
pub(crate) fn ahead_ms(time: Time, at_ms: u64) -> i64 {
    time.as_ms().cast_signed() - (EPOCH_MS + at_ms).cast_signed()
}
