//! Reads of a revision, for readers beside the writer and for the writer within a command alike.
//!
//! A reader holds the lock for [`CHUNK_KEYS`] keys at a time. Between chunks the writer goes on:
//! versions above the revision read are passed over, and a compaction that overtakes the read
//! ends it as [`ReadError::Compacted`], so that it never answers with holes.

use std::cmp::Ordering;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::command::{Range, SortOrder, SortTarget};
use crate::engine::Engine;
use crate::error::{ReadError, StorageError};
use crate::history::Floor;
use crate::key::KeyRange;
use crate::response::{KeyValue, RangeResponse};
use crate::revision::Revision;
use crate::row::{self, Row};
use crate::state::State;
use crate::txn::{Compare, Comparison, Op, Target, Txn};
use crate::versions::{Live, Version};

/// How many keys a reader visits per lock.
pub(crate) const CHUNK_KEYS: usize = 512;

#[cfg(test)]
thread_local! {
    /// Keys that walks of this thread have visited.
    pub(crate) static VISITED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A way to look at the state, for a moment at a time.
pub(crate) trait View {
    /// Looks at the state. It may have changed when this is called again.
    fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R;
}

impl View for State {
    fn look<R>(&self, look: impl FnOnce(&Self) -> R) -> R {
        look(self)
    }
}

impl View for RwLock<State> {
    fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.read())
    }
}

/// Reads at one revision, of a view and the engine below it.
pub(crate) struct Snapshot<'a, V, E> {
    view: &'a V,
    engine: &'a E,
    /// The revision that is current for this read, and what its answer's header carries.
    current: Revision,
}

/// A live key met on a walk; its value comes later, if it is wanted.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) key: Bytes,
    version: Version,
    live: Live,
    value: Bytes,
}

impl<'a, V: View, E: Engine> Snapshot<'a, V, E> {
    /// Reads at the revision that is current now.
    pub(crate) fn new(view: &'a V, engine: &'a E) -> Self {
        Self::at(view, engine, view.look(State::current))
    }

    /// Reads at the revision that was current at some moment.
    pub(crate) const fn at(view: &'a V, engine: &'a E, current: Revision) -> Self {
        Self { view, engine, current }
    }

    /// The current revision of this read.
    pub(crate) const fn revision(&self) -> Revision {
        self.current
    }

    /// Answers a range.
    pub(crate) fn range(&self, range: &Range) -> Result<RangeResponse, ReadError<E::Error>> {
        let at = range.past_revision().unwrap_or(self.current);
        if at > self.current {
            return Err(ReadError::FutureRevision { requested: at, current: self.current });
        }
        let counted = self.count_at_once(&range.keys, at)?;
        if range.count_only {
            let count = counted.map_or_else(|| self.count_by_walk(&range.keys, at), Ok)?;
            return Ok(RangeResponse { revision: self.current, count, ..Default::default() });
        }
        let (mut found, count) = self.fetch(range, at, counted)?;
        found.retain(|key| range.bounds.admit(key.live.create, key.version.at.revision));
        if range.sort.target == SortTarget::Value {
            self.load(&mut found, at)?;
        }
        sort(&mut found, range);
        let limit = range
            .limit
            .map_or(usize::MAX, |limit| usize::try_from(limit.get()).unwrap_or(usize::MAX));
        let more = found.len() > limit;
        found.truncate(limit);
        if range.keys_only {
            found.iter_mut().for_each(|key| key.value = Bytes::new());
        } else if range.sort.target != SortTarget::Value {
            self.load(&mut found, at)?;
        }
        let kvs = found.into_iter().map(Found::into_key_value).collect();
        Ok(RangeResponse { revision: self.current, kvs, more, count })
    }

    /// The live keys of a range at the current revision, without values.
    pub(crate) fn live_keys(&self, keys: &KeyRange) -> Result<Vec<Found>, ReadError<E::Error>> {
        let mut walk = Walk::new(keys, self.current);
        let mut found = Vec::new();
        while let Some(chunk) = walk.next_chunk(self.view, usize::MAX)? {
            found.extend(chunk);
        }
        Ok(found)
    }

    /// Fills in the values.
    pub(crate) fn load(
        &self,
        found: &mut [Found],
        at: Revision,
    ) -> Result<(), ReadError<E::Error>> {
        for chunk in found.chunks_mut(CHUNK_KEYS) {
            let mut missing = Vec::new();
            self.view.look(|state| {
                for key in chunk {
                    match state.overlay.get(key.version.at) {
                        Some(row) => key.value = row.value.clone(),
                        None => missing.push(key),
                    }
                }
            });
            for key in missing {
                key.value = self.load_one(key, at)?;
            }
        }
        Ok(())
    }

