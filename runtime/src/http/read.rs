//! What requests say, read without a broker and behind plain signatures: the way in for fuzz targets
//! and tests. What the routes do with it is in the files that these come from.

pub use super::publish::publication;
pub use super::subscribe::{acknowledgement, receiving};
pub use super::tokens::token_request;
