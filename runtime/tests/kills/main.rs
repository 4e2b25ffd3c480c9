//! Kills the real broker with SIGKILL at random moments, many times over, and accounts for every message that was
//! acknowledged: none is lost, none at QoS 2 comes twice, and order is kept.
//!
//!     cargo test -p signalhouse --test kills -- [--kills N] [--seed S] [--durability LEVEL] [--shim LIBRARY]
//!     cargo test -p signalhouse --test kills -- [--kills N] [--seed S] --shim LIBRARY --without-sync
//!     cargo test -p signalhouse --test kills -- --full-disk
//!
//! Publishers with sessions publish at QoS 1 and 2 and repeat what was not acknowledged; subscribers with sessions are
//! there always, now and then, or share a subscription. With `--shim` (`.ci/kills/unsynced.c`) each kill is a power
//! cut: what was not synced is taken back, wholly or in part; and now and then the disk's syncs fail, upon which
//! the broker has to end by itself, and the power is cut then. `--without-sync` starts a broker that never syncs, and
//! the program then ends well if that is found out: by a promise that was broken, and by nothing else. The seed
//! decides when to kill and what to take back. LIBRARY is relative to the workspace. LEVEL is `strict` or, without
//! a library, `relaxed`, which promises as much for a kill.

#![allow(clippy::disallowed_methods)] // real processes, real time

mod account;
mod chance;
#[path = "../common/connect.rs"]
mod connect;
mod failure;
mod full_disk;
mod peer;
mod process;
mod publisher;
mod receiver;
mod stage;
mod undo;
mod used_up;
mod without_sync;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use signalhouse_core::wire::packet::ServerPacket;

use account::{Account, Wrong};
use chance::Chance;
use failure::Failure;
use peer::Peer;
use process::{Process, Setup};
use publisher::{Published, Publisher};
use receiver::{Habit, Receiver};
use stage::Stage;
use undo::Undone;

const PUBLISHERS: usize = 4;

/// How often it is not a kill, but a sync that fails.
const FAILED_SYNC_EVERY: u64 = 6;

/// How long the end may take without any progress.
const PATIENCE: Duration = Duration::from_secs(60);

struct Options {
    kills: u64,
    seed: u64,
    shim: Option<PathBuf>,
    durability: String,
    without_sync: bool,
    full_disk: bool,
}

impl Options {
    /// Takes what it knows and leaves the rest, which is for other tests.
    fn from_arguments() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let mut options = Options {
            kills: 3,
            seed: now.map_or(1, |since| u64::from(since.subsec_nanos())),
            shim: None,
            durability: "strict".to_owned(),
            without_sync: false,
            full_disk: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse().ok());
                value.unwrap_or_else(|| panic!("{argument} takes a number"))
            };
            match argument.as_str() {
                "--kills" => options.kills = number(),
                "--seed" => options.seed = number(),
                "--shim" => options.shim = arguments.next().map(PathBuf::from),
                "--durability" => options.durability = arguments.next().unwrap_or_default(),
                "--without-sync" => options.without_sync = true,
                "--full-disk" => options.full_disk = true,
                _ => {}
            }
        }
        options
    }

    /// What cannot be played as it is said.
    fn check(&mut self) -> Result<(), String> {
        if let Some(shim) = &mut self.shim {
            // Cargo runs this in the package's folder. A library that is not there would only be told of.
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&shim);
            *shim = path.canonicalize().map_err(|error| {
                format!("--shim {}: {error}; .ci/run kills makes it", path.display())
            })?;
        }
        match self.durability.as_str() {
            "strict" => Ok(()),
            "relaxed" if self.shim.is_none() => Ok(()),
            "relaxed" => {
                Err("--durability relaxed with --shim: a power cut may lose the last 100 ms"
                    .to_owned())
            }
            other => Err(format!("--durability {other}: strict or relaxed")),
        }
    }
}

