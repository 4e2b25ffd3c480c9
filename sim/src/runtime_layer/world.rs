//! The loop: lets the plan happen, and time pass on both hosts.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use turmoil::Sim;

use super::rc::{Ending, ending};
use super::shared::{Broker, Shared};
use super::{BROKER, CLIENTS, broker, socket};
use crate::client::ClientInput;
use crate::core_layer::{Outcome, Verdicts, setting};
use crate::coverage::Point;
use crate::disk::Cut;
use crate::history::{ConnectionNumber, Violation, What};
use crate::plan::{BrokerFault, ClientIndex, Denial, DiskFault, NetworkFault, Order, Plan};
use crate::stage::Stage;

/// What the network and its hosts count as one step.
const TICK_MS: u64 = 1;
/// When nothing moved for so many ticks, nothing is on its way.
const QUIET_TICKS: u32 = 3;
/// Pending connections and segments beyond which `turmoil` gives up.
const CAPACITY: usize = 4096;
/// How long a process that was cut off at a disk operation is away.
const RESTART_MS: u64 = 20;
/// How long a process may go on after an operation on its disk failed.
const FAILING_MS: u64 = 1_000;
/// A plan has a few thousand inputs; more than this is a quarrel without end.
const INPUTS: u64 = 150_000;

/// A run.
pub(crate) struct World<'a> {
    shared: Rc<Shared>,
    sim: Sim<'a>,
    verdicts: Verdicts,
    next_step: usize,
    /// When those that should be back by now and are not, come back.
    returns_ms: Vec<u64>,
    quiet_ticks: u32,
    /// Idle time is left out.
    hurries: bool,
    /// The disk operation at which the process is cut off next, and how.
    next_cut: Option<(u64, BrokerFault)>,
    /// Those after it.
    cuts: VecDeque<(u64, BrokerFault)>,
    /// When a process that was cut off at a disk operation is started again.
    restart_ms: Option<u64>,
    /// Since when the process goes on though its disk failed.
    failing_since_ms: Option<u64>,
    /// Since when nobody can be let in.
    closed_since_ms: Option<u64>,
    /// Rules that the broker is told once it is up.
    rules: Vec<Option<Denial>>,
}

