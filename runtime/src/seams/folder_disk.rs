//! A folder of the operating system as a [`Disk`]: a few threads carry out what would block.

mod pool;

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use self::pool::{Job, Pool, Queue};
use super::disk::{Disk, DiskFile, Listed};

/// The file whose lock says that a process uses the folder.
const LOCK: &str = "lock";

/// A folder, locked against other processes for as long as this or one of its files is there.
#[derive(Clone, Debug)]
pub struct FolderDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    pool: Pool,
    /// Operations on names, in order.
    names: Arc<Queue>,
    /// Unlocked by being closed. Not held by those who only look.
    lock: Option<File>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenFolderError {
    /// Another process has it.
    #[error("{} is in use by another process; stop that, or choose another folder with --data", .0.display())]
    InUse(PathBuf),
    /// It is not there, and was not to be made.
    #[error("there is no store in {}", .0.display())]
    Missing(PathBuf),
    /// The operating system says no.
    #[error("cannot use {} as the data folder: {source}", .path.display())]
    Failed {
        /// The folder.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

impl FolderDisk {
    /// Opens the folder at `path`, and makes it first if it is not there, for its owner alone.
    ///
    /// # Errors
    /// [`OpenFolderError`] says why it cannot be used.
    pub fn create(path: &Path) -> Result<Self, OpenFolderError> {
        let failed = |source| OpenFolderError::Failed { path: path.to_owned(), source };
        if path.exists() && !path.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let parents = parents_of_new(path);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        // Without its name, nothing that is in it outlives a power cut.
        for parent in parents {
            match File::open(parent).and_then(|parent| parent.sync_all()) {
                // Who may not look into a folder cannot sync it, but may have been given one in it.
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(failed(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        FolderDisk::lock(path)
    }

    /// Opens the folder at `path`, which must be there.
    ///
    /// # Errors
    /// [`OpenFolderError`] says why it cannot be used.
    pub fn open(path: &Path) -> Result<Self, OpenFolderError> {
        if path.is_dir() {
            FolderDisk::lock(path)
        } else {
            Err(OpenFolderError::Missing(path.to_owned()))
        }
    }

    /// Opens the folder at `path`, which must be there, to read what may change meanwhile.
    ///
    /// # Errors
    /// [`OpenFolderError`] says why it cannot be used.
    pub fn look(path: &Path) -> Result<Self, OpenFolderError> {
        if path.is_dir() {
            FolderDisk::with(path, None)
        } else {
            Err(OpenFolderError::Missing(path.to_owned()))
        }
    }

    fn lock(path: &Path) -> Result<Self, OpenFolderError> {
        let failed = |source| OpenFolderError::Failed { path: path.to_owned(), source };
        let lock = writable().create(true).truncate(false).open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(OpenFolderError::InUse(path.to_owned()));
            }
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        FolderDisk::with(path, Some(lock))
    }

    fn with(path: &Path, lock: Option<File>) -> Result<Self, OpenFolderError> {
        let failed = |source| OpenFolderError::Failed { path: path.to_owned(), source };
        let folder = File::open(path).map_err(failed)?;
        // A name can be removed and made again, the folder cannot. Not every file system locks folders.
        if lock.is_some() && matches!(folder.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            return Err(OpenFolderError::InUse(path.to_owned()));
        }
        let pool = Pool::start().map_err(failed)?;
        let names = Arc::new(Queue::new(folder));
        let shared = Shared { path: path.to_owned(), pool, names, lock };
        Ok(FolderDisk { shared: Arc::new(shared) })
    }

    /// Whether another process has the folder locked now.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        let is_locked = |path: &Path| {
            File::open(path).is_ok_and(|file| {
                matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
            })
        };
        self.shared.lock.is_none()
            && (is_locked(&self.shared.path.join(LOCK)) || is_locked(&self.shared.path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Does `work` with the folder on a thread where it may block.
    fn on_names<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + 'static {
        let path = self.shared.path.clone();
        let (done, outcome) = oneshot::channel();
        let job = Job::Call(Box::new(move || drop(done.send(work(&path)))));
        self.shared.pool.submit(&self.shared.names, job);
        answered(outcome)
    }

    fn opened(&self, file: File) -> FolderFile {
        FolderFile { queue: Arc::new(Queue::new(file)), shared: Arc::clone(&self.shared) }
    }
}

impl Disk for FolderDisk {
    type File = FolderFile;

    fn list(&self) -> impl Future<Output = io::Result<Vec<Listed>>> + 'static {
        self.on_names(|path| {
            let mut files = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let data = entry.metadata()?;
                // What is not ours to name cannot be ours to read.
                if let Ok(name) = entry.file_name().into_string()
                    && data.is_file()
                    && name != LOCK
                {
                    files.push(Listed { name, bytes: data.len() });
                }
            }
            Ok(files)
        })
    }

    fn open(&self, name: &str) -> impl Future<Output = io::Result<FolderFile>> + 'static {
        let (this, name) = (self.clone(), name.to_owned());
        async move {
            // Who only looks may look at what nobody may write.
            let may_write = this.shared.lock.is_some();
            let options = if may_write { writable() } else { File::options().read(true).clone() };
            let file = this.on_names(move |path| options.open(path.join(name))).await?;
            Ok(this.opened(file))
        }
    }

    fn create(&self, name: &str) -> impl Future<Output = io::Result<FolderFile>> + 'static {
        let (this, name) = (self.clone(), name.to_owned());
        async move {
            let make = move |path: &Path| writable().create_new(true).open(path.join(name));
            let file = this.on_names(make).await?;
            Ok(this.opened(file))
        }
    }

    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + 'static {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.on_names(move |path| fs::rename(path.join(from), path.join(to)))
    }

    fn remove(&self, name: &str) -> impl Future<Output = io::Result<()>> + 'static {
        let name = name.to_owned();
        self.on_names(move |path| fs::remove_file(path.join(name)))
    }

    fn sync_folder(&self) -> impl Future<Output = io::Result<()>> + 'static {
        self.on_names(|path| File::open(path)?.sync_all())
    }

    fn free_bytes(&self) -> impl Future<Output = io::Result<u64>> + 'static {
        self.on_names(|path| {
            let space = rustix::fs::statvfs(path)?;
            Ok(space.f_bavail.saturating_mul(space.f_frsize))
        })
    }
}

