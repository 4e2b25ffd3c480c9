//! The task of one listener.

use std::io;
use std::rc::Rc;

use signalhouse_core::wire::Reader;
use signalhouse_core::wire::types::Text;

use super::connection::Connection;
use super::inbox::Arrival;
use super::outgoing::Outgoing;
use super::{Shared, events, task};
use crate::seams::{Clock, Listener, Spawn};

/// How long accepting pauses after a failure that is not the connection's own, so that a process
/// without free file descriptors does not spin.
const RETRY_MS: u64 = 100;

/// Accepts connections until the shard stops listening.
pub(crate) async fn run<L, C, P>(shared: Rc<Shared<L::Stream>>, mut listener: L, clock: C, spawn: P)
where
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
            Ok((stream, peer)) => open(&shared, stream, &peer.to_string(), &clock, &spawn),
            Err(error) => {
                events::accept_failed(&error);
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

/// Makes the stream a connection of the shard.
pub(crate) fn open<S, C, P>(shared: &Rc<Shared<S>>, stream: S, peer: &str, clock: &C, spawn: &P)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    C: Clock,
    P: Spawn,
{
    if shared.table.borrow().len() >= shared.connections_maximum {
        shared.turn_away(peer, clock.now());
        return;
    }
    let peer = Text::try_from(peer).unwrap_or_default();
    let connection = shared.table.borrow_mut().insert(|id| {
        Connection::new(id, peer, stream, Outgoing::new(shared.outgoing_buffer_bytes))
    });
    shared.inbox.push(connection.id, Arrival::Opened);
    let reader = Reader::new(shared.reader_limits);
    spawn.spawn(task::run(Rc::clone(shared), connection, clock.clone(), reader));
}
