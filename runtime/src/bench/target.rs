//! Who is measured.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

/// A broker, or the relay.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is called in reports.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process, if its processor time and memory are to be read.
    pub pid: Option<u32>,
    /// Whether it is the relay of `bench relay`, which knows no MQTT.
    pub is_relay: bool,
}

/// Why a text names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No host and port.
    #[error("`{0}` is no HOST:PORT that can be found")]
    Address(String),
    /// Something behind a comma that is not known.
    #[error("`{0}` is neither pid=NUMBER nor relay")]
    Option(String),
}

impl FromStr for Target {
    type Err = TargetError;

    /// Reads `[NAME=]HOST:PORT[,pid=PID][,relay]`.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let mut parts = text.split(',');
        let place = parts.next().unwrap_or_default();
        let (name, address) = place.split_once('=').unwrap_or((place, place));
        let unknown = || TargetError::Address(address.to_owned());
        let found = address.to_socket_addrs().ok().and_then(|mut found| found.next());
        let mut target = Target {
            name: name.to_owned(),
            address: found.ok_or_else(unknown)?,
            pid: None,
            is_relay: false,
        };
        for option in parts {
            let unknown = || TargetError::Option(option.to_owned());
            if option == "relay" {
                target.is_relay = true;
            } else {
                let pid = option.strip_prefix("pid=").ok_or_else(unknown)?;
                target.pid = Some(pid.parse().map_err(|_| unknown())?);
            }
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_with_all_its_parts() {
        let target: Target = "peer=127.0.0.1:1884,pid=12,relay".parse().expect("a target");
        assert_eq!((target.name.as_str(), target.pid, target.is_relay), ("peer", Some(12), true));
        let plain: Target = "127.0.0.1:1883".parse().expect("a target");
        assert_eq!((plain.name.as_str(), plain.pid), ("127.0.0.1:1883", None));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["", "127.0.0.1", "x=127.0.0.1:1,pid=-", "127.0.0.1:1,fast"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
