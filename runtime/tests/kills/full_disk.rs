//! The real broker on a disk that gets full: a small one of its own, which takes `unshare`, `nsenter` and `mount`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use signalhouse_core::wire::packet::{Ack, ClientPacket, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, PacketId, QoS};

use crate::peer::{Gone, Outgoing, Peer};
use crate::process::{Process, Setup};
use crate::used_up;

const DISK_BYTES: u64 = 24 * 1024 * 1024;
/// What others have on it, in the beginning.
const BALLAST_BYTES: u64 = 12 * 1024 * 1024;
const PAYLOAD_BYTES: usize = 1_000;
/// So many messages do not fit, however well they are kept.
const TOO_MANY: u64 = 30_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// A file system of its own in memory, mounted where only some processes see it.
pub(crate) struct Mount {
    holder: Child,
    is_user: bool,
    path: PathBuf,
}

impl Mount {
    fn new(path: &Path) -> Result<Self, String> {
        // Without a user namespace, for those who may mount anyway.
        Mount::attempt(path, true).or_else(|_| Mount::attempt(path, false))
    }

    fn attempt(path: &Path, is_user: bool) -> Result<Self, String> {
        let script = format!(
            "mount -t tmpfs -o size={DISK_BYTES},mode=700 tmpfs \"$0\" && echo mounted && exec sleep 600"
        );
        let mut command = Command::new("unshare");
        if is_user {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", &script]).arg(path);
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut holder = spawned.map_err(|error| format!("unshare: {error}"))?;
        let mut said = String::new();
        let out = holder.stdout.take().expect("it is piped");
        let _read = BufReader::new(out).read_line(&mut said);
        if said.trim() == "mounted" {
            return Ok(Mount { holder, is_user, path: path.to_owned() });
        }
        let mut fault = String::new();
        let _read = holder.stderr.take().expect("it is piped").read_to_string(&mut fault);
        let _ended = holder.wait();
        Err(format!("no file system of its own: {}", fault.trim()))
    }

    /// A command that sees it.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.id()));
        if self.is_user {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--mount", "--", program]);
        command
    }

    fn shell(&self, script: &str) -> Result<(), String> {
        let status = self.inside("sh").args(["-c", script]).arg(&self.path).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("`{script}`: {other:?}")),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _sent = self.holder.kill();
        let _ended = self.holder.wait();
    }
}

/// Fills the disk, and sees what still works, what is refused, and that nothing is lost.
pub(crate) fn play(folder: &Path) -> Result<(), String> {
    let mount = Mount::new(folder)?;
    let setup = Setup {
        data: folder.join("data"),
        undo: folder.join("undo"),
        shim: None,
        durability: "strict".to_owned(),
        without_sync: false,
        mount: Some(mount),
    };
    let mut play = Play { process: setup.start(), setup, accepted: BTreeSet::new(), last: 0 };
    play.run().map_err(|fault| {
        // What the disk holds goes with the mount.
        let shown =
            play.setup.mounted().and_then(|mount| mount.shell("df -k \"$0\"; ls -l \"$0\"/*"));
        let shown = shown.err().unwrap_or_default();
        play.process.kill();
        let ended = play.process.ends();
        format!("{fault}; {shown}the broker {ended}")
    })
}

struct Play {
    setup: Setup,
    process: Process,
    /// Numbers of messages that were acknowledged.
    accepted: BTreeSet<u64>,
    /// The number of the last message.
    last: u64,
}

impl Play {
    fn run(&mut self) -> Result<(), String> {
        let gone = |_: Gone| "the broker closes a connection".to_owned();
        let address = self.process.serves().map_err(|ended| format!("it {ended}"))?;
        let (mut receiver, _) = Peer::connect(address, "receiver").map_err(gone)?;
        receiver.subscribe("full/#").map_err(gone)?;
        drop(receiver);
        used_up::make_sessions(address)?;
        let (mut publisher, _) = Peer::connect(address, "publisher").map_err(gone)?;
        let id = PacketId::new(9).expect("not 0");
        publisher.publish(&message(0, id, QoS::ExactlyOnce), false);
        self.wait_for(&mut publisher, "PUBREC", |packet| {
            matches!(packet, ServerPacket::PubRec(_))
        })?;
        self.accepted.insert(0);
        self.setup
            .mounted()?
            .shell(&format!("head -c {BALLAST_BYTES} /dev/zero >\"$0\"/ballast"))?;
        let refused = self.publish_until(&mut publisher, ReasonCode::QuotaExceeded, TOO_MANY)?;
        println!(
            "  full after {} messages; number {refused} is refused with 0x97",
            self.accepted.len()
        );
        // What ends something has its reserve.
        publisher.pubrel(id);
        self.wait_for(&mut publisher, "PUBCOMP", |packet| {
            matches!(packet, ServerPacket::PubComp(ack) if ack.reason == ReasonCode::Success)
        })?;
        match Peer::try_connect(address, "somebody new").map_err(gone)? {
            Err(ReasonCode::QuotaExceeded) => {}
            Err(other) => return Err(format!("a new session is refused with {other:?}")),
            Ok(_) => return Err("a new session is accepted".to_owned()),
        }
        let (mut receiver, is_present) = Peer::connect(address, "receiver").map_err(gone)?;
        let mut taken = self.take(&mut receiver, 200)?;
        drop(receiver);
        println!("  released, refused a session, delivered {} meanwhile", taken.len());
        let full = self.restart()?;
        let (mut receiver, _) = Peer::connect(full, "receiver").map_err(gone)?;
        taken.extend(self.take(&mut receiver, 200)?);
        drop(receiver);
        let waiting = used_up::use_up(full)?;
        let full = self.stop_and_start()?;
        self.setup.mounted()?.shell("rm \"$0\"/ballast")?;
        used_up::let_in(full, waiting)?;
        let (mut publisher, _) = Peer::connect(full, "publisher").map_err(gone)?;
        let again = self.publish_until(&mut publisher, ReasonCode::Success, TOO_MANY)?;
        println!("  killed and started again; with room again number {again} is accepted");
        let address = self.restart()?;
        let (mut receiver, _) = Peer::connect(address, "receiver").map_err(gone)?;
        taken.extend(self.take(&mut receiver, usize::MAX)?);
        let lost = self.accepted.difference(&taken).count();
        let invented = taken.difference(&self.accepted).count();
        println!(
            "full disk: {} acknowledged of {}, all delivered; lost {lost}, refused and delivered {invented}",
            self.accepted.len(),
            self.last
        );
        if is_present && lost == 0 && invented == 0 { Ok(()) } else { Err("broken".to_owned()) }
    }

