//! The targets, one a file, each with a function `run`.

pub mod again;
pub mod broker;
pub mod decode;
pub mod filter;
pub mod record;

/// What a target is.
pub type Target = fn(&[u8]);

/// Every target with its name.
pub const ALL: [(&str, Target); 5] = [
    ("decode", decode::run),
    ("again", again::run),
    ("filter", filter::run),
    ("broker", broker::run),
    ("record", record::run),
];
