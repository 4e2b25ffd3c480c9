//! Quotas, tokens that end, and strangers under a client's identifier. One of them at a time: each
//! refuses, and what one refuses the others do not get to see.

use super::{Draft, Percent as _};
use crate::chance::Stream;
use crate::plan::{ClientSpec, Do, WillSpec};

/// How many tokens may end one after the other, for each client that comes back by itself.
const STAYS: u64 = 100;

/// A topic of which nothing else is said.
const ROOM: &str = "room";
/// About what a publication on it takes.
const MESSAGE_BYTES: u64 = 40;
/// So long that what lives for a second has surely expired.
const AWAY_MS: u64 = 8_000;
/// So long that whoever left has surely been seen to.
const GONE_MS: u64 = 3_000;

impl Draft {
    /// What bounds clients or tells them apart, in three of ten plans that it is asked for, from
    /// a stream of its own.
    pub(super) fn bound_and_identify(&mut self) {
        let mut chance = self.stream("identity");
        match chance.below(100) {
            0..=8 => self.bound_stored_bytes(&mut chance),
            9..=12 => self.bound_days(&mut chance),
            13..=18 => self.let_tokens_end(&mut chance),
            19..=25 => self.send_strangers(&mut chance),
            26..=28 => self.bound_rates(&mut chance),
            29..=30 => self.bound_connections(&mut chance),
            _ => {}
        }
    }

    fn asks(&mut self) {
        self.plan.settings.push(("ask_credentials".to_owned(), 1));
    }

    fn bound_stored_bytes(&mut self, chance: &mut Stream) {
        if chance.percent(50) {
            self.asks();
        }
        let bytes = *chance.pick(&[60, 120, 250, 600, 2_000]);
        self.plan.settings.push(("quota.stored_bytes".to_owned(), bytes));
        if chance.percent(70) {
            self.fill_and_empty(chance, bytes);
        }
        // So that what waits comes to an end without being read.
        for step in &mut self.plan.steps {
            if let Do::Publish { expiry_s, clears: false, .. } = &mut step.what
                && chance.percent(25)
            {
                *expiry_s = *chance.pick(&[1, 2, 5]);
            }
        }
    }

    /// At the end of the work a client is away while its quota fills up. What waits expires, or is
    /// read when it comes back; then there is room again.
    fn fill_and_empty(&mut self, chance: &mut Stream, quota_bytes: u64) {
        let outlives = |client: &ClientSpec| client.session_expiry_interval_s > 60;
        let clients = &self.plan.clients;
        let Some(client) = clients.iter().position(outlives) else { return };
        let id = &clients[client].client_id;
        let Some(publisher) = clients.iter().rposition(|one| one.client_id != *id) else { return };
        let expires = chance.percent(50);
        let mut at_ms = self.now_ms + 1_000;
        for (who, clean_start) in [(client, true), (publisher, false)] {
            self.push(at_ms, Do::Connect { client: who, clean_start, will: None });
        }
        at_ms += 1_000;
        let subscribe = Do::Subscribe {
            client,
            filter: ROOM.to_owned(),
            qos: 1,
            no_local: false,
            retain_as_published: false,
            retain_handling: 2,
            subscription_id: 0,
            joined: false,
        };
        self.push(at_ms, subscribe);
        at_ms += 1_000;
        let leave = Do::Disconnect { client, reason: 0, session_expiry_interval_s: None };
        self.push(at_ms, leave.clone());
        // It has surely left when the first message comes.
        at_ms += GONE_MS;
        let publish = |expiry_s| Do::Publish {
            client: publisher,
            topic: ROOM.to_owned(),
            qos: 1,
            retain: false,
            fill_bytes: 0,
            clears: false,
            expiry_s,
            user_properties: 0,
        };
        for _ in 0..(quota_bytes / MESSAGE_BYTES).clamp(1, 12) {
            self.push(at_ms, publish(u32::from(expires)));
        }
        if expires {
            at_ms += AWAY_MS;
        } else {
            at_ms += 1_000;
            self.push(at_ms, Do::Connect { client, clean_start: false, will: None });
            self.push(at_ms + 3_000, Do::Ping { client });
            at_ms += 4_000;
            self.push(at_ms, leave);
            at_ms += 500;
        }
        self.push(at_ms, publish(0));
        self.push(at_ms + 200, publish(0));
        self.now_ms = at_ms + 1_000;
    }

    fn bound_days(&mut self, chance: &mut Stream) {
        if chance.percent(50) {
            self.asks();
        }
        let messages = chance.between(2, 20);
        self.plan.settings.push(("quota.messages_per_day".to_owned(), messages));
    }

    fn bound_rates(&mut self, chance: &mut Stream) {
        if chance.percent(50) {
            self.asks();
        }
        let messages = *chance.pick(&[1, 2, 5, 20]);
        self.plan.settings.push(("quota.messages_per_second".to_owned(), messages));
    }

    /// To as many connections as a client has: whoever is counted and gone keeps it out.
    fn bound_connections(&mut self, chance: &mut Stream) {
        if chance.percent(50) {
            self.asks();
        }
        self.plan.settings.push(("quota.connections".to_owned(), 1));
    }

    fn let_tokens_end(&mut self, chance: &mut Stream) {
        self.asks();
        let lifetime_ms = *chance.pick(&[500, 1_500, 5_000]) * self.scale;
        // Where the broker is away for hours, nobody comes back every second of them.
        let lifetime_ms = lifetime_ms.max(self.now_ms / STAYS);
        self.plan.settings.push(("token.lifetime_ms".to_owned(), lifetime_ms));
        for _ in 0..chance.between(1, 4) {
            let client = chance.below(self.plan.clients.len() as u64);
            let client = usize::try_from(client).unwrap_or(0);
            let at_ms = chance.between(300, self.now_ms);
            let topic = chance.pick(&self.topics).clone();
            let (qos, retain) = (*chance.pick(&[0, 1, 2]), false);
            let will = Some(WillSpec { topic, qos, retain, delay_s: 0, expiry_s: 0 });
            self.push(at_ms, Do::Connect { client, clean_start: false, will });
        }
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
