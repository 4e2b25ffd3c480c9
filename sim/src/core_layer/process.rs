//! The broker's process: it drives the real broker in rounds, as the runtime does.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use signalhouse_core::credential::Credential;
use signalhouse_core::input::{AuthOutcome, Command, Gone};
use signalhouse_core::message::MessageId;
use signalhouse_core::quota::Quotas;
use signalhouse_core::wire::packet::ClientPacket;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;
use signalhouse_core::wire::{ReaderLimits, Written};
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, LogPosition, Outbox, Question, Recovery, Seed,
};

use super::connection::{Arrival, Connection, Phase};
use super::network::{End, Signal};
use super::{Around, Happening, ahead_ms, broker_time, kept};
use crate::coverage::Point;
use crate::history::{ConnectionNumber, Kept, Violation};
use crate::snapshot::first_difference;

/// Messages of long jobs in one round.
const RESUME_BUDGET: u32 = 16;
/// How often one round turns to the journal when what became durable makes new records.
const FLUSHES_PER_ROUND: usize = 4;
/// How long the last packets of a connection that is being closed may take.
const CLOSE_TIMEOUT_MS: u64 = 5_000;

/// How a process is started.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// What the broker's random choices come from.
    pub(super) seed: u64,
    /// How much may wait for one client, in bytes.
    pub(super) outgoing_bytes: usize,
    /// Whether recovery replaces the journal by a snapshot.
    pub(super) snapshots: bool,
    pub(super) quotas: Option<Arc<Quotas>>,
    /// How long the tokens last by which clients are let in, if they end.
    pub(super) token_lifetime_ms: Option<u64>,
}

/// The running broker and its connections.
#[derive(Debug)]
pub(super) struct Process {
    broker: Broker,
    reader_limits: ReaderLimits,
    outgoing_bytes: usize,
    alias_maximum: u16,
    connections: Vec<Option<Connection>>,
    generation: u32,
    inbox: VecDeque<(ConnectionId, Arrival)>,
    /// Messages to be read back from the journal.
    fetches: VecDeque<MessageId>,
    durable: Option<LogPosition>,
    outbox: Outbox,
    /// When the next round is due, if one is.
    round_at_ms: Option<u64>,
    /// The earliest timer set.
    timer_at_ms: u64,
    token_lifetime_ms: Option<u64>,
    /// By how much its time axis is ahead of the run's.
    ahead_ms: i64,
    /// Told to stop.
    is_stopping: bool,
}

impl Process {
    /// Starts from what the journal has, and checks that recovery is repeatable.
    pub(super) fn start(
        config: Config,
        options: &Options,
        around: &mut Around,
    ) -> Result<Self, Violation> {
        // Another for each process, or a new one would give its clients the names that the last one gave.
        let seed = Seed(options.seed ^ around.now_ms);
        let (through, snapshot_latest, records) = around.journal.recover();
        let mut recovery = Recovery::new(config.clone(), seed);
        for record in records {
            recovery.apply(record).map_err(|error| recovery_violation(&error.to_string()))?;
        }
        recovery.know(snapshot_latest);
        let wall = broker_time(around.now_ms, around.wall_ahead_ms);
        let now = recovery.beginning(wall);
        let latest = recovery.latest();
        let broker = recovery.finish(now, through);
        let snapshot = broker.snapshot();
        let again = Broker::recover(config.clone(), seed, now, through, snapshot.clone());
        let again =
            again.map_err(|error| recovery_violation(&format!("from a snapshot: {error}")))?;
        let other = again.snapshot();
        if let Some(place) = first_difference(&snapshot, &other) {
            return Err(recovery_violation(&format!(
                "recovering twice differs from recovering once: record {place} of the snapshot is {:?}, then {:?}",
                snapshot.get(place),
                other.get(place)
            )));
        }
        around.record.note(
            around.now_ms,
            format_args!("broker recovered through {through}, {} records", snapshot.len()),
        );
        if options.snapshots {
            around.journal.replace(snapshot, latest);
        }
        let mut process = Process {
            reader_limits: ReaderLimits {
                maximum_packet_size_bytes: config.limits.maximum_packet_size_bytes,
                topic_alias_maximum: config.limits.topic_alias_maximum,
                connect_maximum_bytes: 64 * 1024,
            },
            alias_maximum: config.limits.topic_alias_outbound_maximum,
            outgoing_bytes: options.outgoing_bytes,
            broker,
            connections: Vec::new(),
            generation: around.incarnation * 1_000_000,
            inbox: VecDeque::new(),
            fetches: VecDeque::new(),
            durable: None,
            outbox: Outbox::new(),
            round_at_ms: None,
            timer_at_ms: u64::MAX,
            token_lifetime_ms: options.token_lifetime_ms,
            ahead_ms: ahead_ms(now, around.now_ms),
            is_stopping: false,
        };
        if let Some(quotas) = &options.quotas {
            process.handle(Input::Command(Command::SetQuotas(Arc::clone(quotas))), around);
        }
        process.call_round(around);
        Ok(process)
    }

