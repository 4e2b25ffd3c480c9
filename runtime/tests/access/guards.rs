//! What stands between strangers and the broker: hashing cannot stall it, failures make an address wait,
//! and a session is its creator's alone.

use std::cell::Cell;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use signalhouse::client::ClientError;
use signalhouse_core::wire::packet::Connect;
use signalhouse_core::wire::reason::ReasonCode;

use crate::support::{Folder, Running, connect_as, play, publish};

const SETTINGS: &str = "
    [network]
    listen = [\"127.0.0.1:0\"]
    [security]
    password_file = \"DIR/users\"
";

/// A broker that knows these users, whose passwords are their names. Their hashes cost little.
fn start(name: &str, users: &[String]) -> Running {
    let folder = Folder::new(name);
    let line = |user: &String| {
        let salt = b"twelve bytes";
        let hash = digest::digest(&digest::SHA512, &[user.as_bytes(), salt].concat());
        format!("{user}:$6${}${}\n", STANDARD.encode(salt), STANDARD.encode(hash.as_ref()))
    };
    folder.write("users", &users.iter().map(line).collect::<String>());
    Running::start(folder, SETTINGS)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("user{number}")).collect()
}

async fn answer(running: &Running, connect: Connect) -> ReasonCode {
    match running.try_client(connect).await {
        Err(ClientError::Refused { reason, .. }) => reason,
        Err(other) => panic!("expected an answer, got {other}"),
        Ok(_) => ReasonCode::Success,
    }
}

/// Unknown users cost a whole argon2 each, several of them seconds in a debug build. If that were the
/// broker's own time, the publications would come behind it.
#[tokio::test]
async fn the_broker_serves_while_passwords_are_hashed() {
    play(async {
        let running = Rc::new(start("stall", &names(1)));
        let mut peer = running.client("c", Some("user0")).await;
        let answered = Rc::new(Cell::new(0));
        let logins: Vec<_> = (0..12)
            .map(|number| {
                let (running, answered) = (Rc::clone(&running), Rc::clone(&answered));
                tokio::task::spawn_local(async move {
                    let nobody = format!("nobody{number}");
                    let connect = connect_as(&nobody, Some(&nobody), Some("x"));
                    let reason = answer(&running, connect).await;
                    answered.set(answered.get() + 1);
                    reason
                })
            })
            .collect();
        for _ in 0..5 {
            let reason = publish(&mut peer, "t", "", false).await;
            assert_eq!(reason, ReasonCode::NoMatchingSubscribers);
        }
        assert!(answered.get() < 12, "every login was answered before five publications");
        for login in logins {
            let reason = login.await.expect("no panic");
            assert_eq!(reason, ReasonCode::BadUserNameOrPassword);
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_fails_with_many_names_waits_with_a_right_one() {
    play(async {
        let running = Rc::new(start("address", &names(25)));
        // As many failures as an address has free.
        for round in 0..2 {
            let logins: Vec<_> = (0..10)
                .map(|number| {
                    let running = Rc::clone(&running);
                    tokio::task::spawn_local(async move {
                        let user = format!("user{}", round * 10 + number);
                        answer(&running, connect_as(&user, Some(&user), Some("guess"))).await
                    })
                })
                .collect();
            for login in logins {
                let reason = login.await.expect("no panic");
                assert_eq!(reason, ReasonCode::BadUserNameOrPassword);
            }
        }
        let right = connect_as("c", Some("user24"), Some("user24"));
        assert_eq!(answer(&running, right).await, ReasonCode::ConnectionRateExceeded);
    })
    .await;
}

#[tokio::test]
async fn a_session_belongs_to_who_created_it() {
    play(async {
        let running = start("owner", &names(2));
        let of = |user: &str| Connect {
            clean_start: false,
            session_expiry_interval_s: 600,
            ..connect_as("shared", Some(user), Some(user))
        };
        let (mut owner, _) = running.try_client(of("user0")).await.expect("a right password");
        let refused = ReasonCode::ClientIdentifierNotValid;
        assert_eq!(answer(&running, of("user1")).await, refused, "while it is connected");
        let reason = publish(&mut owner, "t", "", false).await;
        assert_eq!(reason, ReasonCode::NoMatchingSubscribers, "it is not taken over");
        drop(owner);
        let clean = Connect { clean_start: true, ..of("user1") };
        assert_eq!(answer(&running, clean).await, refused, "while it is away");
        let (_owner, connack) = running.try_client(of("user0")).await.expect("its session");
        assert!(connack.session_present);
    })
    .await;
}
