//! The broker's side of writing: from packets to a client's stream, one writer a connection.

use bytes::BytesMut;

use super::alias::OutboundAliases;
use super::encode::{self, Alias, Terms, Written};
use super::packet::{Connect, OutboundPublish, ServerPacket};
use super::shared::LastPublish;
use super::types::Version;

/// Writes packets to one client, on the terms of its CONNECT. Pure: it fills a buffer.
#[derive(Debug)]
pub struct Writer {
    version: Option<Version>,
    limit_bytes: usize,
    problem_information: bool,
    aliases: OutboundAliases,
}

impl Default for Writer {
    fn default() -> Self {
        Writer::new()
    }
}

impl Writer {
    /// The most bytes by which introducing a topic alias lengthens a PUBLISH: the property, and one
    /// for each of the two lengths around it.
    pub const ALIAS_BYTES: usize = 5;

    /// A writer that writes nothing before [`Writer::negotiate`] or [`Writer::answer_in`].
    #[must_use]
    pub const fn new() -> Self {
        Writer {
            version: None,
            limit_bytes: usize::MAX,
            problem_information: true,
            aliases: OutboundAliases::new(0),
        }
    }

    /// Takes over what the client's CONNECT asks for: version, maximum packet size, problem
    /// information. Topic aliases are assigned up to the smaller of the client's maximum and
    /// `topic_alias_outbound_maximum`.
    pub fn negotiate(&mut self, connect: &Connect, topic_alias_outbound_maximum: u16) {
        self.version = Some(connect.version);
        self.limit_bytes = connect
            .maximum_packet_size_bytes
            .map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if canary!(PacketSizeIgnored) {
            self.limit_bytes = usize::MAX;
        }
        self.problem_information = connect.request_problem_information;
        // [MQTT-3.1.2-27]
        let alias_maximum = match connect.version {
            Version::V5 => connect.topic_alias_maximum.min(topic_alias_outbound_maximum),
            Version::V31 | Version::V311 => 0,
        };
        self.aliases = OutboundAliases::new(alias_maximum);
    }

    /// Fixes the version alone, to refuse a CONNECT that could not be read;
    /// [`Reader::answer_version`](super::Reader::answer_version) names it.
    pub fn answer_in(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// Appends a packet to `out`, whole or not at all.
    ///
    /// Reason string and then user properties are left out where the client does not want them, or
    /// where they would make the packet larger than the client takes; those of a PUBLISH always
    /// go along. In versions before 5 a PUBACK or PUBREC that refuses is
    /// [`Nothing`](Written::Nothing), and so is a CONNACK whose reason has no return code.
    pub fn write(&mut self, packet: &ServerPacket, out: &mut BytesMut) -> Written {
        let Some(terms) = self.terms() else { return Written::Nothing };
        match packet {
            ServerPacket::Publish(publish) => self.write_publish(publish, &terms, out),
            ServerPacket::ConnAck(_)
            | ServerPacket::PubAck(_)
            | ServerPacket::PubRec(_)
            | ServerPacket::PubRel(_)
            | ServerPacket::PubComp(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => encode::server_packet(packet, &terms, out),
        }
    }

    /// The version, if a PUBLISH depends on nothing else: the client takes packets of any size and has no
    /// topic aliases.
    #[must_use]
    pub fn plain_version(&self) -> Option<Version> {
        let is_plain = self.limit_bytes == usize::MAX && !self.aliases.is_enabled();
        self.version.filter(|_| is_plain)
    }

    /// Appends a PUBLISH, from `last` if the writer before wrote the very same bytes.
    pub fn write_alike(
        &mut self,
        publish: &OutboundPublish,
        last: &mut LastPublish,
        out: &mut BytesMut,
    ) -> Written {
        let Some(terms) = self.terms() else { return Written::Nothing };
        if self.aliases.is_enabled() {
            self.write_aliased(publish, &terms, out)
        } else {
            last.write(publish, &terms, out)
        }
    }

    /// Appends a PUBLISH but for its payload, which is to follow. [`Written::Whole`] counts it.
    pub fn write_head(&mut self, publish: &OutboundPublish, out: &mut BytesMut) -> Written {
        let Some(terms) = self.terms() else { return Written::Nothing };
        let terms = Terms { payload_apart: true, ..terms };
        self.write_publish(publish, &terms, out)
    }

    fn terms(&self) -> Option<Terms> {
        Some(Terms {
            version: self.version?,
            limit_bytes: self.limit_bytes,
            problem_information: self.problem_information,
            payload_apart: false,
        })
    }

    fn write_publish(
        &mut self,
        publish: &OutboundPublish,
        terms: &Terms,
        out: &mut BytesMut,
    ) -> Written {
        if self.aliases.is_enabled() {
            self.write_aliased(publish, terms, out)
        } else {
            encode::server_publish(publish, Alias::None, terms, out)
        }
    }

    fn write_aliased(
        &mut self,
        publish: &OutboundPublish,
        terms: &Terms,
        out: &mut BytesMut,
    ) -> Written {
        let topic = &publish.message.topic;
        let alias = match self.aliases.get(topic) {
            Some(alias) => Alias::Known(alias),
            None if canary!(AliasTableShared) => {
                self.aliases.next().map_or(Alias::None, Alias::Known)
            }
            None => self.aliases.next().map_or(Alias::None, Alias::Introduced),
        };
        let written = encode::server_publish(publish, alias, terms, out);
        match (written, alias) {
            (Written::Whole(_), Alias::Introduced(alias)) => self.aliases.assign(topic, alias),
            // The alias takes three bytes, which may be more than what it saves.
            (Written::DroppedTooLarge, Alias::Introduced(_) | Alias::Known(_)) => {
                return encode::server_publish(publish, Alias::None, terms, out);
            }
            (Written::Whole(_), Alias::None | Alias::Known(_))
            | (Written::DroppedTooLarge, Alias::None)
            | (Written::Nothing, Alias::None | Alias::Introduced(_) | Alias::Known(_)) => {}
        }
        written
    }
}
