//! What goes wrong, and when it is put right again.

use super::{Draft, Percent as _};
use crate::plan::{BrokerFault, ClientIndex, Do, NetworkFault};

/// The families of faults a step can come from.
#[derive(Clone, Copy)]
enum Family {
    Hold,
    BlackHole,
    Reset,
    Vanish,
    Kill,
    PowerCut,
    Stop,
    DiskStall,
    Takeover,
    SlowReader,
    SlowAcker,
    Misbehave,
}

impl Draft {
    /// A fault of a family that is on; an ordinary step if none is.
    pub(super) fn fault(&mut self) {
        let on = self.families();
        if on.is_empty() {
            return self.ordinary();
        }
        let at_ms = self.now_ms;
        let client = self.any_client();
        match *self.chance.pick(&on) {
            Family::Hold => self.hold(at_ms, client),
            Family::BlackHole => self.black_hole(at_ms, client),
            Family::Reset => {
                self.push(at_ms, Do::Network { client, fault: NetworkFault::Reset });
                self.lose(client);
            }
            Family::Vanish => {
                self.push(at_ms, Do::Vanish { client });
                self.lose(client);
            }
            Family::Kill => self.take_broker_down(at_ms, BrokerFault::Kill),
            Family::PowerCut => self.take_broker_down(at_ms, BrokerFault::PowerCut),
            Family::Stop => self.take_broker_down(at_ms, BrokerFault::Stop),
            Family::DiskStall => {
                self.push(at_ms, Do::DiskSyncs { on: false });
                let again_ms = at_ms + self.chance.between(1, 1_000);
                self.push(again_ms, Do::DiskSyncs { on: true });
            }
            Family::Takeover => self.connect(at_ms, client),
            Family::SlowReader => {
                self.push(at_ms, Do::Reading { client, on: false });
                let again_ms = at_ms + self.chance.between(100, 4_000);
                self.push(again_ms, Do::Reading { client, on: true });
            }
            Family::SlowAcker => {
                self.push(at_ms, Do::Acknowledging { client, on: false });
                let again_ms = at_ms + self.chance.between(100, 4_000);
                self.push(again_ms, Do::Acknowledging { client, on: true });
            }
            Family::Misbehave => {
                // Most clients are bystanders: to who misbehaves, nothing is owed.
                let client = client - client % 4;
                let way = u8::try_from(self.chance.below(64)).unwrap_or(0);
                self.push(at_ms, Do::Misbehave { client, way });
                self.lose(client);
            }
        }
    }

    fn families(&self) -> Vec<Family> {
        let features = &self.features;
        let broker_is_up = self.now_ms >= self.broker_up_at_ms;
        [
            (features.holds, Family::Hold),
            (features.black_holes, Family::BlackHole),
            (features.resets, Family::Reset),
            (features.vanishes, Family::Vanish),
            (features.kills && broker_is_up, Family::Kill),
            (features.power_cuts && broker_is_up, Family::PowerCut),
            (features.stops && broker_is_up, Family::Stop),
            (features.disk_stalls, Family::DiskStall),
            (features.takeovers, Family::Takeover),
            (features.slow_readers, Family::SlowReader),
            (features.slow_ackers, Family::SlowAcker),
            (features.misbehaves, Family::Misbehave),
        ]
        .into_iter()
        .filter_map(|(on, family)| on.then_some(family))
        .collect()
    }

    fn hold(&mut self, at_ms: u64, client: ClientIndex) {
        self.push(at_ms, Do::Network { client, fault: NetworkFault::Hold });
        let again_ms = at_ms + self.chance.between(10, 3_000);
        self.push(again_ms, Do::Network { client, fault: NetworkFault::Release });
    }

    /// Nobody is told; the client gives up after a while, or never.
    fn black_hole(&mut self, at_ms: u64, client: ClientIndex) {
        let both = self.chance.percent(40);
        let first =
            *self.chance.pick(&[NetworkFault::BlackHoleToBroker, NetworkFault::BlackHoleToClient]);
        self.push(at_ms, Do::Network { client, fault: first });
        if both {
            for fault in [NetworkFault::BlackHoleToBroker, NetworkFault::BlackHoleToClient] {
                self.push(at_ms, Do::Network { client, fault });
            }
        }
        if self.chance.percent(70) {
            let again_ms = at_ms + self.chance.between(200, 4_000);
            self.connect(again_ms, client);
        }
    }

    /// The connection is over; the client comes back only if it does so by itself.
    fn lose(&mut self, client: ClientIndex) {
        self.up[client] = self.plan.clients[client].reconnect_after_ms.is_some();
    }

    /// Down and up again, sometimes several times in a row, so that recovery is cut short too.
    fn take_broker_down(&mut self, at_ms: u64, how: BrokerFault) {
        self.push(at_ms, Do::Broker(how));
        let mut up_ms = at_ms;
        loop {
            up_ms += match self.chance.below(10) {
                0..=3 => 1,
                4..=8 => self.chance.between(1, 500),
                _ => self.chance.between(1_000, 8_000) * self.scale,
            };
            self.push(up_ms, Do::Broker(BrokerFault::Start));
            if !self.chance.percent(25) {
                break;
            }
            up_ms += self.chance.below(20);
            let again = if self.features.power_cuts && self.chance.percent(50) {
                BrokerFault::PowerCut
            } else if self.features.kills {
                BrokerFault::Kill
            } else {
                how
            };
            self.push(up_ms, Do::Broker(again));
        }
        self.broker_up_at_ms = up_ms + 1;
        for client in 0..self.up.len() {
            self.lose(client);
        }
    }
}
