//! Carries out one command on the state.
//!
//! Everything that can refuse a command is looked at first; from the first change on, only a
//! failure of the engine can end it, and that ends the member.

mod alarm;
mod lease;

use crate::caller::Caller;
use crate::command::{Assign, Command, Compact, DeleteRange, Put, Range};
use crate::engine::Engine;
use crate::error::Stop;
use crate::history::Floor;
use crate::key::KeyRange;
use crate::measure::Measure;
use crate::read::{Found, Snapshot, Walk};
use crate::response::{
    ApplyError, CompactResponse, DeleteRangeResponse, OpResponse, PutResponse, RangeResponse,
    Response, TxnResponse,
};
use crate::revision::Revision;
use crate::state::State;
use crate::txn::{Op, Txn};

/// A command at work.
pub(crate) struct Execution<'a, E> {
    pub(crate) state: &'a mut State,
    pub(crate) engine: &'a E,
    /// What its answer may take.
    pub(crate) answer_bytes_max: u64,
    /// Whether somebody waits for the keys and values in it.
    pub(crate) is_asked: bool,
}

type Outcome<T, E> = Result<T, Stop<<E as Engine>::Error>>;

impl<E: Engine> Execution<'_, E> {
    /// Carries out a command, if the caller may: the only way to any of them.
    pub(crate) fn command(&mut self, caller: &Caller, command: &Command) -> Outcome<Response, E> {
        if self.state.auth.is_enabled() {
            self.state.permit(caller, &command.needs()).map_err(ApplyError::Auth)?;
        }
        self.check_alarms(command)?;
        match command {
            Command::Put(put) => {
                self.check_lease(put)?;
                if put.prev_kv {
                    self.measure().put(put)?;
                }
                self.put(put).map(Response::Put)
            }
            Command::DeleteRange(delete) => {
                if delete.prev_kv {
                    self.measure().delete(delete)?;
                }
                self.delete(delete).map(Response::DeleteRange)
            }
            Command::Txn(txn) => self.txn(txn).map(Response::Txn),
            Command::Compact(compact) => self.compact(*compact).map(Response::Compact),
            Command::LeaseGrant(grant) => Ok(Response::LeaseGrant(self.grant(*grant)?)),
            Command::LeaseRevoke { id } => Ok(Response::LeaseRevoke(self.revoke(*id)?)),
            Command::LeaseKeepAlive { ids } => Ok(Response::LeaseKeepAlive(self.keep_alive(ids))),
            Command::LeaseExpire(expire) => Ok(Response::LeaseExpire(self.expire(expire))),
            Command::Auth(command) => {
                self.state.change_auth(command).map_err(ApplyError::Auth)?;
                Ok(Response::Auth)
            }
            Command::Alarm(change) => Ok(Response::Alarm(self.change_alarm(*change)?)),
            Command::SpaceReport(report) => Ok(Response::Alarm(self.report_space(*report)?)),
        }
    }

    fn put(&mut self, put: &Put) -> Outcome<PutResponse, E> {
        let key = put.key.as_bytes();
        let former = self.former(put)?;
        let (value, lease) = match (&put.value, put.lease, &former) {
            (Assign::Set(value), Assign::Set(lease), _) => (value.clone(), lease),
            (_, _, None) => return Err(ApplyError::KeyNotFound.into()),
            (Assign::Set(value), Assign::Keep, Some(former)) => {
                (value.clone(), former.live().lease)
            }
            (Assign::Keep, Assign::Set(lease), Some(former)) => (former.value().clone(), lease),
            (Assign::Keep, Assign::Keep, Some(former)) => {
                (former.value().clone(), former.live().lease)
            }
        };
        self.state.put(key, value, lease);
        let prev_kv = former.filter(|_| put.prev_kv && self.is_asked).map(Found::into_key_value);
        Ok(PutResponse { revision: self.state.current(), prev_kv })
    }

    /// What the key holds, if the put or its answer needs it.
    fn former(&self, put: &Put) -> Outcome<Option<Found>, E> {
        let is_told = put.prev_kv && self.is_asked;
        if !is_told && !put.needs_key() {
            return Ok(None);
        }
        let snapshot = self.snapshot();
        let mut former = snapshot.live_keys(&KeyRange::Single(put.key.clone()))?;
        if is_told || matches!(put.value, Assign::Keep) {
            snapshot.load(&mut former, snapshot.revision())?;
        }
        Ok(former.pop())
    }

    fn delete(&mut self, delete: &DeleteRange) -> Outcome<DeleteRangeResponse, E> {
        let (mut deleted, mut prev_kvs) = (0, Vec::new());
        let mut next = Some(delete.keys.start().as_bytes().clone());
        while next.is_some() {
            // The newest state has no deleted keys: so those are not met again.
            let at = self.state.current();
            let mut walk = Walk::resume(&delete.keys, at, next, Floor::Compact);
            let Some(mut chunk) = walk.next_chunk(&*self.state, usize::MAX)? else { break };
            next = walk.next();
            if delete.prev_kv && self.is_asked {
                self.snapshot().load(&mut chunk, at)?;
            }
            for found in chunk {
                self.state.delete(&found.key);
                deleted += 1;
                if delete.prev_kv && self.is_asked {
                    prev_kvs.push(found.into_key_value());
                }
            }
        }
        Ok(DeleteRangeResponse { revision: self.state.current(), deleted, prev_kvs })
    }

    fn measure(&self) -> Measure<'_, State> {
        Measure::new(self.state, self.state.current(), self.answer_bytes_max)
    }

    fn range(&self, range: &Range) -> Outcome<RangeResponse, E> {
        if self.is_asked {
            return Ok(self.snapshot().range(range)?);
        }
        Ok(RangeResponse { revision: self.state.current(), ..RangeResponse::default() })
    }

    fn txn(&mut self, txn: &Txn) -> Outcome<TxnResponse, E> {
        let mut branches = Vec::new();
        self.snapshot().branches(txn, &mut branches)?;
        self.check_puts(txn, &mut branches.iter().copied())?;
        self.check_ranges(txn, &mut branches.iter().copied())?;
        if txn.tells_keys() {
            let mut taken = branches.iter().copied();
            self.measure().txn(txn, &mut || taken.next())?;
        }
        let mut response = self.operations(txn, &mut branches.into_iter())?;
        response.revision = self.state.current();
        Ok(response)
    }

    /// Does the operations of the branches taken. Nothing in them can be refused any more.
    fn operations(
        &mut self,
        txn: &Txn,
        branches: &mut dyn Iterator<Item = bool>,
    ) -> Outcome<TxnResponse, E> {
        let succeeded = taken(branches);
        let mut responses = Vec::with_capacity(txn.branch(succeeded).len());
        for op in txn.branch(succeeded) {
            responses.push(match op {
                Op::Range(range) => OpResponse::Range(self.range(range)?),
                Op::Put(put) => OpResponse::Put(self.put(put)?),
                Op::DeleteRange(delete) => OpResponse::DeleteRange(self.delete(delete)?),
                Op::Txn(nested) => OpResponse::Txn(self.operations(nested, branches)?),
            });
        }
        // Only the outermost answer names a revision: etcd leaves the others at 0.
        Ok(TxnResponse { revision: Revision::ZERO, succeeded, responses })
    }

    fn check_puts(&self, txn: &Txn, branches: &mut dyn Iterator<Item = bool>) -> Outcome<(), E> {
        for op in txn.branch(taken(branches)) {
            match op {
                Op::Put(put) => {
                    let key = put.key.as_bytes();
                    let exists = || self.state.tree.get(key).is_some_and(|v| v.is_live());
                    if put.needs_key() && !exists() {
                        return Err(ApplyError::KeyNotFound.into());
                    }
                    self.check_lease(put)?;
                }
                Op::Txn(nested) => self.check_puts(nested, branches)?,
                Op::Range(_) | Op::DeleteRange(_) => {}
            }
        }
        Ok(())
    }

    fn check_ranges(&self, txn: &Txn, branches: &mut dyn Iterator<Item = bool>) -> Outcome<(), E> {
        for op in txn.branch(taken(branches)) {
            match op {
                Op::Range(range) => self.snapshot().check_revision(range)?,
                Op::Txn(nested) => self.check_ranges(nested, branches)?,
                Op::Put(_) | Op::DeleteRange(_) => {}
            }
        }
        Ok(())
    }

    fn compact(&mut self, compact: Compact) -> Outcome<CompactResponse, E> {
        let requested = compact.revision;
        let (current, compacted) = (self.state.current(), self.state.meta.compact);
        if requested <= compacted {
            return Err(ApplyError::Compacted { requested, compacted }.into());
        }
        if requested > current {
            return Err(ApplyError::FutureRevision { requested, current }.into());
        }
        self.state.compact(requested);
        Ok(CompactResponse { revision: current })
    }

    fn snapshot(&self) -> Snapshot<'_, State, E> {
        Snapshot::new(self.state, self.engine)
    }
}

fn taken(branches: &mut dyn Iterator<Item = bool>) -> bool {
    branches.next().expect("a branch was chosen for each transaction on the path")
}
