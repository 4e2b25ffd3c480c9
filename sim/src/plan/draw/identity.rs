//! Quotas of a day, and strangers under a client's identifier. One of them at a time: each refuses,
//! and what one refuses the others do not get to see. Quotas of stored bytes and tokens that end are
//! left to plans written by hand: of those that are drawn the oracle cannot yet judge all.

use super::{Draft, Percent as _};
use crate::chance::{Stream, Streams};
use crate::plan::{ClientSpec, Do};

impl Draft {
    /// What bounds clients or tells them apart, in a sixth of the plans that it is asked for, from a
    /// stream of its own.
    pub(super) fn bound_and_identify(&mut self) {
        let mut chance = Streams::new(self.plan.seed).stream("identity");
        match chance.below(100) {
            0..=7 => self.bound_days(&mut chance),
            8..=15 => self.send_strangers(&mut chance),
            _ => {}
        }
    }

    fn asks(&mut self) {
        self.plan.settings.push(("ask_credentials".to_owned(), 1));
    }

    fn bound_days(&mut self, chance: &mut Stream) {
        if chance.percent(50) {
            self.asks();
        }
        let messages = chance.between(2, 20);
        self.plan.settings.push(("quota.messages_per_day".to_owned(), messages));
    }

    /// Somebody else comes with the identifier of a client, and stays away in the end.
    fn send_strangers(&mut self, chance: &mut Stream) {
        self.asks();
        for _ in 0..chance.between(1, 2) {
            let own = chance.pick(&self.plan.clients).clone();
            let stranger = ClientSpec {
                session_expiry_interval_s: 0,
                keep_alive_s: 0,
                reconnect_after_ms: None,
                stranger: true,
                ..own
            };
            let client = self.plan.clients.len();
            self.plan.clients.push(stranger);
            self.plan.dead.push(client);
            for _ in 0..chance.between(1, 5) {
                let at_ms = chance.between(800, self.now_ms.max(801));
                let clean_start = chance.percent(40);
                self.push(at_ms, Do::Connect { client, clean_start, will: None });
                let topic = chance.pick(&self.topics).clone();
                self.push(
                    at_ms + chance.between(1, 200),
                    Do::Publish {
                        client,
                        topic,
                        qos: 1,
                        retain: false,
                        fill_bytes: 0,
                        clears: false,
                        expiry_s: 0,
                        user_properties: 0,
                    },
                );
            }
        }
    }
}
