//! How the program ends.

use std::fmt::Display;
use std::process::{ExitCode, Termination};

/// The program's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything went as it should.
    Orderly,
    /// 1: it failed, and said why.
    Failed,
    /// 2: the arguments make no sense.
    Arguments,
    /// 27: the time given with `-W` was over, as other MQTT tools have it.
    TimedOut,
    /// 65: the store cannot be used.
    Store,
    /// 78: the settings are wrong.
    Settings,
    /// 141: nobody reads what it prints any more; as if SIGPIPE had ended it.
    Unread,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Exit::Orderly => 0,
            Exit::Failed => 1,
            Exit::Arguments => 2,
            Exit::TimedOut => 27,
            Exit::Store => 65,
            Exit::Settings => 78,
            Exit::Unread => 141,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// Says what is wrong, in one line.
pub(super) fn complain(exit: Exit, fault: &dyn Display) -> Exit {
    eprintln!("signalhouse: {fault}");
    exit
}
