//! The operator's door to the running broker: the one that requests over HTTP go through.

use std::rc::Rc;

use signalhouse::seams::Spawn as _;
use signalhouse::shard::Gateway;

use super::backup;
use super::broker::SimSpawn;
use super::shared::Shared;
use crate::core_layer::access;
use crate::history::What;

/// Gives orders to one process of the broker.
pub(super) struct Operator {
    pub(super) shared: Rc<Shared>,
    pub(super) gateway: Gateway,
}

impl Operator {
    /// Gives all that the plan ordered meanwhile.
    pub(super) fn give_orders(&self) {
        let orders = std::mem::take(&mut *self.shared.orders.borrow_mut());
        // An order that comes while the process stops is not taken.
        for order in orders.into_iter().filter(|_| !self.shared.is_stopping.get()) {
            let Some((command, beside)) = access::command(&order) else {
                SimSpawn.spawn(backup::back_up(Rc::clone(&self.shared)));
                continue;
            };
            // The driver takes it in before any client has its turn.
            self.shared.event(What::Beside(beside));
            let gateway = self.gateway.clone();
            SimSpawn.spawn(async move {
                // A process that has ended takes no orders.
                let _ended = gateway.command(command).await;
            });
        }
    }
}
