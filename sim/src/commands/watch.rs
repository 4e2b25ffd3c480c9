//! What a command that takes long owes to those who wait for it: it shows how far it is, and Ctrl-C
//! ends it with what it has found so far.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use super::{Ended, Verdict};

/// How often progress is shown on a terminal.
const ON_TERMINAL: Duration = Duration::from_millis(500);
/// How often it is written down where there is none, by those who do.
const ELSEWHERE: Duration = Duration::from_secs(30);
/// What a process ends with that a signal interrupts.
const SECOND_INTERRUPT: i32 = 130;

/// Whether Ctrl-C was pressed.
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A command at work.
pub(super) struct Watch {
    start: Instant,
    shown: Mutex<Instant>,
    is_terminal: bool,
    is_logged: bool,
}

impl Watch {
    /// Begins. From now on the first Ctrl-C is for [`is_interrupted`] to tell; the second ends the
    /// process at once.
    pub(super) fn begin() -> Self {
        static LISTENER: Once = Once::new();
        LISTENER.call_once(|| {
            std::thread::spawn(listen);
        });
        let now = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        Watch { start: now, shown: Mutex::new(now), is_terminal, is_logged: false }
    }

    /// The same, with a line now and then where nobody sits at a terminal: for logs of long runs.
    pub(super) fn logged(self) -> Self {
        Watch { is_logged: true, ..self }
    }

    /// How long it has been at it, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Shows how far it is, if it is time for that.
    pub(super) fn show(&self, text: impl FnOnce() -> String) {
        let (every, begin, end) = match (self.is_terminal, self.is_logged) {
            (true, _) => (ON_TERMINAL, "\r\x1b[K", ""),
            (false, true) => (ELSEWHERE, "", "\n"),
            (false, false) => return,
        };
        let Ok(mut shown) = self.shown.lock() else { return };
        if shown.elapsed() < every {
            return;
        }
        *shown = Instant::now();
        eprint!("{begin}{}, {:.0} s{end}", text(), self.seconds());
        let _ = std::io::stderr().flush();
    }

    /// Takes away what is shown, so that a line can be printed.
    pub(super) fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// The work is over: says so if that is Ctrl-C's doing. The results come next.
    pub(super) fn end(&self) {
        self.clear();
        if is_interrupted() {
            println!("interrupted; what was found so far:");
        }
    }
}

/// Whether Ctrl-C was pressed while somebody watched.
pub(super) fn is_interrupted() -> bool {
    IS_INTERRUPTED.load(Ordering::Relaxed)
}

/// What a command ends with that may have been interrupted: half of it shows nothing, unless it
/// found something.
pub(super) fn ended(found: Verdict) -> Ended {
    match found {
        Verdict::Clean if is_interrupted() => Err("interrupted before the end".to_owned()),
        Verdict::Clean | Verdict::Violated => Ok(found),
    }
}

/// This program once more, to be started as a part of the work: out of the reach of Ctrl-C, which is
/// for this process to answer.
pub(super) fn this_program() -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.process_group(0).stdin(Stdio::null());
    Ok(command)
}

fn listen() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        while tokio::signal::ctrl_c().await.is_ok() {
            if IS_INTERRUPTED.swap(true, Ordering::Relaxed) {
                std::process::exit(SECOND_INTERRUPT);
            }
        }
    });
}
