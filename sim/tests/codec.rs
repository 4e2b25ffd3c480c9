//! The simulator's codec: what it refuses, and that it reads what it writes.
#![allow(clippy::unwrap_used)] // a test may panic

use signalhouse_sim::chance::{Stream, Streams};
use signalhouse_sim::codec::{
    Decoded, Decoder, Fault, Terms, decode_broker, decode_client, encode,
};
use signalhouse_sim::packet::{AckKind, Connect, Packet, Property, Publish, Value, Will};

fn terms(level: u8) -> Terms {
    Terms { level, topic_alias_maximum: 2, maximum_packet_size_bytes: 100 }
}

/// Feeds a whole conversation byte by byte, so that every split is covered.
fn read(level: u8, bytes: &[u8]) -> Result<Vec<Decoded>, Fault> {
    let mut decoder = Decoder::new(terms(level));
    let mut packets = Vec::new();
    for byte in bytes {
        decoder.feed(&[*byte]);
        packets.extend(decoder.next_packet()?);
    }
    Ok(packets)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn check_faults(level: u8, table: &[(&str, Fault)]) {
    for (bytes, fault) in table {
        assert_eq!(read(level, &hex(bytes)), Err(fault.clone()), "level {level}: {bytes}");
    }
}

#[test]
fn faults_of_framing_are_found() {
    let first = |first| Fault::FirstByte { first };
    check_faults(
        5,
        &[
            ("00", first(0x00)),
            ("10", first(0x10)),
            ("21", first(0x21)),
            ("36", Fault::Qos3),
            ("3e", Fault::Qos3),
            ("38", Fault::DupAtQos0),
            ("41", first(0x41)),
            ("60", first(0x60)),
            ("6a", first(0x6A)),
            ("82", first(0x82)),
            ("a2", first(0xA2)),
            ("c0", first(0xC0)),
            ("d1", first(0xD1)),
            ("f1", first(0xF1)),
            ("d0 80 00", Fault::VarintNotShortest),
            ("30 ff ff ff ff", Fault::VarintTooLong),
            ("30 63", Fault::TooLarge { size_bytes: 101, maximum: 100 }),
            ("d0 01 00", Fault::LeftOver { bytes: 1 }),
            ("40 01 00", Fault::Short { field: "packet identifier" }),
            ("40 02 00 00", Fault::PacketId0),
            ("32 06 00 01 61 00 00 00", Fault::PacketId0),
            ("30 02 00 05", Fault::Short { field: "topic" }),
        ],
    );
    check_faults(
        4,
        &[
            ("e0", first(0xE0)),
            ("f0", first(0xF0)),
            ("40 03 00 01 00", Fault::LeftOver { bytes: 1 }),
            ("b0 03 00 01 00", Fault::LeftOver { bytes: 1 }),
        ],
    );
}

#[test]
fn faults_of_text_and_topics_are_found() {
    let topic = |topic: &str| Fault::Topic { field: "topic", topic: topic.to_owned() };
    let text = Fault::Text { field: "topic" };
    check_faults(
        5,
        &[
            ("30 04 00 01 ff 00", text.clone()),
            ("30 06 00 03 ed a0 80 00", text.clone()),
            ("30 05 00 02 c0 80 00", text.clone()),
            ("30 04 00 01 00 00", text),
            ("30 04 00 01 2b 00", topic("+")),
            ("30 05 00 02 61 23 00", topic("a#")),
            ("30 03 00 00 00", topic("")),
        ],
    );
    check_faults(4, &[("30 02 00 00", topic(""))]);
}

#[test]
fn faults_of_properties_are_found() {
    let misplaced = |id| Fault::PropertyMisplaced { id };
    let repeated = |id| Fault::PropertyRepeated { id };
    let value = |id| Fault::PropertyValue { id };
    check_faults(
        5,
        &[
            ("30 06 00 01 61 02 7f 00", misplaced(0x7F)),
            ("30 07 00 01 61 03 21 00 01", misplaced(0x21)),
            ("20 05 00 00 02 17 01", misplaced(0x17)),
            ("e0 07 00 05 11 00 00 00 01", misplaced(0x11)),
            ("40 06 00 01 00 02 01 00", misplaced(0x01)),
            ("90 09 00 01 05 1c 00 02 61 62 00", misplaced(0x1C)),
            ("30 08 00 01 61 04 01 00 01 00", repeated(0x01)),
            ("20 09 00 00 06 21 00 01 21 00 01", repeated(0x21)),
            ("30 06 00 01 61 02 01 02", value(0x01)),
            ("30 06 00 01 61 02 0b 00", value(0x0B)),
            ("30 07 00 01 61 03 23 00 00", value(0x23)),
            ("30 09 00 01 61 05 08 00 02 61 2b", value(0x08)),
            ("20 06 00 00 03 21 00 00", value(0x21)),
            ("20 05 00 00 02 24 02", value(0x24)),
            ("20 08 00 00 05 27 00 00 00 00", value(0x27)),
            ("20 07 00 00 04 16 00 01 61", Fault::AuthenticationDataAlone),
            ("30 05 00 01 61 02 01", Fault::Short { field: "properties" }),
            ("30 07 00 01 61 01 01 01 00", Fault::Short { field: "property" }),
            ("30 07 00 01 61 03 0b 80 00", Fault::VarintNotShortest),
            ("20 02 00 00", Fault::Short { field: "property length" }),
            ("30 0a 00 01 61 06 26 00 01 ff 00 00", Fault::Text { field: "property name" }),
        ],
    );
}

#[test]
fn faults_of_codes_are_found() {
    let reason = |reason| Fault::Reason { reason };
    let flags = Fault::ReservedBits { field: "acknowledge flags" };
    check_faults(
        5,
        &[
            ("20 03 02 00 00", flags.clone()),
            ("20 03 01 80 00", Fault::SessionPresentOnRefusal),
            ("20 03 00 01 00", reason(0x01)),
            ("20 03 00 8e 00", reason(0x8E)),
            ("40 03 00 01 92", reason(0x92)),
            ("62 03 00 01 80", reason(0x80)),
            ("70 03 00 01 10", reason(0x10)),
            ("90 04 00 01 00 03", reason(0x03)),
            ("b0 04 00 01 00 01", reason(0x01)),
            ("90 03 00 01 00", Fault::Empty { of: "reason codes" }),
            ("b0 03 00 01 00", Fault::Empty { of: "reason codes" }),
            ("e0 01 04", reason(0x04)),
            ("e0 01 92", reason(0x92)),
            ("f0 02 19 00", reason(0x19)),
        ],
    );
    check_faults(
        4,
        &[
            ("20 02 00 06", reason(0x06)),
            ("90 03 00 01 83", reason(0x83)),
            ("90 02 00 01", Fault::Empty { of: "reason codes" }),
        ],
    );
    check_faults(3, &[("20 02 01 00", flags), ("90 03 00 01 80", reason(0x80))]);
}

#[test]
fn aliases_are_resolved_and_bounded() {
    let taught = hex("30 07 00 01 61 03 23 00 02");
    let used = hex("30 06 00 00 03 23 00 02");
    let packets = read(5, &[taught.clone(), used.clone()].concat()).unwrap();
    assert_eq!(packets[0].alias_topic, None);
    assert_eq!(packets[1].alias_topic.as_deref(), Some("a"));
    assert_eq!(packets[1].size_bytes, used.len());
    let changed = hex("30 07 00 01 62 03 23 00 02");
    let packets = read(5, &[taught, changed, used.clone()].concat()).unwrap();
    assert_eq!(packets[2].alias_topic.as_deref(), Some("b"));
    check_faults(
        5,
        &[
            ("30 06 00 00 03 23 00 01", Fault::AliasUnknown { alias: 1 }),
            ("30 07 00 01 61 03 23 00 03", Fault::AliasOverMaximum { alias: 3, maximum: 2 }),
        ],
    );
}

#[test]
fn a_fault_stays() {
    let mut decoder = Decoder::new(terms(5));
    decoder.feed(&hex("d0 00 00"));
    assert!(decoder.next_packet().unwrap().is_some());
    assert_eq!(decoder.next_packet(), Err(Fault::FirstByte { first: 0 }));
    decoder.feed(&hex("d0 00"));
    assert_eq!(decoder.next_packet(), Err(Fault::FirstByte { first: 0 }));
}

#[test]
fn faults_of_clients_are_found() {
    let bad = Fault::ReservedBits { field: "connect flags" };
    let options = Fault::ReservedBits { field: "subscription options" };
    let table = [
        ("10 0d 00 04 4d 51 54 54 05 01 00 00 00 00 00", bad.clone()),
        ("10 0d 00 04 4d 51 54 54 05 08 00 00 00 00 00", bad),
        ("10 0d 00 04 4d 51 54 54 03 02 00 00 00 00 00", Fault::Protocol),
        ("20 03 00 00 00", Fault::FirstByte { first: 0x20 }),
        ("80 00", Fault::FirstByte { first: 0x80 }),
        ("82 07 00 01 00 00 01 61 40", options.clone()),
        ("82 07 00 01 00 00 01 61 03", options.clone()),
        ("82 07 00 01 00 00 01 61 30", options),
        ("82 03 00 01 00", Fault::Empty { of: "filters" }),
        ("30 06 00 01 61 02 0b 01", Fault::PropertyMisplaced { id: 0x0B }),
    ];
    for (bytes, fault) in table {
        assert_eq!(decode_client(&hex(bytes), 5), Err(fault), "{bytes}");
    }
    assert_eq!(decode_client(&hex("82 07 00 01"), 5), Ok(None));
}

/// Packets drawn at random, legal for their side and level.
struct Drawn {
    chance: Stream,
    level: u8,
}

impl Drawn {
    fn text(&mut self) -> String {
        let letters = ["a", "/", "ß", "\u{10FFFF}", "$", " "];
        (0..self.chance.between(1, 6)).map(|_| *self.chance.pick(&letters)).collect()
    }

    fn id(&mut self) -> u16 {
        u16::try_from(self.chance.between(1, 0xFFFF)).unwrap()
    }

    fn flag(&mut self) -> bool {
        self.chance.one_in(2)
    }

    fn properties(&mut self, ids: &[u8]) -> Vec<Property> {
        let mut properties = Vec::new();
        if self.level < 5 {
            return properties;
        }
        for id in ids {
            if !self.flag() {
                continue;
            }
            let value = match id {
                0x01 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Value::Number(u32::from(self.flag())),
                0x13 | 0x21 | 0x22 | 0x23 => Value::Number(self.id().into()),
                0x0B => {
                    Value::Number(u32::try_from(self.chance.between(1, (1 << 28) - 1)).unwrap())
                }
                0x02 | 0x11 | 0x18 | 0x27 => {
                    Value::Number(u32::try_from(self.chance.between(1, u32::MAX.into())).unwrap())
                }
                0x09 | 0x16 => Value::Bytes(self.text().into_bytes()),
                0x26 => Value::Pair(self.text(), self.text()),
                _ => Value::Text(self.text()),
            };
            properties.push(Property { id: *id, value });
            if *id == 0x26 {
                properties.push(Property { id: *id, value: Value::Pair(self.text(), self.text()) });
            }
        }
        properties
    }

    fn reason(&mut self, reasons: &[u8]) -> u8 {
        if self.level < 5 { 0 } else { *self.chance.pick(reasons) }
    }

    fn publish(&mut self) -> Packet {
        let qos = u8::try_from(self.chance.below(3)).unwrap();
        Packet::Publish(Publish {
            dup: qos > 0 && self.flag(),
            qos,
            retain: self.flag(),
            topic: self.text(),
            id: (qos > 0).then(|| self.id()),
            properties: self.properties(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26]),
            payload: self.text().into_bytes(),
        })
    }

    fn ack(&mut self) -> Packet {
        let id = self.id();
        let properties = self.properties(&[0x1F, 0x26]);
        if self.flag() {
            let kind = *self.chance.pick(&[AckKind::PubAck, AckKind::PubRec]);
            return Packet::Ack { kind, id, reason: self.reason(&[0, 0x10, 0x97]), properties };
        }
        let kind = *self.chance.pick(&[AckKind::PubRel, AckKind::PubComp]);
        Packet::Ack { kind, id, reason: self.reason(&[0, 0x92]), properties }
    }

    fn broker_packet(&mut self) -> Packet {
        let is_5 = self.level >= 5;
        match self.chance.below(8) {
            0 => {
                let ids = [
                    0x11, 0x12, 0x13, 0x15, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27,
                    0x28, 0x29, 0x2A,
                ];
                let reason = self.reason(&[0, 0x80, 0x8A, 0x9F]);
                let session_present = self.level > 3 && reason == 0 && self.flag();
                Packet::ConnAck { session_present, reason, properties: self.properties(&ids) }
            }
            1 => self.publish(),
            2 => self.ack(),
            3 => {
                let properties = self.properties(&[0x1F, 0x26]);
                let reasons = vec![0, 1, 2, self.reason(&[0x80, 0x9E, 0xA2])];
                Packet::SubAck { id: self.id(), reasons, properties }
            }
            4 => {
                let properties = self.properties(&[0x1F, 0x26]);
                let reasons = if is_5 { vec![0x00, 0x11, 0x8F] } else { Vec::new() };
                Packet::UnsubAck { id: self.id(), reasons, properties }
            }
            5 if is_5 => {
                let reason = self.reason(&[0, 0x8B, 0x8E, 0xA2]);
                Packet::Disconnect { reason, properties: self.properties(&[0x1C, 0x1F, 0x26]) }
            }
            6 if is_5 => {
                let properties = self.properties(&[0x15, 0x1F, 0x26]);
                Packet::Auth { reason: self.reason(&[0, 0x18]), properties }
            }
            _ => Packet::PingResp,
        }
    }

    fn client_packet(&mut self) -> Packet {
        let is_5 = self.level >= 5;
        match self.chance.below(7) {
            0 => {
                let will = self.flag().then(|| Will {
                    topic: self.text(),
                    payload: self.text().into_bytes(),
                    qos: 1,
                    retain: self.flag(),
                    properties: self.properties(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26]),
                });
                let has_user = self.flag();
                let user_name = has_user.then(|| self.text());
                Packet::Connect(Connect {
                    level: self.level,
                    clean_start: self.flag(),
                    keep_alive_s: self.id(),
                    client_id: self.text(),
                    will,
                    user_name,
                    password: (has_user && self.flag()).then(|| self.text().into_bytes()),
                    properties: self.properties(&[0x11, 0x15, 0x21, 0x22, 0x26, 0x27]),
                })
            }
            1 => self.publish(),
            2 => self.ack(),
            3 => {
                let properties = self.properties(&[0x0B, 0x26]);
                let options = if is_5 { 0x2E } else { 0x02 };
                let filters = vec![(self.text(), options), (self.text(), 0)];
                Packet::Subscribe { id: self.id(), filters, properties }
            }
            4 => {
                let properties = self.properties(&[0x26]);
                Packet::Unsubscribe { id: self.id(), filters: vec![self.text()], properties }
            }
            5 => {
                let properties = self.properties(&[0x11, 0x1F, 0x26]);
                Packet::Disconnect { reason: self.reason(&[0, 0x04, 0x93]), properties }
            }
            _ => Packet::PingReq,
        }
    }
}

