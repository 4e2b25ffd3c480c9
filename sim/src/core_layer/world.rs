//! The loop: takes what happens next and lets it happen to clients, network and broker.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use signalhouse_core::Config;
use signalhouse_core::input::{Command, Gone};

use super::network::{End, Signal};
use super::process::{Options, Process};
use super::{Around, Happening, Outcome, Verdicts, access, setting, settings};
use crate::chance::Streams;
use crate::client::{ClientInput, ClientOutput, Clients};
use crate::coverage::Point;
use crate::history::{ConnectionNumber, Violation, What};
use crate::plan::{BrokerFault, ClientIndex, Denial, DiskFault, NetworkFault, Order, Plan};
use crate::stage::Stage;

/// More events than this at one moment are a loop without end.
const EVENTS_AT_ONCE: u64 = 1_000_000;
/// A plan has a few thousand inputs; more than this is a quarrel without end.
const INPUTS: u64 = 150_000;

/// A connection as the clients' side of the network has it.
#[derive(Debug)]
struct Socket {
    client: ClientIndex,
    state: SocketState,
    /// What arrived and is not read yet, because the client does not read.
    unread: VecDeque<Signal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SocketState {
    Opening { attempt: u64 },
    Open,
    Over,
}

/// Why nobody answers where the broker was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    /// The machine is there and refuses.
    Process,
    /// The machine is not there.
    Power,
}

