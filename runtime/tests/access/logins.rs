//! Passwords, tokens, SCRAM: who is let in, who is not, and who must leave.

use std::process::{Command, Stdio};

use bytes::Bytes;
use serde_json::json;
use signalhouse::client::ClientError;
use signalhouse::seams::Clock;
use signalhouse_core::wire::packet::{Auth, ClientPacket, ConnAck, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;
use tokio::net::TcpStream;

use crate::support::{Folder, Running, connect_as, end, play, publish, receive, subscribe};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const SETTINGS: &str = "
    [network]
    listen = [\"127.0.0.1:0\"]
    [security]
    password_file = \"DIR/users\"
    acl_file = \"DIR/rules\"
    [jwt]
    secret_file = \"DIR/secret\"
";

/// Sets a user's password with the program, as an operator would.
fn passwd(folder: &Folder, user: &str, password: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_signalhouse"))
        .args(["passwd", &folder.path().join("users").display().to_string(), user])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, format!("{password}\n").as_bytes()).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

/// Hashes of `mosquitto_passwd -H sha512` and of 2.0's default, of `legacy`.
fn mosquitto_users() -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ring::{digest, pbkdf2};
    let salt = b"twelve bytes";
    let six = digest::digest(&digest::SHA512, &[&b"legacy"[..], salt].concat());
    let mut seven = [0; 64];
    let iterations = std::num::NonZeroU32::new(101).expect("not zero");
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, salt, b"legacy", &mut seven);
    let (salt, six, seven) =
        (STANDARD.encode(salt), STANDARD.encode(six.as_ref()), STANDARD.encode(seven));
    format!("six:$6${salt}${six}\nseven:$7$101${salt}${seven}\n")
}

fn start(name: &str) -> Running {
    let folder = Folder::new(name);
    folder.write("users", &mosquitto_users());
    passwd(&folder, "ann", "ann");
    folder.write("rules", "allow users all {username}/#\nallow claim role admin all admin\n");
    folder.write("secret", SECRET);
    Running::start(folder, SETTINGS)
}

fn token(running: &Running, seconds: i64, extra: &serde_json::Value) -> String {
    signed(running, SECRET, seconds, extra)
}

