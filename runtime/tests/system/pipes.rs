//! Commands whose output nobody reads to its end, as in `signalhouse check | head -1`.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};

use crate::support::{Broker, signalhouse};

/// Ended as SIGPIPE would have ended it.
const UNREAD: i32 = 141;

/// Runs a command with this output, lets `read` see it, and says how it ends once nobody reads.
fn cut_off(
    command: &mut Command,
    stdout: Stdio,
    read: impl FnOnce(ChildStdout),
) -> (Option<i32>, String) {
    let mut child =
        command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("the binary starts");
    if let Some(stdout) = child.stdout.take() {
        read(stdout);
    }
    let mut complaint = String::new();
    let mut stderr = child.stderr.take().expect("stderr is piped");
    stderr.read_to_string(&mut complaint).expect("text");
    (child.wait().expect("it ends").code(), complaint)
}

/// The same where nobody reads from the beginning.
fn unread(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    cut_off(command, writer.into(), drop)
}

#[test]
fn commands_end_without_a_word_when_nobody_reads_any_more() {
    let broker = Broker::start();
    let folder = std::env::temp_dir().join(format!("signalhouse-pipes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a writable directory");
    let path = |name: &str| folder.join(name).display().to_string();
    let (keys, users, rules) = (path("keys.toml"), path("users.txt"), path("rules.txt"));
    std::fs::write(&rules, "allow users all #\n").expect("a writable directory");
    let add = ["key", "add", "--file", &keys, "--user", "a", "--scope", "publish"];
    let explain =
        ["acl", "explain", "--acl", &rules, "--user", "u", "--topic", "t", "--action", "publish"];
    let (ended, told) = unread(signalhouse().args(add));
    assert_eq!(ended, Some(UNREAD), "{told}");
    assert!(told.starts_with("added") && told.lines().count() == 1, "{told}");
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["bench", "--help"], 0),
        (&["check"], UNREAD),
        (&["key", "list", "--file", &keys], UNREAD),
        (&explain, UNREAD),
        (&["bench", "relay", "--listen", "127.0.0.1:0"], UNREAD),
    ] {
        let (ended, complaint) = unread(signalhouse().args(arguments));
        assert_eq!((ended, complaint.as_str()), (Some(code), ""), "{arguments:?}");
    }
    std::fs::write(path("password"), "a secret\n").expect("a writable directory");
    let password = std::fs::File::open(path("password")).expect("it is there");
    let (ended, complaint) = unread(signalhouse().args(["passwd", &users, "ann"]).stdin(password));
    assert_eq!((ended, complaint.as_str()), (Some(UNREAD), ""));
    // What is read for a while.
    let target = format!("127.0.0.1:{}", broker.port);
    let bench =
        format!("bench pairs --clients 1 --seconds 0.1 --warmup 0.1 --runs 50 --target {target}");
    let (ended, complaint) =
        cut_off(signalhouse().args(bench.split(' ')), Stdio::piped(), |stdout| {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).expect("text");
            assert!(!line.is_empty());
        });
    assert_eq!((ended, complaint.as_str()), (Some(UNREAD), ""));
    drop(std::fs::remove_dir_all(&folder));
}
