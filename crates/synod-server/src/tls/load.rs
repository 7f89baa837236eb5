//! From files to configurations of `rustls`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use tracing::warn;

use super::TlsError;
use super::itself::Itself;
use super::verify::{Allowed, NamedClients, NamedServers, Unverified};
use crate::config::{TlsFiles, TlsVersions};

/// What configurations are made of.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) files: TlsFiles,
    /// The certificate was made here; others of its kind cannot be verified.
    pub(super) is_own: bool,
    /// Members: they are dialled, and speak no HTTP.
    pub(super) is_peer: bool,
    pub(super) versions: TlsVersions,
    pub(super) cipher_suites: Vec<String>,
}

/// Configurations made of files.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) accept: Arc<ServerConfig>,
    pub(super) dial: Option<Arc<ClientConfig>>,
    /// When the certificate ends, in seconds of Unix time.
    pub(super) not_after: i64,
}

/// A certificate with its chain, and its key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub(super) fn load(recipe: &Recipe) -> Result<Loaded, TlsError> {
    let files = &recipe.files;
    let (provider, versions) = crypto(recipe);
    let provider = Arc::new(provider);
    let (cert, key) = files.pair.as_ref().expect("a listener with TLS has a certificate");
    let pair = read_pair(cert, key)?;
    let not_after = not_after(cert, &pair.0[0])?;
    let content = |reason: String| TlsError::Content { path: cert.clone(), reason };

    let trust = Trust::read(files)?;
    let unusable = |error: rustls::Error| content(error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(unusable)?;
    let builder = match &trust {
        Some(trust) => builder.with_client_cert_verifier(trust.of_clients(recipe, &provider)?),
        None => builder.with_no_client_auth(),
    };
    // The pair is refused here if its halves do not belong together.
    let mut accept =
        builder.with_single_cert(pair.0.clone(), pair.1.clone_key()).map_err(unusable)?;
    if !recipe.is_peer {
        accept.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    let dial = match recipe.is_peer {
        true => Some(Arc::new(dial(recipe, &provider, &versions, trust.as_ref(), pair)?)),
        false => None,
    };
    Ok(Loaded { accept: Arc::new(accept), dial, not_after })
}

fn dial(
    recipe: &Recipe,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    trust: Option<&Trust<'_>>,
    own: Pair,
) -> Result<ClientConfig, TlsError> {
    let (cert, _) = recipe.files.pair.as_ref().expect("a certificate");
    let unusable =
        |error: rustls::Error| TlsError::Content { path: cert.clone(), reason: error.to_string() };
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(unusable)?;
    let builder = match trust {
        Some(trust) => builder
            .dangerous()
            .with_custom_certificate_verifier(trust.of_servers(recipe, provider)?),
        None if recipe.is_own => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(Arc::clone(provider)))),
        None => builder.with_root_certificates(trusted_by_the_machine()),
    };
    let pair = match &recipe.files.dial_pair {
        Some((cert, key)) => read_pair(cert, key)?,
        None => own,
    };
    builder.with_client_auth_cert(pair.0, pair.1).map_err(unusable)
}

/// The authorities of the machine, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`. What cannot be read
/// is left out: a member that finds none verifies nobody, and says so when it dials.
fn trusted_by_the_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        warn!(%error, "some authorities that this machine trusts cannot be read");
    }
    // Machines carry some that no verifier takes.
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Whose certificates are good.
struct Trust<'a> {
    files: &'a TlsFiles,
    roots: Arc<RootCertStore>,
    itself: Itself,
}

