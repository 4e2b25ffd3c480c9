//! RC, for copies of the store: what is copied while the broker runs on makes a store again, and that is one which the
//! broker had, not before the copy was begun.

use std::rc::Rc;

use bytes::Bytes;
use signalhouse::journal::{self, Found, StoreError, tools};
use signalhouse::seams::Clock as _;
use signalhouse_core::LogPosition;

use super::broker::{SimSpawn, appended, open_options, options};
use super::rc::same;
use super::shared::Shared;
use crate::core_layer::broker_time;
use crate::coverage::Point;
use crate::disk::{DiskFaults, SimDisk};
use crate::history::Violation;

/// How often a store is read from the beginning that its broker changes meanwhile.
const ATTEMPTS: u32 = 5;

/// What was copied, and what was durable before.
struct Copied {
    found: Found,
    pieces: Vec<Bytes>,
    told_before: LogPosition,
}

/// Copies the store of the running broker, and judges the copy. The process dies with the broker's host.
pub(super) async fn back_up(shared: Rc<Shared>) {
    let mut failed = None;
    for _ in 0..ATTEMPTS {
        match copy(&shared).await {
            Ok(copied) => {
                if let Err(what) = judge(&shared, copied).await {
                    fail(&shared, what);
                }
                return;
            }
            Err(error) => failed = Some(error),
        }
    }
    // What rotted is for the operator to put right.
    if let Some(error) = failed.filter(|_| shared.disk.rotten().next().is_none()) {
        fail(&shared, format!("the store of a running broker cannot be copied: {error}"));
    }
}

async fn copy(shared: &Shared) -> Result<Copied, StoreError> {
    let (told_before, end) = (shared.appended.borrow().told(), shared.appended.borrow().end());
    let disk = shared.disk.read_aside();
    let mut export = tools::export(&disk, shared.plan.seed).await?;
    let mut pieces = Vec::new();
    while let Some(piece) = export.next().await? {
        pieces.push(piece);
    }
    if shared.appended.borrow().end() > end {
        shared.record.borrow_mut().hit(Point::CopiedAtWork);
    }
    Ok(Copied { found: export.found, pieces, told_before })
}

async fn judge(shared: &Shared, copied: Copied) -> Result<(), String> {
    let Copied { found, pieces, told_before } = copied;
    let through = found.through;
    shared.note(format_args!("the store is copied through {through}"));
    if through < told_before {
        return Err(format!("a copy ends at {through}, and {told_before} was durable before"));
    }
    let cannot = |error: &dyn std::fmt::Display| format!("a copy makes no store: {error}");
    let disk = SimDisk::new(shared.plan.seed, DiskFaults::default(), shared.clock.clone());
    let options = options(shared);
    let open = open_options(shared, &options);
    let pieces = pieces.into_iter().map(Ok);
    tools::import(&disk, pieces, open.segment_bytes, shared.plan.seed)
        .await
        .map_err(|error| cannot(&error))?;
    let opened = journal::open(disk, open).await.map_err(|error| cannot(&error))?;
    let wall = broker_time(shared.clock.now_ms(), shared.wall_ahead_ms.get());
    let clock = shared.clock.showing(opened.beginning(wall));
    let expected = appended(shared, &options, through, clock.now());
    let expected = expected.map_err(|_| "what was appended makes no broker".to_owned())?;
    let (broker, _) = opened.start(clock, SimSpawn).await.map_err(|error| cannot(&error))?;
    same("what the broker had and what its copy makes", &expected.snapshot(), &broker.snapshot())
}

fn fail(shared: &Shared, what: String) {
    let violation = Violation { guarantee: "RC", what, events: Vec::new() };
    shared.record.borrow_mut().fail(violation);
}
