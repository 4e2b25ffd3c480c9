//! The task that owns the broker.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use signalhouse_core::credential::Credential;
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::message::Message;
use signalhouse_core::wire::Written;
use signalhouse_core::wire::packet::{ClientPacket, OutboundPublish, ServerPacket, SubAck};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::{
    Action, Broker, ConnectionId, Input, JournalRoom, LogPosition, Notice, Outbox, Question,
    SessionView, Step, Time,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Phase};
use super::crowd::Crowd;
use super::gateway::{Look, View};
use super::inbox::{Arrival, Entry, INBOX_ENTRIES};
use super::local::{Insider, Local};
use super::outgoing::SHARED_PAYLOAD_BYTES;
use super::{RunError, Shared, events};
use crate::seams::{Authenticate, Clock, Journal, Spawn};

/// Messages of long jobs (retained replay, queue drain) between two looks at the inbox.
const RESUME_BUDGET: u32 = 1_024;
/// How often one round turns to the journal when what became durable makes new records.
const FLUSHES_PER_ROUND: usize = 4;

/// What the driver is given beside the broker's configuration.
#[derive(Debug)]
pub(crate) struct Parts<C, J, P, A> {
    pub(crate) clock: C,
    pub(crate) journal: J,
    pub(crate) spawn: P,
    pub(crate) authenticate: A,
}

pub(crate) struct Driver<S, C: Clock, J, P, A> {
    shared: Rc<Shared<S>>,
    broker: Broker,
    clock: C,
    journal: J,
    spawn: P,
    authenticate: Rc<A>,
    /// Answers that are known without asking anybody.
    instant: Vec<(ConnectionId, AuthOutcome)>,
    topic_alias_outbound_maximum: u16,
    /// Reused from round to round.
    batch: VecDeque<Entry>,
    outbox: Outbox,
    dirty: Vec<Rc<Connection<S>>>,
    crowd: Crowd<S>,
    /// So much was written to them in the middle of a round that the broker is told of room before its end.
    roomy: Vec<ConnectionId>,
    /// Done with in this round; their slots stay until its end, for what is yet to be said of them.
    forgotten: Vec<Rc<Connection<S>>>,
    /// The same for clients inside the process.
    forgotten_locals: Vec<ConnectionId>,
    /// The earliest moment that something is waited for, and the wait.
    timer: Option<(Time, Pin<Box<C::Sleep>>)>,
    /// Told by the journal, not yet to the broker.
    durable: Option<LogPosition>,
    /// The last record given to the journal, and the last known durable.
    appended: LogPosition,
    settled: LogPosition,
    /// Read back by the journal, not yet told to the broker.
    fetched: Vec<Arc<Message>>,
    /// What the broker was told of the journal's room.
    room: JournalRoom,
    /// Records wait for the journal's `flush`.
    unflushed: bool,
    watcher: Option<Watcher>,
}

/// Who is shown every notice.
pub(crate) type Watcher = Box<dyn FnMut(&Notice)>;