/// An open file of a [`FolderDisk`].
#[derive(Clone, Debug)]
pub struct FolderFile {
    queue: Arc<Queue>,
    shared: Arc<Shared>,
}

impl FolderFile {
    fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Job,
    ) -> impl Future<Output = io::Result<T>> + 'static {
        let (done, outcome) = oneshot::channel();
        self.shared.pool.submit(&self.queue, job(done));
        answered(outcome)
    }
}

impl DiskFile for FolderFile {
    fn read_at(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static {
        self.submit(move |done| Job::Read { offset, length, done })
    }

    fn write_at(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        self.submit(move |done| Job::Write { offset, bytes, is_synced: false, done })
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        self.submit(move |done| Job::Sync { done })
    }

    fn write_synced(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        self.submit(move |done| Job::Write { offset, bytes, is_synced: true, done })
    }
}

async fn answered<T>(outcome: oneshot::Receiver<io::Result<T>>) -> io::Result<T> {
    outcome.await.unwrap_or_else(|_| Err(io::Error::other("the disk's threads have ended")))
}

/// The folders that get a new name when `path` is made with its parents; the one it is in at least.
fn parents_of_new(path: &Path) -> Vec<PathBuf> {
    let mut parents = Vec::new();
    for folder in path.ancestors() {
        let Some(parent) = folder.parent() else { break };
        let is_here = parent.as_os_str().is_empty();
        parents.push(if is_here { PathBuf::from(".") } else { parent.to_owned() });
        if is_here || parent.exists() {
            break;
        }
    }
    parents
}

fn writable() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of a test's own, removed at its end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("signalhouse-folder-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a writable folder");
            Place(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_folder_is_in_use_whatever_becomes_of_its_lock_file() {
        let place = Place::new("lock");
        let path = place.0.join("data");
        let disk = FolderDisk::create(&path).expect("nobody has it");
        let refused =
            |path: &Path| matches!(FolderDisk::create(path), Err(OpenFolderError::InUse(_)));
        assert!(refused(&path));
        fs::remove_file(path.join(LOCK)).expect("it is there");
        assert!(refused(&path), "a lock file of another's making");
        fs::remove_file(path.join(LOCK)).expect("the other made one");
        assert!(FolderDisk::look(&path).expect("it is there").is_in_use());
        drop(disk);
        assert!(FolderDisk::create(&path).is_ok());
    }

    #[tokio::test]
    async fn who_looks_does_not_ask_to_write() {
        let place = Place::new("look");
        fs::write(place.0.join("file"), b"text").expect("a folder of ours");
        let looking = FolderDisk::look(&place.0).expect("it is there");
        let file = looking.open("file").await.expect("it is there");
        assert_eq!(file.read_at(0, 9).await.expect("it can be read"), &b"text"[..]);
        assert!(file.write_at(0, Bytes::from_static(b"x")).await.is_err());
    }

    #[test]
    fn every_folder_that_gets_a_new_name_is_made_durable() {
        let place = Place::new("names");
        let root = place.0.as_path();
        assert_eq!(
            parents_of_new(&root.join("a/b/c")),
            [root.join("a/b"), root.join("a"), root.to_owned()]
        );
        assert_eq!(parents_of_new(&root.join("a")), [root.to_owned()]);
        assert_eq!(parents_of_new(Path::new("data")), [PathBuf::from(".")]);
        assert!(parents_of_new(Path::new("/")).is_empty());
    }
}