    /// Tells keys with their values, one at a time: memory holds one value that comes from the
    /// engine, and those of the others that memory holds anyway.
    pub(crate) fn load_each(
        &self,
        found: Vec<Found>,
        at: Revision,
        tell: &mut dyn FnMut(KeyValue),
    ) -> Result<(), ReadError<E::Error>> {
        let here: Vec<Option<Bytes>> = self.view.look(|state| {
            let row = |key: &Found| state.overlay.get(key.version.at);
            found.iter().map(|key| row(key).map(|row| row.value.clone())).collect()
        });
        for (mut key, value) in found.into_iter().zip(here) {
            key.value = match value {
                Some(value) => value,
                None => self.load_one(&key, at)?,
            };
            tell(key.into_key_value());
        }
        Ok(())
    }

    fn load_one(&self, key: &Found, at: Revision) -> Result<Bytes, ReadError<E::Error>> {
        let row_key = row::row_key(key.version.at);
        if let Some(bytes) = self.engine.get(&row_key).map_err(StorageError::Engine)? {
            return Ok(Row::decode(&row_key, &bytes).map_err(StorageError::Row)?.value);
        }
        let compacted = self.view.look(|state| state.meta.compact);
        if at < compacted {
            return Err(ReadError::Compacted { requested: at, compacted });
        }
        Err(StorageError::MissingRow { revision: key.version.at.revision }.into())
    }

    /// Whether all conditions of a transaction hold.
    pub(crate) fn compare_all(&self, txn: &Txn) -> Result<bool, ReadError<E::Error>> {
        for compare in txn.compares() {
            if !self.compare(compare)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn compare(&self, compare: &Compare) -> Result<bool, ReadError<E::Error>> {
        let mut walk = Walk::new(&compare.keys, self.current);
        let mut any = false;
        while let Some(chunk) = walk.next_chunk(self.view, usize::MAX)? {
            any |= !chunk.is_empty();
            for mut key in chunk {
                // One value at a time: they may be large.
                if matches!(compare.target, Target::Value(_)) {
                    self.load(std::slice::from_mut(&mut key), self.current)?;
                }
                if !holds(compare, Some(&key)) {
                    return Ok(false);
                }
            }
        }
        Ok(any || holds(compare, None))
    }

    /// Which branch each transaction takes, outermost first, then those nested in the branches
    /// taken, in their order. All conditions are judged on the state before the transaction.
    pub(crate) fn branches(
        &self,
        txn: &Txn,
        taken: &mut Vec<bool>,
    ) -> Result<(), ReadError<E::Error>> {
        let succeeded = self.compare_all(txn)?;
        taken.push(succeeded);
        for op in txn.branch(succeeded) {
            if let Op::Txn(nested) = op {
                self.branches(nested, taken)?;
            }
        }
        Ok(())
    }

    /// Checks the revision that a range in a transaction names.
    pub(crate) fn check_revision(&self, range: &Range) -> Result<(), ReadError<E::Error>> {
        let Some(requested) = range.revision.filter(|named| *named != Revision::ZERO) else {
            return Ok(());
        };
        if requested > self.current {
            return Err(ReadError::FutureRevision { requested, current: self.current });
        }
        self.check_kept(requested)
    }

    /// Checks that a revision is not compacted.
    pub(crate) fn check_kept(&self, requested: Revision) -> Result<(), ReadError<E::Error>> {
        let compacted = self.view.look(|state| state.meta.compact);
        if requested < compacted {
            return Err(ReadError::Compacted { requested, compacted });
        }
        Ok(())
    }

    /// Counts by the tree's own counts, which are of the newest state: none if it has moved on.
    pub(crate) fn count_at_once(
        &self,
        keys: &KeyRange,
        at: Revision,
    ) -> Result<Option<u64>, ReadError<E::Error>> {
        self.view.look(|state| {
            if at < state.meta.compact {
                return Err(ReadError::Compacted { requested: at, compacted: state.meta.compact });
            }
            Ok(state.count_live(keys, at))
        })
    }

    pub(crate) fn count_by_walk(
        &self,
        keys: &KeyRange,
        at: Revision,
    ) -> Result<u64, ReadError<E::Error>> {
        let mut walk = Walk::new(keys, at);
        let mut counted = 0;
        while let Some(chunk) = walk.next_chunk(self.view, usize::MAX)? {
            counted += count(chunk.len());
        }
        Ok(counted)
    }

    /// The keys an answer may be made of, and how many the range has.
    ///
    /// As in etcd, only an order or bounds make it look at more keys than the limit and one: a
    /// sort target alone sorts the first keys of the range.
    fn fetch(
        &self,
        range: &Range,
        at: Revision,
        counted: Option<u64>,
    ) -> Result<(Vec<Found>, u64), ReadError<E::Error>> {
        let whole = range.sort.order != SortOrder::None || !range.bounds.is_open();
        let wanted = match range.limit {
            Some(limit) if !whole => {
                usize::try_from(limit.get()).unwrap_or(usize::MAX).saturating_add(1)
            }
            _ => usize::MAX,
        };
        let mut walk = Walk::new(&range.keys, at);
        let mut found = Vec::new();
        let mut seen = 0;
        while counted.is_none() || found.len() < wanted {
            let most = if counted.is_none() { usize::MAX } else { wanted - found.len() };
            let Some(chunk) = walk.next_chunk(self.view, most)? else { break };
            seen += count(chunk.len());
            let room = wanted - found.len();
            found.extend(chunk.into_iter().take(room));
        }
        Ok((found, counted.unwrap_or(seen)))
    }
}

impl Found {
    pub(crate) const fn live(&self) -> Live {
        self.live
    }

    pub(crate) const fn version(&self) -> Version {
        self.version
    }

    pub(crate) const fn value(&self) -> &Bytes {
        &self.value
    }

    /// How long its value is.
    pub(crate) fn value_len(&self) -> u64 {
        self.live.bytes - u64::try_from(self.key.len()).unwrap_or(u64::MAX)
    }

    /// The same without the value.
    pub(crate) fn without_value(&self) -> Self {
        let Self { key, version, live, value: _ } = self;
        Self { key: key.clone(), version: *version, live: *live, value: Bytes::new() }
    }

    /// What a client sees of it.
    pub(crate) fn into_key_value(self) -> KeyValue {
        row::key_value(self.key, self.value, &self.version)
    }
}

/// A walk over the live keys of a range, chunk by chunk.
pub(crate) struct Walk<'a> {
    keys: &'a KeyRange,
    at: Revision,
    /// The next key to visit; none at the end.
    next: Option<Bytes>,
    floor: Floor,
}

impl<'a> Walk<'a> {
    /// Walks over the keys that exist at a revision.
    pub(crate) fn new(keys: &'a KeyRange, at: Revision) -> Self {
        Self::resume(keys, at, Some(keys.start().as_bytes().clone()), Floor::Compact)
    }