/// A run.
pub(super) struct World<'a> {
    plan: &'a Plan,
    config: Config,
    options: Options,
    around: Around,
    process: Option<Process>,
    down: Down,
    clients: Clients,
    sockets: Vec<Socket>,
    outputs: Vec<ClientOutput>,
    denials: Vec<Denial>,
    /// The earliest call of a client that stands in the agenda.
    wake_at_ms: u64,
    is_calm: bool,
    is_frozen: bool,
    is_over: bool,
    verdicts: Verdicts,
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &'a Plan, keeps_lines: bool) -> Result<Self, String> {
        let streams = Streams::new(plan.seed);
        let config = settings::config(plan)?;
        let outgoing = setting(plan, "connection.outgoing_buffer_bytes").unwrap_or(64 * 1024);
        Ok(World {
            plan,
            config: config.clone(),
            options: Options {
                seed: plan.seed,
                outgoing_bytes: usize::try_from(outgoing).unwrap_or(usize::MAX),
                snapshots: setting(plan, "journal.snapshots").unwrap_or(0) != 0,
                quotas: access::quotas(plan, setting(plan, "ask_credentials").unwrap_or(0) != 0),
                token_lifetime_ms: setting(plan, "token.lifetime_ms"),
            },
            around: Around::new(plan, config, streams, keeps_lines),
            process: None,
            down: Down::Process,
            clients: Clients::new(plan.seed, &plan.clients),
            sockets: Vec::new(),
            outputs: Vec::new(),
            denials: Vec::new(),
            wake_at_ms: u64::MAX,
            is_calm: false,
            is_frozen: false,
            is_over: false,
            verdicts: Verdicts::default(),
        })
    }

    /// Lets everything happen, until the end or the first violation.
    pub(super) fn run(&mut self) {
        self.start();
        for (place, step) in self.plan.steps.iter().enumerate() {
            self.around.agenda.push(step.at_ms, Happening::Step { place });
        }
        let (calm_ms, bound_ms) = (self.plan.calm_at_ms, self.plan.bound_ms);
        self.around.agenda.push(calm_ms, Happening::Calm);
        for later_ms in [1_000, 6_000, 12_000] {
            self.around.agenda.push(calm_ms + later_ms, Happening::Return);
        }
        self.around.agenda.push(calm_ms + bound_ms, Happening::End);
        let mut at_once = 0;
        while !self.is_over && self.around.record.violation.is_none() {
            let Some((at_ms, happening)) = self.around.agenda.pop() else { return };
            at_once = if at_ms == self.around.now_ms { at_once + 1 } else { 0 };
            if at_once > EVENTS_AT_ONCE || self.around.inputs > INPUTS {
                let what = format!("things go on without end at {at_ms} ms");
                self.around.record.fail(Violation { guarantee: "LV", what, events: Vec::new() });
                return;
            }
            self.around.now_ms = at_ms;
            self.happen(happening);
        }
    }

    /// What came of it.
    pub(super) fn outcome(self) -> Outcome {
        let record = self.around.record;
        Outcome {
            hits: record.hits(),
            history: record.history,
            trace_hash: record.trace.hash(),
            lines: record.trace.into_lines(),
            inputs: self.around.inputs,
            packets: self.around.packets,
            simulated_ms: self.around.now_ms,
            violation: record.violation,
            verdicts: self.verdicts,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Step { place } => self.act(place),
            Happening::Arrives { connection, at, signal } => {
                if let Some(signal) = self.around.network.pass(connection, at, signal) {
                    self.arrives(connection, at, signal);
                }
            }
            Happening::Round { incarnation } => self.round(incarnation),
            Happening::Timer { incarnation, at_ms } => {
                if incarnation == self.around.incarnation
                    && let Some(process) = &mut self.process
                {
                    process.timer(at_ms, &mut self.around);
                }
            }
            Happening::Synced { ticket } => {
                let through = self.around.journal.synced(ticket);
                if let Some(what) = self.around.journal.take_refused() {
                    let (guarantee, events) = ("RC", Vec::new());
                    self.around.record.fail(Violation { guarantee, what, events });
                }
                if let Some(through) = through
                    && let Some(process) = &mut self.process
                {
                    process.durable(through, &mut self.around);
                }
            }
            Happening::Client { at_ms } => {
                if self.wake_at_ms == at_ms {
                    self.wake_at_ms = u64::MAX;
                    self.wake_clients();
                }
            }
            Happening::Calm => self.calm(),
            Happening::Return => self.bring_back(),
            Happening::End => {
                self.tell_absent();
                self.count_kept();
                self.around.event(What::End);
                self.verdicts = self.around.record.finish();
                self.is_over = true;
            }
        }
    }

    fn act(&mut self, place: usize) {
        let plan = self.plan;
        self.around.note(format_args!("step {place}"));
        self.step(&plan.steps[place].what);
    }

    fn set_wake(&mut self) {
        if let Some((at_ms, _)) = self.clients.next_deadline_ms()
            && at_ms < self.wake_at_ms
        {
            self.wake_at_ms = at_ms.max(self.around.now_ms);
            self.around.agenda.push(self.wake_at_ms, Happening::Client { at_ms: self.wake_at_ms });
        }
    }

    fn wake_clients(&mut self) {
        while let Some((at_ms, client)) = self.clients.next_deadline_ms()
            && at_ms <= self.around.now_ms
        {
            self.tell(client, ClientInput::Time);
        }
        self.set_wake();
    }

    fn output(&mut self, client: ClientIndex, output: ClientOutput) {
        match output {
            ClientOutput::Open { attempt } => {
                let connection = self.around.network.open(client);
                let state = SocketState::Opening { attempt };
                self.sockets.push(Socket { client, state, unread: VecDeque::new() });
                // The dead stay away: nobody hears them.
                let is_dead = self.is_calm && self.plan.dead.contains(&client);
                if !is_dead && self.around.network.is_reachable(client) {
                    self.around.send(connection, End::Broker, Signal::Open);
                }
            }
            ClientOutput::Send { connection, bytes } => {
                self.around.send_bytes(connection, End::Broker, Bytes::from(bytes));
            }
            ClientOutput::Close { connection, reset } => {
                let socket = self.socket(connection);
                socket.state = SocketState::Over;
                socket.unread.clear();
                let signal = if reset { Signal::Reset } else { Signal::Fin };
                self.around.send(connection, End::Broker, signal);
            }
            ClientOutput::Event(what) => self.around.event(what),
        }
    }

    fn socket(&mut self, connection: ConnectionNumber) -> &mut Socket {
        let place = usize::try_from(connection).unwrap_or(usize::MAX);
        &mut self.sockets[place]
    }

    fn arrives(&mut self, connection: ConnectionNumber, at: End, signal: Signal) {
        match at {
            End::Broker => self.arrives_at_broker(connection, &signal),
            End::Client => self.arrives_at_client(connection, signal),
        }
    }

    fn arrives_at_broker(&mut self, connection: ConnectionNumber, signal: &Signal) {
        let around = &mut self.around;
        let Some(process) = &mut self.process else {
            return self.arrives_at_nobody(connection, signal);
        };
        match signal {
            Signal::Open => {
                let answer =
                    if process.open(connection, around) { Signal::Open } else { Signal::Reset };
                around.send(connection, End::Client, answer);
            }
            Signal::Data(bytes) => {
                if !process.receive(connection, bytes, around) {
                    around.send(connection, End::Client, Signal::Reset);
                }
            }
            Signal::Fin => process.closed(connection, Gone::PeerClosed, around),
            Signal::Reset => process.closed(connection, Gone::Failed, around),
        }
    }

    fn arrives_at_nobody(&mut self, connection: ConnectionNumber, signal: &Signal) {
        match (self.down, signal) {
            (Down::Process, Signal::Open | Signal::Data(_)) => {
                self.around.send(connection, End::Client, Signal::Reset);
            }
            (Down::Process, Signal::Fin | Signal::Reset) | (Down::Power, _) => {}
        }
    }

    fn arrives_at_client(&mut self, connection: ConnectionNumber, signal: Signal) {
        let socket = self.socket(connection);
        let client = socket.client;
        match (socket.state, signal) {
            (SocketState::Over, Signal::Data(bytes)) => {
                self.around.network.took(connection, End::Client, bytes.len());
                self.room_at_broker(connection);
            }
            (SocketState::Over, Signal::Open | Signal::Fin | Signal::Reset) => {}
            (SocketState::Opening { attempt }, Signal::Open) => {
                socket.state = SocketState::Open;
                self.tell(client, ClientInput::Opened { attempt, connection });
            }
            (SocketState::Opening { attempt }, Signal::Data(_) | Signal::Fin | Signal::Reset) => {
                socket.state = SocketState::Over;
                self.tell(client, ClientInput::Failed { attempt });
            }
            (SocketState::Open, Signal::Open) => {}
            (SocketState::Open, Signal::Reset) => {
                socket.state = SocketState::Over;
                socket.unread.clear();
                self.tell(client, ClientInput::Ended { connection });
            }
            (SocketState::Open, signal @ (Signal::Data(_) | Signal::Fin)) => {
                socket.unread.push_back(signal);
                if self.clients.client(client).is_reading() {
                    self.read(connection);
                }
            }
        }
    }

    /// A client reads what waits for it on a connection.
    fn read(&mut self, connection: ConnectionNumber) {
        while let Some(signal) = self.socket(connection).unread.pop_front() {
            let client = self.socket(connection).client;
            match signal {
                Signal::Data(bytes) => {
                    self.around.network.took(connection, End::Client, bytes.len());
                    self.tell(client, ClientInput::Bytes { connection, bytes: &bytes });
                    self.room_at_broker(connection);
                }
                Signal::Open | Signal::Fin | Signal::Reset => {
                    self.socket(connection).state = SocketState::Over;
                    self.tell(client, ClientInput::Ended { connection });
                }
            }
        }
    }

    fn room_at_broker(&mut self, connection: ConnectionNumber) {
        if let Some(process) = &mut self.process {
            process.has_room(connection, &mut self.around);
        }
    }

    fn round(&mut self, incarnation: u32) {
        if incarnation != self.around.incarnation {
            return;
        }
        let Some(process) = self.process.as_mut().filter(|_| !self.is_frozen) else { return };
        process.round(&mut self.around);
        if process.has_stopped(&self.around) {
            self.around.note(format_args!("broker stopped"));
            self.end_process();
        }
    }

    /// What a fault does to one connection.
    fn fault_on(&mut self, connection: ConnectionNumber, fault: NetworkFault) {
        if fault == NetworkFault::HalfClose {
            // Behind all that was sent.
            self.around.send(connection, End::Broker, Signal::Fin);
        }
        for (at, signal) in self.around.network.fault(connection, fault) {
            self.arrives(connection, at, signal);
        }
        if fault == NetworkFault::Reset {
            self.around.network.end(connection);
        }
    }

    /// Puts the rules in force, now and after every start.
    fn replace_access(&mut self) {
        let permissions = access::permissions(&self.denials, self.config.ask_credentials);
        self.config.permissions = Arc::new(permissions);
        self.around.event(What::Denied(self.denials.clone()));
        if let Some(process) = &mut self.process {
            let command = Command::SetPermissions(Arc::clone(&self.config.permissions));
            process.order(command, &mut self.around);
        }
    }
}

