//! A plan as text and back: one line a step, made to be read and edited by hand.
//!
//! A line is a verb, then words, then `name=value` fields in any order; fields at their default
//! are left out. Texts stand in double quotes when they are empty or hold anything unusual. `#`
//! begins a comment.

use std::fmt::Write as _;

use super::{ClientSpec, Denial, DiskFault, Do, Order, Plan, Step, WillSpec};

mod line;
mod names;

use line::{Line, Writer};
use names::{
    broker_name, network_name, operation_name, read_broker, read_network, read_operation,
    read_switch, switch,
};

/// The version of the format, on the first line.
const VERSION: &str = "1";

/// Why a text is not a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// The line, from 1; 0 for the text as a whole.
    pub line: usize,
    /// What is wrong with it.
    pub cause: String,
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            f.write_str(&self.cause)
        } else {
            write!(f, "line {}: {}", self.line, self.cause)
        }
    }
}

impl std::error::Error for PlanError {}

impl ClientSpec {
    /// A client that does nothing unusual: what a plan's text leaves out.
    #[must_use]
    pub fn plain(client_id: &str) -> Self {
        ClientSpec {
            client_id: client_id.to_owned(),
            level: 5,
            session_expiry_interval_s: 0,
            keep_alive_s: 0,
            receive_maximum: u16::MAX,
            later_receive_maximum: 0,
            maximum_packet_size_bytes: 0,
            topic_alias_maximum: 0,
            ack_delay_ms: 0,
            reorders_acks: false,
            reconnect_after_ms: None,
            forgets: false,
            clock_percent: 100,
            stranger: false,
            pipelines: false,
            aliases: false,
            refuses: false,
        }
    }
}

impl Plan {
    /// The plan as text; [`Plan::from_text`] gives the same plan back.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("plan {VERSION}\nseed {:#018x}\n", self.seed);
        let mut line = Writer::new("profile");
        line.text(&self.profile);
        line.end(&mut text);
        for (name, value) in &self.settings {
            let mut line = Writer::new("set");
            line.text(name);
            line.word(value);
            line.end(&mut text);
        }
        for client in &self.clients {
            write_client(client, &mut text);
        }
        let _ = writeln!(text, "calm {}\nbound {}", self.calm_at_ms, self.bound_ms);
        for client in &self.dead {
            let _ = writeln!(text, "dead {client}");
        }
        for step in &self.steps {
            write_step(step, &mut text);
        }
        text
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// [`PlanError`] at the first line that is not understood, or for what is missing as a whole.
    pub fn from_text(text: &str) -> Result<Self, PlanError> {
        let mut plan = Plan {
            seed: 0,
            profile: "hand".to_owned(),
            settings: Vec::new(),
            clients: Vec::new(),
            steps: Vec::new(),
            calm_at_ms: 0,
            dead: Vec::new(),
            bound_ms: 0,
        };
        let mut versioned = false;
        for (number, text) in (1..).zip(text.lines()) {
            let read = Line::new(text).and_then(|line| match line {
                Some(mut line) => {
                    read_line(&mut line, &mut plan, &mut versioned)?;
                    line.end()
                }
                None => Ok(()),
            });
            read.map_err(|cause| PlanError { line: number, cause })?;
        }
        if !versioned {
            return Err(PlanError { line: 0, cause: "there is no line `plan 1`".to_owned() });
        }
        check(&plan).map_err(|cause| PlanError { line: 0, cause })?;
        Ok(plan)
    }
}

/// What no single line shows.
fn check(plan: &Plan) -> Result<(), String> {
    let clients = plan.clients.len();
    for step in &plan.steps {
        if let Some(client) = step.what.client().filter(|client| *client >= clients) {
            return Err(format!(
                "a step at {} speaks of client {client}; there are {clients}",
                step.at_ms
            ));
        }
    }
    if let Some(client) = plan.dead.iter().find(|client| **client >= clients) {
        return Err(format!("client {client} is dead; there are {clients}"));
    }
    if !plan.steps.is_sorted_by_key(|step| step.at_ms) {
        return Err("the steps are not in the order of time".to_owned());
    }
    Ok(())
}

impl Do {
    /// The client that a step is about, if it is about one.
    #[must_use]
    pub fn client(&self) -> Option<super::ClientIndex> {
        self.clone().client_mut().copied()
    }

