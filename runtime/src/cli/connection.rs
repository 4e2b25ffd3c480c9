//! The options that `pub` and `sub` share: where to connect, and as whom.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::packet::{ConnAck, Connect, Will};
use signalhouse_core::wire::types::{QoS, Text, Version};
use tokio::net::TcpStream;

use super::place::{Place, PlaceArgs};
use super::properties::{Packet, Properties};
use crate::client::{Client, ClientError};
use crate::seams::TokioClock;
use crate::transport::Transport;

/// How long the broker may take to answer CONNECT.
const CONNECT_MS: u64 = 10_000;

#[derive(Args, Debug)]
pub(super) struct ConnectionArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Client identifier. Without it, the broker gives one (MQTT 5) or one is made up.
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,
    /// Beginning of a client identifier to make up.
    #[arg(short = 'I', long, value_name = "PREFIX", conflicts_with = "id")]
    id_prefix: Option<String>,
    /// User name.
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password. Others on this machine may see it among the processes.
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD")]
    password: Option<String>,
    /// Seconds between signs of life.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    keepalive: u16,
    /// Protocol version.
    #[arg(
        short = 'V',
        long = "protocol-version",
        value_name = "VERSION",
        default_value = "mqttv5"
    )]
    version: ProtocolVersion,
    /// Keep the session after this connection; needs --id.
    #[arg(short = 'c', long = "disable-clean-session")]
    keep_session: bool,
    /// Seconds the session outlives the connection (MQTT 5); with -c and without it, for ever.
    #[arg(short = 'x', long, value_name = "SECONDS")]
    session_expiry_interval: Option<u32>,
    /// A property of a packet (MQTT 5), as in `-D publish content-type text/plain` or
    /// `-D connect user-property NAME VALUE`. Repeatable.
    #[arg(
        short = 'D', long = "property", num_args = 3..=4, action = clap::ArgAction::Append,
        value_names = ["PACKET", "NAME", "VALUE"]
    )]
    property: Vec<String>,
    /// Topic of a message that the broker publishes if this client vanishes.
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    /// Its payload.
    #[arg(long, value_name = "TEXT", requires = "will_topic")]
    will_payload: Option<String>,
    /// Its QoS.
    #[arg(long, value_name = "0|1|2", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    will_qos: u8,
    /// Whether it becomes the topic's retained message.
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// Say nothing but errors that end the program.
    #[arg(long)]
    pub(super) quiet: bool,
    /// Say what is sent and received.
    #[arg(short, long)]
    pub(super) debug: bool,
    /// Print this help.
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolVersion {
    #[value(name = "mqttv5", alias = "5")]
    V5,
    #[value(name = "mqttv311", alias = "311")]
    V311,
    #[value(name = "mqttv31", alias = "31")]
    V31,
}

/// A client over whatever leads to the broker.
pub(super) type ToolClient = Client<Transport<TcpStream>, TokioClock>;

/// A connection that the broker accepted.
pub(super) type Connected = (ToolClient, ConnAck);

/// What has to be right before anything is sent.
#[derive(Debug)]
pub(super) struct Plan {
    place: Place,
    connect: Connect,
    /// What the other packets get.
    pub(super) properties: Properties,
}

impl ConnectionArgs {
    /// Checks the options. `groups` are the values of `-D`, one list for each time it was given.
    pub(super) fn plan(&self, groups: &[Vec<String>]) -> Result<Plan, String> {
        let version = match self.version {
            ProtocolVersion::V5 => Version::V5,
            ProtocolVersion::V311 => Version::V311,
            ProtocolVersion::V31 => Version::V31,
        };
        let properties = Properties::parse(groups)?;
        if version != Version::V5 && (!groups.is_empty() || self.session_expiry_interval.is_some())
        {
            return Err("-D and -x need MQTT 5: leave -V away".to_owned());
        }
        if self.keep_session && self.id.is_none() {
            return Err(
                "-c keeps a session, which needs a name to come back to: give -i".to_owned()
            );
        }
        let place = self.place.place()?;
        let connect = self.connect(version, &properties, &place)?;
        Ok(Plan { place, connect, properties })
    }

