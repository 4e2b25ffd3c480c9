//! The targets, one a file, each with a function `run`.

pub mod again;
pub mod broker;
pub mod decode;
pub mod filter;
#[cfg(feature = "runtime")]
pub mod http_request;
#[cfg(feature = "runtime")]
pub mod login;
#[cfg(feature = "runtime")]
pub mod permission;
#[cfg(feature = "runtime")]
pub mod record;
#[cfg(feature = "runtime")]
pub mod recovery;
#[cfg(feature = "runtime")]
pub mod settings;
mod values;
#[cfg(feature = "runtime")]
pub mod websocket;
pub mod world;

/// What a target is.
pub type Target = fn(&[u8]);

/// Every target that was built, with its name.
pub const ALL: &[(&str, Target)] = &[
    ("decode", decode::run),
    ("again", again::run),
    ("filter", filter::run),
    ("broker", broker::run),
    ("world", world::run),
    #[cfg(feature = "runtime")]
    ("record", record::run),
    #[cfg(feature = "runtime")]
    ("recovery", recovery::run),
    #[cfg(feature = "runtime")]
    ("settings", settings::run),
    #[cfg(feature = "runtime")]
    ("permission", permission::run),
    #[cfg(feature = "runtime")]
    ("login", login::run),
    #[cfg(feature = "runtime")]
    ("http_request", http_request::run),
    #[cfg(feature = "runtime")]
    ("websocket", websocket::run),
];
