//! The runtime of the Signalhouse MQTT broker: sockets, settings and command line around the pure
//! state machine of `signalhouse-core`.
//!
//! [`shard`] holds the broker and serves its connections; [`seams`] are the traits it stands on;
//! [`mod@serve`] makes a process of it.

pub mod cli;
pub mod client;
pub mod journal;
pub mod logging;
pub mod seams;
pub mod serve;
pub mod settings;
pub mod shard;
