//! The suite's own parts: tables that fit together, a strict parser, a command that refuses nonsense.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use signalhouse_spec::capabilities::Capabilities;
use signalhouse_spec::deviations::Deviations;
use signalhouse_spec::line;
use signalhouse_spec::mutations::{self, Mutation, Noticed};
use signalhouse_spec::report;
use signalhouse_spec::requirements::Requirements;
use signalhouse_spec::run::{Outcome, Verdict};
use signalhouse_spec::suite;
use signalhouse_spec::wire::packet::{Ack, Packet, Publish};
use signalhouse_spec::wire::property::{Value, id};
use signalhouse_spec::wire::{Frame, Version, encode, parse};

#[test]
fn mutations_name_cases_that_show_the_broken_statement() {
    let cases = suite::cases();
    let mut statements = BTreeSet::new();
    for mutation in mutations::all() {
        let name = mutation.name;
        statements.insert(mutation.statement);
        assert!(!mutation.noticed_by.is_empty(), "{name} is to be noticed by nobody");
        for noticing in mutation.noticed_by {
            let case = cases.iter().find(|case| case.name == *noticing);
            let shows = case.is_some_and(|case| case.statements.contains(&mutation.statement));
            assert!(shows, "{name}: {noticing} does not show {}", mutation.statement);
        }
    }
    assert!(statements.len() >= 200, "only {} statements are broken", statements.len());
}

#[test]
fn deviations_name_cases_that_show_the_statement() {
    let text = include_str!("../mosquitto-2.0.11.toml");
    let deviations = Deviations::parse(text).expect("the file is valid");
    let cases = suite::cases();
    for deviation in &deviations.deviation {
        let case = cases.iter().find(|case| case.name == deviation.case);
        let case = case.unwrap_or_else(|| panic!("there is no case {}", deviation.case));
        assert!(case.statements.contains(&deviation.statement.as_str()), "{}", case.name);
        assert!(deviation.fails.len() > 8, "{} fails with a sentence", case.name);
        assert!(deviation.why.len() > 8 && !deviation.why.contains("As above"), "{}", case.name);
        let packets = packets_of(&deviation.bytes).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert!(packets > 0, "{}", case.name);
    }
}

/// How many packets an account of what was on the wire shows, each of them whole by its own remaining length.
fn packets_of(account: &str) -> Result<usize, String> {
    let mut packets: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in account.trim_end().lines() {
        if let (Some(more), Some((_, bytes))) = (line.strip_prefix("    "), packets.last_mut()) {
            if !goes_on {
                return Err(format!("{line:?} goes on with nothing"));
            }
            bytes.push(' ');
            bytes.push_str(more);
            continue;
        }
        goes_on = false;
        let word = |number| line.split(' ').nth(number);
        match (word(1), line.get(4..)) {
            (Some("<" | ">"), Some(bytes)) => {
                packets.push((line.to_owned(), bytes.to_owned()));
                goes_on = true;
            }
            _ if line.starts_with("… ") || line.ends_with(" ms pass") => {}
            _ if line.ends_with(" is closed") || line.ends_with(" is cut") => {}
            _ if line.contains(": nothing comes for ") && line.ends_with(" ms") => {}
            _ => return Err(format!("{line:?} is no packet")),
        }
    }
    for (line, bytes) in &packets {
        let read =
            |text: &str| (text.len() == 2).then(|| u8::from_str_radix(text, 16).ok()).flatten();
        let bytes: Option<Vec<u8>> = bytes.split(' ').map(read).collect();
        let bytes = bytes.ok_or_else(|| format!("{line:?} is not hexadecimal"))?;
        if !is_whole(&bytes) {
            return Err(format!("{line:?} is not one whole packet"));
        }
    }
    Ok(packets.len())
}

fn is_whole(bytes: &[u8]) -> bool {
    // A client's WebSocket frame of text, with its mask; a server's frames are as long as packets say they are.
    if let [0x81, length @ 0x80..=0xFD, rest @ ..] = bytes {
        return rest.len() == usize::from(length & 0x7F) + 4;
    }
    let mut rest = bytes.to_vec();
    matches!(Frame::take(&mut rest), Ok(Some(_))) && rest.is_empty()
}

