//! From a seed and a profile to a whole plan, swarm style: whole features and families of faults
//! are switched on or off first, then strengths are drawn, then steps. Many defects show only
//! where something else is absent.

mod access;
mod aside;
mod backlog;
mod clocks;
mod faults;
mod hardships;
mod identity;
mod manners;
mod orders;
mod pipelining;
mod settings;
mod silence;
mod workload;

use super::profiles::{Odds, Profile};
use super::{ClientIndex, ClientSpec, Do, Plan, Step};
use crate::chance::{Stream, Streams};

/// The plan of a seed: the same one on every machine, for as long as this module stays as it is.
#[must_use]
pub fn draw(seed: u64, profile: Profile) -> Plan {
    let mut chance = Streams::new(seed).stream(profile.name());
    let features = Features::draw(&mut chance, profile.odds());
    let mut draft = Draft {
        scale: if profile == Profile::Soak { 1 << chance.between(6, 13) } else { 1 },
        topics: workload::topics(&mut chance),
        filters: Vec::new(),
        up: Vec::new(),
        now_ms: 0,
        broker_up_at_ms: 0,
        plan: Plan {
            seed,
            profile: profile.name().to_owned(),
            settings: Vec::new(),
            clients: Vec::new(),
            steps: Vec::new(),
            calm_at_ms: 0,
            dead: Vec::new(),
            bound_ms: 0,
        },
        features,
        chance,
        aside: stream(seed, profile.name(), "aside"),
    };
    draft.filters = workload::filters(&mut draft.chance, &draft.topics, &draft.features);
    draft.draw_settings();
    if profile == Profile::Disk {
        draft.draw_disk();
        draft.draw_level();
    }
    draft.draw_clients();
    draft.open();
    draft.work();
    draft.add_aside();
    draft.pile_up();
    draft.add_hardships(profile);
    if profile == Profile::All {
        draft.meet_bad_disk();
    }
    draft.come_late();
    draft.wait_in_silence();
    draft.give_orders(profile);
    draft.close();
    draft.plan
}

/// Draws of a kind of their own, so that another of them changes no others. Each profile has its own of each seed.
fn stream(seed: u64, profile: &str, name: &str) -> Stream {
    Streams::new(seed).stream(&format!("{profile} {name}"))
}

/// Odds in percent.
trait Percent {
    /// True in `percent` of a hundred.
    fn percent(&mut self, percent: u64) -> bool;
}

impl Percent for Stream {
    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What is on for this seed.
#[derive(Clone, Debug)]
struct Features {
    // Workload.
    qos: Vec<u8>,
    retain: bool,
    clears: bool,
    wills: bool,
    shared: bool,
    wildcards: bool,
    dollar_topics: bool,
    subscription_ids: bool,
    options: bool,
    expiry: bool,
    user_properties: bool,
    resubscribes: bool,
    clean_starts: bool,
    disconnects: bool,
    old_levels: bool,
    keep_alives: bool,
    aliases: bool,
    small_packets: bool,
    reorders: bool,
    bursts: bool,
    // Faults.
    holds: bool,
    black_holes: bool,
    resets: bool,
    vanishes: bool,
    kills: bool,
    power_cuts: bool,
    stops: bool,
    disk_stalls: bool,
    takeovers: bool,
    shared_ids: bool,
    slow_readers: bool,
    slow_ackers: bool,
    misbehaves: bool,
    limits: bool,
    forgets: bool,
    dead: bool,
}

impl Features {
    fn draw(chance: &mut Stream, odds: Odds) -> Self {
        let qos = *chance.pick(&[
            [1, 1, 1],
            [2, 2, 2],
            [1, 2, 2],
            [0, 1, 2],
            [0, 1, 2],
            [1, 1, 2],
            [0, 2, 2],
        ]);
        let mut on = |percent| chance.percent(percent);
        Features {
            qos: qos.to_vec(),
            retain: on(50),
            clears: on(50),
            wills: on(40),
            shared: on(35),
            wildcards: on(60),
            dollar_topics: on(15),
            subscription_ids: on(40),
            options: on(40),
            expiry: on(25),
            user_properties: on(30),
            resubscribes: on(50),
            clean_starts: on(30),
            disconnects: on(50),
            old_levels: on(25),
            keep_alives: on(40),
            aliases: on(40),
            small_packets: on(20),
            reorders: on(40),
            bursts: on(60),
            holds: on(odds.holds),
            black_holes: on(odds.black_holes),
            resets: on(odds.resets),
            vanishes: on(odds.vanishes),
            kills: on(odds.kills),
            power_cuts: on(odds.power_cuts),
            stops: on(odds.stops),
            disk_stalls: on(odds.disk_stalls),
            takeovers: on(odds.takeovers),
            shared_ids: on(odds.shared_ids),
            slow_readers: on(odds.slow_readers),
            slow_ackers: on(odds.slow_ackers),
            misbehaves: on(odds.misbehaves),
            limits: on(odds.limits),
            forgets: on(odds.vanishes / 4),
            dead: on(odds.vanishes / 3),
        }
    }

