//! Answers as JSON, the way etcdctl prints them: bytes in base64, fields of value zero left out.

use base64::Engine;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use synod_etcd::proto::authpb::Permission;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::response_op::Response;
use synod_etcd::proto::mvccpb::{Event, KeyValue};

/// Prints one line of JSON.
pub(crate) fn print(value: &Value) -> anyhow::Result<()> {
    crate::text::print(|out| {
        use std::io::Write;
        writeln!(out, "{value}")
    })
}

/// The answer to a put.
pub(crate) fn put(answer: &pb::PutResponse) -> Value {
    let pb::PutResponse { header, prev_kv } = answer;
    object([("header", self::header(header.as_ref())), ("prev_kv", optional(prev_kv.as_ref(), kv))])
}

/// The answer to a range.
pub(crate) fn range(answer: &pb::RangeResponse) -> Value {
    let pb::RangeResponse { header, kvs, more, count } = answer;
    object([
        ("header", self::header(header.as_ref())),
        ("kvs", list(kvs, kv)),
        ("more", json!(more)),
        ("count", json!(count)),
    ])
}

/// The answer to a delete.
pub(crate) fn delete_range(answer: &pb::DeleteRangeResponse) -> Value {
    let pb::DeleteRangeResponse { header, deleted, prev_kvs } = answer;
    object([
        ("header", self::header(header.as_ref())),
        ("deleted", json!(deleted)),
        ("prev_kvs", list(prev_kvs, kv)),
    ])
}

/// The answer to a transaction.
pub(crate) fn txn(answer: &pb::TxnResponse) -> Value {
    let pb::TxnResponse { header, succeeded, responses } = answer;
    object([
        ("header", self::header(header.as_ref())),
        ("succeeded", json!(succeeded)),
        ("responses", list(responses, op)),
    ])
}

/// The answer to a compaction.
pub(crate) fn compaction(answer: &pb::CompactionResponse) -> Value {
    let pb::CompactionResponse { header } = answer;
    object([("header", self::header(header.as_ref()))])
}

/// What a member says of itself.
pub(crate) fn status(answer: &pb::StatusResponse) -> Value {
    let pb::StatusResponse {
        header,
        version,
        db_size,
        leader,
        raft_index,
        raft_term,
        raft_applied_index,
        errors,
        db_size_in_use,
        is_learner,
        storage_version,
        db_size_quota,
        downgrade_info: _,
    } = answer;
    object([
        ("header", self::header(header.as_ref())),
        ("version", json!(version)),
        ("dbSize", json!(db_size)),
        ("leader", json!(leader)),
        ("raftIndex", json!(raft_index)),
        ("raftTerm", json!(raft_term)),
        ("raftAppliedIndex", json!(raft_applied_index)),
        ("errors", json!(errors)),
        ("dbSizeInUse", json!(db_size_in_use)),
        ("isLearner", json!(is_learner)),
        ("storageVersion", json!(storage_version)),
        ("dbSizeQuota", json!(db_size_quota)),
    ])
}

/// The members.
pub(crate) fn member_list(answer: &pb::MemberListResponse) -> Value {
    let pb::MemberListResponse { header, members } = answer;
    object([("header", self::header(header.as_ref())), ("members", list(members, member))])
}

/// An answer of these fields, with its header.
pub(crate) fn headed<const N: usize>(
    header: Option<&pb::ResponseHeader>,
    fields: [(&str, Value); N],
) -> Value {
    let mut answer = object(fields);
    answer["header"] = self::header(header);
    answer
}

/// What a role may.
pub(crate) fn permissions(permissions: &[Permission]) -> Value {
    list(permissions, |permission| {
        let Permission { perm_type, key, range_end } = permission;
        object([
            ("permType", json!(perm_type)),
            ("key", json!(base64(key))),
            ("range_end", json!(base64(range_end))),
        ])
    })
}

/// Keys, in base64.
pub(crate) fn keys(keys: &[Bytes]) -> Value {
    keys.iter().map(|key| json!(base64(key))).collect()
}

/// What happened to a key.
pub(crate) fn event(event: &Event) -> Value {
    let Event { r#type, kv, prev_kv } = event;
    object([
        ("type", json!(r#type)),
        ("kv", optional(kv.as_ref(), self::kv)),
        ("prev_kv", optional(prev_kv.as_ref(), self::kv)),
    ])
}

fn member(member: &pb::Member) -> Value {
    let pb::Member { id, name, peer_ur_ls, client_ur_ls, is_learner } = member;
    object([
        ("ID", json!(id)),
        ("name", json!(name)),
        ("peerURLs", json!(peer_ur_ls)),
        ("clientURLs", json!(client_ur_ls)),
        ("isLearner", json!(is_learner)),
    ])
}

fn op(op: &pb::ResponseOp) -> Value {
    let part = match &op.response {
        Some(Response::ResponseRange(answer)) => json!({ "response_range": range(answer) }),
        Some(Response::ResponsePut(answer)) => json!({ "response_put": put(answer) }),
        Some(Response::ResponseDeleteRange(answer)) => {
            json!({ "response_delete_range": delete_range(answer) })
        }
        Some(Response::ResponseTxn(answer)) => json!({ "response_txn": txn(answer) }),
        None => Value::Null,
    };
    json!({ "Response": part })
}

fn header(header: Option<&pb::ResponseHeader>) -> Value {
    optional(header, |header| {
        let pb::ResponseHeader { cluster_id, member_id, revision, raft_term } = header;
        object([
            ("cluster_id", json!(cluster_id)),
            ("member_id", json!(member_id)),
            ("revision", json!(revision)),
            ("raft_term", json!(raft_term)),
        ])
    })
}

fn kv(kv: &KeyValue) -> Value {
    let KeyValue { key, create_revision, mod_revision, version, value, lease } = kv;
    object([
        ("key", json!(base64(key))),
        ("create_revision", json!(create_revision)),
        ("mod_revision", json!(mod_revision)),
        ("version", json!(version)),
        ("value", json!(base64(value))),
        ("lease", json!(lease)),
    ])
}

fn optional<T>(value: Option<&T>, form: impl Fn(&T) -> Value) -> Value {
    value.map_or(Value::Null, form)
}

fn list<T>(values: &[T], form: impl Fn(&T) -> Value) -> Value {
    values.iter().map(form).collect()
}

/// An object of these fields, without those that are zero, empty or absent.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let is_zero = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_u64() == Some(0),
        Value::String(value) => value.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(_) => false,
    };
    let fields = fields.into_iter().filter(|(_, value)| !is_zero(value));
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out() {
        let answer = pb::RangeResponse {
            header: Some(pb::ResponseHeader { revision: 3, ..pb::ResponseHeader::default() }),
            kvs: vec![KeyValue { key: "k".into(), version: 1, ..KeyValue::default() }],
            more: false,
            count: 1,
        };
        let text = range(&answer).to_string();
        assert_eq!(
            text,
            r#"{"count":1,"header":{"revision":3},"kvs":[{"key":"aw==","version":1}]}"#
        );
    }
}