#[test]
fn accounts_of_the_wire_are_read_strictly() {
    let good = "a > C0 00\na < 82 02 D0 00\na < 30 04 00 01\n    61 00\n\
                … 3 more\na: nothing comes for 5 ms\na is closed";
    assert_eq!(packets_of(good), Ok(3));
    for wrong in [
        "a > C0",
        "a > C0 00 00",
        "a > 10 17 00 04",
        "a > C0 0",
        "a > 30 04 00 01 …",
        "    61 00",
        "a is closed\n    61 00",
        "As above.",
    ] {
        assert!(packets_of(wrong).is_err(), "{wrong}");
    }
}

/// What came of the case of this name.
fn outcome(name: &str, verdict: Verdict) -> Outcome {
    let cases = suite::cases();
    let case = *cases.iter().find(|case| case.name == name).expect("a case");
    Outcome { case, verdict, ms: 0, kinds: 0, unjudged: BTreeSet::new() }
}

const CASE: &str = "pingreq_is_answered";

fn deviations(fails: &str) -> Deviations {
    let text = format!(
        "target = \"a\"\n[[deviation]]\ncase = \"{CASE}\"\nstatement = \"MQTT-3.12.4-1\"\n\
         fails = \"{fails}\"\nbytes = \"d\"\nwhy = \"e\"\n"
    );
    Deviations::parse(&text).expect("valid")
}

#[test]
fn deviations_disagree_with_what_they_do_not_explain() {
    let other = "a_good_connect_is_accepted";
    let failed = |what: &str| Verdict::Failed(what.to_owned(), Vec::new());
    let known = deviations("nothing came");
    let disagreements = |outcomes: &[Outcome]| known.disagreements(outcomes);
    let none: [&str; 0] = [];
    assert_eq!(disagreements(&[]), [format!("{CASE} is explained and was not played")]);
    assert_eq!(disagreements(&[outcome(CASE, failed("nothing came in 5 ms"))]), none);
    let passed = outcome(CASE, Verdict::Passed);
    assert_eq!(disagreements(&[passed]), [format!("{CASE} is explained and no longer fails")]);
    let otherwise = outcome(CASE, failed("it was closed"));
    let expected = format!("{CASE} fails otherwise than explained: it was closed");
    assert_eq!(disagreements(std::slice::from_ref(&otherwise)), [expected.as_str()]);
    assert!(!known.explain(&otherwise));
    let advice = outcome(CASE, Verdict::Unadvised("it was closed".to_owned(), Vec::new()));
    assert_eq!(disagreements(&[advice]), [expected]);
    let more = outcome(other, failed("no"));
    let both = [outcome(CASE, failed("nothing came")), more];
    assert_eq!(disagreements(&both), [format!("{other} fails and is not explained: no")]);
    // An empty beginning would explain everything.
    assert_eq!(deviations("").disagreements(&[otherwise]).len(), 1);
}

/// The mutation of a single case, noticed as it should be or by nobody.
fn noticed(mutation: &Mutation, is_noticed: bool) -> Noticed {
    let failed = mutation.noticed_by.iter().copied().filter(|_| is_noticed).collect();
    Noticed { mutation: *mutation, failed, played: 1 }
}

#[test]
fn a_suite_is_proven_by_enough_noticed_mutations_of_a_broker_without_failures() {
    let all = mutations::all();
    let sound: Vec<Outcome> =
        suite::cases().iter().map(|case| outcome(case.name, Verdict::Passed)).collect();
    let least = mutations::LEAST_STATEMENTS;
    let of_target = mutations::of_target(&sound);
    assert_eq!(of_target.len(), all.len());
    let right: Vec<Noticed> = of_target.iter().map(|one| noticed(one, true)).collect();
    assert!(mutations::statements(&right).len() >= least);
    let unproven = |sound: &[Outcome], noticed: &[Noticed]| -> String {
        mutations::unproven(sound, noticed, least).join("; ")
    };
    assert_eq!(unproven(&sound, &right), "");
    let said = unproven(&sound, &[]);
    assert_eq!(said, "0 statements noticed broken, at least 100 are asked for");
    // The last statement that is missing counts; a second mutation of one that was broken does not.
    let mut few = Vec::new();
    for one in &right {
        let is_new = !mutations::statements(&few).contains(one.mutation.statement);
        if !is_new || mutations::statements(&few).len() < least - 1 {
            few.push(one.clone());
        }
    }
    assert_eq!(unproven(&sound, &few), "99 statements noticed broken, at least 100 are asked for");
    let mut faulty = right.clone();
    faulty[0] = noticed(&of_target[0], false);
    assert!(unproven(&sound, &faulty).starts_with("1 mutations were not noticed"));
    // What fails takes its rules with it.
    let name = of_target[0].noticed_by[0];
    for verdict in [Verdict::Failed, Verdict::Unadvised] {
        let mut failing = sound.clone();
        failing.retain(|one| one.case.name != name);
        failing.push(outcome(name, verdict("no".to_owned(), Vec::new())));
        let left = mutations::of_target(&failing);
        assert!(left.len() < all.len());
        let right: Vec<Noticed> = left.iter().map(|one| noticed(one, true)).collect();
        assert!(unproven(&failing, &right).starts_with("1 cases fail with no rule broken"));
    }
}

