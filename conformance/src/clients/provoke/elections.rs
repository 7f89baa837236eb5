//! What a member says that loses its leader in the middle of a read.

use anyhow::Context;
use rustix::process::Signal;
use synod_etcd::EtcdError;
use synod_etcd::proto::etcdserverpb::RangeRequest;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;

use super::super::errors::Answers;
use super::{CALL_MAX, key, note};
use crate::cluster::{Cluster, MEMBERS, connect};

/// The leader stands still, while a follower has asked it how far it is; another is elected.
pub(super) async fn leader_changes(
    cluster: &mut Cluster,
    answers: &mut Answers,
) -> anyhow::Result<()> {
    let leader = cluster.leader().await?;
    let follower = connect(&cluster.url((leader + 1) % MEMBERS), CALL_MAX).await?;
    let mut kv = KvClient::new(follower);
    // The connection stands when it is needed.
    let read = || RangeRequest { key: key("e"), ..RangeRequest::default() };
    kv.range(read()).await.context("a read before the leader stands still")?;
    cluster.signal_member(leader, Signal::STOP)?;
    let answer = kv.range(read()).await;
    cluster.signal_member(leader, Signal::CONT)?;
    note(answers, EtcdError::LeaderChanged, answer);
    cluster.wait_ready(leader).await
}
