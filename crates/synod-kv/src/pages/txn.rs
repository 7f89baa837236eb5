//! Transactions that only read, read piece by piece.

use super::{PagesError, RangePages, Weigh};
use crate::caller::Caller;
use crate::engine::Engine;
use crate::error::ReadError;
use crate::reader::{Read, ReadTxnError, Reader};
use crate::response::{OpResponse, TxnResponse};
use crate::revision::Revision;
use crate::txn::{Op, Txn};

/// The answer to a transaction that only reads, before its values are read.
#[derive(Debug)]
pub struct TxnPages<E> {
    /// The store's revision when it was opened; none for one within another.
    pub revision: Revision,
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// The operations of the branch taken.
    pub ops: Vec<OpPages<E>>,
}

/// One of its operations.
#[derive(Debug)]
pub enum OpPages<E> {
    /// A range.
    Range(RangePages<E>),
    /// A nested transaction.
    Txn(TxnPages<E>),
}

/// What all its ranges are opened with.
struct Opening<'a, E> {
    reader: &'a Reader<E>,
    snapshot: Read<'a, E>,
    weigh: Weigh,
    list_bytes_max: u64,
    list_bytes: u64,
}

impl<E: Engine> Reader<E> {
    /// Measures the ranges of a transaction that only reads, all at one revision. Those that are
    /// to be sorted may take lists of `list_bytes_max` together.
    ///
    /// # Errors
    /// If it may write; if the caller may not read all it names; if a range of the branch taken
    /// names a revision that is compacted or in the future; if the lists would be longer; if the
    /// engine fails.
    pub fn measure_txn(
        &self,
        caller: &Caller,
        txn: &Txn,
        weigh: Weigh,
        list_bytes_max: u64,
    ) -> Result<TxnPages<E>, ReadTxnError<E::Error>> {
        if !txn.is_read_only() {
            return Err(ReadTxnError::Writes);
        }
        let snapshot = self.open(caller, || txn.needs()).map_err(ReadError::Denied)?;
        let mut branches = Vec::new();
        snapshot.branches(txn, &mut branches)?;
        let revision = snapshot.revision();
        let mut opening = Opening { reader: self, snapshot, weigh, list_bytes_max, list_bytes: 0 };
        let pages = match opening.open(txn, &mut branches.into_iter()) {
            Err(PagesError::ListTooLarge { .. }) => {
                return Err(ReadTxnError::ListTooLarge { bytes_max: list_bytes_max });
            }
            pages => pages?,
        };
        Ok(TxnPages { revision, ..pages })
    }

    /// Answers a transaction that only reads, from one revision.
    ///
    /// # Errors
    /// If it may write; if the caller may not read all it names; if a range of the branch taken
    /// names a revision that is compacted or in the future; if the engine fails.
    pub fn txn(&self, caller: &Caller, txn: &Txn) -> Result<TxnResponse, ReadTxnError<E::Error>> {
        let pages = self.measure_txn(caller, txn, |_, _| 0, u64::MAX)?;
        Ok(pages.all()?)
    }
}

impl<E: Engine> Opening<'_, E> {
    /// Opens the ranges of the branches taken. A refusal leaves nothing behind, so ranges are
    /// checked as they come.
    fn open(
        &mut self,
        txn: &Txn,
        branches: &mut dyn Iterator<Item = bool>,
    ) -> Result<TxnPages<E>, PagesError<E::Error>> {
        let succeeded =
            branches.next().expect("a branch was chosen for each transaction on the path");
        let mut ops = Vec::new();
        for op in txn.branch(succeeded) {
            match op {
                Op::Range(range) => {
                    self.snapshot.check_revision(range)?;
                    let revision = self.snapshot.revision();
                    let shared = &self.reader.shared;
                    let pages = RangePages::open(shared, range.clone(), revision, self.weigh)?;
                    let left = self.list_bytes_max.saturating_sub(self.list_bytes);
                    let pages = pages.measured(left)?;
                    self.list_bytes += pages.list_bytes();
                    ops.push(OpPages::Range(pages));
                }
                Op::Txn(nested) => ops.push(OpPages::Txn(self.open(nested, branches)?)),
                Op::Put(_) | Op::DeleteRange(_) => {
                    unreachable!("a read-only transaction has only reads")
                }
            }
        }
        Ok(TxnPages { revision: Revision::ZERO, succeeded, ops })
    }
}

impl<E: Engine> TxnPages<E> {
    fn all(self) -> Result<TxnResponse, ReadError<E::Error>> {
        let Self { revision, succeeded, ops } = self;
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                OpPages::Range(pages) => OpResponse::Range(pages.all()?),
                OpPages::Txn(pages) => OpResponse::Txn(pages.all()?),
            });
        }
        Ok(TxnResponse { revision, succeeded, responses })
    }
}