/// An outcome with nothing to judge of these statements.
fn unjudged(name: &str, statements: &[&'static str]) -> Outcome {
    Outcome { unjudged: statements.iter().copied().collect(), ..outcome(name, Verdict::Passed) }
}

#[test]
fn statements_with_nothing_to_judge_are_named() {
    let both = ["MQTT-3.4.2-2", "MQTT-3.4.2-3"];
    let nothing = unjudged("a_puback_fits", &both);
    assert_eq!(report::unjudged(std::slice::from_ref(&nothing)), BTreeSet::from(both));
    let told = report::summary(std::slice::from_ref(&nothing));
    assert!(told.contains("2 of these are kept") && told.contains(": 3.4.2-2 3.4.2-3"), "{told}");
    // In another run there was something.
    let judged = [nothing.clone(), unjudged("a_puback_fits", &["MQTT-3.4.2-3"])];
    assert_eq!(report::unjudged(&judged), BTreeSet::from(["MQTT-3.4.2-3"]));
    let failed = Verdict::Failed("too long".to_owned(), Vec::new());
    let failed = Outcome { verdict: failed, ..nothing };
    assert_eq!(report::unjudged(&[failed]), BTreeSet::new());
}

#[test]
fn json_tells_how_every_statement_fared() {
    let failed = Verdict::Failed("nothing came".to_owned(), Vec::new());
    let outcomes = [
        outcome("a_good_connect_is_accepted", Verdict::Passed),
        unjudged("a_puback_fits", &["MQTT-3.4.2-3"]),
        outcome(CASE, failed),
    ];
    let document = report::json("a target", &outcomes);
    let fared = document["requirements"].as_array().expect("a list");
    assert_eq!(fared.len(), Requirements::load().all().len());
    let of = |id: &str| fared.iter().find(|one| one["id"] == id).expect(id);
    assert_eq!(of("MQTT-3.2.0-1")["outcome"], "shown");
    assert_eq!(of("MQTT-3.2.0-1")["shown_by"][0], "a_good_connect_is_accepted");
    assert_eq!(of("MQTT-3.4.2-2")["outcome"], "shown");
    assert_eq!(of("MQTT-3.4.2-3")["outcome"], "nothing to judge");
    assert_eq!(of("MQTT-3.12.4-1")["outcome"], "failed");
    assert_eq!(of("MQTT-3.12.4-1")["failed"][0], CASE);
    for id in ["MQTT311-3.1.2-24", "error-codes", "MQTT-6.0.0-1"] {
        assert_eq!(of(id)["outcome"], "not shown", "{id}");
    }
    let deviations = report::deviations_json(&deviations("nothing came"), &outcomes);
    assert_eq!(deviations["explained"][0]["case"], CASE);
    assert_eq!(deviations["explained"][0]["why"], "e");
    assert_eq!(deviations["disagreements"].as_array().map(Vec::len), Some(0));
}

#[test]
fn every_address_of_a_target_is_tried() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let there = listener.local_addr().expect("an address");
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let patience = std::time::Duration::from_secs(5);
    let (at, _) = line::first([nobody, there].into_iter(), patience).expect("somebody listens");
    assert_eq!(at, there);
    assert!(line::first([nobody].into_iter(), patience).is_err());
    assert!(line::first(std::iter::empty(), patience).is_err());
}

