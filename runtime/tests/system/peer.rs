//! A foreign client, `rumqttc`, in either of its versions; the two have the same names for most
//! things, and where they do not, the module that uses this says what they are.

/// Defines `Peer` and the scenarios that every version can play. The module has in scope
/// `AsyncClient`, `Event`, `EventLoop`, `MqttOptions`, `LastWill`, `QoS`, `Packet`, `ConnAck` and
/// `Publish`, and defines `topic_of`, `keep_session` and `will`.
macro_rules! peer {
    () => {
        use std::collections::VecDeque;
        use std::time::Duration;

        use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
        use tokio::task::JoinHandle;
        use tokio::time::timeout;

        use crate::support::{Broker, DEADLINE};

        struct Peer {
            client: AsyncClient,
            packets: UnboundedReceiver<Packet>,
            publishes: VecDeque<Publish>,
            pump: JoinHandle<()>,
        }

        fn options(broker: &Broker, client_id: &str) -> MqttOptions {
            let mut options = MqttOptions::new(client_id, "127.0.0.1", broker.port);
            options.set_keep_alive(Duration::from_secs(30));
            options
        }

        impl Peer {
            async fn connect(options: MqttOptions) -> (Self, ConnAck) {
                let (client, mut events) = AsyncClient::new(options, 100);
                let (sender, packets) = unbounded_channel();
                let pump = tokio::spawn(async move {
                    while let Ok(event) = events.poll().await {
                        if let Event::Incoming(packet) = event
                            && sender.send(packet).is_err()
                        {
                            return;
                        }
                    }
                });
                let publishes = VecDeque::new();
                let mut peer = Peer { client, packets, publishes, pump };
                let ack = peer
                    .wait_for(|packet| match packet {
                        Packet::ConnAck(ack) => Some(ack.clone()),
                        _ => None,
                    })
                    .await;
                (peer, ack)
            }

            async fn new(broker: &Broker, client_id: &str) -> Self {
                Peer::connect(options(broker, client_id)).await.0
            }

            /// The next packet that is wanted; messages that come before are kept.
            async fn wait_for<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> T {
                loop {
                    let packet = timeout(DEADLINE, self.packets.recv()).await;
                    let packet = packet.expect("in time").expect("a living connection");
                    if let Some(found) = wanted(&packet) {
                        return found;
                    }
                    if let Packet::Publish(publish) = packet {
                        self.publishes.push_back(publish);
                    }
                }
            }

            async fn subscribe(&mut self, filter: &str, qos: QoS) {
                self.client.subscribe(filter, qos).await.expect("a living client");
                self.wait_for(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
            }

            /// Publishes, and waits until the exchange is over.
            async fn publish(&mut self, topic: &str, qos: QoS, retain: bool, payload: &str) {
                self.client
                    .publish(topic, qos, retain, payload.to_owned())
                    .await
                    .expect("a living client");
                match qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => {
                        self.wait_for(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
                            .await;
                    }
                    QoS::ExactlyOnce => {
                        self.wait_for(|packet| matches!(packet, Packet::PubComp(_)).then_some(()))
                            .await;
                    }
                }
            }

            async fn receive(&mut self) -> Publish {
                if let Some(publish) = self.publishes.pop_front() {
                    return publish;
                }
                self.wait_for(|packet| match packet {
                    Packet::Publish(publish) => Some(publish.clone()),
                    _ => None,
                })
                .await
            }

            /// The next message, as topic and payload.
            async fn message(&mut self) -> (String, String) {
                let publish = self.receive().await;
                let payload = String::from_utf8_lossy(&publish.payload).into_owned();
                (topic_of(&publish), payload)
            }

            /// Ends the connection without a DISCONNECT.
            async fn vanish(self) {
                self.pump.abort();
                drop(self.pump.await);
            }

            async fn disconnect(self) {
                self.client.disconnect().await.expect("a living client");
                timeout(DEADLINE, self.pump).await.expect("in time").expect("no panic");
            }
        }

        fn pair(topic: &str, payload: &str) -> (String, String) {
            (topic.to_owned(), payload.to_owned())
        }

        #[tokio::test]
        async fn messages_arrive_at_every_qos() {
            let broker = Broker::start();
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let mut receiver = Peer::new(&broker, "receiver").await;
                receiver.subscribe("room/1", qos).await;
                let mut sender = Peer::new(&broker, "sender").await;
                for number in 0..50 {
                    sender.publish("room/1", qos, false, &number.to_string()).await;
                }
                for number in 0..50 {
                    let publish = receiver.receive().await;
                    assert_eq!(publish.payload, number.to_string().as_bytes());
                    assert_eq!(publish.qos, qos);
                    assert!(!publish.retain && !publish.dup);
                }
                sender.disconnect().await;
                receiver.disconnect().await;
            }
        }

        #[tokio::test]
        async fn a_retained_message_waits_for_subscribers() {
            let broker = Broker::start();
            let mut sender = Peer::new(&broker, "sender").await;
            sender.publish("state/a", QoS::AtLeastOnce, true, "old").await;
            sender.publish("state/a", QoS::AtLeastOnce, true, "new").await;
            let mut receiver = Peer::new(&broker, "receiver").await;
            receiver.subscribe("state/+", QoS::AtLeastOnce).await;
            let publish = receiver.receive().await;
            assert!(publish.retain);
            assert_eq!(&publish.payload[..], b"new");
            sender.publish("state/a", QoS::AtLeastOnce, true, "").await;
            assert_eq!(receiver.message().await, pair("state/a", ""));
            let mut late = Peer::new(&broker, "late").await;
            late.subscribe("state/+", QoS::AtLeastOnce).await;
            sender.publish("state/b", QoS::AtLeastOnce, false, "live").await;
            assert_eq!(late.message().await, pair("state/b", "live"));
        }

        #[tokio::test]
        async fn a_will_is_published_when_its_client_vanishes_and_only_then() {
            let broker = Broker::start();
            let mut witness = Peer::new(&broker, "witness").await;
            witness.subscribe("will/#", QoS::AtLeastOnce).await;
            for (name, vanishes) in [("polite", false), ("lost", true)] {
                let mut with_will = options(&broker, name);
                with_will.set_last_will(will(&format!("will/{name}"), "gone"));
                let (peer, _) = Peer::connect(with_will).await;
                if vanishes {
                    peer.vanish().await;
                } else {
                    peer.disconnect().await;
                }
            }
            assert_eq!(witness.message().await, pair("will/lost", "gone"));
        }

        #[tokio::test]
        async fn a_session_is_resumed_with_what_came_meanwhile() {
            let broker = Broker::start();
            let kept = || {
                let mut options = options(&broker, "kept");
                keep_session(&mut options);
                options
            };
            let (mut receiver, ack) = Peer::connect(kept()).await;
            assert!(!ack.session_present);
            receiver.subscribe("inbox/kept", QoS::ExactlyOnce).await;
            receiver.disconnect().await;
            let mut sender = Peer::new(&broker, "sender").await;
            for number in 0..20 {
                let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                sender.publish("inbox/kept", qos, false, &number.to_string()).await;
            }
            let (mut receiver, ack) = Peer::connect(kept()).await;
            assert!(ack.session_present);
            for number in 0..20 {
                assert_eq!(receiver.message().await, pair("inbox/kept", &number.to_string()));
            }
            sender.publish("inbox/kept", QoS::AtLeastOnce, false, "live").await;
            assert_eq!(receiver.message().await, pair("inbox/kept", "live"));
        }

        #[tokio::test]
        async fn wildcards_match_what_they_should() {
            let broker = Broker::start();
            let mut one_level = Peer::new(&broker, "plus").await;
            one_level.subscribe("a/+/c", QoS::AtLeastOnce).await;
            let mut all_levels = Peer::new(&broker, "hash").await;
            all_levels.subscribe("a/#", QoS::AtLeastOnce).await;
            let mut sender = Peer::new(&broker, "sender").await;
            for topic in ["a", "b/x/c", "a/x/c", "a/x/y/c", "a/z/c"] {
                sender.publish(topic, QoS::AtLeastOnce, false, topic).await;
            }
            for topic in ["a/x/c", "a/z/c"] {
                assert_eq!(one_level.message().await, pair(topic, topic));
            }
            for topic in ["a", "a/x/c", "a/x/y/c", "a/z/c"] {
                assert_eq!(all_levels.message().await, pair(topic, topic));
            }
        }

        #[tokio::test]
        async fn shared_subscriptions_divide_the_work() {
            let broker = Broker::start();
            let mut workers = Vec::new();
            for name in ["worker-1", "worker-2"] {
                let mut worker = Peer::new(&broker, name).await;
                worker.subscribe("$share/workers/jobs/+", QoS::AtLeastOnce).await;
                workers.push(worker);
            }
            let mut sender = Peer::new(&broker, "sender").await;
            for number in 0..40 {
                let topic = format!("jobs/{number}");
                sender.publish(&topic, QoS::AtLeastOnce, false, "do").await;
            }
            let mut done = Vec::new();
            let [first, second] = workers.as_mut_slice() else { panic!("two workers") };
            while done.len() < 40 {
                let (topic, _) = tokio::select! {
                    biased;
                    message = first.message() => message,
                    message = second.message() => message,
                };
                done.push(topic);
            }
            done.sort();
            done.dedup();
            assert_eq!(done.len(), 40, "each job once");
        }

        #[tokio::test]
        async fn a_second_connection_takes_over() {
            let broker = Broker::start();
            let first = Peer::new(&broker, "same").await;
            let mut second = Peer::new(&broker, "same").await;
            timeout(DEADLINE, first.pump).await.expect("in time").expect("no panic");
            second.subscribe("still/here", QoS::AtMostOnce).await;
            broker.wait_for_line(&["disconnected", "same", "taken over"]);
        }
    };
}

pub(crate) use peer;
