//! What a listener lets its connections through before they are connections of the shard.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::strangers::Strangers;
use super::tls::{Secured, Shown};
use super::websocket::{HandshakeError, MessageLimits, Origins, RequestFault, WebSocket};
use super::{Kind, Transport};

/// What may be replaced while listeners run: keys, and which web pages may connect.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    /// For listeners with TLS.
    pub secured: Option<Secured>,
    /// For listeners with WebSocket.
    pub origins: Origins,
}

/// What a listener's connections come through.
#[derive(Clone, Debug)]
pub struct Door {
    kind: Kind,
    locks: Rc<RefCell<Locks>>,
    strangers: Rc<Strangers>,
    limits: MessageLimits,
    handshake_timeout_ms: u64,
}

/// Why a connection did not come through.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// It was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// It went away, or the network failed.
    #[error(transparent)]
    Network(#[from] io::Error),
}

/// Why a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// TLS came to nothing.
    #[error("TLS: {0}")]
    Tls(String),
    /// The client's certificate does not hold, or there is none.
    #[error("TLS: {0}")]
    Certificate(String),
    /// The client's certificate does not say who it is.
    #[error("the client's certificate has no name (tls.user_name)")]
    Nameless,
    /// WebSocket came to nothing.
    #[error("WebSocket: {0}")]
    WebSocket(RequestFault),
}

impl Door {
    /// A door for `kind`. Its `locks` may be replaced at any time; what came through stays.
    #[must_use]
    pub fn new(
        kind: Kind,
        locks: Rc<RefCell<Locks>>,
        strangers: Rc<Strangers>,
        limits: MessageLimits,
        handshake_timeout_ms: u64,
    ) -> Self {
        Door { kind, locks, strangers, limits, handshake_timeout_ms }
    }

    /// A door that is open to all, without handshakes.
    #[must_use]
    pub fn plain() -> Self {
        let limits = MessageLimits { strangers_bytes: 0, clients_bytes: 0 };
        let strangers = Strangers::new(u32::MAX, u32::MAX);
        Door::new(Kind::Tcp, Rc::default(), strangers, limits, 0)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether nothing has to be said before MQTT.
    pub(crate) fn is_plain(&self) -> bool {
        self.kind == Kind::Tcp
    }

    pub(crate) fn strangers(&self) -> &Rc<Strangers> {
        &self.strangers
    }

    pub(crate) fn handshake_timeout_ms(&self) -> u64 {
        self.handshake_timeout_ms
    }

    /// Does the handshakes. Gives what the connection is then, and the client's certificate, if it
    /// showed one.
    ///
    /// # Errors
    /// [`DoorError`] if they came to nothing.
    pub(crate) async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<(Transport<S>, Option<Arc<Shown>>), DoorError> {
        let locks = self.locks.borrow().clone();
        let secured = locks.secured.filter(|_| self.kind.is_secure());
        let Some(secured) = secured else {
            if self.kind.is_secure() {
                return Err(DoorError::Refused(Refusal::Tls("there is no certificate".to_owned())));
            }
            if !self.kind.is_websocket() {
                return Ok((Transport::Plain(stream), None));
            }
            let stream = WebSocket::accept(stream, &locks.origins, self.limits).await?;
            return Ok((Transport::WebSocket(Box::new(stream)), None));
        };
        let config =
            if self.kind.is_websocket() { secured.websocket_config } else { secured.config };
        let stream = TlsAcceptor::from(config).accept(stream).await.map_err(tls_error)?;
        let shown = match (stream.get_ref().1.peer_certificates(), &secured.authority) {
            (Some(chain), Some(authority)) => match authority.shown(chain, secured.names) {
                Some(shown) => Some(Arc::new(shown)),
                None => return Err(DoorError::Refused(Refusal::Nameless)),
            },
            (Some(_) | None, _) => None,
        };
        let stream = TlsStream::Server(stream);
        if self.kind.is_websocket() {
            let stream = WebSocket::accept(stream, &locks.origins, self.limits).await?;
            Ok((Transport::WebSocketTls(Box::new(stream)), shown))
        } else {
            Ok((Transport::Tls(Box::new(stream)), shown))
        }
    }
}

/// What is wrong with the handshake is the peer's fault; what is wrong with the network is not.
fn tls_error(error: io::Error) -> DoorError {
    if error.kind() != io::ErrorKind::InvalidData {
        return DoorError::Network(error);
    }
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let is_certificate = cause.is_some_and(|cause| {
        matches!(
            cause,
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
        )
    });
    let refusal = if is_certificate { Refusal::Certificate } else { Refusal::Tls };
    DoorError::Refused(refusal(error.to_string()))
}

impl From<HandshakeError> for DoorError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Refused(fault) => DoorError::Refused(Refusal::WebSocket(fault)),
            HandshakeError::Network(error) => DoorError::Network(error),
        }
    }
}
