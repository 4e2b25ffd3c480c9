//! Everything that can be wrong with the bytes of a packet.

use super::frame::PacketType;
use super::property_id::{PropertyId, PropertyPlace};
use super::reason::ReasonCode;
use super::types::{TextError, Version};
use crate::routing::topic::TopicError;

/// Why bytes are refused. Every fault ends the connection `[MQTT-4.13.1-1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Packet type 0.
    #[error("packet type 0 is forbidden")]
    PacketTypeZero,
    /// The flags of the first byte are not what is reserved for the packet.
    #[error("{packet} has flags {flags:04b}, which are reserved")]
    ReservedFlags {
        /// The packet.
        packet: PacketType,
        /// The four bits.
        flags: u8,
    },
    /// A variable byte integer goes on behind its fourth byte.
    #[error("a variable byte integer is longer than four bytes")]
    VariableTooLong,
    /// A variable byte integer takes more bytes than it needs.
    #[error("a variable byte integer is not in its shortest form")]
    VariableOverlong,
    /// The packet is larger than the receiver takes.
    #[error("the packet has {size_bytes} bytes, more than the {limit_bytes} accepted")]
    PacketTooLarge {
        /// Size of the whole packet.
        size_bytes: u32,
        /// The most that the receiver takes.
        limit_bytes: u32,
    },
    /// The packet never comes from this side.
    #[error("{packet} came from the side that never sends it")]
    WrongSender {
        /// The packet.
        packet: PacketType,
    },
    /// The packet does not exist in the version of the connection.
    #[error("{packet} does not exist in MQTT {version}")]
    NotInVersion {
        /// The packet.
        packet: PacketType,
        /// The connection's version.
        version: Version,
    },
    /// The connection began with something else than CONNECT.
    #[error("the first packet is {packet}, not CONNECT")]
    FirstPacketNotConnect {
        /// The packet.
        packet: PacketType,
    },
    /// A second CONNECT on one connection.
    #[error("CONNECT was sent twice on one connection")]
    SecondConnect,
    /// The packet ends in the middle of a field.
    #[error("{packet} ends in the middle of a field")]
    Truncated {
        /// The packet.
        packet: PacketType,
    },
    /// Bytes are left when the packet should end.
    #[error("{packet} has {left_bytes} bytes more than its fields take")]
    LeftoverBytes {
        /// The packet.
        packet: PacketType,
        /// How many.
        left_bytes: usize,
    },
    /// Bytes that are not a string of the protocol.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A string that is not a topic name or filter.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// Packet identifier 0.
    #[error("{packet} has packet identifier 0")]
    PacketIdZero {
        /// The packet.
        packet: PacketType,
    },

    /// Not a protocol name and level that is served.
    #[error("protocol level {level} of that protocol name is not supported")]
    UnsupportedProtocol {
        /// The level byte.
        level: u8,
        /// The version whose CONNACK the client is most likely to understand.
        answer: Version,
    },
    /// Bit 0 of the connect flags is set.
    #[error("the reserved connect flag is set")]
    ConnectFlagReserved,
    /// Will QoS 3.
    #[error("the will has QoS 3")]
    WillQos3,
    /// Will QoS or Will Retain without Will Flag.
    #[error("Will QoS or Will Retain is set without a will")]
    WillFlagsWithoutWill,
    /// A password without a user name, which 3.1 and 3.1.1 forbid.
    #[error("a password is given without a user name")]
    PasswordWithoutUserName,
    /// An empty client identifier where the version asks for one.
    #[error("the client identifier is empty, which this version refuses here")]
    ClientIdEmpty,
    /// Authentication Data without Authentication Method.
    #[error("authentication data is given without an authentication method")]
    AuthenticationDataWithoutMethod,
    /// AUTH without Authentication Method.
    #[error("AUTH has no authentication method")]
    AuthenticationMethodMissing,

    /// A property number that the standard does not have.
    #[error("property 0x{id:02X} does not exist")]
    UnknownProperty {
        /// The number.
        id: u32,
    },
    /// A property in a place that it is not for.
    #[error("{property} does not belong in {place}")]
    MisplacedProperty {
        /// The property.
        property: PropertyId,
        /// Where it stood.
        place: PropertyPlace,
    },
    /// A property of this packet that the sender may not use.
    #[error("{property} may not come from this side")]
    PropertyFromWrongSide {
        /// The property.
        property: PropertyId,
    },
    /// A property twice.
    #[error("{property} is given twice")]
    RepeatedProperty {
        /// The property.
        property: PropertyId,
    },
    /// A property with a value outside its range.
    #[error("{property} has a value it may not have")]
    PropertyValue {
        /// The property.
        property: PropertyId,
    },
    /// A number that is no reason code.
    #[error("{packet} has reason code 0x{code:02X}, which does not exist")]
    UnknownReasonCode {
        /// The packet.
        packet: PacketType,
        /// The number.
        code: u8,
    },
    /// A reason code that is not for this packet, or not for this sender.
    #[error("{packet} may not carry reason code {code}")]
    MisplacedReasonCode {
        /// The packet.
        packet: PacketType,
        /// The reason code.
        code: ReasonCode,
    },

    /// PUBLISH with QoS 3.
    #[error("PUBLISH has QoS 3")]
    PublishQos3,
    /// DUP on a PUBLISH at QoS 0.
    #[error("PUBLISH at QoS 0 has DUP set")]
    DupAtQos0,
    /// An empty topic without a topic alias.
    #[error("PUBLISH has neither topic nor topic alias")]
    TopicMissing,
    /// Topic alias 0, or above what the receiver allows.
    #[error("topic alias {alias} is not within 1 to {maximum}")]
    TopicAliasInvalid {
        /// The alias.
        alias: u16,
        /// The receiver's Topic Alias Maximum.
        maximum: u16,
    },
    /// A topic alias that was never given a topic.
    #[error("topic alias {alias} stands for no topic")]
    TopicAliasUnknown {
        /// The alias.
        alias: u16,
    },

    /// SUBSCRIBE or UNSUBSCRIBE without a topic filter, or the answer without a reason code.
    #[error("{packet} has an empty payload")]
    PayloadMissing {
        /// The packet.
        packet: PacketType,
    },
    /// Reserved bits of the subscription options are set.
    #[error("reserved bits of the subscription options are set")]
    SubscriptionOptionsReserved,
    /// A subscription with maximum QoS 3.
    #[error("a subscription asks for QoS 3")]
    SubscriptionQos3,
    /// Retain Handling 3.
    #[error("a subscription has retain handling 3")]
    RetainHandling3,
    /// No Local on a shared subscription.
    #[error("a shared subscription has No Local set")]
    NoLocalShared,

    /// Reserved bits of the connect acknowledge flags are set.
    #[error("reserved connect acknowledge flags are set")]
    ConnAckFlagsReserved,
    /// Session Present in a CONNACK that refuses.
    #[error("CONNACK refuses and has Session Present set")]
    SessionPresentWithRefusal,
}

