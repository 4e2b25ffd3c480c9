//! A shard between an in-memory network and a clock that moves only when everybody waits.

mod allocations;
#[path = "../common/connect.rs"]
mod connect;
mod support;

use std::io;
use std::rc::Rc;

use bytes::BytesMut;
use signalhouse::client::{Client, ClientError};
use signalhouse::seams::{Authenticate, Caller, Clock, MemoryJournal, TokioClock};
use signalhouse::shard::Options;
use signalhouse_core::credential::Credential;
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::wire::encode_client;
use signalhouse_core::wire::packet::{ClientPacket, Publish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, QoS, Text, Version};
use signalhouse_core::{ConnectionId, Question, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

use connect::connect;
use support::{
    PIPE_BYTES, Running, SlowJournal, id, ms_until, options, publish, start, start_on, subscribe,
};

/// Plays a scenario beside the shard, on its thread.
async fn play(scenario: impl Future<Output = ()>) {
    LocalSet::new().run_until(scenario).await;
}

/// Lets every other task do what it can.
async fn settle(running: &Running) {
    running.clock.sleep_until(running.clock.now().plus_ms(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_through() {
    play(async {
        let running = start(options());
        let (mut receiver, _) = running.client("receiver").await;
        subscribe(&mut receiver, "a/+", QoS::AtMostOnce).await;
        let (mut sender, _) = running.client("sender").await;
        sender.queue(&publish("a/b", b"hello", Delivery::AtMostOnce)).expect("a small packet");
        sender.flush().await.expect("a living connection");
        let ServerPacket::Publish(publish) = receiver.receive().await.expect("a message") else {
            panic!("expected PUBLISH")
        };
        assert_eq!(&publish.message.payload[..], b"hello");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn packets_may_come_byte_by_byte() {
    play(async {
        let running = start(options());
        let mut stream = running.net.open();
        let mut bytes = BytesMut::new();
        for packet in [ClientPacket::Connect(Box::new(connect("slow"))), ClientPacket::PingReq] {
            let _written = encode_client(&packet, Version::V5, &mut bytes);
        }
        for byte in bytes {
            stream.write_all(&[byte]).await.expect("a living connection");
            settle(&running).await;
        }
        let mut answers = vec![0; PIPE_BYTES];
        let read = stream.read(&mut answers).await.expect("a living connection");
        assert_eq!(answers[0], 0x20, "CONNACK");
        assert_eq!(answers[read - 2..read], [0xd0, 0], "PINGRESP");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_large_packet_goes_through_a_small_pipe() {
    play(async {
        let running = start(options());
        let (mut receiver, _) = running.client("receiver").await;
        subscribe(&mut receiver, "large", QoS::AtMostOnce).await;
        let (mut sender, _) = running.client("sender").await;
        let payload: Vec<u8> = (0..600_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for _ in 0..2 {
            sender.queue(&publish("large", &payload, Delivery::AtMostOnce)).expect("it fits");
            let sent = sender.flush();
            let (sent, received) = tokio::join!(sent, receiver.receive());
            sent.expect("a living connection");
            let ServerPacket::Publish(publish) = received.expect("a message") else {
                panic!("expected PUBLISH")
            };
            assert_eq!(publish.message.payload, payload);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn many_retained_messages_come_at_once_where_the_network_takes_them() {
    play(async {
        const MESSAGES: usize = 600;
        let running = start(Options { outgoing_buffer_bytes: 128 * 1024, ..options() });
        let (mut sender, _) = running.client("sender").await;
        for number in 0..MESSAGES {
            let message = publish(&format!("r/{number}"), &[7; 1024], Delivery::AtMostOnce);
            let ClientPacket::Publish(message) = message else { unreachable!() };
            let message = ClientPacket::Publish(Publish { retain: true, ..message });
            sender.queue(&message).expect("a small packet");
            sender.flush().await.expect("a living connection");
        }
        settle(&running).await;
        let (ours, theirs) = tokio::io::duplex(4 * 1024 * 1024);
        running.net.arrive(Ok(theirs));
        let connected = Client::connect(ours, running.clock, connect("receiver"), 60_000);
        let (mut receiver, _) = connected.await.expect("the broker lets everybody in");
        subscribe(&mut receiver, "r/+", QoS::AtMostOnce).await;
        let all = async {
            for _ in 0..MESSAGES {
                let packet = receiver.receive().await.expect("a message");
                assert!(matches!(packet, ServerPacket::Publish(_)), "{packet:?}");
            }
        };
        let (ms, ()) = ms_until(running.clock, all).await;
        assert_eq!(ms, 0, "nothing was to be waited for");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_connect_timeout() {
    play(async {
        let running = start(options());
        let mut stream = running.net.open();
        let read = stream.read_u8();
        let (ms, read) = ms_until(running.clock, read).await;
        assert_eq!(read.expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(ms, 10_000);
        drop(stream);
        settle(&running).await;
        assert_eq!(running.handle.connections(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn keep_alive_is_one_and_a_half_times_what_was_promised() {
    play(async {
        let running = start(options());
        let mut stream = running.net.open();
        let mut bytes = BytesMut::new();
        let mut with_keep_alive = connect("sleepy");
        with_keep_alive.keep_alive_s = 10;
        let packet = ClientPacket::Connect(Box::new(with_keep_alive));
        let _written = encode_client(&packet, Version::V5, &mut bytes);
        stream.write_all(&bytes).await.expect("a living connection");
        settle(&running).await;
        running.clock.sleep_until(running.clock.now().plus_ms(9_999)).await;
        stream.write_all(&[0xc0, 0]).await.expect("a living connection");
        let mut all = Vec::new();
        let (ms, read) = ms_until(running.clock, stream.read_to_end(&mut all)).await;
        read.expect("an orderly end");
        assert_eq!(ms, 15_000);
        assert_eq!(all[all.len() - 4..], [0xe0, 2, 0x8d, 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn last_packets_that_nobody_reads_are_given_up() {
    play(async {
        let running = start(options());
        let (mut deaf, _) = running.client("deaf").await;
        subscribe(&mut deaf, "flood", QoS::AtMostOnce).await;
        let (mut sender, _) = running.client("sender").await;
        for _ in 0..4 {
            let packet = publish("flood", &[0; PIPE_BYTES], Delivery::AtMostOnce);
            sender.queue(&packet).expect("it fits");
            sender.flush().await.expect("a living connection");
        }
        settle(&running).await;
        running.handle.stop(ReasonCode::ServerShuttingDown);
        let told = sender.receive().await.expect_err("DISCONNECT");
        assert!(matches!(told, ClientError::Disconnected { .. }), "{told}");
        drop(sender);
        let (ms, ended) = ms_until(running.clock, running.ended).await;
        ended.expect("no panic").expect("an orderly end");
        assert_eq!(ms, 5_000);
        drop(deaf);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_dropped_in_time() {
    play(async {
        let running = start(options());
        let (mut deaf, _) = running.client("deaf").await;
        for _ in 0..PIPE_BYTES {
            deaf.queue(&ClientPacket::PingReq).expect("a small packet");
        }
        deaf.flush().await.expect("the pipe has room");
        settle(&running).await;
        assert_eq!(running.handle.connections(), 1);
        running.clock.sleep_until(running.clock.now().plus_ms(59_000)).await;
        assert_eq!(running.handle.connections(), 1);
        running.clock.sleep_until(running.clock.now().plus_ms(1_000)).await;
        assert_eq!(running.handle.connections(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_listener_is_tried_again_after_a_while() {
    play(async {
        let running = start(options());
        running.net.arrive(Err(io::Error::from_raw_os_error(24)));
        let (ms, _connected) = ms_until(running.clock, running.client("patient")).await;
        assert_eq!(ms, 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_waits_for_the_disk() {
    play(async {
        let journal = SlowJournal::default();
        let running = start_on(options(), journal.clone(), signalhouse::seams::Anonymous);
        let mut keeps = connect("keeper");
        keeps.session_expiry_interval_s = 3_600;
        let mut keeper =
            std::pin::pin!(Client::connect(running.net.open(), running.clock, keeps, 60_000));
        tokio::select! {
            biased;
            _ = keeper.as_mut() => panic!("CONNACK before the session is durable"),
            () = settle(&running) => {}
        }
        assert!(journal.records() > 0);
        journal.sync();
        let (mut keeper, _) = keeper.await.expect("let in");
        let before = journal.records();
        let packet = publish("a", b"b", Delivery::ExactlyOnce(id(1)));
        keeper.queue(&packet).expect("a small packet");
        tokio::select! {
            biased;
            packet = keeper.receive() => panic!("{packet:?} before it is durable"),
            () = settle(&running) => {}
        }
        assert!(journal.records() > before);
        journal.sync();
        let answer = keeper.receive().await.expect("an answer");
        assert!(matches!(answer, ServerPacket::PubRec(_)), "{answer:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_disk_ends_the_shard() {
    play(async {
        let journal = SlowJournal::default();
        let running = start_on(options(), journal.clone(), signalhouse::seams::Anonymous);
        settle(&running).await;
        journal.break_down();
        let ended = running.ended.await.expect("no panic").expect_err("the disk is gone");
        assert_eq!(ended.to_string(), "the journal failed: the disk is gone");
    })
    .await;
}

/// Lets in whoever says the password, after thinking about it.
struct Thoughtful(TokioClock);

impl Authenticate for Thoughtful {
    fn asks_credentials(&self, _: ConnectionId) -> bool {
        true
    }

    fn methods(&self) -> Vec<Text> {
        Vec::new()
    }

    async fn answer(self: Rc<Self>, _: Caller, question: Question) -> AuthOutcome {
        self.0.sleep_until(self.0.now().plus_ms(200)).await;
        match question {
            Question::Credentials { user_name, password: Some(password), .. }
                if &password[..] == b"open sesame" =>
            {
                AuthOutcome::Accepted {
                    identity: user_name,
                    data: None,
                    credential: Credential::default(),
                }
            }
            Question::Credentials { .. } | Question::Exchange { .. } => {
                AuthOutcome::Refused { reason: ReasonCode::BadUserNameOrPassword }
            }
        }
    }

    fn forget(&self, _: ConnectionId) {}
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_for_the_answer_to_who_it_is() {
    play(async {
        let clock = TokioClock::starting_at(Time::ZERO);
        let running = start_on(options(), MemoryJournal::new(), Thoughtful(clock));
        let mut knows = connect("ali");
        knows.password = Some("open sesame".into());
        let connecting = Client::connect(running.net.open(), running.clock, knows, 60_000);
        let (ms, connected) = ms_until(running.clock, connecting).await;
        let _ali = connected.expect("let in");
        assert_eq!(ms, 200);
        let mut guesses = connect("thief");
        guesses.password = Some("open barley".into());
        let connecting = Client::connect(running.net.open(), running.clock, guesses, 60_000);
        let refused = connecting.await.expect_err("refused");
        assert!(
            matches!(
                refused,
                ClientError::Refused { reason: ReasonCode::BadUserNameOrPassword, .. }
            ),
            "{refused}"
        );
        // One that goes before the answer is no trouble.
        let mut impatient = running.net.open();
        let mut bytes = BytesMut::new();
        let packet = ClientPacket::Connect(Box::new(connect("impatient")));
        let _written = encode_client(&packet, Version::V5, &mut bytes);
        impatient.write_all(&bytes).await.expect("a living connection");
        settle(&running).await;
        drop(impatient);
        running.clock.sleep_until(running.clock.now().plus_ms(1_000)).await;
        assert_eq!(running.handle.connections(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn names_of_connections_are_not_used_again() {
    play(async {
        let running = start(options());
        for round in 0..50 {
            let (client, _) = running.client(&format!("client {round}")).await;
            client.disconnect(Default::default()).await.expect("an orderly end");
            settle(&running).await;
            assert_eq!(running.handle.connections(), 0);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_many_get_alike_comes_whole_and_in_order_between_other_things() {
    const MESSAGES: u32 = 60;
    let delivery_of = |number: u32| match number % 10 {
        9 => Delivery::AtLeastOnce(id(1 + u16::try_from(number).expect("few messages"))),
        _ => Delivery::AtMostOnce,
    };
    // More than a connection holds, and now and then a payload that is not copied.
    let payload_of = |number: u32| {
        let bytes = if number % 25 == 24 { 5_000 } else { 200 };
        let mut payload = vec![b'.'; bytes];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        payload
    };
    play(async {
        let running = start(options());
        let mut receivers = Vec::new();
        for alias_maximum in [0, 0, 10, 0] {
            let client_id = format!("receiver-{}", receivers.len());
            let mut hello = connect(&client_id);
            hello.topic_alias_maximum = alias_maximum;
            let connected = Client::connect(running.net.open(), running.clock, hello, 60_000);
            let (mut receiver, _) = connected.await.expect("the broker lets everybody in");
            subscribe(&mut receiver, "a/+", QoS::AtLeastOnce).await;
            receivers.push(receiver);
        }
        let (mut sender, _) = running.client("sender").await;
        for number in 0..MESSAGES {
            let packet = publish("a/b", &payload_of(number), delivery_of(number));
            sender.queue(&packet).expect("a packet");
        }
        let sending = tokio::task::spawn_local(async move {
            sender.flush().await.expect("a living connection");
            sender
        });
        for receiver in &mut receivers {
            let mut next = [0, 9];
            for _ in 0..MESSAGES {
                let packet = receiver.receive().await.expect("a message");
                let ServerPacket::Publish(publish) = packet else { panic!("expected PUBLISH") };
                let payload = &publish.message.payload;
                let number = u32::from_be_bytes(*payload.first_chunk().expect("a number"));
                assert_eq!(payload[..], payload_of(number));
                // Each quality keeps its own order.
                let is_acknowledged = publish.delivery != Delivery::AtMostOnce;
                let next = &mut next[usize::from(is_acknowledged)];
                assert_eq!(number, *next);
                *next += if is_acknowledged { 10 } else { 1 + u32::from(number % 10 == 8) };
            }
        }
        drop(sending.await.expect("it ends"));
    })
    .await;
}
