//! Who gets a message: topics and filters, the subscription tree, retained messages, shares.

pub mod retained;
pub(crate) mod shared;
pub mod topic;
pub mod tree;
