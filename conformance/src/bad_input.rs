//! Bad requests, bad bytes, bad peers and bad command lines: each is refused in clear words, and
//! the members go on.

use std::ffi::OsString;
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::request_op::Request;
use synod_etcd::proto::etcdserverpb::{
    CompactionRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cluster::{Cluster, MEMBERS, connect};
use crate::ports;
use crate::process::{POLL, Process};

/// The longest wait for a call, and for a process that should refuse to start.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What one bad input came to.
#[derive(Debug)]
pub struct Finding {
    /// The input.
    pub input: String,
    /// How it was answered, or what is wrong with the answer.
    pub outcome: anyhow::Result<String>,
}

/// Tries every bad input on a running cluster.
pub async fn run(cluster: &mut Cluster) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (input, request, expected) in requests() {
        let outcome = refused(cluster, request, expected).await;
        findings.push(Finding { input: input.to_owned(), outcome: go_on(cluster, outcome).await });
    }
    let others = [
        ("a compacted revision", compacted(cluster).await),
        ("garbage on the client port", garbage(cluster.members()[0].client_port).await),
        ("garbage on the peer port", garbage(cluster.members()[0].peer_port).await),
        ("a peer of another cluster", foreign_peer(cluster).await),
        ("the data folder of another member", foreign_folder(cluster).await),
        ("a file in place of the data folder", file_for_folder(cluster)),
        ("a data folder without permission", forbidden_folder(cluster)),
        ("a data folder in use", folder_in_use(cluster)),
        ("a client port in use", port_in_use(cluster, Port::Client)),
        ("a peer port in use", port_in_use(cluster, Port::Peer)),
        ("an unknown flag", unknown_flag(cluster)),
    ];
    for (input, outcome) in others {
        findings.push(Finding { input: input.to_owned(), outcome: go_on(cluster, outcome).await });
    }
    Ok(findings)
}

/// The outcome, unless a member does not take writes afterwards.
async fn go_on(cluster: &mut Cluster, outcome: anyhow::Result<String>) -> anyhow::Result<String> {
    let outcome = outcome?;
    for at in 0..MEMBERS {
        cluster.check_running(at)?;
        let mut client = client(cluster, at).await?;
        let request = put(b"goes on", Bytes::from_static(b"yes"));
        client.put(request).await.with_context(|| format!("{outcome}; then member {}", at + 1))?;
    }
    Ok(outcome)
}

async fn client(cluster: &Cluster, at: usize) -> anyhow::Result<KvClient<Channel>> {
    Ok(KvClient::new(connect(&cluster.url(at), WAIT_MAX).await?))
}

fn put(key: &'static [u8], value: Bytes) -> PutRequest {
    PutRequest { key: Bytes::from_static(key), value, ..PutRequest::default() }
}

/// A request that is to be refused.
enum Bad {
    Put(PutRequest),
    Range(RangeRequest),
    Txn(TxnRequest),
}