fn main() -> ExitCode {
    if let Some(data) = std::env::var_os(process::WITHOUT_SYNC) {
        without_sync::serve(PathBuf::from(data));
        return ExitCode::SUCCESS;
    }
    let mut options = Options::from_arguments();
    if let Err(fault) = options.check() {
        println!("kills: {fault}");
        return ExitCode::FAILURE;
    }
    println!(
        "kills: seed {}, {} kills, {}, shim {:?}",
        options.seed, options.kills, options.durability, options.shim
    );
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "kills-{}-{}",
        std::process::id(),
        options.seed
    ));
    let setup = Setup {
        data: folder.join("data"),
        undo: folder.join("undo"),
        shim: options.shim.clone(),
        durability: options.durability.clone(),
        without_sync: options.without_sync,
        mount: None,
    };
    std::fs::create_dir_all(&setup.data).expect("a folder for the store");
    std::fs::create_dir_all(&setup.undo).expect("a folder for what is undone");
    let outcome = if options.full_disk {
        full_disk::play(&folder).map_err(Failure::from)
    } else {
        play(&setup, &options)
    };
    match (&outcome, options.without_sync) {
        (Ok(()), false) => {}
        (Err(Failure::Broken(wrong)), true) => println!("kills: found, as it must be: {wrong}"),
        (Ok(()), true) => {
            println!("kills: a broker that never syncs was not found out");
            return ExitCode::FAILURE;
        }
        (Err(failure @ Failure::Unplayed(_)), true) => {
            println!("kills: this proves nothing: {failure}");
            return ExitCode::FAILURE;
        }
        (Err(failure), false) => {
            println!("kills: {failure}\n  the store is left in {}", folder.display());
            println!("  again: -- --kills {} --seed {}", options.kills, options.seed);
            return ExitCode::FAILURE;
        }
    }
    std::fs::remove_dir_all(&folder).expect("our own folder");
    ExitCode::SUCCESS
}

fn play(setup: &Setup, options: &Options) -> Result<(), Failure> {
    let mut process = setup.start();
    let mut undone = Undone::default();
    let served = process.serves().map_err(|ended| Failure::to_start(&ended, undone))?;
    let stage = Stage::new(served);
    let accounts = [
        Account::new("the one online", true),
        Account::new("the one away", true),
        Account::new("the share", false),
    ];
    let [online, away, share] = &accounts;
    let receivers = [
        ("online", "kills/#", Habit::Online, online),
        ("away", "kills/#", Habit::Away, away),
        ("member-1", "$share/some/kills/#", Habit::Online, share),
        ("member-2", "$share/some/kills/#", Habit::Online, share),
    ];
    thread::scope(|scope| {
        for (place, (name, filter, habit, account)) in receivers.into_iter().enumerate() {
            let seed = options.seed.wrapping_add(place as u64);
            let receiver = Receiver::new(&stage, account, (name, filter, habit), seed);
            scope.spawn(move || receiver.run());
        }
        while stage.subscribed() < receivers.len() as u64 {
            stage.pause();
        }
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                let publisher = Publisher::new(&stage, number);
                scope.spawn(move || publisher.run())
            })
            .collect();
        let outcome = kill_often(&mut process, setup, options, &stage, &mut undone);
        stage.end();
        if outcome.is_err() {
            stage.close();
        }
        let published: Vec<Published> = publishers
            .into_iter()
            .map(|publisher| publisher.join().expect("publishers do not panic"))
            .collect();
        let outcome = outcome.and_then(|()| {
            settle(&mut process, &stage, &accounts, &published)?;
            check_retained(&stage, &published)?;
            tell(options, &accounts, &published, undone);
            Ok(())
        });
        stage.close();
        process.kill();
        outcome.map_err(|failure| match setup.without_sync {
            true => failure.into_proof(stage.acknowledged(), undone),
            false => failure,
        })
    })
}

/// Kills the broker and starts it again, so many times, and now and then while it starts.
fn kill_often(
    process: &mut Process,
    setup: &Setup,
    options: &Options,
    stage: &Stage,
    undone: &mut Undone,
) -> Result<(), Failure> {
    let mut chance = Chance::new(options.seed);
    let mut power_cut = |process: &mut Process, chance: &mut Chance| -> Result<Undone, Failure> {
        if let Some(ended) = process.ended() {
            return Err(format!("the broker by itself {ended}").into());
        }
        if setup.shim.is_some() && !setup.without_sync && chance.one_in(FAILED_SYNC_EVERY) {
            fail_syncs(process, setup)?;
        } else {
            process.kill();
        }
        if setup.shim.is_none() {
            return Ok(Undone::default());
        }
        let now = undo::power_cut(&setup.data, &setup.undo, chance);
        let now = now.map_err(|error| format!("cannot undo: {error}"))?;
        undone.add(now);
        Ok(now)
    };
    let mut kill = 0;
    while kill < options.kills {
        kill += 1;
        let acknowledged = stage.acknowledged();
        thread::sleep(Duration::from_millis(20 + chance.below(600)));
        let more = stage.acknowledged() - acknowledged;
        let mut now = power_cut(process, &mut chance)?;
        println!(
            "  kill {kill}: {more} acknowledged; not synced: {} writes, {} names; {} sectors taken back",
            now.writes, now.names, now.sectors
        );
        *process = setup.start();
        if kill < options.kills && chance.one_in(4) {
            kill += 1;
            thread::sleep(Duration::from_millis(chance.below(60)));
            // It may refuse what the first cut left before the second one comes.
            if let Some(ended) = process.ended() {
                return Err(Failure::to_start(&ended, now));
            }
            let again = power_cut(process, &mut chance)?;
            println!("  kill {kill}: while it starts; {} sectors taken back", again.sectors);
            now.add(again);
            *process = setup.start();
        }
        stage.moved(process.serves().map_err(|ended| Failure::to_start(&ended, now))?);
        if let Some(wrong) = stage.first_wrong() {
            return Err(Failure::Broken(wrong.to_string()));
        }
    }
    if setup.shim.is_some() && undone.writes == 0 {
        return Err("no kill came while anything was not synced".to_owned().into());
    }
    Ok(())
}

