//! A folder and processes of the program for one test.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a process may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that is gone with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{process}-{count}"));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, to be started in a folder.
pub(crate) fn sim(folder: &Folder, arguments: &[&str]) -> Command {
    let mut sim = Command::new(env!("CARGO_BIN_EXE_sim"));
    sim.args(arguments).current_dir(&folder.0);
    sim.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    sim
}

/// Waits until a process answers Ctrl-C itself.
pub(crate) fn wait_for_handler(child: &mut Child) {
    /// SIGINT in a mask of signals.
    const INTERRUPT: u64 = 1 << 1;
    let start = Instant::now();
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        if u64::from_str_radix(caught.trim(), 16).unwrap() & INTERRUPT != 0 {
            return;
        }
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        assert!(start.elapsed() < PATIENCE, "it does not listen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What Ctrl-C does, to one process alone.
pub(crate) fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits for the end of a process.
pub(crate) fn end_of(mut child: Child) -> Output {
    let start = Instant::now();
    // What it says meanwhile must fit into a pipe.
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() >= PATIENCE {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("it does not end: {}", String::from_utf8_lossy(&output.stdout));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}
