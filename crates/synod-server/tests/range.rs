//! Long ranges over real members: what they answer, and what they may hold in memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "range/calls.rs"]
mod calls;
#[path = "range/largest.rs"]
mod largest;
mod members;
#[path = "range/writes.rs"]
mod writes;

use std::time::Duration;

use calls::{Raw, decode, filled, held_bytes, in_order, merged};
use members::{Members, PATIENCE, prefix, refused};
use prost::Message;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use tokio::time::timeout;
use tonic::Code;

/// Long enough for many pages.
const KEYS: usize = 40;
const VALUE_BYTES: usize = 500_000;

#[tokio::test(flavor = "multi_thread")]
async fn long_ranges_are_answered_whole_on_every_member() {
    let members = Members::start().await;
    let values = filled(&members, KEYS, VALUE_BYTES).await;
    for at in 0..3 {
        let channel = members.channel(at).await;
        let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let whole = kv.range(prefix("k")).await.unwrap().into_inner();
        assert_eq!(in_order(&whole), values);
        assert_eq!((whole.count, whole.more), (40, false));

        let backwards = pb::RangeRequest { sort_order: 2, limit: 30, ..prefix("k") };
        let sorted = kv.range(backwards.clone()).await.unwrap().into_inner();
        let expected: Vec<_> = values.iter().rev().take(30).cloned().collect();
        assert_eq!(in_order(&sorted), expected);
        assert!(sorted.more && sorted.count == 40);

        let of =
            |range| pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) };
        let ops = vec![of(prefix("k")), of(backwards), of(prefix("nothing"))];
        let txn = pb::TxnRequest { success: ops, ..Default::default() };
        let txn = kv.txn(txn).await.unwrap().into_inner();
        let part = |op: pb::ResponseOp| match op.response {
            Some(pb::response_op::Response::ResponseRange(part)) => part,
            other => panic!("{other:?}"),
        };
        let parts: Vec<_> = txn.responses.into_iter().map(part).collect();
        assert_eq!((in_order(&parts[0]), in_order(&parts[1])), (values.clone(), expected));
        assert!(parts[2].kvs.is_empty());

        let chunks = Raw::begin(&channel, "RangeStream", &prefix("k")).await.unwrap();
        let chunks = chunks.messages().await.unwrap();
        let (last, before) = chunks.split_last().unwrap();
        assert!(before.iter().all(|chunk| chunk.header.is_none() && chunk.count == 0));
        assert!(chunks.iter().all(|chunk| chunk.encoded_len() <= VALUE_BYTES + 200));
        assert_eq!(last.header, whole.header);
        assert_eq!(merged(chunks), whole);
    }
    members.shutdown().await;
}

/// etcd answers a range that has begun, whatever is compacted: it has read it. Here, what it has
/// still to read is held.
#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_does_not_end_an_answer_but_ends_a_stream() {
    let members = Members::start().await;
    let values = filled(&members, KEYS, VALUE_BYTES).await;
    // A connection each: what is not taken from one stream keeps back the others beside it.
    let mut kv = KvClient::new(members.channel(0).await);
    let begin = async |method| Raw::begin(&members.channel(0).await, method, &prefix("k")).await;
    let mut answer = begin("Range").await.unwrap();
    let mut stream = begin("RangeStream").await.unwrap();
    answer.first().await;
    stream.first().await;
    // Everything is overwritten, and what was there before is compacted and gone.
    let put = pb::PutRequest { key: "k00039".into(), value: "new".into(), ..Default::default() };
    let revision = kv.put(put).await.unwrap().into_inner().header.unwrap().revision;
    kv.compact(pb::CompactionRequest { revision, physical: false }).await.unwrap();

    let whole = answer.all().await.unwrap();
    let whole: pb::RangeResponse = decode(&whole).pop().unwrap();
    assert_eq!(in_order(&whole), values);
    let ended = stream.all().await.map(|_| "answered");
    let ended = ended.map_err(|status| (status.code(), status.message().to_owned()));
    let compacted = "etcdserver: mvcc: required revision has been compacted".to_owned();
    assert_eq!(ended, Err((Code::OutOfRange, compacted)));
    // A physical compaction waits for what is held no longer than it is held.
    let physical = pb::CompactionRequest { revision: revision + 1, physical: true };
    kv.put(pb::PutRequest { key: "z".into(), ..Default::default() }).await.unwrap();
    timeout(PATIENCE, kv.compact(physical)).await.expect("in time").unwrap();
    members.shutdown().await;
}

