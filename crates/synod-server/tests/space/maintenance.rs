//! What looks after a member: hashes, defragmentation, moves of the leader, downgrades.

use std::time::Duration;

use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::downgrade_request::DowngradeAction;
use tonic::Code;

use super::cluster::{Cluster, PATIENCE, refused, text};

#[tokio::test]
async fn hashes_are_equal_on_all_members_whatever_they_have_reclaimed() {
    let mut cluster = Cluster::start(3, &[]).await;
    assert_ne!(cluster.members[0].hash_kv(0).await.unwrap().hash, 0, "nothing has a hash, too");
    let mut revision = 0;
    for at in 0..20 {
        let member = &mut cluster.members[at % 3];
        revision = member.put(&format!("k{}", at % 4), format!("{at}").as_bytes()).await.unwrap();
    }
    let mut before = Vec::new();
    for member in &mut cluster.members {
        member.count().await.unwrap();
        before.push(member.hash_kv(revision - 3).await.unwrap().hash);
    }
    cluster.members[1].compact(revision - 5, true).await.unwrap();
    cluster.members[2].put("later", b"").await.unwrap();
    let mut hashes = Vec::new();
    for member in &mut cluster.members {
        member.count().await.unwrap();
        let found = member.hash_kv(revision - 3).await.unwrap();
        assert_eq!((found.hash_revision, found.compact_revision), (revision - 3, revision - 5));
        assert_eq!(found.header.as_ref().unwrap().revision, revision + 1);
        assert_ne!(member.hash_kv(0).await.unwrap().hash, found.hash);
        hashes.push(found.hash);
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        let below = refused(member.hash_kv(revision - 6).await);
        assert_eq!(below, text(Code::OutOfRange, compacted));
        let future = "etcdserver: mvcc: required revision is a future revision";
        let above = refused(member.hash_kv(revision + 2).await);
        assert_eq!(above, text(Code::OutOfRange, future));
    }
    assert_eq!(before, hashes, "what is above a revision, or forgotten below, does not count");
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    let mut digests = Vec::new();
    for member in &mut cluster.members {
        let hash = member.maintenance.hash(pb::HashRequest {}).await.unwrap().into_inner();
        digests.push((hash.hash, hash.header.unwrap().revision));
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    // A leader begins with a slot of its own in the log, which changes nothing that is held.
    let former = cluster.leader().await;
    cluster.move_leader((former + 1) % 3).await.unwrap();
    for member in &mut cluster.members {
        member.count().await.unwrap();
        let hash = member.maintenance.hash(pb::HashRequest {}).await.unwrap().into_inner();
        assert_eq!((hash.hash, hash.header.unwrap().revision), digests[0]);
    }
    cluster.stop().await;
}

#[tokio::test]
async fn defragmentation_is_accepted_and_does_no_harm() {
    let mut cluster = Cluster::start(1, &[]).await;
    let member = &mut cluster.members[0];
    member.put("k", b"v").await.unwrap();
    let answer = member.maintenance.defragment(pb::DefragmentRequest {}).await.unwrap();
    assert_eq!(answer.into_inner(), pb::DefragmentResponse { header: None });
    assert_eq!(member.count().await.unwrap(), 1);
    cluster.stop().await;
}

#[tokio::test]
async fn only_the_leader_hands_over_and_only_to_members() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let mut ids = Vec::new();
    for member in &mut cluster.members {
        ids.push(member.status().await.header.unwrap().member_id);
    }
    let to = |target_id| pb::MoveLeaderRequest { target_id };
    let asked = cluster.members[follower].maintenance.move_leader(to(ids[leader])).await;
    let not_leader = text(Code::FailedPrecondition, "etcdserver: not leader");
    assert_eq!(refused(asked), not_leader);
    let stranger = cluster.members[leader].maintenance.move_leader(to(4711)).await;
    let bad = text(Code::FailedPrecondition, "etcdserver: bad leader transferee");
    assert_eq!(refused(stranger), bad);
    cluster.members[leader].maintenance.move_leader(to(ids[leader])).await.unwrap();
    assert_eq!(cluster.leader().await, leader, "to itself, nothing happens");
    cluster.move_leader(follower).await.unwrap();
    assert_eq!(cluster.leader().await, follower);
    cluster.members[leader].put("k", b"v").await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn no_version_is_to_be_downgraded_to() {
    let mut cluster = Cluster::start(1, &[]).await;
    let member = &mut cluster.members[0];
    let request = |action: DowngradeAction, version: &str| pb::DowngradeRequest {
        action: action.into(),
        version: version.to_owned(),
    };
    let invalid = text(Code::InvalidArgument, "etcdserver: invalid downgrade target version");
    let malformed = "etcdserver: wrong downgrade target version format";
    for action in [DowngradeAction::Validate, DowngradeAction::Enable] {
        let refusal = refused(member.maintenance.downgrade(request(action, "3.5.0")).await);
        assert_eq!(refusal, invalid);
        let refusal = refused(member.maintenance.downgrade(request(action, "three")).await);
        assert_eq!(refusal, text(Code::InvalidArgument, malformed));
    }
    let cancelled = member.maintenance.downgrade(request(DowngradeAction::Cancel, "")).await;
    assert_eq!(cancelled.unwrap().into_inner().version, "3.6");
    let status = member.status().await;
    assert_eq!(status.downgrade_info, Some(pb::DowngradeInfo::default()));
    cluster.stop().await;
}

/// The leader compacts by itself, and no other member does.
#[tokio::test]
async fn history_is_compacted_by_itself() {
    let flags = ["--auto-compaction-mode=periodic", "--auto-compaction-retention=1s"];
    let mut cluster = Cluster::start(3, &flags).await;
    let old = cluster.members[0].put("k", b"1").await.unwrap();
    cluster.members[0].put("k", b"2").await.unwrap();
    let compacted = async {
        while refused_or_read(&mut cluster, old).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, compacted).await.expect("compacted in time");
    cluster.stop().await;
}

/// Whether a revision can still be read on every member.
async fn refused_or_read(cluster: &mut Cluster, revision: i64) -> bool {
    for member in &mut cluster.members {
        let range = pb::RangeRequest { key: "k".into(), revision, ..Default::default() };
        if member.kv.range(range).await.is_err() {
            return false;
        }
    }
    true
}
