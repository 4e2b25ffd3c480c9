//! Certificates that the real binary believed, or showed, and does no longer.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Instant;

use crate::authority::Authority;
use crate::support::{Broker, DEADLINE, run, signalhouse};

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("signalhouse-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a writable place");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        // At once: whoever watches never sees half of it.
        std::fs::write(self.path("new"), text).expect("a writable folder");
        std::fs::rename(self.path("new"), self.path(name)).expect("a writable folder");
        self.path(name)
    }

    fn path(&self, name: &str) -> String {
        Path::join(&self.0, name).to_str().expect("text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The arguments of a tool that comes with this certificate.
fn shown(folder: &Folder, port: &str, name: &str, certificate: &(String, String)) -> Vec<String> {
    let (pem, key) = certificate;
    let pem = folder.write(&format!("{name}.pem"), pem);
    let key = folder.write(&format!("{name}.key"), key);
    let ca = folder.path("ca.pem");
    let all = ["-h", "localhost", "-p", port, "--cafile", &ca, "--cert", &pem, "--key", &key];
    all.map(str::to_owned).to_vec()
}

/// A subscriber that stays until it is sent away; killed at the end.
struct Subscriber(Child);

impl Subscriber {
    fn start(broker: &Broker, name: &str, shown: &[String]) -> Self {
        let child = signalhouse()
            .args(["sub", "-i", name, "-t", "news", "-q", "1"])
            .args(shown)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        broker.wait_for_line(&["connected", name]);
        Subscriber(child)
    }

    /// How it ended, if it did.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it is our child")
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The port of the second listener that the broker names.
fn second_port(broker: &Broker) -> String {
    let line = broker.wait_for_line(&["signalhouse serves"]);
    let at = line.split("127.0.0.1:").nth(2).expect("the line names the second listener");
    at.chars().take_while(char::is_ascii_digit).collect()
}

/// The exit code of one who publishes with these arguments.
fn publish(shown: &[String]) -> Option<i32> {
    let line = ["pub", "-q", "1", "-t", "news", "-m", "x"].map(str::to_owned);
    let line = [&line[..], shown].concat();
    let line: Vec<_> = line.iter().map(String::as_str).collect();
    run(&line, &[]).status.code()
}

/// Nobody tells the broker of the newer list: it watches the file.
#[test]
fn a_newer_list_of_revoked_certificates_ends_who_came_by_one_of_them() {
    let folder = Folder::new("revoked");
    let authority = Authority::new();
    let (certificate, key) = authority.server();
    folder.write("ca.pem", &authority.pem());
    let environment = [
        ("SIGNALHOUSE_NETWORK__LISTEN_TLS", "127.0.0.1:0".to_owned()),
        ("SIGNALHOUSE_TLS__CERTIFICATE_FILE", folder.write("server.pem", &certificate)),
        ("SIGNALHOUSE_TLS__KEY_FILE", folder.write("server.key", &key)),
        ("SIGNALHOUSE_TLS__CLIENT_CERTIFICATES", "required".to_owned()),
        ("SIGNALHOUSE_TLS__CLIENT_CA_FILE", folder.path("ca.pem")),
        ("SIGNALHOUSE_TLS__REVOKED_FILE", folder.write("revoked.pem", &authority.revoke(&[9]))),
        ("SIGNALHOUSE_SECURITY__WATCH_INTERVAL_MS", "50".to_owned()),
    ];
    let environment: Vec<_> =
        environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let broker = Broker::with(&environment, &[]);
    let port = second_port(&broker);
    let ann = shown(&folder, &port, "ann", &authority.client("ann", 1));
    let bob = shown(&folder, &port, "bob", &authority.client("bob", 2));
    let mut of_ann = Subscriber::start(&broker, "of-ann", &ann);
    let mut of_bob = Subscriber::start(&broker, "of-bob", &bob);

    folder.write("revoked.pem", "this is no list");
    broker.wait_for_line(&["the settings stay as they are", "revoked.pem"]);
    assert!(of_ann.ended().is_none());

    folder.write("revoked.pem", &authority.revoke(&[9, 1]));
    broker.wait_for_line(&["disconnected", "of-ann", "0x87"]);
    let started = Instant::now();
    let status = loop {
        if let Some(status) = of_ann.ended() {
            break status;
        }
        assert!(started.elapsed() < DEADLINE, "the revoked one stays");
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert!(!status.success());
    assert!(of_bob.ended().is_none(), "nothing about it has changed");
    assert_eq!((publish(&ann), publish(&bob)), (Some(1), Some(0)));
}

/// Nobody tells the broker of any of them: it watches the files.
#[test]
fn a_new_certificate_and_a_new_authority_hold_for_who_comes_next() {
    let folder = Folder::new("renewed");
    let (old, new) = (Authority::new(), Authority::new());
    let (certificate, key) = old.server();
    folder.write("ca.pem", &old.pem());
    let environment = [
        ("SIGNALHOUSE_NETWORK__LISTEN_TLS", "127.0.0.1:0".to_owned()),
        ("SIGNALHOUSE_TLS__CERTIFICATE_FILE", folder.write("server.pem", &certificate)),
        ("SIGNALHOUSE_TLS__KEY_FILE", folder.write("server.key", &key)),
        ("SIGNALHOUSE_TLS__CLIENT_CERTIFICATES", "optional".to_owned()),
        ("SIGNALHOUSE_TLS__CLIENT_CA_FILE", folder.write("clients.pem", &old.pem())),
        ("SIGNALHOUSE_SECURITY__ALLOW_ANONYMOUS", "true".to_owned()),
        ("SIGNALHOUSE_SECURITY__WATCH_INTERVAL_MS", "50".to_owned()),
    ];
    let environment: Vec<_> =
        environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let broker = Broker::with(&environment, &[]);
    let port = second_port(&broker);
    let among = |name: &str, authority: &Authority| {
        let ca = folder.write(&format!("{name}.pem"), &authority.pem());
        ["-h", "localhost", "-p", &port, "--cafile", &ca].map(str::to_owned).to_vec()
    };
    let (trusts_old, trusts_new) = (among("old", &old), among("new", &new));
    let mut stays = Subscriber::start(&broker, "stays", &trusts_old);
    assert_eq!((publish(&trusts_old), publish(&trusts_new)), (Some(0), Some(1)));

    // One file after the other: in between the key does not fit, and everything stays as it is.
    let (certificate, key) = new.server();
    folder.write("server.pem", &certificate);
    broker.wait_for_line(&["the settings stay as they are", "server.key"]);
    assert_eq!(publish(&trusts_old), Some(0));
    folder.write("server.key", &key);
    broker.wait_for_lines(&["read again"], 1);
    assert_eq!((publish(&trusts_old), publish(&trusts_new)), (Some(1), Some(0)));

    folder.write("ca.pem", &new.pem());
    let by_old = shown(&folder, &port, "ann", &old.client("ann", 1));
    let by_new = shown(&folder, &port, "bob", &new.client("bob", 2));
    assert_eq!((publish(&by_old), publish(&by_new)), (Some(0), Some(1)));
    folder.write("clients.pem", &new.pem());
    broker.wait_for_lines(&["read again"], 2);
    assert_eq!((publish(&by_old), publish(&by_new)), (Some(1), Some(0)));
    assert!(stays.ended().is_none(), "it showed no certificate, and none of these is about it");
    assert_eq!(broker.count_lines(&["disconnected", "stays"]), 0);
}
