//! The shipped broker on a disk whose `sync` does nothing: what the test must find.

use std::future::Future;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use signalhouse::journal::{self, Level, OpenOptions};
use signalhouse::seams::{
    Anonymous, Clock, Disk, DiskFile, FolderDisk, Listed, LocalSpawn, TcpNet, TokioClock,
};
use signalhouse::settings::{self, Overrides, Sources};
use signalhouse::shard::{Shard, Surroundings};
use signalhouse_core::Seed;

/// A folder that calls nothing to be synced.
#[derive(Clone, Debug)]
struct NeverSynced(FolderDisk);

#[derive(Clone, Debug)]
struct NeverSyncedFile(<FolderDisk as Disk>::File);

impl Disk for NeverSynced {
    type File = NeverSyncedFile;

    fn list(&self) -> impl Future<Output = io::Result<Vec<Listed>>> + 'static {
        self.0.list()
    }

    fn open(&self, name: &str) -> impl Future<Output = io::Result<NeverSyncedFile>> + 'static {
        let opened = self.0.open(name);
        async { Ok(NeverSyncedFile(opened.await?)) }
    }

    fn create(&self, name: &str) -> impl Future<Output = io::Result<NeverSyncedFile>> + 'static {
        let created = self.0.create(name);
        async { Ok(NeverSyncedFile(created.await?)) }
    }

    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + 'static {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> impl Future<Output = io::Result<()>> + 'static {
        self.0.remove(name)
    }

    fn sync_folder(&self) -> impl Future<Output = io::Result<()>> + 'static {
        self.0.sync_folder()
    }

    fn free_bytes(&self) -> impl Future<Output = io::Result<u64>> + 'static {
        self.0.free_bytes()
    }
}

impl DiskFile for NeverSyncedFile {
    fn read_at(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static {
        self.0.read_at(offset, length)
    }

    fn write_at(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        // What came before still comes first, but nothing of it is made durable.
        let read = self.0.read_at(0, 0);
        async { read.await.map(drop) }
    }
}

/// Serves from `data` until it is killed.
pub(crate) fn serve(data: PathBuf) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async {
        let sources = Sources::of_process(None);
        let settings = settings::load(&sources, &Overrides::default()).expect("settings");
        let options = settings.options(Seed(u64::from(std::process::id())));
        let disk = NeverSynced(FolderDisk::create(&data).expect("the folder"));
        let open = OpenOptions {
            config: options.config_for(&Anonymous),
            seed: options.seed,
            level: Level::Strict,
            segment_bytes: settings.store.segment_bytes,
        };
        let opened = match journal::open(disk, open).await {
            Ok(opened) => opened,
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(65);
            }
        };
        let wall = TokioClock::from_wall_clock().now();
        let clock = TokioClock::starting_at(opened.beginning(wall));
        let through = opened.found().through;
        let (broker, journal) = opened.start(clock, LocalSpawn).await.expect("the journal");
        let surroundings = Surroundings {
            net: TcpNet,
            clock,
            journal,
            spawn: LocalSpawn,
            authenticate: Anonymous,
        };
        let shard = Shard::recovered(surroundings, &options, broker, through);
        let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let at = shard.listen(any_port, 16).expect("a port");
        eprintln!("signalhouse serves {at}");
        shard.run().await.expect("it serves");
    });
}
