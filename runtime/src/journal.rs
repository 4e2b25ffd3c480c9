//! The journal on disk: what the broker must not forget, in files, and back.

pub mod codec;
