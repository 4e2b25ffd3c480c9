//! The simulator: the real broker under generated workloads and injected faults, judged by an
//! oracle that shares no code with it. Every failure repeats from its seed.
#![forbid(unsafe_code)]

pub mod canary;
pub mod chance;
pub mod client;
pub mod clock;
pub mod codec;
pub mod core_layer;
pub mod coverage;
pub mod disk;
pub mod explore;
pub mod harness;
pub mod history;
pub mod layer;
pub mod oracle;
pub mod packet;
pub mod plan;
pub mod runtime_layer;
pub mod shrink;
pub mod token;
pub mod trace;
