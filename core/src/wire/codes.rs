//! Which packets may carry which reason codes, and what older versions say instead.

use super::frame::{PacketType, Side};
use super::reason::ReasonCode::{self, *};

// [MQTT-3.2.2-8]
const CONNACK: &[ReasonCode] = &[
    Success,
    UnspecifiedError,
    MalformedPacket,
    ProtocolError,
    ImplementationSpecificError,
    UnsupportedProtocolVersion,
    ClientIdentifierNotValid,
    BadUserNameOrPassword,
    NotAuthorized,
    ServerUnavailable,
    ServerBusy,
    Banned,
    BadAuthenticationMethod,
    TopicNameInvalid,
    PacketTooLarge,
    QuotaExceeded,
    PayloadFormatInvalid,
    RetainNotSupported,
    QosNotSupported,
    UseAnotherServer,
    ServerMoved,
    ConnectionRateExceeded,
];
// [MQTT-3.4.2-1] [MQTT-3.5.2-1]
const RECEIPT: &[ReasonCode] = &[
    Success,
    UnspecifiedError,
    ImplementationSpecificError,
    NotAuthorized,
    TopicNameInvalid,
    PacketIdentifierInUse,
    QuotaExceeded,
    PayloadFormatInvalid,
];
// [MQTT-3.6.2-1] [MQTT-3.7.2-1]
const RELEASE: &[ReasonCode] = &[Success, PacketIdentifierNotFound];
// [MQTT-3.9.3-2]
const SUBACK: &[ReasonCode] = &[
    Success,
    GrantedQos1,
    GrantedQos2,
    UnspecifiedError,
    ImplementationSpecificError,
    NotAuthorized,
    TopicFilterInvalid,
    PacketIdentifierInUse,
    QuotaExceeded,
    SharedSubscriptionsNotSupported,
    SubscriptionIdentifiersNotSupported,
    WildcardSubscriptionsNotSupported,
];
// [MQTT-3.11.3-2]
const UNSUBACK: &[ReasonCode] = &[
    Success,
    NoSubscriptionExisted,
    UnspecifiedError,
    ImplementationSpecificError,
    NotAuthorized,
    TopicFilterInvalid,
    PacketIdentifierInUse,
];
// [MQTT-3.14.2-1]
const DISCONNECT_BOTH: &[ReasonCode] = &[
    Success,
    UnspecifiedError,
    MalformedPacket,
    ProtocolError,
    ImplementationSpecificError,
    TopicNameInvalid,
    ReceiveMaximumExceeded,
    TopicAliasInvalid,
    PacketTooLarge,
    MessageRateTooHigh,
    QuotaExceeded,
    AdministrativeAction,
    PayloadFormatInvalid,
];
const DISCONNECT_SERVER: &[ReasonCode] = &[
    NotAuthorized,
    ServerBusy,
    ServerShuttingDown,
    KeepAliveTimeout,
    SessionTakenOver,
    TopicFilterInvalid,
    RetainNotSupported,
    QosNotSupported,
    UseAnotherServer,
    ServerMoved,
    SharedSubscriptionsNotSupported,
    ConnectionRateExceeded,
    MaximumConnectTime,
    SubscriptionIdentifiersNotSupported,
    WildcardSubscriptionsNotSupported,
];

/// Whether a broker may put `code` into `packet`.
pub(crate) fn is_brokers(packet: PacketType, code: ReasonCode) -> bool {
    is_allowed(packet, Side::Server, code)
}

/// Whether `sender` may put `code` into `packet`.
pub(in crate::wire) fn is_allowed(packet: PacketType, sender: Side, code: ReasonCode) -> bool {
    let server = sender == Side::Server;
    match packet {
        PacketType::ConnAck => CONNACK.contains(&code),
        PacketType::PubAck | PacketType::PubRec => {
            RECEIPT.contains(&code) || server && code == NoMatchingSubscribers
        }
        PacketType::PubRel | PacketType::PubComp => RELEASE.contains(&code),
        PacketType::SubAck => SUBACK.contains(&code),
        PacketType::UnsubAck => UNSUBACK.contains(&code),
        PacketType::Disconnect if server => {
            DISCONNECT_BOTH.contains(&code) || DISCONNECT_SERVER.contains(&code)
        }
        PacketType::Disconnect => {
            DISCONNECT_BOTH.contains(&code) || code == DisconnectWithWillMessage
        }
        // [MQTT-3.15.2-1]
        PacketType::Auth if server => matches!(code, Success | ContinueAuthentication),
        PacketType::Auth => matches!(code, ContinueAuthentication | ReAuthenticate),
        PacketType::Connect
        | PacketType::Publish
        | PacketType::Subscribe
        | PacketType::Unsubscribe
        | PacketType::PingReq
        | PacketType::PingResp => false,
    }
}

/// The CONNACK return code of 3.1 and 3.1.1, or `None` where none fits and the connection is closed
/// without a CONNACK.
pub(in crate::wire) const fn return_code(reason: ReasonCode) -> Option<u8> {
    match reason {
        Success => Some(0),
        UnsupportedProtocolVersion => Some(1),
        ClientIdentifierNotValid => Some(2),
        UnspecifiedError
        | ImplementationSpecificError
        | ServerUnavailable
        | ServerBusy
        | ServerShuttingDown
        | QuotaExceeded
        | UseAnotherServer
        | ServerMoved
        | ConnectionRateExceeded => Some(3),
        BadUserNameOrPassword => Some(4),
        NotAuthorized | Banned | BadAuthenticationMethod => Some(5),
        GrantedQos1
        | GrantedQos2
        | DisconnectWithWillMessage
        | NoMatchingSubscribers
        | NoSubscriptionExisted
        | ContinueAuthentication
        | ReAuthenticate
        | MalformedPacket
        | ProtocolError
        | KeepAliveTimeout
        | SessionTakenOver
        | TopicFilterInvalid
        | TopicNameInvalid
        | PacketIdentifierInUse
        | PacketIdentifierNotFound
        | ReceiveMaximumExceeded
        | TopicAliasInvalid
        | PacketTooLarge
        | MessageRateTooHigh
        | AdministrativeAction
        | PayloadFormatInvalid
        | RetainNotSupported
        | QosNotSupported
        | SharedSubscriptionsNotSupported
        | MaximumConnectTime
        | SubscriptionIdentifiersNotSupported
        | WildcardSubscriptionsNotSupported => None,
    }
}

/// The reason that a CONNACK return code of 3.1 and 3.1.1 stands for.
pub(in crate::wire) const fn from_return_code(code: u8) -> Option<ReasonCode> {
    match code {
        0 => Some(Success),
        1 => Some(UnsupportedProtocolVersion),
        2 => Some(ClientIdentifierNotValid),
        3 => Some(ServerUnavailable),
        4 => Some(BadUserNameOrPassword),
        5 => Some(NotAuthorized),
        _ => None,
    }
}
