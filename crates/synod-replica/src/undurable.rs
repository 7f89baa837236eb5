//! What the disk has not confirmed yet: how much it is bounds what a member takes in.

use std::collections::VecDeque;

use synod_paxos::{PersistId, Record};

/// The records that wait for the disk, in order.
#[derive(Default)]
pub(crate) struct Undurable {
    records: VecDeque<(PersistId, usize)>,
    bytes: usize,
    /// The last record handed out.
    pub(crate) last: PersistId,
    /// This record and all before it are durable.
    pub(crate) durable: PersistId,
}

impl Undurable {
    pub(crate) fn add(&mut self, id: PersistId, record: &Record) {
        let bytes = match record {
            Record::Accepted { value, .. } | Record::Learned { value, .. } => value.bytes(),
            Record::Met(_) | Record::Promised(_) | Record::Chosen(_) | Record::Skipped(_) => 0,
        };
        self.last = id;
        self.records.push_back((id, bytes));
        self.bytes += bytes;
    }

    pub(crate) fn settle(&mut self, durable: PersistId) {
        self.durable = self.durable.max(durable);
        while let Some((id, bytes)) = self.records.front().copied() {
            if id > durable {
                break;
            }
            self.records.pop_front();
            self.bytes -= bytes;
        }
    }

    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
