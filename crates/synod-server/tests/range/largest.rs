//! Values of the largest size that `--max-request-bytes` may say.

use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use tokio::time::timeout;
use tonic::Code;

use super::members::{Members, PATIENCE, get, ports, refused};

const FLAG: &str = "--max-request-bytes=12582912";
const REQUEST_BYTES_MAX: usize = 12_582_912;

fn put(key: &str, bytes: usize) -> pb::PutRequest {
    let (key, value) = (key.to_owned().into(), vec![7; bytes].into());
    pb::PutRequest { key, value, ..Default::default() }
}

/// Asks until it is done: a machine that is busy may take longer than one request waits.
async fn put_in_time(members: &Members, at: usize, request: &pb::PutRequest) {
    let mut kv = KvClient::new(members.channel(at).await);
    let put = async {
        while let Err(status) = kv.put(request.clone()).await {
            assert!(
                matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
                "{status}"
            );
        }
    };
    timeout(2 * PATIENCE, put).await.expect("stored in time");
}

/// What a member has stored itself.
async fn stored(members: &Members, at: usize, key: &str) -> Option<usize> {
    let mut kv = KvClient::new(members.channel(at).await).max_decoding_message_size(usize::MAX);
    let range = pb::RangeRequest { serializable: true, ..get(key) };
    let found = kv.range(range).await.unwrap().into_inner();
    found.kvs.first().map(|kv| kv.value.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_value_goes_through_every_member_and_to_one_that_was_away() {
    let mut members = Members::start_with(&[FLAG]).await;
    let largest = REQUEST_BYTES_MAX - 16;
    for at in 0..3 {
        put_in_time(&members, at, &put(&format!("k{at}"), largest)).await;
    }
    let mut kv = KvClient::new(members.channel(0).await);
    let (code, text) = refused(kv.put(put("k", REQUEST_BYTES_MAX)).await);
    assert_eq!((code, text.as_str()), (Code::InvalidArgument, "etcdserver: request is too large"));

    let config = members.configs[2].clone();
    members.stop(2).await;
    put_in_time(&members, 0, &put("k3", largest)).await;
    members.servers.push(ports::start(config).await);
    for at in 0..3 {
        for key in ["k0", "k1", "k2", "k3"] {
            let arrives = async {
                while stored(&members, at, key).await != Some(largest) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(2 * PATIENCE, arrives).await.expect("what was stored arrives in time");
        }
    }
    members.shutdown().await;
}