fn signed(running: &Running, secret: &str, seconds: i64, extra: &serde_json::Value) -> String {
    let now = i64::try_from(running.clock.now().as_ms() / 1_000).expect("a time of this age");
    let mut claims = json!({"sub": "tom", "exp": now + seconds});
    for (name, value) in extra.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256"})), part(&claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

async fn refusal(running: &Running, user: Option<&str>, password: Option<&str>) -> ReasonCode {
    match running.try_client(connect_as("x", user, password)).await {
        Err(ClientError::Refused { reason, .. }) => reason,
        other => panic!("expected a refusal, got {:?}", other.map(|(_, ack)| ack)),
    }
}

#[tokio::test]
async fn passwords_of_every_format_let_in_and_wrong_ones_do_not() {
    play(async {
        let running = start("passwords");
        for (user, password) in [("ann", "ann"), ("six", "legacy"), ("seven", "legacy")] {
            let connected = running.try_client(connect_as(user, Some(user), Some(password))).await;
            let (mut peer, _) = connected.expect(user);
            let own = format!("{user}/x");
            assert_eq!(
                publish(&mut peer, &own, "", false).await,
                ReasonCode::NoMatchingSubscribers
            );
            assert_eq!(publish(&mut peer, "other/x", "", false).await, ReasonCode::NotAuthorized);
        }
        let wrong = ReasonCode::BadUserNameOrPassword;
        assert_eq!(refusal(&running, Some("ann"), Some("Ann")).await, wrong);
        assert_eq!(refusal(&running, Some("nobody"), Some("ann")).await, wrong);
        assert_eq!(refusal(&running, Some("ann"), None).await, wrong);
        assert_eq!(refusal(&running, None, Some("ann")).await, wrong);
        assert_eq!(refusal(&running, None, None).await, ReasonCode::NotAuthorized);
    })
    .await;
}

#[tokio::test]
async fn who_fails_too_often_waits_and_others_do_not() {
    play(async {
        let running = start("backoff");
        for _ in 0..4 {
            refusal(&running, Some("ann"), Some("guess")).await;
        }
        let waits = ReasonCode::ConnectionRateExceeded;
        assert_eq!(refusal(&running, Some("ann"), Some("ann")).await, waits);
        let six = running.try_client(connect_as("six", Some("six"), Some("legacy"))).await;
        assert!(six.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_changed_password_or_a_removed_user_ends_what_it_let_in() {
    play(async {
        let running = start("changed");
        let mut ann = running.client("ann", Some("ann")).await;
        let six = running.try_client(connect_as("six", Some("six"), Some("legacy"))).await;
        let (mut six, _) = six.expect("a right password");
        passwd(&running.folder, "ann", "another");
        running.reload(SETTINGS);
        assert_eq!(end(&mut ann).await, ReasonCode::NotAuthorized);
        let reason = publish(&mut six, "six/x", "", false).await;
        assert_eq!(reason, ReasonCode::NoMatchingSubscribers);
        running.folder.write("users", "");
        running.reload(SETTINGS);
        assert_eq!(end(&mut six).await, ReasonCode::NotAuthorized);
    })
    .await;
}

#[tokio::test]
async fn a_token_lets_in_until_it_ends_and_its_claims_count() {
    play(async {
        let running = start("tokens");
        let admin = token(&running, 60, &json!({"role": ["user", "admin"]}));
        let (mut peer, _) =
            running.try_client(connect_as("t", None, Some(&admin))).await.expect("a right token");
        assert_eq!(subscribe(&mut peer, "admin").await, ReasonCode::Success);
        assert_eq!(subscribe(&mut peer, "tom/#").await, ReasonCode::Success);
        assert_eq!(subscribe(&mut peer, "ann/#").await, ReasonCode::NotAuthorized);
        let limited = token(&running, 60, &json!({"topics": {"publish": ["tom/out"]}}));
        let (mut peer, _) =
            running.try_client(connect_as("l", None, Some(&limited))).await.expect("a right token");
        assert_eq!(subscribe(&mut peer, "tom/#").await, ReasonCode::NotAuthorized);
        let reason = publish(&mut peer, "tom/out", "", false).await;
        assert_eq!(reason, ReasonCode::Success);
        // Five seconds of leeway are given to clocks.
        let short = token(&running, -4, &json!({}));
        let (mut peer, _) =
            running.try_client(connect_as("s", None, Some(&short))).await.expect("the leeway");
        assert_eq!(end(&mut peer).await, ReasonCode::MaximumConnectTime);
        let not_authorized = ReasonCode::NotAuthorized;
        assert_eq!(
            refusal(&running, None, Some(&token(&running, -10, &json!({})))).await,
            not_authorized
        );
        let forged = admin.replace('.', ".x");
        assert_eq!(refusal(&running, Some("tom"), Some(&forged)).await, not_authorized);
    })
    .await;
}

/// A document of shared secrets under their names.
fn key_document(names: &[&str]) -> String {
    use base64::Engine as _;
    let keys = names.iter().map(|name| {
        let secret = format!("{name:0>40}");
        let k = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
        json!({"kty": "oct", "kid": name, "k": k})
    });
    json!({"keys": keys.collect::<Vec<_>>()}).to_string()
}

#[tokio::test]
async fn a_key_taken_out_of_the_document_ends_what_it_let_in() {
    play(async {
        let settings = SETTINGS.replace("secret_file", "jwks_file");
        let folder = Folder::new("key-document");
        folder.write("users", "");
        folder.write("rules", "allow users all {username}/#\n");
        folder.write("secret", &key_document(&["old", "new"]));
        let running = Running::start(folder, &settings);
        let mut peers = Vec::new();
        for name in ["old", "new"] {
            let token = signed(&running, &format!("{name:0>40}"), 60, &json!({}));
            let connect = connect_as(name, None, Some(&token));
            peers.push(running.try_client(connect).await.expect("a right token").0);
        }
        let mut method = connect_as("method", None, None);
        method.authentication_method = Text::try_from("JWT").ok();
        let token = signed(&running, &format!("{:0>40}", "old"), 60, &json!({}));
        method.authentication_data = Some(token.into());
        peers.push(running.try_client(method).await.expect("a right token").0);
        running.folder.write("secret", &key_document(&["newer", "new"]));
        running.reload(&settings);
        assert_eq!(end(&mut peers[0]).await, ReasonCode::NotAuthorized);
        assert_eq!(end(&mut peers[2]).await, ReasonCode::NotAuthorized);
        let stays = publish(&mut peers[1], "tom/x", "", false).await;
        assert_eq!(stays, ReasonCode::NoMatchingSubscribers);
        // What is asked of tokens beside their key counts too.
        running.reload(&format!("{settings}    issuer = \"somebody\"\n"));
        assert_eq!(end(&mut peers[1]).await, ReasonCode::NotAuthorized);
    })
    .await;
}

fn auth(reason: ReasonCode, method: &str, data: &str) -> ClientPacket {
    ClientPacket::Auth(Box::new(Auth {
        reason,
        method: Text::try_from(method).ok(),
        data: Some(Bytes::copy_from_slice(data.as_bytes())),
        reason_string: None,
        user_properties: Vec::new(),
    }))
}

#[tokio::test]
async fn a_fresh_token_keeps_the_connection_and_a_wrong_one_ends_it() {
    play(async {
        let running = start("fresh");
        let mut connect = connect_as("t", None, None);
        connect.authentication_method = Text::try_from("JWT").ok();
        connect.authentication_data = Some(token(&running, -4, &json!({})).into());
        let (mut peer, _) = running.try_client(connect).await.expect("the leeway");
        let fresh = token(&running, 60, &json!({"role": "admin"}));
        peer.queue(&auth(ReasonCode::ReAuthenticate, "JWT", &fresh)).expect("MQTT 5");
        let answer = receive(&mut peer).await;
        assert!(
            matches!(&answer, ServerPacket::Auth(auth) if auth.reason == ReasonCode::Success),
            "{answer:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        let reason = publish(&mut peer, "admin", "", false).await;
        assert_eq!(reason, ReasonCode::NoMatchingSubscribers, "claims are new, the end is later");
        let others = token(&running, 60, &json!({"sub": "ann"}));
        peer.queue(&auth(ReasonCode::ReAuthenticate, "JWT", &others)).expect("MQTT 5");
        assert_eq!(end(&mut peer).await, ReasonCode::NotAuthorized);
    })
    .await;
}

/// The client's side of SCRAM, written from the RFC.
fn scram_proof(password: &str, first: &str, answer: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ring::{digest, hmac, pbkdf2};
    let field = |name: &str| {
        answer.split(',').find_map(|field| field.strip_prefix(name)).expect("a whole answer")
    };
    let salt = STANDARD.decode(field("s=")).expect("base64");
    let iterations = field("i=").parse().expect("a number");
    let mut salted = [0; 32];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, &salt, password.as_bytes(), &mut salted);
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let client_key = mac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let last = format!("c=biws,r={}", field("r="));
    let transcript = format!("{first},{answer},{last}");
    let signature = mac(stored_key.as_ref(), transcript.as_bytes());
    let proof: Vec<u8> =
        client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    format!("{last},p={}", STANDARD.encode(proof))
}

const SCRAM: &str = "SCRAM-SHA-256";
const SCRAM_FIRST: &str = "n=ann,r=fyko+d2lbbFgONRv9qkxdawL";

/// Begins to prove a password, and returns what the broker asks.
async fn begin_scram(running: &Running) -> (crate::doors::Raw<TcpStream>, String) {
    let mut connect = connect_as("s", None, None);
    connect.authentication_method = Text::try_from(SCRAM).ok();
    connect.authentication_data = Some(format!("n,,{SCRAM_FIRST}").into());
    let stream = running.tcp(signalhouse::transport::Kind::Tcp).await;
    let mut exchange = crate::doors::Raw::new(stream);
    exchange.send(&ClientPacket::Connect(Box::new(connect))).await;
    let Some(ServerPacket::Auth(answer)) = exchange.receive().await else {
        panic!("expected AUTH")
    };
    let answer = answer.data.expect("the server's first message");
    (exchange, String::from_utf8(answer.into()).expect("text"))
}

/// Answers with the proof of a password.
async fn end_scram(
    exchange: &mut crate::doors::Raw<TcpStream>,
    answer: &str,
    password: &str,
) -> ConnAck {
    let proof = scram_proof(password, SCRAM_FIRST, answer);
    exchange.send(&auth(ReasonCode::ContinueAuthentication, SCRAM, &proof)).await;
    let Some(ServerPacket::ConnAck(ack)) = exchange.receive().await else {
        panic!("expected CONNACK")
    };
    *ack
}

#[tokio::test]
async fn a_password_can_prove_itself_without_being_sent() {
    play(async {
        let running = start("scram");
        for (password, right) in [("ann", true), ("guess", false)] {
            let (mut exchange, answer) = begin_scram(&running).await;
            let ack = end_scram(&mut exchange, &answer, password).await;
            assert_eq!(!ack.reason.is_error(), right, "{ack:?}");
            let proves = ack.authentication_data.is_some_and(|data| data.starts_with(b"v="));
            assert_eq!(proves, right);
        }
    })
    .await;
}

#[tokio::test]
async fn who_begins_many_proofs_before_the_first_fails_gains_no_guesses() {
    play(async {
        let running = start("scram-many");
        let mut begun = Vec::new();
        for _ in 0..6 {
            begun.push(begin_scram(&running).await);
        }
        let mut reasons = Vec::new();
        for (number, (exchange, answer)) in begun.iter_mut().enumerate() {
            let password = if number == 5 { "ann" } else { "guess" };
            reasons.push(end_scram(exchange, answer, password).await.reason);
        }
        let waits = ReasonCode::ConnectionRateExceeded;
        assert_eq!(reasons[..4], [ReasonCode::BadUserNameOrPassword; 4]);
        assert_eq!(reasons[4..], [waits, waits], "the right one too");
    })
    .await;
}

#[tokio::test]
async fn tokens_that_have_ended_keep_nobody_else_out() {
    play(async {
        let running = start("ended-tokens");
        let ended = token(&running, -60, &json!({}));
        for _ in 0..30 {
            let reason = refusal(&running, None, Some(&ended)).await;
            assert_eq!(reason, ReasonCode::NotAuthorized);
        }
        // Forged ones are guesses, and their address has more of them than a user has.
        let forged = signed(&running, "another secret of thirty-two bytes!", 60, &json!({}));
        for _ in 0..19 {
            let reason = refusal(&running, None, Some(&forged)).await;
            assert_eq!(reason, ReasonCode::NotAuthorized);
        }
        let good = token(&running, 60, &json!({}));
        assert!(running.try_client(connect_as("t", None, Some(&good))).await.is_ok());
        assert_eq!(refusal(&running, None, Some(&forged)).await, ReasonCode::NotAuthorized);
        let waits = ReasonCode::ConnectionRateExceeded;
        assert_eq!(refusal(&running, None, Some(&good)).await, waits);
    })
    .await;
}
