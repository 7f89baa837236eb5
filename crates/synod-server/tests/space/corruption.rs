//! A member that has applied something else than the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_server::ServerConfig;
use synod_transport::{
    Lane, Listening, PeerIdentity, Transport, TransportHandle, TransportOptions, Who,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::members::{Members, PATIENCE, ports};

/// In the place of a member: it answers frames as it is told, and is silent otherwise.
async fn impostor(
    configs: &[ServerConfig],
    at: usize,
    answer: impl Fn(&Bytes) -> Option<Bytes> + Send + Sync + 'static,
) -> Arc<TransportHandle> {
    let (this, address) = (&configs[at], |of: &ServerConfig| of.listen_peer_urls[0].address());
    let others = configs.iter().filter(|other| other.member_id != this.member_id);
    let who = Who {
        cluster: this.cluster_id,
        me: PeerIdentity { id: this.member_id, incarnation: 1 },
        peers: others.map(|other| (other.member_id, address(other))).collect(),
        about: Bytes::new(),
    };
    let listening = Listening::bind(&[address(this)]).await.unwrap();
    let (set, own) = watch::channel(None::<Arc<TransportHandle>>);
    let answered = move |from: PeerIdentity, frame: Bytes| {
        if let (Some(own), Some(frame)) = (&*own.borrow(), answer(&frame)) {
            own.send(from.id, Lane::Control, frame);
        }
    };
    let options = TransportOptions::default();
    let transport = Arc::new(Transport::start(who, options, listening, answered, |_| {}));
    set.send(Some(Arc::clone(&transport))).unwrap();
    transport
}

/// That a slot had this digest.
fn note(slot: u64, digest: u64) -> Bytes {
    [&[0, 3][..], &slot.to_le_bytes(), &digest.to_le_bytes()].concat().into()
}

/// etcd's check every `--experimental-corrupt-check-time`; here the check is all the time, and the
/// flag says that it is to be told by an alarm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_differs_raises_the_alarm_and_nothing_is_written_on() {
    let mut members = Members::start_with(&["--experimental-corrupt-check-time=1m"]).await;
    let channel = members.channel(0).await;
    let mut kv = KvClient::new(channel.clone());
    for _ in 0..300 {
        kv.put(put()).await.unwrap();
    }
    members.stop(2).await;
    let configs = members.configs.clone();
    let impostor = impostor(&configs, 2, |_| None).await;
    let corrupt = (configs[2].member_id, pb::AlarmType::Corrupt as i32);
    let alarmed = async {
        loop {
            for config in &configs[..2] {
                impostor.send(config.member_id, Lane::Control, note(256, 12_345));
            }
            let mut maintenance = MaintenanceClient::new(channel.clone());
            let asked = maintenance.alarm(pb::AlarmRequest::default());
            let alarms = asked.await.unwrap().into_inner().alarms;
            if alarms.iter().any(|alarm| (alarm.member_id, alarm.alarm) == corrupt) {
                return alarms.len();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(timeout(PATIENCE, alarmed).await.expect("an alarm in time"), 1);
    let refused = kv.put(put()).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: corrupt cluster");
    impostor.shutdown().await;
    members.shutdown().await;
}

fn put() -> pb::PutRequest {
    pb::PutRequest { key: "k".into(), ..Default::default() }
}

/// What is asked for the hash of a revision, answered with this one, or that there is none.
fn hash_of(question: &Bytes, hash: Option<u32>) -> Option<Bytes> {
    let revision = question.strip_prefix(&[0, 4])?;
    Some(match hash {
        Some(hash) => [&[0, 5], revision, &hash.to_le_bytes()].concat().into(),
        None => [&[0, 6], revision].concat().into(),
    })
}

/// Who answers has applied it.
async fn put_through_the_last(members: &Members) {
    let mut kv = KvClient::new(members.channel(2).await);
    let put = async { while kv.put(put()).await.is_err() {} };
    timeout(PATIENCE, put).await.expect("done in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_agree_at_their_start_serve_and_one_that_differs_never_does() {
    let mut members = Members::start_with(&["--feature-gates=InitialCorruptCheck=true"]).await;
    put_through_the_last(&members).await;
    for _ in 0..3 {
        members.stop(0).await;
    }
    let configs = members.configs.clone();
    for config in &configs {
        members.servers.push(ports::start(config.clone()).await);
    }
    put_through_the_last(&members).await;
    for _ in 0..3 {
        members.stop(0).await;
    }

    // Nobody answers before a client has asked; then the question comes again.
    let client_asked = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&client_asked);
    let answer =
        move |frame: &Bytes| hash_of(frame, Some(12_345)).filter(|_| told.load(Ordering::Acquire));
    let differs = impostor(&configs, 0, answer).await;
    let is_behind = impostor(&configs, 1, |frame| hash_of(frame, None)).await;
    let mut last = configs[2].clone();
    // Questions may be asked for longer than that.
    last.election_timeout = PATIENCE;
    let mut server = ports::start(last).await;
    let mut client = TcpStream::connect(server.client_addresses()[0]).await.unwrap();
    client.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    client_asked.store(true, Ordering::Release);
    let reason = timeout(PATIENCE, server.failed()).await.expect("compared in time").to_string();
    let words = "found data inconsistency with peers: m0 differ at revision";
    assert!(reason.contains(words), "{reason}");
    timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut answer)).await.expect("ended in time");
    assert!(answer.is_empty(), "nobody was served");
    for impostor in [differs, is_behind] {
        impostor.shutdown().await;
    }
}
