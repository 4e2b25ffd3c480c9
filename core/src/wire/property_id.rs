//! The identifiers of properties, and the packets that each may stand in.

use core::fmt;

use super::frame::PacketType;

const WILL: u16 = 1;
const CONNECT: u16 = bit(PacketType::Connect);
const CONNACK: u16 = bit(PacketType::ConnAck);
const PUBLISH: u16 = bit(PacketType::Publish);
const SUBSCRIBE: u16 = bit(PacketType::Subscribe);
const UNSUBSCRIBE: u16 = bit(PacketType::Unsubscribe);
const DISCONNECT: u16 = bit(PacketType::Disconnect);
const AUTH: u16 = bit(PacketType::Auth);
const MESSAGE: u16 = PUBLISH | WILL;
const ANSWERS: u16 = CONNACK
    | bit(PacketType::PubAck)
    | bit(PacketType::PubRec)
    | bit(PacketType::PubRel)
    | bit(PacketType::PubComp)
    | bit(PacketType::SubAck)
    | bit(PacketType::UnsubAck)
    | DISCONNECT
    | AUTH;

const fn bit(packet: PacketType) -> u16 {
    1 << packet as u16
}

macro_rules! property_ids {
    ($($name:ident = $value:literal, $text:literal, $places:expr;)*) => {
        /// The properties by their number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $(#[doc = $text] $name = $value,)*
        }

        impl PropertyId {
            /// Every property, in the order of their numbers.
            pub const ALL: &'static [PropertyId] = &[$(PropertyId::$name,)*];

            /// The property with this number, or `None` if the standard has none.
            #[must_use]
            pub const fn from_u32(value: u32) -> Option<Self> {
                match value {
                    $($value => Some(PropertyId::$name),)*
                    _ => None,
                }
            }

            /// The name that the standard writes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(PropertyId::$name => $text,)*
                }
            }

            const fn places(self) -> u16 {
                match self {
                    $(PropertyId::$name => $places,)*
                }
            }
        }
    };
}

property_ids! {
    PayloadFormatIndicator = 0x01, "Payload Format Indicator", MESSAGE;
    MessageExpiryInterval = 0x02, "Message Expiry Interval", MESSAGE;
    ContentType = 0x03, "Content Type", MESSAGE;
    ResponseTopic = 0x08, "Response Topic", MESSAGE;
    CorrelationData = 0x09, "Correlation Data", MESSAGE;
    SubscriptionIdentifier = 0x0B, "Subscription Identifier", PUBLISH | SUBSCRIBE;
    SessionExpiryInterval = 0x11, "Session Expiry Interval", CONNECT | CONNACK | DISCONNECT;
    AssignedClientIdentifier = 0x12, "Assigned Client Identifier", CONNACK;
    ServerKeepAlive = 0x13, "Server Keep Alive", CONNACK;
    AuthenticationMethod = 0x15, "Authentication Method", CONNECT | CONNACK | AUTH;
    AuthenticationData = 0x16, "Authentication Data", CONNECT | CONNACK | AUTH;
    RequestProblemInformation = 0x17, "Request Problem Information", CONNECT;
    WillDelayInterval = 0x18, "Will Delay Interval", WILL;
    RequestResponseInformation = 0x19, "Request Response Information", CONNECT;
    ResponseInformation = 0x1A, "Response Information", CONNACK;
    ServerReference = 0x1C, "Server Reference", CONNACK | DISCONNECT;
    ReasonString = 0x1F, "Reason String", ANSWERS;
    ReceiveMaximum = 0x21, "Receive Maximum", CONNECT | CONNACK;
    TopicAliasMaximum = 0x22, "Topic Alias Maximum", CONNECT | CONNACK;
    TopicAlias = 0x23, "Topic Alias", PUBLISH;
    MaximumQos = 0x24, "Maximum QoS", CONNACK;
    RetainAvailable = 0x25, "Retain Available", CONNACK;
    UserProperty = 0x26, "User Property", CONNECT | MESSAGE | SUBSCRIBE | UNSUBSCRIBE | ANSWERS;
    MaximumPacketSize = 0x27, "Maximum Packet Size", CONNECT | CONNACK;
    WildcardSubscriptionAvailable = 0x28, "Wildcard Subscription Available", CONNACK;
    SubscriptionIdentifiersAvailable = 0x29, "Subscription Identifiers Available", CONNACK;
    SharedSubscriptionAvailable = 0x2A, "Shared Subscription Available", CONNACK;
}

impl PropertyId {
    /// Whether the property may stand in this place.
    #[must_use]
    pub const fn is_allowed_in(self, place: PropertyPlace) -> bool {
        let place_bit = match place {
            PropertyPlace::Packet(packet) => bit(packet),
            PropertyPlace::Will => WILL,
        };
        self.places() & place_bit != 0
    }
}

impl fmt::Display for PropertyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a set of properties stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyPlace {
    /// The properties of a packet.
    Packet(PacketType),
    /// The will properties of a CONNECT.
    Will,
}

impl fmt::Display for PropertyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PropertyPlace::Packet(packet) => fmt::Display::fmt(packet, f),
            PropertyPlace::Will => f.write_str("the will"),
        }
    }
}
