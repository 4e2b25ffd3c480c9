//! Who may publish, subscribe and receive what.

/// A compiled rule set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Permissions;
