//! The Signalhouse broker as one pure, deterministic state machine.
//!
//! # The contract
//!
//! A driver owns a [`Broker`], tells it what happened with [`Broker::handle`], and carries out what
//! comes back in an [`Outbox`]. The broker does no input or output, knows no clock and no
//! randomness but the [`Seed`] it was built with: the same seed and inputs give the same actions,
//! on every machine.
//!
//! - `handle` cannot fail. A client's fault is an action; a driver's fault is an assertion.
//! - `now` never decreases. Deadlines due at or before `now` fire before the input does, so it
//!   cannot matter whether a timer or a packet woke the driver.
//! - Every consequence is in the outbox when the call returns. Actions are to be carried out in
//!   order; for each connection, [`Action::Close`] is the last.
//! - [`Action::Persist`] hands over a record for the journal. The driver appends records in order
//!   and reports with [`Input::Durable`], cumulatively, what survives a power cut. Whatever a
//!   packet says that a power cut could undo, the broker keeps back until then.
//! - [`Input::Writable`] says how much a connection can take. Only PUBLISH waits for room; the
//!   driver needs no queue of its own.
//! - After a call, [`Broker::has_more_work`] tells whether [`Broker::resume`] has long jobs to
//!   continue, and [`Broker::next_deadline`] when to call again at the latest.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[macro_use]
#[cfg(not(signalhouse_sim))]
mod canary;
#[macro_use]
#[cfg(signalhouse_sim)]
pub mod canary;
mod broker;
pub mod buffers;
pub mod credential;
mod gate;
pub mod hash;
pub mod input;
pub mod limits;
mod link;
pub mod message;
pub mod notice;
mod once;
mod outbox;
pub mod permission;
pub mod quota;
pub mod record;
mod rng;
pub mod routing;
mod session;
mod stored;
mod time;
mod timers;
pub mod wire;

pub use broker::{
    Broker, Census, Counters, Deadline, DeadlineReason, DeliveryView, DoubtfulSession, Doubts,
    RecoverError, Recovery, SessionView, ShareView, SubscriptionView, Totals,
};
pub use input::{ConnectionId, Input, JournalRoom};
pub use limits::{Config, Limits};
pub use notice::Notice;
pub use outbox::{Action, Answer, ExchangeStep, Outbox, Question, QuotaState, Step};
pub use record::{LogPosition, Record};
pub use rng::Seed;
pub use time::Time;
