//! Requests that write and tell keys: what they may take, and that they do nothing if it is more.

use std::time::Duration;

use bytes::Bytes;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use super::calls::{Raw, decode, filled, held_bytes, in_order};
use super::members::{Members, PATIENCE, prefix, refused};
use super::{KEYS, VALUE_BYTES};

const SMALL: [&str; 2] = ["--max-range-bytes=67108864", "--max-range-request-bytes=16777216"];
/// Half of what a range may take: keys and values are there twice when they are encoded.
const LIMIT: u64 = 8 << 20;

fn deletion(range: pb::RangeRequest) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: range.key, range_end: range.range_end, prev_kv: true }
}

/// Puts a key, then reads.
fn put_and_read(key: &str, range: pb::RangeRequest) -> pb::TxnRequest {
    use pb::request_op::Request;
    let put = pb::PutRequest { key: key.to_owned().into(), ..Default::default() };
    let of = |request| pb::RequestOp { request: Some(request) };
    let success = vec![of(Request::RequestPut(put)), of(Request::RequestRange(range))];
    pb::TxnRequest { success, ..Default::default() }
}

fn client(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_would_tell_too_much_does_nothing() {
    let members = Members::start_with(&SMALL).await;
    let values = filled(&members, KEYS, VALUE_BYTES).await;
    let mut kv = client(members.channel(1).await);
    let before = kv.range(prefix("k")).await.unwrap().into_inner().header.unwrap().revision;
    let txn = put_and_read("new", prefix("k"));
    let nested = pb::TxnRequest {
        failure: vec![pb::RequestOp {
            request: Some(pb::request_op::Request::RequestTxn(txn.clone())),
        }],
        compare: vec![pb::Compare {
            key: "new".into(),
            target_union: Some(pb::compare::TargetUnion::Version(1)),
            ..Default::default()
        }],
        ..Default::default()
    };
    for (code, text) in [
        refused(kv.delete_range(deletion(prefix("k"))).await),
        refused(kv.txn(txn).await),
        refused(kv.txn(nested).await),
    ] {
        assert_eq!(code, Code::ResourceExhausted);
        assert!(text.starts_with("synod: nothing was written: "), "{text}");
        assert!(text.contains(&format!("{LIMIT} is the limit")), "{text}");
        assert!(text.ends_with("raise --max-range-request-bytes"), "{text}");
    }
    for at in 0..3 {
        let found = client(members.channel(at).await).range(prefix("")).await;
        let found = found.unwrap().into_inner();
        assert_eq!(in_order(&found), values);
        assert_eq!(found.header.unwrap().revision, before);
    }
    // What is told is what counts: not what is deleted, put or counted.
    let counted = pb::RangeRequest { count_only: true, ..prefix("k") };
    kv.txn(put_and_read("a", counted)).await.unwrap();
    let names = pb::RangeRequest { keys_only: true, ..prefix("k") };
    kv.txn(put_and_read("b", names)).await.unwrap();
    let ten = pb::RangeRequest { limit: 10, ..prefix("k") };
    let answer = kv.txn(put_and_read("c", ten)).await.unwrap().into_inner();
    let Some(pb::response_op::Response::ResponseRange(range)) = &answer.responses[1].response
    else {
        panic!("{answer:?}");
    };
    assert_eq!(in_order(range), values[..10]);
    assert_eq!((range.count, range.more), (40, true));
    let ten = pb::RangeRequest { range_end: values[10].0.clone(), ..prefix("k") };
    let deleted = kv.delete_range(deletion(ten)).await.unwrap().into_inner();
    let told: Vec<_> =
        deleted.prev_kvs.iter().map(|kv| (kv.key.clone(), kv.value.clone())).collect();
    assert_eq!((deleted.deleted, told), (10, values[..10].to_vec()));
    let silent = pb::DeleteRangeRequest { prev_kv: false, ..deletion(prefix("k")) };
    assert_eq!(kv.delete_range(silent).await.unwrap().into_inner().deleted, 30);
    for at in 0..3 {
        let found = client(members.channel(at).await).range(prefix("")).await;
        let found = found.unwrap().into_inner();
        let keys: Vec<_> = found.kvs.iter().map(|kv| kv.key.clone()).collect();
        assert_eq!(keys, ["a", "b", "c"].map(Bytes::from));
        assert_eq!(found.header.unwrap().revision, before + 5);
    }
    nothing_is_held(&members, 1).await;
    members.shutdown().await;
}

/// An answer holds what it is long, from before it is made until it is taken; who goes away gives
/// it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_to_a_write_holds_memory_until_it_is_taken() {
    let members = Members::start_with(&SMALL).await;
    let values = filled(&members, KEYS, VALUE_BYTES).await;
    let ten = pb::RangeRequest { limit: 10, ..prefix("k") };
    let mut slow = Vec::new();
    for n in 0..3 {
        let channel = members.channel(2).await;
        let request = put_and_read(&format!("new{n}"), ten.clone());
        let mut one = Raw::begin(&channel, "Txn", &request).await.unwrap();
        one.first().await;
        slow.push(one);
    }
    let held = held_bytes(&members, 2).await;
    let (one, page) = (10 * u64::try_from(VALUE_BYTES).unwrap(), 256 << 10);
    assert!(held >= 3 * one && held <= 3 * (one + 4 * page), "{held} held");
    let last = slow.pop().unwrap().all().await.unwrap();
    let last: pb::TxnResponse = decode(&last).pop().unwrap();
    let Some(pb::response_op::Response::ResponseRange(range)) = &last.responses[1].response else {
        panic!("{last:?}");
    };
    assert_eq!(in_order(range), values[..10]);
    drop(slow);
    nothing_is_held(&members, 2).await;
    members.shutdown().await;
}

/// Keys that grow while a request is on its way, and branches that are taken when nobody expected
/// it: the request is answered all the same.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_grow_meanwhile_are_told() {
    let members = Members::start_with(&SMALL).await;
    let key = Bytes::from_static(b"grows");
    let mut writers = Vec::new();
    for at in 0..3 {
        let mut kv = client(members.channel(at).await);
        let key = key.clone();
        writers.push(tokio::spawn(async move {
            for n in 0..15_usize {
                let len = if n % 3 == at { 400_000 } else { 10 };
                let value = Bytes::from(vec![b'v'; len]);
                let put =
                    pb::PutRequest { key: key.clone(), value, prev_kv: true, ..Default::default() };
                let former = timeout(PATIENCE, kv.put(put)).await.unwrap().unwrap().into_inner();
                if let Some(former) = former.prev_kv {
                    assert!([10, 400_000].contains(&former.value.len()));
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for at in 0..3 {
        nothing_is_held(&members, at).await;
    }
    members.shutdown().await;
}

async fn nothing_is_held(members: &Members, at: usize) {
    let nothing = async {
        while held_bytes(members, at).await != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, nothing).await.expect("given back");
}
