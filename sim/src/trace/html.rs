//! A trace as one page that needs nothing but a browser: a lane for the broker and for each
//! client, packets as arrows, faults, steps and journal between them, the violation marked.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Shown;
use super::concern::Concern;
use crate::core_layer::Outcome;
use crate::history::{ConnectionNumber, What};
use crate::packet::{AckKind, Packet};
use crate::plan::{BrokerFault, ClientIndex, NetworkFault, Plan};

/// The page with a hole for the data.
const PAGE: &str = include_str!("page.html");
const HOLE: &str = "/*DATA*/null";

/// The page of a run whose lines and history were kept: of all of it, or of what concerns some of its
/// clients.
#[must_use]
pub fn page(plan: &Plan, outcome: &Outcome, concern: Option<&Concern<'_>>) -> String {
    let mut data = String::from("{\"title\":");
    let part = if concern.is_some() { ", one client alone" } else { "" };
    let title = format!("Seed {:#x}, profile {}{part}", plan.seed, plan.profile);
    text(&title, &mut data);
    let sum = format!(
        "{} clients, {} steps; {} inputs, {} packets sent, {:.3} simulated s; trace {:#018x}",
        plan.clients.len(),
        plan.steps.len(),
        outcome.inputs,
        outcome.packets,
        outcome.simulated_ms as f64 / 1000.0,
        outcome.trace_hash
    );
    data.push_str(",\"sum\":");
    text(&sum, &mut data);
    data.push_str(",\"violation\":");
    match &outcome.violation {
        None => data.push_str("null"),
        Some(violation) => {
            data.push_str("{\"guarantee\":");
            text(violation.guarantee, &mut data);
            data.push_str(",\"what\":");
            text(&violation.what, &mut data);
            let _ = write!(data, ",\"events\":{:?}}}", violation.events);
        }
    }
    data.push_str(",\"lanes\":[\"broker\"");
    let mut lanes = Lanes::default();
    for (number, client) in plan.clients.iter().enumerate() {
        if concern.is_some_and(|concern| !concern.has(number)) {
            continue;
        }
        lanes.places.insert(number, lanes.places.len() + 1);
        let is_shared =
            plan.clients.iter().filter(|other| other.client_id == client.client_id).count() > 1;
        data.push(',');
        let name = &client.client_id;
        text(&if is_shared { format!("{name} ({number})") } else { name.clone() }, &mut data);
    }
    data.push_str("],\"rows\":[");
    let mut page = Page { plan, lanes, is_first: true, data };
    let lines = match concern {
        None => outcome.lines.iter().map(String::as_str).collect(),
        Some(concern) => concern.lines(outcome),
    };
    for line in lines {
        page.line(line, outcome);
    }
    let mut data = page.data;
    data.push_str("]}");
    PAGE.replacen(HOLE, &data, 1)
}

/// A page in the making.
struct Page<'a> {
    plan: &'a Plan,
    lanes: Lanes,
    is_first: bool,
    data: String,
}

/// Who has which lane, and which connection.
#[derive(Default)]
struct Lanes {
    /// The lanes of the clients that have one; the broker's is 0.
    places: BTreeMap<ClientIndex, usize>,
    clients: BTreeMap<ConnectionNumber, ClientIndex>,
    /// The connection that each client's lane shows.
    shown: BTreeMap<ClientIndex, ConnectionNumber>,
}

/// One row.
#[derive(Default)]
struct Row<'a> {
    kind: &'a str,
    number: Option<usize>,
    /// 0 for the broker, then the clients.
    lane: Option<usize>,
    /// `in` to the broker, `out` from it.
    way: Option<&'a str>,
    color: &'a str,
    name: &'a str,
    text: &'a str,
    is_dup: bool,
    states: Vec<(usize, &'static str)>,
}

