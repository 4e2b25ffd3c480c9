//! Permissions as a table: for each user, topic and action, and each way a message can come, what is
//! allowed and what is not. A cell is played with a real broker, whose rules come from a file.

use signalhouse_core::wire::packet::{Connect, Will};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::QoS;

use signalhouse_core::routing::topic::Topic;

use crate::support::{Folder, Running, connect_as, message, play, publish, subscribe};

/// Who may do what, once in our own lines and once as Mosquitto's file.
pub(crate) const OURS: &str = "
    allow user boss     all        #
    deny  everyone      all        secret/#
    allow users         publish    in/{username}/#
    allow users         read       out/{username}/#
    allow client kiosk  read       kiosk/{client_id}
    allow everyone      all        lobby
";

pub(crate) const MOSQUITTOS: &str = "
topic readwrite lobby
user boss
topic #
user ann
topic lobby
topic deny secret/#
topic write in/ann/#
topic read out/ann/#
user bob
topic lobby
pattern write in/%u/#
pattern read out/%u/#
pattern read kiosk/%c
";

const SETTINGS: &str = "
    [network]
    listen = [\"127.0.0.1:0\"]
    [security]
    allow_anonymous = true
    password_file = \"DIR/users\"
    acl_file = \"DIR/rules\"
    [http]
    keys_file = \"DIR/keys\"
";

/// User, client, topic, whether it may publish there, and whether what is there reaches it.
pub(crate) const CELLS: &[(Option<&str>, &str, &str, bool, bool)] = &[
    (Some("boss"), "b", "secret/x", true, true),
    (Some("ann"), "a", "secret/x", false, false),
    (Some("ann"), "a", "in/ann/x", true, false),
    (Some("ann"), "a", "in/bob/x", false, false),
    (Some("ann"), "a", "out/ann/x", false, true),
    (Some("ann"), "a", "out/bob/x", false, false),
    (Some("ann"), "kiosk", "kiosk/kiosk", false, true),
    (Some("ann"), "a", "kiosk/kiosk", false, false),
    (Some("ann"), "a", "lobby", true, true),
    (Some("ann"), "a", "elsewhere", false, false),
    (Some("bob"), "c", "out/bob/x", false, true),
    (Some("bob"), "c", "in/bob/x", true, false),
    (None, "n", "lobby", true, true),
    (None, "n", "in/ann/x", false, false),
    (None, "n", "out/ann/x", false, false),
];

/// Starts a broker with these rules, whose users' passwords are their names.
pub(crate) fn start(name: &str, rules: &str) -> Running {
    start_with_keys(name, rules, "")
}

/// The same, with a file of API keys.
pub(crate) fn start_with_keys(name: &str, rules: &str, keys: &str) -> Running {
    let folder = Folder::new(name);
    folder.write("keys", keys);
    let users = ["boss", "ann", "bob"].map(|user| {
        use base64::Engine as _;
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let salt = b"salty salt";
        let digest = [user.as_bytes(), salt].concat();
        let hash = ring::digest::digest(&ring::digest::SHA512, &digest);
        format!("{user}:$6${}${}\n", encode(salt), encode(hash.as_ref()))
    });
    folder.write("users", &users.concat());
    folder.write("rules", rules);
    Running::start(folder, SETTINGS)
}

/// Where a test's end is told to everybody, whatever the rules say: the boss publishes there, and
/// each reader may read it.
const END: &str = "lobby";

async fn is_published(running: &Running, user: Option<&str>, client: &str, topic: &str) -> bool {
    let mut peer = running.client(client, user).await;
    let reason = publish(&mut peer, topic, "x", false).await;
    assert!(!reason.is_error() || reason == ReasonCode::NotAuthorized, "{reason}");
    !reason.is_error()
}

async fn is_published_as_will(
    running: &Running,
    user: Option<&str>,
    client: &str,
    topic: &str,
) -> bool {
    let connect = Connect { will: will(topic), ..connect_as(client, user, user) };
    running.try_client(connect).await.is_ok()
}

fn will(topic: &str) -> Option<Box<Will>> {
    Some(Box::new(Will {
        topic: Topic::try_from(topic).expect("a topic"),
        payload: "gone".into(),
        qos: QoS::AtMostOnce,
        retain: false,
        delay_interval_s: 0,
        message_expiry_interval_s: None,
        properties: None,
    }))
}

/// Whether a message of the boss comes by a subscription to `filter`: kept for it, then live.
async fn reaches(
    running: &Running,
    user: Option<&str>,
    client: &str,
    topic: &str,
    filter: &str,
    retained: bool,
) -> bool {
    let mut boss = running.client("boss", Some("boss")).await;
    if retained {
        publish(&mut boss, topic, "kept", true).await;
    }
    let mut peer = running.client(client, user).await;
    subscribe(&mut peer, END).await;
    let granted = !subscribe(&mut peer, filter).await.is_error();
    if !retained {
        publish(&mut boss, topic, "live", false).await;
    }
    publish(&mut boss, END, "end", false).await;
    let first = message(&mut peer).await;
    if retained {
        publish(&mut boss, topic, "", true).await;
    }
    assert!(granted || first == "lobby end", "a refused subscription brought {first}");
    first != "lobby end"
}

/// Whether a will of the boss comes.
async fn reaches_as_will(running: &Running, user: Option<&str>, client: &str, topic: &str) -> bool {
    let mut peer = running.client(client, user).await;
    subscribe(&mut peer, END).await;
    subscribe(&mut peer, topic).await;
    let with_will = Connect { will: will(topic), ..connect_as("boss", Some("boss"), Some("boss")) };
    let (_taken_over, _) = running.try_client(with_will).await.expect("let in");
    let mut boss = running.client("boss", Some("boss")).await;
    publish(&mut boss, END, "end", false).await;
    message(&mut peer).await != "lobby end"
}

/// Whether a message that waited for the client comes, under the rules of its return.
async fn reaches_later(running: &Running, user: Option<&str>, client: &str, topic: &str) -> bool {
    let mut connect = connect_as(client, user, user);
    connect.session_expiry_interval_s = 60;
    let (mut peer, _) = running.try_client(connect.clone()).await.expect("let in");
    let filters = [topic, END];
    for filter in filters {
        subscribe_at_least_once(&mut peer, filter).await;
    }
    drop(peer);
    let mut boss = running.client("boss", Some("boss")).await;
    publish(&mut boss, topic, "queued", false).await;
    publish(&mut boss, END, "end", false).await;
    connect.clean_start = false;
    let (mut peer, _) = running.try_client(connect).await.expect("let in");
    message(&mut peer).await != "lobby end"
}

async fn subscribe_at_least_once(
    peer: &mut crate::support::Peer<tokio::net::TcpStream>,
    filter: &str,
) {
    use signalhouse_core::routing::topic::TopicFilter;
    use signalhouse_core::wire::packet::{ClientPacket, Subscribe, SubscriptionOptions};
    use signalhouse_core::wire::types::{InboundPacketId, PacketId};
    let options = SubscriptionOptions { maximum_qos: QoS::AtLeastOnce, ..Default::default() };
    peer.queue(&ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: InboundPacketId(PacketId::MIN),
        subscription_id: None,
        subscriptions: vec![(TopicFilter::try_from(filter).expect("a filter"), options)],
        user_properties: Vec::new(),
    })))
    .expect("a small packet");
    crate::support::receive(peer).await;
}

