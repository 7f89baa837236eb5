//! Writes beside the long work of a store: a snapshot is saved, much history is compacted, members
//! are defragmented. What counts is how much longer writes take than when nothing else happens.
//!
//! Writes come at a fixed rate, and a write's latency begins when it is due: who stalls does not
//! get fewer writes to be slow at. The rate is the same for both sides and all phases.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_etcd::proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, PutRequest, SnapshotRequest,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::cluster::{Cluster, MEMBERS, connect};

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct SpaceLoad {
    /// Revisions to write first, and to compact.
    pub revisions: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Writes per second in each phase.
    pub rate: u32,
    /// How long writes are measured with nothing beside them, in seconds.
    pub seconds: u32,
}

/// What was found beside which work.
#[derive(Clone, Debug)]
pub struct Phase {
    /// The work.
    pub name: &'static str,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Writes meanwhile.
    pub puts: usize,
    /// Half of the writes were faster, in milliseconds.
    pub p50_ms: f64,
    /// All but one in a hundred were faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Different keys: a hundredth of the revisions by default is live.
const KEYS: u64 = 10_000;
/// How many write the revisions at a time.
const FILLERS: u64 = 256;
/// How many write in each phase. One waits while others go on.
const WRITERS: u32 = 32;
/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);
/// Phases that would be shorter go on: a percentile needs writes.
const PHASE_MIN: Duration = Duration::from_secs(1);

/// Fills a cluster, and writes beside each work in turn.
pub async fn measure(cluster: &Cluster, load: SpaceLoad) -> anyhow::Result<Vec<Phase>> {
    let mut members = Vec::new();
    for at in 0..MEMBERS {
        members.push(connect(&cluster.url(at), PATIENCE).await?);
    }
    let begun = Instant::now();
    let revision = fill(&members, load).await?;
    eprintln!("{}: filled in {:.0} s", cluster.program().name, begun.elapsed().as_secs_f64());
    let mut phases = Vec::new();
    let idle = async {
        tokio::time::sleep(Duration::from_secs(load.seconds.into())).await;
        Ok(())
    };
    phases.push(beside("nothing", &members, load, idle).await?);
    phases.push(beside("snapshot", &members, load, save(&members[0])).await?);
    phases.push(beside("compaction", &members, load, compact(&members[0], revision)).await?);
    phases.push(beside("defragmentation", &members, load, defragment(&members)).await?);
    Ok(phases)
}

/// Writes the revisions; the last one.
async fn fill(members: &[Channel], load: SpaceLoad) -> anyhow::Result<i64> {
    let next = Arc::new(AtomicU64::new(0));
    let mut fillers = JoinSet::new();
    for at in 0..FILLERS {
        let mut kv = KvClient::new(channel(members, at));
        let next = Arc::clone(&next);
        fillers.spawn(async move {
            let mut revision = 0;
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= load.revisions {
                    return anyhow::Ok(revision);
                }
                let answer = kv.put(put(at, load.value_bytes)).await?.into_inner();
                revision = answer.header.context("an answer without a header")?.revision;
            }
        });
    }
    let mut last = 0;
    while let Some(revision) = fillers.join_next().await {
        last = last.max(revision??);
    }
    Ok(last)
}

async fn save(member: &Channel) -> anyhow::Result<()> {
    let answer = MaintenanceClient::new(member.clone()).snapshot(SnapshotRequest {}).await?;
    let (mut stream, mut bytes) = (answer.into_inner(), 0);
    while let Some(piece) = stream.message().await? {
        bytes += piece.blob.len();
    }
    eprintln!("a snapshot of {} MiB", bytes >> 20);
    Ok(())
}

async fn compact(member: &Channel, revision: i64) -> anyhow::Result<()> {
    let request = CompactionRequest { revision, physical: true };
    KvClient::new(member.clone()).compact(request).await?;
    Ok(())
}

async fn defragment(members: &[Channel]) -> anyhow::Result<()> {
    for member in members {
        MaintenanceClient::new(member.clone()).defragment(DefragmentRequest {}).await?;
    }
    Ok(())
}

