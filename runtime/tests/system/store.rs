//! The store as an operator meets it: the folder, its lock, damage, and the commands.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use bytes::Bytes;
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::packet::{ClientPacket, Publish, ServerPacket};
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS};

use crate::support::{Broker, Raw, connect, run, signalhouse};

/// A folder of its own for each test, empty.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&path));
    path
}

fn start(data: &Path) -> Broker {
    let data = data.to_str().expect("a plain path");
    Broker::with(&[], &["--data", data, "--durability", "strict"])
}

fn store(arguments: &[&str], data: &Path) -> Output {
    let data = data.to_str().expect("a plain path");
    run(&[&["store"], arguments, &["--data", data]].concat(), &[])
}

fn printed(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(text).expect("text")
}

/// A durable session with `count` messages waiting for it.
fn fill(broker: &Broker, count: u16) {
    let mut durable = connect("durable");
    durable.clean_start = false;
    durable.session_expiry_interval_s = 3_600;
    let mut receiver = Raw::open(broker);
    receiver.send_packet(&ClientPacket::Connect(Box::new(durable)));
    assert!(matches!(receiver.receive(), Some(ServerPacket::ConnAck(_))));
    receiver.subscribe("kept/#", QoS::AtLeastOnce);
    drop(receiver);
    let (mut publisher, _) = Raw::connect(broker, "publisher");
    for number in 1..=count {
        let id = InboundPacketId(PacketId::new(number).expect("not zero"));
        publisher.send_packet(&ClientPacket::Publish(Publish {
            dup: false,
            retain: false,
            delivery: Delivery::AtLeastOnce(id),
            topic: Topic::try_from("kept/x").expect("a topic"),
            payload: Bytes::from(number.to_string()),
            message_expiry_interval_s: None,
            properties: None,
        }));
        match publisher.receive() {
            Some(ServerPacket::PubAck(ack)) => assert!(!ack.reason.is_error(), "{ack:?}"),
            other => panic!("expected PUBACK, got {other:?}"),
        }
    }
}

