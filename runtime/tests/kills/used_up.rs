//! What is left on a full disk is used up as well, by wills: sessions that are resumed may bring one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::packet::{Connect, Will};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::QoS;

use crate::peer::{Gone, Peer, lasting};

/// With a will each, they take more than is ever left.
const SESSIONS: usize = 400;
const WILL_BYTES: usize = 60_000;
const PATIENCE: Duration = Duration::from_secs(20);

fn name(number: usize) -> String {
    format!("heir-{number}")
}

/// Makes the sessions while there is room.
pub(crate) fn make_sessions(address: SocketAddr) -> Result<(), String> {
    for number in 0..SESSIONS {
        Peer::connect(address, &name(number)).map_err(|Gone| "a session is not made")?;
    }
    Ok(())
}

/// Resumes sessions with wills until one is refused, to which it must come. Gives those that were let in, and
/// the name of the one that was not.
pub(crate) fn use_up(address: SocketAddr) -> Result<(Vec<Peer>, String), String> {
    let mut peers = Vec::new();
    for number in 0..SESSIONS {
        let will = Will {
            topic: Topic::try_from("will").expect("a topic"),
            payload: Bytes::from(vec![b'w'; WILL_BYTES]),
            qos: QoS::AtLeastOnce,
            retain: false,
            delay_interval_s: 3_600,
            message_expiry_interval_s: None,
            properties: None,
        };
        let connect = Connect { will: Some(Box::new(will)), ..lasting(&name(number)) };
        let since = Instant::now();
        match Peer::try_with(address, connect) {
            Ok(Ok((peer, true))) => peers.push(peer),
            Ok(Ok((_, false))) => return Err(format!("{} is lost", name(number))),
            Ok(Err(ReasonCode::QuotaExceeded)) => {
                let waited_ms = since.elapsed().as_millis();
                println!(
                    "  nothing is left after {} wills; the next is refused with 0x97 in {waited_ms} ms",
                    peers.len()
                );
                return Ok((peers, name(number)));
            }
            Ok(Err(other)) => return Err(format!("{} is refused with {other:?}", name(number))),
            Err(Gone) => return Err(format!("{} gets no answer", name(number))),
        }
    }
    Err("there is room without end".to_owned())
}

/// With room again, who was refused is let in.
pub(crate) fn let_in(
    address: SocketAddr,
    (peers, refused): (Vec<Peer>, String),
) -> Result<(), String> {
    let since = Instant::now();
    loop {
        match Peer::try_connect(address, &refused) {
            Ok(Ok((_, true))) => break,
            Ok(Ok((_, false))) => return Err(format!("{refused} is lost")),
            _ if since.elapsed() > PATIENCE => return Err(format!("{refused} stays refused")),
            Ok(Err(_)) | Err(Gone) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    drop(peers);
    Ok(())
}