#[test]
fn capabilities_are_read_strictly() {
    let example = include_str!("../caps-example.toml");
    assert!(Capabilities::parse(example).is_ok_and(|read| read.versions == [5, 4, 3]));
    for wrong in ["retian = true", "maximum_qos = 3", "versions = [2]", "retain = 1"] {
        assert!(Capabilities::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn packets_come_back_as_they_were_written() {
    let publish = Publish::new("a/b", "payload").qos(1).id(9);
    let publish = publish.with(id::CONTENT_TYPE, Value::Text("kind".into()));
    let ack = Ack { packet_id: 7, reason: 0x10, ..Ack::default() };
    for packet in [Packet::Publish(publish), Packet::PubAck(ack), Packet::PingResp] {
        let mut bytes = encode::packet(&packet, Version::V5);
        let frame = Frame::take(&mut bytes).expect("framed").expect("whole");
        assert_eq!(parse::packet(&frame, Version::V5), Ok(packet));
        assert!(bytes.is_empty());
    }
}

#[test]
fn the_parser_names_what_is_wrong() {
    let wrong: [(&[u8], &str); 12] = [
        (&[0x20, 3, 2, 0, 0], "MQTT-3.2.2-1"),
        (&[0x20, 3, 1, 0x87, 0], "MQTT-3.2.2-6"),
        (&[0x20, 3, 0, 0x8E, 0], "MQTT-3.2.2-8"),
        (&[0x41, 2, 0, 1], "MQTT-2.1.3-1"),
        (&[0x40, 3, 0, 1, 0x92], "MQTT-3.4.2-1"),
        (&[0x36, 5, 0, 0, 0, 1, 0], "MQTT-3.3.1-4"),
        (&[0x38, 3, 0, 0, 0], "MQTT-3.3.1-2"),
        (&[0x30, 4, 0, 1, b'#', 0], "MQTT-3.3.2-2"),
        (&[0x30, 4, 0, 1, 0xFF, 0], "MQTT-1.5.4-1"),
        (&[0x30, 4, 0, 1, 0, 0], "MQTT-1.5.4-2"),
        (&[0x32, 6, 0, 1, b'a', 0, 0, 0], "MQTT-2.2.1-4"),
        (&[0xE0, 7, 0x8B, 5, 0x11, 0, 0, 0, 1], "MQTT-3.14.2-2"),
    ];
    for (bytes, statement) in wrong {
        let mut buffer = bytes.to_vec();
        let frame = Frame::take(&mut buffer).expect("framed").expect("whole");
        let error = parse::packet(&frame, Version::V5).expect_err(statement);
        assert!(error.contains(statement), "{error}, {statement} expected");
    }
    for overlong in [&[0xD0, 0x80, 0x00][..], &[0xD0, 0xFF, 0xFF, 0xFF, 0xFF]] {
        assert!(Frame::take(&mut overlong.to_vec()).is_err_and(|e| e.contains("MQTT-1.5.5-1")));
    }
    assert_eq!(Frame::take(&mut vec![0xD0]), Ok(None));
}

fn conformance(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command.args(arguments).output().expect("the command starts")
}

#[test]
fn the_command_refuses_what_makes_no_sense() {
    let wrong: [(&[&str], &str); 7] = [
        (&[], "--target"),
        (&["--target", "nowhere"], "HOST:PORT"),
        (&["--target", "127.0.0.1:1", "--only", "no such case"], "--list"),
        (&["--target", "127.0.0.1:1", "--caps", "/no/such/file"], "/no/such/file"),
        (&["--target", "127.0.0.1:1", "--caps", "Cargo.toml"], "Cargo.toml"),
        (&["--target", "127.0.0.1:1"], "does not let a plain client in"),
        (&["--target", "127.0.0.1:1", "--json", "/no/such/folder/a"], "/no/such/folder/a"),
    ];
    for (arguments, complaint) in wrong {
        let output = conformance(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(complaint), "{arguments:?}: {text}");
    }
}

#[test]
fn the_command_lists_its_cases() {
    let output = conformance(&["--list", "--only", "MQTT-3.12.4-1"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("ping  pingreq_is_answered  MQTT-3.12.4-1"), "{text}");
    let output = conformance(&["--list", "--only", "will"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let advised = "older  wills_in_version_4  MQTT311-3.1.2-8 MQTT311-3.14.4-3  (needs Version4)";
    assert!(text.lines().any(|line| line == advised), "{text}");
    let of_subject = |line: &&str| line.starts_with("will  ");
    let all = suite::cases();
    let expected = all.iter().filter(|case| case.subject() == "will").count();
    assert!(expected > 5 && text.lines().filter(of_subject).count() == expected, "{text}");
}
