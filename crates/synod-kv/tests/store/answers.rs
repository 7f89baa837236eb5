//! What the answers to commands that write may take: random commands under random bounds against
//! the model, which reads everything and then looks how much that was.

use bytes::Bytes;
use proptest::prelude::*;
use synod_kv::{
    ANSWER_KEY_BYTES, ApplyError, Assign, Bounds, Caller, Command, DeleteRange, Key, KeyRange,
    KeyValue, MemoryEngine, Op, OpResponse, Put, Range, Reply, Response, Sort, SortOrder,
    SortTarget, Store, Txn, TxnResponse,
};

use crate::commands;
use crate::model::{Model, rev};

/// What an answer takes.
fn taken(response: &Response) -> u64 {
    match response {
        Response::Put(put) => put.prev_kv.iter().map(weight).sum(),
        Response::DeleteRange(delete) => delete.prev_kvs.iter().map(weight).sum(),
        Response::Txn(txn) => taken_by_txn(txn),
        _ => 0,
    }
}

fn taken_by_txn(txn: &TxnResponse) -> u64 {
    let each = txn.responses.iter().map(|response| match response {
        OpResponse::Range(range) => range.kvs.iter().map(weight).sum(),
        OpResponse::Put(put) => put.prev_kv.iter().map(weight).sum(),
        OpResponse::DeleteRange(delete) => delete.prev_kvs.iter().map(weight).sum(),
        OpResponse::Txn(txn) => taken_by_txn(txn),
    });
    each.sum()
}

fn weight(kv: &KeyValue) -> u64 {
    ANSWER_KEY_BYTES + u64::try_from(kv.key.len() + kv.value.len()).unwrap()
}

/// The same without any key or value.
fn emptied(mut response: Response) -> Response {
    match &mut response {
        Response::Put(put) => put.prev_kv = None,
        Response::DeleteRange(delete) => delete.prev_kvs.clear(),
        Response::Txn(txn) => empty_txn(txn),
        _ => {}
    }
    response
}

fn empty_txn(txn: &mut TxnResponse) {
    for response in &mut txn.responses {
        match response {
            OpResponse::Range(range) => {
                (range.kvs, range.more, range.count) = (Vec::new(), false, 0);
            }
            OpResponse::Put(put) => put.prev_kv = None,
            OpResponse::DeleteRange(delete) => delete.prev_kvs.clear(),
            OpResponse::Txn(txn) => empty_txn(txn),
        }
    }
}

/// More than any way to measure may come to: each operation of both branches, as if each of its
/// keys were told whole, those that were there and those that the command puts.
fn at_most(command: &Command, model: &Model) -> u64 {
    let mut put = Vec::new();
    match command {
        Command::Put(one) => at_most_of(&[Op::Put(one.clone())], model, &mut put),
        Command::DeleteRange(one) => at_most_of(&[Op::DeleteRange(one.clone())], model, &mut put),
        Command::Txn(txn) => {
            // Twice, so that all puts are known.
            for branch in [txn.success(), txn.failure()] {
                at_most_of(branch, model, &mut put);
            }
            [txn.success(), txn.failure()].map(|ops| at_most_of(ops, model, &mut put)).iter().sum()
        }
        _ => 0,
    }
}

