//! Who is let in, through which doors, and how the files that say so are read again.

use std::cell::RefCell;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use signalhouse_core::input::Command;
use signalhouse_core::quota::Quotas;
use signalhouse_core::wire::reason::ReasonCode;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, info, warn};

use crate::access::files::{self, FileError, Loaded, Stamp};
use crate::access::{Access, Bounds};
use crate::http;
use crate::seams::{Clock, LocalSpawn, Spawn, TokioClock};
use crate::settings::{self, Overrides, Problem, Settings, Sources};
use crate::shard::Handle;
use crate::transport::websocket::{MessageLimits, Origins};
use crate::transport::{Door, Kind, Locks, Strangers};

/// A packet may have this much more around it in one message.
const FRAMING_BYTES: usize = 64;

/// Why files were read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The operator asked, so the settings are read again too.
    Order,
    /// One of them has changed.
    Change,
}

/// What came of reading again.
pub(super) struct Read {
    pub(super) occasion: Occasion,
    /// The settings, read again on order.
    pub(super) settings: Settings,
    loaded: Loaded,
}

/// What is wrong with what was read again.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Settings(Problem),
    #[error(transparent)]
    Files(#[from] FileError),
    /// Where the broker listens changes with a restart only, so these settings alone do not say who
    /// could come in.
    #[error(
        "{0} is open to the network, and no client would have to say who it is; set \
         security.allow_anonymous = true if everybody may come in, or start again"
    )]
    Open(SocketAddr),
}

/// Lets clients in, and keeps what it goes by up to date.
pub(super) struct Guard {
    access: Rc<Access<TokioClock>>,
    locks: Rc<RefCell<Locks>>,
    strangers: Rc<Strangers>,
    /// The quotas in force.
    quotas: Arc<Quotas>,
    clock: TokioClock,
    stamp: Stamp,
    reading: Option<JoinHandle<Result<Read, ReadError>>>,
    next_look: Option<Pin<Box<<TokioClock as Clock>::Sleep>>>,
}

impl Guard {
    pub(super) fn new(settings: &Settings, clock: TokioClock, loaded: Loaded) -> Self {
        let network = &settings.network;
        let bounds = Bounds {
            password_threads: settings.security.password_threads,
            waiting_logins: settings.security.waiting_logins,
        };
        Guard {
            access: Rc::new(Access::new(clock, loaded.known, bounds)),
            locks: Rc::new(RefCell::new(Locks {
                secured: loaded.secured,
                origins: Origins::new(&settings.websocket.origins),
            })),
            strangers: Strangers::new(network.strangers_per_address, network.strangers),
            quotas: loaded.quotas,
            clock,
            stamp: loaded.stamp,
            reading: None,
            next_look: None,
        }
    }

    pub(super) fn access(&self) -> Rc<Access<TokioClock>> {
        Rc::clone(&self.access)
    }

    pub(super) fn quotas(&self) -> Arc<Quotas> {
        Arc::clone(&self.quotas)
    }

    /// The door for listeners of a kind.
    pub(super) fn door(&self, kind: Kind, settings: &Settings) -> Door {
        let (network, limits) = (&settings.network, &settings.limits);
        let strangers_bytes = network.connect_maximum_bytes as usize + FRAMING_BYTES;
        let clients_bytes = limits.maximum_packet_size_bytes as usize + FRAMING_BYTES;
        let messages =
            MessageLimits { strangers_bytes, clients_bytes: clients_bytes.max(strangers_bytes) };
        let (locks, strangers) = (Rc::clone(&self.locks), Rc::clone(&self.strangers));
        Door::new(kind, locks, strangers, messages, network.handshake_timeout_ms)
    }

    /// Begins to read again, off this thread, for a broker that listens as `standing` says.
    pub(super) fn order(&mut self, sources: &Sources, overrides: &Overrides, standing: &Settings) {
        let open = standing.open_addresses().first().copied();
        let (sources, overrides) = (sources.clone(), overrides.clone());
        self.reading = Some(spawn_blocking(move || {
            let settings = settings::load(&sources, &overrides).map_err(ReadError::Settings)?;
            if let Some(address) = open
                && !settings.security.allow_anonymous
                && !settings.authenticates()
            {
                return Err(ReadError::Open(address));
            }
            let loaded = files::load(&settings)?;
            Ok(Read { occasion: Occasion::Order, settings, loaded })
        }));
    }

