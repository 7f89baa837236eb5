//! The ordered tree of keys: a B+ tree whose inner nodes count the live keys below them.
//!
//! A key is *live* while its newest version is no deletion. Deleted keys stay until compaction
//! reclaims them, for reads in the past, and do not count. The counts make the size of any range,
//! at the current revision, a walk down two paths.
//!
//! Invariants, checked by `tests::check` after each step:
//!
//! * Keys go up from left to right; a separator is above all keys to its left, and not above any
//!   to its right.
//! * A node's count is the number of live keys in it; all leaves are equally deep.
//! * No node holds more than [`FANOUT`] entries, none is empty but the root of an empty tree.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::versions::Versions;

/// Most entries in a node. Half of it moves when a node splits. Small in this crate's unit tests,
/// so that small trees are deep ones.
const FANOUT: usize = if cfg!(test) { 8 } else { 64 };

/// Ordered map from keys to their versions.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Node,
    keys: usize,
}

#[derive(Debug)]
enum Node {
    Leaf(Leaf),
    Inner(Inner),
}

/// Keys and their versions, side by side: a search touches the keys only.
#[derive(Debug, Default)]
struct Leaf {
    keys: Vec<Bytes>,
    versions: Vec<Versions>,
}

/// Children, with one separator between two neighbours.
#[derive(Debug)]
struct Inner {
    separators: Vec<Bytes>,
    children: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    /// How many live keys are below.
    live: usize,
    node: Box<Node>,
}

/// What a change did to the node it went through.
struct Changed<R> {
    result: R,
    /// Whether the key was live before, and is now.
    was_live: bool,
    is_live: bool,
    /// The key is new, or gone.
    inserted: bool,
    removed: bool,
    /// The right half, if the node had to split, and the separator before it.
    split: Option<(Bytes, Child)>,
}

impl Tree {
    /// How many keys it holds, live or deleted.
    pub(crate) const fn len(&self) -> usize {
        self.keys
    }

    /// How many live keys it holds.
    pub(crate) fn live(&self) -> usize {
        self.root.live()
    }

    /// The versions of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Versions> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)].node,
                Node::Leaf(leaf) => {
                    return leaf.find(key).ok().map(|place| &leaf.versions[place]);
                }
            }
        }
    }

    /// Changes the versions of a key, which becomes known if it was not.
    ///
    /// The tree keeps its own copy of a new key: a slice would keep the whole command in memory.
    /// The closure gets that copy and must leave at least one version.
    pub(crate) fn upsert<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&Bytes, &mut Versions) -> R,
    ) -> R {
        let changed = self.root.upsert(key, change);
        self.keys += usize::from(changed.inserted);
        if let Some((separator, right)) = changed.split {
            let left = Child::new(std::mem::take(&mut self.root));
            self.root =
                Node::Inner(Inner { separators: vec![separator], children: vec![left, right] });
        }
        changed.result
    }

    /// Changes the versions of a key if it is known, and forgets the key if none is left.
    pub(crate) fn edit<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Versions) -> R,
    ) -> Option<R> {
        let changed = self.root.edit(key, change)?;
        self.keys -= usize::from(changed.removed);
        while let Node::Inner(inner) = &mut self.root
            && inner.children.len() <= 1
        {
            self.root = inner.children.pop().map(|child| *child.node).unwrap_or_default();
        }
        Some(changed.result)
    }

    /// How many live keys lie from `start` on and within `end`.
    pub(crate) fn live_between(&self, start: &[u8], end: Bound<&[u8]>) -> usize {
        let upto = match end {
            Bound::Unbounded => self.live(),
            Bound::Excluded(end) => self.live_below(end),
            Bound::Included(end) => {
                self.live_below(end) + usize::from(self.get(end).is_some_and(Versions::is_live))
            }
        };
        upto.saturating_sub(self.live_below(start))
    }

    fn live_below(&self, key: &[u8]) -> usize {
        let mut below = 0;
        let mut node = &self.root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let place = inner.child_of(key);
                    below += inner.children[..place].iter().map(|child| child.live).sum::<usize>();
                    node = &inner.children[place].node;
                }
                Node::Leaf(leaf) => {
                    let place = leaf.find(key).unwrap_or_else(|place| place);
                    let left = &leaf.versions[..place];
                    return below + left.iter().filter(|versions| versions.is_live()).count();
                }
            }
        }
    }

    /// Visits keys from `start` on and within `end`, upward, until the visitor breaks. With
    /// `live_only` it passes over subtrees without live keys, not over each deleted key.
    pub(crate) fn walk(
        &self,
        start: &[u8],
        end: Bound<&[u8]>,
        live_only: bool,
        visit: &mut dyn FnMut(&Bytes, &Versions) -> ControlFlow<()>,
    ) {
        // Nobody needs to know whether the visitor or the tree ended the walk.
        let _ended = self.root.walk(start, end, live_only, visit);
    }
}