fn at_most_of(ops: &[Op], model: &Model, put: &mut Vec<KeyValue>) -> u64 {
    let told = |keys: &KeyRange, at: i64, put: &[KeyValue]| -> u64 {
        let there: u64 = model.seen(keys, at).iter().map(weight).sum();
        let new: u64 = put.iter().filter(|kv| keys.contains(&kv.key)).map(weight).sum();
        2 * ANSWER_KEY_BYTES + there + new
    };
    let mut bytes = 0;
    for op in ops {
        bytes += match op {
            Op::Range(range) => {
                let named = range.past_revision().map(synod_kv::Revision::as_i64);
                told(&range.keys, named.unwrap_or(i64::MAX), put)
            }
            Op::DeleteRange(delete) if delete.prev_kv => told(&delete.keys, i64::MAX, put),
            Op::DeleteRange(_) => 0,
            Op::Put(one) => {
                let single = KeyRange::Single(one.key.clone());
                let former = model.seen(&single, i64::MAX).pop().unwrap_or_default();
                let value = match &one.value {
                    Assign::Set(value) => value.clone(),
                    Assign::Keep => former.value,
                };
                put.push(KeyValue { key: one.key.as_bytes().clone(), value, ..Default::default() });
                if one.prev_kv { told(&single, i64::MAX, &[]) } else { 0 }
            }
            Op::Txn(txn) => {
                at_most_of(txn.success(), model, put) + at_most_of(txn.failure(), model, put)
            }
        };
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A command that is answered takes no more than its bound, and is answered as without one. A
    /// command that is refused could have taken more, and has done nothing. Members of whom nobody
    /// asks do the same, and read nothing.
    #[test]
    fn answers_stay_within_their_bounds(
        commands in prop::collection::vec((commands::command(), 0..3000u64), 1..40),
    ) {
        let (mut asked, _) = Store::open(MemoryEngine::new()).unwrap();
        let (mut unasked, _) = Store::open(MemoryEngine::new()).unwrap();
        let mut model = Model::default();
        for (command, bytes_max) in &commands {
            if matches!(command, Command::LeaseGrant(_)) {
                continue;
            }
            let bytes = command.encode_within(&Caller::Anonymous, *bytes_max);
            let slot = asked.applied_slot();
            let estimate = asked.reader().answer_bytes(&Caller::Anonymous, command, u64::MAX);
            let reply = asked.apply(slot, 0, &bytes).unwrap();
            let silent = unasked.apply_unasked(slot, 0, &bytes).unwrap();
            asked.slot_applied(slot, 0, [0; 2]);
            unasked.slot_applied(slot, 0, [0; 2]);
            prop_assert_eq!(asked.digest(), unasked.digest());
            let told = reply.result.clone().map(emptied);
            prop_assert_eq!(Reply { result: told, ..reply.clone() }, silent);

            if let Err(ApplyError::AnswerTooLarge { bytes, bytes_max: named }) = reply.result {
                prop_assert_eq!((named, reply.revision), (*bytes_max, rev(model.revision)));
                prop_assert!(bytes > named);
                let most = at_most(command, &model);
                prop_assert!(most > named, "{} refused, {} at most", named, most);
                prop_assert!(estimate > named, "{} refused, {} estimated", named, estimate);
                let all = Range::new(KeyRange::all());
                let found = asked.reader().range(&Caller::Internal, &all).unwrap();
                prop_assert_eq!(found, model.range(&all).unwrap());
                continue;
            }
            let expected = model.apply(0, command);
            prop_assert_eq!(&reply, &expected, "{:?}", command);
            let taken = expected.result.as_ref().map_or(0, taken);
            prop_assert!(taken <= *bytes_max, "{} taken within {}", taken, bytes_max);
            prop_assert!(taken <= estimate, "{} taken, {} estimated", taken, estimate);
        }
    }
}

const KEYS: u64 = 600;
const VALUE: usize = 1000;

fn key(n: u64) -> Key {
    Key::new(Bytes::from(format!("{n:04}"))).unwrap()
}

/// So many keys at revision 2.
fn filled() -> Store<MemoryEngine> {
    let (mut store, _) = Store::open(MemoryEngine::new()).unwrap();
    let put = |n| Op::Put(Put::new(key(n), Bytes::from(vec![b'v'; VALUE])));
    let puts = Txn::new(vec![], (0..KEYS).map(put).collect(), vec![]).unwrap();
    store.apply(1, 0, &Command::Txn(puts).encode()).unwrap().result.unwrap();
    store.slot_applied(1, 0, [0; 2]);
    store
}

fn txn(ops: Vec<Op>) -> Command {
    Command::Txn(Txn::new(vec![], ops, vec![]).unwrap())
}

/// What a command needs, found by trying, with a few bytes to spare for each operation.
#[test]
fn what_is_told_counts_and_what_is_not_told_does_not() {
    let all = || Range::new(KeyRange::all());
    let put = || Op::Put(Put::new(key(9999), Bytes::new()));
    let delete = |prev_kv, keys| DeleteRange { keys, prev_kv };
    let by = |target| Sort { order: SortOrder::Descend, target };
    let bounds = Bounds { min_mod: Some(rev(1)), ..Bounds::default() };
    let each = ANSWER_KEY_BYTES + 4;
    let (value, seen) = (u64::try_from(VALUE).unwrap(), KEYS * ANSWER_KEY_BYTES);
    let whole = KEYS * (each + value);
    let one = each + value;
    let range = |range| txn(vec![put(), Op::Range(range)]);
    for (name, command, least) in [
        ("all", range(all()), whole),
        ("keys", range(Range { keys_only: true, ..all() }), KEYS * each),
        ("ten", range(all().limited(10)), 10 * one),
        ("ten keys", range(Range { keys_only: true, ..all().limited(10) }), 10 * each),
        ("count", range(Range { count_only: true, ..all() }), 0),
        ("count before", range(Range { count_only: true, ..all().at(rev(2)) }), seen),
        ("ten before", range(all().limited(10).at(rev(2))), seen + 10 * (4 + value)),
        ("latest", range(Range { sort: by(SortTarget::Mod), ..all().limited(1) }), seen + value),
        ("largest", range(Range { sort: by(SortTarget::Value), ..all().limited(1) }), whole),
        ("within bounds", range(Range { bounds, ..all().limited(1) }), seen + value),
        ("delete", Command::DeleteRange(delete(false, KeyRange::all())), 0),
        ("delete told", Command::DeleteRange(delete(true, KeyRange::all())), whole),
        (
            "nested",
            txn(vec![Op::Txn(
                Txn::new(
                    vec![],
                    vec![put(), Op::Range(all().limited(3)), Op::Range(all().limited(4))],
                    vec![Op::Range(all())],
                )
                .unwrap(),
            )]),
            7 * one,
        ),
        (
            "what it puts itself",
            txn(vec![
                Op::Put(Put::new(key(9999), Bytes::from(vec![b'v'; VALUE]))),
                Op::Range(Range::new(KeyRange::Single(key(9999)))),
            ]),
            one,
        ),
        (
            "the next in a queue",
            txn(vec![
                Op::DeleteRange(delete(false, KeyRange::Single(key(0)))),
                Op::Range(all().limited(1)),
            ]),
            2 * one,
        ),
    ] {
        let passes = |bytes_max| {
            let mut store = filled();
            let bytes = command.encode_within(&Caller::Anonymous, bytes_max);
            let reply = store.apply(2, 0, &bytes).unwrap();
            let refused = matches!(reply.result, Err(ApplyError::AnswerTooLarge { .. }));
            assert_eq!(refused, reply.result.is_err(), "{name}: {:?}", reply.result);
            assert!(!refused || reply.revision == rev(2), "{name}");
            !refused
        };
        let spare = 6 * ANSWER_KEY_BYTES + 10;
        assert!(passes(least + spare), "{name} within {least}");
        assert!(least == 0 || !passes(least - 1), "{name} in less than {least}");
    }
}

/// As commands of a member that names none, and of the release before: they are read as ever.
#[test]
fn a_command_without_a_bound_has_one() {
    let mut store = filled();
    let large = Bytes::from(vec![b'v'; 1 << 20]);
    for n in 0..70 {
        let put = Command::Put(Put::new(key(n), large.clone()));
        let slot = store.applied_slot();
        store.apply(slot, 0, &put.encode()).unwrap().result.unwrap();
        store.slot_applied(slot, 0, [0; 2]);
    }
    let delete = |end: u64| {
        let keys = KeyRange::Between { start: key(0), end: key(end) };
        Command::DeleteRange(DeleteRange { keys, prev_kv: true }).encode()
    };
    let slot = store.applied_slot();
    let refused = store.apply(slot, 0, &delete(70)).unwrap().result;
    assert!(matches!(refused, Err(ApplyError::AnswerTooLarge { bytes_max, .. })
        if bytes_max == synod_kv::ANSWER_BYTES_MAX));
    let Ok(Response::DeleteRange(deleted)) = store.apply(slot, 0, &delete(60)).unwrap().result
    else {
        panic!("refused");
    };
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (60, 60));
}
