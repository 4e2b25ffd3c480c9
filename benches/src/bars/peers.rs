//! The processes that are measured.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    /// This broker, at the level that the run says.
    Signalhouse,
    /// The relay of `signalhouse bench relay`.
    Relay,
    /// Mosquitto as Debian has it.
    Mosquitto,
}

impl Peer {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Peer::Signalhouse => "signalhouse",
            Peer::Relay => "relay",
            Peer::Mosquitto => "mosquitto",
        }
    }
}

/// A running peer; it ends with this value.
pub(super) struct Running {
    child: Child,
    /// What `signalhouse bench --target` is told.
    pub(super) target: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Starts a peer and waits until it listens.
pub(super) fn start(peer: Peer, level: &str, binary: &Path, folder: &Path) -> io::Result<Running> {
    match peer {
        Peer::Signalhouse => {
            let port = free_port()?;
            let store = folder.join("store");
            let _gone = fs::remove_dir_all(&store);
            let mut command = Command::new(binary);
            command
                .args(["--durability", level, "--log-level", "warn"])
                .arg("--data")
                .arg(store)
                .args(["--http", &format!("127.0.0.1:{}", free_port()?)])
                .args(["--listen", &format!("127.0.0.1:{port}")]);
            listening(peer, command, port)
        }
        Peer::Mosquitto => {
            let port = free_port()?;
            let settings = folder.join("mosquitto.conf");
            fs::write(
                &settings,
                format!(
                    "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
                     set_tcp_nodelay true\nmax_queued_messages 0\nmax_inflight_messages 50\n\
                     log_type error\n"
                ),
            )?;
            let mut command = Command::new("mosquitto");
            command.arg("-c").arg(settings);
            listening(peer, command, port)
        }
        Peer::Relay => {
            let mut command = Command::new(binary);
            let mut child = command.args(["bench", "relay"]).stdout(Stdio::piped()).spawn()?;
            let mut line = String::new();
            if let Some(stdout) = child.stdout.take() {
                BufReader::new(stdout).read_line(&mut line)?;
            }
            let at = line.trim().trim_start_matches("relays on ");
            let target = format!("relay={at},pid={},relay", child.id());
            Ok(Running { child, target })
        }
    }
}

fn listening(peer: Peer, mut command: Command, port: u16) -> io::Result<Running> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot start {}: {error}", peer.name()))
    })?;
    let target = format!("{}=127.0.0.1:{port},pid={}", peer.name(), child.id());
    let running = Running { child, target };
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{} does not listen", peer.name())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(running)
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
