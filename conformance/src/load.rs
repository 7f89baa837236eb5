//! Clients that write and read without pause through all members, and note what they saw.
//!
//! Every value is written once. Half of the writes set a key of their own; the others set one of a
//! few keys that all clients fight for, and in the same transaction a key of their own that names
//! it. So the keys of their own tell at the end, on each member, what was written at each revision,
//! however often a key was overwritten.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::request_op::Request;
use synod_etcd::proto::etcdserverpb::{
    PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::check::Chronicle;
use crate::history::{Asked, Call, Clock, Outcome};

/// The keys that all clients fight for.
const CONTENDED: u64 = 8;

/// Keys that are written once, by a plain put.
const OWN: &str = "own/";

/// Keys that name what a transaction wrote beside them.
const JOURNAL: &str = "journal/";

/// How long a client waits for an answer before it takes the outcome as unknown.
const PATIENCE: Duration = Duration::from_secs(4);

/// A client that cannot reach a member waits so long before it tries the next.
const AFTER_ERROR: Duration = Duration::from_millis(5);

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    clients: Vec<tokio::task::JoinHandle<Vec<Call>>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    stop: AtomicBool,
    written: AtomicU64,
}

impl Load {
    /// Starts so many clients against the members at these URLs.
    pub fn start(urls: &[String], clients: usize) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { clock, stop, written });
        let start = |number| {
            let client = Client::new(number, urls, Arc::clone(&shared))?;
            Ok(tokio::spawn(client.run()))
        };
        let clients = (0..clients).map(start).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { clients, shared })
    }

    /// How many writes have been acknowledged.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Stops the clients and gives all that they saw.
    pub async fn stop(self) -> anyhow::Result<Vec<Call>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut history = Vec::new();
        for client in self.clients {
            history.extend(client.await?);
        }
        Ok(history)
    }
}

/// One client: a connection to each member, used in turn.
#[derive(Debug)]
struct Client {
    number: usize,
    members: Vec<KvClient<Channel>>,
    shared: Arc<Shared>,
    calls: u64,
    history: Vec<Call>,
}

impl Client {
    fn new(number: usize, urls: &[String], shared: Arc<Shared>) -> anyhow::Result<Self> {
        let connect = |url: &String| {
            let endpoint = Endpoint::from_shared(url.clone())?.tcp_nodelay(true).timeout(PATIENCE);
            Ok(KvClient::new(endpoint.connect_lazy()))
        };
        let members = urls.iter().map(connect).collect::<anyhow::Result<_>>()?;
        Ok(Self { number, members, shared, calls: 0, history: Vec::new() })
    }

    async fn run(mut self) -> Vec<Call> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.calls += 1;
            let failed =
                if self.calls.is_multiple_of(3) { self.read().await } else { self.write().await };
            if failed {
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
        self.history
    }

    /// The next member in turn; clients begin at different ones.
    fn member(&self) -> KvClient<Channel> {
        let turn = usize::try_from(self.calls).unwrap_or(usize::MAX).wrapping_add(self.number);
        self.members[turn % self.members.len()].clone()
    }

    /// A key that all fight for; which one varies from call to call and client to client.
    fn contended(&self) -> String {
        let number = u64::try_from(self.number).unwrap_or(u64::MAX);
        format!("key/{}", (self.calls / 2 + number * 3) % CONTENDED)
    }

    async fn write(&mut self) -> bool {
        let mut member = self.member();
        let value = format!("{}-{}", self.number, self.calls);
        let plain = self.calls.is_multiple_of(2);
        let key = if plain { format!("{OWN}{value}") } else { self.contended() };
        let sent = self.shared.clock.now();
        let answer = if plain {
            let request = put(key.clone(), value.clone());
            member.put(request).await.map(|answer| answer.into_inner().header)
        } else {
            let request = journalled(&key, &value);
            member.txn(request).await.map(|answer| answer.into_inner().header)
        };
        let outcome = written(answer);
        let acknowledged = matches!(outcome, Outcome::Written { .. });
        if acknowledged {
            self.shared.written.fetch_add(1, Ordering::Relaxed);
        }
        self.note(sent, Asked::Put { key, value }, outcome);
        !acknowledged
    }

