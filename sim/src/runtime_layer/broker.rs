//! The broker's host: the shipped shard on simulated surroundings.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use signalhouse::seams::{Anonymous, LocalSpawn, MemoryJournal};
use signalhouse::shard::{Options, Shard, Surroundings, Timeouts};
use signalhouse_core::Seed;
use signalhouse_core::wire::reason::ReasonCode;

use super::PORT;
use super::net::SimNet;
use super::shared::Shared;
use crate::core_layer::setting;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Runs the broker's process until it stops.
pub(super) async fn run(shared: Rc<Shared>) -> turmoil::Result {
    if let Err(error) = serve(&shared).await {
        *shared.broker_failed.borrow_mut() = Some(error);
    }
    Ok(())
}

async fn serve(shared: &Rc<Shared>) -> Result<(), String> {
    let surroundings = Surroundings {
        net: SimNet::new(Rc::clone(&shared.links), Rc::clone(&shared.weather)),
        clock: shared.clock.clone(),
        journal: MemoryJournal::new(),
        spawn: LocalSpawn,
        authenticate: Anonymous,
    };
    let mut shard = Shard::new(surroundings, options(shared));
    let watcher = Rc::clone(shared);
    shard.watch(move |notice| watcher.notice(notice));
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    shard.listen(at, BACKLOG).map_err(|error| error.to_string())?;
    let handle = shard.handle();
    let mut run = std::pin::pin!(shard.run());
    let ended = tokio::select! {
        biased;
        ended = &mut run => ended,
        () = shared.stopper.notified() => {
            handle.stop(ReasonCode::ServerShuttingDown);
            run.await
        }
    };
    ended.map_err(|error| error.to_string())
}

fn options(shared: &Shared) -> Options {
    let bytes = setting(&shared.plan, "connection.outgoing_buffer_bytes").unwrap_or(64 * 1024);
    Options {
        config: shared.config.clone(),
        seed: Seed(shared.plan.seed),
        outgoing_buffer_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        connect_maximum_bytes: 64 * 1024,
        timeouts: Timeouts { close_ms: 5_000, write_stall_ms: 0 },
    }
}
