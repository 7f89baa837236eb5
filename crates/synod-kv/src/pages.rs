//! Ranges read piece by piece: what the answer will be like is known before any value is read.
//!
//! The index knows how long each value is. So a range is first *measured*, by a walk over the
//! index that keeps a few keys at most, and then read page by page, as fast as whoever wants it
//! takes them. Only an order other than by key upward needs a list of keys, and only the order by
//! value one of values; [`PagesError::ListTooLarge`] bounds it.
//!
//! A page sees the same revision as all others. A compaction that overtakes a read ends it, unless
//! the read [holds](RangePages::hold) what it has still to read.

mod list;
mod txn;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use self::list::List;
pub use self::txn::{OpPages, TxnPages};
use crate::caller::Caller;
use crate::command::{Range, SortOrder, SortTarget};
use crate::engine::Engine;
use crate::error::ReadError;
use crate::history::Floor;
use crate::read::{CHUNK_KEYS, Found, Snapshot, Walk};
use crate::reader::Reader;
use crate::response::{KeyValue, RangeResponse};
use crate::revision::Revision;
use crate::state::State;
use crate::store::Shared;

/// How much a key counts in an answer, beside a value of this length. It is handed over without
/// its value.
pub type Weigh = fn(&KeyValue, u64) -> u64;

/// A range that is read piece by piece. Dropping it ends the read.
#[derive(Debug)]
pub struct RangePages<E> {
    shared: Arc<Shared<E>>,
    range: Arc<Range>,
    at: Revision,
    /// The count, if it was known when the range was opened.
    counted: Option<u64>,
    weigh: Weigh,
    facts: RangeFacts,
    /// Keys that are still to be told.
    left: u64,
    /// Keys that were met on the way and come next.
    pending: VecDeque<Found>,
    /// What they take if they had to be put in order.
    list_bytes: u64,
    /// Whether their values were needed for that.
    with_values: bool,
    /// Where the walk goes on behind them.
    next: Option<Bytes>,
    /// The key told last.
    last: Option<Bytes>,
    holds: bool,
}

/// What is known of a range before its values are read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RangeFacts {
    /// The store's revision when the range was opened: not the one it is read at.
    pub revision: Revision,
    /// How many keys the range has, whatever limit and bounds say.
    pub count: u64,
    /// Whether the limit leaves keys out.
    pub more: bool,
    /// How many keys the answer has.
    pub keys: u64,
    /// What they count together; 0 if they were not measured.
    pub bytes: u64,
}

/// How large a page may be. One key is always told, however large.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageLimits {
    /// Keys.
    pub keys_max: usize,
    /// What they may count together.
    pub bytes_max: u64,
}

/// Why a range was not measured.
#[derive(Debug, thiserror::Error)]
pub enum PagesError<F> {
    /// Its order needs a longer list than there may be.
    #[error("the order needs a list of more than {bytes_max} bytes")]
    ListTooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError<F>),
}

impl<E: Engine> Reader<E> {
    /// Measures a range. If it is to be sorted, that takes a list of at most `list_bytes_max`.
    ///
    /// # Errors
    /// If the caller may not read it; if its revision is compacted or in the future; if the list
    /// would be longer; if the engine fails.
    pub fn measure(
        &self,
        caller: &Caller,
        range: Range,
        weigh: Weigh,
        list_bytes_max: u64,
    ) -> Result<RangePages<E>, PagesError<E::Error>> {
        self.enter(caller, range, weigh)?.measured(list_bytes_max)
    }

    /// Counts a range that is neither sorted nor within bounds, to be read without having been
    /// measured: only at a revision of the past does that look at each key, and only if nobody
    /// counted it before.
    ///
    /// # Errors
    /// If the caller may not read it; if its revision is compacted or in the future; if the engine
    /// fails.
    ///
    /// # Panics
    /// If the range is sorted or has bounds.
    pub fn count_only_then_read(
        &self,
        caller: &Caller,
        range: Range,
        weigh: Weigh,
    ) -> Result<RangePages<E>, ReadError<E::Error>> {
        assert!(!range.is_sorted() && range.bounds.is_open(), "such a range must be measured");
        self.enter(caller, range, weigh)?.counted()
    }

