//! Ranges read page by page against the model, while the store goes on.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use synod_kv::{
    Bounds, Caller, Command, Compact, DeleteRange, FlushLimits, Flusher, Key, KeyRange, KeyValue,
    MemoryEngine, Op, PageLimits, PagesError, Put, Range, RangePages, ReadError, Reader, Revision,
    Sort, SortOrder, SortTarget, Store, Txn,
};

use crate::model::{Model, rev};

/// More keys than are visited per lock.
const KEYS: u64 = 1300;

struct Filled {
    store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
    slot: u64,
}

/// What it holds at first. It looks through all changes for each key, so it is made once.
static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let mut model = Model::default();
    fills().iter().for_each(|command| drop(model.apply(0, command)));
    model
});

impl Filled {
    fn new() -> Self {
        let (store, flusher) = Store::open(MemoryEngine::new()).unwrap();
        let mut filled = Self { store, flusher, slot: 1 };
        fills().iter().for_each(|command| filled.run(command));
        filled
    }

    fn run(&mut self, command: &Command) {
        self.store.apply(self.slot, 0, &command.encode()).unwrap().result.unwrap();
        self.store.slot_applied(self.slot, 0, [0; 2]);
        self.slot += 1;
    }

    /// Changes keys, compacts all that came before, and reclaims it.
    fn go_on(&mut self, n: u64) {
        self.run(&Command::Put(Put::new(key(n), Bytes::from_static(b"later"))));
        let keys = KeyRange::Single(key(KEYS - 1 - n));
        self.run(&Command::DeleteRange(DeleteRange { keys, prev_kv: false }));
        self.run(&Command::Compact(Compact { revision: self.store.revision() }));
        self.flush();
    }

    fn flush(&mut self) {
        let limits = FlushLimits { reclaim_max: 10_000, ..Default::default() };
        for _ in 0..3 {
            self.flusher.flush(limits).unwrap();
        }
    }

    fn reader(&self) -> Reader<MemoryEngine> {
        self.store.reader()
    }

    fn measure(&self, range: &Range) -> RangePages<MemoryEngine> {
        self.reader().measure(&Caller::Internal, range.clone(), weigh, u64::MAX).unwrap()
    }
}

/// All keys at revision 2, every third one again at 3, every seventh deleted at 4.
fn fills() -> [Command; 3] {
    let put = |step: usize, length: u64| {
        let puts = (0..KEYS).step_by(step).map(|n| {
            let value = vec![u8::try_from(n % 251).unwrap(); usize::try_from(n % length).unwrap()];
            Op::Put(Put::new(key(n), Bytes::from(value)))
        });
        Command::Txn(Txn::new(vec![], puts.collect(), vec![]).unwrap())
    };
    let delete =
        |n| Op::DeleteRange(DeleteRange { keys: KeyRange::Single(key(n)), prev_kv: false });
    let deletes = (0..KEYS).step_by(7).map(delete).collect();
    [put(1, 40), put(3, 17), Command::Txn(Txn::new(vec![], deletes, vec![]).unwrap())]
}

fn key(n: u64) -> Key {
    Key::new(Bytes::from(format!("{n:05}"))).unwrap()
}

fn weigh(kv: &KeyValue, value: u64) -> u64 {
    assert!(kv.value.is_empty() && !kv.key.is_empty());
    7 + u64::try_from(kv.key.len()).unwrap() + value
}