impl World<'_> {
    pub(crate) fn new(plan: &Plan, keeps_lines: bool) -> Result<Self, String> {
        let shared = Rc::new(Shared::new(plan, keeps_lines)?);
        shared.watch_disk();
        let calm_ms = plan.calm_at_ms;
        let mut cuts = planned_cuts(plan);
        let next_cut = cuts.pop_front();
        shared.disk.stop_at(next_cut.map(|(at, _)| at));
        shared.disk.fail_at(setting(plan, "disk.fail_at"));
        Ok(World {
            sim: simulation(plan, &shared),
            shared,
            verdicts: Verdicts::default(),
            next_step: 0,
            returns_ms: [12_000, 6_000, 1_000].map(|ms| calm_ms.saturating_add(ms)).to_vec(),
            quiet_ticks: 0,
            hurries: true,
            next_cut,
            cuts,
            restart_ms: None,
            failing_since_ms: None,
            closed_since_ms: None,
            rules: Vec::new(),
        })
    }

    /// Leaves no time out, for programs that have timers of their own.
    pub(crate) fn takes_every_tick(&mut self) {
        self.hurries = false;
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Adds a host with a program that talks to the broker.
    pub(crate) fn add_client(
        &mut self,
        name: &str,
        program: impl Future<Output = turmoil::Result> + 'static,
    ) {
        self.sim.client(name, program);
    }

    /// Lets everything happen, until the end or the first violation.
    pub(super) fn run(&mut self) {
        let calm_ms = self.shared.plan.calm_at_ms;
        let end_ms = calm_ms.saturating_add(bound_ms(&self.shared.plan));
        loop {
            let now_ms = self.shared.clock.now_ms();
            if now_ms >= calm_ms && !self.shared.is_calm.get() {
                self.calm();
            }
            while self.returns_ms.last().is_some_and(|at_ms| *at_ms <= now_ms) {
                self.returns_ms.pop();
                self.bring_back();
            }
            if now_ms >= end_ms {
                if self.closed_since_ms.is_some_and(|since| since <= calm_ms.midpoint(end_ms)) {
                    return self.fail("RC", "the broker lets nobody in at the end".to_owned());
                }
                self.tell_absent();
                let is_up = self.shared.broker.get() == Broker::Up && !self.is_recovering();
                if let Some(kept) = is_up.then(|| broker::kept_now(&self.shared)).flatten() {
                    self.shared.event(What::Kept(kept));
                }
                self.shared.event(What::End);
                self.verdicts = self.shared.record.borrow_mut().finish();
                return;
            }
            if let Err(error) = self.tick(end_ms) {
                return self.fail("PR", format!("the simulation failed: {error}"));
            }
            if self.shared.inputs.get() > INPUTS {
                return self.fail("LV", format!("things go on without end at {now_ms} ms"));
            }
            if self.shared.record.borrow().violation.is_some() {
                return;
            }
        }
    }

    /// Lets everything happen that is due, and moves the clock.
    pub(crate) fn tick(&mut self, end_ms: u64) -> Result<(), String> {
        self.steps();
        let now_ms = self.shared.clock.now_ms();
        if self.restart_ms.take_if(|at_ms| *at_ms <= now_ms).is_some() {
            self.bring_up();
        }
        self.shared.wake_clients();
        self.sim.step().map_err(|error| error.to_string())?;
        self.watch_disk();
        self.watch_process();
        self.watch_failure();
        let is_open = self.shared.broker.get() == Broker::Up && !self.is_recovering();
        let since_ms = self.closed_since_ms.unwrap_or(self.shared.clock.now_ms());
        self.closed_since_ms = (!is_open).then_some(since_ms);
        self.pass_time(end_ms);
        Ok(())
    }

    /// What came of it.
    pub(super) fn outcome(self) -> Outcome {
        self.see_disk();
        let World { shared, sim, verdicts, .. } = self;
        drop(sim);
        // The tasks are gone with their hosts, and what they had of this with them.
        let record = shared.record.replace(crate::core_layer::record::Recorder::new(
            &shared.plan,
            None,
            false,
        ));
        Outcome {
            hits: record.hits(),
            history: record.history,
            trace_hash: record.trace.hash(),
            lines: record.trace.into_lines(),
            inputs: shared.inputs.get(),
            packets: shared.packets.get(),
            simulated_ms: shared.clock.now_ms(),
            violation: record.violation,
            verdicts,
        }
    }

    /// What the disk went through, for the coverage.
    fn see_disk(&self) {
        let seen = self.shared.disk.seen();
        let mut record = self.shared.record.borrow_mut();
        let failed = seen.failed.iter().filter_map(|operation| Point::of_failed(*operation));
        let cut_at = seen.cut_at.iter().filter_map(|operation| Point::of_cut_at(*operation));
        let full = seen.was_full.then_some(Point::DiskFull);
        failed.chain(cut_at).chain(full).for_each(|point| record.hit(point));
    }

    fn fail(&self, guarantee: &'static str, what: String) {
        let violation = Violation { guarantee, what, events: Vec::new() };
        self.shared.record.borrow_mut().fail(violation);
    }

    /// Moves the clock by a tick, or, if nothing moves, to where something will.
    fn pass_time(&mut self, end_ms: u64) {
        let Shared { clock, weather, plan, clients, is_calm, .. } = &*self.shared;
        let now_ms = clock.now_ms();
        let mut is_quiet = !weather.was_lively();
        if is_quiet {
            self.sim.links(|links| is_quiet = links.flatten().next().is_none());
        }
        self.quiet_ticks = if is_quiet { self.quiet_ticks + 1 } else { 0 };
        let mut next_ms = now_ms + TICK_MS;
        if self.hurries && self.quiet_ticks >= QUIET_TICKS {
            let step_ms = plan.steps.get(self.next_step).map(|step| step.at_ms);
            let client_ms = clients.borrow().next_deadline_ms().map(|(at_ms, _)| at_ms);
            let calm_ms = (!is_calm.get()).then_some(plan.calm_at_ms);
            let return_ms = self.returns_ms.last().copied();
            let timer_ms = clock.next_ms().into_iter().chain(self.restart_ms).min();
            let soonest = [step_ms, client_ms, calm_ms, return_ms, timer_ms, Some(end_ms)];
            next_ms = next_ms.max(soonest.into_iter().flatten().min().unwrap_or(next_ms));
        }
        if clock.advance_to_ms(next_ms) {
            weather.stir();
        }
    }

    /// Does the steps whose time has come.
    fn steps(&mut self) {
        if !self.is_recovering() {
            for denial in std::mem::take(&mut self.rules) {
                self.deny(denial.as_ref());
            }
        }
        let shared = Rc::clone(&self.shared);
        while let Some(step) = shared.plan.steps.get(self.next_step)
            && step.at_ms <= shared.clock.now_ms()
        {
            shared.note(format_args!("step {}", self.next_step));
            self.next_step += 1;
            shared.weather.stir();
            self.step(&step.what);
        }
    }

    /// Starts the broker unless it runs; one that has not finished stopping is ended first.
    fn bring_up(&mut self) {
        if self.shared.is_stopping.get() {
            self.broker_fault(BrokerFault::Kill);
        }
        if self.shared.broker.get() != Broker::Up {
            self.shared.event(What::Broker(BrokerFault::Start));
            self.shared.is_stopping.set(false);
            self.shared.is_recovering.set(true);
            self.shared.broker.set(Broker::Up);
            self.sim.bounce(BROKER);
        }
    }

    fn is_recovering(&self) -> bool {
        self.shared.broker.get() == Broker::Up && self.shared.is_recovering.get()
    }

    /// Cuts the process off at the disk operations that the plan names.
    fn watch_disk(&mut self) {
        if !self.shared.disk.is_stopped() {
            return;
        }
        let fault = self.next_cut.map_or(BrokerFault::Kill, |(_, fault)| fault);
        self.broker_fault(fault);
        self.next_cut = self.cuts.pop_front();
        self.shared.disk.stop_at(self.next_cut.map(|(at, _)| at));
        self.restart_ms = Some(self.shared.clock.now_ms() + RESTART_MS);
    }

    /// Notices that the broker's process ended by itself.
    fn watch_process(&mut self) {
        if self.shared.broker.get() != Broker::Up || self.sim.is_host_running(BROKER) {
            return;
        }
        let failed = self.shared.broker_failed.borrow_mut().take();
        let is_told = self.shared.is_stopping.get();
        let is_excused = |error: &str| self.shared.disk.has_failed() || self.mends_rot(error);
        match ending(failed, is_told, is_excused) {
            Ending::Told => self.shared.note(format_args!("broker stopped")),
            Ending::Excused(error) => {
                self.shared.note(format_args!("broker ended: {error}"));
                self.shared.event(What::Broker(BrokerFault::Kill));
                self.restart_ms = Some(self.shared.clock.now_ms() + RESTART_MS);
            }
            Ending::Wrong(guarantee, what) => self.fail(guarantee, what),
        }
        self.end_process();
    }

    /// Whether the broker refused to go on with what rotted. Then its operator puts it right.
    fn mends_rot(&self, error: &str) -> bool {
        let names_it = self.shared.disk.rotten().any(|(name, _)| error.contains(&name));
        if names_it {
            self.shared.disk.mend_rot();
        }
        names_it
    }

    /// A process whose disk failed does not know what is there, and must not go on.
    fn watch_failure(&mut self) {
        let disk = &self.shared.disk;
        if self.shared.broker.get() != Broker::Up || !disk.has_failed() || disk.hangs() {
            self.failing_since_ms = None;
            return;
        }
        let now_ms = self.shared.clock.now_ms();
        let since_ms = *self.failing_since_ms.get_or_insert(now_ms);
        if now_ms > since_ms + FAILING_MS {
            self.fail("DU", format!("the broker goes on after its disk failed at {since_ms} ms"));
        }
    }

    /// The process is gone; the kernel closes its sockets and keeps what it wrote.
    fn end_process(&mut self) {
        self.shared.process_ends();
        self.sim.crash(BROKER);
        self.shared.disk.cut(Cut::Kill);
        // After a failed sync, writes that look done may be in memory alone.
        if self.shared.disk.has_lost() {
            self.shared.memory_is_gone();
        }
        self.shared.broker.set(Broker::ProcessDown);
    }
}

