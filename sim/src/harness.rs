//! For other people's programs: the real broker on one simulated host, your MQTT client code on
//! others, under simulated time and faults, from a seed.
//!
//! The broker is the shipped runtime with its journal on a simulated disk. Your code is any future:
//! it connects through [`Network`] and gets a stream that is `AsyncRead` and `AsyncWrite`, for the
//! client library or codec of your choice. Bytes arrive in pieces, writes are short, links stall and
//! break, the broker is killed or loses its power when you say so. The same seed gives the same run.
//! Inside, `tokio::time` is simulated; threads, real sockets and real clocks have no place there.
//!
//! `examples/reconnecting_client.rs` in this package is a whole program.

mod connection;

use std::cell::Cell;
use std::future::{Future, pending};
use std::io;
use std::rc::Rc;

use turmoil::net::TcpStream;

use crate::history::Violation;
use crate::plan::{BrokerFault, Do, Plan, Step};
use crate::runtime_layer::{BROKER, PORT, Shared, World};
pub use connection::{Connection, LinkFault};

/// What a client's code may end with.
pub type ClientError = Box<dyn std::error::Error>;

/// A world to be filled with clients and faults, and then run.
pub struct Harness {
    plan: Plan,
    clients: Vec<Client>,
}

/// A client's name and its code.
type Client = (String, Box<dyn FnOnce(Network) -> Running>);
type Running = std::pin::Pin<Box<dyn Future<Output = Result<(), ClientError>>>>;

/// The network as one client's host has it.
#[derive(Clone)]
pub struct Network {
    shared: Rc<Shared>,
    is_unreachable: Rc<Cell<bool>>,
}

/// Why a run did not end well.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A client's code returned an error or panicked.
    #[error("{0}")]
    Client(String),
    /// Not every client's code ended within the time given.
    #[error("{waiting} of the clients did not end within {limit_ms} ms")]
    Time {
        /// How many did not.
        waiting: usize,
        /// The time given, in milliseconds.
        limit_ms: u64,
    },
    /// The broker itself failed.
    #[error("{} violated: {}", .0.guarantee, .0.what)]
    Broker(Violation),
    /// A setting of that name does not exist.
    #[error("{0}")]
    Setting(String),
}

impl Harness {
    /// A world whose every chance comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let plan = Plan {
            seed,
            profile: "hand".to_owned(),
            settings: Vec::new(),
            clients: Vec::new(),
            steps: Vec::new(),
            calm_at_ms: u64::MAX,
            dead: Vec::new(),
            bound_ms: 0,
        };
        Harness { plan, clients: Vec::new() }.with("network.split", 1)
    }

    /// Sets one of the settings that plans have: `network.latency_ms`, `network.jitter_ms`,
    /// `network.split` (0 whole writes, 1 some pieces, 2 every byte alone), `network.capacity_bytes`,
    /// `journal.sync_ms`, or a setting of the broker such as `receive_maximum`.
    #[must_use]
    pub fn with(mut self, name: &str, value: u64) -> Self {
        self.plan.settings.retain(|(known, _)| known != name);
        self.plan.settings.push((name.to_owned(), value));
        self
    }

    /// Has something happen to the broker's process at a time, in milliseconds since the start.
    /// After [`BrokerFault::Kill`], [`BrokerFault::PowerCut`] and [`BrokerFault::Stop`] it is away
    /// until a [`BrokerFault::Start`].
    #[must_use]
    pub fn at_ms(mut self, at_ms: u64, fault: BrokerFault) -> Self {
        self.plan.steps.push(Step { at_ms, what: Do::Broker(fault) });
        self
    }

    /// Has syncs of the broker's disk hang for a while.
    #[must_use]
    pub fn disk_hangs(mut self, from_ms: u64, until_ms: u64) -> Self {
        self.plan.steps.push(Step { at_ms: from_ms, what: Do::DiskSyncs { on: false } });
        self.plan.steps.push(Step { at_ms: until_ms, what: Do::DiskSyncs { on: true } });
        self
    }

    /// Adds a host with a client's code.
    #[must_use]
    pub fn client<F, Fut>(mut self, name: &str, code: F) -> Self
    where
        F: FnOnce(Network) -> Fut + 'static,
        Fut: Future<Output = Result<(), ClientError>> + 'static,
    {
        self.clients.push((name.to_owned(), Box::new(|network| Box::pin(code(network)))));
        self
    }

    /// Runs until every client's code has ended. Gives the simulated time that took, in
    /// milliseconds.
    ///
    /// # Errors
    /// [`HarnessError`]; the first thing that went wrong.
    pub fn run(mut self, limit_ms: u64) -> Result<u64, HarnessError> {
        self.plan.steps.sort_by_key(|step| step.at_ms);
        let mut world = World::new(&self.plan, false).map_err(HarnessError::Setting)?;
        world.takes_every_tick();
        let waiting = Rc::new(Cell::new(self.clients.len()));
        for (name, code) in self.clients {
            let shared = Rc::clone(world.shared());
            let network = Network { shared, is_unreachable: Rc::default() };
            let waiting = Rc::clone(&waiting);
            world.add_client(&name, async move {
                code(network).await?;
                waiting.set(waiting.get() - 1);
                Ok(())
            });
        }
        while waiting.get() > 0 {
            let now_ms = world.shared().now_ms();
            if now_ms >= limit_ms {
                return Err(HarnessError::Time { waiting: waiting.get(), limit_ms });
            }
            world.tick(limit_ms).map_err(HarnessError::Client)?;
            if let Some(violation) = world.shared().violation() {
                return Err(HarnessError::Broker(violation));
            }
        }
        Ok(world.shared().now_ms())
    }
}

impl Network {
    /// Opens a connection to the broker.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] while its process is down. While its power is off, or the
    /// broker is out of reach, the connection never comes: wrap this in a timeout.
    pub async fn connect(&self) -> io::Result<Connection> {
        if self.is_unreachable.get() {
            return pending().await;
        }
        if self.shared.is_refusing() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let inner = TcpStream::connect((BROKER, PORT)).await?;
        Ok(Connection::new(self.shared.client_stream(inner)))
    }

    /// Takes the broker out of this client's reach, or brings it back: while it is away, connections
    /// that are asked for are never made. Those that there are do not notice.
    pub fn set_reachable(&self, is_reachable: bool) {
        self.is_unreachable.set(!is_reachable);
    }

    /// Milliseconds since the start of the run.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }
}
