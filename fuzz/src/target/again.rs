//! What was decoded, encoded and decoded again is the same; so is a packet of either side made of typed
//! fields, encoded and decoded.

mod made;
mod served;

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::types::Version;
use signalhouse_core::wire::{
    ClientReader, Reader, ReaderLimits, Written, encode_client, encode_server,
};

use made::Made;
use served::Served;

/// The first byte of an input that is a [`Made`] packet.
const MADE: u8 = 0xFE;
/// The first byte of an input that is a [`Served`] packet.
const SERVED: u8 = 0xFD;

/// Reads packets off `data`, after a first byte that chooses the side and the version, or makes one of it.
///
/// # Panics
/// If a packet changes on the way.
pub fn run(data: &[u8]) {
    let Some((choice, stream)) = data.split_first() else { return };
    match *choice {
        MADE => return made_by_client(stream),
        SERVED => return made_by_server(stream),
        _ => {}
    }
    let version = [Version::V5, Version::V311, Version::V31][usize::from(choice >> 1) % 3];
    if choice & 1 == 0 { from_client(stream) } else { from_server(stream, version) }
}

fn made_by_client(data: &[u8]) {
    let Ok(made) = Made::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let (version, Some(packet)) = made.packet() else { return };
    let mut bytes = BytesMut::new();
    let Written::Whole(length) = encode_client(&packet, version, &mut bytes) else {
        panic!("it fits into a packet: {packet:?}");
    };
    assert_eq!(length, bytes.len(), "{packet:?}");
    let mut reader = Reader::new(ReaderLimits::default());
    if !matches!(packet, ClientPacket::Connect(_)) {
        let mut greeting = made::greeting(version);
        let read = reader.read(&mut greeting);
        assert!(matches!(read, Ok(Some(ClientPacket::Connect(_)))), "{read:?}");
    }
    let before = bytes.clone();
    assert_eq!(reader.read(&mut bytes), Ok(Some(packet)), "{version} {before:?}");
    assert!(bytes.is_empty());
}

fn made_by_server(data: &[u8]) {
    let Ok(served) = Served::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let (version, Some(packet)) = served.packet() else { return };
    let mut bytes = BytesMut::new();
    let Written::Whole(length) = encode_server(&packet, version, &mut bytes) else {
        panic!("it fits into a packet: {packet:?}");
    };
    assert_eq!(length, bytes.len(), "{packet:?}");
    let before = bytes.clone();
    let read = ClientReader::new(version, ReaderLimits::default()).read(&mut bytes);
    assert_eq!(read, Ok(Some(packet)), "{version} {before:?}");
    assert!(bytes.is_empty());
}

fn from_client(stream: &[u8]) {
    let mut reader = Reader::new(ReaderLimits::default());
    let mut buffer = BytesMut::from(stream);
    // The first packet is a CONNECT, which the second reader has to see too.
    let mut greeting = BytesMut::new();
    while let Ok(Some(packet)) = reader.read(&mut buffer) {
        let version = reader.version().unwrap_or(Version::V5);
        let mut bytes = BytesMut::new();
        let Written::Whole(length) = encode_client(&packet, version, &mut bytes) else {
            panic!("what can be read can be written: {packet:?}");
        };
        assert_eq!(length, bytes.len(), "{packet:?}");
        let is_connect = matches!(packet, ClientPacket::Connect(_));
        let mut again = Reader::new(ReaderLimits::default());
        if is_connect {
            greeting.clone_from(&bytes);
        } else {
            let mut greeting = greeting.clone();
            assert!(matches!(again.read(&mut greeting), Ok(Some(ClientPacket::Connect(_)))));
        }
        assert_eq!(again.read(&mut bytes), Ok(Some(packet)));
        assert!(bytes.is_empty());
    }
}

fn from_server(stream: &[u8], version: Version) {
    let mut reader = ClientReader::new(version, ReaderLimits::default());
    let mut buffer = BytesMut::from(stream);
    while let Ok(Some(packet)) = reader.read(&mut buffer) {
        let mut bytes = BytesMut::new();
        let Written::Whole(length) = encode_server(&packet, version, &mut bytes) else {
            panic!("what can be read can be written: {packet:?}");
        };
        assert_eq!(length, bytes.len(), "{packet:?}");
        let mut again = ClientReader::new(version, ReaderLimits::default());
        let read: Result<Option<ServerPacket>, _> = again.read(&mut bytes);
        assert_eq!(read, Ok(Some(packet)));
        assert!(bytes.is_empty());
    }
}
