//! The journal: what goes in comes out again, whatever happens in between.

mod bench;
mod codec;
#[path = "../common/connect.rs"]
mod connect;
mod disk;
mod fixtures;
mod import;
mod records;
mod repair;
mod room;
mod store;
mod time;
