//! Leases through etcd's service, over real sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod members;

use members::{Members, PATIENCE, get, prefix, put_on, refused};
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

async fn grant(lease: &mut LeaseClient<Channel>, id: i64, ttl: i64) -> i64 {
    let request = pb::LeaseGrantRequest { id, ttl };
    lease.lease_grant(request).await.unwrap().into_inner().id
}

async fn time_to_live(lease: &mut LeaseClient<Channel>, id: i64) -> pb::LeaseTimeToLiveResponse {
    let request = pb::LeaseTimeToLiveRequest { id, keys: true };
    lease.lease_time_to_live(request).await.unwrap().into_inner()
}

async fn leases(lease: &mut LeaseClient<Channel>) -> Vec<i64> {
    let list = lease.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    list.leases.iter().map(|lease| lease.id).collect()
}

/// A stream of renewals, from both ends.
struct KeepAlive {
    requests: mpsc::Sender<pb::LeaseKeepAliveRequest>,
    answers: Streaming<pb::LeaseKeepAliveResponse>,
}

impl KeepAlive {
    async fn open(lease: &mut LeaseClient<Channel>) -> Self {
        let (requests, stream) = mpsc::channel(4096);
        let answers = lease.lease_keep_alive(ReceiverStream::new(stream)).await.unwrap();
        Self { requests, answers: answers.into_inner() }
    }

    async fn ask(&self, id: i64) {
        self.requests.send(pb::LeaseKeepAliveRequest { id }).await.unwrap();
    }

    async fn answer(&mut self) -> (i64, i64) {
        let answer = timeout(PATIENCE, self.answers.message()).await.expect("an answer in time");
        let answer = answer.unwrap().unwrap();
        (answer.id, answer.ttl)
    }
}