impl DecodeError {
    /// The reason code that the standard asks for in the answer: a CONNACK to a CONNECT, else a
    /// DISCONNECT.
    #[must_use]
    pub const fn reason(&self) -> ReasonCode {
        match self {
            DecodeError::PacketTypeZero
            | DecodeError::ReservedFlags { .. }
            | DecodeError::VariableTooLong
            | DecodeError::VariableOverlong
            | DecodeError::Truncated { .. }
            | DecodeError::LeftoverBytes { .. }
            | DecodeError::Text(_)
            | DecodeError::Topic(_)
            | DecodeError::ConnectFlagReserved
            | DecodeError::WillQos3
            | DecodeError::WillFlagsWithoutWill
            | DecodeError::UnknownProperty { .. }
            | DecodeError::MisplacedProperty { .. }
            | DecodeError::UnknownReasonCode { .. }
            | DecodeError::PublishQos3
            | DecodeError::SubscriptionOptionsReserved
            | DecodeError::ConnAckFlagsReserved => ReasonCode::MalformedPacket,
            DecodeError::WrongSender { .. }
            | DecodeError::NotInVersion { .. }
            | DecodeError::FirstPacketNotConnect { .. }
            | DecodeError::SecondConnect
            | DecodeError::PacketIdZero { .. }
            | DecodeError::PasswordWithoutUserName
            | DecodeError::AuthenticationDataWithoutMethod
            | DecodeError::AuthenticationMethodMissing
            | DecodeError::PropertyFromWrongSide { .. }
            | DecodeError::RepeatedProperty { .. }
            | DecodeError::PropertyValue { .. }
            | DecodeError::MisplacedReasonCode { .. }
            | DecodeError::DupAtQos0
            | DecodeError::TopicMissing
            | DecodeError::TopicAliasUnknown { .. }
            | DecodeError::PayloadMissing { .. }
            | DecodeError::SubscriptionQos3
            | DecodeError::RetainHandling3
            | DecodeError::NoLocalShared
            | DecodeError::SessionPresentWithRefusal => ReasonCode::ProtocolError,
            DecodeError::UnsupportedProtocol { .. } => ReasonCode::UnsupportedProtocolVersion,
            DecodeError::ClientIdEmpty => ReasonCode::ClientIdentifierNotValid,
            DecodeError::TopicAliasInvalid { .. } => ReasonCode::TopicAliasInvalid,
            DecodeError::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
        }
    }
}
