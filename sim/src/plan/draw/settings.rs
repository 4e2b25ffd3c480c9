//! Settings of the broker and of what surrounds it.

use super::{Draft, Percent};

impl Draft {
    pub(super) fn draw_settings(&mut self) {
        self.set("network.latency_ms", &[0, 0, 1, 5, 20]);
        self.set("network.jitter_ms", &[0, 0, 1, 10, 40]);
        // Whole writes, a few pieces, or every byte alone.
        self.set("network.split", &[0, 1, 1, 2]);
        // Little room on a slow network would make everything slow, not only what should be.
        let is_fast = self.plan.settings.iter().all(|(_, value)| *value <= 2);
        self.set("network.capacity_bytes", if is_fast { &[0, 64, 512] } else { &[0, 8192] });
        self.set("connection.outgoing_buffer_bytes", &[64 * 1024, 4096, 512]);
        self.set("journal.sync_ms", &[0, 1, 5, 30]);
        self.set("journal.snapshots", &[0, 1]);
        // 0 is the default: as much as there is.
        // Clients before version 5 are not told of it and cannot keep to it.
        if !self.features.old_levels {
            self.set_or_default("receive_maximum", &[0, 1, 3, 20]);
        }
        self.set("topic_alias_maximum", &[0, 2, 32]);
        self.set("topic_alias_outbound_maximum", &[0, 1, 32]);
        self.set_or_default("inflight_messages", &[0, 0, 1, 3]);
        self.set("queue_qos0_offline", &[0, 0, 1]);
        self.set("sys_interval_ms", if self.scale > 1 { &[0, 86_400_000] } else { &[0, 10_000] });
        self.set("time_jump_maximum_ms", &[u64::MAX]);
        if self.features.limits {
            self.draw_limits();
        }
        self.draw_memory();
    }

    /// In a part of the plans, little of what waits stays in memory: the rest is read back from the journal.
    fn draw_memory(&mut self) {
        let mut chance = self.stream("memory");
        let bytes = *chance.pick(&[0, 0, 0, 1, 200]);
        if bytes > 0 {
            self.plan.settings.push(("queue_memory_bytes".to_owned(), bytes));
        }
    }

    /// An operation that fails, among those of the first second, and little space until the end.
    pub(super) fn draw_disk(&mut self) {
        let at = self.chance.between(1, 250);
        self.plan.settings.push(("disk.fail_at".to_owned(), at));
        let segment_bytes = 16 * 1024;
        self.plan.settings.push(("journal.segment_bytes".to_owned(), segment_bytes));
        self.set("disk.capacity_bytes", &[0, 5 * segment_bytes, 8 * segment_bytes]);
    }

    /// In some plans the log is synced late.
    pub(super) fn draw_level(&mut self) {
        let mut chance = self.stream("level");
        if chance.percent(25) {
            let relaxed_ms = *chance.pick(&[20, 100, 400]);
            self.plan.settings.push(("journal.relaxed_ms".to_owned(), relaxed_ms));
        }
    }

    /// A few limits within reach, not all: one hides the others.
    fn draw_limits(&mut self) {
        let limits: [(&str, &[u64]); 14] = [
            ("queue_messages", &[1, 2, 5, 20]),
            ("queue_bytes", &[100, 400, 2000]),
            ("retained_messages", &[1, 2]),
            ("retained_bytes", &[100, 300]),
            ("sessions", &[3, 5]),
            ("connections", &[3, 5]),
            ("subscriptions_per_session", &[1, 2]),
            ("maximum_packet_size_bytes", &[128, 256]),
            ("topic_levels", &[1, 2]),
            ("maximum_qos", &[0, 1]),
            ("retain_available", &[0]),
            ("wildcard_subscription_available", &[0]),
            ("shared_subscription_available", &[0]),
            ("session_expiry_interval_maximum_s", &[1, 10]),
        ];
        for _ in 0..self.chance.between(1, 3) {
            let (name, values) = *self.chance.pick(&limits);
            if !self.plan.settings.iter().any(|(known, _)| known == name) {
                self.set(name, values);
            }
        }
    }

    fn set(&mut self, name: &str, values: &[u64]) {
        let value = *self.chance.pick(values);
        self.plan.settings.push((name.to_owned(), value));
    }

    /// As `set`, but 0 leaves the broker's default.
    fn set_or_default(&mut self, name: &str, values: &[u64]) {
        let value = *self.chance.pick(values);
        if value > 0 {
            self.plan.settings.push((name.to_owned(), value));
        }
    }
}
