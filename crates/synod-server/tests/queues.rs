//! Locks and elections through etcd's services, over real sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod members;

use members::{Members, PATIENCE, get, prefix, put_on, refused};
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use synod_etcd::proto::v3electionpb as election;
use synod_etcd::proto::v3electionpb::election_client::ElectionClient;
use synod_etcd::proto::v3lockpb as lock;
use synod_etcd::proto::v3lockpb::lock_client::LockClient;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

async fn grant(members: &Members, id: i64, ttl: i64) {
    let request = pb::LeaseGrantRequest { id, ttl };
    LeaseClient::new(members.channel(0).await).lease_grant(request).await.unwrap();
}

fn lock_request(name: &str, lease: i64) -> lock::LockRequest {
    lock::LockRequest { name: name.to_owned().into(), lease }
}

async fn wait_for_keys(kv: &mut KvClient<Channel>, keys: &str, count: i64) {
    timeout(PATIENCE, async {
        while kv.range(prefix(keys)).await.unwrap().into_inner().count != count {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("so many keys in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_goes_from_one_to_the_next_with_a_higher_token() {
    let members = Members::start().await;
    for id in [100, 101, -26] {
        grant(&members, id, 600).await;
    }
    let mut kv = KvClient::new(members.channel(0).await);
    let mut first = LockClient::new(members.channel(0).await);
    let held = first.lock(lock_request("L", 100)).await.unwrap().into_inner();
    assert_eq!(held.key, "L/64", "the key that etcd's clients use");
    assert_eq!((held.header.unwrap().revision, held.fencing_token), (2, 2));
    let again = first.lock(lock_request("L", 100)).await.unwrap().into_inner();
    assert_eq!((again.key, again.fencing_token), (held.key.clone(), 2), "it has it already");

    let mut second = LockClient::new(members.channel(1).await);
    let waits = tokio::spawn(async move { second.lock(lock_request("L", -26)).await });
    wait_for_keys(&mut kv, "L/", 2).await;
    // One that goes away while it waits leaves no key behind.
    let mut third = LockClient::new(members.channel(2).await);
    let leaves = tokio::spawn(async move { third.lock(lock_request("L", 101)).await });
    wait_for_keys(&mut kv, "L/", 3).await;
    leaves.abort();
    let _ = leaves.await;
    wait_for_keys(&mut kv, "L/", 2).await;
    assert!(!waits.is_finished());

    first.unlock(lock::UnlockRequest { key: held.key }).await.unwrap();
    let held = timeout(PATIENCE, waits).await.expect("its turn in time");
    let held = held.unwrap().unwrap().into_inner();
    assert_eq!(held.key, "L/-1a");
    let key = kv.range(get("L/-1a")).await.unwrap().into_inner().kvs.remove(0);
    assert_eq!(held.fencing_token, key.create_revision);
    assert!(held.fencing_token > 2 && held.header.unwrap().revision > held.fencing_token);
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_while_its_place_is_being_taken_leaves_no_place_behind() {
    let members = Members::start().await;
    let mut holder = LockClient::new(members.channel(0).await);
    grant(&members, 1, 600).await;
    let held = holder.lock(lock_request("L", 1)).await.unwrap().into_inner();
    let there = members.channel(1).await;
    for goes in 2..100 {
        grant(&members, goes, 600).await;
        let mut goer = LockClient::new(there.clone());
        // Cut off at each moment between the request and the answer to its command.
        let asked = tokio::spawn(async move { goer.lock(lock_request("L", goes)).await });
        for _ in 0..goes {
            tokio::task::yield_now().await;
        }
        asked.abort();
        let _ = asked.await;
    }
    // The holder may ask again, and go, and holds it still.
    let again = tokio::spawn(async move { holder.lock(lock_request("L", 1)).await });
    tokio::task::yield_now().await;
    again.abort();
    let _ = again.await;
    grant(&members, 100, 600).await;
    let mut last = LockClient::new(there);
    let waits = tokio::spawn(async move { last.lock(lock_request("L", 100)).await });
    let mut kv = KvClient::new(members.channel(0).await);
    wait_for_keys(&mut kv, "L/", 2).await;
    assert!(!waits.is_finished());
    let mut releases = LockClient::new(members.channel(2).await);
    releases.unlock(lock::UnlockRequest { key: held.key }).await.unwrap();
    let held = timeout(PATIENCE, waits).await.expect("nobody stands before it");
    assert_eq!(held.unwrap().unwrap().into_inner().key, "L/64");
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_refused_in_etcds_words() {
    let members = Members::start().await;
    let mut locks = LockClient::new(members.channel(0).await);
    let not_found = (Code::Unknown, "etcdserver: requested lease not found".to_owned());
    assert_eq!(refused(locks.lock(lock_request("L", 555)).await), not_found);
    let no_key = (Code::Unknown, "etcdserver: key is not provided".to_owned());
    assert_eq!(refused(locks.unlock(lock::UnlockRequest::default()).await), no_key);
    let unlock = lock::UnlockRequest { key: "nothing".into() };
    assert_eq!(locks.unlock(unlock).await.unwrap().into_inner().header.unwrap().revision, 1);
    // Without a lease one is granted; nothing else is needed.
    let held = locks.lock(lock_request("", 0)).await.unwrap().into_inner();
    assert!(held.key.starts_with(b"/"));

    // The lease of one that waits ends before its turn.
    grant(&members, 7, 1).await;
    let expired = (Code::Unknown, "mutex: session is expired".to_owned());
    let waits = timeout(PATIENCE, locks.lock(lock_request("", 7))).await;
    assert_eq!(refused(waits.expect("refused in time")), expired);
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_office_is_held_proclaimed_observed_and_left() {
    let members = Members::start().await;
    grant(&members, 100, 600).await;
    grant(&members, 101, 600).await;
    let name = || bytes::Bytes::from("E");
    let mut here = ElectionClient::new(members.channel(0).await);
    let mut there = ElectionClient::new(members.channel(1).await);
    let asked = election::LeaderRequest { name: name() };
    let none = (Code::Unknown, "election: no leader".to_owned());
    assert_eq!(refused(here.leader(asked.clone()).await), none);
    let mut seen = there.observe(asked.clone()).await.unwrap().into_inner();

    let stand = move |lease, value: &str| election::CampaignRequest {
        name: name(),
        lease,
        value: value.to_owned().into(),
    };
    let won = here.campaign(stand(100, "a")).await.unwrap().into_inner();
    let leader = won.leader.unwrap();
    assert_eq!((&leader.key[..], leader.rev, leader.lease), (&b"E/64"[..], 2, 100));
    let mut next = async || {
        let next = timeout(PATIENCE, seen.message()).await.expect("told in time");
        next.unwrap().unwrap().kv.unwrap()
    };
    assert_eq!(next().await.value, "a");
    let again = here.campaign(stand(100, "b")).await.unwrap().into_inner();
    assert_eq!(again.header.unwrap().revision, 2, "of the first look, as etcd's");
    assert_eq!(next().await.value, "b");

    let waits = tokio::spawn(async move { there.campaign(stand(101, "c")).await });
    let mut kv = KvClient::new(members.channel(0).await);
    wait_for_keys(&mut kv, "E/", 2).await;
    let found = here.leader(asked).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((&found.key[..], &found.value[..]), (&b"E/64"[..], &b"b"[..]));

    let proclaim =
        |leader, value: &str| election::ProclaimRequest { leader, value: value.to_owned().into() };
    here.proclaim(proclaim(Some(leader.clone()), "d")).await.unwrap();
    assert_eq!(next().await.value, "d");
    let former = election::LeaderKey { rev: 1, ..leader.clone() };
    let not_leader = (Code::Unknown, "election: not leader".to_owned());
    assert_eq!(refused(here.proclaim(proclaim(Some(former.clone()), "x")).await), not_leader);
    let missing = (Code::Unknown, "\"leader\" field must be provided".to_owned());
    assert_eq!(refused(here.proclaim(proclaim(None, "x")).await), missing);
    assert_eq!(refused(here.resign(election::ResignRequest::default()).await), missing);
    here.resign(election::ResignRequest { leader: Some(former) }).await.unwrap();
    here.resign(election::ResignRequest { leader: Some(leader) }).await.unwrap();
    let won = timeout(PATIENCE, waits).await.expect("its turn in time");
    assert_eq!(won.unwrap().unwrap().into_inner().leader.unwrap().key, "E/65");
    assert_eq!(next().await.value, "c");
    drop(seen);
    kv.put(put_on("other", 100)).await.unwrap();
    members.shutdown().await;
}
