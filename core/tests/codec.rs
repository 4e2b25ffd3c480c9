//! What is written is what is read, however the stream is cut, in every version and direction.
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "codec/packets.rs"]
mod packets;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use packets::*;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::wire::packet::{Auth, ClientPacket, Connect, OutboundPublish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Text, Version};
use signalhouse_core::wire::{
    ClientReader, DecodeError, LastPublish, Reader, ReaderLimits, Writer, Written, encode_client,
    encode_server, outbound_publish_len,
};

fn plain_connect(version: Version) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id: text("c"),
        will: None,
        user_name: None,
        password: None,
        session_expiry_interval_s: 0,
        receive_maximum: u16::MAX,
        maximum_packet_size_bytes: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
    }
}

/// A reader that has read a CONNECT.
fn connected(version: Version, limits: ReaderLimits) -> Reader {
    let mut buffer = BytesMut::new();
    let connect = ClientPacket::Connect(Box::new(plain_connect(version)));
    assert_eq!(encode_client(&connect, version, &mut buffer), Written::Whole(buffer.len()));
    let mut reader = Reader::new(limits);
    assert_eq!(reader.read(&mut buffer), Ok(Some(connect)));
    assert_eq!(reader.version(), Some(version));
    reader
}

fn client_bytes(packets: &[ClientPacket], version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    for packet in packets {
        let before = out.len();
        match encode_client(packet, version, &mut out) {
            Written::Whole(bytes) => assert_eq!(out.len(), before + bytes),
            Written::Nothing => assert_eq!(out.len(), before),
            Written::DroppedTooLarge => panic!("{packet:?} has no limit"),
        }
    }
    out
}

fn server_bytes(packets: &[ServerPacket], version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    for packet in packets {
        let before = out.len();
        match encode_server(packet, version, &mut out) {
            Written::Whole(bytes) => assert_eq!(out.len(), before + bytes),
            Written::Nothing => assert_eq!(out.len(), before),
            Written::DroppedTooLarge => panic!("{packet:?} has no limit"),
        }
    }
    out
}

/// Every packet of a stream that arrives in pieces, and the fault that it ends in, if any.
fn read_all<P>(
    mut stream: BytesMut,
    mut piece_bytes: impl FnMut(usize) -> usize,
    mut read: impl FnMut(&mut BytesMut) -> (Result<Option<P>, DecodeError>, usize),
) -> (Vec<P>, Option<DecodeError>) {
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    loop {
        let missing_bytes = match read(&mut buffer) {
            (Ok(Some(packet)), _) => {
                packets.push(packet);
                continue;
            }
            (Ok(None), missing_bytes) => missing_bytes,
            (Err(fault), _) => return (packets, Some(fault)),
        };
        assert!(missing_bytes > 0);
        if stream.is_empty() {
            return (packets, None);
        }
        let bytes = piece_bytes(missing_bytes).clamp(1, stream.len());
        buffer.put(stream.split_to(bytes));
    }
}

fn read_client(
    stream: &[u8],
    mut reader: Reader,
    piece_bytes: impl FnMut(usize) -> usize,
) -> (Vec<ClientPacket>, Option<DecodeError>) {
    read_all(BytesMut::from(stream), piece_bytes, |buffer| {
        (reader.read(buffer), reader.missing_bytes())
    })
}

fn read_server(
    stream: &[u8],
    mut reader: ClientReader,
    piece_bytes: impl FnMut(usize) -> usize,
) -> (Vec<ServerPacket>, Option<DecodeError>) {
    read_all(BytesMut::from(stream), piece_bytes, |buffer| {
        (reader.read(buffer), reader.missing_bytes())
    })
}

fn aliases(topic_alias_maximum: u16) -> ReaderLimits {
    ReaderLimits { topic_alias_maximum, ..ReaderLimits::default() }
}

/// Pieces of the given sizes, over and over.
fn pieces(sizes: Vec<usize>) -> impl FnMut(usize) -> usize {
    let mut sizes = sizes.into_iter().cycle();
    move |_| sizes.next().unwrap()
}

