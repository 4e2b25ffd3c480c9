//! How a shard starts its tasks.

use std::future::Future;

/// Starts tasks on the shard's own thread.
pub trait Spawn: Clone + 'static {
    /// Starts `task`, which runs until it ends by itself.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// Does `work`, which takes long, where it delays nobody if there is such a place; otherwise at
    /// once, when the future is polled.
    fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        async move { work() }
    }
}

/// Tasks of the surrounding tokio `LocalRuntime` or `LocalSet`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalSpawn;

impl Spawn for LocalSpawn {
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // The handle is let go: a task ends by itself, and the shard keeps count of connections.
        drop(tokio::task::spawn_local(task));
    }

    fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        let done = tokio::task::spawn_blocking(work);
        async move {
            match done.await {
                Ok(outcome) => outcome,
                // Nothing cancels it, so it panicked, and its panic is ours.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }
}
