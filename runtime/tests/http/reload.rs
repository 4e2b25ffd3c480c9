//! Whether clients have to say who they are, changed while the broker runs: at every door, and for
//! those who are in.

use serde_json::json;
use signalhouse_core::wire::packet::Connect;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;

use crate::connect::connect;
use crate::peer::{Door, Next, Peer};
use crate::support::{Broker, Client, Folder, TOKEN_SECRET, signalhouse, token_of};

const ASKS: &str = "clients have to say who they are from now on";
const ASKS_NO_MORE: &str = "clients need not say who they are from now on";

/// A broker that can be given other settings.
struct Reloaded {
    folder: Folder,
    broker: Broker,
    read: usize,
}

impl Reloaded {
    fn start(settings: &str) -> Self {
        let folder = Folder::new();
        let config = folder.path().join("signalhouse.toml");
        std::fs::write(&config, settings).expect("a writable folder");
        let config = config.to_str().expect("text");
        let broker = Broker::with_arguments("127.0.0.1", &[], &["--config", config]);
        Reloaded { folder, broker, read: 0 }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("text").to_owned()
    }

    /// Has these settings read, and waits until they are in force.
    fn reload(&mut self, settings: &str) {
        std::fs::write(self.file("signalhouse.toml"), settings).expect("a writable folder");
        self.broker.signal("HUP");
        self.read += 1;
        self.broker.wait_for_lines("settings read again", self.read);
    }

    fn login(&self, connect: Connect) -> ReasonCode {
        Peer::connect(&self.broker, Door::Mqtt5, connect).1
    }

    fn login_with(&self, user: &str, password: &str) -> ReasonCode {
        let user_name = Text::try_from(user).ok();
        let password = Some(password.to_owned().into_bytes().into());
        self.login(Connect { user_name, password, ..connect("named") })
    }

    fn login_by(&self, method: &str, data: &str) -> ReasonCode {
        let authentication_method = Text::try_from(method).ok();
        let authentication_data = Some(data.to_owned().into_bytes().into());
        self.login(Connect { authentication_method, authentication_data, ..connect("by-method") })
    }
}

fn publishes(client: &Client) -> u16 {
    client.post("/v1/publish", &json!({"topic": "t", "payload": "x"})).status
}

fn dismissed(peer: &mut Peer) {
    assert_eq!(peer.next(), Next::Dismissed(ReasonCode::NotAuthorized));
}

#[test]
fn the_first_password_file_shuts_every_door_and_without_it_they_open_again() {
    let mut reloaded = Reloaded::start("");
    let users = reloaded.file("users");
    let password = reloaded.file("password");
    std::fs::write(&password, "secret\n").expect("a writable folder");
    let password = std::fs::File::open(password).expect("it is there");
    let added = signalhouse().args(["passwd", &users, "ann"]).stdin(password).status();
    assert!(added.expect("it runs").success());
    let broker = &reloaded.broker;
    let mut early = Peer::enter(broker, Door::Mqtt5, "early");
    let mut stream = broker.keyless().events("filter=a/%23", None);
    assert_eq!(publishes(&broker.keyless()), 200);
    let scram = |broker: &Reloaded| broker.login_by("SCRAM-SHA-256", "no first message");
    assert_eq!(scram(&reloaded), ReasonCode::BadAuthenticationMethod);

    let asks = format!("[security]\npassword_file = {users:?}\n");
    reloaded.reload(&asks);
    let broker = &reloaded.broker;
    broker.log_with(ASKS);
    assert!(!broker.log_with("").contains("change with a restart only"));
    dismissed(&mut early);
    assert_eq!(stream.find(|event| event.name == "message").map(|event| event.data), None);
    assert_eq!(publishes(&broker.keyless()), 401);
    assert_eq!(reloaded.login(connect("nameless")), ReasonCode::NotAuthorized);
    assert_eq!(reloaded.login_with("ann", "wrong"), ReasonCode::BadUserNameOrPassword);
    assert_eq!(reloaded.login_with("ann", "secret"), ReasonCode::Success);
    assert_eq!(scram(&reloaded), ReasonCode::BadUserNameOrPassword, "the method is served now");
    let refused = broker.log_with("login refused");
    assert!(refused.contains("the client does not say who it is"), "{refused}");

    reloaded.reload("");
    let broker = &reloaded.broker;
    broker.log_with(ASKS_NO_MORE);
    assert_eq!(reloaded.login(connect("nameless")), ReasonCode::Success);
    assert_eq!(publishes(&broker.keyless()), 200);

    reloaded.reload(&asks);
    assert_eq!(reloaded.login(connect("nameless")), ReasonCode::NotAuthorized);
    reloaded.reload(&format!("{asks}allow_anonymous = true\n"));
    assert_eq!(reloaded.login(connect("nameless")), ReasonCode::Success);
    assert_eq!(publishes(&reloaded.broker.keyless()), 200);
    let mut nameless = Peer::enter(&reloaded.broker, Door::Mqtt5, "other");
    reloaded.reload(&asks);
    dismissed(&mut nameless);
    assert_eq!(publishes(&reloaded.broker.keyless()), 401);
}

#[test]
fn the_first_secret_of_tokens_shuts_them_too() {
    let mut reloaded = Reloaded::start("");
    let secret = reloaded.file("secret");
    std::fs::write(&secret, TOKEN_SECRET).expect("a writable folder");
    let in_a_minute = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
        + 60;
    let token = token_of(&json!({"sub": "ann", "exp": in_a_minute}));
    for section in ["jwt]\nsecret_file", "http]\ntoken_secret_file"] {
        assert_eq!(reloaded.login_by("JWT", &token), ReasonCode::BadAuthenticationMethod);
        let mut early = Peer::enter(&reloaded.broker, Door::Mqtt5, "early");
        reloaded.reload(&format!("[{section} = {secret:?}\n"));
        dismissed(&mut early);
        assert_eq!(reloaded.login(connect("nameless")), ReasonCode::NotAuthorized, "{section}");
        assert_eq!(reloaded.login_by("JWT", &token), ReasonCode::Success, "{section}");
        assert_eq!(publishes(&reloaded.broker.keyless()), 401, "{section}");
        assert_eq!(publishes(&reloaded.broker.client(&token)), 200, "{section}");
        reloaded.reload("");
        assert_eq!(reloaded.login(connect("nameless")), ReasonCode::Success, "{section}");
        assert_eq!(publishes(&reloaded.broker.keyless()), 200, "{section}");
        assert_eq!(publishes(&reloaded.broker.client(&token)), 401, "{section}");
    }
}

/// Where the broker listens does not change, so settings that are safe by themselves may not be.
#[test]
fn no_reload_opens_a_listener_of_the_network_to_everybody() {
    let folder = Folder::new();
    let users = folder.path().join("users");
    std::fs::write(&users, "").expect("a writable folder");
    let asks = format!("[security]\npassword_file = {users:?}\n");
    let open = "[network]\nlisten_websocket = [\"0.0.0.0:0\"]\n";
    let reloaded = Reloaded::start(&format!("{open}{asks}"));
    std::fs::write(reloaded.file("signalhouse.toml"), "").expect("a writable folder");
    reloaded.broker.signal("HUP");
    let said = reloaded.broker.log_with("the settings stay as they are");
    assert!(said.contains("is open to the network"), "{said}");
    assert_eq!(reloaded.login(connect("nameless")), ReasonCode::NotAuthorized);
}