impl Node {
    fn upsert<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&Bytes, &mut Versions) -> R,
    ) -> Changed<R> {
        match self {
            Self::Leaf(leaf) => leaf.upsert(key, change),
            Self::Inner(inner) => inner.upsert(key, change),
        }
    }

    fn edit<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Versions) -> R,
    ) -> Option<Changed<R>> {
        match self {
            Self::Leaf(leaf) => leaf.edit(key, change),
            Self::Inner(inner) => inner.edit(key, change),
        }
    }

    fn walk(
        &self,
        start: &[u8],
        end: Bound<&[u8]>,
        live_only: bool,
        visit: &mut dyn FnMut(&Bytes, &Versions) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Leaf(leaf) => {
                let from = leaf.find(start).unwrap_or_else(|place| place);
                for (key, versions) in leaf.keys[from..].iter().zip(&leaf.versions[from..]) {
                    if is_beyond(key, end) {
                        return ControlFlow::Break(());
                    }
                    visit(key, versions)?;
                }
            }
            Self::Inner(inner) => {
                let from = inner.child_of(start);
                for place in from..inner.children.len() {
                    if place > from && is_beyond(&inner.separators[place - 1], end) {
                        return ControlFlow::Break(());
                    }
                    let child = &inner.children[place];
                    if !live_only || child.live > 0 {
                        child.node.walk(start, end, live_only, visit)?;
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn live(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.versions.iter().filter(|v| v.is_live()).count(),
            Self::Inner(inner) => inner.children.iter().map(|child| child.live).sum(),
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.keys.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    /// Takes in the right neighbour; `separator` stood between the two.
    fn append(&mut self, separator: Bytes, right: Self) {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(mut right)) => {
                left.keys.append(&mut right.keys);
                left.versions.append(&mut right.versions);
            }
            (Self::Inner(left), Self::Inner(mut right)) => {
                left.separators.push(separator);
                left.separators.append(&mut right.separators);
                left.children.append(&mut right.children);
            }
            (left, right) => panic!("neighbours of unequal depth: {left:?} {right:?}"),
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::Leaf(Leaf::default())
    }
}

impl Leaf {
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.keys.binary_search_by(|probe| probe.as_ref().cmp(key))
    }

    fn upsert<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&Bytes, &mut Versions) -> R,
    ) -> Changed<R> {
        let found = self.find(key);
        let (Ok(place) | Err(place)) = found;
        if found.is_err() {
            self.keys.insert(place, Bytes::copy_from_slice(key));
            self.versions.insert(place, Versions::default());
        }
        let versions = &mut self.versions[place];
        let was_live = versions.is_live();
        let result = change(&self.keys[place], versions);
        let is_live = versions.is_live();
        let split = (self.keys.len() > FANOUT).then(|| self.split());
        Changed { result, was_live, is_live, inserted: found.is_err(), removed: false, split }
    }

    fn edit<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Versions) -> R,
    ) -> Option<Changed<R>> {
        let place = self.find(key).ok()?;
        let versions = &mut self.versions[place];
        let was_live = versions.is_live();
        let result = change(versions);
        let is_live = versions.is_live();
        let removed = versions.is_empty();
        if removed {
            self.keys.remove(place);
            self.versions.remove(place);
        }
        Some(Changed { result, was_live, is_live, inserted: false, removed, split: None })
    }

    fn split(&mut self) -> (Bytes, Child) {
        let half = self.keys.len() / 2;
        let right = Self {
            keys: split_off(&mut self.keys, half),
            versions: split_off(&mut self.versions, half),
        };
        (right.keys[0].clone(), Child::new(Node::Leaf(right)))
    }
}

impl Inner {
    /// Which child has the key, if any has.
    fn child_of(&self, key: &[u8]) -> usize {
        self.separators.partition_point(|separator| separator.as_ref() <= key)
    }

    fn upsert<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&Bytes, &mut Versions) -> R,
    ) -> Changed<R> {
        let place = self.child_of(key);
        let mut changed = self.children[place].node.upsert(key, change);
        self.recount(place, &changed);
        if let Some((separator, right)) = changed.split.take() {
            self.children[place].live -= right.live;
            self.separators.insert(place, separator);
            self.children.insert(place + 1, right);
            changed.split = (self.children.len() > FANOUT).then(|| self.split());
        }
        changed
    }

    fn edit<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Versions) -> R,
    ) -> Option<Changed<R>> {
        let place = self.child_of(key);
        let changed = self.children[place].node.edit(key, change)?;
        self.recount(place, &changed);
        if changed.removed {
            self.shrink(place);
        }
        Some(changed)
    }

    fn recount<R>(&mut self, place: usize, changed: &Changed<R>) {
        let live = &mut self.children[place].live;
        *live = *live + usize::from(changed.is_live) - usize::from(changed.was_live);
    }

    /// Drops a child that became empty, or joins a small one with a neighbour that has room.
    fn shrink(&mut self, place: usize) {
        if self.children[place].node.len() == 0 {
            self.children.remove(place);
            if !self.separators.is_empty() {
                self.separators.remove(place.saturating_sub(1));
            }
            return;
        }
        if self.children[place].node.len() >= FANOUT / 4 {
            return;
        }
        for left in [place.checked_sub(1), Some(place)].into_iter().flatten() {
            let Some(right) = self.children.get(left + 1) else { continue };
            if self.children[left].node.len() + right.node.len() <= FANOUT / 2 {
                let separator = self.separators.remove(left);
                let right = self.children.remove(left + 1);
                self.children[left].live += right.live;
                self.children[left].node.append(separator, *right.node);
                return;
            }
        }
    }

    fn split(&mut self) -> (Bytes, Child) {
        let half = self.children.len() / 2;
        let children = split_off(&mut self.children, half);
        let separators = split_off(&mut self.separators, half);
        let between = self.separators.pop().expect("more than FANOUT children: a separator each");
        (between, Child::new(Node::Inner(Self { separators, children })))
    }
}

impl Child {
    fn new(node: Node) -> Self {
        Self { live: node.live(), node: Box::new(node) }
    }
}

/// The upper part, with room to grow: both halves will.
fn split_off<T>(items: &mut Vec<T>, at: usize) -> Vec<T> {
    let mut right = Vec::with_capacity(FANOUT + 1);
    right.extend(items.drain(at..));
    right
}

fn is_beyond(key: &[u8], end: Bound<&[u8]>) -> bool {
    match end {
        Bound::Unbounded => false,
        Bound::Included(end) => key > end,
        Bound::Excluded(end) => key >= end,
    }
}

#[cfg(test)]
mod tests;
