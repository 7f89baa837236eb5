//! The quota and its alarms, and what goes on while they stand.

use std::os::unix::fs::MetadataExt;

use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::alarm_request::AlarmAction;
use tonic::Code;

use super::cluster::{Cluster, Member, no_space, refused, text};

const KIB: usize = 1024;

/// Puts keys until one is refused for want of space.
async fn fill(member: &mut Member) {
    for at in 0..10_000 {
        if let Err(status) = member.put(&format!("fill/{at:05}"), &[b'x'; 4 * KIB]).await {
            assert_eq!(refused::<()>(Err(status)), no_space());
            return;
        }
    }
    panic!("the quota lets everything in");
}

/// users.md row 1, faults.md §2 (43): the quota is used up; reads and deletes go on; deleting and
/// compacting is all there is to do, and members that were full take data again by themselves.
#[tokio::test]
async fn a_full_cluster_frees_itself_by_deleting_and_compacting() {
    let mut cluster = Cluster::start(3, &["--quota-backend-bytes=200000"]).await;
    let [one, other, _] = &mut cluster.members[..] else { panic!("three members") };
    fill(one).await;
    let alarms = other.alarms_come_to(1).await;
    assert_eq!(alarms[0].1, pb::AlarmType::Nospace);
    // The member that refused has raised it; now nobody takes more, also what would fit.
    assert_eq!(refused(other.put("small", b"").await), no_space());
    let put = pb::PutRequest { key: "a".into(), ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: "fill/00000".into(), ..Default::default() };
    let op = |request| pb::RequestOp { request: Some(request) };
    let success = vec![
        op(pb::request_op::Request::RequestDeleteRange(delete)),
        op(pb::request_op::Request::RequestPut(put)),
    ];
    let before = one.count().await.unwrap();
    let txn = pb::TxnRequest { success, ..Default::default() };
    assert_eq!(refused(other.kv.txn(txn).await), no_space());
    assert_eq!(other.count().await.unwrap(), before, "a refused transaction does nothing");
    let status = other.status().await;
    let expected = format!("memberID:{} alarm:NOSPACE ", alarms[0].0);
    assert_eq!((status.db_size_quota, status.errors), (200_000, vec![expected]));

    let revision = other.delete_from("fill/00010").await.unwrap();
    assert_eq!(refused(other.put("small", b"").await), no_space(), "history takes space");
    other.compact(revision, false).await.unwrap();
    other.alarms_come_to(0).await;
    one.put("small", b"").await.unwrap();
    assert!(one.status().await.errors.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_disarmed_by_hand_is_raised_again_by_the_next_refusal() {
    let mut cluster = Cluster::start(1, &["--quota-backend-bytes=100000"]).await;
    let member = &mut cluster.members[0];
    fill(member).await;
    let [(id, kind)] = member.alarms_come_to(1).await[..] else { panic!("one alarm") };
    assert_eq!(member.alarm(AlarmAction::Deactivate, id, kind).await.unwrap(), [(id, kind)]);
    let again = member.alarm(AlarmAction::Deactivate, id, kind).await.unwrap();
    assert!(again.is_empty() || again == [(id, kind)], "{again:?}");
    fill(member).await;
    assert_eq!(member.alarms_come_to(1).await, [(id, kind)]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_negative_quota_is_none() {
    let mut cluster = Cluster::start(1, &["--quota-backend-bytes=-1"]).await;
    let member = &mut cluster.members[0];
    member.put("k", &[b'x'; 1000 * KIB]).await.unwrap();
    assert_eq!(member.status().await.db_size_quota, -1);
    cluster.stop().await;
}

/// An alarm that somebody raised stands until somebody disarms it.
#[tokio::test]
async fn alarms_raised_by_hand_stand_on_every_member() {
    let mut cluster = Cluster::start(3, &[]).await;
    let [one, other, _] = &mut cluster.members[..] else { panic!("three members") };
    let corrupt = pb::AlarmType::Corrupt;
    let raised = one.alarm(AlarmAction::Activate, 7, corrupt).await.unwrap();
    assert_eq!(raised, [(7, corrupt)]);
    let corrupt_cluster = text(Code::DataLoss, "etcdserver: corrupt cluster");
    assert_eq!(refused(other.put("k", b"v").await), corrupt_cluster);
    assert_eq!(refused(other.delete_from("a").await), corrupt_cluster);
    assert_eq!(refused(other.compact(1, false).await), corrupt_cluster);
    assert_eq!(other.count().await.unwrap(), 0, "reads go on");
    assert_eq!(other.alarm(AlarmAction::Get, 0, pb::AlarmType::Nospace).await.unwrap(), []);
    assert_eq!(other.alarm(AlarmAction::Get, 0, corrupt).await.unwrap(), [(7, corrupt)]);
    assert_eq!(other.alarm(AlarmAction::Deactivate, 8, corrupt).await.unwrap(), []);
    assert_eq!(other.alarm(AlarmAction::Activate, 7, pb::AlarmType::None).await.unwrap(), []);
    other.alarm(AlarmAction::Deactivate, 7, corrupt).await.unwrap();
    one.put("k", b"v").await.unwrap();
    cluster.stop().await;
}

/// A retry of a compaction at the same place is refused as in etcd, and `physical` waits until
/// the rows are gone. The file does not grow with the number of rounds.
#[tokio::test]
async fn the_file_is_bounded_when_history_is_compacted() {
    let mut cluster = Cluster::start(1, &["--compaction-batch-limit=10000"]).await;
    let file = cluster.folder.path().join("m0/member/store.redb");
    let member = &mut cluster.members[0];
    let mut sizes = Vec::new();
    for _ in 0..12 {
        let mut revision = 0;
        for at in 0..50 {
            revision = member.put(&format!("k{}", at % 5), &[b'x'; 20 * KIB]).await.unwrap();
        }
        member.compact(revision, true).await.unwrap();
        let again = refused(member.compact(revision, true).await);
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(again, text(Code::OutOfRange, compacted));
        sizes.push(file.metadata().unwrap().size());
    }
    // A round writes a megabyte; without reuse the file would have grown by it each time.
    let (early, last) = (sizes[3], sizes[11]);
    assert!(last <= early * 3 / 2, "{sizes:?}");
    cluster.stop().await;
}