    /// A connection came in. `false` if nobody accepts it.
    pub(super) fn open(&mut self, number: ConnectionNumber, around: &mut Around) -> bool {
        if self.is_stopping {
            return false;
        }
        let place =
            self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
        if place == self.connections.len() {
            self.connections.push(None);
        }
        self.generation += 1;
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        let id = ConnectionId { index, generation: self.generation };
        let connection = Connection::new(id, number, self.reader_limits, self.outgoing_bytes);
        self.connections[place] = Some(connection);
        self.inbox.push_back((id, Arrival::Opened));
        self.call_round(around);
        true
    }

    /// Bytes came. `false` if the connection is not known.
    pub(super) fn receive(
        &mut self,
        number: ConnectionNumber,
        bytes: &Bytes,
        around: &mut Around,
    ) -> bool {
        around.network.took(number, End::Broker, bytes.len());
        let Some(place) = self.place(number) else { return false };
        if let Some(connection) = &mut self.connections[place] {
            connection.receive(bytes);
        }
        self.decode(place);
        self.call_round(around);
        true
    }

    /// The peer is gone.
    pub(super) fn closed(&mut self, number: ConnectionNumber, cause: Gone, around: &mut Around) {
        let Some(place) = self.place(number) else { return };
        let Some(connection) = &mut self.connections[place] else { return };
        if connection.broker_is_done {
            self.drop_connection(place, around);
            return;
        }
        connection.peer_is_gone(cause);
        self.decode(place);
        self.call_round(around);
    }

    /// The client read, so there may be room to write on.
    pub(super) fn has_room(&mut self, number: ConnectionNumber, around: &mut Around) {
        let Some(place) = self.place(number) else { return };
        if self.connections[place]
            .as_ref()
            .is_some_and(|connection| !connection.outgoing.is_empty())
        {
            self.call_round(around);
        }
    }

    /// The journal made something durable.
    pub(super) fn durable(&mut self, through: LogPosition, around: &mut Around) {
        self.durable = Some(through);
        self.call_round(around);
    }

    /// A timer rang.
    pub(super) fn timer(&mut self, at_ms: u64, around: &mut Around) {
        if self.timer_at_ms == at_ms {
            self.timer_at_ms = u64::MAX;
            self.call_round(around);
        }
    }

    /// The operator gives an order. It comes behind what has arrived, as in the inbox of a shard.
    pub(super) fn order(&mut self, command: Command, around: &mut Around) {
        self.take_arrivals(around);
        self.handle(Input::Command(command), around);
        self.call_round(around);
    }

    /// What the broker keeps; `None` where it was not yet called for what has ended by now.
    pub(super) fn kept(&self, now_ms: u64) -> Option<Kept> {
        let now = broker_time(now_ms, self.ahead_ms);
        let is_behind = self.broker.next_deadline().is_some_and(|deadline| deadline.at <= now);
        (!is_behind).then(|| kept::kept(&self.broker.snapshot()))
    }

    /// Tokens given out from now on do not end.
    pub(super) fn give_lasting_tokens(&mut self) {
        self.token_lifetime_ms = None;
    }

    /// Begins an orderly stop.
    pub(super) fn stop(&mut self, around: &mut Around) {
        self.is_stopping = true;
        let reason = ReasonCode::ServerShuttingDown;
        self.order(Command::Stop { reason, server_reference: None }, around);
    }

    /// Whether it was told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether a stop has come to its end.
    pub(super) fn has_stopped(&self, around: &Around) -> bool {
        self.is_stopping
            && around.journal.is_clean()
            && self.connections.iter().all(Option::is_none)
    }

