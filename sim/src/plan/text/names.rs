//! Names of faults in a plan's text.

use super::line::Line;
use crate::disk::Operation;
use crate::plan::{BrokerFault, NetworkFault};

pub(super) fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

pub(super) fn read_switch(line: &mut Line) -> Result<bool, String> {
    match line.text("`on` or `off`")?.as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("`{other}` is neither `on` nor `off`")),
    }
}

const NETWORK_FAULTS: [NetworkFault; 8] = [
    NetworkFault::Hold,
    NetworkFault::Release,
    NetworkFault::BlackHoleToBroker,
    NetworkFault::BlackHoleToClient,
    NetworkFault::Reset,
    NetworkFault::HalfClose,
    NetworkFault::Drip,
    NetworkFault::Unreachable,
];

pub(super) fn network_name(fault: NetworkFault) -> &'static str {
    match fault {
        NetworkFault::Hold => "hold",
        NetworkFault::Release => "release",
        NetworkFault::BlackHoleToBroker => "black_hole_to_broker",
        NetworkFault::BlackHoleToClient => "black_hole_to_client",
        NetworkFault::Reset => "reset",
        NetworkFault::HalfClose => "half_close",
        NetworkFault::Drip => "drip",
        NetworkFault::Unreachable => "unreachable",
    }
}

pub(super) fn read_network(line: &mut Line) -> Result<NetworkFault, String> {
    let name = line.text("a network fault")?;
    let known = NETWORK_FAULTS.into_iter().find(|fault| network_name(*fault) == name);
    known.ok_or_else(|| format!("`{name}` is no network fault"))
}

const BROKER_FAULTS: [BrokerFault; 4] =
    [BrokerFault::Kill, BrokerFault::PowerCut, BrokerFault::Stop, BrokerFault::Start];

pub(super) fn broker_name(fault: BrokerFault) -> &'static str {
    match fault {
        BrokerFault::Kill => "kill",
        BrokerFault::PowerCut => "power_cut",
        BrokerFault::Stop => "stop",
        BrokerFault::Start => "start",
    }
}

pub(super) fn read_broker(line: &mut Line) -> Result<BrokerFault, String> {
    let name = line.text("what the broker's process does")?;
    let known = BROKER_FAULTS.into_iter().find(|fault| broker_name(*fault) == name);
    known.ok_or_else(|| format!("`{name}` is nothing the broker's process does"))
}

pub(super) fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::List => "list",
        Operation::Open => "open",
        Operation::Create => "create",
        Operation::Rename => "rename",
        Operation::Remove => "remove",
        Operation::SyncFolder => "sync_folder",
        Operation::FreeBytes => "free_bytes",
        Operation::Read => "read",
        Operation::Write => "write",
        Operation::Sync => "sync",
    }
}

pub(super) fn read_operation(line: &mut Line) -> Result<Operation, String> {
    let name = line.text("an operation on the disk")?;
    let known = Operation::EACH.into_iter().find(|known| operation_name(*known) == name);
    known.ok_or_else(|| format!("`{name}` is no operation on the disk"))
}
