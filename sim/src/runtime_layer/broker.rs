//! The broker's host: the shipped shard and journal on simulated surroundings.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use signalhouse::journal::{self, Found, Level, LogJournal, OpenOptions, StoreError};
use signalhouse::seams::{Anonymous, Clock as _, Spawn};
use signalhouse::shard::{Options, Shard, Surroundings, Timeouts};
use signalhouse_core::input::Command;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::{Broker, Config, LogPosition, Recovery, Seed, Time};

use super::PORT;
use super::journal::Watched;
use super::names::{self, Names};
use super::net::SimNet;
use super::operator::Operator;
use super::rc::{Failed, Recovered, Recovery as Recovering};
use super::shared::{Shared, level};
use crate::clock::SimClock;
use crate::core_layer::kept::kept;
use crate::core_layer::{access, broker_time, setting};
use crate::coverage::Point;
use crate::disk::{Cut, SimDisk};
use crate::history::{Kept, What};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Segments so short that a plan fills several.
const SEGMENT_BYTES: [u64; 3] = [16 * 1024, 32 * 1024, 128 * 1024];

/// Starts tasks on the host, and does long work at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SimSpawn;

impl Spawn for SimSpawn {
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        drop(tokio::task::spawn_local(task));
    }
}

/// Runs the broker's process until it stops.
pub(super) async fn run(shared: Rc<Shared>) -> turmoil::Result {
    if let Err(failed) = serve(&shared).await {
        *shared.broker_failed.borrow_mut() = Some(failed);
    }
    Ok(())
}

async fn serve(shared: &Rc<Shared>) -> Result<(), Failed> {
    let options = options(shared);
    let (broker, journal, through, clock) = recover(shared, &options).await?;
    let surroundings = Surroundings {
        net: SimNet::new(Rc::clone(&shared.links), Rc::clone(&shared.weather)),
        clock: clock.clone(),
        journal,
        spawn: SimSpawn,
        authenticate: Names { shared: Rc::clone(shared), clock },
    };
    let mut shard = Shard::recovered(surroundings, &options, broker, through);
    let watcher = Rc::clone(shared);
    shard.watch(move |notice| watcher.notice(notice));
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    shard.listen(at, BACKLOG).map_err(|error| Failed::Itself("PR", error.to_string()))?;
    let handle = shard.handle();
    let operator = Operator { shared: Rc::clone(shared), gateway: shard.gateway() };
    // They were for the process before.
    shared.orders.borrow_mut().clear();
    if let Some(quotas) = access::quotas(&shared.plan, names::asks(&shared.plan)) {
        handle.command(Command::SetQuotas(quotas));
    }
    shared.is_recovering.set(false);
    let operations = shared.disk.operations();
    note_recovery(shared, |recovery| recovery.ends = Some(operations));
    let mut run = std::pin::pin!(shard.run());
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut run => break ended,
            () = shared.permitted.notified() => {
                handle.command(Command::SetPermissions(names::permissions(shared)));
            }
            () = shared.ordered.notified() => operator.give_orders(),
            () = shared.stopper.notified() => {
                // It may have been for the process before, which was ended before it heard of it.
                if shared.is_stopping.get() {
                    handle.stop(ReasonCode::ServerShuttingDown);
                }
            }
        }
    };
    ended.map_err(|error| Failed::Itself("PR", error.to_string()))
}

type SimJournal = LogJournal<SimDisk, SimClock, SimSpawn>;

/// Reads the store, and judges what is found.
async fn recover(
    shared: &Rc<Shared>,
    options: &Options,
) -> Result<(Broker, Watched<SimJournal>, LogPosition, SimClock), Failed> {
    shared.incarnation.set(shared.incarnation.get() + 1);
    let disk = &shared.disk;
    let begun = Recovering { begins: disk.operations(), ..Recovering::default() };
    shared.recoveries.borrow_mut().push(begun);
    if disk.rotten().next().is_some() {
        shared.record.borrow_mut().hit(Point::RotMet);
        judge_rot(shared, options).await?;
    }
    let opened =
        journal::open(disk.clone(), open_options(shared, options)).await.map_err(refused)?;
    let found = opened.found();
    note_recovery(shared, |recovery| recovery.through = Some(found.through));
    let again = disk.fork();
    again.cut(Cut::Power);
    if found.cut.is_some() {
        shared.record.borrow_mut().hit(Point::TailCut);
    }
    let cut = found.cut.as_ref().map(|cut| format!(", cut at {} of {}", cut.offset, cut.file));
    let cut = cut.unwrap_or_default();
    let (records, through) = (found.records, found.through);
    shared.note(format_args!("broker recovered {records} records through {through}{cut}"));
    // On a disk of its own, which takes no time: both brokers begin at the same moment.
    let twice = journal::open(again, open_options(shared, options)).await.map_err(refused)?;
    let found_again = twice.found();
    let wall = broker_time(shared.clock.now_ms(), shared.wall_ahead_ms.get());
    let clock = shared.clock.showing(opened.beginning(wall));
    shared.began.set((clock.now(), shared.clock.now_ms()));
    let (second, _) = twice.start(clock.clone(), SimSpawn).await.map_err(refused)?;
    let expected = appended(shared, options, through, clock.now())?;
    let (broker, inner) = opened.start(clock.clone(), SimSpawn).await.map_err(refused)?;
    let first = recovered(&found, &broker);
    let second = recovered(&found_again, &second);
    let is_behind = shared.appended.borrow().has_told_behind(through);
    let judged = shared.appended.borrow_mut().judge(&first, &second, &expected.snapshot());
    judged.map_err(Failed::Judged)?;
    if is_behind {
        shared.note(format_args!("what was acknowledged behind {through} is lost"));
        shared.record.borrow_mut().waive();
    }
    shared.event(What::Kept(kept(&first.state)));
    Ok((broker, Watched { inner, shared: Rc::clone(shared) }, through, clock))
}