impl Page<'_> {
    fn line(&mut self, line: &str, outcome: &Outcome) {
        let Some((time, rest)) = line.trim_start().split_once(' ') else { return };
        let at_ms = time.replace('.', "").parse::<u64>().unwrap_or(0);
        let number = rest.strip_prefix('#').and_then(|rest| rest.split(' ').next()?.parse().ok());
        match number.and_then(|number: usize| Some((number, &outcome.history.get(number)?.what))) {
            Some((number, what)) => self.event(at_ms, number, what),
            None => self.note(at_ms, rest),
        }
    }

    /// What is not observed: steps, journal, and the broker's notices.
    fn note(&mut self, at_ms: u64, rest: &str) {
        let rest = rest.trim_start();
        if let Some(place) = rest.strip_prefix("step ").and_then(|place| place.parse().ok())
            && let Some(step) = self.plan.steps.get::<usize>(place)
        {
            let shown = step.to_text();
            let shown = shown.split_once(' ').map_or("", |(_, rest)| rest);
            let shown = shown.split_once(' ').map_or("", |(_, rest)| rest);
            let lane = step.what.client().map_or(Some(0), |client| self.lane(client));
            let row = Row { kind: "step", lane, text: shown.trim_end(), ..Row::default() };
            return self.row(at_ms, &row);
        }
        let mut states = Vec::new();
        if rest.starts_with("SessionEnded ") {
            let ended = |client_id: &str| rest.contains(&format!("client_id: {client_id:?},"));
            for (client, spec) in self.plan.clients.iter().enumerate() {
                if ended(&spec.client_id) && !self.lanes.shown.contains_key(&client) {
                    states.extend(self.lane(client).map(|lane| (lane, "none")));
                }
            }
        }
        // A disk does many things for every packet: they are for those who ask.
        let kind = if rest.starts_with("disk ") { "disk" } else { "note" };
        let row = Row { kind, lane: Some(0), text: rest, states, ..Row::default() };
        self.row(at_ms, &row);
    }

    fn event(&mut self, at_ms: u64, number: usize, what: &What) {
        let shown = Shown(what).to_string();
        let mut row = Row { kind: "packet", number: Some(number), ..Row::default() };
        match what {
            What::Sent { connection, packet } => {
                return self.packet(at_ms, row, *connection, packet, &shown);
            }
            What::Received { connection, packet, .. } => {
                row.way = Some("out");
                return self.packet(at_ms, row, *connection, packet, &shown);
            }
            What::Opened { client, connection } => {
                self.lanes.clients.insert(*connection, *client);
                self.lanes.shown.insert(*client, *connection);
                (row.kind, row.lane, row.color) = ("event", self.lane(*client), "connect");
                row.states.extend(row.lane.map(|lane| (lane, "asking")));
            }
            What::Undecodable { connection, .. } | What::Misbehaved { connection, .. } => {
                row.kind = "event";
                row.lane = self.lane_of(*connection);
            }
            What::Ended { connection, .. } => {
                let client = self.lanes.clients.get(connection).copied();
                (row.kind, row.lane, row.color) = ("event", self.lane_of(*connection), "leave");
                let is_shown =
                    |client: &ClientIndex| self.lanes.shown.get(client) == Some(connection);
                if let Some(client) = client.filter(is_shown) {
                    self.lanes.shown.remove(&client);
                    row.states.extend(row.lane.map(|lane| (lane, "away")));
                }
            }
            What::Holding { client, serving } => {
                (row.kind, row.lane, row.color) = ("fault", self.lane(*client), "leave");
                let state = if *serving { "on" } else { "slow" };
                row.states.extend(self.connected(*client).map(|lane| (lane, state)));
            }
            What::Network { client, fault } => {
                (row.kind, row.lane, row.color) = ("fault", self.lane(*client), "leave");
                let state = match fault {
                    NetworkFault::Hold | NetworkFault::Drip | NetworkFault::Unreachable => "slow",
                    NetworkFault::Release => "on",
                    NetworkFault::BlackHoleToBroker
                    | NetworkFault::BlackHoleToClient
                    | NetworkFault::HalfClose => "cut",
                    NetworkFault::Reset => "away",
                };
                row.states.extend(self.connected(*client).map(|lane| (lane, state)));
            }
            What::Broker(fault) => {
                (row.kind, row.lane, row.color) = ("fault", Some(0), "leave");
                let is_up = *fault == BrokerFault::Start;
                row.states.push((0, if is_up { "on" } else { "down" }));
            }
            What::Denied(_)
            | What::Beside(_)
            | What::WallClock { .. }
            | What::Kept(_)
            | What::Absent { .. }
            | What::Dropped { .. } => {
                (row.kind, row.lane) = ("note", Some(0));
            }
            What::Calm => (row.kind, row.text) = ("fault", "the faults end; who lives comes back"),
            What::End => {
                (row.kind, row.text) = ("fault", "the end: all that is owed must have happened");
            }
        }
        let text = if row.text.is_empty() { &shown } else { row.text };
        self.row(at_ms, &Row { text, ..row });
    }

    /// A packet that was read, or sent if the row does not say so.
    fn packet(
        &mut self,
        at_ms: u64,
        mut row: Row<'_>,
        connection: ConnectionNumber,
        packet: &Packet,
        shown: &str,
    ) {
        row.lane = self.lane_of(connection);
        row.way = row.way.or(Some("in"));
        row.color = color(packet);
        row.is_dup = matches!(packet, Packet::Publish(publish) if publish.dup);
        let accepted = matches!(packet, Packet::ConnAck { reason: 0, .. });
        row.states.extend(row.lane.filter(|_| accepted).map(|lane| (lane, "on")));
        // `n7 -> PUBLISH ...`: the name stands for itself, the connection is told last.
        let words = shown.splitn(4, ' ').collect::<Vec<_>>();
        let name = words.get(2).copied().unwrap_or_default();
        let rest = words.get(3).copied().unwrap_or_default();
        self.row(at_ms, &Row { name, text: &format!("{rest}  [n{connection}]"), ..row });
    }

    /// A client's lane, if it has a connection.
    fn connected(&self, client: ClientIndex) -> Option<usize> {
        self.lane(client).filter(|_| self.lanes.shown.contains_key(&client))
    }

    fn lane(&self, client: ClientIndex) -> Option<usize> {
        self.lanes.places.get(&client).copied()
    }

    fn lane_of(&self, connection: ConnectionNumber) -> Option<usize> {
        self.lanes.clients.get(&connection).and_then(|client| self.lane(*client))
    }

    fn row(&mut self, at_ms: u64, row: &Row<'_>) {
        let data = &mut self.data;
        if !std::mem::take(&mut self.is_first) {
            data.push(',');
        }
        let _ = write!(data, "\n{{\"at\":{at_ms},\"kind\":\"{}\"", row.kind);
        if let Some(number) = row.number {
            let _ = write!(data, ",\"number\":{number}");
        }
        if let Some(lane) = row.lane {
            let _ = write!(data, ",\"lane\":{lane}");
        }
        if let Some(way) = row.way {
            let _ = write!(data, ",\"way\":\"{way}\"");
        }
        if !row.color.is_empty() {
            let _ = write!(data, ",\"color\":\"{}\"", row.color);
        }
        if row.is_dup {
            data.push_str(",\"dup\":true");
        }
        if !row.name.is_empty() {
            data.push_str(",\"name\":");
            text(row.name, data);
        }
        if !row.states.is_empty() {
            let states = row.states.iter().map(|(lane, state)| format!("[{lane},\"{state}\"]"));
            let _ = write!(data, ",\"states\":[{}]", states.collect::<Vec<_>>().join(","));
        }
        data.push_str(",\"text\":");
        text(row.text, data);
        data.push('}');
    }
}

/// The family of a packet, as the page colours it.
fn color(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(_) | Packet::ConnAck { .. } | Packet::Auth { .. } => "connect",
        Packet::Publish(_) => "publish",
        Packet::Ack { kind, .. } => match kind {
            AckKind::PubAck | AckKind::PubRec | AckKind::PubRel | AckKind::PubComp => "ack",
        },
        Packet::Subscribe { .. }
        | Packet::SubAck { .. }
        | Packet::Unsubscribe { .. }
        | Packet::UnsubAck { .. } => "subscribe",
        Packet::PingReq | Packet::PingResp => "",
        Packet::Disconnect { .. } => "leave",
    }
}

/// A text as JSON that cannot end the script around it.
fn text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '<' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn no_text_ends_the_script() {
        let mut out = String::new();
        text("a\"b\\</script>\n\u{2028}é", &mut out);
        assert_eq!(out, "\"a\\\"b\\\\\\u003c/script>\\u000a\\u2028é\"");
    }
}
