//! The tree against a `BTreeMap`, with its invariants checked after each step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::revision::{Position, Revision};
use crate::versions::{Live, Version};

type Oracle = BTreeMap<Vec<u8>, Versions>;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    /// Forgets a key's versions, oldest first.
    Forget(u8, u8, usize),
}

fn key(a: u8, b: u8) -> Vec<u8> {
    if b == 0 { vec![a] } else { vec![a, b] }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || (1..24u8, 0..8u8);
    let step = prop_oneof![
        4 => key().prop_map(|(a, b)| Step::Put(a, b)),
        1 => key().prop_map(|(a, b)| Step::Delete(a, b)),
        3 => (key(), 1..4usize).prop_map(|((a, b), n)| Step::Forget(a, b, n)),
    ];
    // Mostly filling, then mostly emptying, so that nodes split and join.
    (prop::collection::vec(step, 0..400), any::<bool>()).prop_map(|(mut steps, drain)| {
        if drain {
            steps.extend((1..24).flat_map(|a| (0..8).map(move |b| Step::Forget(a, b, usize::MAX))));
        }
        steps
    })
}

fn version(number: i64, live: bool) -> Version {
    let create = Revision::new(number);
    Version {
        at: Position::start_of(Revision::new(number)),
        live: live.then_some(Live { create, version: 1, lease: 0, bytes: 1 }),
    }
}

fn apply(tree: &mut Tree, oracle: &mut Oracle, step: &Step, number: i64) {
    match *step {
        Step::Put(a, b) | Step::Delete(a, b) => {
            let version = version(number, matches!(step, Step::Put(..)));
            oracle.entry(key(a, b)).or_default().push(version);
            tree.upsert(&key(a, b), |stored, versions| {
                assert_eq!(stored.as_ref(), key(a, b));
                versions.push(version);
            });
        }
        Step::Forget(a, b, count) => {
            let forget = |versions: &mut Versions| {
                let mut forgotten = 0;
                while forgotten < count
                    && let Some(oldest) =
                        (1..=number).find_map(|at| versions.seen_at(Revision::new(at)))
                {
                    assert!(versions.forget(oldest.at));
                    forgotten += 1;
                }
                forgotten
            };
            let expected = oracle.get_mut(&key(a, b)).map(forget);
            oracle.retain(|_, versions| !versions.is_empty());
            assert_eq!(tree.edit(&key(a, b), forget), expected);
        }
    }
}

/// Checks the invariants of a node; answers its depth and its keys.
fn check(node: &Node, is_root: bool) -> (usize, Vec<Bytes>) {
    assert!(node.len() <= FANOUT);
    assert!(is_root || node.len() > 0, "an empty node below the root");
    match node {
        Node::Leaf(leaf) => {
            assert_eq!(leaf.keys.len(), leaf.versions.len());
            assert!(leaf.versions.iter().all(|versions| !versions.is_empty()));
            (1, leaf.keys.clone())
        }
        Node::Inner(inner) => {
            assert_eq!(inner.separators.len() + 1, inner.children.len());
            let mut all: Vec<Bytes> = Vec::new();
            let mut depths = Vec::new();
            for (place, child) in inner.children.iter().enumerate() {
                assert_eq!(child.live, child.node.live(), "a wrong count");
                let (depth, keys) = check(&child.node, false);
                if place > 0 {
                    let separator = &inner.separators[place - 1];
                    assert!(all.last().is_none_or(|left| left < separator));
                    assert!(keys.first().is_none_or(|right| separator <= right));
                }
                all.extend(keys);
                depths.push(depth);
            }
            assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "leaves of unequal depth");
            (depths[0] + 1, all)
        }
    }
}

fn compare(tree: &Tree, oracle: &Oracle, start: &[u8], end: &[u8]) {
    let (_, keys) = check(&tree.root, true);
    assert!(keys.iter().map(|key| key.as_ref()).eq(oracle.keys().map(Vec::as_slice)));
    assert_eq!(tree.len(), oracle.len());
    assert_eq!(tree.live(), oracle.values().filter(|versions| versions.is_live()).count());
    for bound in [Bound::Unbounded, Bound::Included(end), Bound::Excluded(end)] {
        let inside = |key: &[u8]| key >= start && !is_beyond(key, bound);
        let expected: Vec<_> = oracle.iter().filter(|(key, _)| inside(key)).collect();
        let live = expected.iter().filter(|(_, versions)| versions.is_live()).count();
        assert_eq!(tree.live_between(start, bound), live, "{start:?} {bound:?}");
        let mut met = Vec::new();
        let mut met_live = 0;
        tree.walk(start, bound, false, &mut |key, versions| {
            met.push((key.to_vec(), versions.clone()));
            ControlFlow::Continue(())
        });
        tree.walk(start, bound, true, &mut |_, versions| {
            met_live += usize::from(versions.is_live());
            ControlFlow::Continue(())
        });
        assert_eq!(met_live, live);
        assert!(met.iter().map(|(k, v)| (k, v)).eq(expected), "{start:?} {bound:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn behaves_as_a_map(steps in steps(), probes in prop::collection::vec((0..25u8, 0..9u8), 2)) {
        let (mut tree, mut oracle) = (Tree::default(), Oracle::new());
        let [start, end] = [key(probes[0].0, probes[0].1), key(probes[1].0, probes[1].1)];
        for (number, step) in (1..).zip(&steps) {
            apply(&mut tree, &mut oracle, step, number);
            compare(&tree, &oracle, &start, &end);
        }
        for (key, versions) in &oracle {
            prop_assert_eq!(tree.get(key), Some(versions));
        }
        prop_assert_eq!(tree.get(b"\0nothing"), None);
    }
}

#[test]
fn a_walk_over_deleted_keys_skips_whole_subtrees() {
    let mut tree = Tree::default();
    for number in 0..1000u16 {
        let live = number == 999;
        tree.upsert(&number.to_be_bytes(), |_, versions| {
            versions.push(version(i64::from(number) + 1, live));
        });
    }
    let mut visited = 0;
    tree.walk(&[], Bound::Unbounded, true, &mut |_, _| {
        visited += 1;
        ControlFlow::Continue(())
    });
    assert!(visited <= FANOUT, "{visited} keys visited to find the only live one");
}