    /// Answers a range, all of it at once.
    ///
    /// # Errors
    /// If the caller may not read it; if its revision is compacted (before or during the read) or
    /// in the future; if the engine fails.
    pub fn range(
        &self,
        caller: &Caller,
        range: &Range,
    ) -> Result<RangeResponse, ReadError<E::Error>> {
        match self.measure(caller, range.clone(), |_, _| 0, u64::MAX) {
            Ok(pages) => pages.all(),
            Err(PagesError::Read(error)) => Err(error),
            Err(PagesError::ListTooLarge { .. }) => unreachable!("no list is that long"),
        }
    }

    /// The tree's own counts are of the newest state: they are asked at the moment that also says
    /// which revision is the current one.
    fn enter(
        &self,
        caller: &Caller,
        range: Range,
        weigh: Weigh,
    ) -> Result<RangePages<E>, ReadError<E::Error>> {
        let (current, counted) = {
            let state = self.shared.state.read();
            if state.auth.is_enabled() {
                state.permit(caller, &range.needs())?;
            }
            let at = range.past_revision().unwrap_or_else(|| state.current());
            (state.current(), state.count_live(&range.keys, at))
        };
        let mut pages = RangePages::open(&self.shared, range, current, weigh)?;
        pages.counted = counted;
        Ok(pages)
    }
}

impl<E: Engine> RangePages<E> {
    /// A range seen from a state in which `current` was the newest revision.
    pub(crate) fn open(
        shared: &Arc<Shared<E>>,
        range: Range,
        current: Revision,
        weigh: Weigh,
    ) -> Result<Self, ReadError<E::Error>> {
        let at = range.past_revision().unwrap_or(current);
        if at > current {
            return Err(ReadError::FutureRevision { requested: at, current });
        }
        Ok(Self {
            shared: Arc::clone(shared),
            next: Some(range.keys.start().as_bytes().clone()),
            range: Arc::new(range),
            at,
            counted: None,
            weigh,
            facts: RangeFacts { revision: current, ..RangeFacts::default() },
            left: 0,
            pending: VecDeque::new(),
            list_bytes: 0,
            with_values: false,
            last: None,
            holds: false,
        })
    }

    /// Looks at each key of the answer.
    pub(crate) fn measured(mut self, list_bytes_max: u64) -> Result<Self, PagesError<E::Error>> {
        if self.range.count_only {
            return Ok(self.counted()?);
        }
        let range = Arc::clone(&self.range);
        let counted = self.count_at_once()?;
        let limit = self.limit();
        let candidates = self.candidates(limit);
        let mut list = range.is_sorted().then(|| List::new(&range, list_bytes_max));
        let mut walk = self.walk(&range, self.next.clone());
        let (mut seen, mut matched) = (0, 0);
        while counted.is_none() || matched < candidates {
            let most = match counted {
                Some(_) if self.range.bounds.is_open() => candidates - matched,
                _ => u64::MAX,
            };
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let Some(mut chunk) = walk.next_chunk(&self.shared.state, most)? else { break };
            seen += number(chunk.len());
            chunk.retain(|found| self.range.admits(found));
            chunk.truncate(usize::try_from(candidates - matched).unwrap_or(usize::MAX));
            let room = limit.saturating_sub(matched);
            matched += number(chunk.len());
            match &mut list {
                Some(list) => list.take(&self.snapshot(), self.at, chunk)?,
                None => self.keep(chunk, room, walk.next()),
            }
        }
        if let Some(list) = list {
            self.with_values = self.range.sort.target == SortTarget::Value;
            (self.pending, self.list_bytes) = list.sorted();
            self.facts.bytes = self.pending.iter().map(|found| self.weight(found)).sum();
        }
        self.left = matched.min(limit);
        self.facts.count = counted.unwrap_or_else(|| self.learn(seen));
        self.facts.more = matched > limit;
        self.facts.keys = self.left;
        Ok(self)
    }

