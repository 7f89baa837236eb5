//! Who is let in: a good certificate, and a name that is allowed.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::itself::{Itself, Purpose};
use crate::credentials::PeerCertificate;

/// That a request came over TLS. In its extensions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OverTls {
    /// The client's certificate, if it was asked for one.
    pub(crate) certificate: Option<PeerCertificate>,
}

/// What a verified certificate says of its owner.
pub(crate) fn shown(certificate: &CertificateDer<'_>) -> PeerCertificate {
    PeerCertificate { common_name: common_name(certificate) }
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    // As in Go, the last one counts.
    let name = parsed.subject().iter_common_name().last()?;
    name.as_str().ok().map(str::to_owned)
}

/// Which names are allowed; all, if there are none of either kind.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    /// Common names.
    pub(super) names: Vec<String>,
    /// Host names and addresses.
    pub(super) hosts: Vec<String>,
}

/// A certificate that is good, but not for here.
#[derive(thiserror::Error)]
#[error("the certificate is good, but its {what} is not allowed: {found}")]
struct NotAllowed {
    what: &'static str,
    found: String,
}

/// In words: what wraps it knows no others.
impl fmt::Debug for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Allowed {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if !self.names.is_empty() {
            let name = common_name(certificate);
            if !name.as_ref().is_some_and(|name| self.names.contains(name)) {
                let found = name.unwrap_or_else(|| "it has none".to_owned());
                return Err(not_allowed("common name", found));
            }
        }
        if !self.hosts.is_empty() {
            let parsed = ParsedCertificate::try_from(certificate)?;
            let is_for = |host: &String| {
                ServerName::try_from(host.as_str())
                    .is_ok_and(|host| verify_server_name(&parsed, &host).is_ok())
            };
            if !self.hosts.iter().any(is_for) {
                let found = format!("none of {}", self.hosts.join(", "));
                return Err(not_allowed("host name", found));
            }
        }
        Ok(())
    }
}

fn not_allowed(what: &'static str, found: String) -> Error {
    let reason = OtherError(Arc::new(NotAllowed { what, found }));
    CertificateError::Other(reason).into()
}

/// Verifies those who dial.
#[derive(Debug)]
pub(super) struct NamedClients {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) itself: Itself,
    pub(super) allowed: Allowed,
}

impl ClientCertVerifier for NamedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match self.itself.holds(certificate) {
            true => self
                .itself
                .check(certificate, Purpose::Dial, now)
                .map(|()| ClientCertVerified::assertion()),
            false => self.inner.verify_client_cert(certificate, chain, now),
        }?;
        self.allowed.check(certificate)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Verifies those who are dialled.
#[derive(Debug)]
pub(super) struct NamedServers {
    pub(super) inner: Arc<dyn ServerCertVerifier>,
    pub(super) itself: Itself,
    pub(super) allowed: Allowed,
}

impl ServerCertVerifier for NamedServers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = match self.itself.holds(certificate) {
            true => {
                self.itself.check(certificate, Purpose::Accept, now)?;
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                ServerCertVerified::assertion()
            }
            false => self.inner.verify_server_cert(certificate, chain, name, ocsp, now)?,
        };
        self.allowed.check(certificate)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes any certificate of those who are dialled, as etcd does with `--peer-auto-tls`: what is
/// said is encrypted, and nobody knows to whom.
#[derive(Debug)]
pub(super) struct Unverified(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