    /// Walks on from where another walk was.
    pub(crate) const fn resume(
        keys: &'a KeyRange,
        at: Revision,
        next: Option<Bytes>,
        floor: Floor,
    ) -> Self {
        Self { keys, at, next, floor }
    }

    /// The next key to visit; none at the end.
    pub(crate) fn next(&self) -> Option<Bytes> {
        self.next.clone()
    }

    /// At most `most` keys, after at most [`CHUNK_KEYS`] visited; none at the end of the range.
    pub(crate) fn next_chunk<F>(
        &mut self,
        view: &impl View,
        most: usize,
    ) -> Result<Option<Vec<Found>>, ReadError<F>> {
        use std::ops::ControlFlow::{Break, Continue};
        let Some(from) = self.next.take() else { return Ok(None) };
        let at = self.at;
        let mut found = Vec::new();
        let mut visited = 0;
        view.look(|state| {
            let compacted = match self.floor {
                Floor::Compact => state.meta.compact,
                Floor::Reclaimed => state.reclaimed(),
            };
            if at < compacted {
                return Err(ReadError::Compacted { requested: at, compacted });
            }
            let live_only = at >= state.current();
            let end = self.keys.end_bound();
            state.tree.walk(&from, end, live_only, &mut |key, versions| {
                if visited == CHUNK_KEYS || found.len() == most {
                    self.next = Some(key.clone());
                    return Break(());
                }
                visited += 1;
                #[cfg(test)]
                VISITED.with(|all| all.set(all.get() + 1));
                if let Some(version @ Version { live: Some(live), .. }) = versions.seen_at(at) {
                    found.push(Found { key: key.clone(), version, live, value: Bytes::new() });
                }
                Continue(())
            });
            Ok(())
        })?;
        Ok(Some(found))
    }
}

/// Whether a condition holds for a key, or for none at all.
fn holds(compare: &Compare, key: Option<&Found>) -> bool {
    let live = key.map(|key| key.live);
    let ordering = match &compare.target {
        Target::Version(version) => live.map_or(0, |live| live.version).cmp(version),
        Target::Create(revision) => live.map_or(0, |live| live.create.as_i64()).cmp(revision),
        Target::Mod(revision) => {
            key.map_or(0, |key| key.version.at.revision.as_i64()).cmp(revision)
        }
        Target::Lease(lease) => live.map_or(0, |live| live.lease).cmp(lease),
        Target::Value(value) => match key {
            Some(key) => key.value.cmp(value),
            None => return false,
        },
    };
    match compare.comparison {
        Comparison::Equal => ordering == Ordering::Equal,
        Comparison::NotEqual => ordering != Ordering::Equal,
        Comparison::Greater => ordering == Ordering::Greater,
        Comparison::Less => ordering == Ordering::Less,
    }
}

/// Puts keys, which come by key upward, into the order asked for. Equal ones stay as they are.
pub(crate) fn sort(found: &mut [Found], range: &Range) {
    let by_target = |a: &Found, b: &Found| match range.sort.target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.live.version.cmp(&b.live.version),
        SortTarget::Create => a.live.create.cmp(&b.live.create),
        SortTarget::Mod => a.version.at.revision.cmp(&b.version.at.revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match (range.sort.order, range.sort.target) {
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => {}
        (SortOrder::None | SortOrder::Ascend, _) => found.sort_by(by_target),
        (SortOrder::Descend, _) => found.sort_by(|a, b| by_target(b, a)),
    }
}

fn count(keys: usize) -> u64 {
    u64::try_from(keys).unwrap_or(u64::MAX)
}
