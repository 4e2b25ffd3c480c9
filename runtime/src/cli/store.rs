//! `signalhouse store`: what an operator does with the files of a store.

use std::fmt::Display;
use std::fs::File;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use signalhouse_core::{DoubtfulSession, Doubts};
use tokio::runtime;

use super::exit::{Exit, complain};
use crate::journal::tools::{self, ImportError, Repaired};
use crate::journal::{Found, StoreError};
use crate::seams::{FolderDisk, LocalSpawn, OpenFolderError};
use crate::settings::{self, Overrides, Sources, Store};

/// How often a store that a broker changes meanwhile is read from the beginning.
const ATTEMPTS: usize = 5;
/// Exported files are read in pieces of this length.
const PIECE_BYTES: usize = 1024 * 1024;

#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    action: Action,
    /// Settings, as TOML, which say where the store is.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The store's folder, instead of what the settings say.
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read everything, and say what is there or what is damaged. Changes nothing.
    Check,
    /// Print every record, one a line: file, offset, position, record. Changes nothing.
    Dump,
    /// Set aside what is damaged, say what is lost with it, and keep the rest.
    Repair,
    /// Copy the store into one file, for a backup. A broker may be using it meanwhile.
    Export {
        /// The file to write; must not be there.
        file: PathBuf,
    },
    /// Make a store of an exported file. The folder must not have one.
    Import {
        /// The file to read.
        file: PathBuf,
    },
}

/// Why it went wrong.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Folder(#[from] OpenFolderError),
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("there is a store in {} already ({file}); choose another folder with --data", .folder.display())]
    Occupied { folder: PathBuf, file: String },
    #[error("{}: {source}", .path.display())]
    NotAnExport { path: PathBuf, source: ImportError },
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

pub(super) fn run(args: StoreArgs) -> Exit {
    let sources = Sources::of_process(args.config);
    let overrides = Overrides { data: args.data, ..Overrides::default() };
    let store = match settings::load(&sources, &overrides) {
        Ok(settings) => settings.store,
        Err(problem) => return complain(Exit::Settings, &problem),
    };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(runtime::LocalOptions::default());
    let done = match runtime {
        Ok(runtime) => runtime.block_on(act(args.action, &store)),
        Err(error) => return complain(Exit::Failed, &error),
    };
    match done {
        Ok(exit) => exit,
        Err(Fault::Store(fault)) => complain(Exit::Store, &format!("{}: {fault}", store.path)),
        Err(fault @ (Fault::Folder(_) | Fault::Occupied { .. } | Fault::NotAnExport { .. })) => {
            complain(Exit::Store, &fault)
        }
        Err(fault @ (Fault::File { .. } | Fault::Print(_))) => complain(Exit::Failed, &fault),
    }
}

async fn act(action: Action, store: &Store) -> Result<Exit, Fault> {
    let folder = Path::new(&store.path);
    match action {
        Action::Check => {
            let found = read(folder, |disk| async move { Ok(tools::check(&disk).await?) }).await?;
            say!("{}: {}", folder.display(), Summary(&found));
            Ok(Exit::Orderly)
        }
        Action::Dump => dump(folder).await,
        Action::Repair => repair(folder, store).await,
        Action::Export { file } => {
            let found = export(folder, &file).await?;
            say!("{}: {}", file.display(), Summary(&found));
            Ok(Exit::Orderly)
        }
        Action::Import { file } => {
            let found = import(folder, store, file).await?;
            say!("{}: {}", folder.display(), Summary(&found));
            Ok(Exit::Orderly)
        }
    }
}

/// Reads a store that a broker may be changing: what looks like damage then may be a file that was
/// used again, so it is looked at once more.
async fn read<T, F: Future<Output = Result<T, Fault>>>(
    folder: &Path,
    read: impl Fn(FolderDisk) -> F,
) -> Result<T, Fault> {
    let disk = FolderDisk::look(folder)?;
    let mut outcome = read(disk.clone()).await;
    for _ in 1..ATTEMPTS {
        let may_change = matches!(outcome, Err(Fault::Store(_))) && disk.is_in_use();
        if !may_change {
            break;
        }
        outcome = read(disk.clone()).await;
    }
    outcome
}

/// Writes a copy of the store to `file`, which appears whole or not at all.
async fn export(folder: &Path, file: &Path) -> Result<Found, Fault> {
    let failed = |source| Fault::File { path: file.to_owned(), source };
    if file.exists() {
        return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "is there already")));
    }
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = Path::new(&unfinished);
    let written = read(folder, |disk| async move {
        let mut export = tools::export(&disk, salt()).await?;
        let mut copy = private(unfinished).map_err(failed)?;
        while let Some(piece) = export.next().await? {
            copy.write_all(&piece).map_err(failed)?;
        }
        copy.sync_all().map_err(failed)?;
        Ok(export.found)
    })
    .await;
    let named = written.and_then(|found| {
        std::fs::rename(unfinished, file).and_then(|()| sync_folder_of(file)).map_err(failed)?;
        Ok(found)
    });
    if named.is_err() {
        drop(std::fs::remove_file(unfinished));
    }
    named
}