/// Bad requests, with the codes and one of the texts they are to be refused with.
fn requests() -> Vec<(&'static str, Bad, &'static [&'static str])> {
    let value = |bytes: usize| Bytes::from(vec![b'x'; bytes]);
    let puts = |count: usize| {
        let op = |at: usize| {
            let key = Bytes::from(format!("many/{at}"));
            RequestOp {
                request: Some(Request::RequestPut(PutRequest { key, ..PutRequest::default() })),
            }
        };
        TxnRequest { success: (0..count).map(op).collect(), ..TxnRequest::default() }
    };
    let future = RangeRequest {
        key: Bytes::from_static(b"a"),
        revision: i64::MAX,
        ..RangeRequest::default()
    };
    vec![
        (
            "a request of 1.6 MiB",
            Bad::Put(put(b"large", value(1600 * 1024))),
            &["etcdserver: request is too large"],
        ),
        (
            "a request of 2 MiB",
            Bad::Put(put(b"large", value(2 * 1024 * 1024))),
            &["too large", "larger than"],
        ),
        (
            "a request of 16 MiB",
            Bad::Put(put(b"large", value(16 * 1024 * 1024))),
            &["too large", "larger than"],
        ),
        (
            "a transaction of 129 operations",
            Bad::Txn(puts(129)),
            &["etcdserver: too many operations in txn request"],
        ),
        (
            "a revision from the future",
            Bad::Range(future),
            &["etcdserver: mvcc: required revision is a future revision"],
        ),
        ("an empty key", Bad::Put(put(b"", value(1))), &["etcdserver: key is not provided"]),
    ]
}

/// The same refusal by every member.
async fn refused(cluster: &Cluster, bad: Bad, expected: &[&str]) -> anyhow::Result<String> {
    let mut texts = Vec::new();
    for at in 0..MEMBERS {
        let mut client = client(cluster, at).await?;
        let answer = match &bad {
            Bad::Put(request) => client.put(request.clone()).await.map(|_| ()),
            Bad::Range(request) => client.range(request.clone()).await.map(|_| ()),
            Bad::Txn(request) => client.txn(request.clone()).await.map(|_| ()),
        };
        texts.push(clear_refusal(answer, expected)?);
    }
    texts.dedup();
    Ok(texts.join(" | "))
}

fn clear_refusal(answer: Result<(), Status>, expected: &[&str]) -> anyhow::Result<String> {
    const REFUSALS: [Code; 3] = [Code::InvalidArgument, Code::OutOfRange, Code::ResourceExhausted];
    let Err(status) = answer else { bail!("it was accepted") };
    let (code, text) = (status.code(), status.message());
    ensure!(REFUSALS.contains(&code), "the code is {code:?}: {text}");
    let clear = expected.iter().any(|expected| text.contains(expected));
    ensure!(clear, "the text is {text:?}, not one of {expected:?}");
    let detail = status.metadata().get("synod-detail").and_then(|value| value.to_str().ok());
    Ok(detail.map_or_else(|| text.to_owned(), |detail| format!("{text} ({detail})")))
}

async fn compacted(cluster: &Cluster) -> anyhow::Result<String> {
    let mut client = client(cluster, 0).await?;
    let mut revision = 0;
    for _ in 0..3 {
        let answer = client.put(put(b"compacted", Bytes::from_static(b"x"))).await?.into_inner();
        revision = answer.header.context("an answer without a header")?.revision;
    }
    client.compact(CompactionRequest { revision, physical: true }).await?;
    let key = Bytes::from_static(b"compacted");
    let past = RangeRequest { key, revision: revision - 1, ..RangeRequest::default() };
    let expected = &["etcdserver: mvcc: required revision has been compacted"];
    refused(cluster, Bad::Range(past), expected).await
}

/// Bytes that mean nothing, on many connections at once; some begin like something.
async fn garbage(port: u16) -> anyhow::Result<String> {
    const BEGINNINGS: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"synod/px",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    const CONNECTIONS: u32 = 60;
    let mut refusals = 0;
    for (number, beginning) in (0..CONNECTIONS).zip(BEGINNINGS.iter().cycle()) {
        let mut connection =
            TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let mut bytes = beginning.to_vec();
        let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(1);
        for _ in 0..16_384 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push(state.to_be_bytes()[0]);
        }
        // The member may close while it is still being written to; that is its answer.
        let _ = connection.write_all(&bytes).await;
        let _ = connection.shutdown().await;
        let mut answer = Vec::new();
        let read = connection.take(1 << 20);
        tokio::pin!(read);
        let ended = tokio::time::timeout(WAIT_MAX, read.read_to_end(&mut answer)).await;
        refusals += u32::from(ended.is_ok());
    }
    ensure!(refusals == CONNECTIONS, "{refusals} of {CONNECTIONS} connections were closed");
    Ok(format!("{CONNECTIONS} connections with 16 KiB of garbage each were closed"))
}

