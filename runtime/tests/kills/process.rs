//! The broker as a process that can be killed, under the library that remembers what was not synced.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::full_disk::Mount;

/// Tells a child of this program to be the broker that never syncs.
pub(crate) const WITHOUT_SYNC: &str = "KILLS_SERVE_WITHOUT_SYNC";

/// Small segments, so that many are begun, compacted and used again.
const SEGMENT_BYTES: &str = "131072";

/// How the broker is started.
pub(crate) struct Setup {
    /// Where it keeps what it must not forget.
    pub(crate) data: PathBuf,
    /// For what is needed to undo.
    pub(crate) undo: PathBuf,
    /// The library, if there is one.
    pub(crate) shim: Option<PathBuf>,
    /// Whether it is the broker that never syncs.
    pub(crate) without_sync: bool,
    /// The file system that the folder is on, if only some processes see it.
    pub(crate) mount: Option<Mount>,
}

/// A broker's process.
pub(crate) struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
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
            command.args(["--listen", "127.0.0.1:0", "--durability", "strict", "--data"]);
            command.arg(&self.data);
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
        let log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        Process { child, log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    /// Waits until it serves, and says where; what it said last, if it ends instead.
    pub(crate) fn serves(&mut self) -> Result<SocketAddr, String> {
        let mut said = Vec::new();
        for line in self.log.by_ref() {
            let line = line.map_err(|error| error.to_string())?;
            if line.contains("signalhouse serves")
                && let Some(at) = line.split("127.0.0.1:").nth(1)
            {
                let port: String = at.chars().take_while(char::is_ascii_digit).collect();
                let port = port.parse().map_err(|_| format!("no port in {line}"))?;
                return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
            }
            said.push(line);
        }
        Err(said.split_off(said.len().saturating_sub(3)).join("\n"))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _sent = self.child.kill();
        self.child.wait().expect("it is our child");
    }

    /// Waits until it ends by itself; its exit code, and what it said last.
    pub(crate) fn ends(&mut self) -> (Option<i32>, String) {
        // Its log ends with it.
        let rest: Vec<String> = self.log.by_ref().map_while(Result::ok).collect();
        let status = self.child.wait().expect("it is our child");
        (status.code(), rest.last().cloned().unwrap_or_default())
    }

    /// Whether it ended by itself, and what it said then.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().expect("it is our child")?;
        let rest: Vec<String> = self.log.by_ref().map_while(Result::ok).collect();
        Some(format!("{status}: {}", rest.join("\n")))
    }
}
