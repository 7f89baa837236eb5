//! How much memory the answer to a command takes, before anything is read or written for it.
//!
//! A command that writes may also read: ranges in a transaction, and what keys held before. Its
//! answer is put together while it is applied, so it must be bounded *before*: the index knows how
//! long values are. The bound travels in the command, see [`Command::encode_within`], and what is
//! measured follows from the state alone: so all members refuse the same commands.
//!
//! What is measured is never below what the answer takes. It is above where a command reads what
//! it changes itself: both what was there before and what it puts counts. Each key that is looked
//! at counts, told or not; so what is measured also bounds the work.

use std::collections::BTreeMap;
use std::ops::Bound::Included;

use crate::caller::Caller;
use crate::command::{Assign, Command, DeleteRange, Put, Range, SortOrder, SortTarget};
use crate::engine::Engine;
use crate::error::{ReadError, Stop};
use crate::key::KeyRange;
use crate::pages::number;
use crate::read::{View, Walk};
use crate::reader::Reader;
use crate::response::ApplyError;
use crate::revision::Revision;
use crate::row::live_bytes;
use crate::state::State;
use crate::txn::{Op, Txn};

/// What the answer to a command may take that names no bound of its own.
pub const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// What a key counts beside its own length and that of its value.
pub const ANSWER_KEY_BYTES: u64 = 128;

/// Which branch a transaction takes; none if that is not known, and the larger one counts.
pub(crate) type Choose<'a> = &'a mut dyn FnMut() -> Option<bool>;

/// A command, as far as it was measured.
pub(crate) struct Measure<'a, V> {
    view: &'a V,
    /// The revision before the command.
    current: Revision,
    bytes_max: u64,
    bytes: u64,
    /// What the keys that it has put count.
    puts: BTreeMap<&'a [u8], u64>,
    /// How many keys it has deleted, at most.
    deleted: u64,
}

type Measured = Result<(), ApplyError>;

impl Command {
    /// Whether its answer may hold keys or values.
    #[must_use]
    pub fn tells_keys(&self) -> bool {
        match self {
            Self::Put(put) => put.prev_kv,
            Self::DeleteRange(delete) => delete.prev_kv,
            Self::Txn(txn) => txn.tells_keys(),
            Self::Compact(_)
            | Self::LeaseGrant(_)
            | Self::LeaseRevoke { .. }
            | Self::LeaseKeepAlive { .. }
            | Self::LeaseExpire(_)
            | Self::Auth(_)
            | Self::Alarm(_)
            | Self::SpaceReport(_) => false,
        }
    }
}

impl Txn {
    /// The same for either branch.
    pub(crate) fn tells_keys(&self) -> bool {
        self.success().iter().chain(self.failure()).any(|op| match op {
            Op::Range(_) => true,
            Op::Put(put) => put.prev_kv,
            Op::DeleteRange(delete) => delete.prev_kv,
            Op::Txn(nested) => nested.tells_keys(),
        })
    }
}

impl<E: Engine> Reader<E> {
    /// How much memory the answer to a command would take now, whichever branches it takes, at
    /// most `bytes_max`: so much is looked at. 0 if the caller may not do it now.
    #[must_use]
    pub fn answer_bytes(&self, caller: &Caller, command: &Command, bytes_max: u64) -> u64 {
        if !command.tells_keys() {
            return 0;
        }
        let Ok(snapshot) = self.open(caller, || command.needs()) else { return 0 };
        let mut measure = Measure::new(&self.shared.state, snapshot.revision(), bytes_max);
        // Where it ends early, so does the command.
        let _ended = match command {
            Command::Put(put) => measure.put(put),
            Command::DeleteRange(delete) => measure.delete(delete),
            Command::Txn(txn) => measure.txn(txn, &mut || None),
            _ => Ok(()),
        };
        measure.bytes.min(bytes_max)
    }
}

impl<'a, V: View> Measure<'a, V> {
    /// Measures a command that comes upon this state.
    pub(crate) const fn new(view: &'a V, current: Revision, bytes_max: u64) -> Self {
        Self { view, current, bytes_max, bytes: 0, puts: BTreeMap::new(), deleted: 0 }
    }

    /// The operations of the branches taken, as they come.
    pub(crate) fn txn(&mut self, txn: &'a Txn, choose: Choose<'_>) -> Measured {
        if let Some(succeeded) = choose() {
            return self.branch(txn.branch(succeeded), choose);
        }
        let before = self.bytes;
        self.branch(txn.success(), choose)?;
        let success = std::mem::replace(&mut self.bytes, before);
        self.branch(txn.failure(), choose)?;
        self.bytes = self.bytes.max(success);
        Ok(())
    }

    fn branch(&mut self, ops: &'a [Op], choose: Choose<'_>) -> Measured {
        for op in ops {
            match op {
                Op::Range(range) => self.range(range)?,
                Op::Put(put) => self.put(put)?,
                Op::DeleteRange(delete) => self.delete(delete)?,
                Op::Txn(nested) => self.txn(nested, choose)?,
            }
        }
        Ok(())
    }

