//! Very many leases that come due at a steady rate, and how late they end.
//!
//! All are granted first, each for as long as it takes until its turn: so many a second come due
//! from a moment on that lies ahead. Some of them have a key, and a watch tells when it goes. In
//! the middle of it the leader is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use synod_etcd::proto::etcdserverpb::watch_client::WatchClient;
use synod_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use synod_etcd::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseLeasesRequest, PutRequest, WatchCreateRequest, WatchRequest,
    WatchResponse,
};
use synod_etcd::proto::mvccpb::event::EventType;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};
use tonic::Streaming;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::cluster::{Cluster, MEMBERS, connect};
use crate::watch_load::rss_bytes;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many leases.
    pub leases: u64,
    /// How many come due in a second.
    pub per_second: u64,
    /// How long granting may take; what is not granted by then is left out.
    pub granting: Duration,
    /// Every so many leases one has a key.
    pub key_every: u64,
    /// Whether the leader is killed when half of them have come due.
    pub kills: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Expired {
    /// Leases granted.
    pub granted: u64,
    /// How long that took.
    pub granting: Duration,
    /// What each lease takes of the members' memory, in bytes.
    pub lease_bytes: f64,
    /// How late the leases with keys ended, the soonest first. Counted from when the grant was
    /// asked for, so it is never less than it was.
    pub late: Vec<Duration>,
    /// Keys that went before their leases can have been due.
    pub early: u64,
    /// Keys that never went.
    pub missing: u64,
    /// Leases that are left on any member.
    pub left: usize,
}

impl Expired {
    /// The lateness that so many of a hundred leases do not exceed.
    #[must_use]
    pub fn late_at(&self, percent: usize) -> Duration {
        let at = (self.late.len() * percent / 100).min(self.late.len().saturating_sub(1));
        self.late.get(at).copied().unwrap_or_default()
    }
}

/// Calls under way at a time, over all members.
const CALLS_MAX: u64 = 384;
/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// After the last lease is due, for so long those that are late are waited for.
const LATE_MAX: Duration = Duration::from_secs(15);
/// By how much the clocks of two processes may differ over the time of a run: none on a machine,
/// but they count in different units.
const CLOCK_SLACK: Duration = Duration::from_millis(10);

/// Granting ends a little before the first lease is due.
const GRANT_MARGIN: Duration = Duration::from_secs(2);
/// What keys begin with.
const PREFIX: &str = "lease/";

/// A lease with a key.
#[derive(Clone, Copy, Debug)]
struct Kept {
    asked: Instant,
    ttl: Duration,
}

/// Carries the plan out.
pub async fn run(cluster: &mut Cluster, plan: Plan) -> anyhow::Result<Expired> {
    let leader = cluster.leader().await?;
    let watched = (leader + 1) % MEMBERS;
    let mut watch = Watch::open(&cluster.url(watched)).await?;
    let pids = cluster.process_ids();
    let before = rss_bytes(&pids)?;
    let began = Instant::now();
    let (granted, kept) = grant_all(cluster, plan, began).await?;
    let granting = began.elapsed();
    let lease_bytes = (rss_bytes(&pids)? - before) / granted.max(1) as f64 / pids.len() as f64;
    ensure!(granted > 0, "nothing was granted in {:?}", plan.granting);

    let first_due = began + plan.granting;
    let span = Duration::from_secs_f64(granted as f64 / plan.per_second as f64);
    let (until, keys) = (first_due + span + LATE_MAX, kept.len());
    let gone = tokio::spawn(async move { watch.gone(until, keys).await });
    if plan.kills {
        sleep_until((first_due + span / 2).into()).await;
        let leader = cluster.leader().await?;
        if leader == watched {
            println!("the leader is the member that is watched: another one is killed");
        }
        let victim = if leader == watched { (watched + 1) % MEMBERS } else { leader };
        cluster.kill_member(victim)?;
        sleep(Duration::from_secs(1)).await;
        cluster.start_member(victim)?;
        cluster.wait_ready(victim).await?;
    }
    let gone = gone.await??;
    let mut expired = judge(&kept, &gone);
    (expired.granted, expired.granting, expired.lease_bytes) = (granted, granting, lease_bytes);
    expired.left = left(cluster).await?;
    Ok(expired)
}

fn judge(kept: &BTreeMap<u64, Kept>, gone: &BTreeMap<u64, Instant>) -> Expired {
    let (mut late, mut early, mut missing) = (Vec::new(), 0, 0);
    for (number, Kept { asked, ttl }) in kept {
        match gone.get(number) {
            None => missing += 1,
            Some(at) if *at + CLOCK_SLACK < *asked + *ttl => early += 1,
            Some(at) => late.push(at.saturating_duration_since(*asked + *ttl)),
        }
    }
    late.sort_unstable();
    let (granted, granting, lease_bytes, left) = (0, Duration::ZERO, 0.0, 0);
    Expired { granted, granting, lease_bytes, late, early, missing, left }
}

