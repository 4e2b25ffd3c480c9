//! Ways to break the protocol.
//!
//! All but one way send bytes that change nothing if the broker does what it must, so that the
//! session is sound when the client comes back. The exception, sending over the receive maximum,
//! uses publications of the session that are re-sent like any other.

use super::link::Server;
use super::{Client, ClientOutput, Turn};
use crate::codec::{encode, put_text, put_varint};
use crate::history::What;
use crate::packet::{AckKind, Level, Packet};
use crate::plan::Do;

/// What a client does to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Bytes that begin no packet.
    Garbage,
    /// The beginning of a packet, then silence.
    TruncatedThenSilence,
    /// The head of a packet of the largest size there is, then silence.
    HugeThenSilence,
    /// A second CONNECT.
    SecondConnect,
    /// SUBSCRIBE with the flags of another packet.
    WrongFlags,
    /// CONNACK.
    ServerOnlyPacket,
    /// PUBLISH at QoS 1 with packet identifier 0.
    PublishId0,
    /// SUBSCRIBE with packet identifier 0.
    SubscribeId0,
    /// A topic alias above the broker's maximum; before version 5, QoS 3.
    AliasOverMaximum,
    /// Topic alias 0; before version 5, QoS 3.
    Alias0,
    /// An alias that stands for nothing; before version 5, an empty topic.
    AliasUnknown,
    /// More publications than the broker's receive maximum; garbage where that is above 64.
    OverReceiveMaximum,
    /// PUBREL for an identifier that is not in use.
    UnknownPubRel,
    /// PUBACK, PUBREC and PUBCOMP for identifiers that are not in use.
    UnknownAcks,
    /// A topic that is not UTF-8.
    InvalidUtf8,
    /// A topic with U+0000.
    TopicWithNull,
    /// A topic with a wildcard.
    TopicWithWildcard,
    /// PUBLISH at QoS 3.
    Qos3,
    /// PUBLISH at QoS 0 with DUP.
    DupAtQos0,
    /// A length of five bytes.
    LengthOfFiveBytes,
    /// A length that could be shorter.
    LengthNotShortest,
    /// SUBSCRIBE without filters.
    NoFilters,
    /// SUBSCRIBE with reserved option bits.
    ReservedOptions,
    /// SUBSCRIBE with a filter that is none.
    BadFilter,
    /// A property where it does not belong; before version 5, bytes left over.
    PropertyMisplaced,
    /// A property twice; before version 5, bytes left over.
    PropertyRepeated,
    /// AUTH out of nowhere.
    Auth,
}

impl Way {
    /// All ways, in the order of their numbers.
    pub const ALL: [Self; 27] = [
        Self::Garbage,
        Self::TruncatedThenSilence,
        Self::HugeThenSilence,
        Self::SecondConnect,
        Self::WrongFlags,
        Self::ServerOnlyPacket,
        Self::PublishId0,
        Self::SubscribeId0,
        Self::AliasOverMaximum,
        Self::Alias0,
        Self::AliasUnknown,
        Self::OverReceiveMaximum,
        Self::UnknownPubRel,
        Self::UnknownAcks,
        Self::InvalidUtf8,
        Self::TopicWithNull,
        Self::TopicWithWildcard,
        Self::Qos3,
        Self::DupAtQos0,
        Self::LengthOfFiveBytes,
        Self::LengthNotShortest,
        Self::NoFilters,
        Self::ReservedOptions,
        Self::BadFilter,
        Self::PropertyMisplaced,
        Self::PropertyRepeated,
        Self::Auth,
    ];

    /// The way that a plan's number means: numbers beyond the last begin again.
    #[must_use]
    pub fn of(number: u8) -> Self {
        Self::ALL[usize::from(number) % Self::ALL.len()]
    }

    /// Whether the broker must end the connection for it: whole packets that are malformed, or a protocol error, by the
    /// standard of that level. Garbage may begin a packet that never becomes whole, and whether a receive maximum is
    /// exceeded depends on when its messages are acknowledged.
    #[must_use]
    pub fn must_end(self, level: Level) -> bool {
        match self {
            Self::Garbage
            | Self::TruncatedThenSilence
            | Self::HugeThenSilence
            | Self::OverReceiveMaximum
            | Self::UnknownPubRel
            | Self::UnknownAcks => false,
            // Before version 5 nothing demands the shortest form.
            Self::LengthNotShortest => level >= 5,
            // 3.1 passes reserved bits over, and says little of filters and of what is left over.
            Self::WrongFlags
            | Self::ReservedOptions
            | Self::BadFilter
            | Self::PropertyMisplaced
            | Self::PropertyRepeated
            | Self::Auth
            | Self::InvalidUtf8
            | Self::TopicWithNull
            | Self::DupAtQos0
            | Self::NoFilters => level >= 4,
            Self::SecondConnect
            | Self::ServerOnlyPacket
            | Self::PublishId0
            | Self::SubscribeId0
            | Self::AliasOverMaximum
            | Self::Alias0
            | Self::AliasUnknown
            | Self::TopicWithWildcard
            | Self::Qos3
            | Self::LengthOfFiveBytes => true,
        }
    }