    /// Whether anything may go wrong.
    fn has_faults(&self) -> bool {
        [
            self.holds,
            self.black_holes,
            self.resets,
            self.vanishes,
            self.kills,
            self.power_cuts,
            self.stops,
            self.takeovers,
            self.slow_readers,
            self.slow_ackers,
            self.misbehaves,
        ]
        .contains(&true)
    }
}

/// A plan in the making.
struct Draft {
    chance: Stream,
    /// For what is added to a plan that is otherwise complete.
    aside: Stream,
    features: Features,
    plan: Plan,
    topics: Vec<String>,
    filters: Vec<String>,
    /// Whether each client is meant to be connected.
    up: Vec<bool>,
    now_ms: u64,
    /// When the broker, killed or stopped, is up again.
    broker_up_at_ms: u64,
    /// By how much the pauses are longer than usual.
    scale: u64,
}

impl Draft {
    /// Draws of a kind of their own.
    fn stream(&self, name: &str) -> Stream {
        stream(self.plan.seed, &self.plan.profile, name)
    }

    fn draw_clients(&mut self) {
        let count = self.chance.between(5, 9);
        for index in 0..count {
            let shares_id = self.features.shared_ids && index > 0 && self.chance.percent(30);
            let client_id = if shares_id {
                let with = usize::try_from(self.chance.below(index)).unwrap_or(0);
                self.plan.clients[with].client_id.clone()
            } else {
                format!("c{index}")
            };
            let client = self.draw_client(client_id);
            self.plan.clients.push(client);
            self.up.push(false);
        }
        self.agree_on_shared_ids();
    }

    fn draw_client(&mut self, client_id: String) -> ClientSpec {
        let Draft { chance, features, .. } = self;
        let level =
            if features.old_levels && chance.percent(30) { *chance.pick(&[3, 4, 4]) } else { 5 };
        let expiries: &[u32] = match (level, self.scale) {
            (3 | 4, _) => &[u32::MAX, u32::MAX, 0],
            (_, 1) => &[0, 2, 30, 3600, 3600, u32::MAX],
            (_, _) => &[0, 60, 3600, 86_400, 604_800, u32::MAX],
        };
        let keep_alive_s = if !features.keep_alives || chance.percent(40) {
            0
        } else if self.scale == 1 {
            *chance.pick(&[1, 2, 5, 30])
        } else {
            *chance.pick(&[600, 3600, 18_000])
        };
        ClientSpec {
            client_id,
            level,
            session_expiry_interval_s: *chance.pick(expiries),
            keep_alive_s,
            receive_maximum: *chance.pick(&[1, 1, 2, 2, 3, 3, 10, u16::MAX]),
            later_receive_maximum: 0,
            maximum_packet_size_bytes: if features.small_packets && level == 5 {
                *chance.pick(&[0, 128, 200, 300])
            } else {
                0
            },
            topic_alias_maximum: if features.aliases { *chance.pick(&[0, 1, 2, 10]) } else { 0 },
            ack_delay_ms: *chance.pick(&[0, 0, 1, 5, 20, 150]),
            reorders_acks: features.reorders && chance.percent(50),
            reconnect_after_ms: chance.percent(75).then(|| chance.between(1, 400)),
            forgets: features.forgets && chance.percent(25),
            clock_percent: 100,
            stranger: false,
            pipelines: false,
            aliases: false,
            refuses: false,
        }
    }

    /// Clients with one identifier are one client to the broker: they agree on the version, and
    /// only one of them lives in the end.
    fn agree_on_shared_ids(&mut self) {
        let clients = &mut self.plan.clients;
        for index in 0..clients.len() {
            let first = clients.iter().position(|one| one.client_id == clients[index].client_id);
            if let Some(first) = first.filter(|first| *first < index) {
                clients[index].level = clients[first].level;
                self.plan.dead.push(index);
            }
        }
    }

