//! Who comes in and what they may do, with the library: files, doors and the shard together.
#![allow(clippy::disallowed_methods, clippy::wildcard_enum_match_arm)] // real files and peers

#[path = "../common/authority.rs"]
mod authority;
#[path = "../common/connect.rs"]
mod connect;
mod doors;
mod guards;
mod http_table;
mod logins;
mod slow;
mod support;
mod table;
