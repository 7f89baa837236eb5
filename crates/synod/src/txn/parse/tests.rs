//! What the text of a transaction means, and what it may not be.

use pb::compare::TargetUnion;
use pb::request_op::Request;

use super::*;

fn condition(line: &str) -> (i32, i32, Bytes, TargetUnion) {
    let compare = pb::Compare::from(compare(line).unwrap());
    (compare.target, compare.result, compare.key, compare.target_union.unwrap())
}

#[test]
fn conditions() {
    let text = |text: &'static str| TargetUnion::Value(Bytes::from_static(text.as_bytes()));
    let table = [
        (r#"mod("key1") > "0""#, 2, 1, "key1", TargetUnion::ModRevision(0)),
        (r#"m(k) = 7"#, 2, 0, "k", TargetUnion::ModRevision(7)),
        (r#"create("k")="0""#, 1, 0, "k", TargetUnion::CreateRevision(0)),
        (r#"c("k") < "9""#, 1, 2, "k", TargetUnion::CreateRevision(9)),
        (r#"ver("k") != "1""#, 0, 3, "k", TargetUnion::Version(1)),
        (r#"version("k") = "-1""#, 0, 0, "k", TargetUnion::Version(-1)),
        (r#"val("a(b) c") = "x = \"y\"""#, 3, 0, "a(b) c", text("x = \"y\"")),
        (r#"value( `k` )  =  '' "#, 3, 0, "k", text("")),
        (r#"lease("k") = "ff""#, 4, 0, "k", TargetUnion::Lease(255)),
    ];
    for (line, target, result, key, union) in table {
        assert_eq!(condition(line), (target, result, Bytes::from(key), union), "{line}");
    }
}

#[test]
fn what_is_no_condition() {
    for line in [
        "mod",
        "mod(k",
        "mod(k)",
        "mod(k) 7",
        "mod(k) == 7",
        "mod(k) = seven",
        "mod(k) = 7 8",
        "size(k) = 7",
        "mod() = 7",
        "value(\"k) = 7",
        "value(k) = \"v",
        "value(k) = \"\\q\"",
        "value(k) = \"\\xzz\"",
        "lease(k) = xyz",
    ] {
        assert!(compare(line).is_err(), "{line}");
    }
}

#[test]
fn operations() {
    let request = |line: &str| pb::RequestOp::from(op(line).unwrap()).request.unwrap();
    let Request::RequestPut(put) = request(r#"put "a key" 'its value' --lease=1f --prev-kv"#)
    else {
        panic!("not a put");
    };
    assert_eq!((&put.key[..], &put.value[..]), (&b"a key"[..], &b"its value"[..]));
    assert_eq!((put.lease, put.prev_kv), (31, true));

    let Request::RequestRange(range) = request("get k --prefix --limit 3 --order DESCEND") else {
        panic!("not a range");
    };
    assert_eq!((&range.key[..], &range.range_end[..]), (&b"k"[..], &b"l"[..]));
    assert_eq!((range.limit, range.sort_order), (3, 2));

    let Request::RequestDeleteRange(delete) = request("del a z") else {
        panic!("not a delete");
    };
    assert_eq!((&delete.key[..], &delete.range_end[..]), (&b"a"[..], &b"z"[..]));

    let Request::RequestPut(put) = request(r#"put k "\x00\xff\t\\""#) else {
        panic!("not a put");
    };
    assert_eq!(&put.value[..], b"\x00\xff\t\\");
}

#[test]
fn what_is_no_operation() {
    for line in ["put", "put k", "put \"\" v", "move a b", "get", "get --nope k", "del a b c"] {
        assert!(op(line).is_err(), "{line}");
    }
}

#[test]
fn three_blocks() {
    let lens = |text: &str| {
        let txn = txn(text).unwrap();
        (txn.compare.len(), txn.success.len(), txn.failure.len())
    };
    assert_eq!(lens("m(k) = 1\n\nput k v\nget k\n\ndel k\n\n"), (1, 2, 1));
    assert_eq!(lens("m(k) = 1\n\nput k v\n\ndel k"), (1, 1, 1));
    assert_eq!(lens("\nput k v\n"), (0, 1, 0));
    assert_eq!(lens("\n\n"), (0, 0, 0));
    assert_eq!(lens(""), (0, 0, 0));
    let error = txn("\n\n\nput k v\n").unwrap_err();
    assert_eq!(error.to_string(), "line 4: \"put k v\" follows the third block");
    let error = txn("\nput k\n").unwrap_err();
    assert_eq!(format!("{error:#}"), "line 2: put k: put needs a value here");
}
