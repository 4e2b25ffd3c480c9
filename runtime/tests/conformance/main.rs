//! The conformance suite against this broker: the library in this process, with what it offers and
//! with almost nothing, and the binary as users start it.
#![allow(clippy::disallowed_methods)] // a foreign suite, real time

mod library;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use signalhouse_core::Config;
use signalhouse_core::limits::Limits;
use signalhouse_core::wire::types::{QoS, Text};
use signalhouse_spec::capabilities::{Capabilities, Credentials, Enhanced};
use signalhouse_spec::mutations::{self, Mutation};
use signalhouse_spec::report;
use signalhouse_spec::requirements::Requirements;
use signalhouse_spec::run::{Outcome, Verdict, probe, run};
use signalhouse_spec::suite;

/// What needs a lack that none of these brokers has.
const NOT_PLAYED: [&str; 1] = ["version_3_is_refused"];

#[test]
fn the_library_conforms() {
    let (wide_at, narrow_at) = (library::start(wide()), library::start(narrow()));
    let offered = || offered(&wide_at);
    let over_websocket = Capabilities { by_websocket: true, ..offered() };
    let runs = [
        ("library, full", wide_at.tcp, offered()),
        ("library, full, over WebSocket", wide_at.tcp, over_websocket),
        ("library, bare", narrow_at.tcp, known()),
    ];
    let played =
        runs.map(|(name, at, offered)| std::thread::spawn(move || judge(name, at, &offered)));
    let outcomes = played.map(|outcomes| outcomes.join().expect("judged"));
    let outcomes = outcomes.concat();
    let passed: BTreeSet<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Passed)
        .map(|outcome| outcome.case.name)
        .collect();
    let missed: BTreeSet<&str> =
        suite::cases().iter().map(|case| case.name).filter(|name| !passed.contains(name)).collect();
    assert_eq!(missed, BTreeSet::from(NOT_PLAYED), "cases that no broker here has to pass");
    let requirements = Requirements::load();
    println!("suite: {} of {} cases passed over all profiles", passed.len(), suite::cases().len());
    println!(
        "statements: {} of {} of MQTT 5.0 shown over TCP and WebSocket ({} only a client can obey; \
         {} are kept because the broker does nothing that they are about)",
        requirements.covered_by(&passed),
        requirements.statement.len(),
        requirements.client_only(),
        report::unjudged(&outcomes).len(),
    );
}

#[test]
fn the_binary_conforms() {
    let broker = Binary::start();
    judge("binary, defaults", broker.at, &known());
}

/// Rules that a broker with its defaults does not have, broken behind the suite's back. The others
/// are broken in a stage of CI, for they take longer.
#[test]
fn broken_rules_of_the_wide_and_the_bare_broker_are_noticed() {
    let (wide_at, narrow_at) = (library::start(wide()), library::start(narrow()));
    let binary = Binary::start();
    let sound = |at, offered| {
        let offered = probe(at, offered).expect("the broker lets a client in");
        (run(&suite::cases(), at, &offered, 48), offered)
    };
    let names =
        |rules: &[Mutation]| -> BTreeSet<&str> { rules.iter().map(|rule| rule.name).collect() };
    let mut played = names(&mutations::of_target(&sound(binary.at, known()).0));
    let mut faults = Vec::new();
    for (at, offered) in [(wide_at.tcp, offered(&wide_at)), (narrow_at.tcp, known())] {
        let (sound, offered) = sound(at, Capabilities { patience_ms: 3_000, ..offered });
        let mut more = mutations::of_target(&sound);
        more.retain(|rule| !played.contains(rule.name));
        for noticed in mutations::play(&more, at, &offered, &sound, 8) {
            let rule = noticed.mutation;
            println!("{}  {} ({} played)", rule.statement, rule.name, noticed.played);
            faults.extend(noticed.fault().map(|fault| format!("{}: {fault}", rule.name)));
        }
        played.extend(names(&more));
    }
    assert!(faults.is_empty(), "{faults:#?}");
    let missed: BTreeSet<&str> = names(&mutations::all()).difference(&played).copied().collect();
    assert!(missed.is_empty(), "rules that no broker here has: {missed:?}");
}

/// Plays the suite; whatever fails, against advice too, fails the test.
fn judge(name: &str, target: SocketAddr, offered: &Capabilities) -> Vec<Outcome> {
    let offered = probe(target, offered.clone()).expect("the broker lets a client in");
    let outcomes = run(&suite::cases(), target, &offered, 48);
    println!("{name}: {}", report::summary(&outcomes));
    let failed: Vec<Outcome> = outcomes.iter().filter(|one| one.failed()).cloned().collect();
    assert!(failed.is_empty(), "{name}\n{}", report::table(&failed));
    outcomes
}

/// What CONNACK does not tell of any Signalhouse.
fn known() -> Capabilities {
    let example = include_str!("../../../spec/caps-example.toml");
    let known = Capabilities::parse(example).expect("the example is a file of capabilities");
    // Other tests use the machine too.
    Capabilities { settle_ms: 5, patience_ms: 30_000, ..known }
}

fn offered(at: &library::Addresses) -> Capabilities {
    let text = str::to_owned;
    let denied = Credentials { user_name: text(library::DENIED), password: text("password") };
    let enhanced = Enhanced {
        method: text(library::METHOD),
        begin: text("hello"),
        question: text(library::QUESTION),
        answer: text(library::ANSWER),
        wrong: text("a foe"),
    };
    Capabilities {
        denied: Some(denied),
        enhanced: Some(enhanced),
        websocket: Some(format!("{}/mqtt", at.websocket)),
        queue_messages: wide().limits.queue_messages,
        connect_timeout_ms: wide().limits.connect_timeout_ms,
        ..known()
    }
}

/// Everything offered, and limits that a test can reach.
fn wide() -> Config {
    let limits = Limits {
        connect_timeout_ms: 1_500,
        receive_maximum: 30,
        queue_messages: 60,
        ..Limits::default()
    };
    let response_information = Text::try_from("answers/").ok();
    Config { limits, response_information, ..Config::default() }
}

/// As little offered as can be.
fn narrow() -> Config {
    let limits = Limits {
        topic_alias_maximum: 0,
        topic_alias_outbound_maximum: 0,
        maximum_qos: QoS::AtLeastOnce,
        retain_available: false,
        wildcard_subscription_available: false,
        subscription_identifiers_available: false,
        shared_subscription_available: false,
        session_expiry_interval_maximum_s: 3_600,
        keep_alive_maximum_s: 4,
        ..Limits::default()
    };
    Config { limits, ..Config::default() }
}

/// The binary with its defaults, killed at the end.
struct Binary {
    child: Child,
    at: SocketAddr,
    data: PathBuf,
}

impl Binary {
    fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("conformance-{}-{number}", std::process::id()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalhouse"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SIGNALHOUSE_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .env("SIGNALHOUSE_STORE__PATH", &data)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let at = loop {
            let line = lines.next().expect("a start line comes").expect("text");
            if let Some(rest) = line.split("listen=\"").nth(1) {
                let at = rest.split('"').next().unwrap_or_default();
                break at.parse().expect("an address");
            }
        };
        // Somebody has to read the log, or the broker would wait.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Binary { child, at, data }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // It may have ended by itself, which the suite would have noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
