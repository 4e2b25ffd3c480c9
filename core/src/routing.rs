//! Who gets a message: topics and filters, the subscription tree, retained messages.

pub mod topic;
