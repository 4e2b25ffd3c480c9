//! The settings: one TOML file, every key also as `SIGNALHOUSE_SECTION__KEY` in the environment.
//!
//! The environment goes over the file, the command line over both. What is wrong is said in one
//! line that names the place, the key and the mend.

mod access;
mod http;
mod load;
mod problem;
mod quotas;
mod section;
mod sections;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use signalhouse_core::{Config, Seed};

pub use self::access::{Jwt, Security, Tls, Websocket};
pub use self::load::{Overrides, Sources, load, load_text};
pub use self::problem::Problem;
pub use self::section::{Key, Kind};
pub use self::sections::{Broker, Http, Limits, Log, Network, Quotas, Stop, Store};
use crate::shard::{Options, Timeouts};
use crate::transport::Kind as DoorKind;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the broker is to be found, and how it treats its connections.
    pub network: Network,
    /// What clients are shown, and must show, over TLS.
    pub tls: Tls,
    /// MQTT over WebSocket.
    pub websocket: Websocket,
    /// Who may come in, and do what.
    pub security: Security,
    /// Tokens.
    pub jwt: Jwt,
    /// What the broker does where the standard leaves a choice.
    pub broker: Broker,
    /// The bounds of everything.
    pub limits: Limits,
    /// What outlives the process, and where.
    pub store: Store,
    /// How much one user, key or address may do.
    pub quotas: Quotas,
    /// Plain HTTP.
    pub http: Http,
    /// What the broker says about itself.
    pub log: Log,
    /// How the broker ends.
    pub stop: Stop,
}

impl Settings {
    /// Every key there is.
    pub fn keys() -> impl Iterator<Item = &'static Key> {
        [
            Network::KEYS,
            Tls::KEYS,
            Websocket::KEYS,
            Security::KEYS,
            Jwt::KEYS,
            Broker::KEYS,
            Limits::KEYS,
            Store::KEYS,
            Quotas::KEYS,
            Http::KEYS,
            Log::KEYS,
            Stop::KEYS,
        ]
        .into_iter()
        .flatten()
    }

    /// Where to listen, and how. The loader has checked the addresses.
    #[must_use]
    pub fn doors(&self) -> Vec<(DoorKind, SocketAddr)> {
        let network = &self.network;
        [
            (DoorKind::Tcp, &network.listen),
            (DoorKind::Tls, &network.listen_tls),
            (DoorKind::WebSocket, &network.listen_websocket),
            (DoorKind::WebSocketTls, &network.listen_websocket_tls),
        ]
        .into_iter()
        .flat_map(|(kind, list)| list.iter().map(move |address| (kind, address)))
        .filter_map(|(kind, address)| Some((kind, address.parse().ok()?)))
        .collect()
    }

    /// The listeners that others than this machine can reach.
    #[must_use]
    pub fn open_addresses(&self) -> Vec<SocketAddr> {
        let doors = self.doors().into_iter().map(|(_, address)| address);
        doors.filter(|address| !is_loopback(address.ip())).collect()
    }

    /// Whether clients have to say who they are.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        self.security.authenticates(&self.jwt, &self.tls, &self.http)
    }

    /// The core's configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        sections::config(&self.limits, &self.broker)
    }

    /// How a shard is to behave.
    #[must_use]
    pub fn options(&self, seed: Seed) -> Options {
        Options {
            config: self.config(),
            seed,
            outgoing_buffer_bytes: self.network.outgoing_buffer_bytes,
            connect_maximum_bytes: self.network.connect_maximum_bytes,
            timeouts: self.timeouts(),
        }
    }

    /// The parts of [`Settings::options`] that may change while a shard runs.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        Timeouts {
            close_ms: self.network.close_timeout_ms,
            write_stall_ms: self.network.write_stall_timeout_ms,
        }
    }

    /// The keys in which `self` and `other` differ.
    #[must_use]
    pub fn differences(&self, other: &Settings) -> Vec<&'static Key> {
        Settings::keys().filter(|key| self.value(key) != other.value(key)).collect()
    }

    /// A key's value.
    #[must_use]
    pub fn value(&self, key: &Key) -> Option<toml::Value> {
        let table = toml::Table::try_from(self).ok()?;
        table.get(key.section)?.get(key.name).cloned()
    }
}

pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
    }
}
