//! Which requests pass, which are refused and how; and that a request survives the way there and
//! back.

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::*;

fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>) -> (Option<EtcdError>, Code) {
    let refusal = result.unwrap_err();
    (refusal.etcd(), refusal.code())
}

fn etcd(error: EtcdError) -> (Option<EtcdError>, Code) {
    (Some(error), error.code())
}

fn put_of(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: Bytes::from_static(key.as_bytes()), ..pb::PutRequest::default() }
}

fn op_of(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn put_op(key: &'static str) -> pb::RequestOp {
    op_of(pb::request_op::Request::RequestPut(put_of(key)))
}

fn txn_op(txn: pb::TxnRequest) -> pb::RequestOp {
    op_of(pb::request_op::Request::RequestTxn(txn))
}

fn success(ops: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success: ops, ..pb::TxnRequest::default() }
}

fn compares(compare: Vec<pb::Compare>) -> pb::TxnRequest {
    pb::TxnRequest { compare, ..pb::TxnRequest::default() }
}

#[test]
fn a_key_is_needed_everywhere() {
    let empty_key = etcd(EtcdError::EmptyKey);
    assert_eq!(refused(range(pb::RangeRequest::default())), empty_key);
    assert_eq!(refused(put(pb::PutRequest::default())), empty_key);
    assert_eq!(refused(delete_range(pb::DeleteRangeRequest::default())), empty_key);
    assert_eq!(refused(txn(compares(vec![pb::Compare::default()]), 128)), empty_key);
    assert_eq!(refused(txn(success(vec![put_op("")]), 128)), empty_key);
    let within = success(vec![txn_op(success(vec![put_op("")]))]);
    assert_eq!(refused(txn(within, 128)), empty_key);
}

#[test]
fn a_put_does_not_give_what_it_keeps() {
    let value = Bytes::from_static(b"v");
    let table = [
        (false, "v", false, 7, None),
        (true, "", true, 0, None),
        (true, "v", false, 0, Some(EtcdError::ValueProvided)),
        (false, "v", true, 7, Some(EtcdError::LeaseProvided)),
        (true, "v", true, 7, Some(EtcdError::ValueProvided)),
    ];
    for (ignore_value, given, ignore_lease, lease, error) in table {
        let value = if given.is_empty() { Bytes::new() } else { value.clone() };
        let request = pb::PutRequest { value, lease, ignore_value, ignore_lease, ..put_of("k") };
        match error {
            Some(error) => assert_eq!(refused(put(request)), etcd(error)),
            None => assert_eq!(pb::PutRequest::from(put(request.clone()).unwrap()), request),
        }
    }
}

#[test]
fn operations_are_counted_as_etcd_counts_them() {
    let puts = |count: usize| {
        let key = |at: usize| Bytes::from(format!("k{at}"));
        (0..count)
            .map(|at| pb::PutRequest { key: key(at), ..pb::PutRequest::default() })
            .map(|put| op_of(pb::request_op::Request::RequestPut(put)))
            .collect::<Vec<_>>()
    };
    let both = |count| pb::TxnRequest {
        success: puts(count),
        failure: puts(count),
        ..pb::TxnRequest::default()
    };
    assert_eq!(txn(both(128), 128).unwrap().op_count(), 128);
    assert_eq!(refused(txn(both(129), 128)), etcd(EtcdError::TooManyOps));
    let detail = txn(both(129), 128).unwrap_err();
    assert_eq!(
        detail.detail(),
        Some("the transaction at depth 1 has 129 operations, it may have 128: split it")
    );

    let within = |count| success(vec![txn_op(both(count))]);
    assert_eq!(txn(within(127), 128).unwrap().op_count(), 128);
    assert_eq!(refused(txn(within(128), 128)), etcd(EtcdError::TooManyOps));
}

#[test]
fn a_key_changes_once_per_transaction() {
    let twice = success(vec![put_op("a"), put_op("a")]);
    assert_eq!(refused(txn(twice, 128)), etcd(EtcdError::DuplicateKey));
    let each_branch = pb::TxnRequest {
        success: vec![put_op("a")],
        failure: vec![put_op("a")],
        ..pb::TxnRequest::default()
    };
    txn(each_branch, 128).unwrap();
}

