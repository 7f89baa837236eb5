//! What an answer says, and in which header.

use bytes::Bytes;

use super::*;

const STAMP: Stamp = Stamp { cluster_id: 7, member_id: 8, round: 9 };

fn full_header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: 7, member_id: 8, revision, raft_term: 9 })
}

fn short_header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() })
}

fn kv() -> KeyValue {
    KeyValue {
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"v"),
        create_revision: Revision::new(2),
        mod_revision: Revision::new(3),
        version: 4,
        lease: 5,
    }
}

fn message_kv() -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: Bytes::from_static(b"k"),
        create_revision: 2,
        mod_revision: 3,
        version: 4,
        value: Bytes::from_static(b"v"),
        lease: 5,
    }
}

#[test]
fn each_answer_carries_everything() {
    let revision = Revision::new(6);
    let response = RangeResponse { revision, kvs: vec![kv()], more: true, count: 11 };
    let expected = pb::RangeResponse {
        header: full_header(6),
        kvs: vec![message_kv()],
        more: true,
        count: 11,
    };
    assert_eq!(range(STAMP, response), expected);

    let response = PutResponse { revision, prev_kv: Some(kv()) };
    let expected = pb::PutResponse { header: full_header(6), prev_kv: Some(message_kv()) };
    assert_eq!(put(STAMP, response), expected);

    let response = DeleteRangeResponse { revision, deleted: 1, prev_kvs: vec![kv()] };
    let expected = pb::DeleteRangeResponse {
        header: full_header(6),
        deleted: 1,
        prev_kvs: vec![message_kv()],
    };
    assert_eq!(delete_range(STAMP, response), expected);

    let response = compact(STAMP, CompactResponse { revision });
    assert_eq!(response, pb::CompactionResponse { header: full_header(6) });
}

#[test]
fn the_parts_of_a_transaction_name_the_revision_only() {
    let revision = Revision::new(6);
    let within = TxnResponse { revision, succeeded: true, responses: Vec::new() };
    let response = TxnResponse {
        revision,
        succeeded: true,
        responses: vec![
            OpResponse::Put(PutResponse { revision, prev_kv: None }),
            OpResponse::Txn(within),
        ],
    };
    let answer = txn(STAMP, response);
    assert_eq!(answer.header, full_header(6));
    let headers = answer.responses.into_iter().map(|op| match op.response.unwrap() {
        pb::response_op::Response::ResponsePut(put) => put.header,
        pb::response_op::Response::ResponseTxn(txn) => txn.header,
        _ => None,
    });
    assert_eq!(headers.collect::<Vec<_>>(), [short_header(6), short_header(0)]);
}