/// Writes while work is done.
async fn beside(
    name: &'static str,
    members: &[Channel],
    load: SpaceLoad,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Phase> {
    let is_done = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for at in 0..WRITERS {
        let kv = KvClient::new(channel(members, at.into()));
        writers.spawn(write(kv, load, (at, start), Arc::clone(&is_done)));
    }
    let worked = work.await;
    let seconds = start.elapsed().as_secs_f64();
    tokio::time::sleep(PHASE_MIN.saturating_sub(start.elapsed())).await;
    is_done.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(written) = writers.join_next().await {
        latencies.extend(written??);
    }
    worked.with_context(|| name)?;
    ensure!(!latencies.is_empty(), "nothing was written beside {name}");
    latencies.sort_unstable();
    let ms = |part: f64| {
        let at = (latencies.len() as f64 * part) as usize;
        latencies[at.min(latencies.len() - 1)].as_secs_f64() * 1e3
    };
    let (p50_ms, p99_ms, max_ms) = (ms(0.5), ms(0.99), ms(1.0));
    Ok(Phase { name, seconds, puts: latencies.len(), p50_ms, p99_ms, max_ms })
}

/// One writer: each of its writes is due at a time of its own.
async fn write(
    mut kv: KvClient<Channel>,
    load: SpaceLoad,
    (writer, start): (u32, Instant),
    is_done: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Duration>> {
    let interval = Duration::from_secs(1) / load.rate.max(1);
    let mut latencies = Vec::new();
    for at in (writer..).step_by(WRITERS as usize) {
        let due = start + interval * at;
        tokio::time::sleep_until(due.into()).await;
        if is_done.load(Ordering::Relaxed) {
            break;
        }
        kv.put(put(at.into(), load.value_bytes)).await?;
        latencies.push(due.elapsed());
    }
    Ok(latencies)
}

fn channel(members: &[Channel], at: u64) -> Channel {
    members[at as usize % members.len()].clone()
}

fn put(at: u64, value_bytes: usize) -> PutRequest {
    let key = Bytes::from(format!("space/{:08}", at % KEYS));
    PutRequest { key, value: Bytes::from(vec![b'x'; value_bytes]), ..PutRequest::default() }
}

/// A table of both sides' phases; each p99 beside that of the same side with nothing beside it.
pub fn table(load: SpaceLoad, etcd: &[Vec<Phase>], synod: &[Vec<Phase>]) -> anyhow::Result<String> {
    let SpaceLoad { revisions, value_bytes, rate, .. } = load;
    let mut text = format!(
        "## {rate} puts/s beside work on {revisions} revisions of {value_bytes} B, {KEYS} keys\n\n"
    );
    text.push_str("| | beside | took, s | puts | p50, ms | p99, ms | ÷ idle | max, ms |\n");
    text.push_str("|---|---|---:|---:|---:|---:|---:|---:|\n");
    for (side, runs) in [("etcd", etcd), ("synod", synod)] {
        for (at, phases) in runs.iter().enumerate() {
            let idle = phases.first().context("nothing was measured")?.p99_ms;
            for Phase { name, seconds, puts, p50_ms, p99_ms, max_ms } in phases {
                writeln!(
                    text,
                    "| {side}, run {} | {name} | {seconds:.1} | {puts} | {p50_ms:.2} | \
                     {p99_ms:.2} | {:.2} | {max_ms:.1} |",
                    at + 1,
                    p99_ms / idle,
                )?;
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_p99_stands_beside_the_idle_one() {
        let phase =
            |name, p99_ms| Phase { name, seconds: 2.0, puts: 10, p50_ms: 1.0, p99_ms, max_ms: 9.0 };
        let runs = [vec![phase("nothing", 2.0), phase("compaction", 3.0)]];
        let load = SpaceLoad { revisions: 5, value_bytes: 1, rate: 7, seconds: 1 };
        let table = table(load, &runs, &runs).unwrap();
        let row = "| synod, run 1 | compaction | 2.0 | 10 | 1.00 | 3.00 | 1.50 | 9.0 |";
        assert!(table.contains(row), "{table}");
    }
}
