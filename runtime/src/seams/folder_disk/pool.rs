//! The threads that read, write and sync, and the order among what they are given.
//!
//! Each file has a queue; a thread takes a file's whole queue at once and carries it out in order,
//! so that syncs that came together become one.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::seams::SyncFailed;

/// Log, preparation of segments and reading do not wait for each other.
const THREADS: usize = 3;

/// One operation, and who is told its outcome.
pub(super) enum Job {
    Read { offset: u64, length: usize, done: oneshot::Sender<io::Result<Bytes>> },
    Write { offset: u64, bytes: Bytes, is_synced: bool, done: oneshot::Sender<io::Result<usize>> },
    Sync { done: oneshot::Sender<io::Result<()>> },
    Call(Box<dyn FnOnce() + Send>),
}

/// What is to be done with one file, in order.
#[derive(Debug)]
pub(super) struct Queue {
    file: File,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// Whether a thread has the queue, or it is among those that wait for one.
    is_taken: bool,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} jobs", self.jobs.len())
    }
}

impl Queue {
    pub(super) fn new(file: File) -> Self {
        Queue { file, waiting: Mutex::default() }
    }

    /// Carries out what waits. True if more came meanwhile.
    fn run(&self) -> bool {
        let jobs = std::mem::take(&mut held(&self.waiting).jobs);
        let (mut syncs, mut written) = (Vec::new(), Vec::new());
        for job in jobs {
            match job {
                Job::Read { offset, length, done } => {
                    drop(done.send(read(&self.file, offset, length)));
                }
                Job::Write { offset, bytes, is_synced, done } => {
                    match self.file.write_at(&bytes, offset) {
                        Ok(length) if is_synced => written.push((length, done)),
                        outcome => drop(done.send(outcome)),
                    }
                }
                // Made later, a sync covers no less.
                Job::Sync { done } => syncs.push(done),
                Job::Call(work) => work(),
            }
        }
        if !syncs.is_empty() || !written.is_empty() {
            let outcome = self.file.sync_data();
            for done in syncs {
                drop(done.send(repeat(&outcome)));
            }
            for (length, done) in written {
                let synced = repeat(&outcome).map_err(SyncFailed::within);
                drop(done.send(synced.map(|()| length)));
            }
        }
        let mut waiting = held(&self.waiting);
        waiting.is_taken = !waiting.jobs.is_empty();
        waiting.is_taken
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    ready: Arc<Ready>,
}

#[derive(Debug, Default)]
struct Ready {
    queues: Mutex<Queues>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queues {
    with_work: VecDeque<Arc<Queue>>,
    is_closed: bool,
}

impl Pool {
    pub(super) fn start() -> io::Result<Self> {
        let ready = Arc::new(Ready::default());
        for number in 1..=THREADS {
            let ready = Arc::clone(&ready);
            thread::Builder::new().name(format!("disk-{number}")).spawn(move || work(&ready))?;
        }
        Ok(Pool { ready })
    }

    pub(super) fn submit(&self, queue: &Arc<Queue>, job: Job) {
        let mut waiting = held(&queue.waiting);
        waiting.jobs.push(job);
        if !std::mem::replace(&mut waiting.is_taken, true) {
            drop(waiting);
            self.ready.push(Arc::clone(queue));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        held(&self.ready.queues).is_closed = true;
        self.ready.changed.notify_all();
    }
}

impl Ready {
    fn push(&self, queue: Arc<Queue>) {
        held(&self.queues).with_work.push_back(queue);
        self.changed.notify_one();
    }
}

/// One thread's life. It ends when the pool is gone and nothing waits.
fn work(ready: &Ready) {
    let mut queues = held(&ready.queues);
    loop {
        if let Some(queue) = queues.with_work.pop_front() {
            drop(queues);
            if queue.run() {
                ready.push(queue);
            }
            queues = held(&ready.queues);
        } else if queues.is_closed {
            return;
        } else {
            queues = ready.changed.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn read(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(Bytes::from(bytes))
}

fn repeat(outcome: &io::Result<()>) -> io::Result<()> {
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => Err(error
            .raw_os_error()
            .map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error)),
    }
}

/// What a mutex guards. No code that may panic runs while one is held.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
