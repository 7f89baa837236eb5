//! From the store's answer to the message that carries it. This cannot fail.
//!
//! Headers are etcd's: that of the whole answer names cluster, member, ballot round and revision;
//! those of the parts of a transaction carry the revision only, and that of a transaction within
//! nothing.

pub mod pieces;

use synod_kv::{
    CompactResponse, DeleteRangeResponse, KeyValue, OpResponse, PutResponse, RangeResponse,
    Revision, TxnResponse,
};

use crate::proto::{etcdserverpb as pb, mvccpb};

/// Who answers: the part of a header that the store does not know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// The cluster.
    pub cluster_id: u64,
    /// The member that answers.
    pub member_id: u64,
    /// The round of the highest ballot it has promised; etcd's `raft_term`. It never goes down.
    pub round: u64,
}

impl Stamp {
    /// The header of an answer at a revision.
    #[must_use]
    pub const fn header(self, revision: Revision) -> pb::ResponseHeader {
        let Self { cluster_id, member_id, round } = self;
        pb::ResponseHeader { cluster_id, member_id, revision: revision.as_i64(), raft_term: round }
    }
}

/// The answer to a range.
#[must_use]
pub fn range(stamp: Stamp, response: RangeResponse) -> pb::RangeResponse {
    let header = stamp.header(response.revision);
    pb::RangeResponse { header: Some(header), ..range_part(response) }
}

/// The answer to a put.
#[must_use]
pub fn put(stamp: Stamp, response: PutResponse) -> pb::PutResponse {
    let header = stamp.header(response.revision);
    pb::PutResponse { header: Some(header), ..put_part(response) }
}

/// The answer to a delete.
#[must_use]
pub fn delete_range(stamp: Stamp, response: DeleteRangeResponse) -> pb::DeleteRangeResponse {
    let header = stamp.header(response.revision);
    pb::DeleteRangeResponse { header: Some(header), ..delete_range_part(response) }
}

/// The answer to a transaction.
#[must_use]
pub fn txn(stamp: Stamp, response: TxnResponse) -> pb::TxnResponse {
    let header = stamp.header(response.revision);
    pb::TxnResponse { header: Some(header), ..txn_part(response) }
}

/// The answer to a compaction.
#[must_use]
pub const fn compact(stamp: Stamp, response: CompactResponse) -> pb::CompactionResponse {
    let CompactResponse { revision } = response;
    pb::CompactionResponse { header: Some(stamp.header(revision)) }
}

fn range_part(response: RangeResponse) -> pb::RangeResponse {
    let RangeResponse { revision, kvs, more, count } = response;
    pb::RangeResponse {
        header: Some(part_header(revision)),
        kvs: kvs.into_iter().map(mvccpb::KeyValue::from).collect(),
        more,
        count: keys(count),
    }
}

fn put_part(response: PutResponse) -> pb::PutResponse {
    let PutResponse { revision, prev_kv } = response;
    pb::PutResponse {
        header: Some(part_header(revision)),
        prev_kv: prev_kv.map(mvccpb::KeyValue::from),
    }
}

fn delete_range_part(response: DeleteRangeResponse) -> pb::DeleteRangeResponse {
    let DeleteRangeResponse { revision, deleted, prev_kvs } = response;
    pb::DeleteRangeResponse {
        header: Some(part_header(revision)),
        deleted: keys(deleted),
        prev_kvs: prev_kvs.into_iter().map(mvccpb::KeyValue::from).collect(),
    }
}

fn txn_part(response: TxnResponse) -> pb::TxnResponse {
    let TxnResponse { revision: _, succeeded, responses } = response;
    pb::TxnResponse {
        header: Some(pb::ResponseHeader::default()),
        succeeded,
        responses: responses.into_iter().map(op).collect(),
    }
}

fn op(response: OpResponse) -> pb::ResponseOp {
    use pb::response_op::Response;
    let response = match response {
        OpResponse::Range(response) => Response::ResponseRange(range_part(response)),
        OpResponse::Put(response) => Response::ResponsePut(put_part(response)),
        OpResponse::DeleteRange(response) => {
            Response::ResponseDeleteRange(delete_range_part(response))
        }
        OpResponse::Txn(response) => Response::ResponseTxn(txn_part(response)),
    };
    pb::ResponseOp { response: Some(response) }
}

fn part_header(revision: Revision) -> pb::ResponseHeader {
    pb::ResponseHeader { revision: revision.as_i64(), ..pb::ResponseHeader::default() }
}

fn keys(count: u64) -> i64 {
    i64::try_from(count).expect("a store has fewer than 2^63 keys")
}

impl From<KeyValue> for mvccpb::KeyValue {
    fn from(kv: KeyValue) -> Self {
        let KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
        Self {
            key,
            create_revision: create_revision.as_i64(),
            mod_revision: mod_revision.as_i64(),
            version,
            value,
            lease,
        }
    }
}

#[cfg(test)]
mod tests;
