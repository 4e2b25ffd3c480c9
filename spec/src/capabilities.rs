//! What the target offers: what it announces in CONNACK, and what only its operator knows.

use serde::Deserialize;

use crate::case::Need;
use crate::wire::Version;
use crate::wire::packet::ConnAck;
use crate::wire::property::id;

/// What is offered. A capabilities file has these keys; what a CONNACK announces overrides them
/// where it takes something away.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of the target")]
pub struct Capabilities {
    /// Protocol levels served: 5, 4, 3.
    pub versions: Vec<u8>,
    /// Highest QoS.
    pub maximum_qos: u8,
    /// Retained messages.
    pub retain: bool,
    /// Wildcards in filters.
    pub wildcards: bool,
    /// Subscription identifiers.
    pub subscription_identifiers: bool,
    /// Shared subscriptions.
    pub shared: bool,
    /// Whether clients may exchange messages over topics that begin with `$`.
    pub dollar_topics: bool,
    /// Whether there are retained messages under `$SYS`.
    pub sys_topics: bool,
    /// A well-formed topic that clients may not publish on.
    pub refused_topic: Option<String>,
    /// A well-formed filter that is refused in SUBACK.
    pub refused_filter: Option<String>,
    /// Whether a client identifier may be empty.
    pub empty_client_id: bool,
    /// Messages that a session's queue takes; 0 if not known or too many to fill.
    pub queue_messages: u32,
    /// Milliseconds within which a connection must bring its CONNECT; 0 if not known or too long
    /// to wait for.
    pub connect_timeout_ms: u64,
    /// Milliseconds that a message may take inside the target before its absence counts.
    pub settle_ms: u64,
    /// Milliseconds to wait for what the target might send again unasked.
    pub repeat_ms: u64,
    /// Milliseconds that an answer may take.
    pub patience_ms: u64,
    /// Who may come in, if not everybody.
    pub credentials: Option<Credentials>,
    /// Somebody who may not come in.
    pub denied: Option<Credentials>,
    /// A method of enhanced authentication.
    pub enhanced: Option<Enhanced>,
    /// Where MQTT over WebSocket is served: `HOST:PORT/PATH`.
    pub websocket: Option<String>,
    /// Whether every case goes through that WebSocket instead of TCP; not a key.
    #[serde(skip)]
    pub by_websocket: bool,
    /// What CONNACK announces; not a key.
    #[serde(skip)]
    pub announced: ConnAck,
}

/// A user name and a password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The user name.
    pub user_name: String,
    /// The password.
    pub password: String,
}

/// A method of enhanced authentication with one question and one answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enhanced {
    /// Its name.
    pub method: String,
    /// The data of CONNECT.
    pub begin: String,
    /// What the server asks first.
    pub question: String,
    /// The answer that lets in.
    pub answer: String,
    /// An answer that does not.
    pub wrong: String,
}

impl Default for Capabilities {
    fn default() -> Self {
        Capabilities {
            versions: vec![5, 4],
            maximum_qos: 2,
            retain: true,
            wildcards: true,
            subscription_identifiers: true,
            shared: true,
            dollar_topics: false,
            sys_topics: false,
            refused_topic: None,
            refused_filter: None,
            empty_client_id: true,
            queue_messages: 0,
            connect_timeout_ms: 0,
            settle_ms: 20,
            repeat_ms: 3_000,
            patience_ms: 5_000,
            credentials: None,
            denied: None,
            enhanced: None,
            websocket: None,
            by_websocket: false,
            announced: ConnAck::default(),
        }
    }
}

