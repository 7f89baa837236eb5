//! What TLS is to be spoken, by whom, and with whom.

use std::path::PathBuf;

use super::error::ConfigError;
use super::sections::within;
use super::url::Url;
use crate::flags::Settings;

/// TLS of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsConfig {
    /// Towards clients.
    pub client: TlsFiles,
    /// Towards members.
    pub peer: TlsFiles,
    /// How long certificates made here are valid, in years.
    pub validity_years: u32,
    /// The versions spoken.
    pub versions: TlsVersions,
    /// The cipher suites of TLS 1.2, by Go's names; all good ones if there are none.
    pub cipher_suites: Vec<String>,
}

/// The versions of TLS that are spoken; there is at least one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TlsVersions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

/// Certificates of one side, and whose are trusted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsFiles {
    /// The certificate with its chain, and its key.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// The same towards those that are dialled, where it differs.
    pub dial_pair: Option<(PathBuf, PathBuf)>,
    /// Who signs certificates of the other side. Without it members trust whom the machine trusts,
    /// and ask who connects for no certificate, as etcd's do.
    pub ca: Option<PathBuf>,
    /// Which of them are revoked.
    pub crl: Option<PathBuf>,
    /// Whether a certificate is made if none is given.
    pub auto: bool,
    /// Whether the other side must show a certificate. As in etcd, a CA alone asks for it, too.
    pub client_cert_auth: bool,
    /// Common names that certificates of the other side may have; any if there are none.
    pub allowed_names: Vec<String>,
    /// Host names that certificates of the other side may have; any if there are none.
    pub allowed_hosts: Vec<String>,
}

/// The names of one side's flags.
struct Names {
    cert: &'static str,
    key: &'static str,
    ca: &'static str,
    crl: &'static str,
    auto: &'static str,
    auth: &'static str,
    hosts: &'static str,
}

impl TlsConfig {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let years = settings.uint("self-signed-cert-validity");
        let years = within("self-signed-cert-validity", years, 1, VALIDITY_YEARS_MAX)?;
        let versions = versions(settings)?;
        let cipher_suites = settings.words("cipher-suites");
        if !versions.tls12 && !cipher_suites.is_empty() {
            return Err(ConfigError::CiphersOfTls13);
        }
        for name in &cipher_suites {
            check_cipher(name)?;
        }
        let client = TlsFiles::read(settings, &CLIENT)?;
        let mut peer = TlsFiles::read(settings, &PEER)?;
        peer.allowed_names = settings.words("peer-cert-allowed-cn");
        peer.dial_pair = pair(settings, "peer-client-cert-file", "peer-client-key-file")?;
        if peer.pair.is_some() && peer.ca.is_none() && !peer.allowed_names.is_empty() {
            return Err(ConfigError::NoCa { flag: "peer-cert-allowed-cn", ca: PEER.ca });
        }
        if !peer.allowed_names.is_empty() && !peer.allowed_hosts.is_empty() {
            let (one, other) = ("peer-cert-allowed-cn", PEER.hosts);
            return Err(ConfigError::Exclusive { one, other });
        }
        let validity_years = u32::try_from(years).expect("at most 100");
        Ok(Self { client, peer, validity_years, versions, cipher_suites })
    }

    /// Refuses TLS listeners without a certificate.
    pub(super) fn check_listeners(
        &self,
        clients: &[(&'static str, &[Url])],
        peers: &[(&'static str, &[Url])],
    ) -> Result<(), ConfigError> {
        for (urls, files, names) in [(clients, &self.client, &CLIENT), (peers, &self.peer, &PEER)] {
            let tls = urls.iter().find_map(|(flag, urls)| {
                urls.iter().find(|url| url.is_tls()).map(|url| (*flag, url))
            });
            if let Some((flag, url)) = tls
                && files.pair.is_none()
                && !files.auto
            {
                if flag == "listen-metrics-urls" {
                    return Err(ConfigError::NoMetricsCertificate);
                }
                let (cert, key, auto) = (names.cert, names.key, names.auto);
                return Err(ConfigError::NoCertificate {
                    flag,
                    url: url.to_string(),
                    cert,
                    key,
                    auto,
                });
            }
        }
        Ok(())
    }
}

impl TlsFiles {
    fn read(settings: &Settings, names: &Names) -> Result<Self, ConfigError> {
        let files = Self {
            pair: pair(settings, names.cert, names.key)?,
            dial_pair: None,
            ca: settings.path(names.ca),
            crl: settings.path(names.crl),
            auto: settings.bool(names.auto),
            client_cert_auth: settings.bool(names.auth),
            allowed_names: Vec::new(),
            allowed_hosts: settings.words(names.hosts),
        };
        let asks = [
            (names.auth, files.client_cert_auth && files.pair.is_some()),
            (names.crl, files.crl.is_some()),
            (names.hosts, !files.allowed_hosts.is_empty()),
        ];
        match asks.into_iter().find(|(_, asked)| *asked) {
            Some((flag, _)) if files.ca.is_none() => Err(ConfigError::NoCa { flag, ca: names.ca }),
            _ => Ok(files),
        }
    }

    /// Whether the other side must show a certificate.
    #[must_use]
    pub const fn verifies(&self) -> bool {
        self.ca.is_some()
    }
}

fn pair(
    settings: &Settings,
    cert: &'static str,
    key: &'static str,
) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    match (settings.path(cert), settings.path(key)) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::HalfPair { given: cert, missing: key }),
        (None, Some(_)) => Err(ConfigError::HalfPair { given: key, missing: cert }),
    }
}

