//! The few packets that a load needs, as bytes.

use bytes::BytesMut;
use signalhouse_core::routing::topic::TopicFilter;
use signalhouse_core::wire::packet::{
    ClientPacket, Connect, ServerPacket, Subscribe, SubscriptionOptions,
};
use signalhouse_core::wire::types::{InboundPacketId, PacketId, QoS, Text, Version};
use signalhouse_core::wire::{ClientReader, ReaderLimits, encode_client};

use super::BenchError;
use super::scenario::Protocol;

/// Packet types, as the upper half of a packet's first byte.
pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const PUBCOMP: u8 = 7;
pub(super) const SUBACK: u8 = 9;
pub(super) const DISCONNECT: u8 = 14;

/// Bytes of a payload that identify a message: when it was due, who published it, its number.
pub(super) const STAMP_BYTES: usize = 16;

/// What a client's session is to be.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) client_id: String,
    pub(super) clean_start: bool,
    pub(super) expiry_interval_s: u32,
    /// Filters to subscribe to.
    pub(super) filters: Vec<String>,
    pub(super) maximum_qos: QoS,
}

/// A packet in a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) first_byte: u8,
    pub(super) body: &'a [u8],
}

impl Frame<'_> {
    pub(super) fn packet_type(&self) -> u8 {
        self.first_byte >> 4
    }

    /// The number in the first two bytes of an acknowledgement's body.
    pub(super) fn packet_id(&self) -> Option<u16> {
        Some(u16::from_be_bytes([*self.body.first()?, *self.body.get(1)?]))
    }
}

/// The packet at the front of `buffer` and its length; `None` when not all of it is there.
pub(super) fn scan(buffer: &[u8]) -> Result<Option<(Frame<'_>, usize)>, BenchError> {
    let Some(first_byte) = buffer.first().copied() else { return Ok(None) };
    let Some((length, digits)) = variable_int(&buffer[1..])? else { return Ok(None) };
    let start = 1 + digits;
    let end = start + length;
    Ok(buffer.get(start..end).map(|body| (Frame { first_byte, body }, end)))
}

/// A Variable Byte Integer and how many bytes it takes.
fn variable_int(buffer: &[u8]) -> Result<Option<(usize, usize)>, BenchError> {
    let mut value = 0;
    for (place, byte) in buffer.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((value, place + 1)));
        }
    }
    if buffer.len() < 4 { Ok(None) } else { Err(garbled()) }
}

/// How many publications at QoS 1 and 2 a CONNACK lets a client have unacknowledged.
pub(super) fn receive_maximum(frame: Frame<'_>, protocol: Protocol) -> u16 {
    if protocol != Protocol::V5 {
        return u16::MAX;
    }
    let mut bytes = vec![frame.first_byte];
    push_variable_int(&mut bytes, frame.body.len());
    bytes.extend_from_slice(frame.body);
    let mut reader = ClientReader::new(Version::V5, ReaderLimits::default());
    match reader.read(&mut BytesMut::from(&bytes[..])) {
        Ok(Some(ServerPacket::ConnAck(connack))) => connack.receive_maximum.unwrap_or(u16::MAX),
        // Whatever else it is, it is refused elsewhere.
        Ok(_) | Err(_) => u16::MAX,
    }
}

/// A message as it arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) qos: u8,
    pub(super) packet_id: u16,
    pub(super) due_ns: u64,
    pub(super) publisher: u32,
    pub(super) number: u32,
}

/// Reads the body of a PUBLISH.
pub(super) fn arrived(frame: Frame<'_>, protocol: Protocol) -> Result<Arrived, BenchError> {
    read_publish(frame, protocol).ok_or_else(garbled)
}

fn read_publish(frame: Frame<'_>, protocol: Protocol) -> Option<Arrived> {
    let body = frame.body;
    let qos = (frame.first_byte >> 1) & 3;
    let topic_bytes = usize::from(frame.packet_id()?);
    let mut at = 2 + topic_bytes;
    let packet_id = if qos > 0 {
        at += 2;
        u16::from_be_bytes([*body.get(at - 2)?, *body.get(at - 1)?])
    } else {
        0
    };
    if protocol == Protocol::V5 {
        let (properties, digits) = variable_int(body.get(at..)?).ok()??;
        at += digits + properties;
    }
    let stamp = body.get(at..at + STAMP_BYTES)?;
    let (due, rest) = stamp.split_first_chunk::<8>()?;
    let (publisher, rest) = rest.split_first_chunk::<4>()?;
    let (number, _) = rest.split_first_chunk::<4>()?;
    Some(Arrived {
        qos,
        packet_id,
        due_ns: u64::from_be_bytes(*due),
        publisher: u32::from_be_bytes(*publisher),
        number: u32::from_be_bytes(*number),
    })
}

/// One publisher's PUBLISH, of which only identifier and stamp change.
#[derive(Clone, Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    stamp_at: usize,
}

