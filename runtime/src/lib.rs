//! The runtime of the Signalhouse MQTT broker: sockets, settings and command line around the pure
//! state machine of `signalhouse-core`.
//!
//! [`shard`] holds the broker and serves its connections; [`seams`] are the traits it stands on;
//! [`mod@serve`] makes a process of it. [`http`] is the other door: publish, subscribe and manage by
//! plain HTTP.

#[macro_use]
mod canary;
#[macro_use]
mod output;
#[macro_use]
pub mod point;

pub mod access;
pub mod bench;
pub mod cli;
pub mod client;
pub mod history;
pub mod http;
pub mod journal;
pub mod logging;
pub mod metrics;
pub mod seams;
pub mod serve;
pub mod settings;
pub mod shard;
mod tally;
pub mod transport;