impl Stage for World<'_> {
    fn plan(&self) -> &Plan {
        self.plan
    }

    fn event(&mut self, what: What) {
        if what == What::Calm {
            self.count_kept();
        }
        self.around.event(what);
    }

    fn tell(&mut self, client: ClientIndex, input: ClientInput<'_>) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.clients.handle(self.around.now_ms, client, input, &mut outputs);
        for output in outputs.drain(..) {
            self.output(client, output);
        }
        self.outputs = outputs;
        self.set_wake();
    }

    fn read_on(&mut self, client: ClientIndex) {
        if !self.clients.client(client).is_reading() {
            return;
        }
        for connection in 0..self.around.network.len() {
            if self.socket(connection).client == client {
                self.read(connection);
            }
        }
    }

    fn network_fault(&mut self, client: ClientIndex, fault: NetworkFault) {
        self.around.event(What::Network { client, fault });
        let connections: Vec<ConnectionNumber> = match fault {
            // Whatever connection of the client was held.
            NetworkFault::Release => {
                self.around.network.set_reachable(client, true);
                (0..self.around.network.len())
                    .filter(|connection| self.around.network.client(*connection) == client)
                    .collect()
            }
            NetworkFault::Unreachable => {
                self.around.network.set_reachable(client, false);
                Vec::new()
            }
            NetworkFault::Hold
            | NetworkFault::BlackHoleToBroker
            | NetworkFault::BlackHoleToClient
            | NetworkFault::Reset
            | NetworkFault::HalfClose
            | NetworkFault::Drip => self.clients.client(client).connection().into_iter().collect(),
        };
        for connection in connections {
            self.fault_on(connection, fault);
        }
    }

    fn hold_all(&mut self) {
        for connection in 0..self.around.network.len() {
            self.fault_on(connection, NetworkFault::Hold);
        }
    }

    fn set_frozen(&mut self, on: bool) {
        self.is_frozen = on;
        let incarnation = self.around.incarnation;
        self.around.agenda.push(self.around.now_ms, Happening::Round { incarnation });
    }

    fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    fn broker_fault(&mut self, fault: BrokerFault) {
        self.count_kept();
        match fault {
            BrokerFault::Kill if self.process.is_some() => {
                self.around.event(What::Broker(fault));
                self.end_process();
            }
            BrokerFault::PowerCut if self.process.is_some() => {
                self.around.event(What::Broker(fault));
                self.process = None;
                let lost = self.around.journal.power_cut();
                self.around.note(format_args!("{lost} records lost"));
                if lost > 0 {
                    self.around.record.hit(Point::RecordsLost);
                }
                self.down = Down::Power;
            }
            BrokerFault::Stop => {
                if let Some(process) =
                    self.process.as_mut().filter(|process| !process.is_stopping())
                {
                    self.around.event(What::Broker(fault));
                    process.stop(&mut self.around);
                }
            }
            BrokerFault::Start => self.bring_up(),
            BrokerFault::Kill | BrokerFault::PowerCut => {}
        }
    }

    fn deny(&mut self, denial: Option<&Denial>) {
        match denial {
            Some(denial) => self.denials.push(denial.clone()),
            None => self.denials.clear(),
        }
        self.replace_access();
    }

    fn order(&mut self, order: &Order) {
        if let Some(process) = self.process.as_mut().filter(|process| !process.is_stopping())
            && let Some((command, beside)) = access::command(order)
        {
            self.around.event(What::Beside(beside));
            process.order(command, &mut self.around);
        }
    }

    fn set_wall_clock(&mut self, by_ms: i64) {
        self.around.wall_ahead_ms = self.around.wall_ahead_ms.saturating_add(by_ms);
    }

    fn set_syncs(&mut self, on: bool) {
        if let Some(through) = self.around.journal.set_syncs(on)
            && let Some(process) = &mut self.process
        {
            process.durable(through, &mut self.around);
        }
    }

    /// The journal there has no disk.
    fn disk_fault(&mut self, _fault: DiskFault) {}

    fn mend_disk(&mut self) {
        self.set_syncs(true);
    }

    fn set_calm(&mut self) {
        self.is_calm = true;
        self.options.token_lifetime_ms = None;
        if let Some(process) = &mut self.process {
            process.give_lasting_tokens();
        }
    }

    fn is_let_in(&self, client: ClientIndex) -> bool {
        self.clients.client(client).is_connected()
    }

    fn is_well(&mut self, client: ClientIndex) -> bool {
        let Some(connection) = self.clients.client(client).connection() else { return false };
        let is_known = self.process.as_ref().is_some_and(|process| process.knows(connection));
        is_known
            && self.around.network.is_healthy(connection)
            && !self.around.record.has_misbehaved(connection)
    }
}

