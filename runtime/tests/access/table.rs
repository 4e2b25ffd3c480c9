//! Permissions as a table: for each user, topic and action, and each way a message can come, what is
//! allowed and what is not. A cell is played with a real broker, whose rules come from a file.

use signalhouse_core::wire::packet::{Connect, Will};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::QoS;

use signalhouse_core::routing::topic::Topic;
use tokio::net::TcpStream;

use crate::support::{
    Folder, Peer, Running, connect_as, delivered, message, play, publish, publish_at, subscribe,
    subscribe_at,
};

/// Who may do what, once in our own lines and once as Mosquitto's file.
pub(crate) const OURS: &str = "
    allow user boss     all        #
    deny  everyone      all        secret/#
    allow users         publish    in/{username}/#
    allow users         read       out/{username}/#
    allow client kiosk  read       kiosk/{client_id}
    allow everyone      all        lobby
    allow everyone      read       end
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
pattern read end
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

/// Where a test's end is told to everybody: the boss publishes there, and each reader may read it.
pub(crate) const END: &str = "end";
const LAST: &str = "end end";

const EVERY_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Whether what the user publishes comes to the boss; at QoS 1 and 2 the answer must say the same.
async fn is_published(
    running: &Running,
    user: Option<&str>,
    client: &str,
    topic: &str,
    qos: QoS,
) -> bool {
    let mut ear = running.client("ear", Some("boss")).await;
    subscribe(&mut ear, END).await;
    subscribe(&mut ear, topic).await;
    let mut peer = running.client(client, user).await;
    let reason = publish_at(&mut peer, qos, topic, "x", false).await;
    // What has no answer of its own is done when what came behind it is answered.
    subscribe(&mut peer, END).await;
    let mut boss = running.client("boss", Some("boss")).await;
    publish(&mut boss, END, "end", false).await;
    let is_heard = message(&mut ear).await != LAST;
    if let Some(reason) = reason {
        assert!(!reason.is_error() || reason == ReasonCode::NotAuthorized, "{reason}");
        assert_eq!(is_heard, !reason.is_error(), "{reason}");
    }
    is_heard
}

async fn is_published_as_will(
    running: &Running,
    user: Option<&str>,
    client: &str,
    will: Option<Box<Will>>,
) -> bool {
    let connect = Connect { will, ..connect_as(client, user, user) };
    running.try_client(connect).await.is_ok()
}

fn will(topic: &str, qos: QoS) -> Option<Box<Will>> {
    Some(Box::new(Will {
        topic: Topic::try_from(topic).expect("a topic"),
        payload: "gone".into(),
        qos,
        retain: false,
        delay_interval_s: 0,
        message_expiry_interval_s: None,
        properties: None,
    }))
}

/// By which subscription a message comes, and whether it was there before.
#[derive(Clone, Copy)]
struct Way<'a> {
    filter: &'a str,
    qos: QoS,
    retained: bool,
}

/// Whether a message of the boss comes: kept for the subscription, then live.
async fn reaches(
    running: &Running,
    user: Option<&str>,
    client: &str,
    topic: &str,
    way: Way<'_>,
) -> bool {
    let Way { filter, qos, retained } = way;
    let mut boss = running.client("boss", Some("boss")).await;
    if retained {
        publish_at(&mut boss, qos, topic, "kept", true).await;
    }
    let mut peer = running.client(client, user).await;
    subscribe(&mut peer, END).await;
    let granted = !subscribe_at(&mut peer, qos, filter).await.is_error();
    if !retained {
        publish_at(&mut boss, qos, topic, "live", false).await;
    }
    publish(&mut boss, END, "end", false).await;
    let (first, delivered_at) = delivered(&mut peer).await;
    if retained {
        publish(&mut boss, topic, "", true).await;
    }
    assert!(granted || first == LAST, "a refused subscription brought {first}");
    assert!(first == LAST || delivered_at == qos, "{first} at {delivered_at:?}");
    first != LAST
}

/// The boss's will comes out there. Gives the connection that took over, and so ended the session.
pub(crate) async fn leave_will(running: &Running, topic: &str, qos: QoS) -> Peer<TcpStream> {
    let will = will(topic, qos);
    let with_will = Connect { will, ..connect_as("boss", Some("boss"), Some("boss")) };
    let (_taken_over, _) = running.try_client(with_will).await.expect("let in");
    running.client("boss", Some("boss")).await
}

/// Whether a will of the boss comes.
async fn reaches_as_will(running: &Running, user: Option<&str>, client: &str, topic: &str) -> bool {
    let mut peer = running.client(client, user).await;
    subscribe(&mut peer, END).await;
    subscribe(&mut peer, topic).await;
    let mut boss = leave_will(running, topic, QoS::AtMostOnce).await;
    publish(&mut boss, END, "end", false).await;
    message(&mut peer).await != LAST
}

/// Whether a message that waited for the client comes, under the rules of its return.
async fn reaches_later(
    running: &Running,
    user: Option<&str>,
    client: &str,
    topic: &str,
    qos: QoS,
) -> bool {
    let mut connect = connect_as(client, user, user);
    connect.session_expiry_interval_s = 60;
    let (mut peer, _) = running.try_client(connect.clone()).await.expect("let in");
    for filter in [topic, END] {
        subscribe_at(&mut peer, qos, filter).await;
    }
    drop(peer);
    let mut boss = running.client("boss", Some("boss")).await;
    publish_at(&mut boss, qos, topic, "queued", false).await;
    publish(&mut boss, END, "end", false).await;
    connect.clean_start = false;
    let (mut peer, _) = running.try_client(connect).await.expect("let in");
    message(&mut peer).await != LAST
}

