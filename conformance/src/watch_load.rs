//! Watches under load: many of one key and one writer; and many of different keys, for what they
//! take of memory.
//!
//! The watches are spread over all members, on streams that share connections. The writer goes
//! through the first member, one write after the other is answered; an event counts when its
//! client has it. Clients share the machine with the members, so they count events and do not
//! decode them: see `tally`.

mod tally;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use synod_etcd::proto::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest};
use tokio::sync::mpsc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use crate::cluster::{Cluster, MEMBERS, connect};
use tally::{Tally, TallyCodec};

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct WatchLoad {
    /// Watches of the one key.
    pub watches: usize,
    /// Streams that share them.
    pub streams: usize,
    /// Connections that share the streams.
    pub connections: usize,
    /// Watches of different keys.
    pub idle: usize,
    /// Streams that share those.
    pub idle_streams: usize,
    /// Connections that share these streams.
    pub idle_connections: usize,
    /// For how many seconds the writer writes.
    pub seconds: u32,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// Events that clients got, per second.
    pub per_second: f64,
    /// The members' CPU time per such event, in microseconds, with that of the writes.
    pub cpu_us: f64,
    /// Writes per second.
    pub puts_per_second: f64,
    /// Memory that each watch of a key of its own adds to its member, in bytes.
    pub idle_bytes: f64,
    /// Memory of all members at the end, in MiB.
    pub rss_mib: f64,
}

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The size of the values written.
const VALUE_BYTES: usize = 256;

/// A stream with watches.
struct Stream {
    _requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<Tally>,
}

impl Stream {
    /// Opens a stream and makes its watches, one of each key.
    async fn open(channel: Channel, keys: &[Bytes]) -> anyhow::Result<Self> {
        let (requests, receiver) = mpsc::channel(keys.len().max(1));
        for key in keys {
            let create = WatchCreateRequest { key: key.clone(), ..Default::default() };
            let request_union = Some(RequestUnion::CreateRequest(create));
            requests.send(WatchRequest { request_union }).await?;
        }
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await?;
        let request = Request::new(ReceiverStream::new(receiver));
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let answers = client.streaming(request, path, TallyCodec).await?;
        let mut stream = Self { _requests: requests, answers: answers.into_inner() };
        for _ in keys {
            let answer = tokio::time::timeout(PATIENCE, stream.answers.message()).await??;
            ensure!(answer.context("the stream has ended")?.created, "a watch was not made");
        }
        Ok(stream)
    }
}

/// Puts the load on a cluster.
pub async fn measure(cluster: &Cluster, load: WatchLoad) -> anyhow::Result<Watched> {
    let pids = cluster.process_ids();
    let before = rss_bytes(&pids)?;
    let keys: Vec<Bytes> = (0..load.idle).map(|at| format!("idle/{at:08}").into()).collect();
    let mut idle = Vec::new();
    let mut channels = Vec::new();
    for at in 0..load.idle_connections {
        channels.push(dial(cluster, at).await?);
    }
    for (at, keys) in keys.chunks(load.idle.div_ceil(load.idle_streams.max(1)).max(1)).enumerate() {
        idle.push(Stream::open(channels[at % channels.len()].clone(), keys).await?);
    }
    let idle_bytes = (rss_bytes(&pids)? - before) / load.idle.max(1) as f64;

    let got = Arc::new(AtomicU64::new(0));
    let share = load.watches / load.streams.max(1);
    channels.clear();
    for at in 0..load.connections.clamp(1, load.streams.max(1)) {
        channels.push(dial(cluster, at).await?);
    }
    for at in 0..load.streams {
        let keys = vec![Bytes::from_static(b"key"); share];
        let mut stream = Stream::open(channels[at % channels.len()].clone(), &keys).await?;
        let got = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok(Some(answer)) = stream.answers.message().await {
                got.fetch_add(answer.events, Ordering::Relaxed);
            }
        });
    }
    let mut kv = KvClient::new(connect(&cluster.url(0), PATIENCE).await?);
    let (start, cpu) = (Instant::now(), cpu_time(&pids)?);
    let mut puts = 0_u64;
    while start.elapsed() < Duration::from_secs(load.seconds.into()) {
        let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
        let key = Bytes::from_static(b"key");
        kv.put(PutRequest { key, value, ..Default::default() }).await?;
        puts += 1;
    }
    let writing = start.elapsed();
    let expected = puts * (share * load.streams) as u64;
    while got.load(Ordering::Relaxed) < expected {
        ensure!(
            start.elapsed() < writing + PATIENCE,
            "{} of {expected} events came",
            got.load(Ordering::Relaxed)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = start.elapsed().as_secs_f64();
    let cpu = cpu_time(&pids)? - cpu;
    drop(idle);
    Ok(Watched {
        per_second: expected as f64 / took,
        cpu_us: cpu.as_secs_f64() * 1e6 / expected as f64,
        puts_per_second: puts as f64 / writing.as_secs_f64(),
        idle_bytes,
        rss_mib: rss_bytes(&pids)? / f64::from(1 << 20),
    })
}

/// A connection to one of the members in turn.
async fn dial(cluster: &Cluster, at: usize) -> anyhow::Result<Channel> {
    Ok(Channel::from_shared(cluster.url(at % MEMBERS))?.connect().await?)
}

/// The CPU time of processes so far.
fn cpu_time(pids: &[u32]) -> anyhow::Result<Duration> {
    let mut ticks = 0_u64;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("a process without a name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        for at in [11, 12] {
            let field = fields.get(at).context("a process without times")?;
            ticks += field.parse::<u64>()?;
        }
    }
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_micros(ticks * 1_000_000 / per_second))
}

