//! The real binary, from outside.
#![allow(clippy::disallowed_methods, clippy::wildcard_enum_match_arm)] // foreign clients, real time

#[path = "../common/authority.rs"]
mod authority;
mod backup;
mod bad_input;
mod bench;
mod certificates;
#[path = "../common/connect.rs"]
mod connect;
mod files;
mod peer;
mod pipes;
mod process;
mod rumqttc_v4;
mod rumqttc_v5;
mod spill;
mod store;
mod support;
mod tools;
