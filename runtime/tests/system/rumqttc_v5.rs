//! MQTT 5 as `rumqttc` speaks it.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, DisconnectReasonCode, Filter, LastWill, LastWillProperties, Packet, Publish,
    PublishProperties, RetainForwardRule, SubscribeProperties,
};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

crate::peer::peer!();

fn topic_of(publish: &Publish) -> String {
    String::from_utf8_lossy(&publish.topic).into_owned()
}

fn keep_session(options: &mut MqttOptions) {
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(3_600));
}

fn will(topic: &str, payload: &str) -> LastWill {
    LastWill::new(topic, payload, QoS::AtLeastOnce, false, None)
}

fn user(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn properties_travel_with_the_message() {
    let broker = Broker::start();
    let mut receiver = Peer::new(&broker, "receiver").await;
    receiver
        .client
        .subscribe_with_properties(
            "request/+",
            QoS::AtLeastOnce,
            SubscribeProperties { id: Some(77), user_properties: Vec::new() },
        )
        .await
        .expect("a living client");
    receiver.wait_for(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    let sender = Peer::new(&broker, "sender").await;
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        topic_alias: None,
        response_topic: Some("answer/here".to_owned()),
        correlation_data: Some("question 1".into()),
        user_properties: vec![user("a", "1"), user("a", "2"), user("b", "")],
        subscription_identifiers: Vec::new(),
        content_type: Some("text/plain".to_owned()),
    };
    sender
        .client
        .publish_with_properties("request/x", QoS::AtLeastOnce, false, "?", properties)
        .await
        .expect("a living client");
    let got = receiver.receive().await.properties.expect("properties");
    assert_eq!(got.payload_format_indicator, Some(1));
    assert!((1..=60).contains(&got.message_expiry_interval.expect("what is left of it")));
    assert_eq!(got.response_topic.as_deref(), Some("answer/here"));
    assert_eq!(got.correlation_data.as_deref(), Some(&b"question 1"[..]));
    assert_eq!(got.user_properties, [user("a", "1"), user("a", "2"), user("b", "")]);
    assert_eq!(got.subscription_identifiers, [77]);
    assert_eq!(got.content_type.as_deref(), Some("text/plain"));
}

#[tokio::test]
async fn subscription_options_are_kept_to() {
    let broker = Broker::start();
    let mut peer = Peer::new(&broker, "peer").await;
    peer.publish("state", QoS::AtLeastOnce, true, "retained").await;
    let filter = Filter {
        path: "#".to_owned(),
        qos: QoS::AtLeastOnce,
        nolocal: true,
        preserve_retain: true,
        retain_forward_rule: RetainForwardRule::Never,
    };
    peer.client.subscribe_many([filter]).await.expect("a living client");
    peer.wait_for(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    peer.publish("own", QoS::AtLeastOnce, false, "not to be heard").await;
    let mut other = Peer::new(&broker, "other").await;
    other.publish("others", QoS::AtLeastOnce, true, "heard").await;
    let publish = peer.receive().await;
    assert_eq!(&publish.topic[..], b"others");
    assert!(publish.retain, "retain as published");
}

#[tokio::test]
async fn a_will_keeps_its_properties_and_its_delay() {
    let broker = Broker::start();
    let mut witness = Peer::new(&broker, "witness").await;
    witness.subscribe("will", QoS::AtLeastOnce).await;
    let mut will = will("will", "gone");
    will.properties = Some(LastWillProperties {
        delay_interval: Some(1),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: Some("text/plain".to_owned()),
        response_topic: None,
        correlation_data: None,
        user_properties: vec![user("why", "lost")],
    });
    let mut with_will = options(&broker, "mortal");
    keep_session(&mut with_will);
    with_will.set_last_will(will);
    let (peer, _) = Peer::connect(with_will).await;
    peer.vanish().await;
    let publish = witness.receive().await;
    let properties = publish.properties.expect("properties");
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(properties.user_properties, [user("why", "lost")]);
}

#[tokio::test]
async fn the_broker_says_what_it_grants() {
    let broker = Broker::with(
        &[
            ("SIGNALHOUSE_LIMITS__RECEIVE_MAXIMUM", "12"),
            ("SIGNALHOUSE_LIMITS__TOPIC_ALIAS_MAXIMUM", "3"),
            ("SIGNALHOUSE_LIMITS__MAXIMUM_PACKET_SIZE_BYTES", "5000"),
            ("SIGNALHOUSE_LIMITS__KEEP_ALIVE_MAXIMUM_S", "20"),
            ("SIGNALHOUSE_LIMITS__SHARED_SUBSCRIPTION_AVAILABLE", "false"),
        ],
        &[],
    );
    let (_peer, ack) = Peer::connect(options(&broker, "")).await;
    let granted = ack.properties.expect("properties");
    assert_eq!(granted.receive_max, Some(12));
    assert_eq!(granted.topic_alias_max, Some(3));
    assert_eq!(granted.max_packet_size, Some(5_000));
    assert_eq!(granted.server_keep_alive, Some(20));
    assert_eq!(granted.shared_subscription_available, Some(0));
    assert!(granted.assigned_client_identifier.is_some_and(|id| !id.is_empty()));
}

#[tokio::test]
async fn a_stop_is_told_to_the_client() {
    let mut broker = Broker::start();
    let mut peer = Peer::new(&broker, "told").await;
    broker.signal("TERM");
    let reason = peer
        .wait_for(|packet| match packet {
            Packet::Disconnect(disconnect) => Some(disconnect.reason_code),
            _ => None,
        })
        .await;
    assert_eq!(reason, DisconnectReasonCode::ServerShuttingDown);
    drop(peer);
    assert_eq!(broker.exit_code(), Some(0));
}
