//! The HTTP interface of the real binary, through an HTTP client written by others and, where no
//! client would go, through bare sockets. Every answer is held against the OpenAPI document.
#![allow(clippy::disallowed_methods)] // foreign clients, real time

#[path = "../common/authority.rs"]
mod authority;
mod bad_input;
#[path = "../common/connect.rs"]
mod connect;
mod contract;
mod deaf;
mod door;
mod ending;
mod explain;
mod kept_out;
mod manage;
mod peer;
mod publish;
mod quotas;
mod receive;
mod refused;
mod reload;
mod request;
mod schema;
mod strangers;
mod support;
mod websocket;
