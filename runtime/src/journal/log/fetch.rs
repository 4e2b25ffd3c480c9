//! Messages that the broker wants back.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use signalhouse_core::message::{Message, MessageId};

use super::super::bodies::{Wanted, read_back};
use super::super::file::FileName;
use super::Task;
use super::upkeep::poll_task;
use crate::seams::Disk;

/// What is wanted, what is being read, and what was read.
pub(in crate::journal) struct Fetching<D> {
    disk: D,
    wanted: Vec<Wanted>,
    /// The files that the task reads in.
    files: Vec<FileName>,
    task: Option<Task<Vec<Arc<Message>>>>,
    read: VecDeque<Arc<Message>>,
}

impl<D: Disk> Fetching<D> {
    pub(super) fn new(disk: D) -> Self {
        let (wanted, files, read) = (Vec::new(), Vec::new(), VecDeque::new());
        Fetching { disk, wanted, files, task: None, read }
    }

    /// Wants a message, which is behind `offset` in `file`.
    pub(super) fn want(&mut self, message: MessageId, (file, offset): (FileName, u64)) {
        self.wanted.push((message, file, offset));
    }

    /// Whether something in the segment is still to be read.
    pub(super) fn reads(&self, segment: u64) -> bool {
        let name = FileName::Segment(segment);
        self.files.contains(&name) || self.wanted.iter().any(|(_, file, _)| *file == name)
    }

    /// Whether nothing is to be read.
    pub(super) fn is_idle(&self) -> bool {
        self.task.is_none() && self.wanted.is_empty()
    }

    /// Goes on reading. True if something was read or is begun to be.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if let Some(read) = poll_task(&mut self.task, cx) {
            self.read.extend(read?);
            self.files.clear();
            return Ok(true);
        }
        if self.task.is_some() || self.wanted.is_empty() {
            return Ok(false);
        }
        let wanted = std::mem::take(&mut self.wanted);
        self.files = wanted.iter().map(|(_, file, _)| *file).collect();
        self.files.dedup();
        self.task = Some(Box::pin(read_back(self.disk.clone(), wanted)));
        Ok(true)
    }

    /// The next message that was read.
    pub(super) fn take(&mut self) -> Poll<Arc<Message>> {
        self.read.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