impl Stage for World<'_> {
    fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    fn event(&mut self, what: What) {
        self.shared.event(what);
    }

    fn tell(&mut self, client: ClientIndex, input: ClientInput<'_>) {
        self.shared.tell(client, input);
    }

    fn read_on(&mut self, client: ClientIndex) {
        self.shared.wake_sockets(client);
    }

    fn network_fault(&mut self, client: ClientIndex, fault: NetworkFault) {
        self.shared.event(What::Network { client, fault });
        let current = self.shared.clients.borrow().client(client).connection();
        let mut unreachable = self.shared.unreachable.borrow_mut();
        for (number, socket) in self.shared.sockets.borrow_mut().iter_mut().enumerate() {
            let concerns = match fault {
                // Whatever connection of the client was held.
                NetworkFault::Release => socket.client == client,
                NetworkFault::Unreachable => false,
                NetworkFault::Hold
                | NetworkFault::BlackHoleToBroker
                | NetworkFault::BlackHoleToClient
                | NetworkFault::Reset
                | NetworkFault::HalfClose
                | NetworkFault::Drip => current == Some(number as ConnectionNumber),
            };
            if concerns {
                socket.fault(fault);
            }
        }
        if fault == NetworkFault::Unreachable {
            unreachable.insert(client);
        } else if fault == NetworkFault::Release {
            unreachable.remove(&client);
        }
    }

    fn hold_all(&mut self) {
        for socket in self.shared.sockets.borrow_mut().iter_mut() {
            socket.fault(NetworkFault::Hold);
        }
    }

    /// The host's timers go on there; what they lead to arrives nowhere before the release.
    fn set_frozen(&mut self, on: bool) {
        self.shared.is_frozen.set(on);
    }

    fn is_frozen(&self) -> bool {
        self.shared.is_frozen.get()
    }

    fn broker_fault(&mut self, fault: BrokerFault) {
        let is_up = self.shared.broker.get() == Broker::Up;
        let is_cut_off = matches!(fault, BrokerFault::Kill | BrokerFault::PowerCut);
        if is_cut_off && self.is_recovering() {
            self.shared.record.borrow_mut().hit(Point::CutInRecovery);
        }
        match fault {
            BrokerFault::Kill if is_up => {
                self.shared.event(What::Broker(fault));
                self.end_process();
            }
            BrokerFault::PowerCut if is_up => {
                self.shared.event(What::Broker(fault));
                self.shared.process_ends();
                // What dies with the power says nothing to anybody.
                self.sim.partition(BROKER, CLIENTS);
                self.sim.crash(BROKER);
                self.sim.repair(BROKER, CLIENTS);
                self.shared.broker.set(Broker::PowerDown);
                self.shared.disk.cut(Cut::Power);
                self.shared.memory_is_gone();
                if self.shared.disk.has_lost() {
                    self.shared.record.borrow_mut().hit(Point::RecordsLost);
                }
            }
            BrokerFault::Stop if is_up && !self.shared.is_stopping.get() => {
                self.shared.event(What::Broker(fault));
                self.shared.is_stopping.set(true);
                self.shared.stopper.notify_one();
            }
            BrokerFault::Start => self.bring_up(),
            BrokerFault::Kill | BrokerFault::PowerCut | BrokerFault::Stop => {}
        }
    }

    /// A process has read the rules when it starts, and hears of others once it is up.
    fn deny(&mut self, denial: Option<&Denial>) {
        if self.is_recovering() {
            self.rules.push(denial.cloned());
            return;
        }
        let mut denials = self.shared.denials.borrow_mut();
        match denial {
            Some(denial) => denials.push(denial.clone()),
            None => denials.clear(),
        }
        let all = denials.clone();
        drop(denials);
        self.shared.event(What::Denied(all));
        self.shared.permitted.notify_one();
    }

    fn order(&mut self, order: &Order) {
        if self.shared.broker.get() == Broker::Up && !self.is_recovering() {
            self.shared.orders.borrow_mut().push_back(order.clone());
            self.shared.ordered.notify_one();
        }
    }

    fn set_wall_clock(&mut self, by_ms: i64) {
        let ahead_ms = &self.shared.wall_ahead_ms;
        ahead_ms.set(ahead_ms.get().saturating_add(by_ms));
    }

    fn set_syncs(&mut self, on: bool) {
        self.shared.disk.set_syncs(on);
    }

    fn disk_fault(&mut self, fault: DiskFault) {
        let disk = &self.shared.disk;
        match fault {
            DiskFault::Fail { operation, count } => disk.fail_next(operation, count),
            DiskFault::Space { left_bytes } => disk.set_left_bytes(left_bytes),
            DiskFault::Rot { place } => {
                if let Some((name, offset)) = disk.rot_somewhere(place) {
                    self.shared.note(format_args!("  {name} rots at {offset}"));
                }
            }
        }
    }

    fn mend_disk(&mut self) {
        let disk = &self.shared.disk;
        disk.set_syncs(true);
        disk.mend();
    }

    fn set_calm(&mut self) {
        self.shared.is_calm.set(true);
    }

    fn is_let_in(&self, client: ClientIndex) -> bool {
        self.shared.clients.borrow().client(client).is_connected()
    }

    fn is_well(&mut self, client: ClientIndex) -> bool {
        let connection = self.shared.clients.borrow().client(client).connection();
        connection.is_some_and(|connection| {
            self.shared.with_socket(connection, |socket| socket.is_well())
                && !self.shared.record.borrow().has_misbehaved(connection)
        })
    }
}

