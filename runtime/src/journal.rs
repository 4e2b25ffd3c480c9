//! The journal on disk: what the broker must not forget, in files, and back.
//!
//! A store is a folder with a log in segments (`file.rs`, `frame.rs`, `codec.rs`), and a snapshot of
//! what earlier segments came to. [`open`] reads one (`walk.rs`, `reader.rs`) and gives the broker
//! that it describes with the [`LogJournal`] in which that goes on. Everything here stands on the
//! [`Disk`](crate::seams::Disk) seam, so the simulator runs it on a disk of its own.

mod bodies;
pub mod codec;
mod compact;
mod error;
mod file;
mod frame;
mod index;
mod log;
mod open;
mod reader;
mod segment;
pub mod tools;
mod walk;

pub use self::error::{Damage, StoreError};
pub use self::log::{Level, LogJournal};
pub use self::open::{Found, OpenOptions, Opened, open};
pub use self::walk::Cut;