impl Template {
    pub(super) fn new(protocol: Protocol, topic: &str, qos: QoS, payload_bytes: usize) -> Self {
        let payload_bytes = payload_bytes.max(STAMP_BYTES);
        let mut body = Vec::new();
        let topic_bytes = u16::try_from(topic.len()).unwrap_or(u16::MAX);
        body.extend_from_slice(&topic_bytes.to_be_bytes());
        body.extend_from_slice(topic.as_bytes());
        let packet_id_at = (qos != QoS::AtMostOnce).then_some(body.len());
        if packet_id_at.is_some() {
            body.extend_from_slice(&[0, 0]);
        }
        if protocol == Protocol::V5 {
            body.push(0);
        }
        let stamp_at = body.len();
        body.resize(stamp_at + payload_bytes, b'.');
        let mut bytes = vec![PUBLISH << 4 | (qos as u8) << 1];
        push_variable_int(&mut bytes, body.len());
        let header = bytes.len();
        bytes.extend_from_slice(&body);
        Template {
            bytes,
            packet_id_at: packet_id_at.map(|at| at + header),
            stamp_at: stamp_at + header,
        }
    }

    pub(super) fn write(
        &self,
        packet_id: u16,
        due_ns: u64,
        publisher: u32,
        number: u32,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(at) = self.packet_id_at {
            out[start + at..start + at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        let stamp = &mut out[start + self.stamp_at..start + self.stamp_at + STAMP_BYTES];
        stamp[..8].copy_from_slice(&due_ns.to_be_bytes());
        stamp[8..12].copy_from_slice(&publisher.to_be_bytes());
        stamp[12..].copy_from_slice(&number.to_be_bytes());
    }
}

fn push_variable_int(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let digit = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(digit);
            return;
        }
        out.push(digit | 0x80);
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(super) fn write_ack(packet_type: u8, packet_id: u16, out: &mut Vec<u8>) {
    let flags = if packet_type == PUBREL { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[packet_type << 4 | flags, 2, high, low]);
}

pub(super) fn write_disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[DISCONNECT << 4, 0]);
}

pub(super) fn write_connect(
    session: &Session,
    protocol: Protocol,
    out: &mut Vec<u8>,
) -> Result<(), BenchError> {
    let connect = Connect {
        version: protocol.version(),
        clean_start: session.clean_start,
        keep_alive_s: 0,
        client_id: Text::try_from(session.client_id.as_str()).map_err(unsuitable)?,
        will: None,
        user_name: None,
        password: None,
        session_expiry_interval_s: session.expiry_interval_s,
        receive_maximum: u16::MAX,
        maximum_packet_size_bytes: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
    };
    write_packet(&ClientPacket::Connect(Box::new(connect)), protocol.version(), out);
    Ok(())
}

pub(super) fn write_subscribe(
    filters: &[String],
    maximum_qos: QoS,
    protocol: Protocol,
    out: &mut Vec<u8>,
) -> Result<(), BenchError> {
    let options = SubscriptionOptions { maximum_qos, ..Default::default() };
    let parse = |filter: &String| TopicFilter::try_from(filter.as_str()).map_err(unsuitable);
    let filters: Result<Vec<TopicFilter>, BenchError> = filters.iter().map(parse).collect();
    let subscribe = Subscribe {
        packet_id: InboundPacketId(PacketId::MIN),
        subscription_id: None,
        subscriptions: filters?.into_iter().map(|filter| (filter, options)).collect(),
        user_properties: Vec::new(),
    };
    write_packet(&ClientPacket::Subscribe(Box::new(subscribe)), protocol.version(), out);
    Ok(())
}

fn write_packet(packet: &ClientPacket, version: Version, out: &mut Vec<u8>) {
    let mut bytes = BytesMut::new();
    let _ = encode_client(packet, version, &mut bytes);
    out.extend_from_slice(&bytes);
}

fn unsuitable(error: impl std::fmt::Display) -> BenchError {
    BenchError::Unsuitable(error.to_string())
}

pub(super) fn garbled() -> BenchError {
    BenchError::Broker("sent something that is not MQTT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_written_is_read_as_it_was() {
        for protocol in [Protocol::V5, Protocol::V311] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let template = Template::new(protocol, "a/b", qos, 200);
                let mut bytes = Vec::new();
                template.write(77, 1234, 5, 6, &mut bytes);
                let (frame, length) = scan(&bytes).expect("a packet").expect("a whole one");
                assert_eq!((frame.packet_type(), length), (PUBLISH, bytes.len()));
                let arrived = arrived(frame, protocol).expect("a stamp");
                let packet_id = if qos == QoS::AtMostOnce { 0 } else { 77 };
                assert_eq!((arrived.qos, arrived.packet_id), (qos as u8, packet_id));
                assert_eq!((arrived.due_ns, arrived.publisher, arrived.number), (1234, 5, 6));
            }
        }
    }

    #[test]
    fn a_brokers_receive_maximum_is_read() {
        // Session absent, success, and 6 bytes of properties: topic alias maximum, receive maximum.
        let body = [0, 0, 6, 0x22, 0, 9, 0x21, 0, 20];
        let frame = Frame { first_byte: CONNACK << 4, body: &body };
        assert_eq!(receive_maximum(frame, Protocol::V5), 20);
        let plain = Frame { first_byte: CONNACK << 4, body: &[0, 0, 0] };
        assert_eq!(receive_maximum(plain, Protocol::V5), u16::MAX);
        assert_eq!(receive_maximum(frame, Protocol::V311), u16::MAX);
    }

    #[test]
    fn a_packet_is_taken_when_all_of_it_is_there() {
        let template = Template::new(Protocol::V5, "topic", QoS::AtLeastOnce, 300);
        let mut bytes = Vec::new();
        template.write(1, 2, 3, 4, &mut bytes);
        for length in 0..bytes.len() {
            assert!(scan(&bytes[..length]).expect("no fault").is_none(), "{length} bytes");
        }
        assert!(scan(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
    }
}
