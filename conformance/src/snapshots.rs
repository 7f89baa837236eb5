//! A member that lags beyond the log, and kills in the middle of what brings it up to date.
//!
//! It is killed, the others write until their logs no longer reach back to it, and it is started
//! again. While its snapshot is on the way it is killed once more; when it has begun anew, the
//! member that sends is killed. In the end all members hold the same.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_etcd::proto::etcdserverpb::{HashKvRequest, PutRequest, RangeRequest};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cluster::{Cluster, MEMBERS, connect};
use crate::http;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Keys that were written while the member was away.
    pub keys: usize,
    /// From the last kill until the member held everything.
    pub took: Duration,
    /// The hash of all members.
    pub hash: u32,
    /// The revision it is of.
    pub revision: i64,
}

/// Flags with which a log is trimmed soon.
pub const FLAGS: [&str; 1] = ["--log-keep-bytes=1048576"];

/// The size of a value.
const VALUE_BYTES: usize = 1 << 20;
/// Writes under way at a time.
const WRITERS: usize = 8;
/// How often a member is looked at.
const POLL: Duration = Duration::from_millis(2);
/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets a member lag by so many keys of 1 MiB, and kills it and who sends to it.
pub async fn run(cluster: &mut Cluster, keys: usize) -> anyhow::Result<Caught> {
    let leader = cluster.leader().await?;
    let behind = (leader + 1) % MEMBERS;
    let others: Vec<usize> = (0..MEMBERS).filter(|&at| at != behind).collect();
    cluster.kill_member(behind)?;
    write(cluster, &others, keys).await?;
    write_until_trimmed(cluster, &others).await?;

    cluster.start_member(behind)?;
    wait_until("its snapshot is on the way", || under_way(cluster, behind, RECEIVING)).await?;
    cluster.kill_member(behind)?;
    println!("killed the member that receives");
    // Whoever sent to it notices, or is asked anew.
    cluster.start_member(behind)?;
    let sender = sender(cluster, behind, &others).await?;
    cluster.kill_member(sender)?;
    println!("killed the member that sends");
    let began = Instant::now();
    cluster.wait_ready(behind).await?;
    wait_until("a snapshot took the place of its state", || {
        Ok(metric(cluster, behind, INSTALLED)? >= 1.0)
    })
    .await?;
    let took = began.elapsed();
    cluster.start_member(sender)?;
    for at in 0..MEMBERS {
        cluster.wait_ready(at).await?;
        let count = count(cluster, at).await?;
        ensure!(count == i64::try_from(keys)?, "member {} holds {count} of {keys} keys", at + 1);
    }
    let (hash, revision) = equal_hash(cluster).await?;
    Ok(Caught { keys, took, hash, revision })
}

const RECEIVING: &str = "synod_snapshot_receive_inflights";
const SENDING: &str = "synod_snapshot_send_inflights";
const TRIMMED: &str = "synod_log_trimmed";
/// More slots than there were when the member was killed.
const TRIMMED_MIN: f64 = 50.0;
const INSTALLED: &str = "etcd_snap_db_fsync_duration_seconds_count";

/// The member that sends a snapshot, while the one that is behind receives it.
async fn sender(cluster: &Cluster, behind: usize, others: &[usize]) -> anyhow::Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if under_way(cluster, behind, RECEIVING)? {
            for &at in others {
                if under_way(cluster, at, SENDING)? {
                    return Ok(at);
                }
            }
        }
        if metric(cluster, behind, INSTALLED).is_ok_and(|count| count >= 1.0) {
            bail!("the snapshot arrived before its sender could be killed: it is too small");
        }
        sleep(POLL).await;
    }
    bail!("no snapshot was on its way in {PATIENCE:?}")
}

async fn wait_until(what: &str, is_so: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if is_so()? {
            return Ok(());
        }
        sleep(POLL).await;
    }
    bail!("not in {PATIENCE:?}: {what}")
}

/// Whether a gauge of a member is above 0. One that does not serve yet has nothing under way.
fn under_way(cluster: &Cluster, at: usize, name: &str) -> anyhow::Result<bool> {
    match metric(cluster, at, name) {
        Ok(value) => Ok(value > 0.0),
        Err(error) if error.is::<std::io::Error>() => Ok(false),
        Err(error) => Err(error),
    }
}

fn metric(cluster: &Cluster, at: usize, name: &str) -> anyhow::Result<f64> {
    let port = cluster.members()[at].client_port;
    let page = http::ask(port, "GET", "/metrics", "")?.body;
    let line = page
        .lines()
        .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    let line = line.with_context(|| format!("no {name} on the page of metrics"))?;
    Ok(line.rsplit(' ').next().context("a line has a value")?.parse()?)
}

async fn write(cluster: &Cluster, members: &[usize], keys: usize) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let url = cluster.url(members[writer % members.len()]);
        tasks.spawn(async move {
            let mut kv = KvClient::new(connect(&url, PATIENCE).await?);
            for number in (writer..keys).step_by(WRITERS) {
                let key = Bytes::from(format!("lag/{number:06}"));
                let value = Bytes::from(vec![b'a' + u8::try_from(number % 26)?; VALUE_BYTES]);
                kv.put(PutRequest { key, value, ..PutRequest::default() }).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// Writes on until no log reaches back: that takes until what it holds is in the store, durably.
async fn write_until_trimmed(cluster: &Cluster, members: &[usize]) -> anyhow::Result<()> {
    let mut kv = KvClient::new(connect(&cluster.url(members[0]), PATIENCE).await?);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let (key, value) = (Bytes::from_static(b"on"), Bytes::from_static(b"and on"));
        kv.put(PutRequest { key, value, ..PutRequest::default() }).await?;
        let mut reach_back = members.iter().map(|&at| metric(cluster, at, TRIMMED));
        if reach_back.all(|slots| slots.is_ok_and(|slots| slots > TRIMMED_MIN)) {
            return Ok(());
        }
        sleep(POLL * 10).await;
    }
    bail!("the logs were not trimmed in {PATIENCE:?}")
}

/// How many keys a member holds, as it is.
async fn count(cluster: &Cluster, at: usize) -> anyhow::Result<i64> {
    let mut kv = KvClient::new(connect(&cluster.url(at), PATIENCE).await?);
    let request = RangeRequest {
        key: Bytes::from_static(b"lag/"),
        range_end: Bytes::from_static(b"lag0"),
        count_only: true,
        ..RangeRequest::default()
    };
    Ok(kv.range(request).await?.into_inner().count)
}

/// The hash of all members at one revision, if it is one.
async fn equal_hash(cluster: &Cluster) -> anyhow::Result<(u32, i64)> {
    let mut hashes = Vec::new();
    let mut revision = 0;
    for at in 0..MEMBERS {
        let mut maintenance = MaintenanceClient::new(connect(&cluster.url(at), PATIENCE).await?);
        let answer = maintenance.hash_kv(HashKvRequest { revision }).await?.into_inner();
        revision = answer.header.context("an answer has a header")?.revision.max(revision);
        hashes.push((answer.hash, answer.compact_revision));
    }
    ensure!(hashes.windows(2).all(|two| two[0] == two[1]), "members differ: {hashes:?}");
    Ok((hashes[0].0, revision))
}
