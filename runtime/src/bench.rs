//! The load generator: work for any broker, counted, verified and timed.
//!
//! One thread and one poller drive all connections, so that the generator costs far less than
//! what it measures. It reads and writes the few packets it needs by itself; [`crate::client`] is
//! for tools that need all of them. What a broker spends is read from the operating system.

#![allow(clippy::disallowed_methods)] // real time is what is measured here

mod frames;
mod load;
mod peer;
mod process;
mod relay;
mod report;
mod run;
mod scenario;
mod target;
mod traffic;

pub use self::relay::relay;
pub use self::report::{Format, Reporter};
pub use self::run::run;
pub use self::scenario::{Protocol, Scenario, Shape};
pub use self::target::{Target, TargetError};

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The broker did what it must not, or what makes the run worthless.
    #[error("the broker {0}")]
    Broker(String),
    /// The scenario makes no sense with this target.
    #[error("{0}")]
    Unsuitable(String),
}

impl BenchError {
    fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| BenchError::Io { what, source }
    }
}
