//! `-D PACKET NAME VALUE`: properties of MQTT 5 packets.

use bytes::Bytes;
use signalhouse_core::wire::property::{MessageProperties, UserProperties};
use signalhouse_core::wire::types::Text;

use super::connection::{parse_topic, text};

/// The packets that can be given properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Connect,
    Publish,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Will,
}

/// Everything given with `-D`.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub(super) connect: ConnectProperties,
    pub(super) publish: Message,
    pub(super) subscribe: SubscribeProperties,
    pub(super) unsubscribe: UserProperties,
    pub(super) disconnect: DisconnectProperties,
    pub(super) will: WillProperties,
    given: Vec<Packet>,
}

#[derive(Debug, Default)]
pub(super) struct ConnectProperties {
    pub(super) session_expiry_interval_s: Option<u32>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) maximum_packet_size_bytes: Option<u32>,
    pub(super) topic_alias_maximum: Option<u16>,
    pub(super) request_response_information: bool,
    pub(super) request_problem_information: Option<bool>,
    pub(super) authentication_method: Option<Text>,
    pub(super) authentication_data: Option<Bytes>,
    pub(super) user_properties: UserProperties,
}

#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) expiry_interval_s: Option<u32>,
    pub(super) properties: MessageProperties,
}

impl Message {
    pub(super) fn boxed(&self) -> Option<Box<MessageProperties>> {
        (!self.properties.is_empty()).then(|| Box::new(self.properties.clone()))
    }
}

#[derive(Debug, Default)]
pub(super) struct SubscribeProperties {
    pub(super) subscription_id: Option<u32>,
    pub(super) user_properties: UserProperties,
}

#[derive(Debug, Default)]
pub(super) struct DisconnectProperties {
    pub(super) session_expiry_interval_s: Option<u32>,
    pub(super) reason_string: Option<Text>,
    pub(super) user_properties: UserProperties,
}

#[derive(Debug, Default)]
pub(super) struct WillProperties {
    pub(super) delay_interval_s: u32,
    pub(super) message: Message,
}

impl Properties {
    /// Reads groups of three or four words.
    pub(super) fn parse(groups: &[Vec<String>]) -> Result<Self, String> {
        let mut properties = Properties::default();
        for group in groups {
            let group: Vec<&str> = group.iter().map(String::as_str).collect();
            let (packet, name, value) = match group.as_slice() {
                [packet, "user-property", name, value] => {
                    let pair = (text(name, "a user property")?, text(value, "a user property")?);
                    properties.user_property(packet_named(packet)?, pair);
                    continue;
                }
                [_, "user-property", _] => {
                    return Err("-D PACKET user-property takes a name and a value".to_owned());
                }
                [packet, name, value] => (packet_named(packet)?, *name, *value),
                _ => return Err(format!("-D {} takes one value", group.join(" "))),
            };
            properties.given.push(packet);
            let known = properties.set(packet, name, value);
            match known {
                Ok(true) => {}
                Ok(false) => {
                    return Err(format!("-D: {} takes no {name}", packet_name(packet)));
                }
                Err(fault) => return Err(format!("-D {} {name}: {fault}", packet_name(packet))),
            }
        }
        Ok(properties)
    }

    /// Whether the packet was given any.
    pub(super) fn gives(&self, packet: Packet) -> bool {
        self.given.contains(&packet)
    }

    fn user_property(&mut self, packet: Packet, pair: (Text, Text)) {
        self.given.push(packet);
        match packet {
            Packet::Connect => self.connect.user_properties.push(pair),
            Packet::Publish => self.publish.properties.user_properties.push(pair),
            Packet::Subscribe => self.subscribe.user_properties.push(pair),
            Packet::Unsubscribe => self.unsubscribe.push(pair),
            Packet::Disconnect => self.disconnect.user_properties.push(pair),
            Packet::Will => self.will.message.properties.user_properties.push(pair),
        }
    }

    /// Sets a property; `false` if the packet has none of this name.
    fn set(&mut self, packet: Packet, name: &str, value: &str) -> Result<bool, String> {
        match packet {
            Packet::Connect => self.connect.set(name, value),
            Packet::Publish => self.publish.set(name, value),
            Packet::Subscribe => match name {
                "subscription-identifier" => {
                    let id = number(value, 1, 268_435_455)?;
                    self.subscribe.subscription_id = Some(id);
                    Ok(true)
                }
                _ => Ok(false),
            },
            Packet::Unsubscribe => Ok(false),
            Packet::Disconnect => match name {
                "session-expiry-interval" => {
                    self.disconnect.session_expiry_interval_s = Some(number(value, 0, u32::MAX)?);
                    Ok(true)
                }
                "reason-string" => {
                    self.disconnect.reason_string = Some(text(value, "its value")?);
                    Ok(true)
                }
                _ => Ok(false),
            },
            Packet::Will => match name {
                "will-delay-interval" => {
                    self.will.delay_interval_s = number(value, 0, u32::MAX)?;
                    Ok(true)
                }
                _ => self.will.message.set(name, value),
            },
        }
    }
}

impl ConnectProperties {
    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "session-expiry-interval" => {
                self.session_expiry_interval_s = Some(number(value, 0, u32::MAX)?);
            }
            "receive-maximum" => self.receive_maximum = Some(number(value, 1, u16::MAX)?),
            "maximum-packet-size" => {
                self.maximum_packet_size_bytes = Some(number(value, 1, u32::MAX)?);
            }
            "topic-alias-maximum" => self.topic_alias_maximum = Some(number(value, 0, u16::MAX)?),
            "request-response-information" => {
                self.request_response_information = number(value, 0, 1u8)? == 1;
            }
            "request-problem-information" => {
                self.request_problem_information = Some(number(value, 0, 1u8)? == 1);
            }
            "authentication-method" => self.authentication_method = Some(text(value, "its value")?),
            "authentication-data" => self.authentication_data = Some(bytes(value)),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Message {
    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "message-expiry-interval" => {
                self.expiry_interval_s = Some(number(value, 0, u32::MAX)?);
            }
            "payload-format-indicator" => {
                self.properties.payload_format_indicator = Some(number(value, 0, 1u8)? == 1);
            }
            "content-type" => self.properties.content_type = Some(text(value, "its value")?),
            "response-topic" => self.properties.response_topic = Some(parse_topic(value)?),
            "correlation-data" => self.properties.correlation_data = Some(bytes(value)),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn packet_named(name: &str) -> Result<Packet, String> {
    match name.to_ascii_lowercase().as_str() {
        "connect" => Ok(Packet::Connect),
        "publish" => Ok(Packet::Publish),
        "subscribe" => Ok(Packet::Subscribe),
        "unsubscribe" => Ok(Packet::Unsubscribe),
        "disconnect" => Ok(Packet::Disconnect),
        "will" => Ok(Packet::Will),
        _ => Err(format!(
            "-D {name}: give connect, publish, subscribe, unsubscribe, disconnect or will"
        )),
    }
}

fn packet_name(packet: Packet) -> &'static str {
    match packet {
        Packet::Connect => "connect",
        Packet::Publish => "publish",
        Packet::Subscribe => "subscribe",
        Packet::Unsubscribe => "unsubscribe",
        Packet::Disconnect => "disconnect",
        Packet::Will => "will",
    }
}

fn bytes(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

fn number<N>(value: &str, least: N, most: N) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match value.parse::<N>() {
        Ok(number) if least <= number && number <= most => Ok(number),
        Ok(_) | Err(_) => Err(format!("\"{value}\" is not a number from {least} to {most}")),
    }
}
