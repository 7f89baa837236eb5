//! What paging through a range costs, in keys that are looked at.

use bytes::Bytes;

use crate::read::VISITED;
use crate::{
    Caller, Command, Compact, Key, KeyRange, MemoryEngine, Op, Put, Range, RangeResponse, Reader,
    Revision, Store, Txn,
};

const KEYS: u64 = 20_000;
const PAGE: u64 = 100;

fn key(n: u64) -> Key {
    Key::new(Bytes::from(format!("{n:08}"))).unwrap()
}

/// All keys in revision 2, and the first one again in 3.
fn filled() -> Store<MemoryEngine> {
    let (mut store, _) = Store::open(MemoryEngine::new()).unwrap();
    let put = |n| Op::Put(Put::new(key(n), Bytes::from_static(b"value")));
    let all = Command::Txn(Txn::new(vec![], (0..KEYS).map(put).collect(), vec![]).unwrap());
    run(&mut store, &all);
    run(&mut store, &Command::Put(Put::new(key(0), Bytes::new())));
    store
}

fn run(store: &mut Store<MemoryEngine>, command: &Command) {
    let slot = store.applied_slot();
    store.apply(slot, 0, &command.encode()).unwrap().result.unwrap();
    store.slot_applied(slot, 0, [0; 2]);
}

/// The answer, and how many keys were looked at for it.
fn ask(reader: &Reader<MemoryEngine>, range: &Range) -> (RangeResponse, u64) {
    let before = VISITED.get();
    let answer = reader.range(&Caller::Internal, range).unwrap();
    (answer, VISITED.get() - before)
}

fn page(from: Bytes, at: i64) -> Range {
    let keys = KeyRange::new(from, Bytes::from_static(&[0])).unwrap();
    let page = Range::new(keys).limited(PAGE);
    if at == 0 { page } else { page.at(Revision::new(at)) }
}

fn behind(answer: &RangeResponse) -> Bytes {
    [&answer.kvs.last().unwrap().key[..], &[0]].concat().into()
}

/// As Kubernetes and all others page: the first page is of now, the others of its revision.
#[test]
fn who_pages_looks_at_each_key_once() {
    let mut store = filled();
    let reader = store.reader();
    let (mut answer, mut looked) = ask(&reader, &page(key(0).as_bytes().clone(), 0));
    let at = answer.revision.as_i64();
    let (mut told, mut left) = (answer.kvs.len(), KEYS);
    while answer.more {
        assert!(looked <= 2 * PAGE, "{looked} keys looked at for a page");
        assert_eq!(answer.count, left);
        run(&mut store, &Command::Put(Put::new(key(7), Bytes::new())));
        left -= PAGE;
        (answer, looked) = ask(&reader, &page(behind(&answer), at));
        told += answer.kvs.len();
        // The end is short enough to be counted.
        looked = looked.saturating_sub(if left <= 512 { 512 } else { 0 });
    }
    assert_eq!(u64::try_from(told).unwrap(), KEYS);
}

#[test]
fn the_past_is_counted_once() {
    let store = filled();
    let reader = store.reader();
    let first = page(key(0).as_bytes().clone(), 2);
    let (answer, looked) = ask(&reader, &first);
    assert!((answer.count, answer.more) == (KEYS, true) && looked == KEYS);
    let (again, looked) = ask(&reader, &first);
    assert!(again == answer && looked <= 2 * PAGE, "{looked} looked at");
    let (next, looked) = ask(&reader, &page(behind(&answer), 2));
    assert!(next.count == KEYS - PAGE && looked <= 2 * PAGE, "{looked} looked at");
    let counted = Range { count_only: true, ..page(behind(&next), 2) };
    let (counted, looked) = ask(&reader, &counted);
    assert_eq!((counted.count, looked), (KEYS - 2 * PAGE, 0));
    // Another revision is another count.
    let (_, looked) = ask(&reader, &page(behind(&answer), 3));
    assert_eq!(looked, PAGE + 1);
}

#[test]
fn a_count_that_is_known_does_not_outlive_its_revision() {
    let mut store = filled();
    let reader = store.reader();
    let first = page(key(0).as_bytes().clone(), 2);
    ask(&reader, &first);
    run(&mut store, &Command::Compact(Compact { revision: Revision::new(3) }));
    assert!(reader.range(&Caller::Internal, &first).is_err());
    let counted = Range { count_only: true, ..first };
    assert!(reader.range(&Caller::Internal, &counted).is_err());
}
