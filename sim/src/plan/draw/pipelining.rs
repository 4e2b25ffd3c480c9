//! Clients that do not wait for CONNACK, from a stream of their own.

use super::{Draft, Percent as _};
use crate::plan::{Do, NetworkFault};

impl Draft {
    /// In a third of the plans some clients send right behind CONNECT, where nothing that they
    /// would only be told in CONNACK stands in their way.
    pub(super) fn pipeline(&mut self) {
        let mut chance = self.stream("pipelining");
        // A client of 3.1 is not told whether it has a session, and never knows what it may send.
        let may = |level: u8| level >= 4;
        if self.features.limits || !chance.percent(35) {
            return;
        }
        if chance.percent(50)
            && self.plan.settings.iter().all(|(name, _)| name != "ask_credentials")
        {
            self.plan.settings.push(("ask_credentials".to_owned(), 1));
        }
        for client in &mut self.plan.clients {
            client.pipelines = may(client.level) && chance.percent(50);
        }
        std::mem::swap(&mut self.chance, &mut chance);
        for place in 0..self.plan.steps.len() {
            let step = &self.plan.steps[place];
            let (at_ms, connects) = (step.at_ms, matches!(step.what, Do::Connect { .. }));
            let Some(client) = step.what.client().filter(|_| connects) else { continue };
            if self.plan.clients[client].pipelines && self.chance.percent(60) {
                for _ in 0..self.chance.between(1, 4) {
                    self.ask_ahead(at_ms, client);
                }
                if self.features.has_faults() && self.chance.percent(15) {
                    let at_ms = at_ms + self.chance.below(4);
                    self.cut_off(at_ms, client);
                }
            }
        }
        std::mem::swap(&mut self.chance, &mut chance);
    }

    /// The connection dies with its CONNECT under way.
    fn cut_off(&mut self, at_ms: u64, client: usize) {
        let (lost, found) = (self.features.black_holes, self.features.resets);
        let mut faults = Vec::new();
        if lost {
            faults.extend([NetworkFault::BlackHoleToBroker, NetworkFault::BlackHoleToClient]);
        }
        if found {
            faults.push(NetworkFault::Reset);
        }
        if faults.is_empty() {
            return self.push(at_ms, Do::Vanish { client });
        }
        let fault = *self.chance.pick(&faults);
        self.push(at_ms, Do::Network { client, fault });
    }

    /// A step at the moment of another, which comes behind it.
    fn ask_ahead(&mut self, at_ms: u64, client: usize) {
        match self.chance.below(100) {
            0..=54 => self.publish(at_ms, client),
            55..=79 => self.subscribe(at_ms, client),
            80..=89 => self.unsubscribe(at_ms, client),
            90..=96 => self.push(at_ms, Do::Ping { client }),
            _ => {
                let session_expiry_interval_s = None;
                self.push(at_ms, Do::Disconnect { client, reason: 0, session_expiry_interval_s });
            }
        }
    }
}
