//! The shard's connections, by slot.

use std::rc::Rc;

use signalhouse_core::ConnectionId;

use super::connection::Connection;
use super::local::Local;

/// A slab whose slots count their generations, so that a late answer for a connection that is gone
/// finds nothing.
#[derive(Debug)]
pub(crate) struct Table<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
    open: usize,
}

#[derive(Debug)]
struct Slot<S> {
    generation: u32,
    connection: Option<Rc<Connection<S>>>,
    local: Option<Rc<Local>>,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Table { slots: Vec::new(), free: Vec::new(), open: 0 }
    }
}

impl<S> Table<S> {
    /// Makes a connection under a fresh name and keeps it.
    pub(crate) fn insert(
        &mut self,
        make: impl FnOnce(ConnectionId) -> Connection<S>,
    ) -> Rc<Connection<S>> {
        let id = self.next_id();
        let connection = Rc::new(make(id));
        self.slots[id.index as usize].connection = Some(Rc::clone(&connection));
        self.free.pop();
        self.open += 1;
        connection
    }

    /// Keeps a client inside the process, made under [`Table::next_id`].
    pub(crate) fn insert_local(&mut self, local: Local) {
        debug_assert_eq!(local.id, self.next_id());
        let slot = &mut self.slots[local.id.index as usize];
        slot.local = Some(Rc::new(local));
        self.free.pop();
        self.open += 1;
    }

    /// The name of whatever is inserted next.
    pub(crate) fn next_id(&mut self) -> ConnectionId {
        let index = self.free.last().copied().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None, local: None });
            let index = u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX);
            self.free.push(index);
            index
        });
        ConnectionId { index, generation: self.slots[index as usize].generation }
    }

    pub(crate) fn local(&self, id: ConnectionId) -> Option<&Rc<Local>> {
        let slot = self.slots.get(id.index as usize)?;
        slot.local.as_ref().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Rc<Connection<S>>> {
        let slot = self.slots.get(id.index as usize)?;
        slot.connection.as_ref().filter(|_| slot.generation == id.generation)
    }

    /// Frees the slot; the name is never used again.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        if self.get(id).is_none() && self.local(id).is_none() {
            return;
        }
        let slot = &mut self.slots[id.index as usize];
        slot.connection = None;
        slot.local = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        self.open -= 1;
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.open
    }
}
