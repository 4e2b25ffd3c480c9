//! Where a broker is and how it is reached: host, port, URL, and the options of TLS.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use clap::Args;
use rustls::ClientConfig;
use tokio::net::TcpStream;

use crate::client::ClientError;
use crate::seams::{Clock, Net, TcpNet, TokioClock};
use crate::transport::dial::{Dial, TlsOptions, client_config};
use crate::transport::{Kind, Transport};

/// How long the handshakes of TLS and WebSocket may take.
const HANDSHAKES_MS: u64 = 10_000;
/// Ports where nothing is said: of MQTT, and of the web.
const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;
const PORT_WEBSOCKET: u16 = 80;
const PORT_WEBSOCKET_TLS: u16 = 443;
/// Where MQTT is found at a WebSocket's host.
const PATH: &str = "/mqtt";

#[derive(Args, Debug)]
pub(super) struct PlaceArgs {
    /// Broker to connect to.
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost")]
    host: String,
    /// Its port; 1883 without it, 8883 with TLS.
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// All in one: mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC, or mqtts:// for TLS. Over WebSocket,
    /// ws:// or wss:// with the path of MQTT, such as wss://HOST:8084/mqtt, and the topic in -t.
    #[arg(short = 'L', long, value_name = "URL", conflicts_with_all = ["host", "port"])]
    url: Option<String>,
    /// Speak TLS, and believe the authorities in this file (PEM).
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Speak TLS, and believe the authorities of this system.
    #[arg(long, alias = "tls", conflicts_with = "cafile")]
    tls_use_os_certs: bool,
    /// This client's own certificate (PEM), for brokers that ask for one.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Take a broker's certificate that is for another host. Whoever has one of the same authority
    /// can then pretend to be the broker.
    #[arg(long)]
    insecure: bool,
    /// Speak this version of TLS only.
    #[arg(long, value_name = "VERSION", value_parser = ["tlsv1.2", "tlsv1.3"])]
    tls_version: Option<String>,
}

/// Where a broker is.
#[derive(Debug)]
pub(super) struct Place {
    host: String,
    port: u16,
    kind: Kind,
    path: String,
    tls: Option<Arc<ClientConfig>>,
    /// What a URL says beyond the place.
    pub(super) user_name: Option<String>,
    pub(super) password: Option<String>,
    pub(super) topic: Option<String>,
}

impl PlaceArgs {
    /// Checks the options, and reads the files of TLS.
    pub(super) fn place(&self) -> Result<Place, String> {
        let wants_tls = self.cafile.is_some() || self.tls_use_os_certs || self.cert.is_some();
        let mut place = match &self.url {
            Some(url) => parse_url(url)?,
            None => {
                let (kind, port) =
                    if wants_tls { (Kind::Tls, PORT_TLS) } else { (Kind::Tcp, PORT) };
                Place::new(self.host.clone(), self.port.unwrap_or(port), kind)
            }
        };
        if place.kind.is_secure() {
            let version = self.tls_version.as_deref().map(|name| name.replace("tlsv", ""));
            place.tls = Some(client_config(&TlsOptions {
                authorities: self.cafile.clone(),
                own: self.cert.clone().zip(self.key.clone()),
                any_host: self.insecure,
                version,
            })?);
        } else if wants_tls {
            return Err("the options of TLS go with mqtts:// or wss://".to_owned());
        } else if self.insecure || self.tls_version.is_some() {
            return Err("--insecure and --tls-version are about TLS: give --cafile too".to_owned());
        }
        Ok(place)
    }
}

impl Place {
    fn new(host: String, port: u16, kind: Kind) -> Self {
        let path = PATH.to_owned();
        let (tls, user_name, password, topic) = (None, None, None, None);
        Place { host, port, kind, path, tls, user_name, password, topic }
    }

    /// Connects, as far as MQTT.
    pub(super) async fn reach(
        &self,
        clock: &TokioClock,
    ) -> Result<Transport<TcpStream>, ClientError> {
        let place = || format!("{}:{}", self.host, self.port);
        let unreachable = |source| ClientError::Unreachable { place: place(), source };
        let stream = TcpNet.connect(&self.host, self.port).await.map_err(unreachable)?;
        let dial = Dial {
            kind: self.kind,
            host: self.host.clone(),
            path: self.path.clone(),
            tls: self.tls.clone(),
        };
        let mut late = pin!(clock.sleep_until(clock.now().plus_ms(HANDSHAKES_MS)));
        tokio::select! {
            biased;
            reached = dial.connect(stream) => reached.map_err(unreachable),
            () = late.as_mut() => Err(ClientError::Silent(HANDSHAKES_MS / 1_000)),
        }
    }
}

fn parse_url(url: &str) -> Result<Place, String> {
    let wrong = || {
        format!(
            "{url} is neither mqtt:// or mqtts://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC nor ws:// or \
             wss://[USER[:PASSWORD]@]HOST[:PORT]/PATH"
        )
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (kind, port) = match scheme {
        "mqtt" => (Kind::Tcp, PORT),
        "mqtts" => (Kind::Tls, PORT_TLS),
        "ws" => (Kind::WebSocket, PORT_WEBSOCKET),
        "wss" => (Kind::WebSocketTls, PORT_WEBSOCKET_TLS),
        _ => return Err(wrong()),
    };
    let (place, path) = match rest.split_once('/') {
        Some((place, path)) => (place, Some(path).filter(|path| !path.is_empty())),
        None => (rest, None),
    };
    let (user, place) = match place.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, place),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        Some(_) | None => (place, port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    // What goes into a request's head must not end its line.
    if host.is_empty() || rest.contains(|symbol: char| symbol.is_control() || symbol == ' ') {
        return Err(wrong());
    }
    let mut parsed = Place::new(host, port, kind);
    if let Some(user) = user {
        let (name, password) = user.split_once(':').map_or((user, None), |(n, p)| (n, Some(p)));
        parsed.user_name = Some(name.to_owned());
        parsed.password = password.map(str::to_owned);
    }
    match path {
        Some(path) if kind.is_websocket() => parsed.path = format!("/{path}"),
        Some(topic) => parsed.topic = Some(topic.to_owned()),
        None => {}
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let place = parse_url("mqtt://a:b:c@[::1]:99/x/y").expect("a URL");
        assert_eq!((place.host.as_str(), place.port, place.kind), ("::1", 99, Kind::Tcp));
        assert_eq!(place.user_name.as_deref(), Some("a"));
        assert_eq!(place.password.as_deref(), Some("b:c"));
        assert_eq!(place.topic.as_deref(), Some("x/y"));
        let place = parse_url("mqtt://[::1]").expect("a URL");
        assert_eq!((place.host.as_str(), place.port, place.topic), ("::1", 1883, None));
        for (url, kind, port, path) in [
            ("mqtts://a/t", Kind::Tls, 8883, "/mqtt"),
            ("ws://a", Kind::WebSocket, 80, "/mqtt"),
            ("wss://a:8084/", Kind::WebSocketTls, 8084, "/mqtt"),
            ("wss://u@a/b/c?d", Kind::WebSocketTls, 443, "/b/c?d"),
        ] {
            let place = parse_url(url).expect(url);
            assert_eq!((place.kind, place.port, place.path.as_str()), (kind, port, path), "{url}");
        }
        for wrong in [
            "http://a",
            "a",
            "mqtt://",
            "mqtt://a:b",
            "mqtt://a:70000/",
            "ws://a/b c",
            "ws://a/\r\nX: y",
        ] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }
}
