//! Who gets a message: topics and filters, the subscription tree, retained messages.

pub mod retained;
pub mod topic;
pub mod tree;