/// Waits until no key begins so; the revision of the answer that says it.
async fn wait_until_gone(kv: &mut KvClient<Channel>, keys: &str) -> i64 {
    timeout(PATIENCE, async {
        loop {
            let answer = kv.range(prefix(keys)).await.unwrap().into_inner();
            if answer.count == 0 {
                return answer.header.unwrap().revision;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("gone in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_known_to_every_member() {
    let members = Members::start().await;
    let mut clients = Vec::new();
    for at in 0..3 {
        clients.push(LeaseClient::new(members.channel(at).await));
    }
    let chosen = grant(&mut clients[0], 0, 60).await;
    assert!(chosen > 0);
    assert_eq!(grant(&mut clients[1], -5, 70).await, -5, "etcd grants negative ids");
    assert_eq!(grant(&mut clients[2], i64::MIN, 80).await, i64::MIN);
    let mut kv = KvClient::new(members.channel(1).await);
    kv.put(put_on("b", -5)).await.unwrap();
    kv.put(put_on("a", -5)).await.unwrap();
    for (client, config) in clients.iter_mut().zip(&members.configs) {
        assert_eq!(leases(client).await, [chosen, -5, i64::MIN], "those due first before others");
        let found = time_to_live(client, -5).await;
        assert_eq!((found.id, found.granted_ttl), (-5, 70));
        assert!((60..70).contains(&found.ttl), "{found:?}");
        assert_eq!(found.keys, ["a", "b"]);
        let header = found.header.unwrap();
        assert_eq!((header.member_id, header.revision), (config.member_id, 3));
    }
    let revoke = pb::LeaseRevokeRequest { id: -5 };
    let revoked = clients[2].lease_revoke(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.header.unwrap().revision, 4, "its keys go in one revision");
    assert_eq!(kv.range(get("a")).await.unwrap().into_inner().count, 0);
    assert_eq!(leases(&mut clients[0]).await, [chosen, i64::MIN]);
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_leases_are_refused_in_etcds_words() {
    let members = Members::start().await;
    let mut lease = LeaseClient::new(members.channel(0).await);
    let mut grant = async |id, ttl| {
        let answer = lease.lease_grant(pb::LeaseGrantRequest { id, ttl }).await;
        answer.map(|answer| (answer.get_ref().id, answer.get_ref().ttl))
    };
    for ttl in [i64::MIN, -1, 0, 1] {
        let id = ttl.saturating_add(100);
        assert_eq!(grant(id, ttl).await.unwrap(), (id, 1), "raised to 1.5 election timeouts");
    }
    let exists = "etcdserver: lease already exists".to_owned();
    assert_eq!(refused(grant(100, 5).await), (Code::FailedPrecondition, exists));
    assert_eq!(grant(200, 9_000_000_000).await.unwrap(), (200, 9_000_000_000));
    for ttl in [9_000_000_001, i64::MAX] {
        let too_large = "etcdserver: too large lease TTL".to_owned();
        assert_eq!(refused(grant(300, ttl).await), (Code::OutOfRange, too_large));
    }
    let not_found = (Code::NotFound, "etcdserver: requested lease not found".to_owned());
    for id in [0, 300, -300] {
        let revoke = lease.lease_revoke(pb::LeaseRevokeRequest { id }).await;
        assert_eq!(refused(revoke), not_found);
        let found = time_to_live(&mut lease, id).await;
        assert_eq!((found.id, found.ttl, found.granted_ttl), (id, -1, 0));
        assert!(found.keys.is_empty() && found.header.unwrap().revision > 0);
    }
    let mut kv = KvClient::new(members.channel(1).await);
    assert_eq!(refused(kv.put(put_on("a", 300)).await), not_found);
    members.shutdown().await;
}

/// A renewal that comes too late is answered with 0 (etcd 3.5.23 renewed revoked leases), and so is
/// one of a lease that never was; the stream goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_renews_many_leases_and_tells_which_are_gone() {
    let members = Members::start().await;
    let mut lease = LeaseClient::new(members.channel(2).await);
    let mut alive = KeepAlive::open(&mut lease).await;
    alive.ask(404).await;
    assert_eq!(alive.answer().await, (404, 0));
    for id in 1..=1000 {
        grant(&mut lease, id, 1000 + id).await;
    }
    lease.lease_revoke(pb::LeaseRevokeRequest { id: 500 }).await.unwrap();
    for id in 1..=1000 {
        alive.ask(id).await;
    }
    for id in 1..=1000 {
        let ttl = if id == 500 { 0 } else { 1000 + id };
        assert_eq!(alive.answer().await, (id, ttl), "in the order of the requests");
    }
    drop(alive.requests);
    let end = timeout(PATIENCE, alive.answers.message()).await.expect("an end in time");
    assert!(end.unwrap().is_none(), "the stream ends when the client's does");
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_nobody_renews_takes_its_keys_in_one_revision() {
    let members = Members::start().await;
    let mut lease = LeaseClient::new(members.channel(0).await);
    let mut kv = KvClient::new(members.channel(1).await);
    grant(&mut lease, 1, 1).await;
    grant(&mut lease, 2, 1000).await;
    for key in ["one/a", "one/b", "one/c"] {
        kv.put(put_on(key, 1)).await.unwrap();
    }
    kv.put(put_on("two/a", 2)).await.unwrap();
    assert_eq!(wait_until_gone(&mut kv, "one/").await, 6);
    assert_eq!(leases(&mut lease).await, [2]);
    assert_eq!(kv.range(get("two/a")).await.unwrap().into_inner().count, 1);
    // With nothing else to do, the next one is found as well.
    grant(&mut lease, 3, 1).await;
    kv.put(put_on("three/a", 3)).await.unwrap();
    assert_eq!(wait_until_gone(&mut kv, "three/").await, 8);
    members.shutdown().await;
}

/// etcd #9395, #13294: a change of leader gave every lease its whole TTL again. #15247: a leader
/// that was gone and came back revoked them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_go_on_through_a_change_of_leader() {
    let mut members = Members::start().await;
    let leader = members.leader().await;
    let other = (leader + 1) % 3;
    let mut lease = LeaseClient::new(members.channel(other).await);
    let mut kv = KvClient::new(members.channel(other).await);
    grant(&mut lease, 1, 2).await;
    grant(&mut lease, 2, 1000).await;
    kv.put(put_on("one/a", 1)).await.unwrap();
    kv.put(put_on("two/a", 2)).await.unwrap();
    members.stop(leader).await;
    wait_until_gone(&mut kv, "one/").await;
    let found = time_to_live(&mut lease, 2).await;
    assert!(found.ttl < 999, "two seconds have passed: {found:?}");
    assert_eq!(found.keys, ["two/a"]);
    let mut alive = KeepAlive::open(&mut lease).await;
    alive.ask(1).await;
    alive.ask(2).await;
    assert_eq!(alive.answer().await, (1, 0));
    assert_eq!(alive.answer().await, (2, 1000));
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_counted() {
    let members = Members::start().await;
    let at = members.leader().await;
    let mut lease = LeaseClient::new(members.channel(at).await);
    let mut kv = KvClient::new(members.channel(at).await);
    for (id, ttl) in [(1, 1), (2, 60), (3, 600)] {
        grant(&mut lease, id, ttl).await;
        kv.put(put_on(&format!("{id}/"), id)).await.unwrap();
    }
    let mut alive = KeepAlive::open(&mut lease).await;
    alive.ask(2).await;
    alive.answer().await;
    lease.lease_revoke(pb::LeaseRevokeRequest { id: 3 }).await.unwrap();
    wait_until_gone(&mut kv, "1/").await;

    let address = members.servers[at].client_addresses()[0];
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    for line in [
        "etcd_debugging_lease_granted_total 3",
        "etcd_debugging_lease_revoked_total 1",
        "etcd_debugging_lease_renewed_total 1",
        "etcd_debugging_server_lease_expired_total 1",
        "etcd_debugging_lease_ttl_total_bucket{le=\"64\"} 2",
        "etcd_debugging_lease_ttl_total_bucket{le=\"+Inf\"} 3",
        "etcd_debugging_lease_ttl_total_sum 661",
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "{line:?} is not in {page}");
    }
    members.shutdown().await;
}
