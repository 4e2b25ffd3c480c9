//! Plays a transcript against a broker: connections by name, a journal, a clock.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use signalhouse_core::input::{AuthOutcome, Command, Gone};
use signalhouse_core::message::MessageId;
use signalhouse_core::record::RetainedChange;
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, JournalRoom, LogPosition, Notice, Outbox, Record,
    Seed, Time,
};

use crate::edge::{Arrived, Edge, decode_error};
use crate::look::look;
use crate::observed::Observed;
use crate::parse::{Args, Line, number, text};
use crate::show::Shown;
use crate::{packets, settings, show};

/// Every transcript begins at this moment.
pub(crate) const START: Time = Time::from_ms(1_700_000_000_000);
/// More rounds than this after one command, and the broker never comes to rest.
const ROUNDS: usize = 10_000;

/// What came of a transcript.
pub(crate) struct Played {
    /// The transcript with the outputs that came.
    pub(crate) text: String,
    /// What went over the connections, with milliseconds since [`START`].
    pub(crate) observed: Vec<(u64, Observed)>,
    config: Config,
    now: Time,
    journal: Vec<Record>,
}

/// Plays `transcript`, or says which line makes no sense or makes the broker panic.
pub(crate) fn play(transcript: &str) -> Result<Played, String> {
    let mut line = String::new();
    // Nothing of a broker that panicked is looked at again.
    let played = catch_unwind(AssertUnwindSafe(|| play_lines(transcript, &mut line)));
    played.unwrap_or_else(|_| Err(format!("{line}: the broker panics")))
}

fn play_lines(transcript: &str, playing: &mut String) -> Result<Played, String> {
    let mut world = World::new();
    let mut actual = String::new();
    for (index, line) in transcript.lines().enumerate() {
        *playing = format!("line {}: {line}", index + 1);
        match Line::of(line) {
            Line::Output => continue,
            Line::Remark => actual.push_str(line),
            Line::Directive(directive) => {
                world.obey(directive).map_err(|e| format!("{playing}: {e}"))?;
                actual.push_str(line);
            }
            Line::Command(command) => {
                let said = world.run(command).map_err(|e| format!("{playing}: {e}"))?;
                actual.push_str(line);
                for output in said {
                    actual.push('\n');
                    actual.push_str(&output);
                }
            }
        }
        actual.push('\n');
    }
    let World { config, now, journal, observed, .. } = world;
    Ok(Played { text: actual, observed, config, now, journal })
}

impl Played {
    /// Recovers from every prefix of the journal, and from the snapshot of what was recovered.
    pub(crate) fn check_every_prefix(&self) -> Result<(), String> {
        for length in 0..=self.journal.len() {
            let through = LogPosition(length as u64);
            let recover = |records: Vec<Record>| {
                Broker::recover(self.config.clone(), Seed(1), self.now, through, records)
                    .map_err(|error| format!("the first {length} records: {error}"))
            };
            let whole = |records| with_messages(records, &self.journal);
            let snapshot = whole(recover(self.journal[..length].to_vec())?.snapshot());
            let again = whole(recover(snapshot.clone())?.snapshot());
            if again != snapshot {
                let lines = |records: &[Record]| {
                    records.iter().map(show::record).collect::<Vec<_>>().join("\n    ")
                };
                return Err(format!(
                    "the first {length} records come to\n    {}\n  and that to\n    {}",
                    lines(&snapshot),
                    lines(&again)
                ));
            }
        }
        Ok(())
    }
}

/// The durable state as lines. Counters are left out, because the journal does not know of the
/// numbers that went to what was never recorded, and so is what has expired and is retained no more.
fn durable_lines(broker: &Broker, now: Time, journal: &[Record]) -> Vec<String> {
    let mut lines = Vec::new();
    for mut record in with_messages(broker.snapshot(), journal) {
        if let Record::Published { message, retained, entries, .. } = &mut record
            && message.is_expired(now)
        {
            if entries.is_empty() {
                continue;
            }
            *retained = RetainedChange::None;
        }
        if !matches!(record, Record::Counters { .. }) {
            lines.push(format!("{record:?}"));
        }
    }
    lines
}

/// A snapshot with the messages that the broker has left to the journal.
fn with_messages(snapshot: Vec<Record>, journal: &[Record]) -> Vec<Record> {
    let find = |id| journal.iter().find_map(|record| record.message(id)).cloned();
    snapshot.into_iter().map(|record| record.with_message(find)).collect()
}

struct Connection {
    id: ConnectionId,
    open: bool,
    edge: Edge,
}