#[test]
fn what_is_written_reads_back() {
    for level in [3, 4, 5] {
        let chance = Streams::new(u64::from(level)).stream("round trip");
        let mut drawn = Drawn { chance, level };
        for _ in 0..3_000 {
            let packet = drawn.broker_packet();
            let bytes = encode(&packet, level);
            let whole = decode_broker(&bytes, level).unwrap();
            assert_eq!(whole, Some((packet, bytes.len())));
            let packet = drawn.client_packet();
            let bytes = encode(&packet, level);
            let whole = decode_client(&bytes, level).unwrap();
            assert_eq!(whole, Some((packet, bytes.len())));
            assert_eq!(decode_client(&bytes[..bytes.len() - 1], level), Ok(None));
        }
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut chance = Streams::new(1).stream("bytes");
    let mut decoded = 0;
    for round in 0..60_000 {
        let level = *chance.pick(&[3, 4, 5]);
        let bytes: Vec<u8> = if round % 2 == 0 {
            (0..chance.below(40)).map(|_| u8::try_from(chance.below(256)).unwrap()).collect()
        } else {
            let mut drawn = Drawn { chance: chance.clone(), level };
            let packet = if drawn.flag() { drawn.broker_packet() } else { drawn.client_packet() };
            let mut bytes = encode(&packet, level);
            chance.next_u64();
            let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
            bytes[at] = u8::try_from(chance.below(256)).unwrap();
            bytes
        };
        let mut decoder = Decoder::new(terms(level));
        decoder.feed(&bytes);
        while let Ok(Some(_)) = decoder.next_packet() {
            decoded += 1;
        }
        decoded += usize::from(matches!(decode_client(&bytes, level), Ok(Some(_))));
    }
    assert!(decoded > 1_000, "only {decoded} of the damaged packets were still packets");
}