#[tokio::test]
async fn every_cell_holds_by_every_way() {
    play(check_cells("ours", OURS)).await;
}

#[tokio::test]
async fn every_cell_holds_by_every_way_under_mosquittos_rules() {
    play(check_cells("mosquittos", MOSQUITTOS)).await;
}

async fn check_cells(name: &str, rules: &str) {
    let running = start(name, rules);
    for (user, client, topic, publishes, reads) in CELLS {
        let who = (*user, *client, *topic);
        let cell = format!("{name}: {user:?} at {client} on {topic}");
        check_publishing(&running, who, *publishes, &cell).await;
        // To everything only the boss may subscribe, in our own lines.
        let wide = *reads && (name != "ours" || *user == Some("boss"));
        check_reading(&running, who, (*reads, wide), &cell).await;
    }
}

/// Every way to the user at the client, at every QoS; `wide` is for subscriptions to everything.
async fn check_reading(
    running: &Running,
    (user, client, topic): (Option<&str>, &str, &str),
    (reads, wide): (bool, bool),
    cell: &str,
) {
    let shared = format!("$share/g/{topic}");
    for (name, filter, retained, expected) in [
        ("live", topic, false, reads),
        ("live, by a wide subscription", "#", false, wide),
        ("shared", shared.as_str(), false, reads),
        ("retained", topic, true, reads),
        ("retained, by a wide subscription", "#", true, wide),
    ] {
        for qos in EVERY_QOS {
            let way = Way { filter, qos, retained };
            let reached = reaches(running, user, client, topic, way).await;
            assert_eq!(reached, expected, "{cell}: {name} at {qos:?}");
        }
    }
    let will = reaches_as_will(running, user, client, topic).await;
    assert_eq!(will, reads, "{cell}: a will");
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let queued = reaches_later(running, user, client, topic, qos).await;
        assert_eq!(queued, reads, "{cell}: queued at {qos:?}");
    }
}

/// Publications and wills of the user at the client, at every QoS.
async fn check_publishing(
    running: &Running,
    (user, client, topic): (Option<&str>, &str, &str),
    publishes: bool,
    cell: &str,
) {
    for qos in EVERY_QOS {
        let published = is_published(running, user, client, topic, qos).await;
        assert_eq!(published, publishes, "{cell}: publish at {qos:?}");
        let will = is_published_as_will(running, user, client, will(topic, qos)).await;
        assert_eq!(will, publishes, "{cell}: will at {qos:?}");
    }
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
        subscribe_at(&mut away, QoS::AtLeastOnce, "out/ann/#").await;
        subscribe_at(&mut away, QoS::AtLeastOnce, "lobby").await;
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

/// New rules, and whether the boss and bob hear the will that ann left under the old ones.
const AFTER: [(&str, bool, bool); 3] = [
    (OURS, true, true),
    ("allow user boss all #\nallow everyone read lobby\nallow everyone read end\n", false, false),
    ("allow user boss all #\nallow everyone publish lobby\nallow everyone read end\n", true, false),
];

/// The rules that count for a will are those of the moment when it is published.
#[tokio::test]
async fn new_rules_hold_for_wills_that_were_left_before() {
    const DELAY_S: u32 = 1;
    play(async {
        let running = start("wills", OURS);
        for (rules, boss_hears, bob_hears) in AFTER {
            for delay_interval_s in [0, DELAY_S] {
                let cell = format!("{delay_interval_s} s, then {rules}");
                running.folder.write("rules", OURS);
                running.reload(SETTINGS);
                let mut ears = Vec::new();
                for (user, hears) in [("boss", boss_hears), ("bob", bob_hears)] {
                    let mut ear = running.client(&format!("ear of {user}"), Some(user)).await;
                    subscribe(&mut ear, END).await;
                    assert!(!subscribe(&mut ear, "lobby").await.is_error());
                    ears.push((ear, hears));
                }
                let mut will = will("lobby", QoS::AtLeastOnce);
                will.as_mut().expect("there is one").delay_interval_s = delay_interval_s;
                let session_expiry_interval_s = 60;
                let ann = connect_as("a", Some("ann"), Some("ann"));
                let leaving = Connect { will, session_expiry_interval_s, ..ann.clone() };
                let (peer, _) = running.try_client(leaving).await.expect("let in");
                running.folder.write("rules", rules);
                running.reload(SETTINGS);
                // Without a delay, whoever takes over ends the session and brings the will out.
                let mut taken_over = None;
                if delay_interval_s == 0 {
                    taken_over = Some((peer, running.try_client(ann).await.expect("let in")));
                } else {
                    drop(peer);
                    let passed = std::time::Duration::from_millis(u64::from(DELAY_S) * 1_000 + 500);
                    tokio::time::sleep(passed).await;
                }
                let mut boss = running.client("boss", Some("boss")).await;
                publish(&mut boss, END, "end", false).await;
                for (ear, hears) in &mut ears {
                    let expected = if *hears { "lobby gone" } else { LAST };
                    assert_eq!(message(ear).await, expected, "{cell}");
                }
                drop(taken_over);
            }
        }
    })
    .await;
}
