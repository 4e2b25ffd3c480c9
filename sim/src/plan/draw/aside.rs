//! What is added to a plan that is otherwise complete, from a stream of its own.

use super::{Draft, Percent as _};
use crate::plan::{BrokerFault, Do, NetworkFault};

/// The longest that a broker which forgets a silent client may stay unnoticed, beyond one and a
/// half times the keep alive.
const SILENCE_MS: u64 = 12_000;

impl Draft {
    pub(super) fn add_aside(&mut self) {
        std::mem::swap(&mut self.chance, &mut self.aside);
        self.read_back();
        self.ask_before_power_cuts();
        self.fall_silent();
        self.lose_a_member();
        std::mem::swap(&mut self.chance, &mut self.aside);
    }

    /// New subscriptions after each start of the broker and near the end: they read what is
    /// retained.
    fn read_back(&mut self) {
        if !self.features.retain {
            return;
        }
        let starts = self
            .plan
            .steps
            .iter()
            .filter(|step| matches!(step.what, Do::Broker(BrokerFault::Start)));
        let moments: Vec<u64> = starts.map(|step| step.at_ms).chain([self.now_ms]).collect();
        for at_ms in moments {
            while self.chance.percent(60) {
                let (client, later_ms) = (self.any_client(), self.chance.between(100, 900));
                self.subscribe(at_ms + later_ms, client);
            }
        }
    }

    /// Subscriptions whose answer and the next power cut are close together.
    fn ask_before_power_cuts(&mut self) {
        let cuts = self
            .plan
            .steps
            .iter()
            .filter(|step| matches!(step.what, Do::Broker(BrokerFault::PowerCut)));
        let moments: Vec<u64> = cuts.map(|step| step.at_ms).collect();
        for at_ms in moments {
            if self.chance.percent(40) {
                let (client, before_ms) = (self.any_client(), self.chance.between(0, 60));
                self.subscribe(at_ms.saturating_sub(before_ms), client);
            }
        }
    }

    /// One of two members of a share goes with messages on their way to it.
    fn lose_a_member(&mut self) {
        if !self.features.shared || !self.features.has_faults() || self.chance.percent(50) {
            return;
        }
        let (member, other, publisher) = (self.any_client(), self.any_client(), self.any_client());
        let mut at_ms = self.chance.between(300, self.now_ms);
        for client in [member, other] {
            self.push(
                at_ms,
                Do::Subscribe {
                    client,
                    filter: "$share/s/s/only".to_owned(),
                    qos: 1,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: 0,
                    subscription_id: 0,
                    joined: false,
                },
            );
        }
        at_ms += self.chance.between(50, 300);
        self.push(at_ms, Do::Network { client: member, fault: NetworkFault::BlackHoleToClient });
        for _ in 0..self.chance.between(2, 5) {
            self.push(
                at_ms,
                Do::Publish {
                    client: publisher,
                    topic: "s/only".to_owned(),
                    qos: 1,
                    retain: false,
                    fill_bytes: 0,
                    clears: false,
                    expiry_s: 0,
                    user_properties: 0,
                },
            );
        }
        at_ms += self.chance.between(100, 1_500);
        self.push(at_ms, Do::Vanish { client: member });
    }

    /// A client with a keep alive stops sending PINGREQ, for long enough to be sent away.
    fn fall_silent(&mut self) {
        if !self.features.keep_alives || !self.features.has_faults() || self.chance.percent(60) {
            return;
        }
        let client = self.any_client();
        let keep_alive_s = u64::from(self.plan.clients[client].keep_alive_s);
        if keep_alive_s > 0 {
            let from_ms = self.chance.between(500, self.now_ms);
            let until_ms = from_ms + keep_alive_s * 1_500 + SILENCE_MS;
            self.push(from_ms, Do::Pinging { client, on: false });
            self.push(until_ms, Do::Pinging { client, on: true });
        }
    }
}
