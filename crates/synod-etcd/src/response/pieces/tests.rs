//! Answers in pieces beside answers at once.

use bytes::Bytes;
use proptest::prelude::*;
use synod_kv::{
    Caller, Command, Key, KeyRange, MemoryEngine, Op, Put, Range, Reader, Sort, SortOrder,
    SortTarget, Store, Txn,
};

use super::super::{range as whole_range, txn as whole_txn};
use super::*;

const STAMP: Stamp = Stamp { cluster_id: u64::MAX, member_id: 8, round: 300 };

/// A store with these values, under keys that go up.
fn filled(values: &[Vec<u8>]) -> Reader<MemoryEngine> {
    let (mut store, _flusher) = Store::open(MemoryEngine::new()).unwrap();
    for (n, value) in values.iter().enumerate() {
        let key = Key::new(Bytes::from(format!("{n:03}"))).unwrap();
        let put = Command::Put(Put::new(key, Bytes::from(value.clone())));
        store.apply(1, 0, &put.encode()).unwrap();
    }
    store.reader()
}

fn read_all(mut pieces: Pieces<MemoryEngine>, bytes_max: u64) -> Vec<u8> {
    let len = pieces.len();
    let mut all = Vec::new();
    while !pieces.is_empty() {
        let before = all.len();
        pieces.read(PageLimits { keys_max: 3, bytes_max }, &mut all).unwrap();
        assert!(all.len() > before || pieces.is_empty());
    }
    assert_eq!(number(all.len()), len, "what was said before");
    all
}

fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let value = prop_oneof![0..3usize, 100..150usize, 16_300..16_400usize];
    let value = value.prop_map(|length| vec![7; length]);
    prop::collection::vec(value, 0..12)
}

fn ranges() -> impl Strategy<Value = Range> {
    let sort = prop::sample::select(vec![
        Sort::default(),
        Sort { order: SortOrder::Descend, target: SortTarget::Value },
    ]);
    (0..14u64, sort, any::<bool>(), any::<bool>()).prop_map(
        |(limit, sort, keys_only, count_only)| Range {
            sort,
            keys_only,
            count_only,
            ..Range::new(KeyRange::all()).limited(limit)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_range_in_pieces_is_the_range(
        values in values(), range in ranges(), bytes_max in 1..5000u64,
    ) {
        let reader = filled(&values);
        let pages = reader.measure(&Caller::Internal, range.clone(), weigh, u64::MAX).unwrap();
        let all = read_all(super::range(STAMP, pages), bytes_max);
        let expected = whole_range(STAMP, reader.range(&Caller::Internal, &range).unwrap());
        prop_assert_eq!(pb::RangeResponse::decode(&*all).unwrap(), expected);
    }

    #[test]
    fn a_txn_in_pieces_is_the_txn(
        values in values(),
        ranges in prop::collection::vec(ranges(), 0..4),
        nested in prop::collection::vec(ranges(), 0..4),
        bytes_max in 1..5000u64,
    ) {
        let reader = filled(&values);
        let of = |ranges: Vec<Range>| ranges.into_iter().map(Op::Range).collect::<Vec<_>>();
        let mut ops = of(ranges);
        ops.push(Op::Txn(Txn::new(vec![], of(nested), vec![]).unwrap()));
        let txn = Txn::new(vec![], ops, vec![]).unwrap();
        let pages = reader.measure_txn(&Caller::Internal, &txn, weigh, u64::MAX).unwrap();
        let all = read_all(super::txn(STAMP, pages), bytes_max);
        let expected = whole_txn(STAMP, reader.txn(&Caller::Internal, &txn).unwrap());
        prop_assert_eq!(pb::TxnResponse::decode(&*all).unwrap(), expected);
    }

    /// Messages of a stream, merged as protobuf merges, are the answer to the range.
    #[test]
    fn a_stream_merges_into_the_range(
        values in values(), limit in 0..14u64, bytes_max in 1..5000u64, keys_max in 1..5usize,
    ) {
        let reader = filled(&values);
        let range = Range::new(KeyRange::all()).limited(limit);
        let caller = Caller::Internal;
        let pages = reader.count_only_then_read(&caller, range.clone(), weigh).unwrap();
        let facts = pages.facts();
        let mut pieces = Pieces::stream(pages);
        let mut merged = pb::RangeResponse::default();
        loop {
            let room = 16;
            let mut kvs = vec![0; room];
            pieces.read(PageLimits { keys_max, bytes_max }, &mut kvs).unwrap();
            let last = pieces.is_empty().then_some((STAMP, facts));
            let before = stream_message(&mut kvs, room, last);
            let message = pb::RangeStreamResponse::decode(&kvs[room - before..]).unwrap();
            let part = message.range_response.unwrap();
            prop_assert_eq!(part.header.is_some(), last.is_some());
            prop_assert!(last.is_some() || !part.kvs.is_empty() && part.count == 0 && !part.more);
            merged.merge(&*part.encode_to_vec()).unwrap();
            if last.is_some() {
                break;
            }
        }
        let expected = whole_range(STAMP, reader.range(&Caller::Internal, &range).unwrap());
        prop_assert_eq!(merged, expected);
    }
}
