//! Watches over real sockets, asked by etcd's generated client.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "members/ports.rs"]
mod ports;

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::watch_client::WatchClient;
use synod_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use synod_server::{Server, ServerFlags};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// Long enough for any machine; only a hang waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

/// Starts so many members, and waits until they have a leader.
async fn start(folder: &Path, count: usize) -> Vec<Server> {
    let held = ports::held(count);
    let urls: Vec<String> =
        held.iter().map(|socket| format!("http://{}", socket.local_addr().unwrap())).collect();
    let cluster: Vec<String> = (0..count).map(|i| format!("m{i}={}", urls[i])).collect();
    drop(held);
    let mut servers = Vec::new();
    for (i, url) in urls.iter().enumerate() {
        let args = [
            "synod".to_owned(),
            format!("--name=m{i}"),
            format!("--data-dir={}", folder.join(format!("m{i}")).display()),
            "--listen-client-urls=http://127.0.0.1:0".to_owned(),
            format!("--advertise-client-urls=http://m{i}.example:2379"),
            format!("--listen-peer-urls={url}"),
            format!("--initial-advertise-peer-urls={url}"),
            format!("--initial-cluster={}", cluster.join(",")),
            "--heartbeat-interval=100".to_owned(),
            "--election-timeout=5000".to_owned(),
            "--watch-progress-notify-interval=200ms".to_owned(),
        ];
        let config = Line::try_parse_from(args).ok().unwrap().flags.check().unwrap();
        servers.push(ports::start(config).await);
    }
    for server in &servers {
        timeout(PATIENCE, server.ready()).await.expect("a leader in time");
    }
    servers
}

async fn channel(server: &Server) -> Channel {
    let url = format!("http://{}", server.client_addresses()[0]);
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

/// A stream of watches.
struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Stream {
    async fn open(server: &Server, wants_leader: bool) -> Self {
        Self::open_on(channel(server).await, wants_leader).await
    }

    async fn open_on(channel: Channel, wants_leader: bool) -> Self {
        let (requests, receiver) = mpsc::channel(100);
        let mut request = Request::new(ReceiverStream::new(receiver));
        if wants_leader {
            request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        }
        let mut client = WatchClient::new(channel);
        let answers = client.watch(request).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn ask(&self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        self.requests.send(request).await.unwrap();
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(create)).await;
        let answer = self.next().await.unwrap();
        assert!(answer.created, "{answer:?}");
        answer
    }

    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        let next = timeout(PATIENCE, self.answers.message()).await.expect("an answer in time");
        next.map(|answer| answer.expect("a stream has no end but an error"))
    }
}

fn prefix(key: &str, end: &str) -> pb::WatchCreateRequest {
    let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
    pb::WatchCreateRequest { key, range_end, ..Default::default() }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    pb::PutRequest { key, value, ..Default::default() }
}

async fn shutdown(servers: Vec<Server>) {
    for server in servers {
        timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_told_what_it_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let servers = start(temp.path(), 1).await;
    let mut kv = KvClient::new(channel(&servers[0]).await);
    kv.put(put("a1", "x")).await.unwrap();
    let mut stream = Stream::open(&servers[0], false).await;

    // Two watches: all from the beginning with what was before, and new deletions only.
    let create = pb::WatchCreateRequest { start_revision: 1, prev_kv: true, ..prefix("a", "b") };
    let created = stream.create(create).await;
    assert_eq!((created.watch_id, created.header.unwrap().revision), (0, 2));
    let told = stream.next().await.unwrap();
    assert_eq!((told.watch_id, told.events.len()), (0, 1));
    let filtered = pb::WatchCreateRequest { filters: vec![0], watch_id: 7, ..prefix("a1", "") };
    assert_eq!(stream.create(filtered.clone()).await.watch_id, 7);
    let refused = stream.create(filtered).await;
    assert_eq!((refused.watch_id, refused.canceled), (-1, true));
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");

    kv.put(put("a1", "y")).await.unwrap();
    let told = stream.next().await.unwrap();
    let event = &told.events[0];
    assert_eq!(&event.kv.as_ref().unwrap().value[..], b"y");
    assert_eq!(&event.prev_kv.as_ref().unwrap().value[..], b"x");
    assert_eq!(told.header.unwrap().revision, 3);
    let delete = pb::DeleteRangeRequest { key: "a1".into(), ..Default::default() };
    kv.delete_range(delete).await.unwrap();
    let mut ids = [stream.next().await.unwrap(), stream.next().await.unwrap()]
        .map(|told| (told.watch_id, told.events[0].r#type, told.events[0].prev_kv.is_some()));
    ids.sort_unstable();
    assert_eq!(ids, [(0, 1, true), (7, 1, false)]);

    stream.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    let progress = stream.next().await.unwrap();
    assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, 4));
    stream.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 99 })).await;
    stream.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 })).await;
    let canceled = stream.next().await.unwrap();
    assert_eq!((canceled.watch_id, canceled.canceled), (0, true));

    kv.compact(pb::CompactionRequest { revision: 4, physical: false }).await.unwrap();
    let past = pb::WatchCreateRequest { start_revision: 2, ..prefix("a", "b") };
    assert!(!stream.create(past).await.canceled);
    let compacted = stream.next().await.unwrap();
    assert_eq!((compacted.canceled, compacted.compact_revision), (true, 4));

    let notified = pb::WatchCreateRequest { progress_notify: true, ..prefix("idle", "") };
    let id = stream.create(notified).await.watch_id;
    let progress = stream.next().await.unwrap();
    assert_eq!((progress.watch_id, progress.events.len()), (id, 0));
    assert_eq!(progress.header.unwrap().revision, 4);
    drop((stream, kv));
    shutdown(servers).await;
}