    /// Counts, and leaves the keys for later.
    pub(crate) fn counted(mut self) -> Result<Self, ReadError<E::Error>> {
        let count = match self.count_at_once()? {
            Some(count) => count,
            None => self.learn(self.snapshot().count_by_walk(&self.range.keys, self.at)?),
        };
        self.facts.count = count;
        if !self.range.count_only {
            self.left = count.min(self.limit());
            self.facts.more = count > self.limit();
            self.facts.keys = self.left;
        }
        Ok(self)
    }

    /// What is known of the range.
    #[must_use]
    pub const fn facts(&self) -> RangeFacts {
        self.facts
    }

    /// Whether every key was told.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// What the next key counts; none at the end.
    ///
    /// # Errors
    /// If what comes next is compacted.
    ///
    /// # Panics
    /// As [`RangePages::next_page`].
    pub fn next_weight(&mut self) -> Result<Option<u64>, ReadError<E::Error>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.refill()?;
        Ok(self.pending.front().map(|found| self.weight(found)))
    }

    /// Holds what it has still to read: from now on, no compaction ends it. What it holds is not
    /// reclaimed, so that is for a bounded time.
    ///
    /// # Errors
    /// If its revision is compacted.
    pub fn hold(&mut self) -> Result<(), ReadError<E::Error>> {
        // Under the lock, so that nothing is reclaimed between the look and the hold.
        let state = self.shared.state.read();
        let compacted = state.meta.compact;
        if self.at < compacted {
            return Err(ReadError::Compacted { requested: self.at, compacted });
        }
        if !std::mem::replace(&mut self.holds, true) {
            self.shared.hold.begin(self.at);
        }
        Ok(())
    }

    /// Holds nothing any more.
    pub fn release(&mut self) {
        if std::mem::take(&mut self.holds) {
            self.shared.hold.end(self.at);
        }
    }

    /// Reads on.
    ///
    /// # Errors
    /// If what comes next is compacted; if the engine fails.
    ///
    /// # Panics
    /// If the store has not the keys that it was measured to have: then it is broken.
    pub fn next_page(
        &mut self,
        limits: PageLimits,
        tell: &mut dyn FnMut(KeyValue),
    ) -> Result<(), ReadError<E::Error>> {
        if !self.holds {
            self.snapshot().check_kept(self.at)?;
        }
        let (mut keys, mut bytes, mut is_full) = (0, 0, false);
        while self.left > 0 && !is_full {
            self.refill()?;
            let mut batch = Vec::new();
            while let Some(found) = self.pending.front().filter(|_| self.left > 0) {
                bytes += self.weight(found);
                is_full = keys == limits.keys_max || keys > 0 && bytes > limits.bytes_max;
                if is_full {
                    break;
                }
                keys += 1;
                self.left -= 1;
                batch.extend(self.pending.pop_front());
            }
            if let Some(found) = batch.last() {
                self.last = Some(found.key.clone());
            }
            self.tell(batch, tell)?;
        }
        if self.left == 0 {
            self.release();
            self.learn_rest();
        }
        Ok(())
    }

    /// Reads all that is left.
    pub(crate) fn all(mut self) -> Result<RangeResponse, ReadError<E::Error>> {
        let mut kvs = Vec::new();
        let limits = PageLimits { keys_max: usize::MAX, bytes_max: u64::MAX };
        self.next_page(limits, &mut |kv| kvs.push(kv))?;
        let RangeFacts { revision, count, more, .. } = self.facts;
        Ok(RangeResponse { revision, kvs, more, count })
    }

    /// The memory that its list takes, if it needed one.
    pub(crate) fn list_bytes(&self) -> u64 {
        self.list_bytes
    }

    /// Makes sure that a key is pending.
    fn refill(&mut self) -> Result<(), ReadError<E::Error>> {
        while self.pending.is_empty() {
            let range = Arc::clone(&self.range);
            let from = self.next.take();
            let mut walk = self.walk(&range, from);
            let chunk = walk.next_chunk(&self.shared.state, CHUNK_KEYS)?;
            let next = walk.next();
            let chunk = chunk.expect("a revision keeps the keys that were counted in it");
            self.pending.extend(chunk.into_iter().filter(|found| self.range.admits(found)));
            self.next = next;
        }
        Ok(())
    }

    fn tell(
        &self,
        batch: Vec<Found>,
        tell: &mut dyn FnMut(KeyValue),
    ) -> Result<(), ReadError<E::Error>> {
        if self.range.keys_only {
            batch.into_iter().for_each(|found| tell(found.without_value().into_key_value()));
            return Ok(());
        }
        if self.with_values {
            batch.into_iter().for_each(|found| tell(found.into_key_value()));
            return Ok(());
        }
        self.snapshot().load_each(batch, self.at, tell)
    }

    /// Remembers keys of the answer that were met while measuring, as long as they are few.
    fn keep(&mut self, chunk: Vec<Found>, room: u64, next: Option<Bytes>) {
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(chunk.len());
        self.facts.bytes += chunk[..room].iter().map(|found| self.weight(found)).sum::<u64>();
        if self.pending.len() < CHUNK_KEYS && self.next.is_some() {
            self.pending.extend(chunk.into_iter().take(room));
            self.next = next;
        }
    }

    fn weight(&self, found: &Found) -> u64 {
        let value = if self.range.keys_only { 0 } else { found.value_len() };
        (self.weigh)(&found.without_value().into_key_value(), value)
    }

    fn count_at_once(&self) -> Result<Option<u64>, ReadError<E::Error>> {
        if let Some(count) = self.counted {
            // Of the newest state, which is not compacted.
            return Ok(Some(count));
        }
        let keys = &self.range.keys;
        let counted = self.snapshot().count_at_once(keys, self.at)?;
        Ok(counted.or_else(|| self.shared.counts.lock().get(keys, self.at)))
    }

    /// Notes a count that took a walk, if it was a long one.
    fn learn(&self, count: u64) -> u64 {
        let keys = &self.range.keys;
        if count > number(CHUNK_KEYS) {
            self.shared.counts.lock().learn(keys, keys.start().as_bytes(), self.at, count);
        }
        count
    }

    /// Notes how many keys come behind those that were told: who pages asks for them next.
    fn learn_rest(&self) {
        let Range { keys, bounds, .. } = &*self.range;
        let rest = self.facts.count - self.facts.keys;
        let Some(last) = &self.last else { return };
        if rest <= number(CHUNK_KEYS) || self.range.is_sorted() || !bounds.is_open() {
            return;
        }
        let next = [last, &[0][..]].concat();
        self.shared.counts.lock().learn(keys, &next, self.at, rest);
    }

    /// How many keys an answer may be made of. As in etcd, only an order or bounds make it look at
    /// more than the limit and one: a sort target alone sorts the first keys of the range.
    fn candidates(&self, limit: u64) -> u64 {
        let whole = self.range.sort.order != SortOrder::None || !self.range.bounds.is_open();
        if whole && self.range.is_sorted() { u64::MAX } else { limit.saturating_add(1) }
    }

    fn limit(&self) -> u64 {
        self.range.limit.map_or(u64::MAX, std::num::NonZero::get)
    }

    fn walk<'a>(&self, range: &'a Range, from: Option<Bytes>) -> Walk<'a> {
        let floor = if self.holds { Floor::Reclaimed } else { Floor::Compact };
        Walk::resume(&range.keys, self.at, from, floor)
    }

    fn snapshot(&self) -> Snapshot<'_, parking_lot::RwLock<State>, E> {
        Snapshot::at(&self.shared.state, &self.shared.engine, self.facts.revision)
    }
}

impl<E> Drop for RangePages<E> {
    fn drop(&mut self) {
        if self.holds {
            self.shared.hold.end(self.at);
        }
    }
}

impl Range {
    /// Whether the answer is in another order than that of the keys upward.
    #[must_use]
    pub fn is_sorted(&self) -> bool {
        self.sort.target != SortTarget::Key || self.sort.order == SortOrder::Descend
    }

    fn admits(&self, found: &Found) -> bool {
        self.bounds.admit(found.live().create, found.version().at.revision)
    }
}

pub(crate) fn number(keys: usize) -> u64 {
    u64::try_from(keys).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
