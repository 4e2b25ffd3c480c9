//! Stretches of time in which nobody does anything, so that nothing but its own timers makes the broker do
//! what is due.

use super::{Draft, Percent as _};
use crate::plan::{ClientIndex, ClientSpec, Do, NetworkFault, WillSpec};

/// A topic of which nothing else is said.
const TOPIC: &str = "silence";
/// So long that every timer has rung that was set while clients came in.
const SETTLED_MS: u64 = 12_000;
/// So long that whatever is due meanwhile is late by more than any bound behind it.
const SILENT_MS: u64 = 16_000;
/// So long that a session that lasts two seconds is surely over, and its client has found that its connection is.
const OVER_MS: u64 = 13_000;

impl Draft {
    /// At the end of the work, where no keep alive makes noise: one leaves for long, then another for whom its will is
    /// due soon, and a third reads it.
    pub(super) fn wait_in_silence(&mut self) {
        let mut chance = self.stream("silence");
        if self.features.keep_alives
            || self.features.limits
            || self.scale > 1
            || !chance.percent(12)
        {
            return;
        }
        let is_alone = |client: &ClientIndex| {
            let id = &self.plan.clients[*client].client_id;
            self.plan.clients.iter().filter(|one| one.client_id == *id).count() == 1
        };
        let outlives =
            |client: &ClientSpec| client.level == 5 && client.session_expiry_interval_s >= 3_600;
        let mut alone = (0..self.plan.clients.len()).filter(is_alone);
        let mut lasting = alone.by_ref().filter(|client| outlives(&self.plan.clients[*client]));
        let (Some(first), Some(second), Some(reader)) =
            (lasting.next(), lasting.next(), lasting.next())
        else {
            return;
        };
        self.plan.settings.retain(|(name, _)| name != "sys_interval_ms");
        self.plan.settings.push(("sys_interval_ms".to_owned(), 0));
        let delay_s = *chance.pick(&[1, 2]);
        let will =
            WillSpec { topic: TOPIC.to_owned(), qos: 1, retain: false, delay_s, expiry_s: 0 };
        let mut at_ms = self.now_ms + 1_000;
        for (client, will) in [(first, None), (second, Some(will)), (reader, None)] {
            self.push(at_ms, Do::Connect { client, clean_start: true, will });
        }
        at_ms += 1_000;
        let subscribe = Do::Subscribe {
            client: reader,
            filter: TOPIC.to_owned(),
            qos: 1,
            no_local: false,
            retain_as_published: false,
            retain_handling: 2,
            subscription_id: 0,
            joined: false,
        };
        self.push(at_ms, subscribe);
        self.push(
            at_ms,
            Do::Disconnect { client: first, reason: 0, session_expiry_interval_s: Some(3_600) },
        );
        at_ms += SETTLED_MS;
        self.push(
            at_ms,
            Do::Disconnect { client: second, reason: 4, session_expiry_interval_s: None },
        );
        at_ms += SILENT_MS;
        self.push(at_ms, Do::Ping { client: reader });
        self.now_ms = at_ms + 1_000;
    }

    /// A client whose session does not last long loses its connection without a word, and finds no way back until its
    /// session is over.
    pub(super) fn come_late(&mut self) {
        let mut chance = self.stream("late");
        if !self.features.has_faults() || self.scale > 1 || !chance.percent(25) {
            return;
        }
        let client = usize::try_from(chance.below(self.plan.clients.len() as u64)).unwrap_or(0);
        let spec = &mut self.plan.clients[client];
        if spec.level < 5 || spec.client_id.is_empty() {
            return;
        }
        (spec.session_expiry_interval_s, spec.keep_alive_s) = (2, 0);
        let at_ms = self.now_ms + 1_000;
        self.push(at_ms, Do::Connect { client, clean_start: false, will: None });
        let gone_ms = at_ms + 1_000;
        self.push(gone_ms, Do::Network { client, fault: NetworkFault::Unreachable });
        self.push(gone_ms, Do::Vanish { client });
        let back_ms = gone_ms + OVER_MS;
        self.push(back_ms, Do::Network { client, fault: NetworkFault::Release });
        self.push(back_ms + 1, Do::Connect { client, clean_start: false, will: None });
        self.now_ms = back_ms + 1_000;
    }
}