    /// Everybody connects and subscribes before anything else happens.
    fn open(&mut self) {
        for client in 0..self.plan.clients.len() {
            let at_ms = self.chance.between(0, 200);
            self.connect(at_ms, client);
            for _ in 0..self.chance.between(0, 3) {
                let at_ms = at_ms + self.chance.between(50, 300);
                self.subscribe(at_ms, client);
            }
        }
        self.now_ms = 800;
    }

    /// The steps between the opening and the end of the faults.
    fn work(&mut self) {
        let steps = self.chance.between(60, 240);
        for _ in 0..steps {
            self.pause();
            if self.chance.percent(12) {
                self.fault();
            } else {
                self.ordinary();
            }
        }
    }

    /// Time goes on: nothing within a burst, a little between steps, now and then more.
    fn pause(&mut self) {
        let within_burst = if self.features.bursts { 70 } else { 20 };
        let pause_ms = match self.chance.below(100) {
            percent if percent < within_burst => self.chance.below(2),
            percent if percent < 96 => self.chance.between(5, 150),
            _ => self.chance.between(500, 3_000),
        };
        let long = self.scale > 1 && self.chance.percent(8);
        self.now_ms += if long { pause_ms * self.scale } else { pause_ms };
    }

    /// The faults end, and time is given for everything owed.
    fn close(&mut self) {
        if self.features.dead {
            let client = self.any_client();
            if !self.plan.dead.contains(&client) && self.plan.dead.len() + 3 < self.up.len() {
                self.plan.dead.push(client);
            }
        }
        self.plan.dead.sort_unstable();
        if !self.change_access() {
            self.bound_and_identify();
        }
        self.pipeline();
        self.have_manners();
        self.set_clocks();
        self.plan.steps.sort_by_key(|step| step.at_ms);
        let last_ms = self.plan.steps.last().map_or(0, |step| step.at_ms);
        self.plan.calm_at_ms = last_ms.max(self.now_ms) + self.chance.between(1, 300);
        self.plan.bound_ms = bound_ms(&self.plan);
    }

    fn push(&mut self, at_ms: u64, what: Do) {
        self.plan.steps.push(Step { at_ms, what });
    }

    fn any_client(&mut self) -> ClientIndex {
        let client = self.chance.below(self.plan.clients.len() as u64);
        usize::try_from(client).unwrap_or(0)
    }
}

/// How long everything owed may take once the faults are over: as if every publication went to
/// every client, one after the other, each as slowly as the slowest client and disk allow.
#[must_use]
pub fn bound_ms(plan: &Plan) -> u64 {
    let setting = |name: &str| {
        let found = plan.settings.iter().find(|(known, _)| known == name);
        found.map_or(0, |(_, value)| *value)
    };
    let hop_ms = setting("network.latency_ms") + setting("network.jitter_ms") + 2;
    let sync_ms = setting("journal.sync_ms") + 1;
    let ack_ms = plan.clients.iter().map(|client| client.ack_delay_ms).max().unwrap_or(0);
    let exchange_ms = 4 * hop_ms + 3 * sync_ms + 2 * ack_ms;
    let (mut publications, mut will_ms) = (0, 0);
    for step in &plan.steps {
        match &step.what {
            Do::Publish { .. } => publications += 1,
            Do::Connect { will: Some(will), .. } => {
                publications += 1;
                will_ms = will_ms.max(u64::from(will.delay_s) * 1000);
            }
            Do::Connect { will: None, .. }
            | Do::Subscribe { .. }
            | Do::Unsubscribe { .. }
            | Do::Ping { .. }
            | Do::Disconnect { .. }
            | Do::Vanish { .. }
            | Do::Misbehave { .. }
            | Do::Reading { .. }
            | Do::Acknowledging { .. }
            | Do::Pinging { .. }
            | Do::Network { .. }
            | Do::Broker(_)
            | Do::Frozen { .. }
            | Do::Deny(_)
            | Do::AllowAll
            | Do::Order(_)
            | Do::WallClock { .. }
            | Do::DiskSyncs { .. }
            | Do::Disk(_) => {}
        }
    }
    let keep_alive_ms =
        plan.clients.iter().map(|client| u64::from(client.keep_alive_s) * 1500).max().unwrap_or(0);
    let reconnect_ms =
        plan.clients.iter().filter_map(|client| client.reconnect_after_ms).max().unwrap_or(0);
    20_000 + keep_alive_ms + will_ms + 4 * reconnect_ms + publications * exchange_ms * 2
}