/// The disk operations at which the broker is cut off, in order, and how.
fn planned_cuts(plan: &Plan) -> VecDeque<(u64, BrokerFault)> {
    let names = [("disk.cut_at", "disk.cut_power"), ("disk.cut_again_at", "disk.cut_again_power")];
    let planned = |(at, power)| {
        let has_power = setting(plan, power).unwrap_or(0) == 0;
        let fault = if has_power { BrokerFault::Kill } else { BrokerFault::PowerCut };
        setting(plan, at).filter(|at| *at > 0).map(|at| (at, fault))
    };
    names.into_iter().filter_map(planned).collect()
}

/// The plan's bound, and more time where bytes go one by one.
fn bound_ms(plan: &Plan) -> u64 {
    plan.bound_ms.saturating_mul(2)
}

fn simulation<'a>(plan: &Plan, shared: &Rc<Shared>) -> Sim<'a> {
    let latency_ms = setting(plan, "network.latency_ms").unwrap_or(0);
    let jitter_ms = setting(plan, "network.jitter_ms").unwrap_or(0);
    let mut sim = turmoil::Builder::new()
        .epoch(SystemTime::UNIX_EPOCH)
        .rng_seed(plan.seed)
        .tick_duration(Duration::from_millis(TICK_MS))
        .min_message_latency(Duration::from_millis(latency_ms))
        .max_message_latency(Duration::from_millis(latency_ms + jitter_ms))
        .simulation_duration(Duration::MAX)
        .tcp_capacity(CAPACITY)
        .build();
    let brokers = Rc::clone(shared);
    sim.host(BROKER, move || broker::run(Rc::clone(&brokers)));
    let clients = Rc::clone(shared);
    sim.client(CLIENTS, socket::serve_all(clients));
    sim
}
