//! Messages as JSON and back, one situation each.

use super::*;
use crate::proto::etcdserverpb as pb;

fn call(path: &str) -> &'static Call {
    routed(path).unwrap()
}

fn json<M: Message>(path: &str, answer: &M) -> String {
    let mut json = Vec::new();
    call(path).answer(answer.encode_to_vec().into(), &mut json).unwrap();
    String::from_utf8(json).unwrap()
}

fn range(json: &str) -> Result<pb::RangeRequest, JsonError> {
    call("/v3/kv/range").request(json.as_bytes()).map(|bytes| Message::decode(bytes).unwrap())
}

#[test]
fn every_route_leads_to_a_call_and_every_call_but_the_newest_has_one() {
    for (http, grpc) in routes::ROUTES {
        assert_eq!(call(http).path(), *grpc);
    }
    let unrouted: Vec<_> = calls()
        .iter()
        .filter(|call| !routes::ROUTES.iter().any(|(_, grpc)| *grpc == call.path()))
        .map(Call::path)
        .collect();
    assert!(unrouted.iter().all(|path| *path == "/etcdserverpb.KV/RangeStream"), "{unrouted:?}");
    assert!(routed("/v3/kv/nonsense").is_none());
}

#[test]
fn calls_know_which_way_they_stream() {
    assert_eq!(call("/v3/kv/put").streaming(), Streaming::Unary);
    assert_eq!(call("/v3/maintenance/snapshot").streaming(), Streaming::Answers);
    assert_eq!(call("/v3/watch").streaming(), Streaming::Both);
    assert_eq!(call("/v3/kv/put").names(), ("etcdserverpb.KV", "Put"));
}

#[test]
fn a_request_has_names_in_both_cases_and_numbers_in_both_forms() {
    let expected = pb::RangeRequest {
        key: "foo".into(),
        range_end: "fop".into(),
        limit: 7,
        revision: 9_007_199_254_740_993,
        sort_order: 2,
        keys_only: true,
        ..Default::default()
    };
    for json in [
        r#"{"key":"Zm9v","range_end":"Zm9w","limit":"7","revision":"9007199254740993",
            "sort_order":"DESCEND","keys_only":true}"#,
        r#" {"key":"Zm9v","rangeEnd":"Zm9w","limit":7,"revision":9007199254740993,
            "sortOrder":2,"keysOnly":true,"serializable":null,"unheard_of":{"x":[1]}} "#,
    ] {
        assert_eq!(range(json), Ok(expected.clone()), "{json}");
    }
    assert_eq!(range(""), Ok(pb::RangeRequest::default()));
}

#[test]
fn bytes_come_in_either_base64_with_or_without_padding() {
    for (text, key) in [
        ("+/8=", &[0xfb_u8, 0xff][..]),
        ("-_8=", &[0xfb, 0xff]),
        ("-_8", &[0xfb, 0xff]),
        ("Zg", b"f"),
        ("", b""),
    ] {
        let found = range(&format!(r#"{{"key":"{text}"}}"#)).unwrap();
        assert_eq!(&found.key[..], key, "{text}");
    }
}

/// etcd's decoder stops where the request ends.
#[test]
fn what_comes_behind_a_request_is_not_looked_at() {
    for behind in ["\n", "\0", " garbage", "}", r#"{"key":"YmFy"}"#] {
        let found = range(&format!(r#"{{"key":"Zm9v"}}{behind}"#)).unwrap();
        assert_eq!(&found.key[..], b"foo", "{behind:?}");
    }
}

#[test]
fn what_is_not_a_request_is_refused_with_the_reason() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let nested = |depth: usize| {
        let (open, close) = (r#"{"success":[{"request_txn":"#, "}]}");
        format!("{}{{}}{}", open.repeat(depth), close.repeat(depth))
    };
    let txn = |json: String| call("/v3/kv/txn").request(json.as_bytes()).unwrap_err().to_string();
    for (error, part) in [
        (range(r#"{"key":"!!"}"#).unwrap_err().to_string(), "invalid base64"),
        (range(r#"{"key":"Zm9v""#).unwrap_err().to_string(), "EOF"),
        (range(r#"{"key":7}"#).unwrap_err().to_string(), "invalid type"),
        (range(r#"{"revision":"x"}"#).unwrap_err().to_string(), "invalid digit"),
        (range(r#"{"revision":"9223372036854775808"}"#).unwrap_err().to_string(), "too large"),
        (range(r#"["key"]"#).unwrap_err().to_string(), "invalid type"),
        (range(&deep).unwrap_err().to_string(), "invalid type"),
        (txn(nested(200)), "recursion limit"),
    ] {
        assert!(error.contains(part), "{error:?} has no {part:?}");
    }
    assert!(range(&format!(r#"{{"unheard_of":{deep}}}"#)).is_ok(), "skipped without a stack");
}

#[test]
fn an_answer_has_etcds_names_and_nothing_for_zero() {
    let header =
        pb::ResponseHeader { cluster_id: u64::MAX, member_id: 2, revision: -1, raft_term: 0 };
    let put = pb::PutResponse { header: Some(header), prev_kv: None };
    assert_eq!(
        json("/v3/kv/put", &put),
        r#"{"header":{"cluster_id":"18446744073709551615","member_id":"2","revision":"-1"}}"#
    );
    let lease = pb::LeaseGrantResponse { id: 5, ttl: 60, ..Default::default() };
    assert_eq!(json("/v3/lease/grant", &lease), r#"{"ID":"5","TTL":"60"}"#);
    let alarm = pb::AlarmMember { member_id: 1, alarm: 1 };
    let alarms = pb::AlarmResponse { header: None, alarms: vec![alarm] };
    assert_eq!(
        json("/v3/maintenance/alarm", &alarms),
        r#"{"alarms":[{"memberID":"1","alarm":"NOSPACE"}]}"#
    );
    let empty = pb::PutResponse { header: Some(Default::default()), prev_kv: None };
    assert_eq!(json("/v3/kv/put", &empty), r#"{"header":{}}"#, "a message that is there is shown");
}

#[test]
fn bytes_that_are_no_answer_are_an_error() {
    let mut json = Vec::new();
    assert!(call("/v3/kv/put").answer(Bytes::from_static(b"\xff"), &mut json).is_err());
}