#[test]
fn transactions_nest_within_bounds() {
    let nest = |depth: usize| {
        (1..depth).fold(pb::TxnRequest::default(), |inner, _| success(vec![txn_op(inner)]))
    };
    txn(nest(Txn::DEPTH_MAX), 128).unwrap();
    assert_eq!(refused(txn(nest(Txn::DEPTH_MAX + 1), 128)), etcd(EtcdError::TooManyOps));
    assert_eq!(refused(txn(nest(1000), 128)), etcd(EtcdError::TooManyOps));
}

#[test]
fn numbers_without_meaning_are_refused() {
    let key = Bytes::from_static(b"k");
    let order = |sort_order, sort_target| {
        range(pb::RangeRequest {
            key: key.clone(),
            sort_order,
            sort_target,
            ..pb::RangeRequest::default()
        })
    };
    for sort_order in 0..3 {
        for sort_target in 0..5 {
            order(sort_order, sort_target).unwrap();
        }
    }
    for (sort_order, sort_target) in [(3, 0), (-1, 0), (0, 5), (0, -1)] {
        let refusal = refused(order(sort_order, sort_target));
        assert_eq!(refusal, etcd(EtcdError::InvalidSortOption));
    }
    let compare = |result, target| {
        let key = key.clone();
        txn(compares(vec![pb::Compare { result, target, key, ..pb::Compare::default() }]), 128)
    };
    for (result, target) in [(4, 0), (-1, 0), (0, 5), (0, -1)] {
        assert_eq!(refused(compare(result, target)), (None, Code::InvalidArgument));
    }
    let empty_op = success(vec![pb::RequestOp { request: None }]);
    assert_eq!(refused(txn(empty_op, 128)), etcd(EtcdError::KeyNotFound));
}

#[test]
fn a_comparison_with_nothing_compares_with_zero() {
    use pb::compare::TargetUnion;
    let given = |kind, union| {
        let compare = pb::Compare {
            target: kind,
            key: Bytes::from_static(b"k"),
            target_union: union,
            ..pb::Compare::default()
        };
        txn(compares(vec![compare]), 128).unwrap().compares()[0].target.clone()
    };
    let zeros = [
        Target::Version(0),
        Target::Create(0),
        Target::Mod(0),
        Target::Value(Bytes::new()),
        Target::Lease(0),
    ];
    for (kind, zero) in (0..).zip(zeros) {
        assert_eq!(given(kind, None), zero);
        let of_another_kind = match kind {
            0 => TargetUnion::Lease(7),
            _ => TargetUnion::Version(7),
        };
        assert_eq!(given(kind, Some(of_another_kind)), zero);
    }
    assert_eq!(given(2, Some(TargetUnion::ModRevision(7))), Target::Mod(7));
}

#[test]
fn limit_and_revision_below_one_mean_none() {
    for (limit, revision) in [(0, 0), (-1, -1), (i64::MIN, i64::MIN)] {
        let request = pb::RangeRequest {
            key: Bytes::from_static(b"k"),
            limit,
            revision,
            ..pb::RangeRequest::default()
        };
        let read = range(request).unwrap();
        assert_eq!((read.range.limit, read.range.revision), (None, None));
    }
}

fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), len).prop_map(Bytes::from)
}

fn keys() -> impl Strategy<Value = KeyRange> {
    (bytes(1..3), bytes(0..3)).prop_map(|(key, end)| KeyRange::new(key, end).unwrap())
}

fn revision() -> impl Strategy<Value = Option<Revision>> {
    (0i64..5).prop_map(Revision::named)
}

fn any_sort() -> impl Strategy<Value = Sort> {
    (0i32..3, 0i32..5).prop_map(|(order, target)| sort(order, target).unwrap())
}

fn any_range() -> impl Strategy<Value = Range> {
    let bounds = (revision(), revision(), revision(), revision()).prop_map(
        |(min_mod, max_mod, min_create, max_create)| Bounds {
            min_mod,
            max_mod,
            min_create,
            max_create,
        },
    );
    let flags = (any::<bool>(), any::<bool>());
    (keys(), 0u64..9, revision(), any_sort(), flags, bounds).prop_map(
        |(keys, limit, revision, sort, (keys_only, count_only), bounds)| Range {
            keys,
            limit: NonZeroU64::new(limit),
            revision,
            sort,
            keys_only,
            count_only,
            bounds,
        },
    )
}

