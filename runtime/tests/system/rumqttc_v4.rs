//! MQTT 3.1.1 as `rumqttc` speaks it.

use rumqttc::{AsyncClient, ConnAck, Event, LastWill, MqttOptions, Packet, Publish, QoS};

crate::peer::peer!();

fn topic_of(publish: &Publish) -> String {
    publish.topic.clone()
}

fn keep_session(options: &mut MqttOptions) {
    options.set_clean_session(false);
}

fn will(topic: &str, payload: &str) -> LastWill {
    LastWill::new(topic, payload, QoS::AtLeastOnce, false)
}
