//! The task of one listener.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use signalhouse_core::wire::Reader;
use signalhouse_core::wire::types::Text;

use super::connection::Connection;
use super::inbox::Arrival;
use super::outgoing::Outgoing;
use super::{Shared, task};
use crate::seams::{Caller, Clock, Listener, Spawn};
use crate::transport::tls::Shown;
use crate::transport::{Door, KeptOut, Stranger, Transport};

/// How long accepting pauses after a failure that is not the connection's own, so that a process
/// without free file descriptors does not spin.
const RETRY_MS: u64 = 100;

/// Accepts connections until the shard stops listening.
pub(crate) async fn run<L, C, P>(
    shared: Rc<Shared<L::Stream>>,
    mut listener: L,
    door: Door,
    clock: C,
    spawn: P,
) where
    L: Listener,
    L::Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    C: Clock,
    P: Spawn,
{
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.deaf.wait() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match door.strangers().enter(peer.ip()) {
                Err(too_many) => {
                    shared.keep_out(peer, KeptOut::Strangers(too_many), clock.now());
                }
                Ok(stranger) if door.is_plain() => {
                    let visitor = Visitor { peer, stranger, certificate: None };
                    open(&shared, Transport::Plain(stream), visitor, &clock, &spawn);
                }
                Ok(stranger) => {
                    let visitor = Visitor { peer, stranger, certificate: None };
                    let (shared, door) = (Rc::clone(&shared), door.clone());
                    let (clock, spawner) = (clock.clone(), spawn.clone());
                    spawn.spawn(admit(shared, door, stream, visitor, clock, spawner));
                }
            },
            Err(error) => {
                shared.accept_failed(&error, clock.now());
                if !is_of_the_connection(&error) {
                    tokio::select! {
                        biased;
                        () = shared.deaf.wait() => return,
                        () = clock.sleep_until(clock.now().plus_ms(RETRY_MS)) => {}
                    }
                }
            }
        }
    }
}

/// Whether the failure says nothing about the next connection. Each takes one from the queue, so
/// going on at once cannot spin.
fn is_of_the_connection(error: &io::Error) -> bool {
    [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
    ]
    .contains(&error.kind())
}

/// Who is at the other end of a connection, as far as it is known before MQTT.
struct Visitor {
    peer: SocketAddr,
    stranger: Stranger,
    certificate: Option<Arc<Shown>>,
}

/// Does the door's handshakes within their time.
async fn admit<S, C, P>(
    shared: Rc<Shared<S>>,
    door: Door,
    stream: S,
    visitor: Visitor,
    clock: C,
    spawn: P,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    C: Clock,
    P: Spawn,
{
    let late = clock.now().plus_ms(door.handshake_timeout_ms());
    let peer = visitor.peer;
    let admitted = tokio::select! {
        biased;
        () = shared.deaf.wait() => return,
        admitted = door.admit(stream) => admitted,
        () = clock.sleep_until(late) => {
            shared.keep_out(peer, KeptOut::HandshakeTimeout(door.kind()), clock.now());
            return;
        }
    };
    match admitted {
        Ok((stream, certificate)) => {
            open(&shared, stream, Visitor { certificate, ..visitor }, &clock, &spawn);
        }
        Err(error) => shared.keep_out(peer, error.into(), clock.now()),
    }
}

/// Makes the stream a connection of the shard.
fn open<S, C, P>(
    shared: &Rc<Shared<S>>,
    stream: Transport<S>,
    visitor: Visitor,
    clock: &C,
    spawn: &P,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    C: Clock,
    P: Spawn,
{
    if shared.table.borrow().len() >= shared.connections_maximum {
        shared.keep_out(visitor.peer, KeptOut::Connections, clock.now());
        return;
    }
    let peer = Text::try_from(visitor.peer.to_string()).unwrap_or_default();
    let outgoing = Outgoing::new(shared.outgoing_buffer_bytes);
    let connection = shared.table.borrow_mut().insert(|id| {
        let address = visitor.peer.ip();
        let caller = Caller { connection: id, address, certificate: visitor.certificate };
        Connection::new(caller, peer, Some(visitor.stranger), stream, outgoing)
    });
    shared.inbox.push(connection.id, Arrival::Opened);
    let reader = Reader::new(shared.reader_limits);
    spawn.spawn(task::run(Rc::clone(shared), connection, clock.clone(), reader));
}
