//! Ranges of keys, and which of them hold a key.
//!
//! A treap in the order of range starts, in which each subtree knows its highest end: subtrees
//! that end below the key are passed over. Priorities are a fixed sequence that no client chooses.

use bytes::Bytes;
use slab::Slab;

/// A range: its start, and the first key above it, if it has an end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) start: Bytes,
    pub(super) end: Option<Bytes>,
}

/// Ranges, each with a number.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    nodes: Slab<Node>,
    root: Link,
    /// How many there ever were.
    made: u64,
}

type Link = Option<usize>;

#[derive(Debug)]
struct Node {
    span: Span,
    value: usize,
    priority: u64,
    left: Link,
    right: Link,
    /// The node of this subtree with the highest end.
    highest: usize,
}

impl Span {
    fn is_before(&self, other: &Self) -> bool {
        (&self.start, Above(self.end.as_ref())) < (&other.start, Above(other.end.as_ref()))
    }

    fn ends_above(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key < end.as_ref())
    }
}

/// An end, in order: none is the highest.
#[derive(Eq, PartialEq)]
struct Above<'a>(Option<&'a Bytes>);

impl PartialOrd for Above<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Above<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.is_none(), self.0).cmp(&(other.0.is_none(), other.0))
    }
}

impl Ranges {
    /// The number of a range, if it is there.
    pub(super) fn get(&self, span: &Span) -> Option<usize> {
        let mut at = self.root;
        while let Some(node) = at.map(|at| &self.nodes[at]) {
            if node.span == *span {
                return Some(node.value);
            }
            at = if span.is_before(&node.span) { node.left } else { node.right };
        }
        None
    }

    /// Adds a range that is not there.
    pub(super) fn insert(&mut self, span: Span, value: usize) {
        self.made += 1;
        let (priority, highest) = (scramble(self.made), self.nodes.vacant_key());
        let node = Node { span, value, priority, left: None, right: None, highest };
        let new = self.nodes.insert(node);
        self.root = Some(self.insert_below(self.root, new));
    }

    /// Takes a range that is there away.
    pub(super) fn remove(&mut self, span: &Span) {
        self.root = self.remove_below(self.root, span);
    }

    /// Visits the numbers of all ranges that hold a key.
    pub(super) fn holding(&self, key: &[u8], visit: &mut impl FnMut(usize)) {
        self.holding_below(self.root, key, visit);
    }

    fn holding_below(&self, at: Link, key: &[u8], visit: &mut impl FnMut(usize)) {
        let Some(node) = at.map(|at| &self.nodes[at]) else { return };
        if !self.nodes[node.highest].span.ends_above(key) {
            return;
        }
        self.holding_below(node.left, key, visit);
        if node.span.start.as_ref() <= key {
            if node.span.ends_above(key) {
                visit(node.value);
            }
            self.holding_below(node.right, key, visit);
        }
    }

    fn insert_below(&mut self, at: Link, new: usize) -> usize {
        let Some(at) = at else { return new };
        if self.nodes[new].priority > self.nodes[at].priority {
            let (left, right) = self.split(Some(at), new);
            (self.nodes[new].left, self.nodes[new].right) = (left, right);
            self.update(new);
            return new;
        }
        if self.nodes[new].span.is_before(&self.nodes[at].span) {
            let left = self.insert_below(self.nodes[at].left, new);
            self.nodes[at].left = Some(left);
        } else {
            let right = self.insert_below(self.nodes[at].right, new);
            self.nodes[at].right = Some(right);
        }
        self.update(at);
        at
    }

    /// What is before the range of a node, and what is behind it.
    fn split(&mut self, at: Link, by: usize) -> (Link, Link) {
        let Some(at) = at else { return (None, None) };
        if self.nodes[at].span.is_before(&self.nodes[by].span) {
            let (middle, right) = self.split(self.nodes[at].right, by);
            self.nodes[at].right = middle;
            self.update(at);
            (Some(at), right)
        } else {
            let (left, middle) = self.split(self.nodes[at].left, by);
            self.nodes[at].left = middle;
            self.update(at);
            (left, Some(at))
        }
    }

    fn remove_below(&mut self, at: Link, span: &Span) -> Link {
        let at = at?;
        if self.nodes[at].span == *span {
            let node = self.nodes.remove(at);
            return self.join(node.left, node.right);
        }
        if span.is_before(&self.nodes[at].span) {
            self.nodes[at].left = self.remove_below(self.nodes[at].left, span);
        } else {
            self.nodes[at].right = self.remove_below(self.nodes[at].right, span);
        }
        self.update(at);
        Some(at)
    }

    fn join(&mut self, left: Link, right: Link) -> Link {
        let (Some(first), Some(second)) = (left, right) else { return left.or(right) };
        if self.nodes[first].priority > self.nodes[second].priority {
            self.nodes[first].right = self.join(self.nodes[first].right, right);
            self.update(first);
            Some(first)
        } else {
            self.nodes[second].left = self.join(left, self.nodes[second].left);
            self.update(second);
            Some(second)
        }
    }

    /// Finds the highest end of a subtree, from those of its children.
    fn update(&mut self, at: usize) {
        let end = |at: usize| Above(self.nodes[at].span.end.as_ref());
        let node = &self.nodes[at];
        let below = [node.left, node.right].into_iter().flatten();
        let highest = below
            .map(|child| self.nodes[child].highest)
            .fold(at, |best, one| if end(one) > end(best) { one } else { best });
        self.nodes[at].highest = highest;
    }
}

/// Spreads the numbers 1, 2, 3, … over all of `u64`.
const fn scramble(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u8, end: Option<u8>) -> Span {
        Span { start: vec![start].into(), end: end.map(|end| vec![end].into()) }
    }

    /// Against a list, under a fixed sequence of insertions and removals.
    #[test]
    fn holds_what_a_list_holds() {
        let (mut ranges, mut list) = (Ranges::default(), Vec::<(Span, usize)>::new());
        for turn in 0..4000 {
            let [start, end, what, probe, ..] = scramble(turn + 7).to_le_bytes();
            let (start, end) = (start % 32, (end % 40 < 36).then_some(end % 40));
            let span = span(start, end);
            let known = list.iter().position(|(known, _)| *known == span);
            assert_eq!(ranges.get(&span), known.map(|at| list[at].1));
            match known {
                Some(at) if what % 2 == 0 => {
                    list.remove(at);
                    ranges.remove(&span);
                }
                Some(_) => {}
                None => {
                    let value = usize::try_from(turn).unwrap();
                    list.push((span.clone(), value));
                    ranges.insert(span, value);
                }
            }
            let key = [probe % 44];
            let holds = |span: &Span| *span.start <= key[..] && span.ends_above(&key);
            let mut expected: Vec<usize> =
                list.iter().filter(|(span, _)| holds(span)).map(|(_, value)| *value).collect();
            let mut found = Vec::new();
            ranges.holding(&key, &mut |value| found.push(value));
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "turn {turn}");
        }
        assert!(list.len() > 100, "{}", list.len());
    }
}