    fn connect(
        &self,
        version: Version,
        properties: &Properties,
        place: &Place,
    ) -> Result<Connect, String> {
        let extra = &properties.connect;
        let clean_start = !self.keep_session;
        let for_ever = self.keep_session || version != Version::V5 && !clean_start;
        let expiry = self.session_expiry_interval.or(extra.session_expiry_interval_s);
        let user_name = self.username.clone().or_else(|| place.user_name.clone());
        let password = self.password.clone().or_else(|| place.password.clone());
        if version != Version::V5 && password.is_some() && user_name.is_none() {
            return Err("before MQTT 5 a password needs a user name: give -u".to_owned());
        }
        Ok(Connect {
            version,
            clean_start,
            keep_alive_s: self.keepalive,
            client_id: text(&self.client_id(version), "the client identifier")?,
            will: self.will(properties)?,
            user_name: user_name.map(|name| text(&name, "the user name")).transpose()?,
            password: password.map(|password| Bytes::from(password.into_bytes())),
            session_expiry_interval_s: expiry.unwrap_or(if for_ever { u32::MAX } else { 0 }),
            receive_maximum: extra.receive_maximum.unwrap_or(u16::MAX),
            maximum_packet_size_bytes: extra.maximum_packet_size_bytes,
            topic_alias_maximum: extra.topic_alias_maximum.unwrap_or(0),
            request_response_information: extra.request_response_information,
            request_problem_information: extra.request_problem_information.unwrap_or(true),
            authentication_method: extra.authentication_method.clone(),
            authentication_data: extra.authentication_data.clone(),
            user_properties: extra.user_properties.clone(),
        })
    }

    fn client_id(&self, version: Version) -> String {
        let made_up = |prefix: &str| {
            let chance = RandomState::new().hash_one(std::process::id());
            format!("{prefix}{chance:016x}")
        };
        match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => made_up(prefix),
            // 3.1 has no empty identifiers, and at most 23 bytes of others.
            (None, None) if version == Version::V31 => made_up("sh-"),
            (None, None) => String::new(),
        }
    }

    fn will(&self, properties: &Properties) -> Result<Option<Box<Will>>, String> {
        let Some(topic) = &self.will_topic else {
            return if properties.gives(Packet::Will) {
                Err("-D will needs --will-topic".to_owned())
            } else {
                Ok(None)
            };
        };
        let payload = self.will_payload.clone().unwrap_or_default();
        Ok(Some(Box::new(Will {
            topic: parse_topic(topic)?,
            payload: Bytes::from(payload.into_bytes()),
            qos: QoS::from_u8(self.will_qos).unwrap_or_default(),
            retain: self.will_retain,
            delay_interval_s: properties.will.delay_interval_s,
            message_expiry_interval_s: properties.will.message.expiry_interval_s,
            properties: properties.will.message.boxed(),
        })))
    }
}

impl Plan {
    /// The topic in the URL.
    pub(super) fn topic(&self) -> Option<&String> {
        self.place.topic.as_ref()
    }

    /// Connects, and waits for the broker's answer.
    pub(super) async fn carry_out(&self) -> Result<Connected, ClientError> {
        let clock = TokioClock::from_wall_clock();
        let stream = self.place.reach(&clock).await?;
        Client::connect(stream, clock, self.connect.clone(), CONNECT_MS).await
    }
}

/// A string of the protocol.
pub(super) fn text(text: &str, what: &str) -> Result<Text, String> {
    Text::try_from(text).map_err(|error| format!("{what}: {error}"))
}

pub(super) fn parse_topic(topic: &str) -> Result<Topic, String> {
    Topic::try_from(topic).map_err(|error| format!("topic \"{topic}\": {error}"))
}
