//! TLS: what clients are shown, what they must show, and who that makes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest, Sha256};
use signalhouse_core::Time;
use signalhouse_core::wire::types::Text;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::settings::Tls;

/// What is wrong with the files of TLS.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}: {fault}", .path.display())]
pub struct TlsError {
    key: &'static str,
    path: PathBuf,
    fault: String,
}

/// What of a client's certificate is its user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameSource {
    /// The subject's common name.
    CommonName,
    /// The first DNS name among the alternative names.
    DnsName,
    /// The first mail address among them.
    Email,
    /// The first URI among them.
    Uri,
}

/// How connections are secured.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Keys, versions and what clients must show.
    pub config: Arc<ServerConfig>,
    /// The same for WebSocket: browsers give up a connection whose server would like to see a
    /// certificate, so there none is asked for unless it is required.
    pub websocket_config: Arc<ServerConfig>,
    /// What of clients' certificates is their name.
    pub names: NameSource,
    /// Who vouches for clients, if they may show certificates.
    pub authority: Option<Authority>,
}

/// The certificate that a client showed and proved to own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Who the client is by it.
    pub name: Text,
    /// When it ends.
    pub ends_at: Time,
    /// Who vouched for it.
    by: Authority,
    /// The certificate, and those between it and a root.
    chain: Vec<CertificateDer<'static>>,
}

/// Judges the certificates of clients: roots, and lists of what was revoked.
#[derive(Clone, Debug)]
pub struct Authority {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Of the files it was made from.
    digest: [u8; 32],
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Authority {}

impl Authority {
    /// Whether the certificate would be taken today, apart from its end.
    #[must_use]
    pub fn vouches_for(&self, shown: &Shown) -> bool {
        if *self == shown.by {
            return true;
        }
        let Some((own, between)) = shown.chain.split_first() else { return false };
        self.verifier.verify_client_cert(own, between, UnixTime::now()).is_ok()
    }

    /// What a client showed, if it says who it is.
    #[must_use]
    pub fn shown(&self, chain: &[CertificateDer<'_>], names: NameSource) -> Option<Shown> {
        let own = chain.first()?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(Shown { name: name_of(own, names)?, ends_at: end_of(own)?, by: self.clone(), chain })
    }
}

/// Reads the files and makes the configuration.
///
/// # Errors
/// [`TlsError`] names the setting, the file and the fault.
pub fn load(settings: &Tls) -> Result<Secured, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&SupportedProtocolVersion] =
        if settings.minimum_version == "1.3" { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let certificate = File::new("tls.certificate_file", &settings.certificate_file);
    let key = File::new("tls.key_file", &settings.key_file);
    let chain = certificate.certificates()?;
    let private = PrivateKeyDer::from_pem_slice(&key.read()?)
        .map_err(|error| key.wrong(format!("no private key: {error}")))?;
    let make = |authority: Option<&Authority>| {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| certificate.wrong(error.to_string()))?;
        let builder = match authority {
            Some(authority) => builder.with_client_cert_verifier(Arc::clone(&authority.verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain.clone(), private.clone_key())
            .map_err(|error| key.wrong(format!("it does not go with the certificate: {error}")))?;
        if authority.is_some() {
            // A resumed session would not look again at whether the client's certificate holds.
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    };
    let authority = client_authority(settings, Arc::clone(&provider))?;
    let config = make(authority.as_ref())?;
    let websocket_config =
        if settings.client_certificates == "optional" { make(None)? } else { Arc::clone(&config) };
    let names = match settings.user_name.as_str() {
        "dns_name" => NameSource::DnsName,
        "email" => NameSource::Email,
        "uri" => NameSource::Uri,
        _ => NameSource::CommonName,
    };
    Ok(Secured { config, websocket_config, names, authority })
}

fn client_authority(
    settings: &Tls,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Authority>, TlsError> {
    if settings.client_certificates == "none" {
        return Ok(None);
    }
    let authority = File::new("tls.client_ca_file", &settings.client_ca_file);
    let mut roots = RootCertStore::empty();
    let mut digest = Sha256::new();
    for certificate in authority.certificates()? {
        digest.update(&certificate);
        roots.add(certificate).map_err(|error| authority.wrong(error.to_string()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if !settings.revoked_file.is_empty() {
        let revoked = File::new("tls.revoked_file", &settings.revoked_file);
        let lists: Result<Vec<CertificateRevocationListDer<'_>>, _> =
            CertificateRevocationListDer::pem_slice_iter(&revoked.read()?).collect();
        let lists = lists.map_err(|error| revoked.wrong(error.to_string()))?;
        if lists.is_empty() {
            return Err(revoked.wrong("no revocation list in PEM is in it".to_owned()));
        }
        lists.iter().for_each(|list| digest.update(list.as_ref()));
        builder = builder.with_crls(lists);
    }
    if settings.client_certificates == "optional" {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| authority.wrong(error.to_string()))?;
    Ok(Some(Authority { verifier, digest: digest.finalize().into() }))
}

/// Who the bearer of a certificate is.
#[must_use]
pub fn name_of(certificate: &CertificateDer<'_>, source: NameSource) -> Option<Text> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = match source {
        NameSource::CommonName => {
            let mut names = certificate.subject().iter_common_name();
            // Of two names nobody could say which one the authority meant.
            let name = names.next()?.as_str().ok()?;
            if names.next().is_some() {
                return None;
            }
            name.to_owned()
        }
        NameSource::DnsName => alternative(&certificate, |name| {
            if let GeneralName::DNSName(name) = name { Some(*name) } else { None }
        })?,
        NameSource::Email => alternative(&certificate, |name| {
            if let GeneralName::RFC822Name(name) = name { Some(*name) } else { None }
        })?,
        NameSource::Uri => alternative(&certificate, |name| {
            if let GeneralName::URI(name) = name { Some(*name) } else { None }
        })?,
    };
    Text::try_from(name.as_str()).ok().filter(|name| !name.is_empty())
}

/// When a certificate ends: after the last second in which it holds.
#[must_use]
pub fn end_of(certificate: &CertificateDer<'_>) -> Option<Time> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let last_s = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Time::from_ms(last_s.saturating_add(1).saturating_mul(1_000)))
}

fn alternative(
    certificate: &X509Certificate<'_>,
    wanted: impl for<'n> Fn(&GeneralName<'n>) -> Option<&'n str>,
) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(wanted).map(str::to_owned)
}

struct File {
    key: &'static str,
    path: PathBuf,
}

impl File {
    fn new(key: &'static str, path: &str) -> Self {
        File { key, path: Path::new(path).to_owned() }
    }

    fn wrong(&self, fault: String) -> TlsError {
        TlsError { key: self.key, path: self.path.clone(), fault }
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        std::fs::read(&self.path).map_err(|error| self.wrong(format!("cannot be read: {error}")))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.read()?).collect();
        let certificates = read.map_err(|error| self.wrong(error.to_string()))?;
        if certificates.is_empty() {
            return Err(self.wrong("no certificate in PEM is in it".to_owned()));
        }
        Ok(certificates)
    }
}
