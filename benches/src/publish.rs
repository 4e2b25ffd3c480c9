//! Publications at QoS 1 from end to end at `strict`: client, broker, journal, and a subscriber with a session that is
//! online, or away.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use signalhouse::journal::{self, Level, OpenOptions};
use signalhouse::seams::{Anonymous, FolderDisk, LocalSpawn, TcpNet, TokioClock};
use signalhouse::settings::{self, Overrides, Sources};
use signalhouse::shard::{Shard, Surroundings};
use signalhouse_core::Seed;

use crate::append::local;
use crate::disk::CountingDisk;
use crate::{TURNS, bare, clients, disk, median};

const PUBLISHERS: [u64; 3] = [1, 16, 256];
const TURN: Duration = Duration::from_millis(1_500);
/// By how much syncs are made slower, where that is the question.
const DELAYS_US: [u64; 5] = [0, 200, 500, 1_000, 2_000];

/// Messages acknowledged a second, against the bare disk with the batches that the run really had, in turns.
pub(crate) fn run(folder: &Path) {
    for publishers in PUBLISHERS {
        for is_online in [true, false] {
            turns(folder, publishers, is_online);
        }
    }
}

/// The same with 256 publishers and nobody online, on disks whose syncs take longer.
pub(crate) fn run_slower(folder: &Path) {
    for delay_us in DELAYS_US {
        println!("syncs take {delay_us} us longer:");
        disk::delay_syncs_us(delay_us);
        turns(folder, 256, false);
    }
    disk::delay_syncs_us(0);
}

fn turns(folder: &Path, publishers: u64, is_online: bool) {
    let folder = folder.join("publish");
    let _gone = fs::remove_dir_all(&folder);
    let (at, disk) = broker(folder.join("store"));
    local(async {
        let taken = Rc::new(Cell::new(0));
        let stream = clients::subscribe(at, "subscriber").await;
        if is_online {
            tokio::task::spawn_local(clients::take(stream, Rc::clone(&taken)));
        } else {
            drop(stream);
        }
        let acknowledged = Rc::new(Cell::new(0));
        for number in 0..publishers {
            let name = format!("publisher-{number}");
            tokio::task::spawn_local(clients::publish(at, name, Rc::clone(&acknowledged)));
        }
        // The first spares are filled meanwhile.
        tokio::time::sleep(Duration::from_secs(3)).await;
        measure(&folder, publishers, &disk, &acknowledged, &taken).await;
    });
    let _gone = fs::remove_dir_all(folder);
}

async fn measure(
    folder: &Path,
    publishers: u64,
    disk: &CountingDisk,
    acknowledged: &Cell<u64>,
    taken: &Cell<u64>,
) {
    let (mut rates, mut shares, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        disk.take();
        let (began, first) = (Instant::now(), acknowledged.get());
        tokio::time::sleep(TURN).await;
        let took = began.elapsed();
        let messages = (acknowledged.get() - first) as f64;
        let batches = disk.take().batches;
        sizes.push(messages / batches.len() as f64);
        rates.push(messages / took.as_secs_f64());
        // Publishers wait meanwhile: this blocks their thread, and the broker comes to rest.
        let bare = bare::append(folder, batches);
        shares.push(100.0 * bare.as_secs_f64() / took.as_secs_f64());
    }
    println!(
        "publish at QoS 1, strict, {publishers} publishers, {} messages delivered: {:.0} messages/s, {:.1} to a \
         sync, {:.0} % of the bare disk with the same batches",
        taken.get(),
        median(&mut rates),
        median(&mut sizes),
        median(&mut shares),
    );
}

/// The shipped broker on a thread of its own, until the process ends.
fn broker(data: PathBuf) -> (SocketAddr, CountingDisk) {
    let (told, tells) = mpsc::channel();
    thread::spawn(move || local(serve(data, told)));
    tells.recv().expect("the broker starts")
}

async fn serve(data: PathBuf, told: mpsc::Sender<(SocketAddr, CountingDisk)>) {
    let settings = settings::load(&Sources::of_process(None), &Overrides::default());
    let settings = settings.expect("settings without a file");
    let mut options = settings.options(Seed(u64::from(std::process::id())));
    // Nobody is refused, however long it takes.
    options.config.limits.queue_messages = u32::MAX;
    options.config.limits.queue_bytes = u64::MAX;
    let disk = CountingDisk::new(FolderDisk::create(&data).expect("a folder"));
    let open = OpenOptions {
        config: options.config_for(&Anonymous),
        seed: options.seed,
        level: Level::Strict,
        segment_bytes: settings.store.segment_bytes,
    };
    let opened = journal::open(disk.clone(), open).await.expect("a new store");
    let (clock, through) = (TokioClock::from_wall_clock(), opened.found().through);
    let (broker, journal) = opened.start(clock, LocalSpawn).await.expect("a journal");
    let surroundings =
        Surroundings { net: TcpNet, clock, journal, spawn: LocalSpawn, authenticate: Anonymous };
    let shard = Shard::recovered(surroundings, &options, broker, through);
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let at = shard.listen(any_port, 512).expect("a port");
    told.send((at, disk)).expect("somebody waits");
    // At the end its folder is removed under it.
    drop(shard.run().await);
}
