//! Packets of a client, built as asked, right or wrong.

use super::property::{Properties, Value};
use super::{Version, framed, put_counted};

/// A will.
#[derive(Clone, Debug, Default)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// At which QoS.
    pub qos: u8,
    /// Whether retained.
    pub retain: bool,
    /// With which properties.
    pub properties: Properties,
}

/// CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The version.
    pub version: Version,
    /// Clean Start, in older versions Clean Session.
    pub clean: bool,
    /// Seconds.
    pub keep_alive: u16,
    /// The properties.
    pub properties: Properties,
    /// The client identifier.
    pub client_id: String,
    /// The will.
    pub will: Option<Will>,
    /// The user name.
    pub user_name: Option<String>,
    /// The password.
    pub password: Option<Vec<u8>>,
}

impl Connect {
    /// A clean start of MQTT 5 without anything else.
    #[must_use]
    pub fn new(client_id: impl Into<String>) -> Self {
        Connect {
            version: Version::V5,
            clean: true,
            keep_alive: 60,
            properties: Properties::none(),
            client_id: client_id.into(),
            will: None,
            user_name: None,
            password: None,
        }
    }

    /// With Clean Start 0.
    #[must_use]
    pub fn resume(mut self) -> Self {
        self.clean = false;
        self
    }

    /// In another version.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// With another keep alive, in seconds.
    #[must_use]
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// With one more property.
    #[must_use]
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.properties = self.properties.with(id, value);
        self
    }

    /// With a session expiry interval, in seconds.
    #[must_use]
    pub fn expiry(self, seconds: u32) -> Self {
        self.with(super::property::id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds))
    }

    /// With a will.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// The connect flags that go with the fields.
    #[must_use]
    pub fn flags(&self) -> u8 {
        let will = self
            .will
            .as_ref()
            .map_or(0, |will| 4 | (will.qos & 3) << 3 | u8::from(will.retain) << 5);
        u8::from(self.clean) << 1
            | will
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.user_name.is_some()) << 7
    }

    /// Everything before the payload, with these flags.
    #[must_use]
    pub fn head(&self, flags: u8) -> Vec<u8> {
        let mut body = Vec::new();
        put_counted(&mut body, self.version.name().as_bytes());
        body.push(self.version.level());
        body.push(flags);
        body.extend_from_slice(&self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            self.properties.put(&mut body);
        }
        body
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_counted(&mut body, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if self.version == Version::V5 {
                will.properties.put(&mut body);
            }
            put_counted(&mut body, will.topic.as_bytes());
            put_counted(&mut body, &will.payload);
        }
        if let Some(user_name) = &self.user_name {
            put_counted(&mut body, user_name.as_bytes());
        }
        if let Some(password) = &self.password {
            put_counted(&mut body, password);
        }
        body
    }

    /// The packet.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.with_flags(self.flags())
    }

    /// The packet with other connect flags.
    #[must_use]
    pub fn with_flags(&self, flags: u8) -> Vec<u8> {
        framed(0x10, &[self.head(flags), self.payload()].concat())
    }

    /// The packet with another payload.
    #[must_use]
    pub fn with_payload(&self, payload: &[u8]) -> Vec<u8> {
        framed(0x10, &[&self.head(self.flags()), payload].concat())
    }
}

/// SUBSCRIBE.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The properties.
    pub properties: Properties,
    /// Filters with their options bytes.
    pub filters: Vec<(Vec<u8>, u8)>,
}

impl Subscribe {
    /// One filter, with its options byte: QoS, and the options below joined to it.
    #[must_use]
    pub fn to(filter: impl AsRef<[u8]>, options: u8) -> Self {
        let filters = vec![(filter.as_ref().to_vec(), options)];
        Subscribe { properties: Properties::none(), filters }
    }

    /// One more filter.
    #[must_use]
    pub fn and(mut self, filter: impl AsRef<[u8]>, options: u8) -> Self {
        self.filters.push((filter.as_ref().to_vec(), options));
        self
    }

    /// With a subscription identifier.
    #[must_use]
    pub fn id(mut self, id: u32) -> Self {
        let key = super::property::id::SUBSCRIPTION_IDENTIFIER;
        self.properties = self.properties.with(key, Value::Variable(id));
        self
    }

    /// The packet.
    #[must_use]
    pub fn to_bytes(&self, packet_id: u16, version: Version) -> Vec<u8> {
        let mut body = packet_id.to_be_bytes().to_vec();
        if version == Version::V5 {
            self.properties.put(&mut body);
        }
        for (filter, options) in &self.filters {
            put_counted(&mut body, filter);
            body.push(*options);
        }
        framed(0x82, &body)
    }
}

/// No Local, in the options byte.
pub const NO_LOCAL: u8 = 0x04;
/// Retain As Published, in the options byte.
pub const AS_PUBLISHED: u8 = 0x08;
/// Retain Handling 1, in the options byte.
pub const RETAIN_IF_NEW: u8 = 0x10;
/// Retain Handling 2, in the options byte.
pub const RETAIN_NEVER: u8 = 0x20;

/// UNSUBSCRIBE.
#[must_use]
pub fn unsubscribe(packet_id: u16, filters: &[&[u8]], version: Version) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        Properties::none().put(&mut body);
    }
    for filter in filters {
        put_counted(&mut body, filter);
    }
    framed(0xA2, &body)
}

/// DISCONNECT (14) or AUTH (15) in full.
#[must_use]
pub fn reasoned(kind: u8, reason: u8, properties: &Properties) -> Vec<u8> {
    let mut body = vec![reason];
    properties.put(&mut body);
    framed(kind << 4, &body)
}

/// A PUBLISH at QoS 3: a violation that is hard to overlook.
pub const QOS_3: [u8; 9] = [0x36, 7, 0, 1, b'a', 0, 1, 0, b'x'];
/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];
/// DISCONNECT 0x00 in its short form, which is that of the older versions.
pub const DISCONNECT: [u8; 2] = [0xE0, 0];