    /// The client that a step is about, to be changed.
    pub(crate) fn client_mut(&mut self) -> Option<&mut super::ClientIndex> {
        match self {
            Do::Connect { client, .. }
            | Do::Subscribe { client, .. }
            | Do::Unsubscribe { client, .. }
            | Do::Publish { client, .. }
            | Do::Ping { client }
            | Do::Disconnect { client, .. }
            | Do::Vanish { client }
            | Do::Misbehave { client, .. }
            | Do::Reading { client, .. }
            | Do::Acknowledging { client, .. }
            | Do::Pinging { client, .. }
            | Do::Network { client, .. } => Some(client),
            Do::Broker(_)
            | Do::Frozen { .. }
            | Do::Deny(_)
            | Do::AllowAll
            | Do::Order(_)
            | Do::WallClock { .. }
            | Do::DiskSyncs { .. }
            | Do::Disk(_) => None,
        }
    }
}

fn write_client(client: &ClientSpec, text: &mut String) {
    let plain = ClientSpec::plain("");
    let mut line = Writer::new("client");
    line.text(&client.client_id);
    line.field("level", client.level, plain.level);
    line.field("expiry_s", client.session_expiry_interval_s, plain.session_expiry_interval_s);
    line.field("keep_alive_s", client.keep_alive_s, plain.keep_alive_s);
    line.field("receive_maximum", client.receive_maximum, plain.receive_maximum);
    line.field("later_receive_maximum", client.later_receive_maximum, 0);
    line.field(
        "maximum_packet_bytes",
        client.maximum_packet_size_bytes,
        plain.maximum_packet_size_bytes,
    );
    line.field("topic_alias_maximum", client.topic_alias_maximum, plain.topic_alias_maximum);
    line.field("ack_delay_ms", client.ack_delay_ms, plain.ack_delay_ms);
    line.flag("reorders_acks", client.reorders_acks);
    if let Some(after_ms) = client.reconnect_after_ms {
        line.value("reconnect_after_ms", after_ms);
    }
    line.flag("forgets", client.forgets);
    line.field("clock_percent", client.clock_percent, plain.clock_percent);
    line.flag("stranger", client.stranger);
    line.flag("pipelines", client.pipelines);
    line.flag("aliases", client.aliases);
    line.flag("refuses", client.refuses);
    line.end(text);
}

fn read_client(line: &mut Line) -> Result<ClientSpec, String> {
    let plain = ClientSpec::plain(&line.text("a client identifier")?);
    Ok(ClientSpec {
        level: line.or("level", plain.level)?,
        session_expiry_interval_s: line.or("expiry_s", plain.session_expiry_interval_s)?,
        keep_alive_s: line.or("keep_alive_s", plain.keep_alive_s)?,
        receive_maximum: line.or("receive_maximum", plain.receive_maximum)?,
        later_receive_maximum: line.or("later_receive_maximum", 0)?,
        maximum_packet_size_bytes: line
            .or("maximum_packet_bytes", plain.maximum_packet_size_bytes)?,
        topic_alias_maximum: line.or("topic_alias_maximum", plain.topic_alias_maximum)?,
        ack_delay_ms: line.or("ack_delay_ms", plain.ack_delay_ms)?,
        reorders_acks: line.is_set("reorders_acks"),
        reconnect_after_ms: line.optional("reconnect_after_ms")?,
        forgets: line.is_set("forgets"),
        clock_percent: line.or("clock_percent", plain.clock_percent)?,
        stranger: line.is_set("stranger"),
        pipelines: line.is_set("pipelines"),
        aliases: line.is_set("aliases"),
        refuses: line.is_set("refuses"),
        ..plain
    })
}

fn read_line(line: &mut Line, plan: &mut Plan, versioned: &mut bool) -> Result<(), String> {
    let verb = line.verb().to_owned();
    if !*versioned {
        if verb != "plan" {
            return Err(format!("`plan {VERSION}` comes first"));
        }
        let version = line.text("a version")?;
        if version != VERSION {
            return Err(format!("version {version} of plans is not known; {VERSION} is"));
        }
        *versioned = true;
        return Ok(());
    }
    match verb.as_str() {
        "seed" => plan.seed = line.number("a seed")?,
        "profile" => plan.profile = line.text("a profile")?,
        "set" => plan.settings.push((line.text("a setting")?, line.number("its value")?)),
        "client" => plan.clients.push(read_client(line)?),
        "calm" => plan.calm_at_ms = line.number("a moment")?,
        "bound" => plan.bound_ms = line.number("a duration")?,
        "dead" => plan.dead.push(line.number("a client")?),
        "at" => {
            let at_ms = line.number("a moment")?;
            let what = read_step(line)?;
            plan.steps.push(Step { at_ms, what });
        }
        other => return Err(format!("`{other}` is not known here")),
    }
    Ok(())
}

impl Step {
    /// The step as a line of a plan's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        write_step(self, &mut text);
        text
    }
}

