//! No key changes twice in one transaction: etcd's check, with its order of looking.
//!
//! Deletes of a level come first, then the transactions nested in it in their order, then its own
//! puts. Two consequences are etcd's and kept: of two nested transactions the *later* may delete
//! what the earlier put, and a delete "from this key on" (`range_end` of one zero byte) is never
//! taken to overlap a put. Apply copes with both: the last change of a key in a revision counts.

use std::collections::BTreeSet;

use crate::key::KeyRange;
use crate::txn::Op;

/// A key would change twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DuplicateKey;

/// Checks the operations of one branch, and all below them.
pub(crate) fn check(ops: &[Op]) -> Result<(), DuplicateKey> {
    match ops {
        [] | [Op::Put(_) | Op::DeleteRange(_) | Op::Range(_)] => Ok(()),
        _ => changes(ops).map(drop),
    }
}

/// What a list of operations may change, whichever branches are taken.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<&'a KeyRange>,
}

impl Changes<'_> {
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes.iter().any(|keys| !matches!(keys, KeyRange::From(_)) && keys.contains(key))
    }
}

fn changes(ops: &[Op]) -> Result<Changes<'_>, DuplicateKey> {
    let mut all = Changes::default();
    for op in ops {
        if let Op::DeleteRange(delete) = op {
            all.deletes.push(&delete.keys);
        }
    }
    for op in ops {
        if let Op::Txn(txn) = op {
            let success = changes(txn.success())?;
            let failure = changes(txn.failure())?;
            // The branches exclude each other, so both may put the same key.
            for key in success.puts.union(&failure.puts) {
                if all.deletes(key) || !all.puts.insert(key) {
                    return Err(DuplicateKey);
                }
            }
            all.deletes.extend(success.deletes);
            all.deletes.extend(failure.deletes);
        }
    }
    for op in ops {
        if let Op::Put(put) = op {
            let key = put.key.as_bytes().as_ref();
            if all.deletes(key) || !all.puts.insert(key) {
                return Err(DuplicateKey);
            }
        }
    }
    Ok(all)
}