impl Capabilities {
    /// Reads a capabilities file.
    ///
    /// # Errors
    /// Where the text is not such a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read: Capabilities = toml::from_str(text).map_err(|error| error.to_string())?;
        if read.maximum_qos > 2 {
            return Err(format!("maximum_qos = {}: 0, 1 or 2", read.maximum_qos));
        }
        if let Some(other) = read.versions.iter().find(|version| !(3..=5).contains(*version)) {
            return Err(format!("versions: {other} is none of 3, 4, 5"));
        }
        Ok(read)
    }

    /// Takes away what the target announces that it does not offer.
    #[must_use]
    pub fn announced_by(mut self, connack: ConnAck) -> Self {
        let on = |key: u8| connack.properties.number(key).is_none_or(|value| value != 0);
        let qos = connack.properties.number(id::MAXIMUM_QOS).unwrap_or(2);
        self.maximum_qos = self.maximum_qos.min(u8::try_from(qos).unwrap_or(2));
        self.retain &= on(id::RETAIN_AVAILABLE);
        self.wildcards &= on(id::WILDCARD_SUBSCRIPTION_AVAILABLE);
        self.subscription_identifiers &= on(id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE);
        self.shared &= on(id::SHARED_SUBSCRIPTION_AVAILABLE);
        self.announced = connack;
        self
    }

    /// A number that CONNACK announces.
    #[must_use]
    pub fn announces(&self, key: u8) -> Option<u32> {
        self.announced.properties.number(key)
    }

    /// Whether the version is served.
    #[must_use]
    pub fn serves(&self, version: Version) -> bool {
        self.versions.contains(&version.level())
    }

    /// Whether `need` is met.
    #[must_use]
    pub fn offers(&self, need: Need) -> bool {
        let says_no = |key: u8| self.announces(key) == Some(0);
        match need {
            Need::Retain => self.retain,
            Need::NoRetain => says_no(id::RETAIN_AVAILABLE),
            Need::Wildcards => self.wildcards,
            Need::NoWildcards => says_no(id::WILDCARD_SUBSCRIPTION_AVAILABLE),
            Need::Identifiers => self.subscription_identifiers,
            Need::NoIdentifiers => says_no(id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE),
            Need::Shared => self.shared,
            Need::NoShared => says_no(id::SHARED_SUBSCRIPTION_AVAILABLE),
            Need::Qos1 => self.maximum_qos >= 1,
            Need::Qos2 => self.maximum_qos >= 2,
            Need::LimitedQos => self.announces(id::MAXIMUM_QOS).is_some(),
            Need::DollarTopics => self.dollar_topics,
            Need::SysTopics => self.sys_topics,
            Need::RefusedTopic => self.refused_topic.is_some(),
            Need::RefusedFilter => self.refused_filter.is_some(),
            Need::Version4 => self.serves(Version::V4),
            Need::Version3 => self.serves(Version::V3),
            Need::NoVersion3 => !self.serves(Version::V3),
            Need::TopicAlias => self.announces(id::TOPIC_ALIAS_MAXIMUM).unwrap_or(0) > 0,
            Need::NoTopicAlias => self.announces(id::TOPIC_ALIAS_MAXIMUM).unwrap_or(0) == 0,
            Need::LimitedTopicAlias => self.at_most(id::TOPIC_ALIAS_MAXIMUM, 65_534),
            Need::ReceiveMaximum => self.at_most(id::RECEIVE_MAXIMUM, 200),
            Need::MaximumPacketSize => self.at_most(id::MAXIMUM_PACKET_SIZE, 2 * 1024 * 1024),
            Need::ServerKeepAlive => self.at_most(id::SERVER_KEEP_ALIVE, 5),
            Need::NoServerKeepAlive => self.announces(id::SERVER_KEEP_ALIVE).is_none(),
            Need::ResponseInformation => {
                self.announced.properties.text(id::RESPONSE_INFORMATION).is_some()
            }
            Need::SessionExpiryLimit => self.announces(id::SESSION_EXPIRY_INTERVAL).is_some(),
            Need::NoSessionExpiryLimit => self.announces(id::SESSION_EXPIRY_INTERVAL).is_none(),
            Need::Denied => self.denied.is_some(),
            Need::Enhanced => self.enhanced.is_some(),
            Need::WebSocket => self.websocket.is_some(),
            Need::QueueLimit => self.queue_messages > 0,
            Need::ConnectTimeout => self.connect_timeout_ms > 0,
            Need::EmptyClientId => self.empty_client_id,
        }
    }

    fn at_most(&self, key: u8, most: u32) -> bool {
        self.announces(key).is_some_and(|value| value > 0 && value <= most)
    }
}