fn assign<T: std::fmt::Debug>(set: impl Strategy<Value = T>) -> impl Strategy<Value = Assign<T>> {
    (any::<bool>(), set)
        .prop_map(|(keep, value)| if keep { Assign::Keep } else { Assign::Set(value) })
}

fn any_put() -> impl Strategy<Value = Put> {
    (bytes(1..3), assign(bytes(0..9)), assign(any::<i64>()), any::<bool>()).prop_map(
        |(key, value, lease, prev_kv)| Put { key: Key::new(key).unwrap(), value, lease, prev_kv },
    )
}

fn any_delete() -> impl Strategy<Value = DeleteRange> {
    (keys(), any::<bool>()).prop_map(|(keys, prev_kv)| DeleteRange { keys, prev_kv })
}

fn any_compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        any::<i64>().prop_map(Target::Version),
        any::<i64>().prop_map(Target::Create),
        any::<i64>().prop_map(Target::Mod),
        bytes(0..5).prop_map(Target::Value),
        any::<i64>().prop_map(Target::Lease),
    ];
    (keys(), 0i32..4, target).prop_map(|(keys, result, target)| Compare {
        keys,
        comparison: comparison(result).unwrap(),
        target,
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    let leaf = prop_oneof![
        any_range().prop_map(Op::Range),
        any_put().prop_map(Op::Put),
        any_delete().prop_map(Op::DeleteRange),
    ];
    leaf.prop_recursive(2, 12, 3, |inner| {
        let within = any_txn(vec(inner.clone(), 0..3).boxed());
        prop_oneof![2 => inner, 1 => within.prop_map(Op::Txn)]
    })
}

/// A transaction of these operations; without them where they would change a key twice.
fn any_txn(ops: BoxedStrategy<Vec<Op>>) -> impl Strategy<Value = Txn> {
    (vec(any_compare(), 0..3), ops.clone(), ops).prop_map(|(compares, success, failure)| {
        Txn::new(compares.clone(), success, failure)
            .or_else(|_| Txn::new(compares, Vec::new(), Vec::new()))
            .unwrap()
    })
}

/// What arrives when a message is sent.
fn sent<M: Message + Default>(message: impl Into<M>) -> M {
    M::decode(message.into().encode_to_vec().as_slice()).unwrap()
}

proptest! {
    #[test]
    fn a_range_survives_the_way(range in any_range(), serializable: bool) {
        let read = Read { range, serializable };
        prop_assert_eq!(super::range(sent(read.clone())).unwrap(), read);
    }

    #[test]
    fn a_put_survives_the_way(put in any_put()) {
        prop_assert_eq!(super::put(sent(put.clone())).unwrap(), put);
    }

    #[test]
    fn a_delete_survives_the_way(delete in any_delete()) {
        prop_assert_eq!(delete_range(sent(delete.clone())).unwrap(), delete);
    }

    #[test]
    fn a_compaction_survives_the_way(revision: i64, physical: bool) {
        let compact = Compact { revision: Revision::new(revision) };
        let asked = Compaction { compact, physical };
        prop_assert_eq!(compaction(sent(asked)), asked);
    }

    #[test]
    fn a_transaction_survives_the_way(asked in any_txn(vec(any_op(), 0..4).boxed())) {
        prop_assert_eq!(txn(sent(&asked), 128).unwrap(), asked);
    }

    /// Whatever bytes a client sends, they are understood or refused.
    #[test]
    fn garbage_is_refused(garbage in vec(any::<u8>(), 0..200)) {
        if let Ok(request) = pb::TxnRequest::decode(garbage.as_slice()) {
            drop(txn(request, 128));
        }
        if let Ok(request) = pb::RangeRequest::decode(garbage.as_slice()) {
            drop(range(request));
        }
        if let Ok(request) = pb::PutRequest::decode(garbage.as_slice()) {
            drop(put(request));
        }
    }
}
