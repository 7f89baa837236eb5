//! Answers taken from an etcd 3.4.23, one situation each: what the model could share a mistake
//! about with the store.

use bytes::Bytes;
use synod_kv::{
    ApplyError, Assign, Caller, Command, Compact, Compare, Comparison, DeleteRange, Flusher, Key,
    KeyRange, MemoryEngine, Op, OpResponse, Put, Range, Reply, Response, Revision, Sort, SortOrder,
    SortTarget, Store, Target, Txn, TxnResponse,
};

/// A store that takes one command per slot.
struct Etcd {
    store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
}

impl Etcd {
    /// At revision 9: a four times, b twice, c and d once.
    fn filled() -> Self {
        let (store, flusher) = Store::open(MemoryEngine::new()).unwrap();
        let mut etcd = Self { store, flusher };
        let puts = [("a", "z"), ("b", "y"), ("c", "x"), ("d", "w")];
        for (key, value) in puts.into_iter().chain([("a", "z"); 3]).chain([("b", "y")]) {
            etcd.run(Command::Put(put(key, value))).result.unwrap();
        }
        assert_eq!(etcd.store.revision(), Revision::new(9));
        etcd
    }

    fn run(&mut self, command: Command) -> Reply {
        let slot = self.store.applied_slot();
        let reply = self.store.apply(slot, 0, &command.encode()).unwrap();
        self.store.slot_applied(slot, 0, [0; 2]);
        reply
    }

    fn txn(&mut self, compares: Vec<Compare>, success: Vec<Op>) -> Result<TxnResponse, ApplyError> {
        let txn = Txn::new(compares, success, vec![]).unwrap();
        match self.run(Command::Txn(txn)).result? {
            Response::Txn(response) => Ok(response),
            other => panic!("{other:?}"),
        }
    }

    fn compact(&mut self, revision: i64) -> Result<Response, ApplyError> {
        self.run(Command::Compact(Compact { revision: Revision::new(revision) })).result
    }

    /// The keys of a range, its `more` and its `count`.
    fn keys(&self, range: &Range) -> (String, bool, u64) {
        let answer = self.store.reader().range(&Caller::Internal, range).unwrap();
        let keys = answer.kvs.iter().flat_map(|kv| kv.key.to_vec()).collect();
        (String::from_utf8(keys).unwrap(), answer.more, answer.count)
    }
}

fn keys(key: &'static str, end: &'static str) -> KeyRange {
    KeyRange::new(Bytes::from(key), Bytes::from(end)).unwrap()
}

fn put(key: &'static str, value: &'static str) -> Put {
    Put::new(Key::new(Bytes::from(key)).unwrap(), Bytes::from(value))
}

fn get(key: &'static str) -> Op {
    Op::Range(Range::new(keys(key, "")))
}

fn delete(key: &'static str, end: &'static str) -> Op {
    Op::DeleteRange(DeleteRange::new(keys(key, end)))
}

/// The revision in an operation's answer, and how many keys it read or deleted.
fn told(response: &OpResponse) -> (i64, u64) {
    let (revision, keys) = match response {
        OpResponse::Range(range) => (range.revision, range.count),
        OpResponse::Put(put) => (put.revision, 0),
        OpResponse::DeleteRange(delete) => (delete.revision, delete.deleted),
        OpResponse::Txn(txn) => (txn.revision, 0),
    };
    (revision.as_i64(), keys)
}

#[test]
fn a_sort_target_without_order_sorts_what_the_limit_fetched() {
    let etcd = Etcd::filled();
    let sorted = |target, order, limit| {
        let sort = Sort { order, target };
        etcd.keys(&Range { sort, ..Range::new(keys("a", "z")).limited(limit) })
    };
    assert_eq!(sorted(SortTarget::Version, SortOrder::None, 2), ("cb".into(), true, 4));
    assert_eq!(sorted(SortTarget::Value, SortOrder::None, 2), ("cb".into(), true, 4));
    assert_eq!(sorted(SortTarget::Version, SortOrder::Descend, 3), ("abc".into(), true, 4));
}

#[test]
fn bounds_do_not_change_the_count() {
    let etcd = Etcd::filled();
    let mut range = Range::new(keys("a", "z")).limited(1);
    range.bounds.min_mod = Revision::named(7);
    assert_eq!(etcd.keys(&range), ("a".into(), true, 4));
    range.count_only = true;
    assert_eq!(etcd.keys(&range), (String::new(), false, 4));
    range.count_only = false;
    range.bounds.max_mod = Revision::named(-1);
    assert_eq!(etcd.keys(&range), (String::new(), false, 4));
    assert_eq!(etcd.keys(&Range::new(keys("z", "a"))), (String::new(), false, 0));
}

#[test]
fn answers_in_a_txn_name_the_revision_reached_so_far() {
    let mut etcd = Etcd::filled();
    let success = vec![
        get("a"),
        delete("nope", ""),
        Op::Put(put("m", "1")),
        get("a"),
        delete("nope", ""),
        Op::Range(Range::new(keys("m", "")).at(Revision::new(3))),
    ];
    let answer = etcd.txn(vec![], success).unwrap();
    let told: Vec<_> = answer.responses.iter().map(told).collect();
    assert_eq!(told, [(9, 1), (9, 0), (10, 0), (10, 1), (10, 0), (10, 0)]);
    assert_eq!(answer.revision, Revision::new(10));
}

