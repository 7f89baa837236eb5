//! A member that has applied something else than the others.

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_server::{Server, ServerConfig, ServerFlags};
use synod_transport::{
    Lane, Listening, PeerIdentity, Transport, TransportHandle, TransportOptions, Who,
};
use tokio::time::timeout;
use tonic::transport::Channel;

use super::cluster::PATIENCE;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

fn configs(folder: &std::path::Path) -> Vec<ServerConfig> {
    let held: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let urls: Vec<String> =
        held.iter().map(|socket| format!("http://{}", socket.local_addr().unwrap())).collect();
    let cluster: Vec<String> = (0..3).map(|i| format!("m{i}={}", urls[i])).collect();
    let config = |i: usize| {
        let args = [
            "synod".to_owned(),
            format!("--name=m{i}"),
            format!("--data-dir={}", folder.join(format!("m{i}")).display()),
            "--listen-client-urls=http://127.0.0.1:0".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            format!("--listen-peer-urls={}", urls[i]),
            format!("--initial-advertise-peer-urls={}", urls[i]),
            format!("--initial-cluster={}", cluster.join(",")),
            "--experimental-corrupt-check-time=1m".to_owned(),
        ];
        Line::try_parse_from(args).ok().unwrap().flags.check().unwrap()
    };
    (0..3).map(config).collect()
}

/// In the place of the last member: only what it says of its digests is said.
async fn impostor(configs: &[ServerConfig]) -> TransportHandle {
    let [others @ .., this] = configs else { panic!("there are three") };
    let address = |config: &ServerConfig| config.listen_peer_urls[0].address();
    let who = Who {
        cluster: this.cluster_id,
        me: PeerIdentity { id: this.member_id, incarnation: 1 },
        peers: others.iter().map(|other| (other.member_id, address(other))).collect(),
        about: Bytes::new(),
    };
    let listening = Listening::bind(&[address(this)]).await.unwrap();
    Transport::start(who, TransportOptions::default(), listening, |_, _| {}, |_| {})
}

/// That a slot had this digest.
fn note(slot: u64, digest: u64) -> Bytes {
    [&[0, 3][..], &slot.to_le_bytes(), &digest.to_le_bytes()].concat().into()
}

/// etcd's check every `--experimental-corrupt-check-time`; here the check is all the time, and the
/// flag says that it is to be told by an alarm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_differs_raises_the_alarm_and_nothing_is_written_on() {
    let temp = tempfile::tempdir().unwrap();
    let configs = configs(temp.path());
    let mut servers = Vec::new();
    for config in &configs {
        servers.push(Server::start(config.clone()).await.unwrap());
    }
    for server in &servers {
        timeout(PATIENCE, server.ready()).await.expect("a leader in time");
    }
    let url = format!("http://{}", servers[0].client_addresses()[0]);
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut kv = KvClient::new(channel.clone());
    let put = || pb::PutRequest { key: "k".into(), ..Default::default() };
    for _ in 0..300 {
        kv.put(put()).await.unwrap();
    }
    let last = servers.pop().unwrap();
    timeout(PATIENCE, last.shutdown()).await.expect("stopped in time");
    let impostor = impostor(&configs).await;
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
    for server in servers {
        timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
    }
}
