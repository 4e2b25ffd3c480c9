//! TLS: what clients are shown, what they must show, and who that makes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
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
    /// What of their certificates is their name.
    pub names: NameSource,
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
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| certificate.wrong(error.to_string()))?;
    let builder = match client_verifier(settings, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|error| key.wrong(format!("it does not go with the certificate: {error}")))?;
    if settings.client_certificates != "none" {
        // A resumed session would not look again at whether the client's certificate holds.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    let names = match settings.user_name.as_str() {
        "dns_name" => NameSource::DnsName,
        "email" => NameSource::Email,
        "uri" => NameSource::Uri,
        _ => NameSource::CommonName,
    };
    Ok(Secured { config: Arc::new(config), names })
}

fn client_verifier(
    settings: &Tls,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if settings.client_certificates == "none" {
        return Ok(None);
    }
    let authority = File::new("tls.client_ca_file", &settings.client_ca_file);
    let mut roots = RootCertStore::empty();
    for certificate in authority.certificates()? {
        roots.add(certificate).map_err(|error| authority.wrong(error.to_string()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if !settings.revoked_file.is_empty() {
        let revoked = File::new("tls.revoked_file", &settings.revoked_file);
        let lists: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(&revoked.read()?).collect();
        let lists = lists.map_err(|error| revoked.wrong(error.to_string()))?;
        if lists.is_empty() {
            return Err(revoked.wrong("no revocation list in PEM is in it".to_owned()));
        }
        builder = builder.with_crls(lists);
    }
    if settings.client_certificates == "optional" {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map(Some).map_err(|error| authority.wrong(error.to_string()))
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
