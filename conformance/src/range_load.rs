//! Large ranges by many clients at once: what they cost their member in memory.
//!
//! Each client asks the same member for everything, over a connection of its own, in one message,
//! and drops what comes as it comes. Memory is looked at many times a second; what counts is the
//! most that was the process's own: etcd maps its file, and pages of that can be given up.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body as _, Frame};
use prost::Message;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::{PutRequest, RangeRequest};
use tonic::Status;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::Channel;

use crate::cluster::{Cluster, connect};

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct RangeLoad {
    /// MiB of all values.
    pub mib: usize,
    /// KiB of one value.
    pub value_kib: usize,
    /// Clients that ask at the same time.
    pub clients: usize,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Ranged {
    /// The member's own memory before, in MiB.
    pub before_mib: u64,
    /// The most of it meanwhile.
    pub peak_mib: u64,
    /// The most memory it ever took, with pages of files.
    pub peak_rss_mib: u64,
    /// Until the last client had its answer.
    pub seconds: f64,
    /// MiB per second, all clients together.
    pub mib_per_second: f64,
}

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between looks at the memory.
const LOOK: Duration = Duration::from_millis(10);

/// Fills a cluster and puts the load on one of its members.
pub async fn measure(cluster: &Cluster, load: RangeLoad) -> anyhow::Result<Ranged> {
    fill(cluster, load).await?;
    let pid = *cluster.process_ids().first().context("a cluster has members")?;
    let before_mib = memory_mib(pid, "RssAnon")?;
    let done = Arc::new(AtomicBool::new(false));
    let looking = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || -> anyhow::Result<u64> {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(memory_mib(pid, "RssAnon")?);
                std::thread::sleep(LOOK);
            }
            Ok(peak)
        })
    };
    let start = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..load.clients {
        let channel = connect(&cluster.url(0), PATIENCE).await?;
        clients.spawn(ask(channel));
    }
    let mut bytes = 0;
    while let Some(taken) = clients.join_next().await {
        bytes += taken??;
    }
    let seconds = start.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let peak_mib = looking.join().map_err(|_| anyhow::anyhow!("the look at memory failed"))??;
    ensure!(bytes >= load.clients * (load.mib << 20), "{bytes} bytes in all");
    Ok(Ranged {
        before_mib,
        peak_mib,
        peak_rss_mib: memory_mib(pid, "VmHWM")?,
        seconds,
        mib_per_second: (bytes >> 20) as f64 / seconds,
    })
}

async fn fill(cluster: &Cluster, load: RangeLoad) -> anyhow::Result<()> {
    let mut kv = KvClient::new(connect(&cluster.url(0), PATIENCE).await?);
    let value = Bytes::from(vec![b'v'; load.value_kib << 10]);
    for n in 0..(load.mib << 10) / load.value_kib {
        let key = Bytes::from(format!("range/{n:08}"));
        kv.put(PutRequest { key, value: value.clone(), ..Default::default() }).await?;
    }
    Ok(())
}

/// Asks for everything; how many bytes came.
async fn ask(mut channel: Channel) -> anyhow::Result<usize> {
    let request = RangeRequest {
        key: Bytes::from_static(b"range/"),
        range_end: Bytes::from_static(b"range0"),
        ..Default::default()
    };
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(request.encoded_len())?);
    request.encode(&mut frame)?;
    let request = tonic::codegen::http::Request::post("/etcdserverpb.KV/Range")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Once(Some(frame.freeze()))))?;
    std::future::poll_fn(|cx| GrpcService::<Body>::poll_ready(&mut channel, cx)).await?;
    let response = channel.call(request).await?;
    if let Some(status) = Status::from_header_map(response.headers()) {
        return Err(status.into());
    }
    let mut body = response.into_body();
    let mut bytes = 0;
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let frame = frame.context("an answer ends with its status")??;
        match frame.into_data() {
            Ok(data) => bytes += data.len(),
            Err(trailers) => {
                let status = trailers.trailers_ref().and_then(Status::from_header_map);
                let status = status.context("an answer ends with its status")?;
                ensure!(status.code() == tonic::Code::Ok, "{status}");
                return Ok(bytes);
            }
        }
    }
}

/// A body of one piece.
struct Once(Option<Bytes>);

impl hyper::body::Body for Once {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }
}

/// A figure of a process's memory.
fn memory_mib(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.with_context(|| format!("a process without {name}"))?.parse::<u64>()? >> 10)
}

/// A table of both sides' repeats.
pub fn table(load: RangeLoad, etcd: &[Ranged], synod: &[Ranged]) -> anyhow::Result<String> {
    let RangeLoad { mib, value_kib, clients } = load;
    let mut text = format!(
        "## {clients} clients at once ask a member for {mib} MiB in values of {value_kib} KiB\n\n"
    );
    text.push_str("| | own memory before, MiB | peak | added | peak RSS | seconds | MiB/s |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---:|\n");
    for (name, all) in [("etcd", etcd), ("synod", synod)] {
        for (at, one) in all.iter().enumerate() {
            let Ranged { before_mib, peak_mib, peak_rss_mib, seconds, mib_per_second } = one;
            let added = peak_mib.saturating_sub(*before_mib);
            writeln!(
                text,
                "| {name}, run {} | {before_mib} | {peak_mib} | {added} | {peak_rss_mib} | \
                 {seconds:.1} | {mib_per_second:.0} |",
                at + 1
            )?;
        }
    }
    Ok(text)
}