/// The memory of processes.
/// The memory of these processes together.
pub(crate) fn rss_bytes(pids: &[u32]) -> anyhow::Result<f64> {
    let mut pages = 0_u64;
    for pid in pids {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
        let field = statm.split_whitespace().nth(1).context("a process without memory")?;
        pages += field.parse::<u64>()?;
    }
    Ok(pages as f64 * rustix::param::page_size() as f64)
}

/// A table of both sides' repeats and medians, with the ratio of the medians.
pub fn table(load: WatchLoad, etcd: &[Watched], synod: &[Watched]) -> anyhow::Result<String> {
    let WatchLoad { watches, streams, connections, idle, idle_streams, idle_connections, seconds } =
        load;
    let mut text = format!(
        "## {watches} watches of one key on {streams} streams of {connections} connections, {idle} \
         of other keys on {idle_streams} of {idle_connections}, one writer, {seconds} s\n\n"
    );
    text.push_str("| | events/s | server CPU per event, µs | puts/s | bytes per idle watch | ");
    text.push_str("memory of 3 members, MiB |\n|---|---:|---:|---:|---:|---:|\n");
    for (name, all) in [("etcd", etcd), ("synod", synod)] {
        for (at, one) in all.iter().enumerate() {
            row(&mut text, &format!("{name}, run {}", at + 1), one)?;
        }
    }
    let (etcd, synod) = (median(etcd)?, median(synod)?);
    row(&mut text, "**etcd, median**", &etcd)?;
    row(&mut text, "**synod, median**", &synod)?;
    let ratio = |number: fn(&Watched) -> f64| number(&synod) / number(&etcd);
    writeln!(
        text,
        "| **synod ÷ etcd** | **{:.2}** | **{:.2}** | **{:.2}** | **{:.2}** | **{:.2}** |",
        ratio(|one| one.per_second),
        ratio(|one| one.cpu_us),
        ratio(|one| one.puts_per_second),
        ratio(|one| one.idle_bytes),
        ratio(|one| one.rss_mib),
    )?;
    Ok(text)
}

fn row(text: &mut String, name: &str, one: &Watched) -> std::fmt::Result {
    let Watched { per_second, cpu_us, puts_per_second, idle_bytes, rss_mib } = one;
    writeln!(
        text,
        "| {name} | {per_second:.0} | {cpu_us:.2} | {puts_per_second:.0} | {idle_bytes:.0} | \
         {rss_mib:.0} |"
    )
}

fn median(all: &[Watched]) -> anyhow::Result<Watched> {
    let middle = |number: fn(&Watched) -> f64| {
        let mut sorted: Vec<f64> = all.iter().map(number).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().context("nothing was measured")
    };
    Ok(Watched {
        per_second: middle(|one| one.per_second)?,
        cpu_us: middle(|one| one.cpu_us)?,
        puts_per_second: middle(|one| one.puts_per_second)?,
        idle_bytes: middle(|one| one.idle_bytes)?,
        rss_mib: middle(|one| one.rss_mib)?,
    })
}
