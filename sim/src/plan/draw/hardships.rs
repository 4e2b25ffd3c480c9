//! What befalls networks, hosts, clocks and the disk beside the faults of single steps, from a
//! stream of its own.

use super::{Draft, Percent as _};
use crate::disk::Operation;
use crate::plan::{BrokerFault, ClientIndex, DiskFault, Do, NetworkFault, Profile};

/// Whole seconds that outlast every session expiry and delay of a plan that is not for ever.
const OUTAGE_S: [u64; 3] = [4_000, 7_500, 9_000];

impl Draft {
    pub(super) fn add_hardships(&mut self, profile: Profile) {
        let mut chance = self.stream("hardships");
        std::mem::swap(&mut self.chance, &mut chance);
        let features = &self.features;
        let has_network = features.holds || features.black_holes || features.resets;
        let is_slow = features.slow_ackers || features.slow_readers;
        let dies = features.kills || features.power_cuts || features.stops;
        let has_faults = features.has_faults();
        if has_network {
            self.some(40, |draft| draft.on_link(NetworkFault::HalfClose));
            self.some(40, |draft| draft.for_a_while(NetworkFault::Unreachable));
        }
        if has_network || is_slow {
            self.some(40, |draft| draft.for_a_while(NetworkFault::Drip));
        }
        if has_faults {
            self.some(25, Draft::storm);
            self.some(20, Draft::freeze);
            self.differ_in_rate();
            self.come_back_smaller();
        }
        if dies {
            self.some(25, Draft::loop_in_crashes);
        }
        if profile == Profile::Disk {
            self.let_disk_down();
        }
        if dies && self.chance.percent(12) {
            self.stay_down();
        }
        std::mem::swap(&mut self.chance, &mut chance);
    }

    /// Once to three times, in so many percent of the plans.
    fn some(&mut self, percent: u64, mut one: impl FnMut(&mut Self)) {
        if self.chance.percent(percent) {
            for _ in 0..self.chance.between(1, 3) {
                one(self);
            }
        }
    }

    fn any_moment_ms(&mut self) -> u64 {
        self.chance.between(300, self.now_ms)
    }

    fn on_link(&mut self, fault: NetworkFault) {
        let (at_ms, client) = (self.any_moment_ms(), self.any_client());
        self.push(at_ms, Do::Network { client, fault });
    }

    fn for_a_while(&mut self, fault: NetworkFault) {
        let (at_ms, client) = (self.any_moment_ms(), self.any_client());
        self.push(at_ms, Do::Network { client, fault });
        if fault == NetworkFault::Unreachable {
            // Only who has to come back notices.
            self.push(at_ms, Do::Vanish { client });
        }
        let until_ms = at_ms + self.chance.between(200, 4_000);
        self.push(until_ms, Do::Network { client, fault: NetworkFault::Release });
    }

    /// Everybody connects at once, some several times.
    fn storm(&mut self) {
        let at_ms = self.any_moment_ms();
        for client in 0..self.plan.clients.len() {
            for _ in 0..self.chance.between(1, 3) {
                let at_ms = at_ms + self.chance.below(5);
                self.push(at_ms, Do::Connect { client, clean_start: false, will: None });
            }
        }
    }

    /// The broker's host is not scheduled for a while.
    fn freeze(&mut self) {
        let at_ms = self.any_moment_ms();
        self.push(at_ms, Do::Frozen { on: true });
        let until_ms = at_ms + self.chance.between(50, 4_000);
        self.push(until_ms, Do::Frozen { on: false });
    }

    /// Clocks of clients go fast or slow, by no more than the grace of a keep alive.
    fn differ_in_rate(&mut self) {
        if self.chance.percent(70) {
            return;
        }
        for client in &mut self.plan.clients {
            client.clock_percent = *self.chance.pick(&[80, 90, 100, 110, 130, 200]);
        }
    }

    /// Clients take less at a time on later connections than may be under way to them.
    fn come_back_smaller(&mut self) {
        if self.chance.percent(50) {
            return;
        }
        for client in &mut self.plan.clients {
            client.later_receive_maximum = *self.chance.pick(&[0, 1, 1, 2]);
        }
    }

    /// The process dies again and again, now and then before it has recovered.
    fn loop_in_crashes(&mut self) {
        let mut at_ms = self.any_moment_ms();
        for _ in 0..self.chance.between(3, 8) {
            let how = match (self.features.power_cuts, self.features.kills) {
                (true, true) => *self.chance.pick(&[BrokerFault::PowerCut, BrokerFault::Kill]),
                (true, false) => BrokerFault::PowerCut,
                (false, true | false) => BrokerFault::Kill,
            };
            self.push(at_ms, Do::Broker(how));
            at_ms += *self.chance.pick(&[0, 1, 1, 5]);
            self.push(at_ms, Do::Broker(BrokerFault::Start));
            at_ms += *self.chance.pick(&[0, 0, 1, 2, 10, 100]);
        }
    }

    /// At the end of the work the broker is away for longer than any expiry.
    fn stay_down(&mut self) {
        let how = *self.chance.pick(&[BrokerFault::Stop, BrokerFault::Kill]);
        self.push(self.now_ms, Do::Broker(how));
        self.now_ms += *self.chance.pick(&OUTAGE_S) * 1_000 * self.scale.min(24);
        self.push(self.now_ms, Do::Broker(BrokerFault::Start));
    }

    /// In a sixth of the plans the disk goes bad beside everything else, from a stream of its own.
    pub(super) fn meet_bad_disk(&mut self) {
        let mut chance = self.stream("disk");
        if !chance.percent(17) {
            return;
        }
        std::mem::swap(&mut self.chance, &mut chance);
        self.draw_disk();
        self.let_disk_down();
        std::mem::swap(&mut self.chance, &mut chance);
    }

    /// Operations fail, space runs out and comes back, bits rot while nobody looks; in a part of the plans the process,
    /// or the power with it, is gone at one operation.
    fn let_disk_down(&mut self) {
        let mut chance = self.stream("cut");
        if chance.percent(40) {
            let (at, power) = (chance.between(1, 400), u64::from(chance.percent(50)));
            self.plan.settings.push(("disk.cut_at".to_owned(), at));
            self.plan.settings.push(("disk.cut_power".to_owned(), power));
        }
        self.some(60, |draft| {
            let at_ms = draft.any_moment_ms();
            let operation = *draft.chance.pick(&Operation::EACH);
            let count = *draft.chance.pick(&[1, 1, 2, 5]);
            draft.push(at_ms, Do::Disk(DiskFault::Fail { operation, count }));
            // Whoever comes after that is read from.
            let client: ClientIndex = draft.any_client();
            draft.push(at_ms + 1, Do::Ping { client });
        });
        self.some(40, |draft| {
            let at_ms = draft.any_moment_ms();
            let left_bytes = Some(*draft.chance.pick(&[0, 1_000, 20_000, 60_000]));
            draft.push(at_ms, Do::Disk(DiskFault::Space { left_bytes }));
            let until_ms = at_ms + draft.chance.between(500, 5_000);
            draft.push(until_ms, Do::Disk(DiskFault::Space { left_bytes: None }));
        });
        let starts =
            self.plan.steps.iter().filter(|step| step.what == Do::Broker(BrokerFault::Start));
        let moments: Vec<u64> = starts.map(|step| step.at_ms).collect();
        for at_ms in moments {
            if self.chance.percent(30) {
                let place = self.chance.next_u64();
                self.push(at_ms - 1, Do::Disk(DiskFault::Rot { place }));
            }
        }
    }
}
