//! Much that waits for a client that is away, from a stream of its own.

use super::{Draft, Percent as _};
use crate::plan::{BrokerFault, ClientIndex, Do};

/// A topic of which nothing else is said.
const ROOM: &str = "backlog";

impl Draft {
    /// In an eighth of the plans more waits for one client than many exchanges take, while the broker goes down and
    /// comes back where it does so at all. Then the client is back, and takes it in its own time.
    pub(super) fn pile_up(&mut self) {
        let mut chance = self.stream("backlog");
        let stays = |draft: &Draft, client: ClientIndex| {
            let spec = &draft.plan.clients[client];
            let has_twin = |other: &&crate::plan::ClientSpec| other.client_id == spec.client_id;
            spec.session_expiry_interval_s >= 3_600
                && draft.plan.clients.iter().filter(has_twin).count() == 1
        };
        let away = (0..self.plan.clients.len()).find(|client| stays(self, *client));
        let Some(away) = away.filter(|_| chance.percent(12)) else { return };
        let publisher = (away + 1) % self.plan.clients.len();
        let from_ms = chance.between(300, self.now_ms);
        let qos = *chance.pick(&[0, 1, 1, 2, 2]);
        self.push(
            from_ms,
            Do::Subscribe {
                client: away,
                filter: ROOM.to_owned(),
                qos: 2,
                no_local: false,
                retain_as_published: false,
                retain_handling: 0,
                subscription_id: 0,
                joined: false,
            },
        );
        let left_ms = from_ms + chance.between(20, 300);
        let session_expiry_interval_s = None;
        self.push(left_ms, Do::Disconnect { client: away, reason: 0, session_expiry_interval_s });
        let mut at_ms = left_ms + chance.between(5, 100);
        for _ in 0..chance.between(40, 160) {
            at_ms += chance.below(3);
            let publish = Do::Publish {
                client: publisher,
                topic: ROOM.to_owned(),
                qos: if chance.percent(90) { qos } else { 1 },
                retain: false,
                fill_bytes: *chance.pick(&[0, 0, 20, 300]),
                clears: false,
                expiry_s: 0,
                user_properties: 0,
            };
            self.push(at_ms, publish);
        }
        at_ms += chance.between(20, 1_000);
        if let Some(how) = self.way_down().filter(|_| chance.percent(50)) {
            self.push(at_ms, Do::Broker(how));
            at_ms += chance.between(1, 200);
            self.push(at_ms, Do::Broker(BrokerFault::Start));
        }
        at_ms += chance.between(100, 1_000);
        self.push(at_ms, Do::Connect { client: away, clean_start: false, will: None });
        if chance.percent(50) {
            at_ms += chance.between(1, 100);
            self.push(at_ms, Do::Connect { client: away, clean_start: false, will: None });
        }
        self.now_ms = self.now_ms.max(at_ms);
    }

    fn way_down(&self) -> Option<BrokerFault> {
        let features = &self.features;
        [
            (features.power_cuts, BrokerFault::PowerCut),
            (features.kills, BrokerFault::Kill),
            (features.stops, BrokerFault::Stop),
        ]
        .into_iter()
        .find_map(|(on, how)| on.then_some(how))
    }
}
