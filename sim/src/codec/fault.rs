//! What the strict decoder finds wrong.

/// A breach of the standard in bytes that arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A first byte that this side may not send at this level.
    #[error("no packet of this side begins with {first:#04x}")]
    FirstByte {
        /// The byte.
        first: u8,
    },
    /// PUBLISH flags with QoS 3.
    #[error("PUBLISH has QoS 3")]
    Qos3,
    /// PUBLISH with DUP at QoS 0.
    #[error("PUBLISH has DUP at QoS 0")]
    DupAtQos0,
    /// A variable byte integer of more than four bytes.
    #[error("a variable byte integer has more than four bytes")]
    VarintTooLong,
    /// A variable byte integer that could be shorter.
    #[error("a variable byte integer is longer than it must be")]
    VarintNotShortest,
    /// A packet over the client's maximum.
    #[error("a packet of {size_bytes} bytes, the client's maximum is {maximum}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The client's maximum.
        maximum: u32,
    },
    /// The packet ends within a field.
    #[error("the packet ends within its {field}")]
    Short {
        /// The field.
        field: &'static str,
    },
    /// Bytes after the last field.
    #[error("{bytes} bytes are left over")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
    /// A string that is not UTF-8 or holds U+0000.
    #[error("{field} is not a string of the standard's")]
    Text {
        /// The field.
        field: &'static str,
    },
    /// A topic name that is empty or holds a wildcard.
    #[error("{field} is not a topic name: {topic:?}")]
    Topic {
        /// The field.
        field: &'static str,
        /// What it is.
        topic: String,
    },
    /// A packet identifier of 0.
    #[error("the packet identifier is 0")]
    PacketId0,
    /// A property that this packet may not carry.
    #[error("property {id:#04x} does not belong there")]
    PropertyMisplaced {
        /// The identifier.
        id: u8,
    },
    /// A property twice.
    #[error("property {id:#04x} is there twice")]
    PropertyRepeated {
        /// The identifier.
        id: u8,
    },
    /// A property with a value that it may not have.
    #[error("property {id:#04x} has a value that it may not have")]
    PropertyValue {
        /// The identifier.
        id: u8,
    },
    /// Authentication data without a method.
    #[error("authentication data without a method")]
    AuthenticationDataAlone,
    /// A reason code that this packet may not have.
    #[error("reason code {reason:#04x} does not belong there")]
    Reason {
        /// The code.
        reason: u8,
    },
    /// A packet with a list that must not be empty and is.
    #[error("the list of {of} is empty")]
    Empty {
        /// What it lists.
        of: &'static str,
    },
    /// Reserved bits that are set.
    #[error("reserved bits are set in the {field}")]
    ReservedBits {
        /// The field.
        field: &'static str,
    },
    /// CONNACK that refuses and says that a session is present.
    #[error("CONNACK refuses, and says that a session is present")]
    SessionPresentOnRefusal,
    /// A protocol name and level that do not exist.
    #[error("there is no protocol of this name and level")]
    Protocol,
    /// An alias over the client's maximum.
    #[error("topic alias {alias}, the client's maximum is {maximum}")]
    AliasOverMaximum {
        /// The alias.
        alias: u16,
        /// The client's maximum.
        maximum: u16,
    },
    /// An alias that stands for nothing on this connection.
    #[error("topic alias {alias} stands for nothing")]
    AliasUnknown {
        /// The alias.
        alias: u16,
    },
}

impl Fault {
    /// The guarantee that a broker breaks by sending such a thing.
    #[must_use]
    pub fn guarantee(&self) -> &'static str {
        match self {
            Fault::TooLarge { .. } => "SZ",
            Fault::AliasOverMaximum { .. } | Fault::AliasUnknown { .. } => "AL",
            Fault::FirstByte { .. }
            | Fault::Qos3
            | Fault::DupAtQos0
            | Fault::VarintTooLong
            | Fault::VarintNotShortest
            | Fault::Short { .. }
            | Fault::LeftOver { .. }
            | Fault::Text { .. }
            | Fault::Topic { .. }
            | Fault::PacketId0
            | Fault::PropertyMisplaced { .. }
            | Fault::PropertyRepeated { .. }
            | Fault::PropertyValue { .. }
            | Fault::AuthenticationDataAlone
            | Fault::Reason { .. }
            | Fault::Empty { .. }
            | Fault::ReservedBits { .. }
            | Fault::SessionPresentOnRefusal
            | Fault::Protocol => "PR",
        }
    }
}
