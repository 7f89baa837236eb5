//! Certificates made here, for `--auto-tls` and `--peer-auto-tls`. As in etcd they are kept below
//! the data folder, in `fixtures/client` and `fixtures/peer`, and made once.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tracing::warn;

use super::TlsError;
use crate::config::Url;

/// The certificate and the key in this folder; made for the hosts of these URLs if missing.
pub(super) fn pair(
    folder: &Path,
    urls: &[&Url],
    years: u32,
) -> Result<(PathBuf, PathBuf), TlsError> {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if cert.exists() && key.exists() {
        return Ok((cert, key));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |reason| TlsError::File { path, reason }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
    let made = make(urls, years).map_err(|error| TlsError::Make(error.to_string()))?;
    // The key first: whoever finds a certificate finds its key.
    write(&key, &made.1).map_err(failed(&key))?;
    write(&cert, &made.0).map_err(failed(&cert))?;
    warn!(certificate = %cert.display(), years, "made a certificate: nobody else vouches for it");
    Ok((cert, key))
}

/// A certificate and its key, in PEM.
fn make(urls: &[&Url], years: u32) -> Result<(String, String), rcgen::Error> {
    let mut hosts: Vec<String> =
        urls.iter().filter(|url| !url.is_unix()).map(|url| url.host().to_owned()).collect();
    hosts.sort();
    hosts.dedup();
    let mut params = CertificateParams::new(hosts)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "synod");
    params.distinguished_name = name;
    let begin = SystemTime::now();
    params.not_before = begin.into();
    params.not_after = (begin + Duration::from_secs(u64::from(years) * 365 * 24 * 3600)).into();
    // Like etcd's, it can stand as a CA file: a client may trust this one certificate.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
