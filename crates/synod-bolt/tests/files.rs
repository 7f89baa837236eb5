//! Files: what is written is read again, and damage is noticed or harmless.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use proptest::prelude::*;
use synod_bolt::{Bucket, Cursor, Database, Layout, PAGE_BYTES, Pages, ReadError, Source, Tree};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

struct InMemory(Bytes);

impl Source for InMemory {
    type Error = Infallible;

    fn read(&self, at: u64, bytes: usize) -> Result<Bytes, Infallible> {
        let at = usize::try_from(at).unwrap();
        Ok(self.0.slice(at..at + bytes))
    }
}

/// One pass over all buckets, whose pages come in turns.
fn pass(pages: &mut Pages, buckets: &[(&str, Entries)]) -> Layout {
    let mut trees: Vec<Tree> = buckets.iter().map(|_| Tree::default()).collect();
    let mut left: Vec<_> = buckets.iter().map(|(_, entries)| entries.iter()).collect();
    let mut more = true;
    while more {
        more = false;
        for (tree, entries) in trees.iter_mut().zip(&mut left) {
            if let Some((key, value)) = entries.next() {
                tree.put(pages, Bytes::from(key.clone()), Bytes::from(value.clone()));
                more = true;
            }
        }
    }
    let roots = trees.into_iter().map(|tree| tree.finish(pages));
    let roots: Vec<_> = buckets.iter().map(|(name, _)| *name).zip(roots).collect();
    pages.finish(&roots)
}

fn write(buckets: &[(&str, Entries)]) -> Bytes {
    let mut first = Pages::default();
    let layout = pass(&mut first, buckets);
    first.discard();
    let mut file = layout.front(6).to_vec();
    let mut pages = Pages::default();
    assert_eq!(pass(&mut pages, buckets), layout);
    file.extend_from_slice(&pages.take());
    assert_eq!(u64::try_from(file.len()).unwrap(), layout.bytes());
    file.into()
}

fn all<E>(mut cursor: Cursor<'_, impl Source<Error = E>>) -> Result<Vec<Found>, ReadError<E>> {
    let mut found = Vec::new();
    while let Some(entry) = cursor.next()? {
        found.push((entry.key, entry.value, entry.bucket));
    }
    Ok(found)
}

type Found = (Bytes, Bytes, Option<Bucket>);

/// All entries of all buckets.
fn read(file: &Bytes) -> Result<Vec<(Bytes, Entries)>, ReadError<Infallible>> {
    let length = u64::try_from(file.len()).unwrap();
    let database = Database::open(InMemory(file.clone()), length)?;
    let mut buckets = Vec::new();
    for (name, _, bucket) in all(database.walk(database.root()))? {
        let Some(bucket) = bucket else { continue };
        let entries = all(database.walk(bucket))?;
        let entries = entries.into_iter().map(|(key, value, _)| (key.to_vec(), value.to_vec()));
        buckets.push((name, entries.collect()));
    }
    Ok(buckets)
}

fn numbered(count: u32, key_bytes: usize, value_bytes: usize) -> Entries {
    let entry = |n: u32| {
        let mut key = n.to_be_bytes().to_vec();
        key.resize(key.len() + key_bytes, b'k');
        (key, vec![b'v'; value_bytes])
    };
    (0..count).map(entry).collect()
}

fn comes_back(buckets: &[(&str, Entries)]) {
    let found = read(&write(buckets)).unwrap();
    let expected =
        buckets.iter().map(|(name, entries)| (Bytes::from((*name).to_owned()), entries.clone()));
    assert!(found.into_iter().eq(expected));
}

#[test]
fn trees_of_every_depth_come_back() {
    for count in [0, 1, 2, 50, 99, 100, 101, 5000, 200_000] {
        comes_back(&[("empty", Entries::new()), ("full", numbered(count, 10, 17))]);
    }
}

#[test]
fn large_entries_take_several_pages() {
    for (count, key_bytes, value_bytes) in
        [(1, 0, 4096), (3, 5, 1 << 20), (40, 2000, 10), (200, 2000, 1), (30, 5000, 5000)]
    {
        comes_back(&[("large", numbered(count, key_bytes, value_bytes))]);
    }
}