    /// The connections that the process has open.
    pub(super) fn open_connections(&self) -> Vec<ConnectionNumber> {
        self.connections.iter().flatten().map(|connection| connection.number).collect()
    }

    /// Whether it has a connection of that number.
    pub(super) fn knows(&self, number: ConnectionNumber) -> bool {
        self.place(number).is_some()
    }

    fn place(&self, number: ConnectionNumber) -> Option<usize> {
        self.connections
            .iter()
            .position(|place| place.as_ref().is_some_and(|one| one.number == number))
    }

    /// Puts what a connection's bytes say into the inbox.
    fn decode(&mut self, place: usize) {
        let Some(connection) = &mut self.connections[place] else { return };
        while let Some(arrival) = connection.next_arrival() {
            self.inbox.push_back((connection.id, arrival));
        }
    }

    /// Sees to it that a round comes, a little later, so that several inputs meet in it.
    fn call_round(&mut self, around: &mut Around) {
        if self.round_at_ms.is_none() {
            let delay_ms = if around.rounds.one_in(4) { around.rounds.below(3) } else { 0 };
            let at_ms = around.now_ms + delay_ms;
            self.round_at_ms = Some(at_ms);
            around.agenda.push(at_ms, Happening::Round { incarnation: around.incarnation });
        }
    }

    /// Everything that is ready, once.
    pub(super) fn round(&mut self, around: &mut Around) {
        self.round_at_ms = None;
        let now = broker_time(around.now_ms, self.ahead_ms);
        if let Some(through) = self.durable.take() {
            self.settle(through, around);
        }
        if self.broker.next_deadline().is_some_and(|deadline| deadline.at <= now) {
            self.handle(Input::Deadline, around);
        }
        self.take_arrivals(around);
        for _ in 0..self.fetches.len() {
            let Some(message) = self.fetches.pop_front().and_then(|id| around.journal.message(id))
            else {
                continue;
            };
            self.handle(Input::Fetched { message }, around);
        }
        if self.broker.has_more_work() {
            let mut outbox = std::mem::take(&mut self.outbox);
            self.broker.resume(now, RESUME_BUDGET, &mut outbox);
            self.carry_out(&mut outbox, around);
            self.outbox = outbox;
        }
        for _ in 0..FLUSHES_PER_ROUND {
            let Some(through) = around.journal.flush(around.now_ms, &mut around.agenda) else {
                break;
            };
            self.settle(through, around);
        }
        for place in 0..self.connections.len() {
            self.write_out(place, around);
        }
        let is_busy = self.broker.has_more_work() || !self.fetches.is_empty();
        if is_busy || !self.inbox.is_empty() {
            self.call_round(around);
        }
        self.set_timer(around);
    }

    /// What has arrived, in its order.
    fn take_arrivals(&mut self, around: &mut Around) {
        for _ in 0..self.inbox.len() {
            if let Some((id, arrival)) = self.inbox.pop_front() {
                self.arrival(id, arrival, around);
            }
        }
    }

    fn set_timer(&mut self, around: &mut Around) {
        let Some(deadline) = self.broker.next_deadline() else { return };
        let at_ms = deadline.at.since_ms(broker_time(0, self.ahead_ms)).max(around.now_ms);
        if at_ms < self.timer_at_ms {
            self.timer_at_ms = at_ms;
            around.agenda.push(at_ms, Happening::Timer { incarnation: around.incarnation, at_ms });
        }
    }

    fn settle(&mut self, through: LogPosition, around: &mut Around) {
        around.record.note(around.now_ms, format_args!("durable {through}"));
        self.handle(Input::Durable { through }, around);
    }

    fn handle(&mut self, input: Input, around: &mut Around) {
        around.inputs += 1;
        let mut outbox = std::mem::take(&mut self.outbox);
        self.broker.handle(broker_time(around.now_ms, self.ahead_ms), input, &mut outbox);
        self.carry_out(&mut outbox, around);
        self.outbox = outbox;
    }

