//! The binary as a process: settings, exit codes, signals.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Output;

use signalhouse_core::wire::packet::ServerPacket;
use signalhouse_core::wire::reason::ReasonCode;

use crate::support::{Broker, Raw, run};

fn error_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().last().unwrap_or_default().to_owned();
    assert!(!text.contains("panicked"), "{text}");
    last
}

fn settings_file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = std::fs::File::create(&path).expect("a writable directory");
    file.write_all(text.as_bytes()).expect("room on the disk");
    path
}

#[test]
fn wrong_settings_end_with_78_and_one_line() {
    let path = settings_file("unknown.toml", "[limits]\nconections = 5\n");
    let path = path.to_str().expect("a plain path");
    for command in ["serve", "check"] {
        let output = run(&[command, "--config", path], &[]);
        assert_eq!(output.status.code(), Some(78));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!(
            "signalhouse: {path}:2:1: limits.conections: unknown key; did you mean connections?\n"
        );
        assert_eq!(text, expected);
    }
}

#[test]
fn a_missing_file_is_named() {
    let output = run(&["--config", "/nowhere/at/all.toml"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(error_line(&output).contains("/nowhere/at/all.toml: cannot be read"));
}

#[test]
fn an_open_listener_needs_a_decision() {
    let output = run(&["--listen", "0.0.0.0:0"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(error_line(&output).contains("security.allow_anonymous = true"));
    let output = run(
        &["check", "--listen", "0.0.0.0:0"],
        &[("SIGNALHOUSE_SECURITY__ALLOW_ANONYMOUS", "true")],
    );
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("0.0.0.0:0  MQTT over TCP  everybody who can reach it"), "{text}");
}

#[test]
fn a_port_in_use_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = run(&["--listen", &address], &[]);
    assert_eq!(output.status.code(), Some(1));
    let line = error_line(&output);
    assert!(line.contains(&format!("cannot listen on {address}")), "{line}");
    assert!(line.contains("the port is in use"), "{line}");
}

#[test]
fn arguments_end_with_2_and_help_with_0() {
    assert_eq!(run(&["--no-such-option"], &[]).status.code(), Some(2));
    assert_eq!(run(&["pub", "-t", "a", "-m", "b", "-q", "3"], &[]).status.code(), Some(2));
    assert_eq!(run(&["sub", "-t", "a/#/b"], &[]).status.code(), Some(2));
    for arguments in [&["--help"][..], &["pub", "--help"], &["sub", "--help"], &["--version"]] {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn tools_say_whom_they_cannot_reach() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port().to_string();
    drop(free);
    let output = run(&["pub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "-m", "b"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let line = error_line(&output);
    assert!(line.contains(&format!("cannot reach 127.0.0.1:{port}")), "{line}");
}

#[test]
fn what_check_prints_are_settings() {
    let output = run(&["check"], &[("SIGNALHOUSE_LIMITS__TOPIC_LEVELS", "7")]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("topic_levels = 7"), "{text}");
    let path = settings_file("printed.toml", &text);
    let output = run(&["check", "--config", path.to_str().expect("a plain path")], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text, String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_stop_tells_the_clients_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::start();
        let (mut client, _) = Raw::connect(&broker, "told");
        broker.signal(signal);
        match client.receive_to_end().as_slice() {
            [ServerPacket::Disconnect(disconnect)] => {
                assert_eq!(disconnect.reason, ReasonCode::ServerShuttingDown);
            }
            other => panic!("expected DISCONNECT and the end, got {other:?}"),
        }
        drop(client);
        assert_eq!(broker.exit_code(), Some(0));
        broker.wait_for_line(&["disconnected", "told", "0x8B"]);
        broker.wait_for_line(&["stopped, every client was told"]);
    }
}

#[test]
fn an_idle_broker_stops_as_well() {
    let mut broker = Broker::start();
    broker.signal("TERM");
    assert_eq!(broker.exit_code(), Some(0));
}

#[test]
fn settings_are_read_again_all_or_nothing() {
    let path = settings_file("reload.toml", "[log]\nlevel = \"info\"\n");
    let name = path.to_str().expect("a plain path");
    let broker = Broker::with(&[], &["--config", name]);
    settings_file("reload.toml", "[log]\nlevel = \"debug\"\n[limits]\nsessions = \"many\"\n");
    broker.signal("HUP");
    broker.wait_for_line(&["the settings stay as they are", "reload.toml:4:12: limits.sessions"]);
    settings_file("reload.toml", "[log]\nlevel = \"debug\"\n[limits]\nsessions = 5\n");
    broker.signal("HUP");
    broker.wait_for_line(&["settings read again", "log.level"]);
    broker.wait_for_line(&["with a restart only", "limits.sessions"]);
    Raw::connect(&broker, "after").0.subscribe("a", signalhouse_core::wire::types::QoS::AtMostOnce);
    broker.wait_for_line(&["DEBUG", "subscribed", "after"]);
}

#[test]
fn the_log_can_be_json() {
    let broker = Broker::with(&[], &["--log-format", "json"]);
    let _client = Raw::connect(&broker, "machine \"quoted\"");
    let line = broker.wait_for_line(&["\"message\":\"connected\""]);
    assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    assert!(line.contains(r#""client":"machine \"quoted\"""#), "{line}");
}
