//! What is done with keys, as etcd counts it: each member by itself, since its start.

use std::sync::atomic::{AtomicU64, Ordering};

use synod_kv::{OpResponse, Response, TxnResponse};

/// Operations, those inside of transactions too.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    /// Ranges read here, or applied in a transaction.
    pub(crate) ranges: AtomicU64,
    /// Puts applied.
    pub(crate) puts: AtomicU64,
    /// Deletes applied, of however many keys.
    pub(crate) deletes: AtomicU64,
    /// Transactions of more than one operation.
    pub(crate) txns: AtomicU64,
    /// Commands that took longer to apply than `--warning-apply-duration`.
    pub(crate) slow_applies: AtomicU64,
}

impl Operations {
    /// Counts what an applied command did.
    pub(crate) fn applied(&self, response: &Response) {
        match response {
            Response::Put(_) => add(&self.puts, 1),
            Response::DeleteRange(_) => add(&self.deletes, 1),
            Response::Txn(txn) => self.txn(txn),
            _ => {}
        }
    }

    /// Counts a range that was read outside of the log.
    pub(crate) fn range(&self) {
        add(&self.ranges, 1);
    }

    /// Counts a transaction of so many ranges that was read outside of the log.
    pub(crate) fn read_txn(&self, ranges: u64) {
        add(&self.ranges, ranges);
        if ranges > 1 {
            add(&self.txns, 1);
        }
    }

    /// Counts what a transaction did.
    fn txn(&self, txn: &TxnResponse) {
        if self.operations(txn) > 1 {
            add(&self.txns, 1);
        }
    }

    /// Counts each operation, and gives their number. Transactions nest as deep as requests may.
    fn operations(&self, txn: &TxnResponse) -> u64 {
        let each = txn.responses.iter().map(|response| {
            let counter = match response {
                OpResponse::Range(_) => &self.ranges,
                OpResponse::Put(_) => &self.puts,
                OpResponse::DeleteRange(_) => &self.deletes,
                OpResponse::Txn(txn) => return self.operations(txn),
            };
            add(counter, 1);
            1
        });
        each.sum()
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use synod_kv::{DeleteRangeResponse, PutResponse, RangeResponse};

    use super::*;

    /// The same requests to etcd 3.4 give the same counts.
    #[test]
    fn operations_inside_of_transactions_count_and_single_ones_are_none() {
        let operations = Operations::default();
        let txn = |responses| TxnResponse { responses, ..TxnResponse::default() };
        let put = || OpResponse::Put(PutResponse::default());
        operations.applied(&Response::Put(PutResponse::default()));
        operations.applied(&Response::DeleteRange(DeleteRangeResponse::default()));
        operations.applied(&Response::Txn(txn(vec![put()])));
        let inner = OpResponse::Txn(txn(vec![put(), OpResponse::Range(RangeResponse::default())]));
        operations.applied(&Response::Txn(txn(vec![inner])));
        operations.range();
        operations.read_txn(1);
        operations.read_txn(2);
        let counts = [&operations.puts, &operations.deletes, &operations.ranges, &operations.txns];
        assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), [3, 1, 5, 2]);
    }
}
