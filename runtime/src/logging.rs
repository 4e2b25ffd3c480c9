//! The log: lines of text for people or of JSON for machines, on standard error.
//!
//! A thread of its own writes them: whoever reads the log, or does not, must not hold up the
//! broker. What it cannot keep up with is lost, counted, and said.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::settings::Log;

/// Lines that may wait to be written.
const LINES: usize = 16 * 1024;

/// The process's log, once it is set up.
#[derive(Debug)]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    lines: Lines,
}

impl Logging {
    /// Sets up the process's log.
    ///
    /// # Errors
    /// If the process has one already, or its thread cannot be started.
    pub fn start(log: &Log) -> io::Result<Self> {
        let (level_layer, level) = reload::Layer::new(filter(&log.level));
        let lines = Lines::start()?;
        let registry = tracing_subscriber::registry().with(level_layer);
        let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_target(false);
        let set = if log.format == "json" {
            registry.with(layer.json().flatten_event(true)).try_init()
        } else {
            registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init()
        };
        set.map_err(io::Error::other)?;
        Ok(Logging { level, lines })
    }

    /// Changes the level.
    pub fn set_level(&self, level: &str) {
        // Fails only when the log is gone, and then nobody reads it.
        drop(self.level.modify(|filter_now| *filter_now = filter(level)));
    }

    /// Waits, a moment at most, until every line is written.
    pub fn finish(&self) {
        let (done, written) = sync_channel(1);
        if self.lines.sender.try_send(Message::Flush(done)).is_ok() {
            let _: Result<(), _> = written.recv_timeout(Duration::from_secs(1));
        }
    }
}

fn filter(level: &str) -> LevelFilter {
    level.parse().unwrap_or(LevelFilter::INFO)
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to the thread that writes.
#[derive(Clone, Debug)]
struct Lines {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel(LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let lost_seen = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&receiver, &lost_seen))?;
        Ok(Lines { sender, lost })
    }
}

fn write_lines(receiver: &Receiver<Message>, lost: &AtomicU64) {
    let mut stderr = io::stderr();
    while let Ok(message) = receiver.recv() {
        match message {
            // A log that cannot be written has nowhere to say so.
            Message::Line(line) => drop(stderr.write_all(&line)),
            Message::Flush(done) => drop(done.send(())),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            drop(writeln!(stderr, "{lost} lines of the log were lost: nobody read them in time"));
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}