/// Notes something of the recovery that goes on.
fn note_recovery(shared: &Shared, note: impl FnOnce(&mut Recovering)) {
    if let Some(recovery) = shared.recoveries.borrow_mut().last_mut() {
        note(recovery);
    }
}

/// What a recovery makes of a store with rot in it: it names a file that rotted, or has everything
/// that was durable, or cut off what nothing in the store says was durable, where it rotted. If
/// something is missing, the operator puts it right before the broker is started.
async fn judge_rot(shared: &Rc<Shared>, options: &Options) -> Result<(), Failed> {
    let disk = &shared.disk;
    let trial = disk.fork();
    trial.cut(Cut::Kill);
    let is_rotten = |file: &str| disk.rotten().any(|(name, _)| name == file);
    let named = match journal::open(trial, open_options(shared, options)).await {
        Ok(opened) => {
            let Found { through, cut, .. } = opened.found();
            if shared.appended.borrow().is_all_durable_in(through) {
                return Ok(());
            }
            // Where the head of the last frame rotted, nothing tells it from space that is free, and
            // as nothing else says that it was durable, nothing can be said of it.
            let Some(cut) = cut else {
                shared.note(format_args!("rot took the end behind {through}, and is put right"));
                disk.mend_rot();
                return Ok(());
            };
            // What nobody had synced yet may end before the file that rotted.
            let is_late = level(&shared.plan) != Level::Strict;
            if is_late && shared.appended.borrow().is_all_synced_in(through) {
                shared.note(format_args!("rot took what was not synced behind {through}"));
                disk.mend_rot();
                return Ok(());
            }
            cut.file
        }
        Err(
            StoreError::Damaged { file, .. }
            | StoreError::Missing { file }
            | StoreError::Newer { file, .. },
        ) => file,
        Err(error @ (StoreError::Disk { .. } | StoreError::Importing)) => {
            return Err(refused(error));
        }
    };
    if !is_rotten(&named) {
        let where_ = disk.rotten().map(|(name, at)| format!("{name} at {at}")).collect::<Vec<_>>();
        let where_ = where_.join(", ");
        return Err(Failed::Judged(format!("{named} is named, and what rotted is {where_}")));
    }
    shared.note(format_args!("{named} is refused or cut for its rot, and put right"));
    disk.mend_rot();
    Ok(())
}

fn refused(error: StoreError) -> Failed {
    Failed::Itself("RC", format!("the store is refused: {error}"))
}

fn recovered(found: &Found, broker: &Broker) -> Recovered {
    let stale_frames = found.cut.as_ref().map_or(0, |cut| cut.frames);
    Recovered { through: found.through, state: broker.snapshot(), stale_frames }
}

/// What a broker keeps that begins with all that was appended until now; `None` where it would have to see to something
/// first whose time has come.
pub(super) fn kept_now(shared: &Shared) -> Option<Kept> {
    let through = shared.appended.borrow().end();
    // As the broker counts it, whatever the wall clock was set to since it began.
    let (began, began_ms) = shared.began.get();
    let now = began.plus_ms(shared.clock.now_ms().saturating_sub(began_ms));
    let broker = appended(shared, &options(shared), through, now).ok()?;
    let is_behind = broker.next_deadline().is_some_and(|deadline| deadline.at <= now);
    (!is_behind).then(|| kept(&broker.snapshot()))
}

/// The broker that the records appended through there come to.
pub(super) fn appended(
    shared: &Shared,
    options: &Options,
    through: LogPosition,
    now: Time,
) -> Result<Broker, Failed> {
    let open = open_options(shared, options);
    let mut recovery = Recovery::new(open.config, open.seed);
    for record in shared.appended.borrow().through(through) {
        let applied = recovery.apply(record.clone());
        applied
            .map_err(|error| Failed::Judged(format!("what was appended is refused: {error}")))?;
    }
    Ok(recovery.finish(now, through))
}

pub(super) fn open_options(shared: &Shared, options: &Options) -> OpenOptions {
    let seed = shared.plan.seed;
    let place = usize::try_from(seed % SEGMENT_BYTES.len() as u64).unwrap_or(0);
    OpenOptions {
        config: options.config_for(&Anonymous),
        // Every process salts its files differently.
        seed: Seed(seed.rotate_left(32) ^ shared.incarnation.get()),
        level: level(&shared.plan),
        segment_bytes: setting(&shared.plan, "journal.segment_bytes")
            .unwrap_or(SEGMENT_BYTES[place]),
    }
}

pub(super) fn options(shared: &Shared) -> Options {
    let bytes = setting(&shared.plan, "connection.outgoing_buffer_bytes").unwrap_or(64 * 1024);
    Options {
        config: Config { permissions: names::permissions(shared), ..shared.config.clone() },
        seed: Seed(shared.plan.seed),
        outgoing_buffer_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        connect_maximum_bytes: 64 * 1024,
        timeouts: Timeouts { close_ms: 5_000, write_stall_ms: 0 },
    }
}
