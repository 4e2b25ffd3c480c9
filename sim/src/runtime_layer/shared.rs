//! What the loop and the tasks of both hosts share: the clients, what is written down, and what is
//! to be done on which host. Everything lives on one thread, so cells do.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use signalhouse::journal::Level;
use signalhouse_core::message::MessageId;
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::{Config, Notice, Time};
use tokio::sync::Notify;
use turmoil::net::TcpStream;

use super::link::End;
use super::net::Links;
use super::rc::{Appended, Failed, Recovery};
use super::socket::{Socket, SocketState};
use super::stream::{Stream, Weather};
use crate::chance::Streams;
use crate::client::{ClientInput, ClientOutput, Clients};
use crate::clock::SimClock;
use crate::core_layer::record::Recorder;
use crate::core_layer::{is_telling, setting, settings};
use crate::disk::{DiskFaults, SimDisk};
use crate::history::{ConnectionNumber, Violation, What};
use crate::plan::{ClientIndex, Denial, Order, Plan};

/// How late the broker may be with a sync, in milliseconds: a few ticks.
const LATE_MS: u64 = 10;

/// Why nobody answers where the broker was, if nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broker {
    Up,
    /// The machine is there and refuses.
    ProcessDown,
    /// The machine is not there.
    PowerDown,
}

pub(crate) struct Shared {
    pub(super) plan: Plan,
    pub(super) config: Config,
    pub(super) clock: SimClock,
    /// By how much the wall clock of the broker's host was set forward, in milliseconds.
    pub(super) wall_ahead_ms: Cell<i64>,
    /// The broker's time when it last began, and the simulated milliseconds then.
    pub(super) began: Cell<(Time, u64)>,
    pub(super) weather: Rc<Weather>,
    pub(super) links: Rc<Links>,
    pub(super) disk: SimDisk,
    pub(super) record: RefCell<Recorder>,
    pub(super) clients: RefCell<Clients>,
    pub(super) sockets: RefCell<Vec<Socket>>,
    /// Connections that are to be made, and the task that makes them.
    pub(super) to_open: RefCell<VecDeque<ConnectionNumber>>,
    pub(super) opener: Notify,
    pub(super) broker: Cell<Broker>,
    /// Counts the broker's processes.
    pub(super) incarnation: Cell<u64>,
    pub(super) is_calm: Cell<bool>,
    /// The broker's host stands still.
    pub(super) is_frozen: Cell<bool>,
    /// Clients whose connections are never made.
    pub(super) unreachable: RefCell<BTreeSet<ClientIndex>>,
    /// What the operator denies.
    pub(super) denials: RefCell<Vec<Denial>>,
    pub(super) permitted: Notify,
    /// What the operator ordered, and the broker's process was not told yet.
    pub(super) orders: RefCell<VecDeque<Order>>,
    pub(super) ordered: Notify,
    /// The broker's process reads its store and hears nothing yet.
    pub(super) is_recovering: Cell<bool>,
    /// The broker is to stop in order.
    pub(super) is_stopping: Cell<bool>,
    pub(super) stopper: Notify,
    /// What ended the broker's process by itself, and the guarantee that this breaks.
    pub(super) broker_failed: RefCell<Option<Failed>>,
    /// What each of the broker's processes did before it let anybody in.
    pub(super) recoveries: RefCell<Vec<Recovery>>,
    /// What went into the store.
    pub(super) appended: RefCell<Appended>,
    /// Of the messages in the store.
    pub(super) topics: RefCell<BTreeMap<MessageId, Topic>>,
    pub(super) inputs: Cell<u64>,
    pub(super) packets: Cell<u64>,
}

impl Shared {
    pub(super) fn new(plan: &Plan, keeps_lines: bool) -> Result<Self, String> {
        let streams = Streams::new(plan.seed);
        let clock = SimClock::default();
        let weather = Rc::new(Weather::new(plan, streams));
        let disk = SimDisk::new(plan.seed, disk_faults(plan), clock.clone());
        Ok(Shared {
            plan: plan.clone(),
            config: settings::config(plan)?,
            clock,
            wall_ahead_ms: Cell::new(0),
            began: Cell::new((Time::from_ms(0), 0)),
            weather,
            links: Rc::default(),
            disk,
            record: RefCell::new(Recorder::new(plan, None, keeps_lines)),
            clients: RefCell::new(Clients::new(plan.seed, &plan.clients)),
            sockets: RefCell::default(),
            to_open: RefCell::default(),
            opener: Notify::new(),
            broker: Cell::new(Broker::Up),
            incarnation: Cell::new(0),
            is_calm: Cell::new(false),
            is_frozen: Cell::new(false),
            unreachable: RefCell::default(),
            denials: RefCell::default(),
            permitted: Notify::new(),
            orders: RefCell::default(),
            ordered: Notify::new(),
            is_recovering: Cell::new(true),
            is_stopping: Cell::new(false),
            stopper: Notify::new(),
            broker_failed: RefCell::default(),
            recoveries: RefCell::default(),
            appended: RefCell::default(),
            topics: RefCell::default(),
            inputs: Cell::new(0),
            packets: Cell::new(0),
        })
    }

    /// Has every operation on the disk noted.
    pub(super) fn watch_disk(self: &Rc<Self>) {
        let watching = Rc::downgrade(self);
        let mut number = 0_u64;
        self.disk.watch(move |operation, name| {
            number += 1;
            if let Some(shared) = watching.upgrade() {
                shared.weather.stir();
                shared.note(format_args!("  disk {number} {operation:?} {name}"));
            }
        });
    }