fn range() -> impl Strategy<Value = Range> {
    let target = prop::sample::select(vec![
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let sort = prop_oneof![
        2 => Just(Sort::default()),
        1 => (order, target).prop_map(|(order, target)| Sort { order, target }),
    ];
    let limit = prop_oneof![Just(0), 1..20u64, KEYS - 200..KEYS + 2];
    let min_mod = prop::option::weighted(0.3, (2..4i64).prop_map(Revision::new));
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (0..KEYS, 0..KEYS, limit, 0..5i64, sort, min_mod, flags).prop_map(
        |(from, to, limit, at, sort, min_mod, (keys_only, count_only))| {
            let (from, to) = (from.min(to) / 4, from.max(to) + 1);
            let end = key(to).as_bytes().clone();
            let keys = KeyRange::new(key(from).as_bytes().clone(), end).unwrap();
            let range = Range::new(keys).limited(limit);
            let bounds = Bounds { min_mod, ..Bounds::default() };
            let range = Range { sort, keys_only, count_only, bounds, ..range };
            if at > 1 { range.at(rev(at)) } else { range }
        },
    )
}

type Error = ReadError<std::convert::Infallible>;

/// The pages, each within its limits.
fn page(pages: &mut RangePages<MemoryEngine>, limits: PageLimits) -> Result<Vec<KeyValue>, Error> {
    let mut kvs = Vec::new();
    pages.next_page(limits, &mut |kv| kvs.push(kv))?;
    let bytes: u64 = kvs.iter().map(weight).sum();
    assert!(kvs.len() <= limits.keys_max.max(1));
    assert!(kvs.len() <= 1 || bytes <= limits.bytes_max, "{bytes} in a page");
    assert!(!kvs.is_empty() || pages.is_done());
    Ok(kvs)
}

fn weight(kv: &KeyValue) -> u64 {
    7 + u64::try_from(kv.key.len() + kv.value.len()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever is written, compacted and reclaimed meanwhile: who holds what it reads gets the
    /// answer of the moment at which it began, and who does not gets it or hears why not.
    #[test]
    fn pages_are_the_answer_in_pieces(
        range in range(),
        flushed in any::<bool>(),
        holds in any::<bool>(),
        goes_on in prop::collection::vec(prop::option::weighted(0.3, 0..KEYS), 1..6),
        keys_max in prop_oneof![1..4usize, 100..700usize],
        bytes_max in prop_oneof![1..60u64, 2000..20_000u64],
    ) {
        let mut filled = Filled::new();
        if flushed {
            filled.flush();
        }
        let expected = MODEL.range(&range).unwrap();
        let mut pages = filled.measure(&range);
        let facts = pages.facts();
        prop_assert_eq!(
            (facts.revision, facts.count, facts.more),
            (expected.revision, expected.count, expected.more)
        );
        prop_assert_eq!(facts.keys, u64::try_from(expected.kvs.len()).unwrap());
        prop_assert_eq!(facts.bytes, expected.kvs.iter().map(weight).sum::<u64>());
        if holds {
            pages.hold().unwrap();
        }
        let mut kvs = Vec::new();
        let mut steps = goes_on.into_iter();
        while !pages.is_done() {
            if let Some(n) = steps.next().flatten() {
                filled.go_on(n);
            }
            match page(&mut pages, PageLimits { keys_max, bytes_max }) {
                Ok(page) => kvs.extend(page),
                Err(ReadError::Compacted { .. }) if !holds => return Ok(()),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        prop_assert_eq!(kvs, expected.kvs);
    }

    /// Page after page at one revision, as clients do it, beside writes: counts of former pages
    /// are known, and true. Others page through the same ranges at other revisions meanwhile.
    #[test]
    fn pages_at_a_fixed_revision_are_those_of_the_model(
        limits in prop::collection::vec(1..400u64, 1..4),
        ends in prop::collection::vec(prop::option::of(900..KEYS + 1), 2),
        writes in prop::collection::vec(prop::option::weighted(0.5, 0..KEYS), 1..12),
        compacts_after in prop::option::weighted(0.3, 0..12usize),
        counts_only in any::<bool>(),
    ) {
        let mut filled = Filled::new();
        let mut next: Vec<_> = (2..5i64)
            .flat_map(|at| ends.iter().map(move |end| (at, *end)))
            .map(|(at, end)| (at, end, Some(key(0).as_bytes().clone())))
            .collect();
        let mut writes = writes.into_iter().cycle();
        for step in 0.. {
            if let Some(n) = writes.next().flatten() {
                filled.run(&Command::Put(Put::new(key(n), Bytes::from_static(b"later"))));
            }
            if Some(step) == compacts_after {
                filled.run(&Command::Compact(Compact { revision: rev(4) }));
            }
            let mut asked = false;
            for (at, end, from) in &mut next {
                let Some(start) = from.take() else { continue };
                asked = true;
                let end = end.map_or(Bytes::from_static(&[0]), |n| key(n).as_bytes().clone());
                let limit = limits[step % limits.len()];
                let range = Range::new(KeyRange::new(start, end).unwrap()).limited(limit);
                let range = Range { count_only: counts_only && step == 1, ..range.at(rev(*at)) };
                let answer = filled.reader().range(&Caller::Internal, &range);
                if *at < filled.reader().compact_revision().as_i64() {
                    let compacted = matches!(answer, Err(ReadError::Compacted { .. }));
                    prop_assert!(compacted, "{answer:?}");
                    continue;
                }
                let (answer, expected) = (answer.unwrap(), MODEL.range(&range).unwrap());
                prop_assert_eq!((answer.count, answer.more), (expected.count, expected.more));
                prop_assert_eq!(&answer.kvs, &expected.kvs);
                *from = answer.more.then(|| behind(&answer.kvs));
                if range.count_only {
                    *from = Some(range.keys.start().as_bytes().clone());
                }
            }
            if !asked {
                break;
            }
        }
    }
}

/// The first key that is behind these.
fn behind(kvs: &[KeyValue]) -> Bytes {
    [&kvs.last().unwrap().key[..], &[0]].concat().into()
}

#[test]
fn counted_ranges_are_read_like_measured_ones() {
    let filled = Filled::new();
    for (limit, at) in [(0, None), (5, None), (0, Some(3)), (5, Some(2))] {
        let range = Range::new(KeyRange::all()).limited(limit);
        let range = match at {
            Some(at) => range.at(rev(at)),
            None => range,
        };
        let caller = Caller::Internal;
        let mut pages =
            filled.reader().count_only_then_read(&caller, range.clone(), weigh).unwrap();
        let expected = MODEL.range(&range).unwrap();
        assert_eq!((pages.facts().count, pages.facts().more), (expected.count, expected.more));
        let limits = PageLimits { keys_max: 100, bytes_max: u64::MAX };
        let mut kvs = Vec::new();
        while !pages.is_done() {
            kvs.extend(page(&mut pages, limits).unwrap());
        }
        assert_eq!(kvs, expected.kvs);
    }
}

/// Once nobody holds it, history is reclaimed.
#[test]
fn what_a_read_holds_goes_when_it_ends() {
    let mut filled = Filled::new();
    let mut pages = filled.measure(&Range::new(KeyRange::all()).at(rev(2)));
    pages.hold().unwrap();
    filled.go_on(1);
    let held = filled.reader().sizes().unwrap().keys;
    let first = page(&mut pages, PageLimits { keys_max: 1, bytes_max: 1 }).unwrap();
    assert_eq!(first.len(), 1);
    drop(pages);
    filled.flush();
    assert!(filled.reader().sizes().unwrap().keys < held, "deleted keys are still there");
}

#[test]
fn what_is_compacted_is_not_held() {
    let mut filled = Filled::new();
    let mut pages = filled.measure(&Range::new(KeyRange::all()).at(rev(2)));
    filled.go_on(1);
    assert!(matches!(pages.hold(), Err(ReadError::Compacted { .. })));
}

/// An order takes a list as long as the answer, not as long as the range.
#[test]
fn lists_are_bounded() {
    let filled = Filled::new();
    let by = |target| Sort { order: SortOrder::Descend, target };
    let measure = |sort, limit, bytes_max| {
        let range = Range { sort, ..Range::new(KeyRange::all()).limited(limit) };
        filled.reader().measure(&Caller::Internal, range, weigh, bytes_max).map(|_| ())
    };
    measure(by(SortTarget::Mod), 0, 1 << 20).unwrap();
    let refused = measure(by(SortTarget::Mod), 0, 20 << 10);
    assert!(
        matches!(refused, Err(PagesError::ListTooLarge { bytes_max }) if bytes_max == 20 << 10)
    );
    measure(by(SortTarget::Mod), 3, 20 << 10).unwrap();
    measure(by(SortTarget::Value), 3, 20 << 10).unwrap();
    measure(Sort::default(), 0, 0).unwrap();
}
