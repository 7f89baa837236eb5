//! The member that bears it, and somebody who is served by it meanwhile.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::PutRequest;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::certificates::Certificates;
use super::{Connection, PATIENCE};
use crate::cluster::{Program, connect};
use crate::process::{POLL, Process};
use crate::{http, ports};

/// A running member.
pub(super) struct Victim {
    process: Process,
    plain: u16,
    tls: u16,
    peer: u16,
    pub(super) certificates: Certificates,
    served: Arc<AtomicU64>,
    witness: JoinHandle<()>,
    _folder: TempDir,
}

/// A port of a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Port {
    Plain,
    Tls,
    Peer,
}

impl Port {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "in the clear",
            Self::Tls => "with TLS",
            Self::Peer => "on the peer port",
        }
    }
}

impl Victim {
    pub(super) async fn start(program: &Program, parent: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("victim-").tempdir_in(parent)?;
        let [plain, tls, peer] = ports::free(3)?[..] else { unreachable!("asked for three") };
        let certificates = Certificates::make(folder.path())?;
        let words = flags(folder.path(), [plain, tls, peer], &certificates);
        let before = program.before.iter().map(OsString::from);
        let words: Vec<OsString> = before.chain(words.into_iter().map(OsString::from)).collect();
        let process = Process::start(&program.path, &words, &folder.path().join("log"))?;
        let served = Arc::new(AtomicU64::new(0));
        let witness = tokio::spawn(witness(plain, Arc::clone(&served)));
        let victim =
            Self { process, plain, tls, peer, certificates, served, witness, _folder: folder };
        victim.serves_on(0).await.with_context(|| victim.process.said().unwrap_or_default())?;
        Ok(victim)
    }

    pub(super) const fn plain(&self) -> u16 {
        self.plain
    }

    /// How often somebody else was served so far.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until somebody else was served again.
    pub(super) async fn serves_on(&self, since: u64) -> anyhow::Result<()> {
        let more = async {
            while self.served() <= since {
                tokio::time::sleep(POLL).await;
            }
        };
        ensure!(timeout(PATIENCE, more).await.is_ok(), "nobody else is served");
        Ok(())
    }

    /// Its memory from here on.
    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        // Resets the high-water mark of resident memory.
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5")?;
        let mut memory = Memory { process: self.process.id(), before: 0 };
        memory.before = memory.read("VmHWM:")?;
        Ok(memory)
    }

    /// A figure of its metrics: the sum of all lines that begin so.
    pub(super) fn figure(&self, line: &str) -> anyhow::Result<u64> {
        let page = http::ask(self.plain, "GET", "/metrics", "")?.body;
        let lines = page.lines().filter(|found| found.starts_with(line));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        Ok(values.sum())
    }

    /// A connection from an address of this machine, in the clear.
    pub(super) async fn raw(&self, port: Port, source: Ipv4Addr) -> anyhow::Result<TcpStream> {
        let number = match port {
            Port::Plain => self.plain,
            Port::Tls => self.tls,
            Port::Peer => self.peer,
        };
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, number))).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection that speaks as the port does.
    pub(super) async fn connect(&self, port: Port) -> anyhow::Result<Connection> {
        let stream = self.raw(port, Ipv4Addr::LOCALHOST).await?;
        if port == Port::Plain {
            return Ok(Box::new(stream));
        }
        Ok(Box::new(self.certificates.good.shake_hands(stream).await?))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.witness.abort();
    }
}

/// The resident memory of a process.
pub(super) struct Memory {
    process: u32,
    before: u64,
}

impl Memory {
    /// By how much it was more at the most than at the beginning, in bytes.
    pub(super) fn grown(&self) -> anyhow::Result<u64> {
        Ok(self.read("VmHWM:")?.saturating_sub(self.before))
    }

    /// What it is now more than at the beginning.
    pub(super) fn kept(&self) -> anyhow::Result<u64> {
        Ok(self.read("VmRSS:")?.saturating_sub(self.before))
    }

    fn read(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such line")?;
        Ok(kib.trim().parse::<u64>()? << 10)
    }
}

fn flags(folder: &Path, [plain, tls, peer]: [u16; 3], certificates: &Certificates) -> Vec<String> {
    let Certificates { ca, server, .. } = certificates;
    let mut flags = vec![
        "--name=victim".to_owned(),
        format!("--data-dir={}", folder.join("data").display()),
        format!("--listen-client-urls=http://127.0.0.1:{plain},https://127.0.0.1:{tls}"),
        format!("--advertise-client-urls=http://127.0.0.1:{plain}"),
        format!("--listen-peer-urls=https://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=https://127.0.0.1:{peer}"),
        format!("--initial-cluster=victim=https://127.0.0.1:{peer}"),
        // So that what says nothing is asked soon whether it is there.
        "--grpc-keepalive-interval=3s".to_owned(),
        "--grpc-keepalive-timeout=3s".to_owned(),
        "--client-cert-auth".to_owned(),
        "--peer-client-cert-auth".to_owned(),
    ];
    for side in ["", "peer-"] {
        flags.push(format!("--{side}trusted-ca-file={}", ca.display()));
        flags.push(format!("--{side}cert-file={}", server.cert.display()));
        flags.push(format!("--{side}key-file={}", server.key.display()));
    }
    flags
}

/// Somebody else: writes all the time, over a connection of its own and then over a new one.
async fn witness(port: u16, served: Arc<AtomicU64>) {
    const PAUSE: Duration = Duration::from_millis(20);
    let url = format!("http://127.0.0.1:{port}");
    loop {
        if let Ok(channel) = connect(&url, PATIENCE).await {
            let mut client = KvClient::new(channel);
            for _ in 0..16 {
                let key = Bytes::from_static(b"witness");
                let put = PutRequest { key, ..PutRequest::default() };
                if client.put(put).await.is_err() {
                    break;
                }
                served.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