    /// Tells the broker what came of a connection, unless it has done with it already.
    fn arrival(&mut self, id: ConnectionId, arrival: Arrival, around: &mut Around) {
        let alias_maximum = self.alias_maximum;
        let now = broker_time(around.now_ms, self.ahead_ms);
        let ends_at = self.token_lifetime_ms.map(|ms| now.plus_ms(ms));
        let credential = Credential { ends_at, ..Credential::default() };
        let Some(connection) = self.connection(id).filter(|one| !one.broker_is_done) else {
            return;
        };
        let (outgoing, number) = (&mut connection.outgoing, connection.number);
        let input = match arrival {
            Arrival::Opened => Input::Opened {
                connection: id,
                peer: peer_name(number),
                room_bytes: outgoing.tell_room(),
            },
            Arrival::Packet(packet) => {
                if let ClientPacket::Connect(connect) = &packet {
                    outgoing.negotiate(connect, alias_maximum);
                }
                Input::Packet { connection: id, packet }
            }
            Arrival::Malformed(error, version) => {
                if let Some(version) = version {
                    outgoing.answer_in(version);
                }
                Input::Malformed { connection: id, error, version }
            }
            Arrival::Room => Input::Writable { connection: id, room_bytes: outgoing.tell_room() },
            Arrival::Admitted { identity } => Input::Authenticated {
                connection: id,
                outcome: AuthOutcome::Accepted { identity, data: None, credential },
            },
            Arrival::Closed(cause) => {
                self.handle(Input::Closed { connection: id, cause }, around);
                self.drop_connection(id.index as usize, around);
                return;
            }
        };
        self.handle(input, around);
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.index as usize)?.as_mut();
        connection.filter(|connection| connection.id == id)
    }

    fn carry_out(&mut self, outbox: &mut Outbox, around: &mut Around) {
        for action in outbox.drain() {
            match action {
                Action::Send { connection: id, packet } => {
                    let Some(connection) = self.connection(id) else { continue };
                    around.packets += 1;
                    if connection.outgoing.write(&packet) == Written::DroppedTooLarge {
                        let now_ms = around.now_ms;
                        around.record.note(now_ms, format_args!("{id} too large to be written"));
                    }
                }
                Action::Close { connection: id } => {
                    let until_ms = around.now_ms + CLOSE_TIMEOUT_MS;
                    if let Some(connection) = self.connection(id) {
                        connection.broker_is_done = true;
                        connection.phase = Phase::Closing { until_ms };
                        around
                            .agenda
                            .push(until_ms, Happening::Round { incarnation: around.incarnation });
                    }
                }
                Action::Persist { at, record } => around.journal.append(at, record),
                // Everybody may come in.
                Action::Ask { connection, question } => {
                    let identity = match *question {
                        Question::Credentials { user_name, .. } => user_name,
                        Question::Exchange { .. } => None,
                    };
                    self.inbox.push_back((connection, Arrival::Admitted { identity }));
                }
                Action::Fetch { message } => {
                    around.record.hit(Point::ReadBack);
                    self.fetches.push_back(message);
                }
                Action::Answer(_) => {} // nobody here asks
                Action::Notice(notice) => around.notice(&notice),
            }
        }
    }

    /// Gives the network what it takes of a connection's packets, and ends it when that was all.
    fn write_out(&mut self, place: usize, around: &mut Around) {
        let Some(connection) = &mut self.connections[place] else { return };
        let number = connection.number;
        let room = around.network.room_to_client(number);
        if room > 0 && !connection.outgoing.is_empty() {
            let bytes = connection.outgoing.take(room);
            around.network.send_bytes(
                around.now_ms,
                number,
                End::Client,
                bytes,
                &mut around.agenda,
            );
        }
        match connection.phase {
            Phase::Closing { until_ms }
                if connection.outgoing.is_empty() || until_ms <= around.now_ms =>
            {
                let signal =
                    if connection.outgoing.is_empty() { Signal::Fin } else { Signal::Reset };
                around.network.send(around.now_ms, number, End::Client, signal, &mut around.agenda);
                self.drop_connection(place, around);
            }
            Phase::Closing { .. } => {}
            Phase::Open | Phase::Deaf => {
                if connection.outgoing.announces_room() {
                    self.inbox.push_back((connection.id, Arrival::Room));
                }
                self.decode(place);
            }
        }
    }

    fn drop_connection(&mut self, place: usize, around: &mut Around) {
        self.connections[place] = None;
        if self.has_stopped(around) {
            around.agenda.push(around.now_ms, Happening::Round { incarnation: around.incarnation });
        }
    }
}

fn peer_name(number: ConnectionNumber) -> Text {
    Text::try_from(format!("connection {number}")).unwrap_or_default()
}

fn recovery_violation(what: &str) -> Violation {
    Violation { guarantee: "RC", what: what.to_owned(), events: Vec::new() }
}