impl<S, C, J, P, A> Driver<S, C, J, P, A>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    C: Clock,
    J: Journal,
    P: Spawn,
    A: Authenticate,
{
    /// A driver of `broker`, whose next record follows `through`.
    pub(crate) fn new(
        shared: Rc<Shared<S>>,
        parts: Parts<C, J, P, A>,
        broker: Broker,
        through: LogPosition,
    ) -> Self {
        let Parts { clock, journal, spawn, authenticate } = parts;
        Driver {
            shared,
            topic_alias_outbound_maximum: broker.config().limits.topic_alias_outbound_maximum,
            broker,
            clock,
            journal,
            spawn,
            authenticate: Rc::new(authenticate),
            instant: Vec::new(),
            batch: VecDeque::new(),
            outbox: Outbox::new(),
            dirty: Vec::new(),
            crowd: Crowd::default(),
            roomy: Vec::new(),
            forgotten: Vec::new(),
            forgotten_locals: Vec::new(),
            timer: None,
            durable: None,
            appended: through,
            settled: through,
            fetched: Vec::new(),
            room: JournalRoom::default(),
            unflushed: false,
            watcher: None,
        }
    }

    pub(crate) fn watch(&mut self, watcher: Watcher) {
        self.watcher = Some(watcher);
    }

    pub(crate) async fn run(mut self) -> Result<(), RunError> {
        loop {
            if self.is_finished() {
                self.shared.events.borrow_mut().write_out();
                return self.journal.close().await.map_err(RunError::Journal);
            }
            poll_fn(|cx| self.poll_ready(cx)).await.map_err(RunError::Journal)?;
            if sim_point!(YieldBeforeRound) {
                tokio::task::yield_now().await;
            }
            self.round();
            if self.has_work() {
                // Connections take their turns before the next round.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Whether the next round need not wait for anything.
    fn has_work(&self) -> bool {
        self.unflushed
            || !self.shared.inbox.is_empty()
            || !self.shared.waiting.borrow().is_empty()
            || self.broker.has_more_work()
    }

    /// Told to stop, every connection ended, everything durable that will be.
    fn is_finished(&self) -> bool {
        self.shared.deaf.is_set()
            && self.shared.inbox.is_empty()
            && self.shared.table.borrow().len() == 0
            && self.settled == self.appended
    }

    /// Waits for something to do.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ready = self.shared.inbox.poll_ready(cx);
        match self.journal.poll_durable(cx) {
            Poll::Ready(Ok(through)) => {
                self.durable = Some(through);
                ready = true;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {}
        }
        while let Poll::Ready(message) = self.journal.take_fetched() {
            if canary!(OnlyLastReadBack) {
                self.fetched.clear();
            }
            self.fetched.push(message);
            ready = true;
        }
        ready |= self.journal.room() != self.room;
        self.set_timer();
        if let Some((_, sleep)) = &mut self.timer
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.timer = None;
            ready = true;
        }
        if ready || self.has_work() || self.is_finished() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// A timer that was set too early is left: it fires, and the next look sets it anew. Keep-alive
    /// deadlines move with every packet, timers should not.
    fn set_timer(&mut self) {
        let due = self.broker.next_deadline().map(|deadline| deadline.at);
        let due = match (due, self.shared.events.borrow().due()) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => match one.or(other) {
                Some(due) => due,
                None => return,
            },
        };
        let is_sooner = |at: Time| due < at && !canary!(TimerNotBroughtForward);
        if self.timer.as_ref().is_none_or(|(at, _)| is_sooner(*at)) {
            self.timer = Some((due, Box::pin(self.clock.sleep_until(due))));
        }
    }

    /// Everything that is ready, once.
    fn round(&mut self) {
        let now = self.clock.now();
        if let Some(through) = self.durable.take() {
            self.settle(now, through);
        }
        if self.room != self.journal.room() {
            self.room = self.journal.room();
            self.handle(now, Input::JournalSpace { room: self.room });
        }
        for message in std::mem::take(&mut self.fetched) {
            self.handle(now, Input::Fetched { message });
        }
        if self.broker.next_deadline().is_some_and(|deadline| deadline.at <= now) {
            self.shared.desk.borrow_mut().tidy();
            self.shared.scratch.borrow_mut().tidy();
            self.handle(now, Input::Deadline);
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.shared.inbox.take_into(&mut batch);
        self.shared.round.set(self.shared.round.get().wrapping_add(1));
        for entry in batch.drain(..) {
            match entry {
                Entry::Of(id, arrival) => self.arrival(now, id, arrival),
                Entry::Command(command) => self.handle(now, Input::Command(command)),
                Entry::Look(Look(look)) => look(&View {
                    broker: &self.broker,
                    counts: &self.shared.counts.borrow(),
                    history: &self.shared.history.borrow(),
                    connections: self.shared.table.borrow().len(),
                    is_stopping: self.shared.deaf.is_set(),
                    now,
                }),
            }
        }
        self.batch = batch;
        if self.broker.has_more_work() {
            let mut outbox = std::mem::take(&mut self.outbox);
            let budget = if sim_point!(ResumeOne) { 1 } else { RESUME_BUDGET };
            self.broker.resume(now, budget, &mut outbox);
            self.carry_out(now, &mut outbox);
            self.tell_room(now, &mut outbox);
            self.outbox = outbox;
        }
        self.flush_journal(now);
        self.flush_connections();
        self.shared.events.borrow_mut().tick(now);
    }

    fn handle(&mut self, now: Time, input: Input) {
        let mut outbox = std::mem::take(&mut self.outbox);
        self.broker.handle(now, input, &mut outbox);
        self.carry_out(now, &mut outbox);
        while let Some((connection, outcome)) = self.instant.pop() {
            self.broker.handle(now, Input::Authenticated { connection, outcome }, &mut outbox);
            self.carry_out(now, &mut outbox);
        }
        self.tell_room(now, &mut outbox);
        self.outbox = outbox;
    }

    /// Tells the broker of room in the middle of a round, so that what follows in it goes out too instead of waiting in
    /// a queue. Once for each input: a long queue has to leave the others their turns.
    fn tell_room(&mut self, now: Time, outbox: &mut Outbox) {
        if self.roomy.is_empty() {
            return;
        }
        // What it is sent counts.
        self.write_crowd_out();
        let told = self.roomy.len();
        for place in 0..told {
            let connection = self.roomy[place];
            let known = self.shared.table.borrow().get(connection).map(Rc::clone);
            let Some(known) = known.filter(|known| !known.broker_is_done.get()) else { continue };
            let room_bytes = known.outgoing.borrow_mut().tell_room();
            self.broker.handle(now, Input::Writable { connection, room_bytes }, outbox);
            self.carry_out(now, outbox);
        }
        for connection in self.roomy.drain(..).skip(told) {
            self.shared.inbox.push(connection, Arrival::Room);
        }
    }

    fn settle(&mut self, now: Time, through: LogPosition) {
        self.settled = self.settled.max(through);
        self.handle(now, Input::Durable { through });
    }

    fn flush_journal(&mut self, now: Time) {
        for _ in 0..FLUSHES_PER_ROUND {
            if !std::mem::take(&mut self.unflushed) {
                return;
            }
            self.journal.note_live(self.broker.live_bytes());
            match self.journal.flush() {
                Some(through) => self.settle(now, through),
                None if canary!(DurableWhenAppended) => self.settle(now, self.appended),
                None => return,
            }
        }
    }

    fn flush_connections(&mut self) {
        self.write_crowd_out();
        self.crowd.clear();
        for connection in self.dirty.drain(..) {
            connection.is_dirty.set(false);
            connection.write_from_driver(&self.shared.desk);
            if connection.outgoing.borrow_mut().announces_room() {
                self.shared.inbox.push(connection.id, Arrival::Room);
            }
        }
        for connection in self.forgotten.drain(..) {
            self.shared.remove_if_done(&connection);
        }
        for id in self.forgotten_locals.drain(..) {
            self.shared.remove(id);
        }
        // No more than the next round has a place for, or they would look in vain, many times.
        let mut waiting = self.shared.waiting.borrow_mut();
        let woken = waiting.len().min(INBOX_ENTRIES);
        for connection in waiting.drain(..woken) {
            connection.waits_for_round.set(false);
            connection.wake();
        }
    }

    /// Tells the broker what came of a connection, unless it has done with it already.
    fn arrival(&mut self, now: Time, id: ConnectionId, arrival: Arrival) {
        let known = self.shared.table.borrow().get(id).map(Rc::clone);
        let Some(connection) = known else { return self.local_arrival(now, id, arrival) };
        if connection.broker_is_done.get() {
            return;
        }
        let input = match arrival {
            Arrival::Opened => Input::Opened {
                connection: id,
                peer: connection.peer.clone(),
                room_bytes: connection.outgoing.borrow_mut().tell_room(),
            },
            Arrival::Packet(packet) => {
                if let ClientPacket::Connect(connect) = &packet {
                    let alias_maximum = self.topic_alias_outbound_maximum;
                    connection.outgoing.borrow_mut().negotiate(connect, alias_maximum);
                }
                Input::Packet { connection: id, packet }
            }
            Arrival::Malformed(error, version) => {
                if let Some(version) = version {
                    connection.outgoing.borrow_mut().answer_in(version);
                }
                Input::Malformed { connection: id, error, version }
            }
            Arrival::Room => {
                // What it is sent counts.
                self.write_crowd_out();
                let room_bytes = connection.outgoing.borrow_mut().tell_room();
                Input::Writable { connection: id, room_bytes }
            }
            Arrival::Answer(outcome) => Input::Authenticated { connection: id, outcome: *outcome },
            Arrival::Closed(cause) => {
                self.handle(now, Input::Closed { connection: id, cause });
                self.forget(connection);
                return;
            }
        };
        self.handle(now, input);
    }

    /// The same for a client inside the process.
    fn local_arrival(&mut self, now: Time, id: ConnectionId, arrival: Arrival) {
        let known = self.shared.table.borrow().local(id).map(Rc::clone);
        let Some(local) = known.filter(|local| !local.broker_is_done.get()) else { return };
        let input = match arrival {
            Arrival::Opened => Input::Opened {
                connection: id,
                peer: local.who.peer.clone(),
                room_bytes: local.tell_room(),
            },
            Arrival::Packet(packet) => {
                if self.refuses_whole(now, &local, &packet) {
                    return;
                }
                Input::Packet { connection: id, packet }
            }
            Arrival::Malformed(error, version) => {
                Input::Malformed { connection: id, error, version }
            }
            Arrival::Room => Input::Writable { connection: id, room_bytes: local.tell_room() },
            Arrival::Answer(outcome) => Input::Authenticated { connection: id, outcome: *outcome },
            Arrival::Closed(cause) => {
                self.handle(now, Input::Closed { connection: id, cause });
                self.forget_local(&local);
                return;
            }
        };
        self.handle(now, input);
    }

    /// Clients inside the process subscribe to all they ask for, or to nothing: a request has one
    /// answer. What is at fault has its reason in SUBACK, the others say no more than that.
    fn refuses_whole(&mut self, now: Time, local: &Local, packet: &ClientPacket) -> bool {
        let ClientPacket::Subscribe(subscribe) = packet else { return false };
        let Some((place, reason)) = self.broker.first_refused(local.id, subscribe) else {
            return false;
        };
        let mut reasons = vec![ReasonCode::UnspecifiedError; subscribe.subscriptions.len()];
        reasons[place] = reason;
        let filter = subscribe.subscriptions[place].0.clone();
        let client_id = self.broker.client_of(local.id).cloned().unwrap_or_default();
        self.tell(now, &Notice::SubscribeRefused { client_id, filter, reason });
        let suback = SubAck { packet_id: subscribe.packet_id, reasons, details: None };
        self.send_local(local.id, ServerPacket::SubAck(Box::new(suback)));
        true
    }

    /// Hands a packet to a client inside the process.
    fn send_local(&self, id: ConnectionId, packet: ServerPacket) {
        let known = self.shared.table.borrow().local(id).map(Rc::clone);
        if let Some(local) = known
            && local.send(packet)
        {
            self.shared.inbox.push(id, Arrival::Room);
        }
    }

    fn carry_out(&mut self, now: Time, outbox: &mut Outbox) {
        for step in outbox.drain_steps() {
            let action = match step {
                Step::One(action) => action,
                Step::Alike { connections, publish } => {
                    self.send_alike(&connections, publish);
                    continue;
                }
            };
            match action {
                Action::Send { connection, packet } => self.send(connection, packet),
                Action::Close { connection: id } => {
                    self.write_crowd_out();
                    let known = self.shared.table.borrow().get(id).map(Rc::clone);
                    if let Some(connection) = known {
                        connection.phase.set(Phase::Closing);
                        connection.wake();
                        self.forget(connection);
                    }
                    let local = self.shared.table.borrow().local(id).map(Rc::clone);
                    if let Some(local) = local {
                        self.forget_local(&local);
                    }
                }
                Action::Persist { at, record } => {
                    self.journal.append(at, record);
                    self.appended = at;
                    self.unflushed = true;
                }
                Action::Ask { connection, question } => self.ask(connection, *question),
                Action::Fetch { message } => self.journal.fetch(message),
                Action::Answer(answer) => {
                    let waiting = self.shared.tickets.borrow_mut().remove(&answer.ticket);
                    if let Some(waiting) = waiting {
                        // Whoever asked may have gone away meanwhile.
                        let _ = waiting.send(answer);
                    }
                }
                Action::Notice(notice) => self.tell(now, &notice),
            }
        }
    }

    fn send(&mut self, id: ConnectionId, packet: ServerPacket) {
        self.write_crowd_out();
        self.send_one(id, packet);
    }

    /// Puts a packet where it waits for the connection, at the latest until the end of the round.
    fn send_one(&mut self, id: ConnectionId, packet: ServerPacket) {
        let table = self.shared.table.borrow();
        let Some(connection) = table.get(id) else {
            drop(table);
            return self.send_local(id, packet);
        };
        if let ServerPacket::ConnAck(ack) = &packet
            && !ack.reason.is_error()
        {
            connection.welcome();
        }
        let desk = &self.shared.desk;
        let mut outgoing = connection.outgoing.borrow_mut();
        let written = outgoing.write(&packet, &mut desk.borrow_mut());
        let is_worth_writing = outgoing.is_worth_writing();
        drop(outgoing);
        if written == Written::DroppedTooLarge {
            events::too_large(id, &connection.peer);
        }
        if is_worth_writing {
            connection.write_from_driver(desk);
            if connection.outgoing.borrow_mut().announces_room() {
                self.roomy.push(id);
            }
        }
        if !connection.is_dirty.replace(true) {
            self.dirty.push(Rc::clone(connection));
        }
        if let ServerPacket::Publish(publish) = packet {
            self.broker.take_back(publish.message);
        }
    }

    fn send_alike(&mut self, connections: &Arc<[ConnectionId]>, publish: OutboundPublish) {
        // Such payloads are shared by another way.
        let is_apart = publish.message.payload.len() >= SHARED_PAYLOAD_BYTES;
        if is_apart || !self.crowd.is_of(connections) {
            self.write_crowd_out();
        }
        if is_apart {
            for connection in connections.iter() {
                self.send_one(*connection, ServerPacket::Publish(publish.clone()));
            }
            return;
        }
        if !self.crowd.is_of(connections) {
            self.crowd.begin(connections, &self.shared.table.borrow());
        }
        let is_worth_writing = self.crowd.push(&publish);
        for place in 0..self.crowd.others().len() {
            let other = self.crowd.others()[place];
            self.send_one(other, ServerPacket::Publish(publish.clone()));
        }
        if is_worth_writing {
            self.write_crowd_out();
        }
        self.broker.take_back(publish.message);
    }

    /// Writes what has gathered for many, before anything else is said to one of them.
    fn write_crowd_out(&mut self) {
        if self.crowd.is_empty() {
            return;
        }
        let dirty = &mut self.dirty;
        self.crowd.write_out(&self.shared.desk, |connection| {
            if !connection.is_dirty.replace(true) {
                dirty.push(Rc::clone(connection));
            }
        });
    }

    /// Shows a notice to all who keep account of what happens.
    fn tell(&mut self, now: Time, notice: &Notice) {
        if let Some(watcher) = &mut self.watcher {
            watcher(notice);
        }
        self.shared.counts.borrow_mut().notice(notice);
        self.shared.history.borrow_mut().notice(now, notice);
        let table = self.shared.table.borrow();
        self.shared.events.borrow_mut().notice(now, notice, |id| {
            let peer = table.get(id).map(|connection| connection.peer.clone());
            peer.or_else(|| table.local(id).map(|local| local.who.peer.clone()))
        });
    }

    /// The broker will say nothing more of it.
    fn forget(&mut self, connection: Rc<Connection<S>>) {
        self.authenticate.forget(connection.id);
        connection.broker_is_done.set(true);
        self.forgotten.push(connection);
    }

    fn forget_local(&mut self, local: &Local) {
        if !local.broker_is_done.replace(true) {
            self.forgotten_locals.push(local.id);
        }
    }

    /// Whoever opened it knows who it is. Nothing happens between this and the broker's taking it in.
    fn admit_local(&self, local: &Local, question: &Question) -> AuthOutcome {
        let Insider { identity, credential, takes_over, .. } = local.who.clone();
        let (Question::Credentials { client_id, .. } | Question::Exchange { client_id, .. }) =
            question;
        let is_networks = |id: &ConnectionId| self.shared.table.borrow().get(*id).is_some();
        let is_in_use = |session: SessionView| {
            session.identity == identity && session.connection.as_ref().is_some_and(is_networks)
        };
        if !takes_over && self.broker.session(client_id).is_some_and(is_in_use) {
            local.keep_out();
            return AuthOutcome::Refused { reason: ReasonCode::ServerBusy };
        }
        AuthOutcome::Accepted { identity, data: None, credential }
    }

    fn ask(&mut self, id: ConnectionId, question: Question) {
        let local = self.shared.table.borrow().local(id).map(Rc::clone);
        match (local, &question) {
            (Some(local), _) => {
                let outcome = self.admit_local(&local, &question);
                return self.instant.push((id, outcome));
            }
            // The broker asks in any case, for clients inside the process have an identity of their own.
            (None, Question::Credentials { .. }) if !self.authenticate.asks_credentials(id) => {
                let credential = Credential::default();
                let outcome = AuthOutcome::Accepted { identity: None, data: None, credential };
                return self.instant.push((id, outcome));
            }
            (None, Question::Credentials { .. } | Question::Exchange { .. }) => {}
        }
        let known = self.shared.table.borrow().get(id).map(|connection| connection.caller.clone());
        let Some(caller) = known else { return };
        let answer = Rc::clone(&self.authenticate).answer(caller, question);
        let shared = Rc::clone(&self.shared);
        self.spawn.spawn(async move {
            let outcome = answer.await;
            shared.inbox.push(id, Arrival::Answer(Box::new(outcome)));
        });
    }
}
