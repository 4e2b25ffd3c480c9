//! Users, rules and certificates in files: made with the program, read again when they change.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;

use crate::support::{Broker, Raw, connect, run, signalhouse};

/// Sets a user's password, and gives what the program said.
fn passwd(file: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = signalhouse()
        .arg("passwd")
        .arg(file)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A program that refuses need not read.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The broker's answer to a login.
fn login(broker: &Broker, user: &str, password: &'static str) -> ReasonCode {
    let mut raw = Raw::open(broker);
    let mut connect = connect(user);
    connect.user_name = Text::try_from(user).ok();
    connect.password = Some(Bytes::from_static(password.as_bytes()));
    raw.send_packet(&ClientPacket::Connect(Box::new(connect)));
    match raw.receive() {
        Some(ServerPacket::ConnAck(ack)) => ack.reason,
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

#[test]
fn files_that_change_are_read_again_and_wrong_ones_change_nothing() {
    let folder = std::env::temp_dir().join(format!("signalhouse-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a writable place");
    let (users, rules) = (folder.join("users"), folder.join("rules"));
    let (done, said) = passwd(&users, &["ann"], "secret\n");
    assert!(done && said.starts_with("ann added; 1 users in "), "{said}");
    std::fs::write(&rules, "allow users all #\n").expect("a writable folder");
    let environment = [
        ("SIGNALHOUSE_SECURITY__PASSWORD_FILE", users.to_str().expect("text")),
        ("SIGNALHOUSE_SECURITY__ACL_FILE", rules.to_str().expect("text")),
        ("SIGNALHOUSE_SECURITY__WATCH_INTERVAL_MS", "50"),
    ];
    let mut broker = Broker::with(&environment, &[]);
    assert_eq!(login(&broker, "ann", "secret"), ReasonCode::Success);
    assert_eq!(login(&broker, "bob", "other"), ReasonCode::BadUserNameOrPassword);
    broker.wait_for_line(&["login refused", "user=bob", "no such user"]);

    let (done, said) = passwd(&users, &["bob"], "other\n");
    assert!(done, "{said}");
    broker.wait_for_line(&["read again", "2 users, 1 rules"]);
    assert_eq!(login(&broker, "bob", "other"), ReasonCode::Success);

    std::fs::write(&rules, "allow users all #\nallow nobody all #\n").expect("a writable folder");
    broker.wait_for_line(&["the settings stay as they are", "rules: line 2: \"nobody\" is nobody"]);
    assert_eq!(login(&broker, "bob", "other"), ReasonCode::Success);
    let output = run(&["check"], &environment);
    assert_eq!(output.status.code(), Some(78));

    let (done, said) = passwd(&users, &["--remove", "eve"], "");
    assert!(!done && said.contains("there is no user eve"), "{said}");
    for (user, input, fault) in
        [("a:b", "x", "has a colon"), ("", "x", "is empty"), ("eve", "\n", "the password is empty")]
    {
        let (done, said) = passwd(&users, &[user], input);
        assert!(!done && said.contains(fault), "{said}");
    }
    broker.signal("TERM");
    assert_eq!(broker.exit_code(), Some(0));
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}

#[test]
fn the_deciding_rule_is_named() {
    let path = std::env::temp_dir().join(format!("signalhouse-rules-{}", std::process::id()));
    std::fs::write(&path, "deny everyone all secret/#\n# all else\nallow user ann all #\n")
        .expect("a writable place");
    let file = path.to_str().expect("text");
    for (user, topic, action, code, expected) in [
        ("ann", "rooms/1", "publish", 0, ":3: allow user ann all #"),
        ("ann", "secret/1", "receive", 1, ":1: deny everyone all secret/#"),
        ("bob", "rooms/1", "subscribe", 1, "no rule is about it"),
        ("ann", "a#", "subscribe", 2, "filter \"a#\""),
    ] {
        let arguments =
            ["acl", "explain", "--acl", file, "--user", user, "--topic", topic, "--action", action];
        let output = run(&arguments, &[]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    std::fs::remove_file(&path).expect("the file is ours");
}

#[test]
fn what_a_key_or_token_is_bound_to_is_explained_too() {
    let path = std::env::temp_dir().join(format!("signalhouse-bounds-{}", std::process::id()));
    std::fs::write(&path, "deny everyone all secret/#\nallow users all rooms/{claim.room}/#\n")
        .expect("a writable place");
    let file = path.to_str().expect("text");
    let room = ["--claim", "room=7"];
    for (bounds, action, topic, code, expected) in [
        (&["--grant", "rooms/#"][..], "publish", "rooms/7/a", 0, "--grant rooms/# covers it"),
        (&["--grant", "a/#", "--grant", "b/#"], "publish", "rooms/7/a", 1, "no grant covers it"),
        (&["--grant", "secret/#"], "receive", "secret/1", 1, ":1: deny everyone"),
        (&["--grant", "rooms/#"], "publish", "rooms/8/a", 1, "no rule is about it"),
        (&["--grant-publish", "rooms/7/+"], "publish", "rooms/7/a", 0, "--grant-publish rooms"),
        (&["--grant-publish", "rooms/7/+"], "receive", "rooms/7/a", 1, "no grant covers it"),
        (&["--grant-subscribe", "rooms/7/+"], "receive", "rooms/7/a", 0, "--grant-subscribe"),
        (&["--grant-subscribe", "rooms/7/+"], "subscribe", "rooms/7/#", 1, "no grant covers it"),
        (&["--grant-subscribe", "rooms/7/+"], "publish", "rooms/7/a", 1, "no grant covers it"),
        (&["--grant", "+/{claim.room}/#"], "subscribe", "rooms/7/+", 0, "--grant +/{claim.room}/#"),
        (&["--grant", "a#"], "publish", "rooms/7/a", 2, "grant a#"),
        (&["--claim", "room=8"], "publish", "rooms/7/a", 1, "no rule is about it"),
        (&["--claim", "room"], "publish", "rooms/7/a", 2, "NAME=VALUE"),
    ] {
        let asked = ["acl", "explain", "--acl", file, "--user", "ann"];
        let about = ["--topic", topic, "--action", action];
        let output = run(&[&asked[..], &room, bounds, &about].concat(), &[]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{bounds:?} {action} {topic}: {said}");
        assert!(said.contains(expected), "{bounds:?} {action} {topic}: {said}");
    }
    std::fs::remove_file(&path).expect("the file is ours");
}

/// Settings without a file of rules allow everything, and what is granted still bounds.
#[test]
fn settings_without_rules_are_explained_if_they_are_meant() {
    let path = std::env::temp_dir().join(format!("signalhouse-norules-{}", std::process::id()));
    std::fs::write(&path, "[log]\nlevel = \"info\"\n").expect("a writable place");
    let config = ["--config", path.to_str().expect("text")];
    let asked = ["acl", "explain", "--topic", "a/1", "--action", "publish"];
    for (more, code, expected) in [
        (&config[..], 0, "there is no file of rules"),
        (&[config[0], config[1], "--grant", "a/+"], 0, "--grant a/+ covers it"),
        (&[config[0], config[1], "--grant", "b/+"], 1, "no grant covers it"),
        (&[], 78, "give --acl FILE"),
    ] {
        let output = run(&[&asked[..], more].concat(), &[]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
        assert!(said.contains(expected), "{more:?}: {said}");
    }
    std::fs::remove_file(&path).expect("the file is ours");
}

#[test]
fn check_says_what_is_open_to_whom() {
    let users = std::env::temp_dir().join(format!("signalhouse-users-{}", std::process::id()));
    std::fs::write(&users, "").expect("a writable place");
    let environment = [("SIGNALHOUSE_SECURITY__PASSWORD_FILE", users.to_str().expect("text"))];
    let output = run(&["check", "--listen", "0.0.0.0:1883"], &environment);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = "0.0.0.0:1883  MQTT over TCP  everybody who can reach it, with a password\n";
    assert!(said.contains(line), "{said}");
    assert!(said.contains("publish and subscribe to everything"), "{said}");
    std::fs::remove_file(&users).expect("the file is ours");
}
