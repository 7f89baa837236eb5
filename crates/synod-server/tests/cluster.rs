//! Three members in this process, on loopback, asked by etcd's generated client.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "members/ports.rs"]
mod ports;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::cluster_client::ClusterClient;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_server::{Server, ServerConfig, ServerFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Long enough for any machine; only a hang waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

/// The configurations of three members, their folders below `dir`.
fn configs(dir: &Path) -> Vec<ServerConfig> {
    // Held together, so that all ports differ; free again when the members start.
    let held = ports::held(3);
    let urls: Vec<String> =
        held.iter().map(|socket| format!("http://{}", socket.local_addr().unwrap())).collect();
    let cluster: Vec<String> = (0..3).map(|i| format!("m{i}={}", urls[i])).collect();
    let config = |i: usize| {
        let args = [
            "synod".to_owned(),
            format!("--name=m{i}"),
            format!("--data-dir={}", dir.join(format!("m{i}")).display()),
            "--listen-client-urls=http://127.0.0.1:0".to_owned(),
            format!("--advertise-client-urls=http://m{i}.example:2379"),
            format!("--listen-peer-urls={}", urls[i]),
            format!("--initial-advertise-peer-urls={}", urls[i]),
            format!("--initial-cluster={}", cluster.join(",")),
            "--heartbeat-interval=100".to_owned(),
            "--election-timeout=5000".to_owned(),
        ];
        Line::try_parse_from(args).ok().unwrap().flags.check().unwrap()
    };
    (0..3).map(config).collect()
}

async fn start(configs: &[ServerConfig]) -> Vec<Server> {
    let mut servers = Vec::new();
    for config in configs {
        servers.push(ports::start(config.clone()).await);
    }
    for server in &servers {
        timeout(PATIENCE, server.ready()).await.expect("a leader in time");
    }
    servers
}

fn address(server: &Server) -> SocketAddr {
    server.client_addresses()[0]
}

async fn channel(server: &Server) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", address(server))).unwrap();
    endpoint.connect().await.unwrap()
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("refused");
    (status.code(), status.message().to_owned())
}

/// What the port answers to these bytes, until it closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is a way to close, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn http(address: SocketAddr, path: &str) -> String {
    raw(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await
}