/// Grants all, as fast as the members can; those with keys, by their number.
async fn grant_all(
    cluster: &Cluster,
    plan: Plan,
    began: Instant,
) -> anyhow::Result<(u64, BTreeMap<u64, Kept>)> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let mut channels = Vec::new();
    for at in 0..MEMBERS {
        channels.push(connect(&cluster.url(at), PATIENCE).await?);
    }
    for channel in channels.iter().cycle().take(usize::try_from(CALLS_MAX)?) {
        let granter = Granter { plan, began, channel: channel.clone(), next: Arc::clone(&next) };
        tasks.spawn(granter.run());
    }
    let (mut granted, mut kept) = (0, BTreeMap::new());
    while let Some(task) = tasks.join_next().await {
        let (count, keys) = task??;
        granted += count;
        kept.extend(keys);
    }
    Ok((granted, kept))
}

struct Granter {
    plan: Plan,
    began: Instant,
    channel: Channel,
    next: Arc<AtomicU64>,
}

impl Granter {
    async fn run(self) -> anyhow::Result<(u64, Vec<(u64, Kept)>)> {
        let mut leases = LeaseClient::new(self.channel.clone());
        let mut kv = KvClient::new(self.channel.clone());
        let (mut granted, mut kept) = (0, Vec::new());
        while self.began.elapsed() + GRANT_MARGIN < self.plan.granting {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.plan.leases {
                break;
            }
            let (asked, ttl) = (Instant::now(), self.seconds_until_due(number));
            let id = i64::try_from(number)? + 1;
            let request = LeaseGrantRequest { ttl: i64::try_from(ttl)?, id };
            let answer = leases.lease_grant(request).await?.into_inner();
            ensure!(answer.ttl == i64::try_from(ttl)?, "granted {} s instead of {ttl}", answer.ttl);
            granted += 1;
            if number.is_multiple_of(self.plan.key_every) {
                let key = Bytes::from(format!("{PREFIX}{number}"));
                kv.put(PutRequest { key, lease: id, ..PutRequest::default() }).await?;
                kept.push((number, Kept { asked, ttl: Duration::from_secs(ttl) }));
            }
        }
        Ok((granted, kept))
    }

    /// So that it is due when its turn is, or up to a second later: the same for all.
    fn seconds_until_due(&self, number: u64) -> u64 {
        let turn = Duration::from_secs_f64(number as f64 / self.plan.per_second as f64);
        let due = self.began + self.plan.granting + turn;
        due.saturating_duration_since(Instant::now()).as_secs() + 1
    }
}

/// A watch of all keys that leases have here.
struct Watch {
    _requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Watch {
    async fn open(url: &str) -> anyhow::Result<Self> {
        let (requests, receiver) = mpsc::channel(1);
        let create = WatchCreateRequest {
            key: Bytes::from_static(PREFIX.as_bytes()),
            range_end: Bytes::from_static(b"lease0"),
            ..WatchCreateRequest::default()
        };
        let request_union = Some(RequestUnion::CreateRequest(create));
        requests.send(WatchRequest { request_union }).await?;
        let channel = Channel::from_shared(url.to_owned())?.connect().await?;
        let answers = WatchClient::new(channel).watch(ReceiverStream::new(receiver)).await?;
        let mut answers = answers.into_inner();
        let created = timeout(PATIENCE, answers.message()).await??;
        ensure!(created.is_some_and(|answer| answer.created), "the watch was not made");
        Ok(Self { _requests: requests, answers })
    }

    /// When each key went, until all have gone or it is late enough.
    async fn gone(
        &mut self,
        until: Instant,
        keys: usize,
    ) -> anyhow::Result<BTreeMap<u64, Instant>> {
        let mut gone = BTreeMap::new();
        while gone.len() < keys {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(answer) = timeout(left, self.answers.message()).await else { break };
            let answer = answer?.context("the watch has ended")?;
            let now = Instant::now();
            for event in answer.events.iter().filter(|it| it.r#type() == EventType::Delete) {
                let key = event.kv.as_ref().context("an event has a key")?;
                let name = std::str::from_utf8(&key.key)?;
                let number = name.strip_prefix(PREFIX).context("it is watched")?.parse()?;
                if gone.insert(number, now).is_some() {
                    bail!("{name} has gone twice");
                }
            }
        }
        Ok(gone)
    }
}

/// The most leases that any member has left.
async fn left(cluster: &Cluster) -> anyhow::Result<usize> {
    let mut most = 0;
    for at in 0..MEMBERS {
        let channel = connect(&cluster.url(at), PATIENCE).await?;
        let mut leases = LeaseClient::new(channel).max_decoding_message_size(64 << 20);
        let answer = leases.lease_leases(LeaseLeasesRequest {}).await?.into_inner();
        most = most.max(answer.leases.len());
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_and_missing_keys_are_told_from_late_ones() {
        let asked = Instant::now();
        let ttl = Duration::from_secs(5);
        let kept = (0..4).map(|number| (number, Kept { asked, ttl })).collect();
        let gone = [(0, 4), (1, 6), (2, 9)];
        let gone = gone.map(|(number, s)| (number, asked + Duration::from_secs(s))).into();
        let expired = judge(&kept, &gone);
        assert_eq!((expired.early, expired.missing), (1, 1));
        assert_eq!(expired.late, [1, 4].map(Duration::from_secs));
        assert_eq!([0, 50, 100].map(|p| expired.late_at(p).as_secs()), [1, 4, 4]);
    }
}
