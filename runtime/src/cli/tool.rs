//! What `pub` and `sub` run in.

use std::future::Future;

use tokio::runtime;

use super::exit::{Exit, complain};

/// Runs a tool to its end on this thread.
pub(super) fn block_on(tool: impl Future<Output = Exit>) -> Exit {
    let built = runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(runtime::LocalOptions::default());
    match built {
        Ok(runtime) => runtime.block_on(tool),
        Err(error) => complain(Exit::Failed, &error),
    }
}