async fn import(folder: &Path, store: &Store, path: PathBuf) -> Result<Found, Fault> {
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(source) => return Err(Fault::File { path, source }),
    };
    let pieces = std::iter::from_fn(|| read_piece(&mut file).transpose());
    let disk = FolderDisk::create(folder)?;
    if tools::is_importing(&disk).await? {
        say!("{}: an import was ended before it was done, and is begun again", folder.display());
    }
    let imported = tools::import(&disk, pieces, store.segment_bytes, salt()).await;
    imported.map_err(|error| match error {
        ImportError::Occupied { file } => Fault::Occupied { folder: folder.to_owned(), file },
        ImportError::Source(source) => Fault::File { path, source },
        ImportError::NotAnExport { .. }
        | ImportError::TooLong { .. }
        | ImportError::Newer { .. } => Fault::NotAnExport { path, source: error },
        ImportError::Store(error) => Fault::Store(error),
    })
}

/// A new file that only its owner can read: it has everybody's messages.
fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn sync_folder_of(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

async fn dump(folder: &Path) -> Result<Exit, Fault> {
    let disk = FolderDisk::look(folder)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut printed = Ok(());
    let losses = tools::dump(&disk, |file, offset, position, record| {
        if printed.is_ok() {
            printed = writeln!(out, "{file} {offset} {position} {record:?}");
        }
    })
    .await?;
    match printed.and_then(|()| out.flush()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    for loss in &losses {
        eprintln!("signalhouse: {loss}");
    }
    Ok(if losses.is_empty() { Exit::Orderly } else { Exit::Store })
}

async fn repair(folder: &Path, store: &Store) -> Result<Exit, Fault> {
    let disk = FolderDisk::open(folder)?;
    let repaired = tools::repair(&disk, &LocalSpawn, store.segment_bytes, salt()).await?;
    if repaired.losses.is_empty() {
        say!("{}: nothing to repair; {}", folder.display(), Summary(&repaired.found));
        return Ok(Exit::Orderly);
    }
    for loss in &repaired.losses {
        say!("damage: {}", loss.cause());
    }
    print_losses(&repaired);
    print_doubts(&repaired.doubts);
    for name in &repaired.set_aside {
        say!("set aside: {}", folder.join(name).display());
    }
    say!("{}: repaired; {}", folder.display(), Summary(&repaired.found));
    Ok(Exit::Orderly)
}

/// Says how much is lost, as far as that is known.
fn print_losses(repaired: &Repaired) {
    let Repaired { lost_records, lost_behind, pointless_records, .. } = repaired;
    if (*lost_records, *lost_behind, *pointless_records) == (0, None, 0) {
        say!("lost: nothing");
    }
    if (*lost_records, *pointless_records) != (0, 0) {
        say!(
            "lost: {lost_records} records, and {pointless_records} later ones that speak only of those"
        );
    }
    if let Some(position) = lost_behind {
        say!("lost: everything behind position {position}; how much that was is not known");
    }
}

/// Says what is there again, though the lost records may have ended it.
fn print_doubts(doubts: &Doubts) {
    for session in &doubts.sessions {
        let DoubtfulSession { client_id, at_least_once, exactly_once } = session;
        say!(
            "uncertain: the session of {:?} may have ended or changed its subscriptions; of what waits for it \
             {at_least_once} messages at QoS 1 and {exactly_once} at QoS 2 may have been delivered",
            client_id.as_str()
        );
    }
    if doubts.at_shares > 0 {
        say!("uncertain: {} messages at shares may have been delivered", doubts.at_shares);
    }
    if doubts.retained > 0 {
        say!("uncertain: {} retained messages may be older than the last", doubts.retained);
    }
}

fn read_piece(file: &mut File) -> io::Result<Option<Bytes>> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    file.take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
    Ok(if piece.is_empty() { None } else { Some(Bytes::from(piece)) })
}

fn salt() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// What is in a store, in a line.
struct Summary<'a>(&'a Found);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Found { records, through, totals, cut } = self.0;
        write!(
            f,
            "{records} records through {through}: {} sessions, {} messages queued, {} retained",
            totals.sessions, totals.queued, totals.retained
        )?;
        if let Some(cut) = cut {
            let (file, offset) = (&cut.file, cut.offset);
            write!(
                f,
                "; the end of {file} from offset {offset} on is not whole, and nothing says it was durable"
            )?;
        }
        Ok(())
    }
}
