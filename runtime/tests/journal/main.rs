//! The journal: what goes in comes out again, whatever happens in between.

mod codec;
mod records;