fn versions(settings: &Settings) -> Result<TlsVersions, ConfigError> {
    const V12: &str = "TLS1.2";
    const V13: &str = "TLS1.3";
    let read = |flag, default| match settings.text(flag) {
        "" => Ok(default),
        "TLS1.2" => Ok(V12),
        "TLS1.3" => Ok(V13),
        version => Err(ConfigError::TlsVersion { version: version.to_owned() }),
    };
    let (min, max) = (read("tls-min-version", V12)?, read("tls-max-version", V13)?);
    if min > max {
        return Err(ConfigError::TlsVersions { min, max });
    }
    Ok(TlsVersions { tls12: min == V12, tls13: max == V13 })
}

/// Refuses what is unknown, and what is known to be weak.
fn check_cipher(name: &str) -> Result<(), ConfigError> {
    if GOOD.contains(&name) {
        return Ok(());
    }
    let name = name.to_owned();
    let is_known = WEAK.iter().any(|part| name.starts_with("TLS_") && name.contains(part));
    Err(if is_known {
        ConfigError::WeakCipher { name }
    } else {
        ConfigError::UnknownCipher { name }
    })
}

/// Forward secret, with authenticated encryption. Those of TLS 1.3 may be named, and are always on.
const GOOD: [&str; 11] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];
/// Parts of the names of suites that Go still knows: no forward secrecy, RC4, 3DES, CBC.
const WEAK: [&str; 4] = ["_RC4_", "_3DES_", "_CBC_", "TLS_RSA_WITH_"];

const CLIENT: Names = Names {
    cert: "cert-file",
    key: "key-file",
    ca: "trusted-ca-file",
    crl: "client-crl-file",
    auto: "auto-tls",
    auth: "client-cert-auth",
    hosts: "client-cert-allowed-hostname",
};
const PEER: Names = Names {
    cert: "peer-cert-file",
    key: "peer-key-file",
    ca: "peer-trusted-ca-file",
    crl: "peer-crl-file",
    auto: "peer-auto-tls",
    auth: "peer-client-cert-auth",
    hosts: "peer-cert-allowed-hostname",
};
const VALIDITY_YEARS_MAX: u64 = 100;