#[test]
fn nested_conditions_are_judged_before_anything_is_done() {
    let mut etcd = Etcd::filled();
    let absent =
        Compare { keys: keys("n", ""), comparison: Comparison::Equal, target: Target::Version(0) };
    let nested = Txn::new(vec![absent], vec![get("n")], vec![]).unwrap();
    let answer = etcd.txn(vec![], vec![Op::Put(put("n", "1")), Op::Txn(nested)]).unwrap();
    let OpResponse::Txn(nested) = &answer.responses[1] else { panic!("{answer:?}") };
    assert!(nested.succeeded);
    assert_eq!(nested.revision, Revision::ZERO);
    assert_eq!(told(&nested.responses[0]), (10, 1));
}

#[test]
fn a_later_nested_txn_deletes_what_an_earlier_one_put() {
    let mut etcd = Etcd::filled();
    let nest = |op| Op::Txn(Txn::new(vec![], vec![op], vec![]).unwrap());
    let success = vec![nest(Op::Put(put("zz", "1"))), nest(delete("zz", "")), get("zz")];
    let answer = etcd.txn(vec![], success).unwrap();
    assert_eq!(told(&answer.responses[2]), (10, 0));
    let events = |etcd: &Etcd| {
        let reader = etcd.store.reader();
        reader
            .history(&Caller::Internal, Revision::new(10), Default::default())
            .unwrap()
            .events
            .len()
    };
    assert_eq!(events(&etcd), 2);
    // History at the compact revision itself stays whole, also once all is reclaimed.
    etcd.compact(10).unwrap();
    while etcd.flusher.flush(Default::default()).unwrap().more {}
    assert_eq!(events(&etcd), 2);
}

#[test]
fn keys_that_are_all_deleted_now_are_seen_in_the_past() {
    let mut etcd = Etcd::filled();
    for number in 0..300 {
        let key = Key::new(Bytes::from(format!("many/{number}"))).unwrap();
        etcd.run(Command::Put(Put::new(key, Bytes::new()))).result.unwrap();
    }
    let before = etcd.store.revision();
    let many = keys("many/", "many0");
    etcd.run(Command::DeleteRange(DeleteRange::new(many.clone()))).result.unwrap();
    assert_eq!(etcd.keys(&Range::new(many.clone())), (String::new(), false, 0));
    let (found, more, count) = etcd.keys(&Range::new(many).at(before).limited(299));
    assert!(found.starts_with("many/0many/1many/10many/100"));
    assert_eq!((more, count), (true, 300));
}

#[test]
fn a_txn_that_names_the_revision_it_would_make_is_refused_whole() {
    let mut etcd = Etcd::filled();
    let future = Op::Range(Range::new(keys("m", "")).at(Revision::new(10)));
    let refused = etcd.txn(vec![], vec![Op::Put(put("m", "1")), future]);
    let (requested, current) = (Revision::new(10), Revision::new(9));
    assert_eq!(refused, Err(ApplyError::FutureRevision { requested, current }));
    assert_eq!(etcd.keys(&Range::new(keys("m", ""))), (String::new(), false, 0));
    assert_eq!(etcd.store.revision(), current);
}

#[test]
fn a_lease_is_looked_for_first_in_a_put_and_last_in_a_txn() {
    let mut etcd = Etcd::filled();
    let both = Put { value: Assign::Keep, lease: Assign::Set(77), ..put("nx", "") };
    let in_txn = etcd.txn(vec![], vec![Op::Put(both.clone())]);
    assert_eq!(in_txn, Err(ApplyError::KeyNotFound));
    let alone = etcd.run(Command::Put(both)).result;
    assert_eq!(alone, Err(ApplyError::LeaseNotFound { lease: 77 }));
}

#[test]
fn a_missing_key_compares_as_zero_but_has_no_value() {
    let mut etcd = Etcd::filled();
    let mut holds = |comparison, target| {
        let compare = Compare { keys: keys("zzzz", ""), comparison, target };
        etcd.txn(vec![compare], vec![]).unwrap().succeeded
    };
    assert!(holds(Comparison::Less, Target::Version(1)));
    assert!(holds(Comparison::Equal, Target::Create(0)));
    assert!(holds(Comparison::Equal, Target::Mod(0)));
    assert!(holds(Comparison::Equal, Target::Lease(0)));
    assert!(!holds(Comparison::NotEqual, Target::Value(Bytes::from("q"))));
    assert!(!holds(Comparison::Equal, Target::Value(Bytes::new())));
}

#[test]
fn compaction_refuses_what_is_gone_and_what_is_not_there() {
    let mut etcd = Etcd::filled();
    assert!(etcd.compact(0).is_ok());
    assert!(matches!(etcd.compact(0), Err(ApplyError::Compacted { .. })));
    assert!(matches!(etcd.compact(9999), Err(ApplyError::FutureRevision { .. })));
    assert!(etcd.compact(5).is_ok());
    assert!(matches!(etcd.compact(5), Err(ApplyError::Compacted { .. })));
    let at = |revision| Range::new(keys("a", "e")).at(Revision::new(revision));
    assert_eq!(etcd.keys(&at(5)), ("abcd".into(), false, 4));
    assert_eq!(etcd.keys(&at(-4)), ("abcd".into(), false, 4));
    assert!(etcd.store.reader().range(&Caller::Internal, &at(4)).is_err());
    for revision in [-4, 4] {
        let refused = etcd.txn(vec![], vec![Op::Range(at(revision))]);
        assert!(matches!(refused, Err(ApplyError::Compacted { .. })), "{revision}");
    }
}

#[test]
fn deleting_nothing_makes_no_revision() {
    let mut etcd = Etcd::filled();
    let reply = etcd.run(Command::DeleteRange(DeleteRange::new(keys("nope", ""))));
    assert_eq!(reply.revision, Revision::new(9));
    let reply = etcd.run(Command::DeleteRange(DeleteRange::new(keys("a", "c"))));
    assert_eq!(reply.revision, Revision::new(10));
}
