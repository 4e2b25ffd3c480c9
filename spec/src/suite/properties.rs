//! Properties of messages: passed on unchanged, and nothing added.

use crate::case::{Case, Checked, Need, case, ensure};
use crate::scene::Scene;
use crate::wire::build::Subscribe;
use crate::wire::packet::Publish;
use crate::wire::property::{Properties, Value, id};

pub(super) const CASES: &[Case] = &[
    case!(the_payload_format_is_passed_on, "MQTT-3.3.2-4"),
    case!(the_response_topic_is_passed_on, "MQTT-3.3.2-15", "request-response"),
    case!(correlation_data_is_passed_on, "MQTT-3.3.2-16", "request-response"),
    case!(user_properties_are_passed_on, "MQTT-3.3.2-17"),
    case!(user_properties_keep_their_order, "MQTT-3.3.2-18"),
    case!(the_content_type_is_passed_on, "MQTT-3.3.2-20"),
    case!(
        properties_survive_in_a_queue,
        "MQTT-3.3.2-4",
        "MQTT-3.3.2-15",
        "MQTT-3.3.2-16",
        "MQTT-3.3.2-17",
        "MQTT-3.3.2-20"
    )
    .needs(&[Need::Qos1]),
    case!(
        properties_survive_as_retained,
        "MQTT-3.3.2-4",
        "MQTT-3.3.2-15",
        "MQTT-3.3.2-16",
        "MQTT-3.3.2-17",
        "MQTT-3.3.2-20"
    )
    .needs(&[Need::Retain]),
];

/// Publishes with the properties and returns those that come.
fn passed_on(scene: &Scene<'_>, properties: &Properties) -> Checked<Properties> {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    let publish = Publish { properties: properties.clone(), ..Publish::new(&topic, "x") };
    client.publish(&publish)?;
    Ok(client.take_payload("x")?.properties)
}

fn unchanged(scene: &Scene<'_>, properties: &Properties) -> Checked {
    let came = passed_on(scene, properties)?;
    ensure!(came == *properties, "{properties:?} was published, {came:?} came");
    Ok(())
}

fn the_payload_format_is_passed_on(scene: &Scene<'_>) -> Checked {
    let key = id::PAYLOAD_FORMAT_INDICATOR;
    unchanged(scene, &Properties::none().with(key, Value::Byte(1)))?;
    let came = passed_on(scene, &Properties::none().with(key, Value::Byte(0)))?;
    ensure!(came.number(key).unwrap_or(0) == 0, "{came:?}");
    let came = passed_on(scene, &Properties::none())?;
    ensure!(came.number(key).unwrap_or(0) == 0, "{came:?}");
    Ok(())
}

fn text(key: u8, value: &str) -> Properties {
    Properties::none().with(key, Value::Text(value.to_owned()))
}

fn the_response_topic_is_passed_on(scene: &Scene<'_>) -> Checked {
    unchanged(scene, &text(id::RESPONSE_TOPIC, "answers/to/äöü/ me"))
}

fn correlation_data_is_passed_on(scene: &Scene<'_>) -> Checked {
    for data in [&b""[..], b"\0\xFF\x80 data", &[7; 1000]] {
        let value = Value::Binary(data.to_vec());
        unchanged(scene, &Properties::none().with(id::CORRELATION_DATA, value))?;
    }
    Ok(())
}

fn pair(name: &str, value: &str) -> Value {
    Value::Pair(name.to_owned(), value.to_owned())
}

fn user_properties_are_passed_on(scene: &Scene<'_>) -> Checked {
    let key = id::USER_PROPERTY;
    let both = Properties::none().with(key, pair("name", "value")).with(key, pair("", ""));
    unchanged(scene, &both)
}

fn user_properties_keep_their_order(scene: &Scene<'_>) -> Checked {
    let key = id::USER_PROPERTY;
    let names = ["z", "a", "m", "a", "z", "z"];
    let mut properties = Properties::none();
    for (index, name) in names.iter().enumerate() {
        properties = properties.with(key, pair(name, &format!("{index}")));
    }
    unchanged(scene, &properties)
}

fn the_content_type_is_passed_on(scene: &Scene<'_>) -> Checked {
    unchanged(scene, &text(id::CONTENT_TYPE, "text/plain; charset=utf-8"))?;
    unchanged(scene, &text(id::CONTENT_TYPE, ""))
}

fn full() -> Properties {
    text(id::CONTENT_TYPE, "kind")
        .with(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(1))
        .with(id::RESPONSE_TOPIC, Value::Text("answers".into()))
        .with(id::CORRELATION_DATA, Value::Binary(vec![0, 1, 2]))
        .with(id::USER_PROPERTY, pair("b", "1"))
        .with(id::USER_PROPERTY, pair("a", "2"))
}

fn same(came: &Properties) -> Checked {
    for property in full().0 {
        let (sent, here) = (full(), came.all(property.id));
        ensure!(
            here == sent.all(property.id),
            "property {:#04X}: {:?} was published, {here:?} came",
            property.id,
            sent.all(property.id)
        );
    }
    ensure!(came.0.len() == full().0.len(), "a property that nobody sent: {came:?}");
    Ok(())
}

fn properties_survive_in_a_queue(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.connect(&scene.client("a").expiry(60))?;
    client.subscribe(&Subscribe::to(&topic, 1))?;
    client.disconnect()?;
    let mut other = scene.start("b")?;
    other.publish(&Publish { properties: full(), ..Publish::new(&topic, "x").qos(1) })?;
    let mut client = scene.connect(&scene.client("a").resume())?;
    same(&client.take_payload("x")?.properties)
}

fn properties_survive_as_retained(scene: &Scene<'_>) -> Checked {
    let topic = scene.topic("a");
    let mut client = scene.start("a")?;
    client.publish(&Publish { properties: full(), ..Publish::new(&topic, "x").retain() })?;
    client.alive()?;
    client.subscribe(&Subscribe::to(&topic, 0))?;
    same(&client.take_payload("x")?.properties)
}