async fn shutdown(servers: Vec<Server>) {
    for server in servers {
        timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_serves_reads_and_writes() {
    let temp = tempfile::tempdir().unwrap();
    let configs = configs(temp.path());
    let servers = start(&configs).await;
    let mut revision = 1;
    for (i, server) in servers.iter().enumerate() {
        let mut kv = KvClient::new(channel(server).await);
        let value = format!("by {i}");
        let answer = kv.put(put("key", &value)).await.unwrap().into_inner();
        revision += 1;
        let header = answer.header.unwrap();
        assert_eq!(header.cluster_id, configs[i].cluster_id);
        assert_eq!(header.member_id, configs[i].member_id);
        assert_eq!(header.revision, revision);
        assert!(header.raft_term > 0);
        for reader in &servers {
            let mut reader = KvClient::new(channel(reader).await);
            let answer = reader.range(get("key")).await.unwrap().into_inner();
            assert_eq!((answer.count, &answer.kvs[0].value[..]), (1, value.as_bytes()));
            assert_eq!(answer.kvs[0].mod_revision, revision);
        }
    }

    let mut kv = KvClient::new(channel(&servers[1]).await);
    use pb::request_op::Request::{RequestPut, RequestRange};
    let txn = pb::TxnRequest {
        success: vec![op(RequestPut(put("other", "1"))), op(RequestRange(get("other")))],
        ..Default::default()
    };
    let answer = kv.txn(txn).await.unwrap().into_inner();
    assert!(answer.succeeded);
    assert_eq!(answer.responses.len(), 2);
    let read_only =
        pb::TxnRequest { success: vec![op(RequestRange(get("other")))], ..Default::default() };
    let answer = kv.txn(read_only).await.unwrap().into_inner();
    assert_eq!(answer.header.unwrap().revision, revision + 1, "a read makes no revision");

    let delete = pb::DeleteRangeRequest { key: "other".into(), ..Default::default() };
    assert_eq!(kv.delete_range(delete).await.unwrap().into_inner().deleted, 1);
    let compaction = pb::CompactionRequest { revision, physical: true };
    kv.compact(compaction).await.unwrap();
    let compacted = kv.range(pb::RangeRequest { revision: revision - 1, ..get("key") }).await;
    let text = "etcdserver: mvcc: required revision has been compacted";
    assert_eq!(refused(compacted), (Code::OutOfRange, text.to_owned()));
    shutdown(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_is_there_after_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let configs = configs(temp.path());
    let servers = start(&configs).await;
    let mut kv = KvClient::new(channel(&servers[0]).await);
    let first = kv.put(put("key", "kept")).await.unwrap().into_inner().header.unwrap();
    drop(kv);
    shutdown(servers).await;

    let servers = start(&configs).await;
    let mut kv = KvClient::new(channel(&servers[2]).await);
    let answer = kv.range(get("key")).await.unwrap().into_inner();
    assert_eq!(&answer.kvs[0].value[..], b"kept");
    let header = answer.header.unwrap();
    assert_eq!(header.revision, first.revision);
    assert!(header.raft_term >= first.raft_term, "the round never goes down");
    shutdown(servers).await;

    let log = temp.path().join("m0/member/wal");
    std::fs::rename(&log, temp.path().join("elsewhere")).unwrap();
    let error = Server::start(configs[0].clone()).await.unwrap_err().to_string();
    assert!(error.contains("has lost its log"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over_and_writes_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let configs = configs(temp.path());
    let mut servers = start(&configs).await;
    let status =
        MaintenanceClient::new(channel(&servers[0]).await).status(pb::StatusRequest {}).await;
    let leader = status.unwrap().into_inner().leader;
    let at = configs.iter().position(|config| config.member_id == leader).unwrap();
    let stopping = servers.remove(at);
    let mut kv = KvClient::new(channel(&servers[0]).await);
    kv.put(put("before", "1")).await.unwrap();
    let (stopped, during) =
        tokio::join!(timeout(PATIENCE, stopping.shutdown()), kv.put(put("during", "1")));
    stopped.unwrap();
    during.unwrap();
    kv.put(put("after", "1")).await.unwrap();

    let mut status = MaintenanceClient::new(channel(&servers[0]).await);
    let status = status.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_ne!(status.leader, leader);
    shutdown(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_status_are_told() {
    let temp = tempfile::tempdir().unwrap();
    let configs = configs(temp.path());
    let servers = start(&configs).await;
    let channel = channel(&servers[0]).await;
    let list = pb::MemberListRequest { linearizable: true };
    let list = ClusterClient::new(channel.clone()).member_list(list).await.unwrap().into_inner();
    assert_eq!(list.header.unwrap().revision, 0, "as etcd's");
    for (member, config) in list.members.iter().zip(&configs[0].members) {
        assert_eq!((member.id, &member.name), (config.id, &config.name));
        assert_eq!(member.client_ur_ls, [format!("http://{}.example:2379", config.name)]);
        assert_eq!(member.peer_ur_ls, [config.peer_urls[0].to_string()]);
    }
    assert_eq!(list.members.len(), 3);

    let mut maintenance = MaintenanceClient::new(channel);
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert!(status.version.starts_with("3.6."), "{}", status.version);
    assert!(status.leader != 0 && status.db_size > 0 && status.raft_term > 0);
    assert!(status.raft_applied_index <= status.raft_index);
    assert!(status.errors.is_empty());
    shutdown(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_in_etcds_words() {
    let temp = tempfile::tempdir().unwrap();
    let servers = start(&configs(temp.path())).await;
    let mut kv = KvClient::new(channel(&servers[0]).await);
    let value = |bytes: usize| "x".repeat(bytes);
    let too_large = kv.put(put("key", &value(1600 * 1024))).await;
    let text = "etcdserver: request is too large";
    assert_eq!(refused(too_large), (Code::InvalidArgument, text.to_owned()));
    let (code, text) = refused(kv.put(put("key", &value(2 << 20))).await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(text.starts_with("grpc: received message larger than max (2097"), "{text}");
    assert!(text.ends_with(" vs. 2097152)"), "{text}");

    let ops = (0..129).map(|i| op(pb::request_op::Request::RequestPut(put(&i.to_string(), ""))));
    let txn = pb::TxnRequest { success: ops.collect(), ..Default::default() };
    let text = "etcdserver: too many operations in txn request";
    assert_eq!(refused(kv.txn(txn).await), (Code::InvalidArgument, text.to_owned()));
    let text = "etcdserver: key is not provided";
    assert_eq!(refused(kv.put(put("", "")).await), (Code::InvalidArgument, text.to_owned()));
    let text = "etcdserver: mvcc: required revision is a future revision";
    let future = kv.range(pb::RangeRequest { revision: 1000, ..get("key") }).await;
    assert_eq!(refused(future), (Code::OutOfRange, text.to_owned()));
    kv.put(put("key", "still here")).await.unwrap();
    shutdown(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_others_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = configs(temp.path())[0].clone();
    config.election_timeout = Duration::from_millis(500);
    let alone = ports::start(config).await;
    let at = address(&alone);
    let answer = http(at, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains(r#"{"health":"false","reason":"RAFT NO LEADER"}"#), "{answer}");
    let mut kv = KvClient::new(channel(&alone).await);
    let mut request = Request::new(get("key"));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let text = "etcdserver: no leader";
    assert_eq!(refused(kv.range(request).await), (Code::Unavailable, text.to_owned()));
    let local = pb::RangeRequest { serializable: true, ..get("key") };
    let found = timeout(PATIENCE, kv.range(local)).await.expect("no longer wait than it is worth");
    assert_eq!(found.unwrap().into_inner().count, 0);
    drop(kv);
    shutdown(vec![alone]).await;
}

/// As etcd's `TestCtlV3SerializableRead`: a member that is started again tells no less than before,
/// though it is asked for no more than what it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_catches_up_before_it_reads() {
    let temp = tempfile::tempdir().unwrap();
    let configs = configs(temp.path());
    let mut servers = start(&configs).await;
    let away = servers.pop().unwrap();
    shutdown(vec![away]).await;
    let mut kv = KvClient::new(channel(&servers[0]).await);
    kv.put(put("key", "written meanwhile")).await.unwrap();

    let back = ports::start(configs[2].clone()).await;
    let local = pb::RangeRequest { serializable: true, ..get("key") };
    let mut its_kv = KvClient::new(channel(&back).await);
    let found = timeout(PATIENCE, its_kv.range(local)).await.expect("it catches up in time");
    assert_eq!(found.unwrap().into_inner().count, 1);
    servers.push(back);
    shutdown(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_served_beside_grpc() {
    let temp = tempfile::tempdir().unwrap();
    let configs = configs(temp.path());
    let servers = start(&configs).await;
    let at = address(&servers[0]);
    KvClient::new(channel(&servers[0]).await).put(put("key", "1")).await.unwrap();

    let health = http(at, "/health").await;
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
    assert!(health.ends_with(r#"{"health":"true","reason":""}"#), "{health}");
    let version = http(at, "/version").await;
    assert!(version.contains("\r\n\r\n{\"etcdserver\":\"3.6."), "{version}");
    let metrics = http(at, "/metrics").await;
    for line in [
        "\netcd_server_has_leader 1\n",
        "\netcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} ",
        "\netcd_disk_backend_commit_duration_seconds_count ",
        "\netcd_mvcc_db_total_size_in_bytes ",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",\
         grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1\n",
        "\nsynod_peer_connected{to=",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in {metrics}");
    }
    assert!(http(at, "/nothing").await.starts_with("HTTP/1.1 404 "));
    let post = raw(at, b"POST /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    raw(at, &[0xff; 100]).await;
    assert!(http(at, "/health").await.starts_with("HTTP/1.1 200 "));

    let taken = synod_server::Url::parse(&format!("http://{at}")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut config = self::configs(other.path())[0].clone();
    config.listen_client_urls = vec![taken];
    let error = Server::start(config).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen for clients on http://{at}: ")), "{error}");
    let error = Server::start(configs[0].clone()).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot listen for peers on "), "{error}");
    shutdown(servers).await;
}
