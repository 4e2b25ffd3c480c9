//! The few names there are in the broker's small world.

use bytes::Bytes;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::property::MessageProperties;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{QoS, Text};

const CLIENTS: [&str; 4] = ["a", "b", "c", ""];
const TOPICS: [&str; 5] = ["x", "x/y", "x/y/z", "/", "$other"];
/// Where clients may not publish.
const SYSTEM_TOPIC: &str = "$SYS/x";
const FILTERS: [&str; 9] =
    ["x", "x/y", "x/#", "+/y", "#", "$share/g/x/#", "$share/g/+", "$share/h/x", "$SYS/#"];
const IDENTITIES: [Option<&str>; 3] = [None, Some("ann"), Some("y")];
const METHODS: [&str; 3] = ["m", "n", "unknown"];

/// So many of [`method`] are supported.
pub(super) const METHODS_SUPPORTED: u8 = 2;

/// Reasons to refuse somebody, or to send somebody away.
pub(super) const REFUSALS: [ReasonCode; 4] = [
    ReasonCode::AdministrativeAction,
    ReasonCode::NotAuthorized,
    ReasonCode::ServerShuttingDown,
    ReasonCode::UseAnotherServer,
];

fn one_of<T: Copy>(choices: &[T], which: u8) -> T {
    choices[usize::from(which) % choices.len()]
}

pub(super) fn text(text: &str) -> Text {
    Text::try_from(text).expect("the texts here are well-formed")
}

pub(super) fn client_id(client: u8) -> Text {
    text(one_of(&CLIENTS, client))
}

pub(super) fn identity(which: u8) -> Option<Text> {
    one_of(&IDENTITIES, which).map(text)
}

pub(super) fn method(which: u8) -> Text {
    text(one_of(&METHODS, which))
}

pub(super) fn refusal(which: u8) -> ReasonCode {
    one_of(&REFUSALS, which)
}

pub(super) fn qos_of(qos: u8) -> QoS {
    one_of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce], qos)
}

fn topic(name: &str) -> Topic {
    Topic::try_from(name).expect("the topics here are valid")
}

pub(super) fn topic_of(which: u8) -> Topic {
    topic(one_of(&TOPICS, which))
}

/// Of those who may publish everywhere.
pub(super) fn any_topic(which: u8) -> Topic {
    if which == u8::MAX { topic(SYSTEM_TOPIC) } else { topic_of(which) }
}

pub(super) fn filter_of(which: u8) -> TopicFilter {
    TopicFilter::try_from(one_of(&FILTERS, which)).expect("the filters here are valid")
}

/// Every filter there is.
pub(super) fn filters() -> impl Iterator<Item = TopicFilter> {
    (0u8..).zip(FILTERS).map(|(which, _)| filter_of(which))
}

pub(super) fn payload(length: u8) -> Bytes {
    Bytes::from(vec![b'.'; usize::from(length)])
}

/// A property for each bit that is set.
pub(super) fn properties(bits: u8) -> Option<Box<MessageProperties>> {
    let has = |bit: u8| bits & 1 << bit != 0;
    let properties = MessageProperties {
        payload_format_indicator: has(0).then_some(has(1)),
        content_type: has(2).then(|| text("plain")),
        response_topic: has(3).then(|| topic("x/y")),
        correlation_data: has(4).then(|| Bytes::from_static(b"data")),
        user_properties: if has(5) { vec![(text("name"), text("value"))] } else { Vec::new() },
    };
    (!properties.is_empty()).then(|| Box::new(properties))
}
