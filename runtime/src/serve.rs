//! The broker as a process: settings, listeners, signals, and an orderly end.

mod guard;
mod recovery;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use signalhouse_core::input::Command;
use signalhouse_core::wire::reason::ReasonCode;
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;
use tracing::{error, info, warn};

use self::guard::{Guard, Occasion, Read};
use self::recovery::{Recovered, recover};
use crate::access::Access;
use crate::access::files::{self, FileError};
use crate::http;
use crate::journal::StoreError;
use crate::logging::Logging;
use crate::seams::{
    Authenticate, Clock, Journal, LocalSpawn, MemoryJournal, OpenFolderError, TcpNet, TokioClock,
};
use crate::settings::{self, Overrides, Security, Settings, Sources};
use crate::shard::{Handle, RunError, Shard, Surroundings};
use crate::transport::Kind;

/// Why the broker could not serve, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address could not be listened on.
    #[error("cannot listen on {address} ({}): {}", .kind.key(), listen_fault(.source))]
    Listen {
        /// What is spoken there.
        kind: Kind,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// An address could not be listened on for HTTP.
    #[error("cannot listen on {address} (http.listen): {}", listen_fault(.source))]
    ListenHttp {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file of users, rules, quotas or certificates is wrong.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The process could not be set up.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The folder of the store could not be opened.
    #[error(transparent)]
    Folder(#[from] OpenFolderError),
    /// The store could not be recovered.
    #[error("{}: {source}", .folder.display())]
    Store {
        /// Where it is.
        folder: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The broker could not go on.
    #[error(transparent)]
    Run(#[from] RunError),
}

fn listen_fault(error: &io::Error) -> String {
    let known = [
        (
            io::ErrorKind::AddrInUse,
            "the port is in use; stop who uses it, or choose another with --listen",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "not permitted; ports below 1024 need a privilege, choose another with --listen",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "this machine does not have the address; choose another with --listen",
        ),
    ];
    let known = known.into_iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| error.to_string(), |(_, fault)| fault.to_owned())
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// [`ServeError`] says why it could not.
pub fn serve(
    settings: Settings,
    sources: Sources,
    overrides: Overrides,
    logging: &Logging,
) -> Result<(), ServeError> {
    // One thread owns the broker and its connections; signals come through the same runtime.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(runtime::LocalOptions::default())?;
    let serving = Serving { settings, sources, overrides, logging };
    runtime.block_on(serving.run())
}

struct Serving<'a> {
    settings: Settings,
    sources: Sources,
    overrides: Overrides,
    logging: &'a Logging,
}

impl Serving<'_> {
    async fn run(self) -> Result<(), ServeError> {
        let loaded = files::load(&self.settings)?;
        let mut options = self.settings.options(recovery::seed());
        // Before anything that recovery finds due is published or delivered.
        options.config.permissions = loaded.known.permissions();
        let guard = |clock| Guard::new(&self.settings, clock, loaded.clone());
        if let Some(level) = self.settings.store.level() {
            let asks = guard(TokioClock::from_wall_clock()).access();
            let Recovered { clock, broker, through, journal } =
                recover(&self.settings, &options, &asks, level).await?;
            let guard = guard(clock);
            let authenticate = guard.access();
            let surroundings =
                Surroundings { net: TcpNet, clock, journal, spawn: LocalSpawn, authenticate };
            let shard = Shard::recovered(surroundings, &options, broker, through);
            self.run_shard(clock, guard, loaded.trust.clone(), shard).await
        } else {
            recovery::tell_of_store_aside(&self.settings).await;
            let clock = TokioClock::from_wall_clock();
            let journal = MemoryJournal::new();
            let guard = guard(clock);
            let authenticate = guard.access();
            let surroundings =
                Surroundings { net: TcpNet, clock, journal, spawn: LocalSpawn, authenticate };
            let shard = Shard::new(surroundings, options);
            self.run_shard(clock, guard, loaded.trust.clone(), shard).await
        }
    }

    async fn run_shard<J: Journal>(
        mut self,
        clock: TokioClock,
        mut guard: Guard,
        trust: http::Trust,
        shard: Shard<TcpNet, TokioClock, J, LocalSpawn, Rc<Access<TokioClock>>>,
    ) -> Result<(), ServeError> {
        let mut signals = Signals::new()?;
        let mut bound = Vec::new();
        for (kind, address) in self.settings.doors() {
            let door = guard.door(kind, &self.settings);
            let at = shard
                .listen_through(door, address, self.settings.network.accept_backlog)
                .map_err(|source| ServeError::Listen { kind, address, source })?;
            bound.push((kind, at));
        }
        self.announce(&bound);
        let http = self.serve_http(&shard, clock, trust)?;
        let handle = shard.handle();
        handle.command(Command::SetQuotas(guard.quotas()));
        // As a task of its own: what wakes it wakes nothing else.
        let mut shard = tokio::task::spawn_local(shard.run());
        loop {
            tokio::select! {
                biased;
                order = signals.next() => match order {
                    Order::Stop(name) => {
                        self.stop(name, &handle);
                        http.stop();
                        break;
                    }
                    Order::Reload => guard.order(&self.sources, &self.overrides, &self.settings),
                },
                read = guard.read(&self.settings) => match read {
                    Ok(read) => self.reload(read, &mut guard, &handle, &http),
                    Err(fault) => error!("the settings stay as they are: {fault}"),
                },
                ended = &mut shard => return Ok(joined(ended)?),
            }
        }
        let drained = clock.now().plus_ms(self.settings.stop.drain_timeout_ms);
        tokio::select! {
            biased;
            () = signals.stop_again() => {
                warn!(connections = handle.connections(), "told to stop again; stopping at once");
            }
            ended = async {
                let ended = joined((&mut shard).await);
                http.ended().await;
                ended
            } => {
                ended?;
                info!("stopped, every client was told");
            }
            () = clock.sleep_until(drained) => {
                let connections = handle.connections();
                tell_of_late_stop(connections, shard.is_finished(), self.settings.stop.drain_timeout_ms);
            }
        }
        Ok(())
    }

    /// The server for HTTP, listening where the settings say.
    fn serve_http<J: Journal, A: Authenticate>(
        &self,
        shard: &Shard<TcpNet, TokioClock, J, LocalSpawn, A>,
        clock: TokioClock,
        trust: http::Trust,
    ) -> Result<http::Server<TokioClock, LocalSpawn>, ServeError> {
        let settings = &self.settings.http;
        let gateway = shard.gateway();
        let options = settings.options();
        let server = http::Server::new(gateway, clock, LocalSpawn, options, trust);
        let mut bound = Vec::new();
        for address in settings.addresses() {
            match server.listen(&TcpNet, address, self.settings.network.accept_backlog) {
                Ok(at) => bound.push(at.to_string()),
                Err(error) if settings.listens_by_default() => {
                    let mend = "choose another with --http";
                    warn!(%address, %error, mend, "HTTP is not served: the port is not free");
                }
                Err(source) => return Err(ServeError::ListenHttp { address, source }),
            }
        }
        if !bound.is_empty() {
            info!(listen = bound.join(","), "HTTP is served");
        }
        Ok(server)
    }

    fn announce(&self, bound: &[(Kind, SocketAddr)]) {
        let listen: Vec<String> = bound.iter().map(|(_, address)| address.to_string()).collect();
        info!(
            version = env!("CARGO_PKG_VERSION"),
            listen = listen.join(","),
            durability = self.settings.store.durability,
            "signalhouse serves"
        );
        if self.settings.store.level().is_none() {
            warn!(
                "nothing is kept on disk; set store.durability to keep it (strict is the default)"
            );
        }
        let open = self.settings.open_addresses();
        if open.is_empty() {
            info!("only this machine can connect; set network.listen to open the broker to others");
        } else {
            let open: Vec<String> = open.iter().map(ToString::to_string).collect();
            let listen = open.join(",");
            if self.settings.authenticates() && !self.settings.security.allow_anonymous {
                info!(listen, "open to the network, for clients that say who they are");
            } else {
                warn!(listen, "open to the network, and to every client");
            }
        }
    }

    fn stop<S>(&self, signal: &str, handle: &Handle<S>) {
        info!(
            signal,
            connections = handle.connections(),
            drain_timeout_ms = self.settings.stop.drain_timeout_ms,
            "stopping"
        );
        handle.stop(ReasonCode::ServerShuttingDown);
    }

    /// Takes over what was read and found right.
    fn reload<S: 'static>(
        &mut self,
        read: Read,
        guard: &mut Guard,
        handle: &Handle<S>,
        http: &http::Server<TokioClock, LocalSpawn>,
    ) {
        let occasion = read.occasion;
        let new = guard.take_over(read, handle, http);
        if occasion == Occasion::Change {
            return;
        }
        let names = |reloads: bool, differences: &[&settings::Key]| {
            let keys = differences.iter().filter(|key| key.reloads == reloads);
            let names: Vec<String> =
                keys.map(|key| format!("{}.{}", key.section, key.name)).collect();
            names.join(", ")
        };
        let differences = self.settings.differences(&new);
        let (taken, left) = (names(true, &differences), names(false, &differences));
        self.settings.log.level.clone_from(&new.log.level);
        self.settings.stop = new.stop.clone();
        self.settings.network.close_timeout_ms = new.network.close_timeout_ms;
        self.settings.network.write_stall_timeout_ms = new.network.write_stall_timeout_ms;
        self.settings.quotas = new.quotas.clone();
        self.settings.http.keys_file.clone_from(&new.http.keys_file);
        self.settings.http.token_secret_file.clone_from(&new.http.token_secret_file);
        self.settings.tls = new.tls.clone();
        self.settings.websocket = new.websocket.clone();
        self.settings.security = Security {
            password_threads: self.settings.security.password_threads,
            waiting_logins: self.settings.security.waiting_logins,
            ..new.security.clone()
        };
        self.settings.jwt = new.jwt.clone();
        self.logging.set_level(&self.settings.log.level);
        handle.set_timeouts(self.settings.timeouts());
        // Whoever reads the settings again is there to have looked at the clock.
        handle.command(Command::ConfirmTime);
        info!(changed = taken, "settings read again");
        if !left.is_empty() {
            warn!(keys = left, "these settings change with a restart only");
        }
    }
}

/// What came of the shard's task, which nobody cancels.
fn joined(ended: Result<Result<(), RunError>, JoinError>) -> Result<(), RunError> {
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Ok(()),
    })
}

/// Says what a stop did not wait for any longer.
fn tell_of_late_stop(connections: usize, has_shard_ended: bool, timeout_ms: u64) {
    if connections > 0 {
        warn!(
            connections,
            timeout_ms, "stopped; these connections did not take their last packets in time"
        );
    } else if has_shard_ended {
        warn!(timeout_ms, "stopped; some requests over HTTP did not end in time");
    } else {
        warn!(
            timeout_ms,
            "stopped; the disk did not take the last records in time: what they say was acknowledged to nobody"
        );
    }
}

enum Order {
    Stop(&'static str),
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Order::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Order::Stop("SIGINT"),
            _ = self.hang_up.recv() => Order::Reload,
        }
    }

    async fn stop_again(&mut self) {
        loop {
            if let Order::Stop(_) = self.next().await {
                return;
            }
        }
    }
}
