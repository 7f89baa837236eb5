//! Watches on both sides, answer by answer and field by field.
//!
//! Each case is a stream of its own: requests and writes in turn, and after each whatever the
//! server says until it is quiet. Answers of different watches may come in any order.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::watch_client::WatchClient;
use synod_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use synod_etcd::proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, WatchCancelRequest,
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::cluster::connect;

/// How long a server is quiet before it counts as having said all. etcd serves watches that lag
/// every 100 ms.
const QUIET: Duration = Duration::from_millis(350);

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// One thing to do.
#[derive(Clone, Debug)]
enum Do {
    /// Start revisions count from the revision at the case's begin, if they are above zero.
    Create(WatchCreateRequest),
    Cancel(i64),
    Progress,
    Put(&'static str, &'static str),
    Delete(&'static str),
    /// Compacts at so many revisions after the begin.
    Compact(i64),
}

fn create(key: &'static str, range_end: &'static str) -> WatchCreateRequest {
    let (key, range_end) = (Bytes::from(key), Bytes::from(range_end));
    WatchCreateRequest { key, range_end, ..Default::default() }
}

fn watch(key: &'static str, range_end: &'static str) -> Do {
    Do::Create(create(key, range_end))
}

fn from(start_revision: i64) -> Do {
    Do::Create(WatchCreateRequest { start_revision, ..create("w", "x") })
}

/// The cases, by name. Left out is what etcd 3.4 does and 3.6 does no more: it takes a watch from
/// revision -1, tells a watch from the future of progress below its revision, and answers a
/// request for progress on a stream without watches.
fn cases() -> Vec<(&'static str, Vec<Do>)> {
    use Do::{Cancel, Compact, Create, Delete, Progress, Put};
    let id = |watch_id| Create(WatchCreateRequest { watch_id, ..create("w", "x") });
    let filter = |filters: &[i32]| {
        Create(WatchCreateRequest { filters: filters.to_vec(), ..create("w", "x") })
    };
    let prev = || WatchCreateRequest { prev_kv: true, ..create("w", "x") };
    vec![
        ("a key", vec![watch("w", ""), Put("w", "1"), Put("w1", "1"), Delete("w"), Delete("w")]),
        ("a range", vec![watch("w", "w2"), Put("w", "1"), Put("w1", "1"), Put("w2", "1")]),
        ("from a key on", vec![watch("w1", "\0"), Put("w0", "1"), Put("w1", "1"), Put("z", "1")]),
        ("no key", vec![watch("", ""), Put("w", "1")]),
        ("all keys", vec![watch("", "\0"), Put("w", "1")]),
        ("no key, an end", vec![watch("", "x"), Put("w", "1")]),
        ("empty range", vec![watch("w", "w"), watch("x", "w"), watch("", "\0\0"), Put("w", "1")]),
        ("the past", vec![Put("w", "1"), Delete("w"), Put("w", "2"), from(1), Put("w", "3")]),
        ("the very next", vec![from(1), Put("w", "1"), Put("w", "2")]),
        ("the future", vec![from(3), Put("w", "1"), Put("w", "2"), Put("w", "3"), Progress]),
        (
            "compacted",
            vec![Put("w", "1"), Put("w", "2"), Put("w", "3"), Compact(3), from(2), from(3)],
        ),
        ("ids", vec![id(5), id(0), id(5), id(1), id(0), id(-1), Put("w", "1"), Cancel(0), id(0)]),
        ("cancel", vec![Cancel(3), watch("w", ""), Cancel(7), Cancel(0), Cancel(0), Put("w", "1")]),
        ("no puts", vec![filter(&[0]), Put("w", "1"), Delete("w")]),
        ("no deletions", vec![filter(&[1]), Put("w", "1"), Delete("w"), Put("w", "2")]),
        ("nothing at all", vec![filter(&[0, 1]), Put("w", "1"), Delete("w"), Progress]),
        ("a filter nobody knows", vec![filter(&[9]), Put("w", "1"), Delete("w")]),
        (
            "what was before",
            vec![Create(prev()), Put("w", "1"), Put("w", "2"), Delete("w"), Delete("w")],
        ),
        (
            "what was before, compacted",
            vec![
                Put("w", "1"),
                Put("w", "2"),
                Put("w", "3"),
                Compact(2),
                Create(WatchCreateRequest { start_revision: 2, ..prev() }),
            ],
        ),
        (
            "progress",
            vec![watch("w", ""), Progress, Put("w", "1"), Progress, Put("v", "1"), Progress],
        ),
        (
            "two watches",
            vec![watch("w", ""), Create(prev()), Put("w", "1"), Put("w", "2"), Progress, Cancel(1)],
        ),
        (
            "fragments",
            vec![Create(WatchCreateRequest { fragment: true, ..create("w", "x") }), Put("w", "1")],
        ),
    ]
}

/// Runs all cases against both; tells how many there were, and each difference as text.
pub async fn compare(etcd: &str, synod: &str) -> anyhow::Result<(usize, Vec<String>)> {
    let mut differences = Vec::new();
    let cases = cases();
    for (name, all) in &cases {
        let (one, other) = tokio::try_join!(run(etcd, all), run(synod, all))
            .with_context(|| format!("watches: {name}"))?;
        for ((step, one), other) in all.iter().zip(one).zip(other) {
            if one != other {
                differences.push(format!(
                    "DIFFERS, watches, {name}, at {step:?}\n  etcd:  {one:#?}\n  synod: {other:#?}"
                ));
            }
        }
    }
    Ok((cases.len(), differences))
}

/// What a server says to each step of a case.
async fn run(url: &str, all: &[Do]) -> anyhow::Result<Vec<Vec<String>>> {
    let channel = Channel::from_shared(url.to_owned())?.connect().await?;
    let mut kv = KvClient::new(connect(url, PATIENCE).await?);
    let delete = |key: &str, range_end: &str| DeleteRangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(range_end.as_bytes()),
        ..Default::default()
    };
    kv.delete_range(delete("\0", "\0")).await?;
    let key = Bytes::from_static(b"w");
    let now = kv.range(RangeRequest { key, ..Default::default() }).await?.into_inner();
    let begin = now.header.context("an answer without a header")?.revision;

