//! One thread's worth of broker: a [`Broker`], the connections it serves,
//! and the tasks around them.
//!
//! Connections' tasks read and frame bytes into the shard's inbox. The driver, one task, takes all
//! that is in it, lets the broker handle it, encodes what comes back into each connection's
//! buffer, and writes each of those once. Everything happens on one thread: nothing here takes a
//! lock or wakes another thread's task.

mod accept;
mod connection;
mod crowd;
mod driver;
mod events;
mod gateway;
mod inbox;
mod incoming;
mod local;
mod outgoing;
mod signal;
mod table;
mod task;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use signalhouse_core::buffers::Buffers;
use signalhouse_core::input::{AuthOutcome, Command};
use signalhouse_core::wire::ReaderLimits;
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{Answer, Broker, Config, ConnectionId, LogPosition, Notice, Seed, Time};
use tokio::sync::oneshot;

use self::connection::Connection;
use self::driver::Driver;
use self::events::Events;
pub use self::gateway::{Gateway, LocalClient, View};
use self::inbox::{Arrival, Inbox};
pub use self::local::Insider;
use self::outgoing::Desk;
use self::signal::Signal;
use self::table::Table;
use crate::history::History;
use crate::metrics::Counts;
use crate::seams::{Authenticate, Clock, Journal, Listener, Net, Spawn};
use crate::transport::{Door, KeptOut};

/// What a shard stands on.
#[derive(Debug)]
pub struct Surroundings<N, C, J, P, A> {
    /// Where connections come from.
    pub net: N,
    /// Where time comes from.
    pub clock: C,
    /// Where records go.
    pub journal: J,
    /// How tasks start.
    pub spawn: P,
    /// Who answers who a client is.
    pub authenticate: A,
}

/// How a shard behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's own configuration. Whether credentials are asked for, and which enhanced
    /// methods there are, comes from [`Authenticate`] instead.
    pub config: Config,
    /// What the broker's random choices come from.
    pub seed: Seed,
    /// How much may wait for one client, in bytes. PUBLISH stops there; answers to a client's own
    /// packets may take it to twice that, where the client's packets are no longer read.
    pub outgoing_buffer_bytes: u32,
    /// Largest CONNECT, in bytes: what a stranger may make the broker hold.
    pub connect_maximum_bytes: u32,
    /// The parts that may change while the shard runs.
    pub timeouts: Timeouts,
}

impl Options {
    /// The broker's configuration with those who can answer its questions.
    #[must_use]
    pub fn config_for(&self, authenticate: &impl Authenticate) -> Config {
        let mut config = self.config.clone();
        // In any case: clients inside the process have an identity of their own, and whoever is
        // not to be asked is answered for at once.
        config.ask_credentials = true;
        config.authentication_methods = authenticate.methods();
        config
    }
}

/// How long a shard waits for peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long the last packets of a connection that is being closed may take, in milliseconds.
    pub close_ms: u64,
    /// How long a peer may take none of what waits for it, in milliseconds; 0 for ever.
    pub write_stall_ms: u64,
}

/// Why a shard could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Records could not be made durable; going on would break promises.
    #[error("the journal failed: {0}")]
    Journal(#[source] io::Error),
}

/// A broker with its connections, to be run on the thread that made it.
pub struct Shard<N: Net, C: Clock, J, P, A> {
    shared: Rc<Shared<N::Stream>>,
    net: N,
    clock: C,
    spawn: P,
    driver: Driver<N::Stream, C, J, P, A>,
}

