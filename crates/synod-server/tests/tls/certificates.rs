//! Certificates of tests: authorities, what they sign, and what they revoke.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers of several tests; they fail as tests do"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// What is to be signed.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    pub(crate) hosts: &'a [&'a str],
    pub(crate) serial: u64,
    pub(crate) has_ended: bool,
}

impl Default for Subject<'_> {
    fn default() -> Self {
        Self { name: "m", hosts: &["localhost", "127.0.0.1"], serial: 1, has_ended: false }
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate, in a file.
    pub(crate) fn file(&self, folder: &Path, name: &str) -> PathBuf {
        write(folder, name, &self.pem)
    }

    /// Makes one that also speaks for itself, as `openssl req -x509` does, into `NAME.pem` and
    /// `NAME.key`.
    pub(crate) fn showing_itself(folder: &Path, file: &str, subject: &Subject<'_>) -> (Self, Pair) {
        let mut params = unsigned(subject);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let files = Pair {
            key: write(folder, &format!("{file}.key"), &key.serialize_pem()),
            cert: write(folder, &format!("{file}.pem"), &pem),
        };
        (Self { issuer: Issuer::new(params, key), pem }, files)
    }

    /// Signs, into `NAME.pem` and `NAME.key`.
    pub(crate) fn sign(&self, folder: &Path, file: &str, subject: &Subject<'_>) -> Pair {
        let params = unsigned(subject);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        // The key first: a server that looks in between finds halves that do not fit.
        let key = write(folder, &format!("{file}.key"), &key.serialize_pem());
        Pair { cert: write(folder, &format!("{file}.pem"), &certificate.pem()), key }
    }

    /// A list of these serial numbers, in a file.
    pub(crate) fn revoke(&self, folder: &Path, name: &str, serials: &[u64]) -> PathBuf {
        let now = SystemTime::now();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(3600)).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        write(folder, name, &list.signed_by(&self.issuer).unwrap().pem().unwrap())
    }
}

fn unsigned(subject: &Subject<'_>) -> CertificateParams {
    let hosts: Vec<String> = subject.hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name = named(subject.name);
    params.serial_number = Some(SerialNumber::from(subject.serial));
    if subject.has_ended {
        params.not_after = (SystemTime::now() - Duration::from_secs(3600)).into();
    }
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Puts a file in its place as a whole, as those who rotate certificates do.
fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    fs::write(&new, text).unwrap();
    fs::rename(new, &path).unwrap();
    path
}