    /// Whether a client does not send anything any more after it.
    #[must_use]
    pub fn falls_silent(self) -> bool {
        matches!(self, Self::TruncatedThenSilence | Self::HugeThenSilence)
    }
}

/// Where hostile publications go. Only those that are in the history as sent may be received.
const HOSTILE_TOPIC: &str = "hostile";
/// A receive maximum above this is not filled up.
const FILLED_RECEIVE_MAXIMUM: u16 = 64;
/// How many publications are sent over it.
const OVER_RECEIVE_MAXIMUM: usize = 3;

impl Client {
    /// Breaks the protocol: on the connection that there is, or in place of CONNECT on a new one,
    /// which then is of no use and takes no session.
    pub(super) fn misbehave(&mut self, turn: &mut Turn<'_>, number: u8) {
        let Some(link) = &self.link else {
            if self.opening.is_none() && self.reconnect_at_ms.is_none() {
                self.comes_back = false;
                self.ask(turn, Some(number));
            }
            return;
        };
        // More bytes would make what was cut off whole.
        if link.is_silent() {
            return;
        }
        let (connection, server, may_send) = (link.connection, link.server, link.may_send());
        let way = Way::of(number);
        let must_end = way.must_end(self.spec.level);
        turn.event(What::Misbehaved { connection, must_end });
        let fillable = may_send && server.receive_maximum <= FILLED_RECEIVE_MAXIMUM;
        if way == Way::OverReceiveMaximum && fillable {
            self.exceed(turn, server);
        } else {
            self.send_hostile(turn, way);
        }
    }

    /// Misbehaves on a new connection.
    pub(super) fn begin_badly(&mut self, turn: &mut Turn<'_>, number: u8) {
        let Some(link) = &self.link else { return };
        // A CONNECT would be in order as the first packet.
        let is_in_order = Way::of(number) == Way::SecondConnect;
        let way = if is_in_order { Way::Garbage } else { Way::of(number) };
        let must_end = way.must_end(self.spec.level);
        turn.event(What::Misbehaved { connection: link.connection, must_end });
        self.send_hostile(turn, way);
    }

    fn send_hostile(&mut self, turn: &mut Turn<'_>, way: Way) {
        let Some(link) = &self.link else { return };
        let (connection, server) = (link.connection, link.server);
        let is_told = link.is_serving;
        let bytes = self.hostile_bytes(turn, way, server, is_told);
        turn.out.push(ClientOutput::Send { connection, bytes });
        if let Some(link) = &mut self.link {
            link.sent(turn.now_ms);
            if way.falls_silent() {
                link.fall_silent(turn.now_ms);
            }
        }
    }

    fn exceed(&mut self, turn: &mut Turn<'_>, server: Server) {
        let used = turn.session.sent_here();
        let free = usize::from(server.receive_maximum).saturating_sub(used);
        for _ in 0..free + OVER_RECEIVE_MAXIMUM {
            self.publish(
                turn,
                &Do::Publish {
                    client: self.index,
                    topic: HOSTILE_TOPIC.to_owned(),
                    qos: server.maximum_qos,
                    retain: false,
                    fill_bytes: 0,
                    clears: false,
                    expiry_s: 0,
                    user_properties: 0,
                },
            );
            // The newest goes first: what waited longer is the plan's.
            self.waiting.rotate_right(1);
            self.send_waiting(turn);
        }
    }

