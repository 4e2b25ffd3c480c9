//! The simulator: the real broker under generated workloads and injected faults, judged by an
//! oracle that shares no code with it. Every failure repeats from its seed.
//!
//! As a program it is `cargo sim`. As a library it is for those who have MQTT client code of their
//! own and want to see it under power cuts and broken links: [`harness`] runs it against the shipped
//! broker in simulated time. The codec is yours; here it is a few bytes by hand, and
//! `examples/reconnecting_client.rs` has a whole client with the packets of `rumqttc`.
//!
//! ```
//! use signalhouse_sim::harness::Harness;
//! use signalhouse_sim::plan::BrokerFault;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let ended = Harness::new(7)
//!     .with("network.latency_ms", 5)
//!     .at_ms(2_000, BrokerFault::PowerCut)
//!     .client("mine", |network| async move {
//!         let mut connection = network.connect().await?;
//!         // CONNECT of MQTT 3.1.1 for the client "a", and its CONNACK.
//!         connection.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a").await?;
//!         let mut connack = [0; 4];
//!         connection.read_exact(&mut connack).await?;
//!         assert_eq!(connack, [0x20, 2, 0, 0]);
//!         Ok(())
//!     })
//!     .run(10_000);
//! assert!(ended.is_ok_and(|ended_ms| ended_ms < 2_000));
//! ```
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
pub mod point;
pub mod runtime_layer;
pub mod shrink;
mod snapshot;
mod stage;
pub mod token;
pub mod trace;
