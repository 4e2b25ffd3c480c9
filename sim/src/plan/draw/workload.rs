//! What clients do of their own accord.

use super::{Draft, Features, Percent as _};
use crate::chance::Stream;
use crate::plan::{ClientIndex, Do, WillSpec};

/// Few topics, so that things meet.
pub(super) fn topics(chance: &mut Stream) -> Vec<String> {
    let all = ["a", "a/b", "a/b/c", "a/c", "b", "b/b", "/", "a//c", "é/b"];
    let count = usize::try_from(chance.between(1, 4)).unwrap_or(1);
    let mut topics = Vec::new();
    while topics.len() < count {
        let topic = (*chance.pick(&all)).to_owned();
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    topics
}

/// Filters for those topics, overlapping if the seed has wildcards.
pub(super) fn filters(chance: &mut Stream, topics: &[String], features: &Features) -> Vec<String> {
    let mut filters = topics.to_vec();
    if features.wildcards {
        for topic in topics {
            filters.push(with_wildcard(chance, topic));
        }
        filters.push((*chance.pick(&["#", "+", "+/+", "a/#", "+/b", "a/+"])).to_owned());
    }
    if features.shared {
        let plain = filters.clone();
        for _ in 0..chance.between(1, 2) {
            let share = *chance.pick(&["g", "g", "h"]);
            let filter = chance.pick(&plain);
            filters.push(format!("$share/{share}/{filter}"));
        }
    }
    if features.dollar_topics {
        filters.push("$x/#".to_owned());
    }
    filters
}

fn with_wildcard(chance: &mut Stream, topic: &str) -> String {
    let levels: Vec<&str> = topic.split('/').collect();
    let place = usize::try_from(chance.below(levels.len() as u64)).unwrap_or(0);
    if chance.percent(40) {
        return levels[..place].iter().copied().chain(["#"]).collect::<Vec<_>>().join("/");
    }
    let with_plus = levels.iter().enumerate();
    let with_plus = with_plus.map(|(at, level)| if at == place { "+" } else { *level });
    with_plus.collect::<Vec<_>>().join("/")
}

impl Draft {
    /// One ordinary step of some client.
    pub(super) fn ordinary(&mut self) {
        let client = self.any_client();
        let at_ms = self.now_ms;
        if !self.up[client] && self.chance.percent(60) {
            return self.connect(at_ms, client);
        }
        match self.chance.below(100) {
            0..=78 => self.publish(at_ms, client),
            79..=84 if self.features.resubscribes => self.subscribe(at_ms, client),
            85..=87 if self.features.resubscribes => self.unsubscribe(at_ms, client),
            88..=90 => self.push(at_ms, Do::Ping { client }),
            91..=95 if self.features.disconnects => self.disconnect(at_ms, client),
            _ => self.publish(at_ms, client),
        }
    }

    pub(super) fn connect(&mut self, at_ms: u64, client: ClientIndex) {
        let clean_start = self.features.clean_starts && self.chance.percent(35);
        let will = (self.features.wills && self.chance.percent(60)).then(|| self.will());
        self.push(at_ms, Do::Connect { client, clean_start, will });
        self.up[client] = true;
    }

    fn will(&mut self) -> WillSpec {
        let (topic, qos) = (self.topic(), self.qos());
        let delays: &[u32] = if self.scale == 1 { &[0, 0, 1, 5] } else { &[0, 60, 3600] };
        WillSpec {
            topic,
            qos,
            retain: self.features.retain && self.chance.percent(30),
            delay_s: *self.chance.pick(delays),
            expiry_s: self.expiry_s(),
        }
    }

    pub(super) fn subscribe(&mut self, at_ms: u64, client: ClientIndex) {
        let filter = self.chance.pick(&self.filters).clone();
        let options = self.features.options;
        let no_local = options && !filter.starts_with("$share/") && self.chance.percent(20);
        let qos = if self.chance.percent(60) { 2 } else { self.qos() };
        let retain_as_published = options && self.chance.percent(40);
        let retain_handling = if options { *self.chance.pick(&[0, 0, 1, 2]) } else { 0 };
        let has_id = self.features.subscription_ids && self.chance.percent(60);
        let subscription_id = if has_id { *self.chance.pick(&[1, 2, 127, 128, 70_000]) } else { 0 };
        self.push(
            at_ms,
            Do::Subscribe {
                client,
                filter,
                qos,
                no_local,
                retain_as_published,
                retain_handling,
                subscription_id,
                joined: false,
            },
        );
    }

    pub(super) fn unsubscribe(&mut self, at_ms: u64, client: ClientIndex) {
        let filter = self.chance.pick(&self.filters).clone();
        self.push(at_ms, Do::Unsubscribe { client, filter, joined: false });
    }

    pub(super) fn publish(&mut self, at_ms: u64, client: ClientIndex) {
        let retain = self.features.retain && self.chance.percent(30);
        let clears = retain && self.features.clears && self.chance.percent(25);
        let fills: &[u32] = if self.features.small_packets { &[0, 40, 200] } else { &[0, 0, 20] };
        let fill_bytes = match self.chance.below(40) {
            0 => 3_000,
            _ => *self.chance.pick(fills),
        };
        let has_properties = self.features.user_properties && self.chance.percent(40);
        let user_properties = if has_properties { *self.chance.pick(&[1, 2, 3]) } else { 0 };
        let (topic, qos, expiry_s) = (self.topic(), self.qos(), self.expiry_s());
        self.push(
            at_ms,
            Do::Publish {
                client,
                topic,
                qos,
                retain,
                fill_bytes: if clears { 0 } else { fill_bytes },
                clears,
                expiry_s,
                user_properties,
            },
        );
    }

    fn disconnect(&mut self, at_ms: u64, client: ClientIndex) {
        let reason = if self.plan.clients[client].level < 5 {
            0
        } else {
            *self.chance.pick(&[0, 0, 0, 0, 4, 4, 0x80, 0x81, 0x82, 0x83, 0x93, 0x98])
        };
        // A session that began with expiry 0 may not be given another [MQTT-3.14.2-2].
        let spec = &self.plan.clients[client];
        let may_change = spec.level == 5 && spec.session_expiry_interval_s > 0;
        let session_expiry_interval_s = (may_change && self.chance.percent(20))
            .then(|| *self.chance.pick(&[0, 1, 5, 600, u32::MAX]));
        self.push(at_ms, Do::Disconnect { client, reason, session_expiry_interval_s });
        self.up[client] = false;
    }

    fn topic(&mut self) -> String {
        if self.features.dollar_topics && self.chance.percent(10) {
            "$x/y".to_owned()
        } else {
            self.chance.pick(&self.topics).clone()
        }
    }

    fn qos(&mut self) -> u8 {
        *self.chance.pick(&self.features.qos)
    }

    fn expiry_s(&mut self) -> u32 {
        if self.features.expiry && self.chance.percent(30) {
            *self.chance.pick(&[1, 2, 10, 3600])
        } else {
            0
        }
    }
}