/// The broker's process comes and goes.
impl World<'_> {
    fn start(&mut self) {
        self.around.incarnation += 1;
        match Process::start(self.config.clone(), &self.options, &mut self.around) {
            Ok(process) => self.process = Some(process),
            Err(violation) => self.around.record.fail(violation),
        }
    }

    /// Tells the oracle what the broker keeps.
    fn count_kept(&mut self) {
        if let Some(process) = &self.process
            && let Some(kept) = process.kept(self.around.now_ms)
        {
            self.around.event(What::Kept(kept));
        }
    }

    /// Starts the broker unless it runs; one that has not finished stopping is ended first.
    fn bring_up(&mut self) {
        if self.process.as_ref().is_some_and(Process::is_stopping) {
            self.broker_fault(BrokerFault::Kill);
        }
        if self.process.is_none() {
            self.around.event(What::Broker(BrokerFault::Start));
            self.start();
            self.count_kept();
        }
    }

    /// The process is gone; the kernel closes its sockets.
    fn end_process(&mut self) {
        let Some(process) = self.process.take() else { return };
        for connection in process.open_connections() {
            let signal = if self.around.rounds.one_in(2) { Signal::Fin } else { Signal::Reset };
            self.around.send(connection, End::Client, signal);
        }
        self.around.journal.process_ended();
        self.down = Down::Process;
    }
}