/// Reads until a revision was told: the value's length of each event, by revision.
async fn read_to(mut stream: Stream, last: i64) -> Vec<(i64, usize)> {
    let mut told = Vec::new();
    while told.last().is_none_or(|(revision, _)| *revision < last) {
        for event in stream.next().await.unwrap().events {
            let kv = event.kv.unwrap();
            told.push((kv.mod_revision, kv.value.len()));
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_streams_share_connections_each_is_told_everything_once() {
    // Small events, some that go as a piece of their own, and one of several frames.
    const SIZES: [usize; 12] = [1, 300, 4000, 5000, 10, 20_000, 40_000, 0, 2, 3, 9000, 4];
    let temp = tempfile::tempdir().unwrap();
    let servers = start(temp.path(), 1).await;
    let shared = channel(&servers[0]).await;
    let mut streams = Vec::new();
    for at in 0..120 {
        let channel = if at < 80 { shared.clone() } else { channel(&servers[0]).await };
        let mut stream = Stream::open_on(channel, at % 2 == 0).await;
        stream.create(prefix("a", "b")).await;
        streams.push(stream);
    }
    let before = streams[0].create(prefix("b", "")).await.header.unwrap().revision;
    let revisions = (before + 1..).zip(SIZES);
    let last = before + i64::try_from(SIZES.len()).unwrap();
    let mut readers = tokio::task::JoinSet::new();
    for stream in streams {
        readers.spawn(read_to(stream, last));
    }
    // Writes share a connection with most who watch them.
    let mut kv = KvClient::new(shared);
    for size in SIZES {
        kv.put(put("a1", &"x".repeat(size))).await.unwrap();
    }
    let expected: Vec<(i64, usize)> = revisions.collect();
    while let Some(told) = readers.join_next().await {
        assert_eq!(told.unwrap(), expected);
    }
    drop(kv);
    shutdown(servers).await;
}

/// A client of several members puts through one and watches through another: it is not told of what
/// it did before it asked. Followers learn a little later than the client that it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_from_now_begins_after_what_was_answered_before() {
    let temp = tempfile::tempdir().unwrap();
    let servers = start(temp.path(), 3).await;
    let (mut clients, mut streams) = (Vec::new(), Vec::new());
    for server in &servers {
        clients.push(KvClient::new(channel(server).await));
        streams.push(Stream::open(server, false).await);
    }
    for round in 0..60 {
        let (here, there) = (round % 3, (round + 1 + round / 3 % 2) % 3);
        let done = clients[here].put(put("key", "x")).await.unwrap().into_inner();
        let watch_id = i64::try_from(round).unwrap() + 1;
        let create = pb::WatchCreateRequest { watch_id, ..prefix(&format!("k{round}"), "") };
        let created = streams[there].create(create).await;
        assert!(created.header.unwrap().revision >= done.header.unwrap().revision);
    }
    drop((clients, streams));
    shutdown(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_member() {
    let temp = tempfile::tempdir().unwrap();
    let servers = start(temp.path(), 1).await;
    let mut stream = Stream::open(&servers[0], false).await;
    stream.create(prefix("a", "b")).await;
    let (ended, ()) = tokio::join!(stream.next(), shutdown(servers));
    let status = ended.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "etcdserver: server stopped")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_only_streams_that_ask_for_one_end() {
    let temp = tempfile::tempdir().unwrap();
    let mut servers = start(temp.path(), 3).await;
    let last = servers.remove(0);
    let mut strict = Stream::open(&last, true).await;
    let mut patient = Stream::open(&last, false).await;
    strict.create(prefix("a", "b")).await;
    patient.create(prefix("a", "b")).await;
    shutdown(servers).await;
    let status = strict.next().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    patient.create(prefix("a", "b")).await;
    shutdown(vec![last]).await;
}