/// Branches of keys so long that pages have two to four children, of every number of leaves.
#[test]
fn no_branch_has_a_single_child() {
    for key_bytes in [900, 1300, 2000] {
        for count in 1..40 {
            let file = write(&[("b", numbered(count, key_bytes, 4000))]);
            assert_eq!(read(&file).unwrap()[0].1.len(), usize::try_from(count).unwrap());
            for page in file.chunks(PAGE_BYTES).skip(3) {
                let [.., flags, 0, elements, 0] = page[..12] else { continue };
                let id = u64::from_le_bytes(*page.first_chunk().unwrap());
                let stands = page.as_ptr() as usize - file.as_ptr() as usize;
                if flags == 1 && id * 4096 == u64::try_from(stands).unwrap() {
                    assert!(elements > 1, "{count} entries, page {id}");
                }
            }
        }
    }
}

#[test]
fn the_last_transaction_is_told_and_the_newer_meta_page_counts() {
    let mut file = write(&[("b", numbered(3, 0, 0))]).to_vec();
    let open = |file: &[u8]| {
        let source = InMemory(Bytes::copy_from_slice(file));
        Database::open(source, u64::try_from(file.len()).unwrap()).map(|found| found.transaction())
    };
    assert_eq!(open(&file), Ok(6));
    file[50] ^= 1;
    assert_eq!(open(&file), Ok(5), "the first meta page is torn");
    file[4096 + 50] ^= 1;
    assert_eq!(open(&file), Err(ReadError::NotADatabase));
}

#[test]
fn a_file_that_ends_too_early_is_refused() {
    let file = write(&[("b", numbered(500, 0, 100))]);
    for pages in 1..file.len() / PAGE_BYTES {
        let found = read(&file.slice(..pages * PAGE_BYTES));
        assert!(matches!(found, Err(ReadError::CutShort { .. })), "{found:?}");
    }
    assert_eq!(read(&Bytes::new()).unwrap_err(), ReadError::NotADatabase);
}

/// A branch that leads to itself, to its parent, to a page beyond the end, and to one twice.
#[test]
fn walks_end_whatever_pages_point_to() {
    let file = write(&[("b", numbered(20_000, 0, 100))]);
    let branches: Vec<usize> =
        (3..file.len() / PAGE_BYTES).filter(|page| file[page * PAGE_BYTES + 8] == 1).collect();
    assert!(branches.len() > 1);
    for branch in &branches {
        for child in [0, 1, 2, 3, *branch, branches[branches.len() - 1], 1 << 40] {
            let mut damaged = file.to_vec();
            let place = branch * PAGE_BYTES + 16 + 16 + 8;
            damaged[place..place + 8].copy_from_slice(&u64::try_from(child).unwrap().to_le_bytes());
            assert!(read(&damaged.into()).is_err(), "page {branch} leads to {child}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_map_comes_back(
        small in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 0..40),
            proptest::collection::vec(any::<u8>(), 0..300),
            0..300,
        ),
        large in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 0..3000),
            proptest::collection::vec(any::<u8>(), 0..9000),
            0..20,
        ),
    ) {
        comes_back(&[("large", large), ("small", small)]);
    }

    #[test]
    fn damage_makes_no_reader_panic_or_go_on_forever(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_front in any::<bool>(),
    ) {
        let file = write(&[("a", numbered(3, 0, 5)), ("b", numbered(1500, 20, 30))]);
        let mut damaged = file.to_vec();
        for (place, byte) in damage {
            // Heads of pages and elements, where it hurts, or anywhere.
            let place = place.index(file.len());
            let place = if in_front { place - place % PAGE_BYTES % 200 } else { place };
            damaged[place] = byte;
        }
        let _ = read(&damaged.into());
    }

    #[test]
    fn noise_makes_no_reader_panic(noise in proptest::collection::vec(any::<u8>(), 0..10_000)) {
        let mut file = write(&[("a", numbered(3, 0, 5))]).to_vec();
        for (byte, noise) in file[3 * PAGE_BYTES..].iter_mut().zip(noise) {
            *byte = noise;
        }
        let _ = read(&file.into());
    }
}