    /// Waits until something was read again, looking at the files from time to time.
    pub(super) async fn read(&mut self, settings: &Settings) -> Result<Read, ReadError> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = reading.await;
                self.reading = None;
                match read {
                    Ok(read) => return read,
                    Err(error) => error!(%error, "reading the files again failed"),
                }
            }
            let interval_ms = settings.security.watch_interval_ms;
            if interval_ms == 0 {
                return pending().await;
            }
            let due = || Box::pin(self.clock.sleep_until(self.clock.now().plus_ms(interval_ms)));
            self.next_look.get_or_insert_with(due).await;
            self.next_look = None;
            let stamp = Stamp::of(settings);
            if stamp != self.stamp {
                // What is wrong is said once, and not tried again until it changes.
                self.stamp = stamp;
                let settings = settings.clone();
                self.reading = Some(spawn_blocking(move || {
                    let loaded = files::load(&settings)?;
                    Ok(Read { occasion: Occasion::Change, settings, loaded })
                }));
            }
        }
    }

    /// Lets what was read hold, for those who are in as well.
    pub(super) fn take_over<S: 'static>(
        &mut self,
        read: Read,
        handle: &Handle<S>,
        http: &http::Server<TokioClock, LocalSpawn>,
    ) -> Settings {
        let Read { settings, loaded, .. } = read;
        self.stamp = loaded.stamp;
        self.next_look = None;
        *self.locks.borrow_mut() =
            Locks { secured: loaded.secured, origins: Origins::new(&settings.websocket.origins) };
        info!(
            content = loaded.known.summary(),
            "files of users, rules, quotas and certificates read again"
        );
        handle.command(Command::SetPermissions(loaded.known.permissions()));
        if self.quotas != loaded.quotas {
            self.quotas = loaded.quotas;
            handle.command(Command::SetQuotas(self.quotas()));
        }
        for connection in http.set_trust(loaded.trust) {
            handle.refuse(connection, ReasonCode::NotAuthorized);
        }
        match (self.access.requires_names(), loaded.known.requires_names()) {
            (false, true) => info!("clients have to say who they are from now on"),
            (true, false) => warn!("clients need not say who they are from now on"),
            (false, false) | (true, true) => {}
        }
        let (review, handle) = (self.access.replace(loaded.known), handle.clone());
        LocalSpawn.spawn(async move {
            // Signatures of as many certificates as there are clients are checked aside.
            match spawn_blocking(|| review.gone()).await {
                Ok(gone) => gone
                    .into_iter()
                    .for_each(|connection| handle.refuse(connection, ReasonCode::NotAuthorized)),
                Err(error) => error!(%error, "who is in could not be judged again"),
            }
        });
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_changes_while_the_store_is_recovered_is_read_again() {
        let path = std::env::temp_dir().join(format!("signalhouse-guard-{}", std::process::id()));
        let quota =
            |connections: u32| format!("[[quota]]\nuser = \"ann\"\nconnections = {connections}");
        std::fs::write(&path, quota(5)).expect("a writable folder");
        let mut settings = Settings::default();
        settings.quotas.file = path.to_str().expect("text").to_owned();
        settings.security.watch_interval_ms = 10;
        let loaded = files::load(&settings).expect("right files");
        std::fs::write(&path, quota(12)).expect("a writable folder");
        let clock = TokioClock::from_wall_clock();
        let mut guard = Guard::new(&settings, clock, loaded);
        let of_ann = |quotas: &Quotas| quotas.of.values().next().map(|quota| quota.connections);
        // Nothing but this is in force, whatever the file says by now.
        assert_eq!(of_ann(&guard.quotas()), Some(5));
        let read = tokio::select! {
            read = guard.read(&settings) => read.expect("right files"),
            () = clock.sleep_until(clock.now().plus_ms(10_000)) => panic!("it does not look again"),
        };
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!((read.occasion, of_ann(&read.loaded.quotas)), (Occasion::Change, Some(12)));
    }
}
