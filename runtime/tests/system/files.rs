//! Users, rules, quotas and keys in files: made with the program, read again when they change.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use rcgen::{KeyPair, PublicKeyData};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use signalhouse_core::wire::packet::{ClientPacket, Publish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Text};

use crate::support::{Broker, Raw, connect, publish, run, signalhouse};

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
fn login(broker: &Broker, user: &str, password: &str) -> ReasonCode {
    enter(broker, user, password).1
}

/// A connection that has logged in, or tried to, and the broker's answer.
fn enter(broker: &Broker, user: &str, password: &str) -> (Raw, ReasonCode) {
    let mut raw = Raw::open(broker);
    let mut connect = connect(user);
    connect.user_name = Text::try_from(user).ok();
    connect.password = Some(Bytes::copy_from_slice(password.as_bytes()));
    raw.send_packet(&ClientPacket::Connect(Box::new(connect)));
    match raw.receive() {
        Some(ServerPacket::ConnAck(ack)) => (raw, ack.reason),
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

/// The answer to a message at QoS 1.
fn say(raw: &mut Raw, topic: &str) -> ReasonCode {
    let ClientPacket::Publish(packet) = publish(topic, b"x") else { unreachable!("it is one") };
    let delivery = Delivery::AtLeastOnce(InboundPacketId(PacketId::MIN));
    raw.send_packet(&ClientPacket::Publish(Publish { delivery, ..packet }));
    match raw.receive() {
        Some(ServerPacket::PubAck(ack)) => ack.reason,
        other => panic!("expected PUBACK, got {other:?}"),
    }
}

/// The topic of the next message.
fn heard(raw: &mut Raw) -> String {
    match raw.receive() {
        Some(ServerPacket::Publish(publish)) => publish.message.topic.to_string(),
        other => panic!("expected PUBLISH, got {other:?}"),
    }
}

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("signalhouse-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a writable place");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let (path, new) = (self.0.join(name), self.0.join("new"));
        // At once: whoever watches never sees half of it.
        std::fs::write(&new, text).expect("a writable folder");
        std::fs::rename(&new, &path).expect("a writable folder");
        path.to_str().expect("text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const WATCH: (&str, &str) = ("SIGNALHOUSE_SECURITY__WATCH_INTERVAL_MS", "50");

#[test]
fn narrower_rules_hold_for_who_is_connected() {
    let folder = Folder::new("narrower");
    let rules = folder.write("rules", "allow everyone all #\n");
    let broker = Broker::with(&[("SIGNALHOUSE_SECURITY__ACL_FILE", &rules), WATCH], &[]);
    let (mut reader, _) = Raw::connect(&broker, "reader");
    reader.subscribe("rooms/#", QoS::AtMostOnce);
    let (mut writer, _) = Raw::connect(&broker, "writer");
    for topic in ["rooms/open", "rooms/closed", "rooms/deaf"] {
        assert_eq!(say(&mut writer, topic), ReasonCode::Success);
        assert_eq!(heard(&mut reader), topic);
    }
    let narrower = "deny everyone publish rooms/closed\n\
        deny everyone receive rooms/deaf\n\
        allow everyone all rooms/#\n";
    folder.write("rules", narrower);
    broker.wait_for_line(&["read again", "3 rules"]);
    assert_eq!(say(&mut writer, "rooms/closed"), ReasonCode::NotAuthorized);
    // It may be said there, and is heard by nobody.
    assert!(!say(&mut writer, "rooms/deaf").is_error());
    assert_eq!(say(&mut writer, "rooms/open"), ReasonCode::Success);
    assert_eq!(heard(&mut reader), "rooms/open");
}

#[test]
fn a_file_of_quotas_is_watched_too() {
    let folder = Folder::new("quotas");
    let file = folder.write("quotas.toml", "");
    let broker = Broker::with(&[("SIGNALHOUSE_QUOTAS__FILE", &file), WATCH], &[]);
    let (mut writer, _) = Raw::connect(&broker, "writer");
    for _ in 0..3 {
        assert!(!say(&mut writer, "t").is_error());
    }
    let quota = "[[quota]]\naddress = \"127.0.0.1\"\nmessages_per_day = 2\n";
    folder.write("quotas.toml", quota);
    broker.wait_for_lines(&["read again"], 1);
    let answers: Vec<_> = (0..3).map(|_| say(&mut writer, "t").is_error()).collect();
    assert_eq!(answers, [false, false, true]);
    folder.write("quotas.toml", "[[quota]]\nmessages_per_day = 5\n");
    broker.wait_for_line(&["the settings stay as they are", "quotas.file", "needs one of user"]);
    assert!(say(&mut writer, "t").is_error(), "the quota of before holds");
    folder.write("quotas.toml", "# nobody is bound\n");
    broker.wait_for_lines(&["read again"], 2);
    assert!(!say(&mut writer, "t").is_error());
}

/// A token that `key` signs, good for a minute.
fn token(key: &KeyPair, kid: &str) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let head = format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
    let claims = format!(r#"{{"sub":"ann","exp":{}}}"#, now + 60);
    let signed = format!("{}.{}", part(head.as_bytes()), part(claims.as_bytes()));
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = key.serialize_der();
    let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random);
    let signature = signer.expect("a key").sign(&random, signed.as_bytes()).expect("randomness");
    format!("{signed}.{}", part(signature.as_ref()))
}

/// The JWKS document of a key.
fn document(key: &KeyPair, kid: &str) -> String {
    let (x, y) = key.der_bytes()[1..].split_at(32);
    let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
    format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{y}"}}]}}"#)
}

/// How a key stands in a file.
type Form = fn(&KeyPair) -> String;

#[test]
fn public_keys_of_tokens_are_watched_in_both_forms() {
    let [one, other] = [(); 2].map(|()| KeyPair::generate().expect("a key"));
    let folder = Folder::new("keys");
    let forms: [(_, _, Form); 2] = [
        ("SIGNALHOUSE_JWT__PUBLIC_KEY_FILE", "key.pem", KeyPair::public_key_pem),
        ("SIGNALHOUSE_JWT__JWKS_FILE", "keys.json", |key| document(key, "k")),
    ];
    for (setting, name, form) in forms {
        let file = folder.write(name, &form(&one));
        let broker = Broker::with(&[(setting, &file), WATCH], &[]);
        let (mut ann, reason) = enter(&broker, "ann", &token(&one, "k"));
        assert_eq!(reason, ReasonCode::Success, "{name}");
        assert_eq!(login(&broker, "", &token(&other, "k")), ReasonCode::NotAuthorized, "{name}");
        folder.write(name, &form(&other));
        broker.wait_for_line(&["read again"]);
        // Who came in by the key that is gone is sent away.
        match ann.receive() {
            Some(ServerPacket::Disconnect(end)) => {
                assert_eq!(end.reason, ReasonCode::NotAuthorized);
            }
            other => panic!("expected DISCONNECT, got {other:?}"),
        }
        assert_eq!(login(&broker, "ann", &token(&other, "k")), ReasonCode::Success, "{name}");
        assert_eq!(login(&broker, "", &token(&one, "k")), ReasonCode::NotAuthorized, "{name}");
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

    let (done, said) = passwd(&users, &["--remove", "bob"], "");
    assert!(done && said.contains("bob"), "{said}");
    std::fs::write(&rules, "allow users all #\n").expect("a writable folder");
    broker.wait_for_line(&["read again", "1 users, 1 rules"]);
    assert_eq!(login(&broker, "bob", "other"), ReasonCode::BadUserNameOrPassword);
    assert_eq!(login(&broker, "ann", "secret"), ReasonCode::Success);

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

/// So that the broker, which may be another user's, can go on reading it.
#[test]
fn files_of_secrets_keep_their_mode_owner_and_links() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
    let folder = Folder::new("kept");
    for (name, made) in [("users", "ann"), ("keys.toml", "user = ")] {
        let (file, link) = (folder.0.join(name), folder.0.join(format!("link-to-{name}")));
        symlink(&file, &link).expect("a writable folder");
        let change = |user: &str| {
            if name == "users" {
                let (done, said) = passwd(&link, &[user], "secret\n");
                assert!(done, "{said}");
                return;
            }
            let link = link.to_str().expect("text");
            let done =
                run(&["key", "add", "--file", link, "--user", user, "--scope", "publish"], &[]);
            assert!(done.status.success(), "{done:?}");
        };
        std::fs::write(&file, "").expect("a writable folder");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640))
            .expect("it is ours");
        // Only some may give a file away.
        let _ = chown(&file, Some(12_345), Some(12_345));
        let kept = || {
            let file = std::fs::metadata(&file).expect("it is there");
            (file.mode() & 0o777, file.uid(), file.gid())
        };
        let before = kept();
        assert_eq!(before.0, 0o640);
        for user in ["ann", "bob"] {
            change(user);
            assert_eq!(kept(), before, "{name}");
        }
        assert!(link.is_symlink(), "{name}");
        let text = std::fs::read_to_string(&file).expect("text");
        assert_eq!(text.matches(made).count(), if name == "users" { 1 } else { 2 }, "{text}");
        let new = format!("new-{name}");
        let new = folder.0.join(&new);
        let path = new.to_str().expect("text");
        if name == "users" {
            assert!(passwd(&new, &["ann"], "secret\n").0);
        } else {
            assert!(
                run(&["key", "add", "--file", path, "--user", "a", "--scope", "publish"], &[])
                    .status
                    .success()
            );
        }
        assert_eq!(std::fs::metadata(&new).expect("it is there").mode() & 0o777, 0o600, "{name}");
    }
    let left = std::fs::read_dir(&folder.0).expect("a folder").count();
    assert_eq!(left, 6, "nothing is left beside the files");
}

#[test]
fn the_deciding_rule_is_named() {
    let path = std::env::temp_dir().join(format!("signalhouse-rules-{}", std::process::id()));
    let ours = "deny everyone all secret/#\n# all else\nallow user ann all #\n\
        allow everyone publish devices/{client_id}/#\n";
    let mosquittos = "topic read news\nuser ann\ntopic readwrite rooms/#\npattern write in/%c\n";
    for (text, user, client, topic, action, code, expected) in [
        (ours, "ann", None, "rooms/1", "publish", 0, ":3: allow user ann all #"),
        (ours, "ann", None, "secret/1", "receive", 1, ":1: deny everyone all secret/#"),
        (ours, "bob", None, "rooms/1", "subscribe", 1, "no rule is about it"),
        (ours, "ann", None, "a#", "subscribe", 2, "filter \"a#\""),
        (ours, "bob", Some("pump"), "devices/pump/t", "publish", 0, ":4: allow everyone publish"),
        (ours, "bob", Some("fan"), "devices/pump/t", "publish", 1, "no rule is about it"),
        (mosquittos, "ann", None, "rooms/1", "publish", 0, ":3: topic readwrite rooms/#"),
        (mosquittos, "bob", None, "rooms/1", "publish", 1, "no rule is about it"),
        (mosquittos, "bob", Some("pump"), "in/pump", "publish", 0, ":4: pattern write in/%c"),
        (mosquittos, "bob", Some("fan"), "in/pump", "publish", 1, "no rule is about it"),
    ] {
        std::fs::write(&path, text).expect("a writable place");
        let file = path.to_str().expect("text");
        let asked = ["acl", "explain", "--acl", file, "--user", user];
        let client = client.map(|client| ["--client", client]);
        let about = ["--topic", topic, "--action", action];
        let arguments = [&asked[..], client.as_ref().map_or(&[], |client| &client[..]), &about];
        let output = run(&arguments.concat(), &[]);
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
