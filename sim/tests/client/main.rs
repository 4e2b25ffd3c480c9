//! The simulated client in conversations with a broker that is played by hand.
#![allow(clippy::unwrap_used)] // a test may panic

mod connecting;
mod misbehaving;
mod sessions;
mod stage;
mod traffic;
