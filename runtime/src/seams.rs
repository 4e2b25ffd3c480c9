//! What the shard needs from its surroundings, each as a trait with the real thing beside it.

mod authenticate;
mod clock;
mod disk;
mod folder_disk;
mod journal;
mod net;
mod spawn;

pub use authenticate::{Anonymous, Authenticate, Caller};
pub use clock::{Clock, TokioClock};
pub use disk::{Disk, DiskFile, Listed, SyncFailed};
pub use folder_disk::{FolderDisk, FolderFile, OpenFolderError};
pub use journal::{Journal, MemoryJournal};
pub use net::{Listener, Net, TcpNet};
pub use spawn::{LocalSpawn, Spawn};