/// Has the disk's syncs fail, and sees the broker end as it has to.
fn fail_syncs(process: &mut Process, setup: &Setup) -> Result<(), String> {
    setup.fail_syncs(true);
    let ended = process.ends();
    setup.fail_syncs(false);
    println!("  syncs fail: {}", ended.said.lines().last().unwrap_or_default());
    // What it still acknowledged would now be lost, and that shows in the end.
    let says_why = ended.said.contains("os error 5");
    // While it starts, it is the store that cannot be used; from then on it says that it was a sync.
    let is_right = match ended.code {
        Some(1) => says_why && ended.said.contains("cannot sync"),
        Some(65) => says_why,
        Some(_) | None => false,
    };
    if is_right { Ok(()) } else { Err(format!("with a disk that does not sync it {ended}")) }
}

/// Waits until everybody has everything, and says what is missing if that does not come.
fn settle(
    process: &mut Process,
    stage: &Stage,
    accounts: &[Account],
    published: &[Published],
) -> Result<(), Failure> {
    let deliveries = || accounts.iter().map(|account| account.deliveries().0).sum::<u64>();
    let (mut last, mut since) = (deliveries(), Instant::now());
    loop {
        let missing: Vec<Wrong> =
            accounts.iter().flat_map(|account| account.missing(published)).collect();
        if let Some(ended) = process.ended() {
            return Err(format!("the broker by itself {ended}").into());
        }
        if let Some(wrong) = stage.first_wrong() {
            return Err(Failure::Broken(wrong.to_string()));
        }
        if missing.is_empty() {
            return Ok(());
        }
        if deliveries() != last {
            (last, since) = (deliveries(), Instant::now());
        }
        if since.elapsed() > PATIENCE {
            let lines: Vec<String> = missing.iter().map(ToString::to_string).collect();
            return Err(Failure::Broken(lines.join("\n  ")));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The retained message of each publisher is the last one.
fn check_retained(stage: &Stage, published: &[Published]) -> Result<(), Failure> {
    let gone = |_| "the broker closes the connection".to_owned();
    let (mut peer, _) = Peer::connect(stage.address(), "late").map_err(gone)?;
    peer.subscribe("kills/+/0").map_err(gone)?;
    let mut found = vec![0; published.len()];
    let since = Instant::now();
    while found.contains(&0) && since.elapsed() < PATIENCE {
        if let Some(ServerPacket::Publish(publish)) = peer.read().map_err(gone)?
            && let Some(((publisher, _), number)) = account::read(&publish.message.payload)
        {
            found[publisher] = number;
        }
    }
    for (publisher, (found, published)) in found.iter().zip(published).enumerate() {
        if *found != published.retained {
            return Err(Failure::Broken(format!(
                "lost: what publisher {publisher} retained is {found}, not {}",
                published.retained
            )));
        }
    }
    Ok(())
}

fn tell(options: &Options, accounts: &[Account], published: &[Published], undone: Undone) {
    let sum = |lane: usize| published.iter().map(|published| published.lanes[lane]).sum::<u64>();
    let repeated: u64 = published.iter().map(|published| published.repeated).sum();
    let (deliveries, repetitions) = accounts
        .iter()
        .map(Account::deliveries)
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!(
        "kills: {} kills; acknowledged {} at QoS 1 and {} at QoS 2, {repeated} sent again; {deliveries} deliveries, \
         {repetitions} repeated at QoS 1; lost 0, doubled at QoS 2 0, order kept; {} writes and {} names \
         were not synced",
        options.kills,
        sum(0),
        sum(1),
        undone.writes,
        undone.names
    );
}