/// A process with another token calls two of the members: they refuse it, and it says why.
async fn foreign_peer(cluster: &Cluster) -> anyhow::Result<String> {
    // Ours, and etcd's.
    const WORDS: [&str; 2] = ["belongs to cluster", "cluster ID mismatch"];
    let [client, peer] = two_ports()?;
    let peers: Vec<String> = cluster.members()[1..]
        .iter()
        .map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer_port))
        .collect();
    let folder = cluster.folder().join("foreign");
    let mut flags = flags("m1", &folder, client, peer);
    flags.push(format!("--initial-cluster=m1=http://127.0.0.1:{peer},{}", peers.join(",")));
    flags.push("--initial-cluster-token=another-cluster".to_owned());
    let mut process = start(cluster, "foreign", flags)?;
    let deadline = Instant::now() + WAIT_MAX;
    while Instant::now() < deadline {
        let said = process.said()?;
        let tells = |line: &&str| WORDS.iter().any(|words| line.contains(words));
        if let Some(line) = said.lines().find(tells) {
            return Ok(line.to_owned());
        }
        if !process.is_running()? {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("it does not say that the cluster is another: {}", last_line(&process.said()?))
}

/// A member on a copy of another one's folder.
async fn foreign_folder(cluster: &mut Cluster) -> anyhow::Result<String> {
    let copy = cluster.folder().join("copy");
    cluster.kill_member(0)?;
    copy_folder(&cluster.members()[0].folder, &copy)?;
    cluster.start_member(0)?;
    cluster.wait_ready(0).await?;
    cluster.kill_member(1)?;
    let mut arguments = cluster.arguments(1);
    arguments.push(format!("--data-dir={}", copy.display()).into());
    let own = format!("--data-dir={}", cluster.members()[1].folder.display());
    arguments.retain(|argument| *argument != OsString::from(&own));
    let outcome = refuses_to_start(cluster, "copy", &arguments, &["belongs to member"]);
    cluster.start_member(1)?;
    cluster.wait_ready(1).await?;
    outcome
}

fn file_for_folder(cluster: &Cluster) -> anyhow::Result<String> {
    let file = cluster.folder().join("a-file");
    std::fs::write(&file, "not a folder")?;
    let [client, peer] = two_ports()?;
    let arguments = alone(cluster, &file, client, peer);
    refuses_to_start(cluster, "file", &arguments, &["not a directory", "a-file", "file exists"])
}

/// A folder that belongs to root, opened by nobody. Root itself may open any folder.
fn forbidden_folder(cluster: &Cluster) -> anyhow::Result<String> {
    const SETPRIV: &str = "/usr/bin/setpriv";
    const NOBODY: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let folder = tempfile::Builder::new().prefix("forbidden-").tempdir()?;
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    std::fs::set_permissions(&data, Permissions::from_mode(0o500))?;
    // The program may lie where nobody can reach it; a copy beside the folder can be.
    let program = folder.path().join("program");
    std::fs::copy(&cluster.program().path, &program)?;
    std::fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let [client, peer] = two_ports()?;
    let arguments = alone(cluster, &data, client, peer);
    let log = cluster.folder().join("forbidden.log");
    let is_root = rustix::process::geteuid().is_root();
    let mut process = if is_root {
        if !Path::new(SETPRIV).exists() {
            return Ok("SKIPPED: root may open any folder, and there is no setpriv".to_owned());
        }
        let mut all: Vec<OsString> = NOBODY.iter().map(OsString::from).collect();
        all.push(program.into());
        all.extend(arguments);
        Process::start(Path::new(SETPRIV), &all, &log)?
    } else {
        Process::start(&program, &arguments, &log)?
    };
    let outcome = ended_clearly(&mut process, &["permission denied"]);
    std::fs::set_permissions(&data, Permissions::from_mode(0o700))?;
    outcome
}

fn folder_in_use(cluster: &Cluster) -> anyhow::Result<String> {
    let [client, peer] = two_ports()?;
    let folder = cluster.members()[0].folder.clone();
    let arguments = alone(cluster, &folder, client, peer);
    refuses_to_start(cluster, "in-use", &arguments, &["in use by another process"])
}

enum Port {
    Client,
    Peer,
}

fn port_in_use(cluster: &Cluster, which: Port) -> anyhow::Result<String> {
    let [mut client, mut peer] = two_ports()?;
    let member = &cluster.members()[0];
    let (taken, name) = match which {
        Port::Client => (&mut client, "client-port"),
        Port::Peer => (&mut peer, "peer-port"),
    };
    *taken = if name == "client-port" { member.client_port } else { member.peer_port };
    let arguments = alone(cluster, &cluster.folder().join(name), client, peer);
    refuses_to_start(cluster, name, &arguments, &["address already in use", "in use"])
}

fn unknown_flag(cluster: &Cluster) -> anyhow::Result<String> {
    let [client, peer] = two_ports()?;
    let mut arguments = alone(cluster, &cluster.folder().join("flag"), client, peer);
    arguments.push("--frobnicate=3".into());
    refuses_to_start(cluster, "flag", &arguments, &["frobnicate"])
}

fn two_ports() -> anyhow::Result<[u16; 2]> {
    let ports = ports::free(2)?;
    Ok([ports[0], ports[1]])
}

fn flags(name: &str, folder: &Path, client: u16, peer: u16) -> Vec<String> {
    vec![
        format!("--name={name}"),
        format!("--data-dir={}", folder.display()),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
    ]
}

/// The arguments of a cluster of one member.
fn alone(cluster: &Cluster, folder: &Path, client: u16, peer: u16) -> Vec<OsString> {
    let mut flags = flags("m1", folder, client, peer);
    flags.push(format!("--initial-cluster=m1=http://127.0.0.1:{peer}"));
    with_words(cluster, flags)
}

fn with_words(cluster: &Cluster, flags: Vec<String>) -> Vec<OsString> {
    let program = cluster.program();
    let words = program.before.iter().map(OsString::from);
    words.chain(flags.into_iter().map(OsString::from)).collect()
}

fn start(cluster: &Cluster, name: &str, flags: Vec<String>) -> anyhow::Result<Process> {
    let log = cluster.folder().join(format!("{name}.log"));
    Process::start(&cluster.program().path, &with_words(cluster, flags), &log)
}

/// The program ends with an error that holds one of the words.
fn refuses_to_start(
    cluster: &Cluster,
    name: &str,
    arguments: &[OsString],
    words: &[&str],
) -> anyhow::Result<String> {
    let log: PathBuf = cluster.folder().join(format!("{name}.log"));
    ended_clearly(&mut Process::start(&cluster.program().path, arguments, &log)?, words)
}

fn ended_clearly(process: &mut Process, words: &[&str]) -> anyhow::Result<String> {
    let status = process.wait(WAIT_MAX)?;
    let said = process.said()?;
    ensure!(!status.success(), "it ended as if all were well: {}", last_line(&said));
    ensure!(!said.contains("panicked"), "it panicked: {said}");
    let clear = |line: &&str| words.iter().any(|word| line.to_lowercase().contains(word));
    let line = said.lines().find(clear);
    let line = line.with_context(|| format!("it does not say why: {}", last_line(&said)))?;
    Ok(line.to_owned())
}

fn last_line(said: &str) -> &str {
    said.lines().next_back().unwrap_or("it says nothing")
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
