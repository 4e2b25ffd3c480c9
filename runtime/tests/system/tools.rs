//! `signalhouse pub` and `signalhouse sub`, on the broker of the same binary.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use crate::support::{Broker, signalhouse};

/// Runs `pub` or `sub` against the broker, with words split at spaces.
fn tool(broker: &Broker, words: &str) -> std::process::Command {
    let mut command = signalhouse();
    let mut words = words.split(' ');
    command.arg(words.next().expect("a tool"));
    command.args(["-h", "127.0.0.1", "-p", &broker.port.to_string()]).args(words);
    command
}

fn publish(broker: &Broker, words: &str) {
    let output = tool(broker, &format!("pub {words}")).output().expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Starts `sub`, which has subscribed when this returns.
fn subscribe(broker: &Broker, words: &str) -> Child {
    // What is retained here is the sign that the broker has taken the subscription.
    publish(broker, "-t ready -m ready -r");
    let child = tool(broker, &format!("sub -t ready {words}"));
    let mut child = { child }.stdout(Stdio::piped()).spawn().expect("the binary starts");
    let stdout = child.stdout.as_mut().expect("it is piped");
    let mut ready = [0; 6];
    std::io::Read::read_exact(stdout, &mut ready).expect("the first message");
    assert_eq!(&ready, b"ready\n");
    child
}

fn lines(child: &mut Child) -> Vec<String> {
    let stdout = child.stdout.take().expect("it is piped");
    BufReader::new(stdout).lines().map(|line| line.expect("text")).collect()
}

#[test]
fn every_version_and_qos_goes_there_and_back() {
    let broker = Broker::start();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for qos in 0..=2 {
            let mut child = subscribe(&broker, &format!("-t a/# -q {qos} -V {version} -C 3"));
            publish(&broker, &format!("-t a/b -m one -q {qos} -V {version}"));
            publish(&broker, &format!("-t a -m two -q {qos} -V {version}"));
            assert_eq!(lines(&mut child), ["one", "two"], "{version} at QoS {qos}");
            assert_eq!(child.wait().expect("our child").code(), Some(0));
        }
    }
}

#[test]
fn lines_become_messages_and_the_format_shows_their_properties() {
    let broker = Broker::start();
    let mut child = tool(&broker, "sub -t ready -t log -q 2 -C 4 -F")
        .arg("%t|%p|%q|%r|%C|%P")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Published until it is seen: only then is the subscription there.
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    publish(&broker, "-t ready -m x -r");
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert!(line.starts_with("ready|x|0|"), "{line}");
    let mut publisher = tool(
        &broker,
        "pub -t log -l -q 2 -D publish content-type text/x -D publish user-property k v",
    )
    .stdin(Stdio::piped())
    .spawn()
    .expect("the binary starts");
    let mut stdin = publisher.stdin.take().expect("it is piped");
    stdin.write_all(b"first\nsecond\nthird").expect("it reads");
    drop(stdin);
    assert!(publisher.wait().expect("our child").success());
    for expected in ["first", "second", "third"] {
        line.clear();
        stdout.read_line(&mut line).expect("a line");
        assert_eq!(line, format!("log|{expected}|2|0|text/x|k:v\n"));
    }
    assert_eq!(child.wait().expect("our child").code(), Some(0));
}

#[test]
fn a_session_is_kept_with_c_and_messages_wait() {
    let broker = Broker::start();
    let ended = tool(&broker, "sub -t inbox -q 1 -i me -c -E").status();
    assert_eq!(ended.expect("the binary starts").code(), Some(0));
    publish(&broker, "-t inbox -m waiting -q 1");
    let output = tool(&broker, "sub -t inbox -q 1 -i me -c -C 1").output();
    assert_eq!(String::from_utf8_lossy(&output.expect("the binary starts").stdout), "waiting\n");
}

#[test]
fn waiting_ends_with_27() {
    let broker = Broker::start();
    let ended = tool(&broker, "sub -t nothing -W 1").status();
    assert_eq!(ended.expect("the binary starts").code(), Some(27));
}

#[test]
fn a_refusal_is_told_by_its_name() {
    let broker = Broker::with(&[("SIGNALHOUSE_LIMITS__CLIENT_ID_BYTES", "23")], &[]);
    let output = tool(&broker, "pub -t a -m b -i a-client-identifier-that-is-too-long").output();
    let output = output.expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("0x85 client identifier not valid"), "{text}");
}

#[test]
fn a_flood_goes_through_in_order() {
    let broker = Broker::start();
    let mut child = subscribe(&broker, "-t flood -q 1 -C 20001");
    let reader = std::thread::spawn(move || (lines(&mut child), child.wait()));
    let mut publisher =
        tool(&broker, "pub -t flood -l -q 1").stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = publisher.stdin.take().expect("it is piped");
    for number in 0..20_000 {
        writeln!(stdin, "{number}").expect("it reads");
    }
    drop(stdin);
    assert!(publisher.wait().expect("our child").success());
    let (lines, ended) = reader.join().expect("no panic");
    assert!(
        lines.iter().map(String::as_str).eq((0..20_000)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str))
    );
    assert_eq!(ended.expect("our child").code(), Some(0));
}
