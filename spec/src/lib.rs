//! What Signalhouse is measured against: the requirements of MQTT as data, and a conformance suite
//! that judges any broker over TCP or WebSocket.
//!
//! Nothing here depends on the broker. [`wire`] is a codec of its own, which can write what is
//! wrong and is strict with what it reads; [`client`] speaks through it; [`suite`] holds the cases;
//! [`run`](mod@run) plays them; [`requirements`] is the table of statements; [`proxy`] and
//! [`mutations`] break a good broker, to show that the suite notices.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a judge names what may come; whatever else does is a failure"
)]

pub mod capabilities;
pub mod case;
pub mod client;
pub mod deviations;
pub mod line;
pub mod mutations;
pub mod proxy;
pub mod report;
pub mod requirements;
pub mod run;
pub mod scene;
pub mod suite;
pub mod wire;