#[test]
fn what_was_acknowledged_outlives_a_kill() {
    let data = folder("kill");
    let broker = start(&data);
    fill(&broker, 20);
    drop(broker); // SIGKILL
    let broker = start(&data);
    broker.wait_for_line(&["the store is recovered", "sessions=1", "queued=20"]);
    let mut durable = connect("durable");
    durable.clean_start = false;
    let mut receiver = Raw::open(&broker);
    receiver.send_packet(&ClientPacket::Connect(Box::new(durable)));
    match receiver.receive() {
        Some(ServerPacket::ConnAck(ack)) => assert!(ack.session_present),
        other => panic!("expected CONNACK, got {other:?}"),
    }
    for number in 1..=20 {
        match receiver.receive() {
            Some(ServerPacket::Publish(publish)) => {
                assert_eq!(publish.message.payload, Bytes::from(number.to_string()));
            }
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }
}

#[test]
fn without_settings_everything_is_kept_in_a_folder_where_it_was_started() {
    let place = folder("bare");
    fs::create_dir_all(&place).expect("a writable folder");
    let start = || {
        let mut command = signalhouse();
        command.env_remove("SIGNALHOUSE_STORE__DURABILITY").current_dir(&place);
        command.args(["--listen", "127.0.0.1:0"]);
        Broker::of(command)
    };
    let broker = start();
    broker.wait_for_line(&["durability=\"strict\""]);
    fill(&broker, 5);
    drop(broker); // SIGKILL
    let data = place.join("signalhouse-data");
    let mode = fs::metadata(&data).expect("the folder is made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // The last frame as if it had been under way when the power went.
    let segment = data.join("segment-0000000001");
    let log = fs::read(&segment).expect("a readable file");
    let last = log.iter().rposition(|byte| *byte != 0).expect("there are records");
    let file = fs::File::options().write(true).open(&segment).expect("a writable file");
    file.write_all_at(&[!log[last]], last as u64).expect("a writable file");
    let broker = start();
    let line = broker.wait_for_line(&["the store is recovered"]);
    for part in ["records=", "sessions=1", "queued=4", "retained=0", "took_ms="] {
        assert!(line.contains(part), "{part} in {line}");
    }
    broker.wait_for_line(&["the end of the log is not whole", "segment-0000000001", "offset="]);
}

#[test]
fn the_folder_is_for_one_owner_and_one_process() {
    let data = folder("lock");
    let _broker = start(&data);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in fs::read_dir(&data).expect("a readable folder") {
        assert_eq!(mode(&file.expect("a readable folder").path()), 0o600);
    }
    let second = run(
        &["--listen", "127.0.0.1:0", "--durability", "strict", "--data", data.to_str().expect("")],
        &[],
    );
    assert_eq!(second.status.code(), Some(65));
    assert!(printed(&second).contains("is in use by another process"), "{}", printed(&second));
    let repair = store(&["repair"], &data);
    assert_eq!(repair.status.code(), Some(65));
}

#[test]
fn damage_is_named_and_can_be_repaired() {
    let data = folder("damage");
    let mut broker = start(&data);
    fill(&broker, 30);
    broker.signal("TERM");
    assert_eq!(broker.exit_code(), Some(0));
    assert_eq!(store(&["check"], &data).status.code(), Some(0));
    let segment = data.join("segment-0000000001");
    let file = fs::File::options().read(true).write(true).open(&segment).expect("the log");
    file.write_all_at(b"?", 4_800).expect("a writable file");
    let check = store(&["check"], &data);
    assert_eq!(check.status.code(), Some(65));
    let text = printed(&check);
    assert!(text.contains("segment-0000000001 is damaged at offset"), "{text}");
    assert!(text.contains("store repair"), "{text}");
    let refused = run(
        &["--listen", "127.0.0.1:0", "--durability", "strict", "--data", data.to_str().expect("")],
        &[],
    );
    assert_eq!(refused.status.code(), Some(65));
    assert!(printed(&refused).contains("segment-0000000001 is damaged at offset"));
    assert!(text.contains(&format!("{}: segment", data.display())), "{text}");
    let repair = store(&["repair"], &data);
    assert_eq!(repair.status.code(), Some(0), "{}", printed(&repair));
    let text = printed(&repair);
    assert!(!text.contains("store repair"), "it is running: {text}");
    assert!(text.contains("damage: segment-0000000001") && text.contains("set aside: "), "{text}");
    let broker = start(&data);
    broker.wait_for_line(&["the store is recovered", "sessions=1"]);
}

#[test]
fn a_running_broker_can_be_backed_up() {
    let (data, copy) = (folder("backup"), folder("restored"));
    let broker = start(&data);
    fill(&broker, 10);
    let backup = data.with_extension("export");
    drop(fs::remove_file(&backup));
    let backup = backup.to_str().expect("a plain path");
    let export = store(&["export", backup], &data);
    assert_eq!(export.status.code(), Some(0), "{}", printed(&export));
    drop(broker);
    let import = store(&["import", backup], &copy);
    assert_eq!(import.status.code(), Some(0), "{}", printed(&import));
    assert_eq!(store(&["import", backup], &copy).status.code(), Some(65));
    let dump = printed(&store(&["dump"], &copy));
    assert_eq!(dump.lines().filter(|line| line.contains("Published")).count(), 10, "{dump}");
    let broker = start(&copy);
    broker.wait_for_line(&["the store is recovered", "sessions=1", "queued=10"]);
}

#[test]
fn what_is_no_export_is_named_and_leaves_room_for_one() {
    let (data, copy) = (folder("exported"), folder("imported"));
    let broker = start(&data);
    fill(&broker, 3);
    let export = data.with_extension("whole");
    drop(fs::remove_file(&export));
    let path = export.to_str().expect("a plain path");
    assert_eq!(store(&["export", path], &data).status.code(), Some(0));
    let whole = fs::read(&export).expect("an export");
    let wrong = data.with_extension("wrong");
    let path_of_wrong = wrong.to_str().expect("a plain path");
    for bytes in [&b"no export"[..], &whole[..4_200], &[&whole[..], b"?"].concat()] {
        fs::write(&wrong, bytes).expect("a writable folder");
        let refused = store(&["import", path_of_wrong], &copy);
        let text = printed(&refused);
        assert_eq!(refused.status.code(), Some(65), "{text}");
        assert!(text.starts_with(&format!("signalhouse: {path_of_wrong}: not a")), "{text}");
        assert!(!text.contains("repair"), "{text}");
    }
    let folder_as_file = store(&["import", data.to_str().expect("a plain path")], &copy);
    assert_eq!(folder_as_file.status.code(), Some(1), "{}", printed(&folder_as_file));
    assert_eq!(store(&["import", path], &copy).status.code(), Some(0));
    let text = printed(&store(&["import", path], &copy));
    let expected = format!("signalhouse: there is a store in {} already", copy.display());
    assert!(text.starts_with(&expected) && !text.contains("entity"), "{text}");
}

#[test]
fn a_path_that_can_be_no_folder_is_named_as_that() {
    let file = folder("a-file");
    fs::write(&file, "").expect("a writable folder");
    let path = file.to_str().expect("a plain path");
    for (path, code, expected) in [
        (path, 65, "as the data folder: not a directory"),
        ("", 78, "--data: store.path: is empty"),
    ] {
        let arguments = ["--listen", "127.0.0.1:0", "--durability", "strict", "--data", path];
        let refused = run(&arguments, &[]);
        let text = printed(&refused);
        assert_eq!(refused.status.code(), Some(code), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    fs::remove_file(&file).expect("the file is ours");
}

#[test]
fn a_start_says_what_is_unusual_about_the_folder() {
    let data = folder("aside");
    let path = data.to_str().expect("a plain path");
    fs::create_dir_all(&data).expect("a writable folder");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let broker = Broker::with(&[], &["--data", path, "--durability", "memory"]);
    assert_eq!(broker.count_lines(&["there is a store"]), 0);
    drop(broker);
    let broker = start(&data);
    broker.wait_for_line(&["others may write the data folder", "mode=\"777\""]);
    fill(&broker, 2);
    drop(broker);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let broker = Broker::with(&[], &["--data", path, "--durability", "memory"]);
    broker.wait_for_line(&["there is a store, which is left aside", path]);
    drop(broker);
    let broker = start(&data);
    broker.wait_for_line(&["the store is recovered", "queued=2"]);
    assert_eq!(broker.count_lines(&["others may write"]), 0);
}
