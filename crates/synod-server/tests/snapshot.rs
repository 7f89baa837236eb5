//! Snapshots over real servers: taken under load, and restored to a cluster of their own.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "members/ports.rs"]
mod ports;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_kv::Restore;
use synod_server::{RestoredMember, Server, ServerConfig, ServerFlags, snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

/// Long enough for any machine; only a hang waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

/// Three members that do not run yet.
struct Members {
    folder: PathBuf,
    urls: Vec<String>,
    cluster: String,
}

impl Members {
    fn new(folder: &Path) -> Self {
        // Held together, so that all ports differ; free again when the members start.
        let held = ports::held(3);
        let urls: Vec<String> =
            held.iter().map(|socket| format!("http://{}", socket.local_addr().unwrap())).collect();
        let cluster: Vec<String> = (0..3).map(|i| format!("m{i}={}", urls[i])).collect();
        Self { folder: folder.to_owned(), urls, cluster: cluster.join(",") }
    }

    fn data_dir(&self, i: usize) -> PathBuf {
        self.folder.join(format!("m{i}"))
    }

    fn config(&self, i: usize) -> ServerConfig {
        // Little, so that a member that is away for a moment lags too far.
        ServerConfig { log_keep_bytes: 256 << 10, ..self.usual_config(i) }
    }

    fn usual_config(&self, i: usize) -> ServerConfig {
        let args = [
            "synod".to_owned(),
            format!("--name=m{i}"),
            format!("--data-dir={}", self.data_dir(i).display()),
            "--listen-client-urls=http://127.0.0.1:0".to_owned(),
            format!("--advertise-client-urls=http://m{i}.example:2379"),
            format!("--listen-peer-urls={}", self.urls[i]),
            format!("--initial-advertise-peer-urls={}", self.urls[i]),
            format!("--initial-cluster={}", self.cluster),
            "--heartbeat-interval=100".to_owned(),
            "--election-timeout=5000".to_owned(),
        ];
        Line::try_parse_from(args).ok().unwrap().flags.check().unwrap()
    }

    async fn start(&self) -> Vec<Server> {
        let mut servers = Vec::new();
        for i in 0..3 {
            servers.push(ports::start(self.config(i)).await);
        }
        for server in &servers {
            timeout(PATIENCE, server.ready()).await.expect("a leader in time");
        }
        servers
    }

    fn restored(&self, i: usize) -> RestoredMember {
        RestoredMember {
            name: format!("m{i}"),
            initial_cluster: self.cluster.clone(),
            initial_cluster_token: "etcd-cluster".to_owned(),
            initial_advertise_peer_urls: self.urls[i].clone(),
        }
    }

    fn restore(&self, i: usize, file: &Path, bump_revision: u64) {
        let how = Restore { bump_revision };
        let (member, folder) = (self.restored(i), self.data_dir(i));
        snapshot::restore(file, &member, &folder, how, false).unwrap();
    }
}

async fn channel(server: &Server) -> Channel {
    let address = server.client_addresses()[0];
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn stop(servers: Vec<Server>) {
    for server in servers {
        server.shutdown().await;
    }
}

fn put(key: String, value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn all(revision: i64) -> pb::RangeRequest {
    pb::RangeRequest { key: "key".into(), range_end: "kez".into(), revision, ..Default::default() }
}

/// Saves a snapshot as a client does.
async fn save(channel: &Channel, file: &Path) {
    let mut client = MaintenanceClient::new(channel.clone());
    let mut stream = client.snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let (mut saved, mut remaining) = (Vec::new(), Vec::new());
    while let Some(chunk) = stream.message().await.unwrap() {
        saved.extend_from_slice(&chunk.blob);
        remaining.push(chunk.remaining_bytes);
        assert_eq!(chunk.version, "3.6.0");
    }
    let content = saved.len() - 32;
    let first = u64::try_from(content.saturating_sub(128 << 10)).unwrap();
    assert_eq!(remaining[0], first, "as etcd counts: the hash is not among them");
    assert!(remaining.is_sorted_by(|a, b| a >= b) && remaining.ends_with(&[0, 0]));
    std::fs::write(file, saved).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_load_is_a_cluster_again() {
    let temp = tempfile::tempdir().unwrap();
    let (file, old) = (temp.path().join("snapshot"), Members::new(&temp.path().join("old")));
    let servers = old.start().await;
    let channel = channel(&servers[0]).await;
    let mut kv = KvClient::new(channel.clone());
    for i in 0..50 {
        kv.put(put(format!("key{i:02}"), vec![b'x'; 20_000])).await.unwrap();
    }
    let before = kv.range(all(0)).await.unwrap().into_inner();
    // Writes that go on meanwhile: in the snapshot or not, but whole.
    let writer = {
        let mut kv = kv.clone();
        tokio::spawn(async move {
            for i in 0..200 {
                kv.put(put("other".to_owned(), vec![b'y'; i])).await.unwrap();
            }
        })
    };
    save(&channel, &file).await;
    writer.await.unwrap();
    stop(servers).await;

    let facts = snapshot::verify(&file, false).unwrap();
    let saved = facts.revision.as_i64();
    assert!(saved >= before.header.unwrap().revision, "what was answered before is in it");
    let new = Members::new(&temp.path().join("new"));
    for i in 0..3 {
        new.restore(i, &file, Restore::BUMP_REVISION);
    }
    let servers = new.start().await;
    let cluster = before.header.unwrap().cluster_id;
    for server in &servers {
        let mut kv = KvClient::new(self::channel(server).await);
        let after = kv.range(all(0)).await.unwrap().into_inner();
        assert_eq!(after.kvs, before.kvs, "with their revisions and versions");
        let header = after.header.unwrap();
        assert_ne!(header.cluster_id, cluster);
        assert_eq!(header.revision, saved + 1_000_000_000);
        let refused = kv.range(all(saved)).await.unwrap_err();
        assert_eq!(
            refused.message(),
            "etcdserver: mvcc: required revision has been compacted",
            "who goes on from before is told"
        );
    }
    let mut kv = KvClient::new(self::channel(&servers[2]).await);
    let header = kv.put(put("key00".to_owned(), vec![])).await.unwrap().into_inner().header;
    assert_eq!(header.unwrap().revision, saved + 1_000_000_001);
    stop(servers).await;
    // Restored once, it is a member like any other.
    let servers = new.start().await;
    let mut kv = KvClient::new(self::channel(&servers[1]).await);
    assert_eq!(kv.range(all(0)).await.unwrap().into_inner().count, 50);
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_other_snapshots_or_of_none_are_strangers() {
    let temp = tempfile::tempdir().unwrap();
    let (file, old) = (temp.path().join("snapshot"), Members::new(&temp.path().join("old")));
    let servers = old.start().await;
    save(&channel(&servers[0]).await, &file).await;
    stop(servers).await;
    let new = Members::new(&temp.path().join("new"));
    new.restore(0, &file, 1000);
    new.restore(1, &file, 2000);
    let how = Restore { bump_revision: 1000 };
    let again = snapshot::restore(&file, &new.restored(0), &new.data_dir(0), how, false);
    assert!(again.unwrap_err().to_string().contains("exists: a restore overwrites nothing"));
    // The flags of the restore and those of the start must agree.
    let mut other = new.config(0);
    other.member_id ^= 1;
    let refused = Server::start(other).await.unwrap_err().to_string();
    assert!(refused.contains("belongs to member"), "{refused}");

    let mut ids = Vec::new();
    for i in 0..3 {
        let server = ports::start(new.config(i)).await;
        let mut client = MaintenanceClient::new(channel(&server).await);
        let status = client.status(pb::StatusRequest {}).await.unwrap().into_inner();
        ids.push(status.header.unwrap().cluster_id);
        server.shutdown().await;
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "peers refuse whoever names another cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_limited_in_number() {
    let temp = tempfile::tempdir().unwrap();
    let members = Members::new(temp.path());
    let servers = members.start().await;
    let channel = channel(&servers[0]).await;
    let mut kv = KvClient::new(channel.clone());
    for i in 0..4 {
        kv.put(put(format!("key{i}"), vec![b'x'; 1 << 20])).await.unwrap();
    }
    let mut client = MaintenanceClient::new(channel);
    let first = client.snapshot(pb::SnapshotRequest {}).await.unwrap();
    let second = client.snapshot(pb::SnapshotRequest {}).await.unwrap();
    let third = client.snapshot(pb::SnapshotRequest {}).await.unwrap_err();
    assert_eq!(third.code(), Code::ResourceExhausted);
    assert!(third.message().starts_with("synod: 2 snapshots are being sent"), "{third:?}");
    // The flusher and the log go on while two views are held.
    kv.put(put("key9".to_owned(), vec![])).await.unwrap();
    drop((first, second));
    let begins = async {
        loop {
            match client.snapshot(pb::SnapshotRequest {}).await {
                Ok(_) => return,
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
            }
        }
    };
    timeout(PATIENCE, begins).await.expect("a client that goes gives its place back");
    stop(servers).await;
}

/// A figure of a server's metrics; 0 if there is none.
async fn figure(server: &Server, name: &str) -> u64 {
    let mut stream = TcpStream::connect(server.client_addresses()[0]).await.unwrap();
    let question = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(question).await.unwrap();
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await.unwrap();
    let page = String::from_utf8_lossy(&page).into_owned();
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.map_or(0, |value| value.parse().unwrap())
}

async fn becomes_true<F: Future<Output = bool>>(what: &str, mut is_true: impl FnMut() -> F) {
    let waits = async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("{what} in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lags_beyond_the_log_gets_a_snapshot_while_writes_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let members = Members::new(temp.path());
    let mut servers = members.start().await;
    let mut kv = KvClient::new(channel(&servers[0]).await);
    kv.put(put("key".to_owned(), vec![b'a'; 1000])).await.unwrap();
    servers.remove(2).shutdown().await;
    for i in 0..100 {
        kv.put(put(format!("key{i:03}"), vec![b'x'; 30_000])).await.unwrap();
    }
    // What the third one needs next goes from the logs of both others.
    for server in &servers {
        becomes_true("the log is trimmed", async || figure(server, "synod_log_trimmed").await > 10)
            .await;
    }
    let stop_writing = CancellationToken::new();
    let writer = {
        let (mut kv, stopped) = (kv.clone(), stop_writing.clone());
        tokio::spawn(async move {
            let mut written = 0;
            while !stopped.is_cancelled() {
                kv.put(put(format!("key-meanwhile{written}"), vec![b'y'; 500])).await.unwrap();
                written += 1;
            }
            written
        })
    };
    let late = ports::start(members.config(2)).await;
    timeout(PATIENCE, late.ready()).await.unwrap();
    becomes_true("a snapshot is installed", async || {
        figure(&late, "etcd_snap_db_fsync_duration_seconds_count").await > 0
    })
    .await;
    stop_writing.cancel();
    let written = writer.await.unwrap();
    assert!(written > 0);
    let linearizable = |mut kv: KvClient<Channel>| async move {
        let answer = kv.range(all(0)).await.unwrap().into_inner();
        (answer.header.unwrap().revision, answer.kvs)
    };
    let theirs = linearizable(kv.clone()).await;
    let ours = linearizable(KvClient::new(channel(&late).await)).await;
    assert_eq!(ours, theirs);
    assert_eq!(ours.1.len(), 101 + written);
    // It votes and restarts as it did before: its log goes on behind the snapshot.
    servers.remove(1).shutdown().await;
    kv.put(put("key".to_owned(), vec![])).await.unwrap();
    late.shutdown().await;
    let late = ports::start(members.config(2)).await;
    let again = linearizable(KvClient::new(channel(&late).await)).await;
    assert_eq!(again.0, ours.0 + 1);
    late.shutdown().await;
    stop(servers).await;
}
