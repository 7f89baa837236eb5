//! Certificates of an authority made here, good and bad, and handshakes with them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::victim::{Port, Victim};

/// What the member has, and what clients show it.
pub(super) struct Certificates {
    pub(super) ca: PathBuf,
    pub(super) server: Files,
    pub(super) good: Client,
    bad: Vec<(&'static str, Client)>,
}

/// A certificate and its key in files.
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// A client that shows a certificate, or none.
pub(super) struct Client(Arc<ClientConfig>);

type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Certificates {
    pub(super) fn make(folder: &Path) -> anyhow::Result<Self> {
        let (ours, others) = (Authority::new("ours")?, Authority::new("others")?);
        let ca = folder.join("ca.pem");
        fs::write(&ca, &ours.pem)?;
        let server = ours.files(folder)?;
        let client = |pair| Client::new(&ours, pair);
        Ok(Self {
            good: client(Some(ours.sign(Life::Now)?))?,
            bad: vec![
                ("none", client(None)?),
                ("an expired one", client(Some(ours.sign(Life::Past)?))?),
                ("one of the future", client(Some(ours.sign(Life::Future)?))?),
                ("one of another authority", client(Some(others.sign(Life::Now)?))?),
            ],
            ca,
            server,
        })
    }
}

impl Client {
    fn new(authority: &Authority, pair: Option<Pair>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match pair {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost")?;
        Ok(TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await?)
    }
}

/// Every bad certificate is refused, on the client port and on that of members.
pub(super) async fn refused(victim: &Victim) -> anyhow::Result<String> {
    let before = victim.figure(REFUSED)?;
    let mut reasons = Vec::new();
    for port in [Port::Tls, Port::Peer] {
        for (what, client) in &victim.certificates.bad {
            let stream = victim.raw(port, Ipv4Addr::LOCALHOST).await?;
            // With TLS 1.3 a client is done before the server has seen its certificate.
            let told = match client.shake_hands(stream).await {
                Err(error) => error.to_string(),
                Ok(mut stream) => match stream.read_u8().await {
                    Err(error) => error.to_string(),
                    Ok(_) => bail!("{what} was let in {}", port.name()),
                },
            };
            ensure!(told.contains("alert"), "{what} {} is told {told:?}", port.name());
            reasons.push(told);
        }
    }
    let refused = victim.figure(REFUSED)? - before;
    let bad = u64::try_from(victim.certificates.bad.len())?;
    ensure!(refused == bad, "{refused} of {bad} are counted");
    reasons.sort();
    reasons.dedup();
    Ok(format!("refused: {}", reasons.join(", ")))
}

/// When a certificate is good.
#[derive(Clone, Copy)]
enum Life {
    Past,
    Now,
    Future,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let signed = params.self_signed(&key)?;
        let (certificate, pem) = (signed.der().clone(), signed.pem());
        Ok(Self { issuer: Issuer::new(params, key), certificate, pem })
    }

    fn params(life: Life) -> anyhow::Result<CertificateParams> {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "somebody");
        let now = SystemTime::now();
        match life {
            Life::Now => {}
            Life::Past => params.not_after = (now - DAY).into(),
            Life::Future => params.not_before = (now + DAY).into(),
        }
        Ok(params)
    }

    fn sign(&self, life: Life) -> anyhow::Result<Pair> {
        let key = KeyPair::generate()?;
        let signed = Self::params(life)?.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        Ok((signed.der().clone(), key))
    }

    fn files(&self, folder: &Path) -> anyhow::Result<Files> {
        let key = KeyPair::generate()?;
        let signed = Self::params(Life::Now)?.signed_by(&key, &self.issuer)?;
        let files = Files { cert: folder.join("server.pem"), key: folder.join("server.key") };
        fs::write(&files.cert, signed.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

const REFUSED: &str = "synod_client_connections_refused_total{reason=\"tls\"}";