#[tokio::test]
async fn every_cell_holds_by_every_way() {
    play(async {
        for (name, rules) in [("ours", OURS), ("mosquittos", MOSQUITTOS)] {
            let running = start(name, rules);
            for (user, client, topic, publishes, reads) in CELLS {
                let cell = format!("{name}: {user:?} at {client} on {topic}");
                let published = is_published(&running, *user, client, topic).await;
                assert_eq!(published, *publishes, "{cell}: publish");
                let will = is_published_as_will(&running, *user, client, topic).await;
                assert_eq!(will, *publishes, "{cell}: will");
                if *topic == END {
                    continue; // what ends the test cannot be told from what is tested
                }
                let shared = format!("$share/g/{topic}");
                for (way, filter, retained) in [
                    ("live", *topic, false),
                    ("live, by a wide subscription", "#", false),
                    ("shared", shared.as_str(), false),
                    ("retained", *topic, true),
                    ("retained, by a wide subscription", "#", true),
                ] {
                    // To everything only the boss may subscribe, in our own lines.
                    let wide_refused = filter == "#" && name == "ours" && *user != Some("boss");
                    let expected = *reads && !wide_refused;
                    let reached = reaches(&running, *user, client, topic, filter, retained).await;
                    assert_eq!(reached, expected, "{cell}: {way}");
                }
                let will = reaches_as_will(&running, *user, client, topic).await;
                assert_eq!(will, *reads, "{cell}: a will");
                let queued = reaches_later(&running, *user, client, topic).await;
                assert_eq!(queued, *reads, "{cell}: queued");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn new_rules_hold_for_who_is_in_and_for_what_waits() {
    play(async {
        let running = start("replaced", OURS);
        let mut ann = running.client("a", Some("ann")).await;
        assert_eq!(subscribe(&mut ann, "out/ann/#").await, ReasonCode::Success);
        let mut connect = connect_as("away", Some("ann"), Some("ann"));
        connect.session_expiry_interval_s = 60;
        let (mut away, _) = running.try_client(connect.clone()).await.expect("let in");
        subscribe_at_least_once(&mut away, "out/ann/#").await;
        subscribe_at_least_once(&mut away, "lobby").await;
        drop(away);
        let mut boss = running.client("boss", Some("boss")).await;
        publish(&mut boss, "out/ann/1", "before", false).await;
        assert_eq!(message(&mut ann).await, "out/ann/1 before");

        running.folder.write("rules", "allow user boss all #\nallow everyone all lobby\n");
        running.reload(SETTINGS);
        publish(&mut boss, "out/ann/1", "after", false).await;
        publish(&mut boss, "lobby", "end", false).await;
        assert_eq!(publish(&mut ann, "in/ann/1", "x", false).await, ReasonCode::NotAuthorized);
        assert_eq!(subscribe(&mut ann, "lobby").await, ReasonCode::Success);
        publish(&mut boss, "lobby", "live", false).await;
        assert_eq!(message(&mut ann).await, "lobby live", "and nothing of out/ann/1");
        connect.clean_start = false;
        let (mut away, _) = running.try_client(connect).await.expect("let in");
        assert_eq!(message(&mut away).await, "lobby end", "what waited is no longer allowed");
    })
    .await;
}
