//! The shard's connections, by slot.

use std::rc::Rc;

use signalhouse_core::ConnectionId;

use super::connection::Connection;

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
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        let connection = Rc::new(make(ConnectionId { index, generation: slot.generation }));
        slot.connection = Some(Rc::clone(&connection));
        self.open += 1;
        connection
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Rc<Connection<S>>> {
        let slot = self.slots.get(id.index as usize)?;
        slot.connection.as_ref().filter(|_| slot.generation == id.generation)
    }

    /// Frees the slot; the name is never used again.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        if self.get(id).is_none() {
            return;
        }
        let slot = &mut self.slots[id.index as usize];
        slot.connection = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        self.open -= 1;
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.open
    }
}