    /// A put: what the key held, if that is asked for.
    pub(crate) fn put(&mut self, put: &'a Put) -> Measured {
        let key = put.key.as_bytes();
        let live = |state: &State| state.tree.get(key).and_then(|versions| versions.newest());
        let live = self.view.look(live).and_then(|version| version.live);
        let former = live.map_or(0, |live| live.bytes);
        if put.prev_kv {
            self.take(ANSWER_KEY_BYTES + former)?;
        }
        let bytes = match &put.value {
            Assign::Set(value) => live_bytes(key, value),
            Assign::Keep => former,
        };
        // Branches that exclude each other may put the same key.
        let counts = self.puts.entry(key).or_default();
        *counts = (*counts).max(ANSWER_KEY_BYTES + bytes);
        Ok(())
    }

    /// A delete: what its keys held, if that is asked for.
    pub(crate) fn delete(&mut self, delete: &DeleteRange) -> Measured {
        let keys = &delete.keys;
        let live =
            |state: &State| state.tree.live_between(keys.start().as_bytes(), keys.end_bound());
        let live = number(self.view.look(live));
        if delete.prev_kv {
            self.take(ANSWER_KEY_BYTES)?;
            self.range(&Range::new(keys.clone()))?;
        }
        self.deleted = self.deleted.saturating_add(live);
        Ok(())
    }

    fn range(&mut self, range: &Range) -> Measured {
        self.take(ANSWER_KEY_BYTES)?;
        let named = range.past_revision();
        let at = named.unwrap_or(self.current);
        let unchanged = self.puts.is_empty() && self.deleted == 0;
        let is_newest = named.is_none() || at == self.current && unchanged;
        // In the future or compacted: a command that gets here is refused for it. It need not be
        // the branch that is taken.
        let is_there = at <= self.current && at >= self.view.look(|state| state.meta.compact);
        if !is_there || range.count_only && is_newest {
            return Ok(());
        }
        self.keys(range, at, is_newest)?;
        if named.is_none() { self.own_puts(&range.keys) } else { Ok(()) }
    }

    /// The keys that were there before the command: those that are told, and those that must be
    /// looked at to find or count them.
    fn keys(&mut self, range: &Range, at: Revision, is_newest: bool) -> Measured {
        let by_value = range.sort.target == SortTarget::Value;
        let limit = range.limit.map_or(u64::MAX, std::num::NonZero::get);
        // What the command has deleted makes room for keys behind; an order by value reads one
        // more.
        let limit = limit.saturating_add(self.deleted).saturating_add(u64::from(by_value));
        let told_max = if range.count_only { 0 } else { limit };
        let any_of = range.sort.order != SortOrder::None || !range.bounds.is_open();
        let (mut seen, mut sum, mut largest) = (0_u64, 0_u64, 0);
        let mut walk = Walk::new(&range.keys, at);
        loop {
            let ends = is_newest && !any_of;
            let most = if ends { told_max - seen } else { u64::MAX };
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            if most == 0 {
                break;
            }
            let chunk = walk.next_chunk(self.view, most).map_err(refusal)?;
            let Some(chunk) = chunk else { break };
            for found in &chunk {
                let value = if range.keys_only && !by_value { 0 } else { found.value_len() };
                let bytes = number(found.key.len()) + value;
                self.take(ANSWER_KEY_BYTES)?;
                if any_of {
                    (sum, largest) = (sum.saturating_add(bytes), bytes.max(largest));
                } else if seen < told_max {
                    self.take(bytes)?;
                }
                seen += 1;
            }
        }
        // Which of them are told is found out when they are put in order: no more than this.
        let told = if by_value { sum } else { sum.min(largest.saturating_mul(told_max)) };
        self.take(told)
    }

    /// What the command itself has put, and reads.
    fn own_puts(&mut self, keys: &KeyRange) -> Measured {
        let start = keys.start().as_bytes().as_ref();
        if let KeyRange::Between { end, .. } = keys
            && end.as_bytes().as_ref() <= start
        {
            return Ok(());
        }
        let mut bytes = self.bytes;
        for put in self.puts.range::<[u8], _>((Included(start), keys.end_bound())) {
            bytes = bytes.saturating_add(*put.1);
            if bytes > self.bytes_max {
                break;
            }
        }
        self.take(bytes - self.bytes)
    }

    fn take(&mut self, bytes: u64) -> Measured {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max {
            let Self { bytes, bytes_max, .. } = *self;
            return Err(ApplyError::AnswerTooLarge { bytes, bytes_max });
        }
        Ok(())
    }
}

/// Why the index could not be walked: what is read was compacted meanwhile.
fn refusal(error: ReadError<std::convert::Infallible>) -> ApplyError {
    match Stop::from(error) {
        Stop::Refused(error) => error,
        Stop::Storage(error) => unreachable!("the index is in memory: {error}"),
    }
}