    async fn read(&mut self) -> bool {
        let mut member = self.member();
        let key = self.contended();
        let request = RangeRequest { key: Bytes::from(key.clone()), ..RangeRequest::default() };
        let sent = self.shared.clock.now();
        let answer = member.range(request).await;
        let failed = answer.is_err();
        let outcome = match answer {
            Ok(answer) => seen(&answer.into_inner()),
            Err(status) => unknown(&status),
        };
        self.note(sent, Asked::Get { key }, outcome);
        failed
    }

    fn note(&mut self, sent: u64, asked: Asked, outcome: Outcome) {
        let ended = self.shared.clock.now();
        self.history.push(Call { sent, ended, asked, outcome });
    }
}

fn put(key: String, value: String) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

/// Sets the key, and in the same revision a key of its own that tells so.
fn journalled(key: &str, value: &str) -> TxnRequest {
    let puts = [(key.to_owned(), value.to_owned()), (format!("{JOURNAL}{value}"), key.to_owned())];
    let op = |(key, value)| RequestOp { request: Some(Request::RequestPut(put(key, value))) };
    TxnRequest { success: puts.map(op).to_vec(), ..TxnRequest::default() }
}

fn written(answer: Result<Option<ResponseHeader>, Status>) -> Outcome {
    match answer {
        Ok(Some(header)) => Outcome::Written { revision: header.revision },
        Ok(None) => Outcome::Unknown { error: "an answer without a header".to_owned() },
        Err(status) => unknown(&status),
    }
}

fn seen(answer: &RangeResponse) -> Outcome {
    let Some(header) = &answer.header else {
        return Outcome::Unknown { error: "an answer without a header".to_owned() };
    };
    let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
    let found = answer.kvs.first().map(|kv| (text(&kv.value), kv.mod_revision));
    Outcome::Seen { revision: header.revision, found }
}

fn unknown(status: &Status) -> Outcome {
    Outcome::Unknown { error: format!("{:?}: {}", status.code(), status.message()) }
}

/// Reads what a member holds, from its own state: each revision and what it wrote.
///
/// Waits first until the member has applied as much as the cluster has.
pub async fn chronicle(url: &str) -> anyhow::Result<Chronicle> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.timeout(Duration::from_secs(20));
    let mut member = KvClient::new(endpoint.connect().await?);
    let settle = RangeRequest { key: Bytes::from_static(b"settled?"), ..RangeRequest::default() };
    let header = member.range(settle).await?.into_inner().header;
    let revision = header.context("an answer without a header")?.revision;
    let mut chronicle = Chronicle::new();
    for prefix in [OWN, JOURNAL] {
        read_keys(&mut member, prefix, revision, &mut chronicle).await?;
    }
    Ok(chronicle)
}

/// Reads all keys with a prefix, page by page, as of one revision.
async fn read_keys(
    member: &mut KvClient<Channel>,
    prefix: &str,
    revision: i64,
    chronicle: &mut Chronicle,
) -> anyhow::Result<()> {
    const PAGE: i64 = 5_000;
    let mut from = prefix.to_owned();
    // The byte after `/` ends the prefix.
    let end = Bytes::from(prefix.replace('/', "0"));
    loop {
        let request = RangeRequest {
            key: Bytes::from(from.clone()),
            range_end: end.clone(),
            limit: PAGE,
            revision,
            serializable: true,
            ..RangeRequest::default()
        };
        let answer = member.range(request).await?.into_inner();
        for kv in &answer.kvs {
            let (key, value) =
                (String::from_utf8(kv.key.to_vec())?, String::from_utf8(kv.value.to_vec())?);
            ensure!(kv.version == 1, "{key} was written {} times", kv.version);
            let written = match key.strip_prefix(JOURNAL) {
                Some(journalled) => (value, journalled.to_owned()),
                None => (key.clone(), value),
            };
            let before = chronicle.insert(kv.mod_revision, written);
            ensure!(before.is_none(), "two writes at revision {}: {before:?}", kv.mod_revision);
            from = format!("{key}\0");
        }
        if !answer.more {
            return Ok(());
        }
    }
}
