//! Signalhouse's core.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod hash;
pub mod message;
pub mod rng;
pub mod routing;
pub mod time;
pub mod wire;
