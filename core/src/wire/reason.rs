//! Reason codes, as numbers and as names.

use core::fmt;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// Why a request succeeded or failed, or why a connection ended.
        ///
        /// Which packets may carry which code is the encoder's and decoder's business. `Success`
        /// stands for 0x00 under all its names (normal disconnection, granted QoS 0).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $value,)*
        }

        impl ReasonCode {
            /// Every reason code, in the order of their numbers.
            pub const ALL: &'static [ReasonCode] = &[$(ReasonCode::$name,)*];

            /// The reason code with this number, or `None` if the standard has none.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(ReasonCode::$name),)*
                    _ => None,
                }
            }

            /// A short name for people.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(ReasonCode::$name => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    /// 0x00: success.
    #[default]
    Success = 0x00, "success";
    /// 0x01: granted qos 1.
    GrantedQos1 = 0x01, "granted qos 1";
    /// 0x02: granted qos 2.
    GrantedQos2 = 0x02, "granted qos 2";
    /// 0x04: disconnect with will message.
    DisconnectWithWillMessage = 0x04, "disconnect with will message";
    /// 0x10: no matching subscribers.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// 0x11: no subscription existed.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// 0x18: continue authentication.
    ContinueAuthentication = 0x18, "continue authentication";
    /// 0x19: re-authenticate.
    ReAuthenticate = 0x19, "re-authenticate";
    /// 0x80: unspecified error.
    UnspecifiedError = 0x80, "unspecified error";
    /// 0x81: malformed packet.
    MalformedPacket = 0x81, "malformed packet";
    /// 0x82: protocol error.
    ProtocolError = 0x82, "protocol error";
    /// 0x83: implementation specific error.
    ImplementationSpecificError = 0x83, "implementation specific error";
    /// 0x84: unsupported protocol version.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// 0x85: client identifier not valid.
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    /// 0x86: bad user name or password.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// 0x87: not authorized.
    NotAuthorized = 0x87, "not authorized";
    /// 0x88: server unavailable.
    ServerUnavailable = 0x88, "server unavailable";
    /// 0x89: server busy.
    ServerBusy = 0x89, "server busy";
    /// 0x8A: banned.
    Banned = 0x8A, "banned";
    /// 0x8B: server shutting down.
    ServerShuttingDown = 0x8B, "server shutting down";
    /// 0x8C: bad authentication method.
    BadAuthenticationMethod = 0x8C, "bad authentication method";
    /// 0x8D: keep alive timeout.
    KeepAliveTimeout = 0x8D, "keep alive timeout";
    /// 0x8E: session taken over.
    SessionTakenOver = 0x8E, "session taken over";
    /// 0x8F: topic filter invalid.
    TopicFilterInvalid = 0x8F, "topic filter invalid";
    /// 0x90: topic name invalid.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// 0x91: packet identifier in use.
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    /// 0x92: packet identifier not found.
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    /// 0x93: receive maximum exceeded.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// 0x94: topic alias invalid.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// 0x95: packet too large.
    PacketTooLarge = 0x95, "packet too large";
    /// 0x96: message rate too high.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// 0x97: quota exceeded.
    QuotaExceeded = 0x97, "quota exceeded";
    /// 0x98: administrative action.
    AdministrativeAction = 0x98, "administrative action";
    /// 0x99: payload format invalid.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// 0x9A: retain not supported.
    RetainNotSupported = 0x9A, "retain not supported";
    /// 0x9B: qos not supported.
    QosNotSupported = 0x9B, "qos not supported";
    /// 0x9C: use another server.
    UseAnotherServer = 0x9C, "use another server";
    /// 0x9D: server moved.
    ServerMoved = 0x9D, "server moved";
    /// 0x9E: shared subscriptions not supported.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
    /// 0x9F: connection rate exceeded.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded";
    /// 0xA0: maximum connect time.
    MaximumConnectTime = 0xA0, "maximum connect time";
    /// 0xA1: subscription identifiers not supported.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
    /// 0xA2: wildcard subscriptions not supported.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// The code's number.
    #[must_use]
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// Whether the code means failure: 0x80 and above.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.value() >= 0x80
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02X} {}", self.value(), self.name())
    }
}