    /// Publishes one after the other until the broker answers so; gives that message's number.
    fn publish_until(
        &mut self,
        publisher: &mut Peer,
        wanted: ReasonCode,
        attempts: u64,
    ) -> Result<u64, String> {
        let id = PacketId::new(7).expect("not 0");
        let since = Instant::now();
        let mut last = ReasonCode::Success;
        for _ in 0..attempts {
            self.last += 1;
            publisher.publish(&message(self.last, id, QoS::AtLeastOnce), false);
            let mut reason = ReasonCode::Success;
            self.wait_for(publisher, "PUBACK", |packet| {
                if let ServerPacket::PubAck(ack) = packet {
                    reason = ack.reason;
                }
                matches!(packet, ServerPacket::PubAck(_))
            })?;
            if reason == ReasonCode::Success {
                self.accepted.insert(self.last);
            } else if reason == ReasonCode::QuotaExceeded && wanted == ReasonCode::Success {
                std::thread::sleep(Duration::from_millis(50));
            }
            last = reason;
            if reason == wanted {
                return Ok(self.last);
            }
            if wanted == ReasonCode::Success && since.elapsed() > PATIENCE {
                break;
            }
        }
        Err(format!("{wanted:?} does not come, the last answer is {last:?}"))
    }

    fn wait_for(
        &self,
        peer: &mut Peer,
        what: &str,
        mut is_it: impl FnMut(&ServerPacket) -> bool,
    ) -> Result<(), String> {
        let gone = |_| format!("the broker closes the connection instead of {what}");
        peer.flush().map_err(gone)?;
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Some(packet) = peer.read().map_err(gone)?
                && is_it(&packet)
            {
                return Ok(());
            }
        }
        Err(format!("{what} does not come"))
    }

    /// Takes and acknowledges so many messages, or all there are.
    fn take(&self, receiver: &mut Peer, count: usize) -> Result<BTreeSet<u64>, String> {
        let mut taken = BTreeSet::new();
        let mut since = Instant::now();
        let quiet = if count == usize::MAX { Duration::from_secs(2) } else { PATIENCE };
        while taken.len() < count && since.elapsed() < quiet {
            let packet =
                receiver.read().map_err(|_| "the broker closes the receiver's connection")?;
            let ack = match packet {
                Some(ServerPacket::Publish(publish)) => {
                    since = Instant::now();
                    let text = String::from_utf8_lossy(&publish.message.payload).into_owned();
                    let number = text.split(' ').next().and_then(|number| number.parse().ok());
                    taken.insert(number.ok_or("a message without a number")?);
                    match publish.delivery {
                        Delivery::AtLeastOnce(id) => {
                            ClientPacket::PubAck(Ack::new(id, ReasonCode::Success))
                        }
                        Delivery::ExactlyOnce(id) => {
                            ClientPacket::PubRec(Ack::new(id, ReasonCode::Success))
                        }
                        Delivery::AtMostOnce => return Err("QoS 0".to_owned()),
                    }
                }
                Some(ServerPacket::PubRel(ack)) => {
                    ClientPacket::PubComp(Ack::new(ack.packet_id, ReasonCode::Success))
                }
                Some(other) => return Err(format!("the receiver gets {other:?}")),
                None => continue,
            };
            receiver.say(&ack);
            receiver.flush().map_err(|_| "the broker closes the receiver's connection")?;
        }
        if count != usize::MAX && taken.len() < count {
            return Err(format!("only {} of {count} messages come", taken.len()));
        }
        Ok(taken)
    }

    /// SIGTERM, which must end it in order although what waits for room is never stored, and a new start.
    fn stop_and_start(&mut self) -> Result<std::net::SocketAddr, String> {
        let since = Instant::now();
        let ended = self.process.stop();
        let took_ms = since.elapsed().as_millis();
        if ended.code != Some(0) || since.elapsed() > PATIENCE {
            return Err(format!("with nothing left SIGTERM took {took_ms} ms, and it {ended}"));
        }
        println!("  stopped with nothing left in {took_ms} ms");
        self.process = self.setup.start();
        self.process
            .serves()
            .map_err(|ended| format!("it does not start with nothing left: it {ended}"))
    }

    /// SIGKILL, and a new start.
    fn restart(&mut self) -> Result<std::net::SocketAddr, String> {
        self.process.kill();
        self.process = self.setup.start();
        self.process.serves().map_err(|ended| format!("it does not start again: it {ended}"))
    }
}

fn message(number: u64, id: PacketId, qos: QoS) -> Outgoing {
    let payload = format!("{number} {}", "x".repeat(PAYLOAD_BYTES));
    Outgoing { id, topic: "full/x".to_owned(), payload: Bytes::from(payload), qos, retain: false }
}
