//! How a shard starts its tasks.

use std::future::Future;

/// Starts tasks on the shard's own thread.
pub trait Spawn: Clone + 'static {
    /// Starts `task`, which runs until it ends by itself.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
}

/// Tasks of the surrounding tokio `LocalRuntime` or `LocalSet`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalSpawn;

impl Spawn for LocalSpawn {
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // The handle is let go: a task ends by itself, and the shard keeps count of connections.
        drop(tokio::task::spawn_local(task));
    }
}