    let (requests, receiver) = mpsc::channel(16);
    // etcd sends no header before its first answer: asking for nothing is answered by nobody.
    let mut client = WatchClient::new(channel);
    let opening = client.watch(ReceiverStream::new(receiver));
    tokio::pin!(opening);
    let mut answers = None;
    let mut told = Vec::new();
    for step in all {
        let request = match step.clone() {
            Do::Create(create) => {
                let start_revision = match create.start_revision {
                    start if start > 0 => begin + start,
                    start => start,
                };
                Some(RequestUnion::CreateRequest(WatchCreateRequest { start_revision, ..create }))
            }
            Do::Cancel(watch_id) => {
                Some(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }))
            }
            Do::Progress => Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
            Do::Put(key, value) => {
                kv.put(PutRequest { key: key.into(), value: value.into(), ..Default::default() })
                    .await?;
                None
            }
            Do::Delete(key) => {
                kv.delete_range(delete(key, "")).await?;
                None
            }
            Do::Compact(after) => {
                kv.compact(CompactionRequest { revision: begin + after, physical: true }).await?;
                None
            }
        };
        if request.is_some() {
            requests.send(WatchRequest { request_union: request }).await?;
        }
        let mut said = Vec::new();
        loop {
            let Some(stream) = &mut answers else {
                match tokio::time::timeout(QUIET, &mut opening).await {
                    Ok(opened) => {
                        answers = Some(opened?.into_inner());
                        continue;
                    }
                    Err(_) => break,
                }
            };
            let stream: &mut tonic::Streaming<WatchResponse> = stream;
            match tokio::time::timeout(QUIET, stream.message()).await {
                Ok(answer) => {
                    let answer = answer?.context("the stream has ended")?;
                    said.push((answer.watch_id, normal(answer, begin)));
                }
                Err(_) => break,
            }
        }
        said.sort_by_key(|(id, _)| *id);
        told.push(said.into_iter().map(|(_, text)| text).collect());
    }
    Ok(told)
}

/// The answer as text, revisions counted from the begin, without what differs between clusters.
fn normal(mut answer: WatchResponse, begin: i64) -> String {
    let since = |revision: &mut i64| {
        if *revision > 0 {
            *revision -= begin;
        }
    };
    if let Some(header) = &mut answer.header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
        since(&mut header.revision);
    }
    since(&mut answer.compact_revision);
    for event in &mut answer.events {
        for kv in [&mut event.kv, &mut event.prev_kv].into_iter().flatten() {
            since(&mut kv.create_revision);
            since(&mut kv.mod_revision);
        }
    }
    format!("{answer:?}")
}
