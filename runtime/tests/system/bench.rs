//! `signalhouse bench`, on the broker of the same binary and on its own relay.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Output, Stdio};

use serde_json::Value;

use crate::support::{Broker, signalhouse};

/// Runs a shape for a moment and reads what it printed.
fn bench(words: &str, target: &str) -> (Output, Vec<Value>) {
    let mut command = signalhouse();
    command.arg("bench").args(words.split(' ')).args(["--json", "--target", target]);
    let output = command.output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (output, lines)
}

fn number(measured: &Value, key: &str) -> u64 {
    measured[key].as_u64().unwrap_or_else(|| panic!("{key} in {measured}"))
}

fn is_clean(words: &str, target: &str) -> Vec<Value> {
    let (output, lines) = bench(words, target);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    for line in &lines {
        assert!(number(line, "units") > 0, "{words}: {line}");
        for flaw in ["lost", "duplicated", "out_of_order", "refused"] {
            assert_eq!(number(line, flaw), 0, "{words}: {line}");
        }
    }
    lines
}

#[test]
fn every_shape_is_carried_out_and_counted() {
    let broker = Broker::start();
    let target = format!("127.0.0.1:{},pid={}", broker.port, broker.pid());
    let time = "--seconds 0.2 --warmup 0.1";
    for shape in ["pairs", "fan-out", "fan-in"] {
        for qos in 0..=2 {
            let lines = is_clean(&format!("{shape} --clients 4 --qos {qos} {time}"), &target);
            assert_eq!(lines.len(), 1);
            assert!(lines[0]["processor_us_per_unit"].as_f64().is_some(), "{}", lines[0]);
        }
    }
    is_clean(&format!("pairs --clients 2 --protocol 3.1.1 --payload 1000 --qos 1 {time}"), &target);
    is_clean(&format!("pairs --clients 2 --rate 500 {time}"), &target);
    is_clean(&format!("matching --filters 1000 --clients 10 {time}"), &target);
    is_clean("connect --clients 50", &target);
    is_clean("idle --clients 50 --seconds 0.1 --sources 2", &target);
}

#[test]
fn what_waits_offline_is_drained_to_the_last_message() {
    let broker = Broker::start();
    let target = format!("127.0.0.1:{}", broker.port);
    for protocol in ["5.0", "3.1.1"] {
        let words = format!("offline --clients 5 --messages 500 --qos 1 --protocol {protocol}");
        let lines = is_clean(&words, &target);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(number(&lines[1], "units"), 500, "{}", lines[1]);
    }
}

#[test]
fn the_relay_is_a_target_too() {
    let mut relay = Relay::start();
    for shape in ["pairs", "fan-out", "fan-in"] {
        let words = format!("{shape} --clients 3 --seconds 0.2 --warmup 0.1");
        is_clean(&words, &format!("{},relay", relay.address));
    }
    let (output, _) = bench("pairs --qos 1", &format!("{},relay", relay.address));
    assert_eq!(output.status.code(), Some(1));
    relay.child.kill().expect("our child");
}

#[test]
fn a_target_that_is_not_there_is_named() {
    let (output, _) = bench("pairs", "nobody=127.0.0.1:1");
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("nobody: cannot connect"), "{complaint}");
    assert_eq!(bench("pairs", "127.0.0.1:1,fast").0.status.code(), Some(2));
    assert_eq!(bench("pairs --payload 2", "127.0.0.1:1").0.status.code(), Some(2));
}

struct Relay {
    child: Child,
    address: String,
}

impl Relay {
    fn start() -> Self {
        let mut child = signalhouse()
            .args(["bench", "relay"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("relays on ").expect("where it is").to_owned();
        Relay { child, address }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
