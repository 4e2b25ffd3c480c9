//! What many connections are sent alike: encoded once, and written to each from the same place.
//!
//! Messages for the same connections gather here until something else is to be said to anybody, or the round ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use signalhouse_core::ConnectionId;
use signalhouse_core::wire::packet::OutboundPublish;
use signalhouse_core::wire::types::Version;
use signalhouse_core::wire::{Written, encode_publish};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::outgoing::{Desk, Outgoing};
use super::table::Table;

#[derive(Debug)]
pub(crate) struct Crowd<S> {
    /// Who belongs to it.
    of: Option<Arc<[ConnectionId]>>,
    /// Those of them that take the very same bytes.
    alike: Vec<Rc<Connection<S>>>,
    /// The version that these speak.
    version: Option<Version>,
    /// The others.
    others: Vec<ConnectionId>,
    /// What the former are still to be sent.
    bytes: BytesMut,
    /// The room that it takes in each one's buffer.
    room_bytes: usize,
}

impl<S> Default for Crowd<S> {
    fn default() -> Self {
        Crowd {
            of: None,
            alike: Vec::new(),
            version: None,
            others: Vec::new(),
            bytes: BytesMut::new(),
            room_bytes: 0,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Crowd<S> {
    /// Whether these connections are the ones that it has.
    pub(crate) fn is_of(&self, connections: &Arc<[ConnectionId]>) -> bool {
        self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, connections))
    }

    /// Gathers for these connections from here on. Nothing waits.
    pub(crate) fn begin(&mut self, connections: &Arc<[ConnectionId]>, table: &Table<S>) {
        self.clear();
        for id in connections.iter() {
            let connection = table.get(*id);
            let version = connection.and_then(|it| it.outgoing.borrow().plain_version());
            match (connection, version) {
                (Some(connection), Some(version))
                    if *self.version.get_or_insert(version) == version =>
                {
                    self.alike.push(Rc::clone(connection));
                }
                _ => self.others.push(*id),
            }
        }
        self.of = Some(Arc::clone(connections));
    }

    /// Lets go of its connections. Nothing waits.
    pub(crate) fn clear(&mut self) {
        self.of = None;
        self.alike.clear();
        self.version = None;
        self.others.clear();
    }

    /// Those to whom every packet has to be written by itself.
    pub(crate) fn others(&self) -> &[ConnectionId] {
        &self.others
    }

    /// Takes a packet for the connections that are alike. Says whether so much waits that it is to be written.
    pub(crate) fn push(&mut self, publish: &OutboundPublish) -> bool {
        if let Some(version) = self.version
            && let Written::Whole(bytes) = encode_publish(publish, version, &mut self.bytes)
        {
            self.room_bytes += Outgoing::room_taken(publish, bytes);
        }
        self.bytes.len() >= Outgoing::EARLY_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes what waits to each connection, and names those for which something is left to be done.
    pub(crate) fn write_out(
        &mut self,
        desk: &RefCell<Desk>,
        mut is_left: impl FnMut(&Rc<Connection<S>>),
    ) {
        for connection in &self.alike {
            if connection.write_shared(&self.bytes, self.room_bytes, desk) {
                is_left(connection);
            }
        }
        self.bytes.clear();
        self.room_bytes = 0;
    }
}
