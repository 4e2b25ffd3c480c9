//! The program as its users have it: what it refuses, how Ctrl-C ends it, and what it says of a client.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Folder, sim};

/// A plan in which the last request has no time to be answered, behind so many others.
fn late(pings: u64) -> String {
    let last_ms = 100 + pings;
    let mut plan = "plan 1\nset network.latency_ms 5\nclient a\nclient b\n\
                    at 1 connect 0\nat 2 connect 1\n"
        .to_owned();
    (100..last_ms).for_each(|ms| plan += &format!("at {ms} ping 0\n"));
    plan + &format!("at {last_ms} publish 1 t qos=1\ncalm {}\nbound 1\n", last_ms + 1)
}

#[test]
fn bad_input_is_refused_with_its_cause() {
    let folder = Folder::new();
    folder.write("newer.plan", "plan 2\n");
    folder.write("torn.plan", "plan 1\nclient a\nat 5 jump 0\n");
    folder.write("colour.plan", "plan 1\nset colour 1\nclient a\nat 5 connect 0\n");
    folder.write("bytes.plan", b"plan 1\n\xFF\n");
    folder.write("late.plan", late(0));
    let cases: [(&[&str], &str); 31] = [
        (&["run", "--seeds", "5"], "a range of seeds is written A..B"),
        (&["run", "--seeds", "5..5"], "5..5 has no seeds in it"),
        (&["run", "--seeds", "0..0xZZ"], "`0xZZ` is no seed; a number is, decimal or 0x…"),
        (&["run", "--seeds", "0..1", "--profile", "windy"], "the profiles are calm, "),
        (&["run", "--seeds", "0..1", "--layer", "moon"], "`moon` is no layer; there are: core"),
        (&["coverage"], "--seeds <A..B>"),
        (&["again", "7"], "unexpected argument '7'"),
        (&["nightly", "--from", "soon"], "`soon` is no seed"),
        (&["nightly", "--count", "-1"], "-1"),
        (&["repro", "0xZZ"], "`0xZZ` is no seed; a number is, decimal or 0x…. Nor is there a file"),
        (&["repro", "18446744073709551616"], "`18446744073709551616` is no seed"),
        (&["repro", "1", "--profile", "windy"], "the profiles are calm, "),
        (
            &["repro", "1", "--profile", "calm", "--plan", "0x5"],
            " from the seed 0x1, not 0x5: go back",
        ),
        (&["shrink", "1", "--plan", "five"], "`five` is no seed; a number is"),
        (&["replay", "missing.plan"], "Nor is there a file of that name"),
        (&["replay", "newer.plan"], "newer.plan: line 1: version 2 of plans is not known; 1 is"),
        (&["replay", "torn.plan"], "torn.plan: line 3: `jump` is nothing that can happen"),
        (&["replay", "colour.plan"], "the setting `colour` is not known"),
        (
            &["replay", "bytes.plan"],
            "bytes.plan cannot be read: stream did not contain valid UTF-8",
        ),
        (&["replay", "."], ". cannot be read: Is a directory"),
        (&["plan", "newer.plan"], "version 2 of plans is not known"),
        (&["trace", "late.plan", "--client", "c"], "there is no client `c`; there are: a, b"),
        (&["trace", "late.plan", "--html", "no/page.html"], "no/page.html cannot be written"),
        (&["shrink", "1", "--profile", "calm"], "this plan violates nothing"),
        (&["shrink", "late.plan", "--out", "no/small.plan"], "no/small.plan cannot be written"),
        (&["double", "x"], "`x` is no seed"),
        (&["canary", "no-such-canary"], "there is no canary `no-such-canary`"),
        (&["canary", "--list", "dup"], "there is no canary `dup`"),
        (&["explore", "crashes", "nowhere"], "there is no world called nowhere; there are: "),
        (&["cuts", "missing.plan"], "missing.plan cannot be read: No such file"),
        (&["cuts", "newer.plan"], "version 2 of plans is not known"),
    ];
    for (arguments, cause) in cases {
        let output = sim(&folder, arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(cause), "{arguments:?}: {text}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn kept_failures_that_are_damaged_are_refused_and_none_is_no_failure() {
    let folder = Folder::new();
    let again = sim(&folder, &["again"]).output().unwrap();
    let text = String::from_utf8(again.stdout).unwrap();
    assert_eq!(text, "no failures of layer=core are kept in target/sim/failures.tsv\n");
    assert!(again.status.success());
    folder.write("target/sim/failures.tsv", "0x1\tcalm\tcore\tQ1\tabc\n0x1\tcalm\tmo");
    let again = sim(&folder, &["again"]).output().unwrap();
    let text = String::from_utf8(again.stderr).unwrap();
    assert_eq!(text, "sim: target/sim/failures.tsv: line 2 is no failure; delete it\n");
    assert_eq!(again.status.code(), Some(2));
}

#[test]
fn a_failure_of_another_revision_is_run_again_with_a_word_on_it() {
    let folder = Folder::new();
    folder.write("target/sim/failures.tsv", "0x1\tcalm\tcore\tQ1\t0ld\t0x5\n");
    let note = "0x1 failed Q1 in rev=0ld; this is rev=";
    let repro = sim(&folder, &["repro", "1", "--profile", "calm"]).output().unwrap();
    let text = String::from_utf8(repro.stderr).unwrap();
    assert!(text.starts_with(&format!("sim: {note}")), "{text}");
    assert!(text.contains(": another plan is drawn from the seed"), "{text}");
    assert!(repro.status.success());
    let again = sim(&folder, &["again"]).output().unwrap();
    let text = String::from_utf8(again.stdout).unwrap();
    assert!(text.starts_with("passes seed=0x1 layer=core profile=calm\n  "), "{text}");
    assert!(text.contains(note), "{text}");
    assert!(again.status.success());
    // Of what is run in another way nothing is known.
    let repro = sim(&folder, &["repro", "1", "--profile", "network"]).output().unwrap();
    assert!(repro.stderr.is_empty());
}

#[test]
fn ctrl_c_ends_a_command_with_what_it_found() {
    let folder = Folder::new();
    folder.write("late.plan", late(2_500));
    let cuts = concat!(env!("CARGO_MANIFEST_DIR"), "/cuts/compaction.plan");
    let said = "interrupted; what was found so far:\n";
    let seeds = ["--seeds", "0..1000000", "-j", "2"];
    let cases: [(&[&str], &str, i32); 7] = [
        (&[&["run"], &seeds[..]].concat(), "profile       seeds", 2),
        (&[&["coverage"], &seeds[..]].concat(), " points reached\n", 2),
        (&["nightly", "--count", "1000000"], " points reached\n", 2),
        (&["explore"], "not exhausted", 2),
        (&["cuts", cuts, "--seeds", "100"], " cuts (killed, without power, let down) at ", 2),
        (&["double", "1", "2", "3", "4", "5", "6", "7", "--profile", "each"], " of 63 seeds ", 2),
        (&["shrink", "late.plan", "--out", "small.plan"], "client a\n", 1),
    ];
    for (arguments, found, code) in cases {
        let mut child = sim(&folder, arguments).spawn().unwrap();
        support::wait_for_handler(&mut child);
        support::interrupt(&child);
        let output = support::end_of(child);
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, rest) = text.split_once(said).unwrap_or_else(|| panic!("{arguments:?}: {text}"));
        assert!(rest.contains(found), "{arguments:?}: {rest}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(errors.contains("interrupted before the end"), code == 2, "{errors}");
        // Progress is for people.
        assert!(!errors.contains('\r'), "{errors}");
    }
    let small = folder.path("small.plan").display().to_string();
    let replay = sim(&folder, &["replay", &small]).output().unwrap();
    assert_eq!(replay.status.code(), Some(1), "what is left of the plan fails as it did");
}

#[test]
fn a_search_that_visits_too_little_fails_where_that_is_asked() {
    let folder = Folder::new();
    let explore = |arguments: &[&str]| {
        let worlds = ["explore", "crashes", "qos0", "--states"];
        let output = sim(&folder, &[&worlds, arguments].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let stopped = "FAIL stopped before the end: crashes, qos0\n";
    let few = "FAIL at least 401 states are asked for\n";
    let cases: [(&[&str], i32, &str); 5] = [
        (&["200"], 0, ""),
        (&["200", "--at-least", "400"], 0, ""),
        (&["200", "--at-least", "401"], 1, few),
        (&["200", "--exhausted", "--at-least", "400"], 1, stopped),
        (&["200", "--exhausted", "--at-least", "401"], 1, &[stopped, few].concat()),
    ];
    for (arguments, code, said) in cases {
        let (ended, text) = explore(arguments);
        let (_, behind) = text.split_once("400 distinct states in all\n").unwrap();
        assert_eq!((ended, behind), (Some(code), said), "{arguments:?}: {text}");
    }
}

#[test]
fn a_trace_of_one_client_has_its_lines_alone() {
    let folder = Folder::new();
    folder.write(
        "two.plan",
        "plan 1\nclient a expiry_s=60\nclient \"b b\"\nat 1 connect 0\nat 1 connect 1\n\
         at 50 subscribe 0 t qos=1\nat 100 publish 1 t qos=1\nat 200 disconnect 1\n\
         at 300 broker kill\nat 400 broker start\nat 500 connect 0\ncalm 600\nbound 60000\n",
    );
    let trace = |arguments: &[&str]| {
        let output = sim(&folder, &[&["trace", "two.plan"], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let whole = trace(&[]);
    let [a, b] = [trace(&["--client", "a"]), trace(&["--client", "b b"])];
    assert_eq!(trace(&["--client", "1"]), b, "by its number");
    for (text, own, other) in [(&a, "n0 ", "n1 "), (&b, "n1 ", "n0 ")] {
        assert!(text.contains(own) && !text.contains(other), "{text}");
        assert!(text.contains("broker Kill") && text.contains("broker Start"), "{text}");
        assert!(text.lines().all(|line| whole.contains(line)), "{text}");
        assert!(text.ends_with("no violation\n"), "{text}");
    }
    assert!(a.contains(" <- PUBLISH q1 ") && a.contains("n2 opened by 0"), "{a}");
    assert!(b.contains(" -> PUBLISH q1 ") && b.contains("SessionEnded"), "{b}");
    let narrow = trace(&["--client", "a", "--with", "SUBACK"]);
    assert_eq!(narrow.lines().count(), 3, "{narrow}");

    trace(&["--client", "b b", "--html", "b.html"]);
    let page = std::fs::read_to_string(folder.path("b.html")).unwrap();
    assert!(page.contains(r#""lanes":["broker","b b"]"#), "another lane");
    assert!(page.contains("[n1]") && !page.contains("[n0]"), "another client's packets");
    assert!(!page.contains(r#""lane":2"#), "a lane that is not there");
}