impl<'a> Trust<'a> {
    fn read(files: &'a TlsFiles) -> Result<Option<Self>, TlsError> {
        let Some(path) = &files.ca else { return Ok(None) };
        let content = |reason: String| TlsError::Content { path: path.clone(), reason };
        let (mut roots, mut trusted) = (RootCertStore::empty(), Vec::new());
        for certificate in CertificateDer::pem_slice_iter(&read(path)?) {
            let certificate = certificate.map_err(|error| content(error.to_string()))?;
            roots.add(certificate.clone()).map_err(|error| content(error.to_string()))?;
            trusted.push(certificate);
        }
        if roots.is_empty() {
            return Err(content("it holds no certificate in PEM".to_owned()));
        }
        let crls = match &files.crl {
            Some(path) => read_crls(path)?,
            None => Vec::new(),
        };
        Ok(Some(Self { files, roots: Arc::new(roots), itself: Itself { trusted, crls } }))
    }

    fn allowed(&self) -> Allowed {
        Allowed { names: self.files.allowed_names.clone(), hosts: self.files.allowed_hosts.clone() }
    }

    fn of_clients(
        &self,
        recipe: &Recipe,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<NamedClients>, TlsError> {
        let inner = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(provider),
        )
        .with_crls(self.itself.crls.iter().cloned())
        // A CA of which there is no list has revoked nothing.
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| self.unusable(recipe, &error))?;
        Ok(Arc::new(NamedClients { inner, itself: self.itself.clone(), allowed: self.allowed() }))
    }

    fn of_servers(
        &self,
        recipe: &Recipe,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<NamedServers>, TlsError> {
        let inner = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(provider),
        )
        .with_crls(self.itself.crls.iter().cloned())
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| self.unusable(recipe, &error))?;
        Ok(Arc::new(NamedServers { inner, itself: self.itself.clone(), allowed: self.allowed() }))
    }

    /// Only lists of revoked certificates can be wrong by now.
    fn unusable(&self, recipe: &Recipe, error: &dyn std::error::Error) -> TlsError {
        let path = recipe.files.crl.clone().or_else(|| self.files.ca.clone()).unwrap_or_default();
        TlsError::Content { path, reason: error.to_string() }
    }
}

/// The suites and versions asked for.
fn crypto(recipe: &Recipe) -> (CryptoProvider, Vec<&'static SupportedProtocolVersion>) {
    let mut provider = ring::default_provider();
    let wanted = &recipe.cipher_suites;
    if !wanted.is_empty() {
        // In the order asked for; those of TLS 1.3 are always on.
        let place = |suite: &SupportedCipherSuite| {
            let name = go_name(suite.suite());
            wanted.iter().position(|wanted| *wanted == name || format!("{wanted}_SHA256") == name)
        };
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || place(suite).is_some());
        provider.cipher_suites.sort_by_key(place);
    }
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    if recipe.versions.tls13 {
        versions.push(&rustls::version::TLS13);
    }
    let has_tls12 = provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
    if recipe.versions.tls12 && (has_tls12 || versions.is_empty()) {
        versions.push(&rustls::version::TLS12);
    }
    (provider, versions)
}

fn go_name(suite: CipherSuite) -> String {
    format!("{suite:?}").replace("TLS13_", "TLS_")
}

fn read_pair(cert: &Path, key: &Path) -> Result<Pair, TlsError> {
    let content = |path: &Path, reason: String| TlsError::Content { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(content(cert, "it holds no certificate in PEM".to_owned()));
    }
    let key_of = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| content(key, format!("it holds no key in PEM: {error}")))?;
    Ok((chain, key_of))
}

/// Lists of revoked certificates, in PEM, or one in DER.
fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let content = |reason: String| TlsError::Content { path: path.to_owned(), reason };
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(error.to_string()))?;
    if !lists.is_empty() {
        return Ok(lists);
    }
    match x509_parser::parse_x509_crl(&bytes) {
        Ok(_) => Ok(vec![CertificateRevocationListDer::from(bytes)]),
        Err(_) => Err(content("it holds no list of revoked certificates".to_owned())),
    }
}

fn not_after(path: &Path, certificate: &CertificateDer<'_>) -> Result<i64, TlsError> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok((_, parsed)) => Ok(parsed.validity().not_after.timestamp()),
        Err(error) => Err(TlsError::Content { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|reason| TlsError::File { path: path.to_owned(), reason })
}