/// What the tasks of a shard share, on their one thread.
#[derive(Debug)]
pub(crate) struct Shared<S> {
    inbox: Inbox,
    table: RefCell<Table<S>>,
    events: RefCell<Events>,
    counts: RefCell<Counts>,
    history: RefCell<History>,
    /// What connections read into before anything of theirs is kept.
    scratch: RefCell<Buffers>,
    /// What connections write with.
    desk: RefCell<Desk>,
    /// Counts the driver's rounds.
    round: Cell<u64>,
    /// Connections that have used up what they may bring into this round.
    waiting: RefCell<VecDeque<Rc<Connection<S>>>>,
    /// Set when no more connections are accepted.
    deaf: Signal,
    /// Set when the driver has ended.
    ended: Signal,
    /// Who waits for the answers to requests.
    tickets: RefCell<BTreeMap<u64, oneshot::Sender<Answer>>>,
    timeouts: Cell<Timeouts>,
    outgoing_buffer_bytes: u32,
    reader_limits: ReaderLimits,
    connections_maximum: usize,
}

impl<N, C, J, P, A> Shard<N, C, J, P, A>
where
    N: Net,
    C: Clock,
    J: Journal,
    P: Spawn,
    A: Authenticate,
{
    /// A shard with an empty broker. It serves once [`Shard::run`] is polled.
    #[must_use]
    pub fn new(surroundings: Surroundings<N, C, J, P, A>, options: Options) -> Self {
        let mut config = options.config_for(&surroundings.authenticate);
        config.keeps_records = surroundings.journal.keeps_records();
        // Records of before are needed to read messages back, and there are none.
        config.limits.queue_memory_bytes = u64::MAX;
        let broker = Broker::new(config, options.seed, surroundings.clock.now());
        Shard::recovered(surroundings, &options, broker, LogPosition::START)
    }

    /// A shard with a broker that was recovered from its journal, whose last record is at `through`.
    /// The broker has the configuration of [`Options::config_for`].
    #[must_use]
    pub fn recovered(
        surroundings: Surroundings<N, C, J, P, A>,
        options: &Options,
        broker: Broker,
        through: LogPosition,
    ) -> Self {
        let Surroundings { net, clock, journal, spawn, authenticate } = surroundings;
        let shared = Rc::new(Shared::new(options));
        let driver = Driver::new(
            Rc::clone(&shared),
            driver::Parts { clock: clock.clone(), journal, spawn: spawn.clone(), authenticate },
            broker,
            through,
        );
        Shard { shared, net, clock, spawn, driver }
    }

    /// Begins to accept connections at `at` and says where that is, with the port found for 0.
    ///
    /// # Errors
    /// As the network says, for example when the port is in use.
    pub fn listen(&self, at: SocketAddr, backlog: u32) -> io::Result<SocketAddr> {
        self.listen_through(Door::plain(), at, backlog)
    }

    /// The same, letting connections in through `door`.
    ///
    /// # Errors
    /// As the network says, for example when the port is in use.
    pub fn listen_through(
        &self,
        door: Door,
        at: SocketAddr,
        backlog: u32,
    ) -> io::Result<SocketAddr> {
        let listener = self.net.listen(at, backlog)?;
        let address = listener.local_addr()?;
        let shared = Rc::clone(&self.shared);
        let (clock, spawn) = (self.clock.clone(), self.spawn.clone());
        self.spawn.spawn(accept::run(shared, listener, door, clock, spawn));
        Ok(address)
    }

    /// Shows every notice of the broker to `watcher`, as it comes.
    pub fn watch(&mut self, watcher: impl FnMut(&Notice) + 'static) {
        self.driver.watch(Box::new(watcher));
    }

    /// The way in for what is not MQTT.
    #[must_use]
    pub fn gateway(&self) -> Gateway {
        Gateway::open(Rc::clone(&self.shared), &self.spawn)
    }

    /// A way to reach the shard while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle<N::Stream> {
        Handle { shared: Rc::clone(&self.shared) }
    }

    /// Serves until [`Handle::stop`] and every connection has ended.
    ///
    /// # Errors
    /// [`RunError`] when the shard cannot keep its promises any longer.
    pub async fn run(self) -> Result<(), RunError> {
        // Rounds are bounded by their own budgets, and cut short they would write less at once.
        let ended = tokio::task::unconstrained(self.driver.run()).await;
        self.shared.ended.set();
        ended
    }
}

/// Reaches a running shard from its own thread.
#[derive(Debug)]
pub struct Handle<S> {
    shared: Rc<Shared<S>>,
}

