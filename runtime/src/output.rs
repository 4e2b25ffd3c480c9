//! What the command line prints for whoever reads its standard output.

use std::io::{self, ErrorKind, Write};

use crate::cli::Exit;

/// Prints a line, as `println!` does. If nobody reads any more, the program ends without a word.
macro_rules! say {
    ($($what:tt)*) => {
        $crate::output::line(&format!($($what)*))
    };
}

pub(crate) fn line(line: &str) {
    let mut out = io::stdout().lock();
    let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) else { return };
    let exit = if error.kind() == ErrorKind::BrokenPipe {
        Exit::Unread
    } else {
        eprintln!("signalhouse: standard output: {error}");
        Exit::Failed
    };
    std::process::exit(exit.code().into());
}