fn write_step(step: &Step, text: &mut String) {
    let mut line = Writer::new("at");
    line.word(&step.at_ms);
    write_what(&step.what, &mut line);
    line.end(text);
}

fn write_what(what: &Do, line: &mut Writer) {
    match what {
        Do::Connect { client, clean_start, will } => {
            line.word(&"connect").word(client);
            line.flag("clean", *clean_start);
            if let Some(will) = will {
                write_will(will, line);
            }
        }
        Do::Subscribe { .. } => write_subscribe(what, line),
        Do::Unsubscribe { client, filter, joined } => {
            line.word(&"unsubscribe").word(client);
            line.text(filter);
            line.flag("joined", *joined);
        }
        Do::Publish { .. } => write_publish(what, line),
        Do::Ping { client } => drop(line.word(&"ping").word(client)),
        Do::Disconnect { client, reason, session_expiry_interval_s } => {
            line.word(&"disconnect").word(client);
            line.field("reason", *reason, 0);
            if let Some(expiry_s) = session_expiry_interval_s {
                line.value("expiry_s", *expiry_s);
            }
        }
        Do::Vanish { client } => drop(line.word(&"vanish").word(client)),
        Do::Misbehave { client, way } => drop(line.word(&"misbehave").word(client).word(way)),
        Do::Reading { client, on } => drop(line.word(&"reading").word(client).word(&switch(*on))),
        Do::Acknowledging { client, on } => {
            line.word(&"acknowledging").word(client).word(&switch(*on));
        }
        Do::Pinging { client, on } => drop(line.word(&"pinging").word(client).word(&switch(*on))),
        Do::Network { client, fault } => {
            line.word(&"network").word(client).word(&network_name(*fault));
        }
        Do::Broker(fault) => drop(line.word(&"broker").word(&broker_name(*fault))),
        Do::Frozen { on } => drop(line.word(&"frozen").word(&switch(*on))),
        Do::Deny(Denial { client_id, filter, publish, read }) => {
            line.word(&"deny");
            line.text(client_id);
            line.text(filter);
            line.flag("publish", *publish);
            line.flag("read", *read);
        }
        Do::AllowAll => drop(line.word(&"allow_all")),
        Do::Order(order) => write_order(order, line),
        Do::WallClock { by_ms } => drop(line.word(&"wall_clock").word(by_ms)),
        Do::DiskSyncs { on } => drop(line.word(&"disk_syncs").word(&switch(*on))),
        Do::Disk(fault) => write_disk(*fault, line),
    }
}

fn write_order(order: &Order, line: &mut Writer) {
    let (word, client_id) = match order {
        Order::Disconnect { client_id } => ("send_away", client_id),
        Order::EndSession { client_id } => ("end_session", client_id),
        Order::Backup => {
            line.word(&"backup");
            return;
        }
    };
    line.word(&word);
    line.text(client_id);
}

fn write_disk(fault: DiskFault, line: &mut Writer) {
    match fault {
        DiskFault::Fail { operation, count } => {
            line.word(&"disk_fails").word(&operation_name(operation)).word(&count);
        }
        DiskFault::Space { left_bytes: Some(bytes) } => drop(line.word(&"disk_left").word(&bytes)),
        DiskFault::Space { left_bytes: None } => drop(line.word(&"disk_has_space")),
        DiskFault::Rot { place } => drop(line.word(&"disk_rots").word(&place)),
    }
}

fn write_will(will: &WillSpec, line: &mut Writer) {
    line.quoted("will", &will.topic);
    line.field("will_qos", will.qos, 0);
    line.flag("will_retain", will.retain);
    line.field("will_delay_s", will.delay_s, 0);
    line.field("will_expiry_s", will.expiry_s, 0);
}

fn write_subscribe(what: &Do, line: &mut Writer) {
    let Do::Subscribe {
        client,
        filter,
        qos,
        no_local,
        retain_as_published,
        retain_handling,
        subscription_id,
        joined,
    } = what
    else {
        return;
    };
    line.word(&"subscribe").word(client);
    line.text(filter);
    line.field("qos", *qos, 0);
    line.flag("no_local", *no_local);
    line.flag("retain_as_published", *retain_as_published);
    line.field("retain_handling", *retain_handling, 0);
    line.field("id", *subscription_id, 0);
    line.flag("joined", *joined);
}

fn write_publish(what: &Do, line: &mut Writer) {
    let Do::Publish { client, topic, qos, retain, fill_bytes, clears, expiry_s, user_properties } =
        what
    else {
        return;
    };
    line.word(&"publish").word(client);
    line.text(topic);
    line.field("qos", *qos, 0);
    line.flag("retain", *retain);
    line.field("fill_bytes", *fill_bytes, 0);
    line.flag("clears", *clears);
    line.field("expiry_s", *expiry_s, 0);
    line.field("user_properties", *user_properties, 0);
}