/// Who takes nothing holds a bounded part of the answer, and who goes away holds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_holds_a_window_and_one_that_goes_nothing() {
    let members = Members::start().await;
    filled(&members, KEYS, VALUE_BYTES).await;
    let mut slow = Vec::new();
    for method in ["Range", "RangeStream", "Range"] {
        let channel = members.channel(1).await;
        let mut one = Raw::begin(&channel, method, &prefix("k")).await.unwrap();
        one.first().await;
        slow.push(one);
    }
    let window = 1_572_864 + (512 << 10);
    assert_eq!(held_bytes(&members, 1).await, 3 * window);
    // Others are not kept waiting.
    let one = pb::RangeRequest { key: "k00000".into(), ..Default::default() };
    let mut kv = KvClient::new(members.channel(1).await);
    timeout(PATIENCE, kv.range(one)).await.unwrap().unwrap();
    drop((slow, kv));
    let nothing = async {
        while held_bytes(&members, 1).await != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, nothing).await.expect("given back");
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_more_than_there_is_is_refused_with_a_way_out() {
    let members =
        Members::start_with(&["--max-range-bytes=33554432", "--max-range-request-bytes=16777216"])
            .await;
    filled(&members, KEYS, VALUE_BYTES).await;
    let mut kv = KvClient::new(members.channel(2).await).max_decoding_message_size(usize::MAX);
    let by_value = pb::RangeRequest { sort_order: 1, sort_target: 4, ..prefix("k") };
    assert_eq!(
        refused(kv.range(by_value.clone()).await),
        (
            Code::ResourceExhausted,
            "synod: to put the keys in this order takes a list of more than 14680064 bytes, which \
             is the limit of a request: ask with a limit, in the order of keys upward, or raise \
             --max-range-request-bytes"
                .to_owned()
        )
    );
    let limited = pb::RangeRequest { limit: 2, ..by_value };
    let few = kv.range(limited).await.unwrap().into_inner();
    assert_eq!((few.kvs.len(), few.count, few.more), (2, 40, true));
    // In the order of keys, an answer may be larger than all memory that ranges may take.
    let whole = kv.range(prefix("k")).await.unwrap().into_inner();
    assert_eq!(whole.kvs.len(), KEYS);
    assert_eq!(held_bytes(&members, 2).await, 0);
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_etcds_limits() {
    let members = Members::start().await;
    filled(&members, 25, 1).await;
    let channel = members.channel(0).await;
    let stream = async |request: pb::RangeRequest| {
        Raw::begin(&channel, "RangeStream", &request).await?.messages().await
    };
    let of = |limit| pb::RangeRequest { limit, ..prefix("k") };
    // As etcd's own test: messages at least, keys, count, more.
    for (limit, messages, keys, more) in [
        (0, 2, 25, false),
        (5, 1, 5, true),
        (25, 2, 25, false),
        (100, 2, 25, false),
        (10, 1, 10, true),
    ] {
        let chunks = stream(of(limit)).await.unwrap();
        assert!(chunks.len() >= messages, "{} messages", chunks.len());
        let all = merged(chunks);
        assert_eq!((all.kvs.len(), all.count, all.more), (keys, 25, more));
    }
    let counted = stream(pb::RangeRequest { count_only: true, ..of(0) }).await.unwrap();
    assert_eq!((counted.len(), counted[0].count, counted[0].kvs.len()), (1, 25, 0));
    let names = stream(pb::RangeRequest { keys_only: true, ..of(0) }).await.unwrap();
    assert!(merged(names).kvs.iter().all(|kv| kv.value.is_empty()));
    let upward = stream(pb::RangeRequest { sort_order: 1, ..of(0) }).await.unwrap();
    assert_eq!(merged(upward).kvs.len(), 25);

    let sorted = pb::RangeRequest { sort_order: 2, ..of(0) };
    let bounded = pb::RangeRequest { min_mod_revision: 2, ..of(0) };
    let future = pb::RangeRequest { revision: 1000, ..of(0) };
    for (request, code, text) in [
        (sorted, Code::Unimplemented, "RangeStream does not support custom sort orders"),
        (bounded, Code::Unimplemented, "RangeStream does not support revision filters"),
        (pb::RangeRequest::default(), Code::InvalidArgument, "etcdserver: key is not provided"),
        (future, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision"),
    ] {
        let found = stream(request).await.expect_err(text);
        assert_eq!((found.code(), found.message()), (code, text));
    }
    members.shutdown().await;
}
