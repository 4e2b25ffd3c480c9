//! What the machine does most, as pieces of work that can be done again and again: for criterion, which times
//! them, and for `bin/instructions.rs`, which counts them. How the whole program is measured is in `main.rs`.

pub mod broker;
pub mod scenes;

pub use self::broker::Driven;