impl<S> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Handle { shared: Rc::clone(&self.shared) }
    }
}

impl<S> Handle<S> {
    /// Gives the broker an order.
    pub fn command(&self, command: Command) {
        self.shared.inbox.command(command);
    }

    /// Sends a client away because what it was let in by no longer holds. Says nothing to a
    /// connection that has ended meanwhile.
    pub fn refuse(&self, connection: ConnectionId, reason: ReasonCode) {
        let outcome = Box::new(AuthOutcome::Refused { reason });
        self.shared.inbox.push(connection, Arrival::Answer(outcome));
    }

    /// Stops accepting, tells every client, and lets [`Shard::run`] end when the last is gone.
    pub fn stop(&self, reason: ReasonCode) {
        if !self.shared.deaf.is_set() {
            self.shared.deaf.set();
            self.command(Command::Stop { reason, server_reference: None });
        }
    }

    /// How many connections there are, the ones that are just being closed included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.table.borrow().len()
    }

    /// Replaces the timeouts, for what begins to wait from now on.
    pub fn set_timeouts(&self, timeouts: Timeouts) {
        self.shared.timeouts.set(timeouts);
    }
}

impl<S> Shared<S> {
    fn new(options: &Options) -> Self {
        /// Connections beyond the broker's own limit that are still let in to be told 0x89.
        const POLITELY_REFUSED: usize = 64;
        let limits = &options.config.limits;
        Shared {
            inbox: Inbox::default(),
            table: RefCell::default(),
            events: RefCell::default(),
            counts: RefCell::default(),
            history: RefCell::default(),
            scratch: RefCell::new(Buffers::new(incoming::BUFFER_BYTES)),
            desk: RefCell::default(),
            round: Cell::new(0),
            waiting: RefCell::default(),
            deaf: Signal::default(),
            ended: Signal::default(),
            tickets: RefCell::default(),
            timeouts: Cell::new(options.timeouts),
            outgoing_buffer_bytes: options.outgoing_buffer_bytes,
            reader_limits: ReaderLimits {
                maximum_packet_size_bytes: limits.maximum_packet_size_bytes,
                topic_alias_maximum: limits.topic_alias_maximum,
                connect_maximum_bytes: options.connect_maximum_bytes,
            },
            connections_maximum: limits.connections as usize + POLITELY_REFUSED,
        }
    }

    fn close_timeout_ms(&self) -> u64 {
        self.timeouts.get().close_ms
    }

    fn write_stall_timeout_ms(&self) -> u64 {
        self.timeouts.get().write_stall_ms
    }

    /// Has the connection's task polled again when the driver has taken what is in the inbox.
    fn wake_after_round(&self, connection: &Rc<Connection<S>>) {
        if !connection.waits_for_round.replace(true) {
            self.waiting.borrow_mut().push_back(Rc::clone(connection));
        }
    }

    /// Remembers and says that a connection ended before it was the broker's.
    fn keep_out(&self, peer: SocketAddr, cause: KeptOut, now: Time) {
        let peer = Text::try_from(peer.to_string()).unwrap_or_default();
        self.counts.borrow_mut().keep_out(&cause);
        if self.events.borrow_mut().kept_out(now, &peer, &cause) {
            self.inbox.wake(); // the driver says it when it is time
        }
        self.history.borrow_mut().keep_out(now, &peer, cause);
    }

    fn accept_failed(&self, error: &io::Error, now: Time) {
        self.events.borrow_mut().accept_failed(error, now);
        self.inbox.wake();
    }

    /// Frees the connection's slot once neither the broker nor its task knows it any more.
    fn remove_if_done(&self, connection: &Connection<S>) {
        if connection.broker_is_done.get() && connection.task_is_done.get() {
            self.remove(connection.id);
        }
    }

    fn remove(&self, id: ConnectionId) {
        self.table.borrow_mut().remove(id);
        if self.deaf.is_set() && self.table.borrow().len() == 0 {
            self.inbox.wake(); // the driver waits for the last one
        }
    }
}
