//! The broker as a process that can be killed, under the library that remembers what was not synced.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::full_disk::Mount;

/// Tells a child of this program to be the broker that never syncs.
pub(crate) const WITHOUT_SYNC: &str = "KILLS_SERVE_WITHOUT_SYNC";

/// Small segments, so that many are begun, compacted and used again.
const SEGMENT_BYTES: &str = "131072";

/// How long it may take to start, and to end by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the broker is started.
pub(crate) struct Setup {
    /// Where it keeps what it must not forget.
    pub(crate) data: PathBuf,
    /// For what is needed to undo.
    pub(crate) undo: PathBuf,
    /// The library, if there is one.
    pub(crate) shim: Option<PathBuf>,
    /// What is promised: `strict` or `relaxed`.
    pub(crate) durability: String,
    /// Whether it is the broker that never syncs.
    pub(crate) without_sync: bool,
    /// The file system that the folder is on, if only some processes see it.
    pub(crate) mount: Option<Mount>,
}

/// A broker's process.
pub(crate) struct Process {
    child: Child,
    /// The lines of its log, as they come.
    log: Receiver<String>,
}

/// How it ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none if it had to be killed in the end.
    pub(crate) code: Option<i32>,
    /// Its last lines.
    pub(crate) said: String,
}

impl Setup {
    /// Has every sync fail, or no longer.
    pub(crate) fn fail_syncs(&self, fail: bool) {
        let failing = self.undo.join("failing");
        if fail {
            std::fs::write(failing, "").expect("a writable folder");
        } else {
            std::fs::remove_file(failing).expect("it was there");
        }
    }

    /// That file system.
    pub(crate) fn mounted(&self) -> Result<&Mount, String> {
        self.mount.as_ref().ok_or_else(|| "no file system of its own".to_owned())
    }

    /// Starts the broker; it does not serve yet.
    pub(crate) fn start(&self) -> Process {
        let mut command = if self.without_sync {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.env(WITHOUT_SYNC, &self.data);
            command
        } else {
            let program = env!("CARGO_BIN_EXE_signalhouse");
            let mut command = match &self.mount {
                Some(mount) => mount.inside(program),
                None => Command::new(program),
            };
            command.args(["--listen", "127.0.0.1:0", "--durability", &self.durability]);
            command.arg("--data").arg(&self.data);
            command
        };
        command.env("SIGNALHOUSE_STORE__SEGMENT_BYTES", SEGMENT_BYTES);
        // Few messages in memory, so that many are read back from the store.
        command.env("SIGNALHOUSE_LIMITS__QUEUE_MEMORY_BYTES", "200000");
        command.env("SIGNALHOUSE_LIMITS__QUEUE_MESSAGES", "1000000");
        if let Some(shim) = &self.shim {
            command.env("LD_PRELOAD", shim);
            command.env("UNSYNCED_DATA", &self.data);
            command.env("UNSYNCED_UNDO", &self.undo);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (lines, log) = channel();
        // Until the log ends or nobody wants it.
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        Process { child, log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    /// Waits until it serves, and says where; how it ended, if it does that instead.
    pub(crate) fn serves(&mut self) -> Result<SocketAddr, Ended> {
        let until = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while let Ok(line) = self.log.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if line.contains("signalhouse serves")
                && let Some(at) = line.split("127.0.0.1:").nth(1)
            {
                let port: String = at.chars().take_while(char::is_ascii_digit).collect();
                return Ok(SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port"))));
            }
            said.push(line);
        }
        Err(self.end(said))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _sent = self.child.kill();
        self.child.wait().expect("it is our child");
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self) -> Ended {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "it is our child and runs");
        self.ends()
    }

    /// Waits until it ends by itself.
    pub(crate) fn ends(&mut self) -> Ended {
        self.end(Vec::new())
    }

    /// Whether it ended by itself, and how.
    pub(crate) fn ended(&mut self) -> Option<Ended> {
        self.child.try_wait().expect("it is our child")?;
        Some(self.ends())
    }

    /// Waits for its end, which must come in time, after the lines that it `said` so far.
    fn end(&mut self, mut said: Vec<String>) -> Ended {
        let until = Instant::now() + PATIENCE;
        let is_late = loop {
            // Its log ends with it.
            match self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => break true,
            }
        };
        if is_late {
            self.kill();
            said.push(format!("it did not end within {} s", PATIENCE.as_secs()));
        }
        let status = self.child.wait().expect("it is our child");
        let said = said.split_off(said.len().saturating_sub(3)).join("\n");
        Ended { code: status.code(), said }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => write!(f, "ended with {code}: {}", self.said),
            None => write!(f, "was killed: {}", self.said),
        }
    }
}