    /// The broker's process is about to end. At a level that syncs late, notes what of that which it told is safe.
    pub(super) fn process_ends(&self) {
        if let Level::Relaxed { sync_delay_ms } = level(&self.plan) {
            let before_ms = self.disk.synced_before_ms(sync_delay_ms + LATE_MS);
            self.appended.borrow_mut().ends(before_ms);
        }
    }

    /// What the disk had in memory alone is gone, which a level that syncs late allows.
    pub(super) fn memory_is_gone(&self) {
        if matches!(level(&self.plan), Level::Relaxed { .. }) {
            self.appended.borrow_mut().loses_memory();
        }
    }

    /// Whether a client's connections are made.
    pub(super) fn is_reachable(&self, client: ClientIndex) -> bool {
        !self.unreachable.borrow().contains(&client)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// What is wrong so far.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.record.borrow().violation.clone()
    }

    /// Whether the broker's machine is there, and nobody listens on it.
    pub(crate) fn is_refusing(&self) -> bool {
        self.broker.get() == Broker::ProcessDown
    }

    /// The client's end of a connection that was just made.
    pub(crate) fn client_stream(&self, inner: TcpStream) -> Stream {
        let address = inner.local_addr().ok();
        let link = address.and_then(|address| self.links.take(address)).unwrap_or_default();
        Stream::new(inner, link, End::Client, Rc::clone(&self.weather))
    }

    pub(super) fn event(&self, what: What) {
        match &what {
            What::Opened { .. } | What::Sent { .. } | What::Ended { .. } => {
                self.inputs.set(self.inputs.get() + 1);
            }
            What::Received { .. } => self.packets.set(self.packets.get() + 1),
            What::Undecodable { .. }
            | What::Misbehaved { .. }
            | What::Holding { .. }
            | What::Network { .. }
            | What::Broker(_)
            | What::Denied(_)
            | What::Beside(_)
            | What::Kept(_)
            | What::Absent { .. }
            | What::WallClock { .. }
            | What::Dropped { .. }
            | What::Calm
            | What::End => {}
        }
        self.record.borrow_mut().event(self.clock.now_ms(), what);
    }

    pub(super) fn note(&self, text: std::fmt::Arguments<'_>) {
        self.record.borrow_mut().note(self.clock.now_ms(), text);
    }

    /// What the broker says of itself.
    pub(super) fn notice(&self, notice: &Notice) {
        self.record.borrow_mut().notice(notice);
        let topic_of = |id| self.topics.borrow().get(&id).cloned();
        if let Some(dropped) = crate::core_layer::dropped(notice, topic_of) {
            self.event(dropped);
        } else if is_telling(notice) {
            self.note(format_args!("  {notice:?}"));
        }
    }

    /// Tells a client something and does what it wants.
    pub(super) fn tell(&self, client: ClientIndex, input: ClientInput<'_>) {
        self.weather.stir();
        let mut outputs = Vec::new();
        self.clients.borrow_mut().handle(self.clock.now_ms(), client, input, &mut outputs);
        for output in outputs {
            self.output(client, output);
        }
    }

    /// Calls the clients whose time has come.
    pub(super) fn wake_clients(&self) {
        loop {
            let next = self.clients.borrow().next_deadline_ms();
            let Some((at_ms, client)) = next else { return };
            if at_ms > self.clock.now_ms() {
                return;
            }
            self.tell(client, ClientInput::Time);
        }
    }

    pub(super) fn is_reading(&self, client: ClientIndex) -> bool {
        self.clients.borrow().client(client).is_reading()
    }

    /// Has all connections of a client look what there is to be done.
    pub(super) fn wake_sockets(&self, client: ClientIndex) {
        self.weather.stir();
        for socket in self.sockets.borrow_mut().iter_mut() {
            if socket.client == client {
                socket.wake();
            }
        }
    }

    fn output(&self, client: ClientIndex, output: ClientOutput) {
        match output {
            ClientOutput::Open { attempt } => {
                let number = self.sockets.borrow().len() as ConnectionNumber;
                self.sockets.borrow_mut().push(Socket::new(client, attempt));
                // The dead stay away: nobody hears them.
                if !(self.is_calm.get() && self.plan.dead.contains(&client)) {
                    self.to_open.borrow_mut().push_back(number);
                    self.opener.notify_one();
                }
            }
            ClientOutput::Send { connection, bytes } => {
                self.with_socket(connection, |socket| socket.send(&bytes));
            }
            ClientOutput::Close { connection, reset } => {
                let state = if reset { SocketState::Resetting } else { SocketState::Closing };
                self.with_socket(connection, |socket| socket.turn(state));
            }
            ClientOutput::Event(what) => self.event(what),
        }
    }

    /// The socket of a connection. Numbers are given here and never taken back.
    pub(super) fn with_socket<T>(
        &self,
        connection: ConnectionNumber,
        work: impl FnOnce(&mut Socket) -> T,
    ) -> T {
        let place = usize::try_from(connection).unwrap_or(usize::MAX);
        work(&mut self.sockets.borrow_mut()[place])
    }
}

/// When what the broker acknowledges is durable.
pub(super) fn level(plan: &Plan) -> Level {
    match setting(plan, "journal.relaxed_ms") {
        None | Some(0) => Level::Strict,
        Some(sync_delay_ms) => Level::Relaxed { sync_delay_ms },
    }
}

fn disk_faults(plan: &Plan) -> DiskFaults {
    let is_kind = setting(plan, "network.split").unwrap_or(0) == 0;
    DiskFaults {
        sync_ms: setting(plan, "journal.sync_ms").unwrap_or(0),
        short_writes: if is_kind { 0 } else { 4 },
        capacity_bytes: setting(plan, "disk.capacity_bytes").unwrap_or(0),
    }
}
