//! The formats of MQTT 5.0, 3.1.1 and 3.1: packets as values, and their bytes.
//!
//! Nothing here knows of sessions, subscriptions or time. A connection has one [`Reader`] and one
//! [`Writer`], which settle framing and topic aliases at the edge.

pub mod packet;
pub mod property;
pub mod reason;
pub mod types;
