//! The client's way to a broker: over TCP, TLS, WebSocket, or WebSocket over TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, TlsStream};

use super::websocket::WebSocket;
use super::{Kind, Transport};

/// Where systems keep the authorities they trust, after what `SSL_CERT_FILE` says.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom a client believes, and what it shows of itself.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// File of the authorities whose word is taken for brokers, in PEM; those of the system without it.
    pub authorities: Option<PathBuf>,
    /// Files of the client's own certificate and its key, in PEM.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Whether the broker's certificate may be for another host.
    pub any_host: bool,
    /// The one version to speak, of `1.2` and `1.3`; both without it.
    pub version: Option<String>,
}

/// How to reach a broker.
#[derive(Clone, Debug)]
pub struct Dial {
    /// What is spoken below MQTT.
    pub kind: Kind,
    /// The broker's host, as its certificate has it.
    pub host: String,
    /// The path at which MQTT is found, with WebSocket.
    pub path: String,
    /// Made with [`client_config`]; needed with TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Dial {
    /// Does the handshakes on a stream to the broker.
    ///
    /// # Errors
    /// When the network fails, or the other side is not who it should be.
    pub async fn connect<S>(&self, stream: S) -> io::Result<Transport<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(config) = self.tls.as_ref().filter(|_| self.kind.is_secure()) else {
            if self.kind.is_secure() {
                return Err(io::Error::other("TLS: there are no options for it"));
            }
            if !self.kind.is_websocket() {
                return Ok(Transport::Plain(stream));
            }
            let stream = WebSocket::connect(stream, &self.host, &self.path).await?;
            return Ok(Transport::WebSocket(Box::new(stream)));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| {
            let is_theirs = error.kind() == io::ErrorKind::InvalidData;
            if is_theirs { io::Error::other(format!("TLS: {error}")) } else { error }
        })?;
        let stream = TlsStream::Client(stream);
        if self.kind.is_websocket() {
            let stream = WebSocket::connect(stream, &self.host, &self.path).await?;
            Ok(Transport::WebSocketTls(Box::new(stream)))
        } else {
            Ok(Transport::Tls(Box::new(stream)))
        }
    }
}

/// Reads the files and makes a configuration of them.
///
/// # Errors
/// Which file is wrong, and how.
pub fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = match options.version.as_deref() {
        Some("1.2") => vec![&TLS12],
        Some("1.3") => vec![&TLS13],
        Some(_) | None => vec![&TLS13, &TLS12],
    };
    let file = options.authorities.clone().map_or_else(system_authorities, Ok)?;
    let mut roots = RootCertStore::empty();
    if options.authorities.is_some() {
        for certificate in certificates(&file)? {
            roots.add(certificate).map_err(|error| wrong(&file, &error))?;
        }
    } else {
        // Some of a system's may be of a form that is not known here.
        roots.add_parsable_certificates(certificates(&file)?);
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| wrong(&file, &error))?;
    let builder = if options.any_host {
        let verifier = Arc::new(AnyHost { verifier, provider });
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else {
        builder.with_webpki_verifier(verifier)
    };
    let config = match &options.own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| wrong(key, &error))?
        }
    };
    Ok(Arc::new(config))
}

fn system_authorities() -> Result<PathBuf, String> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_AUTHORITIES.iter().map(PathBuf::from);
    let found = named.into_iter().chain(known).find(|path| path.is_file());
    found.ok_or_else(|| "this system has no file of authorities; give one with --cafile".to_owned())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|error| wrong(file, &error))?.collect();
    let certificates = read.map_err(|error| wrong(file, &error))?;
    if certificates.is_empty() {
        return Err(wrong(file, &"no certificate in PEM is in it"));
    }
    Ok(certificates)
}

fn wrong(file: &Path, fault: &dyn std::fmt::Display) -> String {
    format!("{}: {fault}", file.display())
}

/// Takes the authority's word, whatever host it is for.
#[derive(Debug)]
struct AnyHost {
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verifier.verify_server_cert(own, between, name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
