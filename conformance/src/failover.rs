//! How long writes wait when the leader goes: killed, or stopped on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use synod_etcd::proto::etcdserverpb::PutRequest;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{Cluster, MEMBERS};

/// How long a single attempt may take before the next member is tried.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

/// How long a write may take with all its attempts.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// A quiet time between measurements, in which the members come to rest.
const REST: Duration = Duration::from_millis(1500);

/// Clients of all members, which try a write at one after the other.
#[derive(Clone, Debug)]
struct Writer {
    members: Vec<KvClient<Channel>>,
    first: usize,
}

impl Writer {
    fn new(cluster: &Cluster, members: &[usize], first: usize) -> anyhow::Result<Self> {
        let connect = |&at: &usize| {
            let endpoint = Endpoint::from_shared(cluster.url(at))?;
            let endpoint = endpoint.tcp_nodelay(true).timeout(ATTEMPT_MAX);
            Ok(KvClient::new(endpoint.connect_lazy()))
        };
        let members = members.iter().map(connect).collect::<anyhow::Result<_>>()?;
        Ok(Self { members, first })
    }

    /// Writes once, at whichever member takes it; tells how long it took in all.
    async fn write(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut at = self.first;
        let mut last = String::new();
        while began.elapsed() < WRITE_MAX {
            let index = at % self.members.len();
            let request =
                PutRequest { key: "failover".into(), value: "x".into(), ..PutRequest::default() };
            match self.members[index].put(request).await {
                Ok(_) => return Ok(began.elapsed()),
                Err(status) => last = status.message().to_owned(),
            }
            at += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("no member took a write for {WRITE_MAX:?}; the last one said: {last}")
    }
}

/// Kills the leader so many times; the time from each kill to the next answered write.
pub async fn after_kill(cluster: &mut Cluster, rounds: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        tokio::time::sleep(REST).await;
        let leader = cluster.leader().await?;
        let others: Vec<usize> = (0..MEMBERS).filter(|&at| at != leader).collect();
        let mut writers = Vec::new();
        for first in 0..others.len() {
            let mut writer = Writer::new(cluster, &others, first)?;
            // The connections are open before the clock starts.
            writer.write().await?;
            writers.push(writer);
        }
        cluster.kill_member(leader)?;
        times.push(first_answer(&writers).await?);
        cluster.start_member(leader)?;
        cluster.wait_ready(leader).await?;
    }
    Ok(times)
}

/// The time until any write is answered, if a new client sends one again and again.
///
/// A write that left with the dead leader waits for its time-out, however soon there is a new one;
/// so each of these is sent beside the others.
async fn first_answer(writers: &[Writer]) -> anyhow::Result<Duration> {
    const EVERY: Duration = Duration::from_millis(10);
    const IN_FLIGHT_MAX: usize = 256;
    let began = Instant::now();
    let mut sent = JoinSet::new();
    let mut ticks = tokio::time::interval(EVERY);
    let mut writers = writers.iter().cycle();
    while began.elapsed() < WRITE_MAX {
        tokio::select! {
            _ = ticks.tick(), if sent.len() < IN_FLIGHT_MAX => {
                let mut writer = writers.next().context("nobody to write to")?.clone();
                sent.spawn(async move { writer.write().await });
            }
            Some(answer) = sent.join_next() => {
                answer??;
                return Ok(began.elapsed());
            }
        }
    }
    bail!("no write was answered for {WRITE_MAX:?}")
}

/// Stops the leader with SIGTERM so many times, under writes through all members; the longest
/// time that a write took each time.
pub async fn after_stop(cluster: &mut Cluster, rounds: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        tokio::time::sleep(REST).await;
        let leader = cluster.leader().await?;
        let stop = Arc::new(AtomicBool::new(false));
        let everyone: Vec<usize> = (0..MEMBERS).collect();
        let mut writers = Vec::new();
        for first in 0..MEMBERS {
            let mut writer = Writer::new(cluster, &everyone, first)?;
            // The connections are open before the clock starts.
            writer.write().await?;
            writers.push(tokio::spawn(longest_write(writer, Arc::clone(&stop))));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut process = cluster.terminate_member(leader)?;
        let wait = move || process.wait(Duration::from_secs(10));
        tokio::task::spawn_blocking(wait).await??;
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for writer in writers {
            longest = longest.max(writer.await??);
        }
        times.push(longest);
        cluster.start_member(leader)?;
        cluster.wait_ready(leader).await?;
    }
    Ok(times)
}

async fn longest_write(mut writer: Writer, stop: Arc<AtomicBool>) -> anyhow::Result<Duration> {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        longest = longest.max(writer.write().await?);
    }
    Ok(longest)
}

/// The middle of some times.
pub fn median(times: &[Duration]) -> anyhow::Result<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().context("the median of nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let times = [5, 1, 3].map(Duration::from_secs);
        assert_eq!(median(&times).unwrap(), Duration::from_secs(3));
        assert!(median(&[]).is_err());
    }
}
