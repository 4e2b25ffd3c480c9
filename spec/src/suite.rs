//! The cases, by subject.
//!
//! Each file begins with the table of its cases: the function and the statements that it shows.
//! A case takes names from its [`Scene`](crate::scene::Scene), so that all can run at once against
//! one broker.

mod alias;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod error;
mod expiry;
mod flow;
mod format;
mod limits;
mod older;
mod order;
mod ping;
mod problem;
mod properties;
mod publish;
mod qos;
mod refusal;
mod resume;
mod retained;
mod session;
mod shared;
mod strings;
mod subscribe;
mod topics;
mod unavailable;
mod unsubscribe;
mod websocket;
mod will;

use crate::case::Case;

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        strings::CASES,
        format::CASES,
        connect::CASES,
        refusal::CASES,
        connack::CASES,
        publish::CASES,
        properties::CASES,
        retained::CASES,
        qos::CASES,
        order::CASES,
        subscribe::CASES,
        unsubscribe::CASES,
        topics::CASES,
        shared::CASES,
        will::CASES,
        session::CASES,
        resume::CASES,
        expiry::CASES,
        flow::CASES,
        alias::CASES,
        limits::CASES,
        unavailable::CASES,
        ping::CASES,
        auth::CASES,
        problem::CASES,
        disconnect::CASES,
        error::CASES,
        older::CASES,
        websocket::CASES,
    ]
    .concat()
}