fn read_step(line: &mut Line) -> Result<Do, String> {
    let verb = line.text("what happens")?;
    match verb.as_str() {
        "broker" => return Ok(Do::Broker(read_broker(line)?)),
        "frozen" => return Ok(Do::Frozen { on: read_switch(line)? }),
        "deny" => return Ok(Do::Deny(read_denial(line)?)),
        "allow_all" => return Ok(Do::AllowAll),
        "send_away" | "end_session" | "backup" => return Ok(Do::Order(read_order(&verb, line)?)),
        "wall_clock" => {
            let text = line.text("milliseconds")?;
            let by_ms =
                text.parse().map_err(|_| format!("`{text}` is no time to set a clock by"))?;
            return Ok(Do::WallClock { by_ms });
        }
        "disk_syncs" => return Ok(Do::DiskSyncs { on: read_switch(line)? }),
        "disk_fails" => {
            let (operation, count) = (read_operation(line)?, line.number("how many")?);
            return Ok(Do::Disk(DiskFault::Fail { operation, count }));
        }
        "disk_left" => {
            let left_bytes = Some(line.number("how many bytes")?);
            return Ok(Do::Disk(DiskFault::Space { left_bytes }));
        }
        "disk_has_space" => return Ok(Do::Disk(DiskFault::Space { left_bytes: None })),
        "disk_rots" => return Ok(Do::Disk(DiskFault::Rot { place: line.number("a place")? })),
        _ => {}
    }
    let client = line.number("a client")?;
    Ok(match verb.as_str() {
        "connect" => {
            Do::Connect { client, clean_start: line.is_set("clean"), will: read_will(line)? }
        }
        "subscribe" => read_subscribe(line, client)?,
        "unsubscribe" => Do::Unsubscribe {
            client,
            filter: line.text("a filter")?,
            joined: line.is_set("joined"),
        },
        "publish" => Do::Publish {
            client,
            topic: line.text("a topic")?,
            qos: line.or("qos", 0)?,
            retain: line.is_set("retain"),
            fill_bytes: line.or("fill_bytes", 0)?,
            clears: line.is_set("clears"),
            expiry_s: line.or("expiry_s", 0)?,
            user_properties: line.or("user_properties", 0)?,
        },
        "ping" => Do::Ping { client },
        "disconnect" => Do::Disconnect {
            client,
            reason: line.or("reason", 0)?,
            session_expiry_interval_s: line.optional("expiry_s")?,
        },
        "vanish" => Do::Vanish { client },
        "misbehave" => Do::Misbehave { client, way: line.number("a way")? },
        "reading" => Do::Reading { client, on: read_switch(line)? },
        "acknowledging" => Do::Acknowledging { client, on: read_switch(line)? },
        "pinging" => Do::Pinging { client, on: read_switch(line)? },
        "network" => Do::Network { client, fault: read_network(line)? },
        other => return Err(format!("`{other}` is nothing that can happen")),
    })
}

fn read_order(verb: &str, line: &mut Line) -> Result<Order, String> {
    if verb == "backup" {
        return Ok(Order::Backup);
    }
    let client_id = line.text("a client identifier")?;
    Ok(if verb == "end_session" {
        Order::EndSession { client_id }
    } else {
        Order::Disconnect { client_id }
    })
}

fn read_subscribe(line: &mut Line, client: usize) -> Result<Do, String> {
    Ok(Do::Subscribe {
        client,
        filter: line.text("a filter")?,
        qos: line.or("qos", 0)?,
        no_local: line.is_set("no_local"),
        retain_as_published: line.is_set("retain_as_published"),
        retain_handling: line.or("retain_handling", 0)?,
        subscription_id: line.or("id", 0)?,
        joined: line.is_set("joined"),
    })
}

fn read_denial(line: &mut Line) -> Result<Denial, String> {
    Ok(Denial {
        client_id: line.text("a client identifier")?,
        filter: line.text("a filter")?,
        publish: line.is_set("publish"),
        read: line.is_set("read"),
    })
}

fn read_will(line: &mut Line) -> Result<Option<WillSpec>, String> {
    let Some(topic) = line.optional("will")? else { return Ok(None) };
    Ok(Some(WillSpec {
        topic,
        qos: line.or("will_qos", 0)?,
        retain: line.is_set("will_retain"),
        delay_s: line.or("will_delay_s", 0)?,
        expiry_s: line.or("will_expiry_s", 0)?,
    }))
}
