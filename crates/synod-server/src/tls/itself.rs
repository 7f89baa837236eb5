//! Certificates that the file of authorities holds themselves.
//!
//! Who makes one certificate for everything, signed by itself and shown by servers and clients
//! alike, trusts it as it stands. `webpki` refuses an authority in the place of a leaf; Go, and so
//! etcd, takes whatever the file holds. Nobody is let in by this who was not before: whoever owns
//! the key of an authority could sign what they like. That they own it is proved by the handshake,
//! as for all.

use std::ops::Deref;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use x509_parser::prelude::{ASN1Time, X509Certificate};

/// What the file of authorities holds, and which of it is revoked.
#[derive(Clone, Debug)]
pub(super) struct Itself {
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) crls: Vec<CertificateRevocationListDer<'static>>,
}

/// What its owner is going to do with a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Dial,
    Accept,
}

impl Itself {
    /// Whether this very certificate is in the file.
    pub(super) fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.trusted.iter().any(|trusted| trusted.deref() == certificate.deref())
    }

    /// All that is asked of a certificate that needs no issuer: its time, what it is for, that it
    /// is not revoked.
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), Error> {
        // Refuses what is not understood and said to be critical.
        ParsedCertificate::try_from(certificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| CertificateError::BadEncoding)?;
        let (not_before, not_after) =
            (time(parsed.validity().not_before), time(parsed.validity().not_after));
        if now < not_before {
            return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
        }
        if now > not_after {
            return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
        }
        if !is_for(&parsed, purpose)? {
            return Err(CertificateError::InvalidPurpose.into());
        }
        if self.is_revoked(&parsed) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(())
    }

    /// Whether a list of its issuer names it. Who signed the list is not asked: that a certificate
    /// is in it is the operator's word.
    fn is_revoked(&self, certificate: &X509Certificate<'_>) -> bool {
        self.crls.iter().any(|crl| {
            x509_parser::parse_x509_crl(crl).is_ok_and(|(_, list)| {
                list.issuer().as_raw() == certificate.issuer().as_raw()
                    && list
                        .iter_revoked_certificates()
                        .any(|revoked| revoked.raw_serial() == certificate.raw_serial())
            })
        })
    }
}

/// Before 1970 is as long ago as can be.
fn time(of: ASN1Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(of.timestamp()).unwrap_or(0)))
}

/// A certificate that names no purposes is for all.
fn is_for(certificate: &X509Certificate<'_>, purpose: Purpose) -> Result<bool, Error> {
    let purposes = certificate.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    Ok(purposes.is_none_or(|named| {
        named.value.any
            || match purpose {
                Purpose::Dial => named.value.client_auth,
                Purpose::Accept => named.value.server_auth,
            }
    }))
}
