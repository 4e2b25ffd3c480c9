//! Backups of a broker at work: what was acknowledged before one began is in it, and it is a store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::packet::{ClientPacket, Publish, ServerPacket};
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS};

use crate::support::{Broker, Raw, connect, run};

const PUBLISHERS: usize = 3;
const BACKUPS: usize = 4;
/// Each publisher gets so many messages acknowledged between two backups.
const BETWEEN: u64 = 60;
const PAYLOAD_BYTES: usize = 2_000;

/// The load: what was acknowledged of each publisher's messages, which are numbered from 1 on.
#[derive(Default)]
struct Load {
    acknowledged: [AtomicU64; PUBLISHERS],
    is_over: AtomicBool,
}

/// Ends the load, also when a test fails in the middle.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

impl Load {
    fn acknowledged(&self) -> [u64; PUBLISHERS] {
        self.acknowledged.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    /// Publishes until it is over, each message for a queue and over a retained one: so segments fill up, are
    /// compacted and used again.
    fn publish(&self, broker: &Broker, number: usize) {
        let _over = Over(self);
        let (mut raw, _) = Raw::connect(broker, &format!("publisher-{number}"));
        for count in 1.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let topics = ["queue/x".to_owned(), format!("last/{number}")];
            for (topic, retain) in topics.iter().zip([false, true]) {
                let payload = format!("{number}/{count}/{}", "x".repeat(PAYLOAD_BYTES));
                raw.send_packet(&ClientPacket::Publish(Publish {
                    dup: false,
                    retain,
                    delivery: Delivery::AtLeastOnce(InboundPacketId(PacketId::MIN)),
                    topic: Topic::try_from(topic.as_str()).expect("a topic"),
                    payload: payload.into(),
                    message_expiry_interval_s: None,
                    properties: None,
                }));
                match raw.receive() {
                    Some(ServerPacket::PubAck(ack)) => assert!(!ack.reason.is_error(), "{ack:?}"),
                    other => panic!("expected PUBACK, got {other:?}"),
                }
            }
            self.acknowledged[number].store(count, Ordering::SeqCst);
        }
    }

    fn wait_for(&self, count: u64) {
        let is_there = || self.acknowledged().into_iter().all(|acknowledged| acknowledged >= count);
        while !is_there() {
            assert!(!self.is_over.load(Ordering::SeqCst), "a publisher has failed");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&path));
    path
}

fn store(action: &[&str], data: &Path) -> String {
    let data = data.to_str().expect("a plain path");
    let output = run(&[&["store"], action, &["--data", data]].concat(), &[]);
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8(said).expect("text");
    assert_eq!(output.status.code(), Some(0), "store {action:?}: {said}");
    said
}

/// The highest number of each publisher's messages in a store; those before it must be there as well.
fn messages(dump: &str) -> (BTreeMap<usize, u64>, BTreeMap<usize, u64>) {
    let (mut queued, mut retained) = (BTreeMap::new(), BTreeMap::new());
    for line in dump.lines().filter(|line| line.contains("Published")) {
        let text = line.split("payload: b\"").nth(1).expect("a payload");
        let mut parts = text.split('/').map(|part| part.parse::<u64>());
        let (Some(Ok(number)), Some(Ok(count))) = (parts.next(), parts.next()) else {
            panic!("a payload of nobody: {text}")
        };
        let number = usize::try_from(number).expect("a small number");
        if line.contains("queue/x") {
            let before = queued.insert(number, count).unwrap_or(0);
            assert_eq!(count, before + 1, "of publisher {number}");
        } else {
            retained.insert(number, count);
        }
    }
    (queued, retained)
}

/// Takes a backup, makes a store of it, and compares it with what was acknowledged before.
fn back_up(data: &Path, before: [u64; PUBLISHERS], number: usize) {
    let (file, copy) = (data.with_extension(format!("backup-{number}")), folder("backed-up"));
    drop(fs::remove_file(&file));
    let path = file.to_str().expect("a plain path");
    store(&["export", path], data);
    store(&["import", path], &copy);
    store(&["check"], &copy);
    let (queued, retained) = messages(&store(&["dump"], &copy));
    for (publisher, acknowledged) in before.into_iter().enumerate() {
        let queued = queued.get(&publisher).copied().unwrap_or(0);
        let retained = retained.get(&publisher).copied().unwrap_or(0);
        assert!(queued >= acknowledged, "{publisher}: {queued} of {acknowledged} are queued");
        assert!(retained >= acknowledged, "{publisher}: {retained} of {acknowledged} is retained");
    }
    fs::remove_file(&file).expect("it is ours");
}

#[test]
fn what_was_acknowledged_before_a_backup_is_in_it() {
    let data = folder("busy");
    let arguments = ["--data", data.to_str().expect("a plain path"), "--durability", "strict"];
    let broker = Broker::with(&[("SIGNALHOUSE_STORE__SEGMENT_BYTES", "131072")], &arguments);
    let mut durable = connect("durable");
    (durable.clean_start, durable.session_expiry_interval_s) = (false, 3_600);
    let mut receiver = Raw::open(&broker);
    receiver.send_packet(&ClientPacket::Connect(Box::new(durable)));
    assert!(matches!(receiver.receive(), Some(ServerPacket::ConnAck(_))));
    receiver.subscribe("queue/#", QoS::AtLeastOnce);
    drop(receiver);
    let load = Load::default();
    std::thread::scope(|scope| {
        for number in 0..PUBLISHERS {
            let (load, broker) = (&load, &broker);
            scope.spawn(move || load.publish(broker, number));
        }
        let _over = Over(&load);
        for number in 0..BACKUPS {
            load.wait_for(BETWEEN * (1 + number as u64));
            let before = load.acknowledged();
            back_up(&data, before, number);
            assert!(load.acknowledged() > before, "nobody published meanwhile");
        }
    });
    let snapshots = fs::read_dir(&data).expect("a readable folder").filter(|file| {
        let file = file.as_ref().expect("a readable folder");
        file.file_name().to_string_lossy().starts_with("snapshot")
    });
    assert_eq!(snapshots.count(), 1, "nothing was compacted");
}