/// Overwrites, inserts or removes some bytes.
fn damage(bytes: &mut Vec<u8>, faults: &[(u8, Index, u8)]) {
    for (kind, index, byte) in faults {
        if bytes.is_empty() {
            return;
        }
        let place = index.index(bytes.len());
        match kind % 4 {
            0 => bytes.insert(place, *byte),
            1 => drop(bytes.remove(place)),
            2 => bytes[place] ^= 1 << (byte % 8),
            _ => bytes[place] = *byte,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn connect_round_trip(connect in connect()) {
        let packet = ClientPacket::Connect(Box::new(connect.clone()));
        let mut bytes = client_bytes(&[packet], connect.version);
        let mut reader = Reader::new(ReaderLimits::default());
        let read = reader.read(&mut bytes);
        let seen = ClientPacket::Connect(Box::new(connect_as_seen(connect.clone())));
        prop_assert_eq!(read, Ok(Some(seen)));
        prop_assert!(bytes.is_empty());
        prop_assert_eq!(reader.version(), Some(connect.version));
        prop_assert_eq!(reader.answer_version(), Some(connect.version));
    }

    #[test]
    fn client_packets_round_trip(
        version in version(),
        sent in vec(client_packet(), 0..8),
        sizes in vec(1..40usize, 1..8),
    ) {
        let bytes = client_bytes(&sent, version);
        let seen: Vec<_> =
            sent.into_iter().filter_map(|packet| client_packet_as_seen(packet, version)).collect();
        let reader = || connected(version, ReaderLimits::default());
        let whole = read_client(&bytes, reader(), |_| usize::MAX);
        prop_assert_eq!(&whole, &(seen, None));
        prop_assert_eq!(&read_client(&bytes, reader(), pieces(sizes)), &whole);
        prop_assert_eq!(&read_client(&bytes, reader(), |missing_bytes| missing_bytes), &whole);
    }

    #[test]
    fn server_packets_round_trip(
        version in version(),
        sent in vec(server_packet(), 0..8),
        sizes in vec(1..40usize, 1..8),
    ) {
        let bytes = server_bytes(&sent, version);
        let seen: Vec<_> =
            sent.into_iter().filter_map(|packet| server_packet_as_seen(packet, version)).collect();
        let reader = || ClientReader::new(version, ReaderLimits::default());
        let whole = read_server(&bytes, reader(), |_| usize::MAX);
        prop_assert_eq!(&whole, &(seen, None));
        prop_assert_eq!(&read_server(&bytes, reader(), pieces(sizes)), &whole);
        prop_assert_eq!(&read_server(&bytes, reader(), |missing_bytes| missing_bytes), &whole);
    }

    #[test]
    fn publish_length_is_exact(publish in outbound_publish(), version in version()) {
        let length = outbound_publish_len(&publish, version);
        let mut out = BytesMut::new();
        let written = encode_server(&ServerPacket::Publish(publish), version, &mut out);
        prop_assert_eq!(written, Written::Whole(length));
        prop_assert_eq!(out.len(), length);
    }

    #[test]
    fn a_damaged_stream_is_read_alike_in_any_pieces(
        connect in connect(),
        sent in vec(client_packet(), 0..4),
        faults in vec(any::<(u8, Index, u8)>(), 0..4),
        sizes in vec(1..40usize, 1..8),
        topic_alias_maximum in 0..3u16,
        maximum_packet_size_bytes in prop_oneof![Just(u32::MAX), 10..200u32],
    ) {
        let version = connect.version;
        let mut packets = vec![ClientPacket::Connect(Box::new(connect))];
        packets.extend(sent);
        let mut bytes = client_bytes(&packets, version).to_vec();
        damage(&mut bytes, &faults);
        let limits = ReaderLimits {
            maximum_packet_size_bytes,
            topic_alias_maximum,
            connect_maximum_bytes: 300,
        };
        let whole = read_client(&bytes, Reader::new(limits), |_| usize::MAX);
        let split = read_client(&bytes, Reader::new(limits), pieces(sizes));
        // A fault may show before its packet is complete, but not another one.
        prop_assert_eq!(&whole, &split);

        let Some(ClientPacket::Connect(connect)) = whole.0.first() else { return Ok(()) };
        let again = client_bytes(&whole.0, connect.version);
        let read_again = read_client(&again, Reader::new(ReaderLimits::default()), |_| usize::MAX);
        prop_assert_eq!(read_again, (whole.0, None));
    }

    #[test]
    fn a_damaged_answer_is_read_alike_in_any_pieces(
        version in version(),
        sent in vec(server_packet(), 1..4),
        faults in vec(any::<(u8, Index, u8)>(), 1..4),
        sizes in vec(1..40usize, 1..8),
    ) {
        let mut bytes = server_bytes(&sent, version).to_vec();
        damage(&mut bytes, &faults);
        let reader = || ClientReader::new(version, aliases(2));
        let whole = read_server(&bytes, reader(), |_| usize::MAX);
        let split = read_server(&bytes, reader(), pieces(sizes));
        prop_assert_eq!(&whole, &split);
        let again = server_bytes(&whole.0, version);
        prop_assert_eq!(read_server(&again, reader(), |_| usize::MAX), (whole.0, None));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        version in version(),
        kind in 0..16u8,
        bytes in vec(any::<u8>(), 0..200),
    ) {
        let _ = read_client(&bytes, Reader::new(ReaderLimits::default()), |_| usize::MAX);
        let _ = read_client(&bytes, connected(version, aliases(9)), |_| usize::MAX);
        // A header that fits takes the bytes to the decoders of the bodies.
        let length = u8::try_from(bytes.len().min(127)).unwrap();
        let mut framed = vec![kind << 4 | if matches!(kind, 6 | 8 | 10) { 2 } else { 0 }, length];
        framed.extend(&bytes[..usize::from(length)]);
        let _ = read_client(&framed, connected(version, aliases(9)), |_| usize::MAX);
        let _ = read_server(&framed, ClientReader::new(version, aliases(9)), |_| usize::MAX);
    }

    #[test]
    fn aliases_and_limits_lose_nothing_that_fits(
        sent in vec(outbound_publish(), 0..30),
        version in version(),
        limit_bytes in prop_oneof![Just(None), (5..200u32).prop_map(Some)],
        client_maximum in 0..6u16,
        broker_maximum in 0..6u16,
    ) {
        let connect = Connect {
            maximum_packet_size_bytes: limit_bytes,
            topic_alias_maximum: client_maximum,
            ..plain_connect(version)
        };
        let mut writer = Writer::new();
        writer.negotiate(&connect, broker_maximum);
        let limits = ReaderLimits {
            maximum_packet_size_bytes: limit_bytes.unwrap_or(u32::MAX),
            topic_alias_maximum: client_maximum.min(broker_maximum),
            ..ReaderLimits::default()
        };
        let mut reader = ClientReader::new(version, limits);
        for publish in sent {
            let plain_bytes = outbound_publish_len(&publish, version);
            let packet = ServerPacket::Publish(publish);
            let mut out = BytesMut::new();
            match writer.write(&packet, &mut out) {
                Written::Whole(bytes) => {
                    prop_assert_eq!(out.len(), bytes);
                    prop_assert!(bytes <= plain_bytes + Writer::ALIAS_BYTES);
                    let seen = server_packet_as_seen(packet, version);
                    prop_assert_eq!(reader.read(&mut out), Ok(seen));
                }
                Written::DroppedTooLarge => {
                    let limit = limit_bytes.unwrap_or(u32::MAX);
                    prop_assert!(plain_bytes > usize::try_from(limit).unwrap());
                    prop_assert!(out.is_empty());
                }
                Written::Nothing => prop_assert!(false, "PUBLISH exists in every version"),
            }
        }
    }

    #[test]
    fn writing_alike_or_without_payload_makes_the_same_bytes(
        sent in vec((outbound_publish(), 1..4usize), 1..10),
        receivers in vec((version(), prop_oneof![Just(None), (5..200u32).prop_map(Some)], 0..3u16), 1..5),
    ) {
        let mut writers = Vec::new();
        for (version, maximum_packet_size_bytes, alias_maximum) in receivers {
            let connect = Connect { maximum_packet_size_bytes, ..plain_connect(version) };
            let connect = Connect { topic_alias_maximum: alias_maximum, ..connect };
            let writer = || {
                let mut writer = Writer::new();
                writer.negotiate(&connect, alias_maximum);
                writer
            };
            writers.push((writer(), writer(), writer()));
        }
        let mut last = LastPublish::new();
        for (number, (publish, times)) in sent.into_iter().enumerate() {
            let mut message = Message::clone(&publish.message);
            // Numbers tell messages apart, and 0 is nobody's.
            let is_numbered = number % 2 == 0;
            message.id = if is_numbered { MessageId(number as u64) } else { MessageId(0) };
            let publish = OutboundPublish { message: message.into(), ..publish };
            for _ in 0..times {
                for (plain, alike, apart) in &mut writers {
                    let packet = ServerPacket::Publish(publish.clone());
                    let (mut one, mut two, mut three) = Default::default();
                    let written = plain.write(&packet, &mut one);
                    prop_assert_eq!(alike.write_alike(&publish, &mut last, &mut two), written);
                    prop_assert_eq!(apart.write_head(&publish, &mut three), written);
                    if let Written::Whole(_) = written {
                        three.extend_from_slice(&publish.message.payload);
                    }
                    prop_assert_eq!(&one, &two);
                    prop_assert_eq!(&one, &three);
                }
            }
        }
    }

    #[test]
    fn what_people_read_gives_way_to_limits(
        packet in server_packet(),
        limit_bytes in 1..300u32,
        request_problem_information in any::<bool>(),
    ) {
        let connect = Connect {
            maximum_packet_size_bytes: Some(limit_bytes),
            request_problem_information,
            ..plain_connect(Version::V5)
        };
        let mut writer = Writer::new();
        writer.negotiate(&connect, 0);
        let mut out = BytesMut::new();
        let written = writer.write(&packet, &mut out);
        let limit_bytes = usize::try_from(limit_bytes).unwrap();
        let exempt = matches!(
            packet,
            ServerPacket::ConnAck(_) | ServerPacket::Disconnect(_) | ServerPacket::Publish(_)
        );
        // [MQTT-3.1.2-29]
        let mut candidates = vec![without_details(packet.clone(), true)];
        if request_problem_information || exempt {
            candidates.insert(0, without_details(packet.clone(), false));
            candidates.insert(0, packet);
        }
        let expected = candidates.into_iter().find(|packet| {
            let mut bytes = BytesMut::new();
            encode_server(packet, Version::V5, &mut bytes) == Written::Whole(bytes.len())
                && bytes.len() <= limit_bytes
        });
        prop_assert_eq!(written == Written::DroppedTooLarge, expected.is_none());
        let mut reader = ClientReader::new(Version::V5, ReaderLimits::default());
        prop_assert_eq!(reader.read(&mut out), Ok(expected));
    }
}

/// The packet without its reason string, and without its user properties if `all`. A PUBLISH keeps
/// everything.
fn without_details(mut packet: ServerPacket, all: bool) -> ServerPacket {
    use signalhouse_core::wire::packet::ReasonDetails;
    let trim = |details: &mut Option<Box<ReasonDetails>>| {
        if let Some(some) = details {
            some.reason_string = None;
            if all {
                some.user_properties.clear();
            }
            if some.user_properties.is_empty() {
                *details = None;
            }
        }
    };
    match &mut packet {
        ServerPacket::ConnAck(packet) => {
            packet.reason_string = None;
            if all {
                packet.user_properties.clear();
            }
        }
        ServerPacket::PubAck(ack) | ServerPacket::PubRec(ack) | ServerPacket::PubComp(ack) => {
            trim(&mut ack.details);
        }
        ServerPacket::PubRel(ack) => trim(&mut ack.details),
        ServerPacket::SubAck(packet) => trim(&mut packet.details),
        ServerPacket::UnsubAck(packet) => trim(&mut packet.details),
        ServerPacket::Disconnect(packet) => {
            packet.reason_string = None;
            if all {
                packet.user_properties.clear();
            }
        }
        ServerPacket::Auth(packet) => {
            packet.reason_string = None;
            if all {
                packet.user_properties.clear();
            }
        }
        ServerPacket::Publish(_) | ServerPacket::PingResp => {}
    }
    packet
}

/// A PUBLISH at QoS 0 with no properties.
fn publish(topic: &str, payload: &'static [u8]) -> ServerPacket {
    use bytes::Bytes;
    use signalhouse_core::message::{Message, MessageId};
    use signalhouse_core::routing::topic::Topic;
    use signalhouse_core::wire::property::SubscriptionIds;
    use signalhouse_core::wire::types::{Delivery, QoS};
    ServerPacket::Publish(OutboundPublish {
        message: std::sync::Arc::new(Message {
            id: MessageId::default(),
            topic: Topic::try_from(topic).unwrap(),
            payload: Bytes::from_static(payload),
            qos: QoS::AtMostOnce,
            expires_at: None,
            properties: None,
        }),
        dup: false,
        retain: false,
        delivery: Delivery::AtMostOnce,
        message_expiry_interval_s: None,
        subscription_ids: SubscriptionIds::None,
    })
}

#[test]
fn aliases_are_assigned_first_come_first_served() {
    let mut writer = Writer::new();
    let connect = Connect { topic_alias_maximum: 9, ..plain_connect(Version::V5) };
    writer.negotiate(&connect, 1);
    let mut write = |topic| {
        let mut out = BytesMut::new();
        assert_eq!(writer.write(&publish(topic, b"x"), &mut out), Written::Whole(out.len()));
        out.to_vec()
    };
    assert_eq!(write("long"), b"\x30\x0b\x00\x04long\x03\x23\x00\x01x");
    assert_eq!(write("long"), b"\x30\x07\x00\x00\x03\x23\x00\x01x");
    assert_eq!(write("other"), b"\x30\x09\x00\x05other\x00x");
    assert_eq!(write("long"), b"\x30\x07\x00\x00\x03\x23\x00\x01x");
}

#[test]
fn an_alias_never_makes_a_packet_too_large() {
    let mut writer = Writer::new();
    let connect = Connect {
        topic_alias_maximum: 9,
        maximum_packet_size_bytes: Some(8),
        ..plain_connect(Version::V5)
    };
    writer.negotiate(&connect, 9);
    let mut out = BytesMut::new();
    assert_eq!(writer.write(&publish("a", b"xy"), &mut out), Written::Whole(8));
    assert_eq!(&out[..], b"\x30\x06\x00\x01a\x00xy");
    assert_eq!(writer.write(&publish("a", b"xyz"), &mut out), Written::DroppedTooLarge);
    assert_eq!(out.len(), 8);
}

#[test]
fn a_writer_is_silent_before_it_knows_the_version() {
    let mut writer = Writer::new();
    let mut out = BytesMut::new();
    assert_eq!(writer.write(&ServerPacket::PingResp, &mut out), Written::Nothing);
    writer.answer_in(Version::V311);
    assert_eq!(writer.write(&ServerPacket::PingResp, &mut out), Written::Whole(2));
}

#[test]
fn what_no_field_can_carry_is_not_written() {
    let auth = |bytes: usize| {
        ServerPacket::Auth(Box::new(Auth {
            reason: ReasonCode::ContinueAuthentication,
            method: Text::try_from("m").ok(),
            data: Some(Bytes::from(vec![7; bytes])),
            reason_string: None,
            user_properties: Vec::new(),
        }))
    };
    let mut out = BytesMut::new();
    let written = encode_server(&auth(65_536), Version::V5, &mut out);
    assert_eq!((written, out.len()), (Written::DroppedTooLarge, 0));
    let written = encode_server(&auth(65_535), Version::V5, &mut out);
    assert_eq!(written, Written::Whole(out.len()));
}