struct World {
    config: Config,
    broker: Option<Broker>,
    now: Time,
    /// When the broker was last called.
    called_at: Time,
    connections: BTreeMap<String, Connection>,
    journal: Vec<Record>,
    durable: u64,
    marks: BTreeMap<String, u64>,
    manual_durable: bool,
    manual_resume: bool,
    manual_fetch: bool,
    /// Messages to be read back.
    fetches: VecDeque<MessageId>,
    shown: Shown,
    outbox: Outbox,
    said: Vec<String>,
    observed: Vec<(u64, Observed)>,
}

impl World {
    fn new() -> Self {
        World {
            // Without $SYS messages and their deadline, which would be in every story.
            config: Config { sys_interval_ms: 0, ..Config::default() },
            broker: None,
            now: START,
            called_at: START,
            connections: BTreeMap::new(),
            journal: Vec::new(),
            durable: 0,
            marks: BTreeMap::new(),
            manual_durable: false,
            manual_resume: false,
            manual_fetch: false,
            fetches: VecDeque::new(),
            shown: Shown::default(),
            outbox: Outbox::new(),
            said: Vec::new(),
            observed: Vec::new(),
        }
    }

    fn obey(&mut self, directive: &str) -> Result<(), String> {
        let mut args = Args::parse(directive)?;
        let verb = args.word("the directive")?;
        if verb == "config" {
            if self.broker.is_some() {
                return Err("config comes before the first command".into());
            }
            return settings::apply(&mut self.config, &mut args);
        }
        while let Some(what) = args.optional_word() {
            match (verb.as_str(), what.as_str()) {
                ("manual", "durable") => self.manual_durable = true,
                ("automatic", "durable") => self.manual_durable = false,
                ("manual", "resume") => self.manual_resume = true,
                ("automatic", "resume") => self.manual_resume = false,
                ("manual", "fetch") => self.manual_fetch = true,
                ("automatic", "fetch") => self.manual_fetch = false,
                ("show", "fetches") => self.shown.fetches = true,
                ("show", "records") => self.shown.records = true,
                ("show", "notices") => self.shown.notices = true,
                ("show", "connack") => self.shown.connack = true,
                ("show", "details") => self.shown.details = true,
                (_, _) => return Err(format!("unknown directive `{verb} {what}`")),
            }
        }
        args.finish()
    }