    fn hostile_bytes(
        &mut self,
        turn: &mut Turn<'_>,
        way: Way,
        server: Server,
        is_told: bool,
    ) -> Vec<u8> {
        let is_5 = self.spec.level >= 5;
        let payload = self.hostile_payload(turn.session, HOSTILE_TOPIC);
        let publish = |flags: u8, topic: &[u8], id: Option<u16>, properties: &[u8]| {
            publish_bytes(is_5, flags, topic, id, properties, &payload)
        };
        let topic = HOSTILE_TOPIC.as_bytes();
        match way {
            Way::Garbage | Way::OverReceiveMaximum => {
                let first = *self.hostile_chance.pick(&[0x00, 0x05, 0x36, 0x2F, 0xC1, 0xFF]);
                let rest = (0..19).map(|_| self.hostile_chance.below(256) as u8);
                std::iter::once(first).chain(rest).collect()
            }
            Way::TruncatedThenSilence => {
                let mut bytes = publish(0x00, topic, None, &[]);
                let kept = self.hostile_chance.between(1, bytes.len() as u64 - 1);
                bytes.truncate(kept as usize);
                bytes
            }
            Way::HugeThenSilence => vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b'h'],
            Way::SecondConnect => {
                let connect = Packet::Connect(self.connect_packet(turn.session, true));
                encode(&connect, self.spec.level)
            }
            Way::ServerOnlyPacket => vec![0x20, 2, 0, 0],
            Way::PublishId0 => publish(0x02, topic, Some(0), &[]),
            // What exists from version 5 on is QoS 3 or an empty topic before it.
            Way::Qos3 => publish(0x06, topic, Some(1), &[]),
            Way::AliasOverMaximum | Way::Alias0 if !is_5 => publish(0x06, topic, Some(1), &[]),
            Way::AliasOverMaximum => {
                // Above the largest maximum there is no alias but 0, which is as bad.
                let above = server.topic_alias_maximum.wrapping_add(1);
                // Before CONNACK nobody knows the maximum; it is not the largest there can be.
                let alias = if is_told { above } else { u16::MAX }.to_be_bytes();
                publish(0x00, topic, None, &[0x23, alias[0], alias[1]])
            }
            Way::Alias0 => publish(0x00, topic, None, &[0x23, 0, 0]),
            // No client uses so many.
            Way::AliasUnknown => publish(0x00, b"", None, &[0x23, 0, 5]),
            Way::UnknownPubRel => self.unknown_ack(turn, AckKind::PubRel),
            Way::UnknownAcks => [AckKind::PubAck, AckKind::PubRec, AckKind::PubComp]
                .into_iter()
                .flat_map(|kind| self.unknown_ack(turn, kind))
                .collect(),
            Way::InvalidUtf8 => publish(0x00, b"hostile/\xFF\xFE", None, &[]),
            Way::TopicWithNull => publish(0x00, b"hostile/\0", None, &[]),
            Way::TopicWithWildcard => publish(0x00, b"hostile/#", None, &[]),
            Way::DupAtQos0 => publish(0x08, topic, None, &[]),
            Way::LengthOfFiveBytes => vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01, 0, 1, b'h'],
            Way::LengthNotShortest => vec![0xC0, 0x80, 0x00],
            Way::WrongFlags => subscribe_bytes(is_5, 0x80, 1, Some(("hostile", 0))),
            Way::SubscribeId0 => subscribe_bytes(is_5, 0x82, 0, Some(("hostile", 0))),
            Way::NoFilters => subscribe_bytes(is_5, 0x82, 1, None),
            Way::ReservedOptions => subscribe_bytes(is_5, 0x82, 1, Some(("hostile", 0xC0))),
            Way::BadFilter => subscribe_bytes(is_5, 0x82, 1, Some(("hostile/#/x", 0))),
            Way::PropertyMisplaced | Way::PropertyRepeated if !is_5 => vec![0xC0, 1, 0],
            Way::PropertyMisplaced => publish(0x00, topic, None, &[0x21, 0, 1]),
            Way::PropertyRepeated => publish(0x00, topic, None, &[0x01, 0, 0x01, 0]),
            Way::Auth => {
                vec![0xF0, if is_5 { 2 } else { 0 }, 0x19, 0][..if is_5 { 4 } else { 2 }].to_vec()
            }
        }
    }

    fn unknown_ack(&self, turn: &Turn<'_>, kind: AckKind) -> Vec<u8> {
        // Far from the low identifiers that are in use on either side.
        let is_free =
            |id: &u16| turn.session.find(*id).is_none() && !turn.session.inbound.contains(id);
        let id = (1..=u16::MAX).rev().find(is_free).unwrap_or(u16::MAX);
        let ack = Packet::Ack { kind, id, reason: 0, properties: Vec::new() };
        encode(&ack, self.spec.level)
    }
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_varint(u32::try_from(body.len()).expect("a few hundred bytes at most"), &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

fn publish_bytes(
    is_5: bool,
    flags: u8,
    topic: &[u8],
    id: Option<u16>,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(topic.len()).expect("a few bytes at most");
    let mut body = length.to_be_bytes().to_vec();
    body.extend_from_slice(topic);
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    if is_5 {
        put_varint(u32::try_from(properties.len()).expect("a few bytes at most"), &mut body);
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    framed(0x30 | flags, &body)
}

fn subscribe_bytes(is_5: bool, first: u8, id: u16, filter: Option<(&str, u8)>) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if is_5 {
        body.push(0);
    }
    if let Some((filter, options)) = filter {
        put_text(filter, &mut body);
        body.push(options);
    }
    framed(first, &body)
}