    /// Runs one command and returns what came of it.
    fn run(&mut self, command: &str) -> Result<Vec<String>, String> {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "open" => self.open_command(rest)?,
            "time" => {
                self.clock(rest)?;
                self.input(Input::Deadline);
            }
            "clock" => self.clock(rest)?,
            "durable" => {
                let through = self.position(rest)?;
                self.make_durable(through)?;
            }
            "mark" => {
                self.marks.insert(rest.trim().to_owned(), self.journal_end());
            }
            "resume" => {
                let budget = if rest.is_empty() { 1000 } else { number(rest)? };
                self.with_broker(|broker, now, out| broker.resume(now, budget, out));
            }
            "journal" => {
                let room = match rest.trim() {
                    "used-up" => JournalRoom::UsedUp,
                    "short" => JournalRoom::Short,
                    "roomy" => JournalRoom::Ample,
                    other => {
                        return Err(format!("a journal is used-up, short or roomy, not `{other}`"));
                    }
                };
                self.input(Input::JournalSpace { room });
            }
            "fetched" => {
                let id = MessageId(number(rest.trim().trim_start_matches('m'))?);
                let place = self.fetches.iter().position(|asked| *asked == id);
                self.fetches.remove(place.ok_or("nobody asked for this message")?);
                self.bring(id)?;
            }
            "accept" | "continue" | "refuse" => self.answer(verb, rest)?,
            "command" => {
                let command: Command = packets::command(rest)?;
                self.order(command);
            }
            "quotas" => self.input(Input::Command(packets::quotas(rest)?)),
            "permissions" => self.order(packets::permissions(rest)?),
            "crash" => self.crash(rest)?,
            "deadline" => self.deadline(),
            "look" => {
                let now = self.now;
                let lines = look(self.broker(), now, rest)?;
                self.said.extend(lines);
            }
            name => self.connection_command(name, rest)?,
        }
        self.settle()?;
        self.snapshot_check();
        Ok(std::mem::take(&mut self.said))
    }

    fn order(&mut self, command: Command) {
        let observed = match &command {
            Command::Publish(publish) => {
                Some(Observed::Ordered { bytes: packets::as_publish(publish) })
            }
            Command::PublishFor(request) => Some(Observed::Requested {
                bytes: packets::as_publish(&request.message),
                ticket: request.ticket,
                once: request.once.clone(),
                publisher: request.publisher.clone().map(Box::new),
            }),
            Command::EndSession { client_id } => {
                Some(Observed::SessionEnded { client_id: client_id.clone() })
            }
            Command::SetPermissions(permissions) => Some(Observed::Ruled(permissions.clone())),
            Command::ConfirmTime => Some(Observed::TimeConfirmed),
            Command::Disconnect { client_id, reason } => {
                Some(Observed::SentAway { client_id: Some(client_id.clone()), reason: *reason })
            }
            Command::Stop { reason, server_reference: _ } => {
                Some(Observed::SentAway { client_id: None, reason: *reason })
            }
            Command::SetQuotas(_) => None,
        };
        self.notice_step();
        if let Some(observed) = observed {
            self.observe(observed);
        }
        self.input(Input::Command(command));
    }

    /// The broker is about to see the time.
    fn notice_step(&mut self) {
        let by_ms = self.now.since_ms(self.called_at);
        self.called_at = self.now;
        if by_ms > 0 {
            self.observe(Observed::Stepped { by_ms });
        }
    }

    fn open_command(&mut self, rest: &str) -> Result<(), String> {
        let mut args = Args::parse(rest)?;
        let name = args.word("the connection")?;
        let room_bytes = args.number("room")?.unwrap_or(u32::MAX);
        args.finish()?;
        self.open(&name, room_bytes)
    }

    fn open(&mut self, name: &str, room_bytes: u32) -> Result<(), String> {
        let count = u32::try_from(self.connections.len()).map_err(|e| e.to_string())?;
        let entry = self.connections.entry(name.to_owned());
        let connection = entry
            .and_modify(|connection| connection.id.generation += u32::from(!connection.open))
            .or_insert(Connection {
                id: ConnectionId { index: count, generation: 0 },
                open: false,
                edge: Edge::new(&self.config),
            });
        if connection.open {
            return Err(format!("{name} is open already"));
        }
        connection.open = true;
        connection.edge = Edge::new(&self.config);
        let connection = connection.id;
        self.observe(Observed::Opened { connection });
        self.input(Input::Opened { connection, peer: text("test")?, room_bytes });
        Ok(())
    }

    fn connection_command(&mut self, name: &str, rest: &str) -> Result<(), String> {
        let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_open = self.connections.get(name).is_some_and(|connection| connection.open);
        if verb == "connect" && !is_open {
            self.open(name, u32::MAX)?;
        }
        let connection = self.id_of(name)?;
        let mut args = Args::parse_groups(rest)?.remove(0);
        match verb {
            "closed" => {
                let cause = if args.flag("failed") { Gone::Failed } else { Gone::PeerClosed };
                args.finish()?;
                self.forget(connection);
                self.observe(Observed::Gone { connection });
                self.input(Input::Closed { connection, cause });
            }
            "writable" => {
                let room_bytes = number(&args.word("the room")?)?;
                args.finish()?;
                self.input(Input::Writable { connection, room_bytes });
            }
            "malformed" => {
                let version = packets::version(&mut args)?;
                let error = args.optional_word().unwrap_or_else(|| "Truncated".into());
                args.finish()?;
                let error = decode_error(&error)?;
                self.connection(name)?.edge.refuse_in(version);
                self.observe(Observed::Malformed { connection });
                self.input(Input::Malformed { connection, error, version });
            }
            verb => {
                let packet = packets::client_packet(verb, rest, name)?;
                let arrived = self.connection(name)?.edge.arrive(&packet)?;
                let bytes = self.connection(name)?.edge.last_bytes.clone();
                match arrived {
                    Arrived::Packet(packet) => {
                        self.observe(Observed::Sent { connection, bytes });
                        self.input(Input::Packet { connection, packet });
                    }
                    Arrived::Fault(error, version) => {
                        self.observe(Observed::Malformed { connection });
                        self.input(Input::Malformed { connection, error, version });
                    }
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, verb: &str, rest: &str) -> Result<(), String> {
        let mut args = Args::parse(rest)?;
        let connection = self.id_of(&args.word("the connection")?)?;
        let outcome = packets::outcome(verb, &mut args)?;
        if let AuthOutcome::Accepted { identity, credential, data: _ } = &outcome {
            let (identity, credential) = (identity.clone(), Box::new(credential.clone()));
            self.observe(Observed::Accepted { connection, identity, credential });
        } else if let AuthOutcome::Refused { reason } = &outcome {
            self.observe(Observed::Refused { connection, reason: *reason });
        }
        self.input(Input::Authenticated { connection, outcome });
        Ok(())
    }

    fn clock(&mut self, rest: &str) -> Result<(), String> {
        let then = match rest.strip_prefix('+') {
            Some(by) => self.now.plus_ms(number(by)?),
            None => START.plus_ms(number(rest)?),
        };
        if then < self.now {
            return Err("time does not go back".into());
        }
        self.now = then;
        Ok(())
    }

    fn make_durable(&mut self, through: u64) -> Result<(), String> {
        if through < self.durable || through > self.journal_end() {
            return Err(format!(
                "@{through} is not between @{} and @{}",
                self.durable,
                self.journal_end()
            ));
        }
        self.durable = through;
        self.input(Input::Durable { through: LogPosition(through) });
        Ok(())
    }

    /// A power cut: what is durable survives, with `keep=` some of what is not.
    fn crash(&mut self, rest: &str) -> Result<(), String> {
        let mut args = Args::parse(rest)?;
        let keep = args.text("keep")?;
        args.finish()?;
        let keep = keep.map_or(Ok(self.durable), |place| self.position(&place))?;
        if keep < self.durable {
            return Err(format!("@{} is durable and cannot be lost", self.durable));
        }
        self.journal.truncate(usize::try_from(keep).map_err(|e| e.to_string())?);
        self.fetches.clear();
        self.durable = keep;
        for connection in self.connections.values_mut() {
            connection.open = false;
        }
        self.observe(Observed::Crashed);
        let records = self.journal.iter().cloned();
        let through = LogPosition(keep);
        match Broker::recover(self.config.clone(), Seed(1), self.now, through, records) {
            Ok(broker) => self.broker = Some(broker),
            Err(error) => return Err(format!("recovery failed: {error}")),
        }
        self.called_at = self.now;
        Ok(())
    }

    fn deadline(&mut self) {
        let now = self.now;
        let line = match self.broker().next_deadline() {
            Some(deadline) => {
                format!("deadline {:?} in {}", deadline.reason, deadline.at.since_ms(now))
            }
            None => "deadline none".into(),
        };
        self.said.push(line);
    }

    /// Recovery from the snapshot and from the journal must come to the same.
    fn snapshot_check(&mut self) {
        if !self.config.keeps_records {
            return;
        }
        let (config, now) = (self.config.clone(), self.now);
        let through = LogPosition(self.journal_end());
        let snapshot = self.broker().snapshot();
        let snapshot = with_messages(snapshot, &self.journal);
        let again = |records: Vec<Record>| {
            let recovered = Broker::recover(config.clone(), Seed(1), now, through, records);
            recovered.map(|broker| durable_lines(&broker, now, &self.journal))
        };
        match (again(snapshot), again(self.journal.clone())) {
            (Ok(from_snapshot), Ok(from_journal)) => {
                let only = |these: &[String], others: &[String]| -> Vec<String> {
                    these.iter().filter(|line| !others.contains(line)).cloned().collect()
                };
                for line in only(&from_snapshot, &from_journal) {
                    self.said.push(format!("?? only the snapshot has {line}"));
                }
                for line in only(&from_journal, &from_snapshot) {
                    self.said.push(format!("?? only the journal has {line}"));
                }
            }
            (from_snapshot, from_journal) => {
                for error in [from_snapshot.err(), from_journal.err()].into_iter().flatten() {
                    self.said.push(format!("?? recovery fails: {error}"));
                }
            }
        }
    }

    /// Answers for disk and driver, as far as the transcript leaves that to the harness.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS {
            if !self.manual_durable && self.durable < self.journal_end() {
                self.make_durable(self.journal_end())?;
            } else if !self.manual_fetch
                && let Some(id) = self.fetches.pop_front()
            {
                self.bring(id)?;
            } else if !self.manual_resume && self.broker().has_more_work() {
                self.with_broker(|broker, now, out| broker.resume(now, 1000, out));
            } else {
                return Ok(());
            }
        }
        Err("the broker does not come to rest".into())
    }

    /// Reads a message back from the journal.
    fn bring(&mut self, id: MessageId) -> Result<(), String> {
        let message = self.journal.iter().find_map(|record| record.message(id)).cloned();
        let message = message.ok_or_else(|| format!("the journal has no {id}"))?;
        self.input(Input::Fetched { message });
        Ok(())
    }

    fn input(&mut self, input: Input) {
        self.with_broker(|broker, now, out| broker.handle(now, input, out));
    }

    fn with_broker(&mut self, call: impl FnOnce(&mut Broker, Time, &mut Outbox)) {
        self.notice_step();
        let mut outbox = std::mem::take(&mut self.outbox);
        let now = self.now;
        call(self.broker(), now, &mut outbox);
        let actions: Vec<Action> = outbox.drain().collect();
        self.outbox = outbox;
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send { connection, packet } => {
                let name = self.name_of(connection);
                let edge = self.connections.get_mut(&name).map(|connection| &mut connection.edge);
                let line = match edge.map(|edge| edge.depart(&packet)) {
                    Some(Ok(read)) => {
                        if let Some(sender) = self.connections.get(&name) {
                            let bytes = sender.edge.last_bytes.clone();
                            self.observe(Observed::Read { connection, bytes });
                        }
                        show::packet(&read, self.shown)
                    }
                    // No byte goes out, and the broker need not care that it does not.
                    Some(Err(why)) => format!("{why}: {}", show::packet(&packet, self.shown)),
                    None => show::packet(&packet, self.shown),
                };
                self.said.push(format!("{name} < {line}"));
            }
            Action::Close { connection } => {
                let name = self.name_of(connection);
                self.said.push(format!("{name} closed"));
                self.observe(Observed::Closed { connection });
                self.forget(connection);
            }
            Action::Persist { at, record } => {
                let expected = self.journal_end() + 1;
                if at.0 != expected {
                    self.said.push(format!("?? record {at} where @{expected} is next"));
                }
                if self.shown.records {
                    self.said.push(format!("{at} {}", show::record(&record)));
                }
                self.journal.push(record);
            }
            Action::Ask { connection, question } => {
                let name = self.name_of(connection);
                self.said.push(format!("{name} ? {}", show::question(&question)));
            }
            Action::Fetch { message } => {
                if self.shown.fetches {
                    self.said.push(format!("fetch {message}"));
                }
                self.fetches.push_back(message);
            }
            Action::Answer(answer) => {
                self.said.push(show::answer(&answer));
                self.observe(Observed::Answered(answer));
            }
            Action::Notice(notice) => {
                let topic = self.topic_in(&notice);
                self.observe(Observed::Noticed(notice.clone(), topic));
                if self.shown.notices {
                    let line = show::notice(&notice, |id| self.any_name_of(id));
                    self.said.push(format!("! {line}"));
                }
            }
        }
    }

    /// The topic of a message that a notice names by its number.
    fn topic_in(&self, notice: &Notice) -> Option<Topic> {
        let Notice::DroppedUnread { message, .. } = notice else { return None };
        let message = self.journal.iter().find_map(|record| record.message(*message))?;
        Some(message.topic.clone())
    }

    fn observe(&mut self, observed: Observed) {
        self.observed.push((self.now.since_ms(START), observed));
    }

    fn broker(&mut self) -> &mut Broker {
        let config = &self.config;
        self.broker.get_or_insert_with(|| Broker::new(config.clone(), Seed(1), START))
    }

    fn journal_end(&self) -> u64 {
        self.journal.len() as u64
    }

    /// `all`, a number with or without `@`, or a mark.
    fn position(&self, place: &str) -> Result<u64, String> {
        match place {
            "all" => Ok(self.journal_end()),
            mark if self.marks.contains_key(mark) => Ok(self.marks[mark]),
            place => number(place.trim_start_matches('@')),
        }
    }

    fn connection(&mut self, name: &str) -> Result<&mut Connection, String> {
        let found = self.connections.get_mut(name);
        found.ok_or_else(|| format!("{name} is not a connection"))
    }

    fn id_of(&self, name: &str) -> Result<ConnectionId, String> {
        match self.connections.get(name) {
            Some(connection) if connection.open => Ok(connection.id),
            Some(_) | None => Err(format!("{name} is not an open connection")),
        }
    }

    /// The name of an open connection; for one that is not, a line that fits no expectation.
    fn name_of(&self, id: ConnectionId) -> String {
        let found = self.connections.iter().find(|(_, connection)| connection.id == id);
        match found {
            Some((name, connection)) if connection.open => name.clone(),
            Some((name, _)) => format!("?? closed {name}"),
            None => format!("?? unknown {id}"),
        }
    }

    /// The name of a connection, open or not.
    fn any_name_of(&self, id: ConnectionId) -> String {
        let found = self.connections.iter().find(|(_, connection)| connection.id == id);
        found.map_or_else(|| format!("?? unknown {id}"), |(name, _)| name.clone())
    }

    fn forget(&mut self, id: ConnectionId) {
        for connection in self.connections.values_mut().filter(|connection| connection.id == id) {
            connection.open = false;
        }
    }
}
