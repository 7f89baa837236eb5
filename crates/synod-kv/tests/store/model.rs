//! The model: every change ever made, in a list. Each answer is found by looking through all of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_kv::{
    AlarmKind, AlarmReasons, ApplyError, Assign, Command, CompactResponse, Compare, Comparison,
    DeleteRange, DeleteRangeResponse, KeyRange, KeyValue, LEASE_TTL_MAX, LeaseExpireResponse,
    LeaseGrant, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseRevokeResponse, Op, OpResponse,
    Put, PutResponse, Range, RangeResponse, Reply, Response, Revision, SortOrder, SortTarget,
    Target, Txn, TxnResponse,
};

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) revision: i64,
    pub(crate) compact: i64,
    /// Revision, key, and what the key became.
    pub(crate) changes: Vec<(i64, Bytes, Option<KeyValue>)>,
    pub(crate) time_ms: u64,
    /// TTL and the log time of grant or last renewal, by id.
    pub(crate) leases: BTreeMap<i64, (i64, u64)>,
    /// Reasons by kind and member.
    pub(crate) alarms: BTreeMap<(AlarmKind, u64), AlarmReasons>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: 1,
            compact: -1,
            changes: Vec::new(),
            time_ms: 0,
            leases: BTreeMap::new(),
            alarms: BTreeMap::new(),
        }
    }
}

impl Model {
    /// Applies a command whose grants name their leases: the model chooses none.
    pub(crate) fn apply(&mut self, time_ms: u64, command: &Command) -> Reply {
        self.time_ms = self.time_ms.max(time_ms);
        let before = self.clone();
        if let Some(error) = self.forbidden(command) {
            return Reply { revision: rev(self.revision), result: Err(error) };
        }
        let result = match command {
            Command::Alarm(change) => Ok(Response::Alarm(self.change_alarm(*change))),
            Command::SpaceReport(report) => Ok(Response::Alarm(self.report_space(*report))),
            Command::Put(put) => {
                self.lease(put).and_then(|()| self.put(put, &before)).map(Response::Put)
            }
            Command::DeleteRange(delete) => Ok(Response::DeleteRange(self.delete(delete, &before))),
            Command::Txn(txn) => self.txn(txn, &before).map(Response::Txn),
            Command::Compact(compact) => {
                let requested = compact.revision.as_i64();
                if requested <= self.compact {
                    Err(self.compacted(requested))
                } else if requested > self.revision {
                    Err(self.future(requested))
                } else {
                    self.compact = requested;
                    Ok(Response::Compact(CompactResponse { revision: rev(self.revision) }))
                }
            }
            Command::LeaseGrant(grant) => self.grant(*grant).map(Response::LeaseGrant),
            Command::LeaseRevoke { id } if self.leases.contains_key(id) => {
                let deleted = self.end_lease(*id, &before);
                let revision = rev(self.current());
                Ok(Response::LeaseRevoke(LeaseRevokeResponse { revision, deleted }))
            }
            Command::LeaseRevoke { id } => Err(ApplyError::LeaseNotFound { lease: *id }),
            Command::LeaseKeepAlive { ids } => {
                let ttls = ids.as_slice().iter().map(|id| self.renew(*id)).collect();
                Ok(Response::LeaseKeepAlive(LeaseKeepAliveResponse { ttls }))
            }
            Command::Auth(_) => unreachable!("the model has no users"),
            Command::LeaseExpire(expire) => {
                let (mut expired, mut deleted) = (Vec::new(), 0);
                for id in expire.ids.as_slice() {
                    if self.remaining(*id) == Some(0) {
                        deleted += self.end_lease(*id, &before);
                        expired.push(*id);
                    }
                }
                let revision = rev(self.current());
                Ok(Response::LeaseExpire(LeaseExpireResponse { revision, expired, deleted }))
            }
        };
        if result.is_err() {
            *self = before;
        }
        self.revision = self.current();
        Reply { revision: rev(self.revision), result }
    }

    /// The revision of the newest change.
    fn current(&self) -> i64 {
        self.changes.last().map_or(1, |(revision, ..)| *revision).max(self.revision)
    }

    pub(crate) fn seen(&self, keys: &KeyRange, at: i64) -> Vec<KeyValue> {
        let names: BTreeSet<&Bytes> = self.changes.iter().map(|(_, key, _)| key).collect();
        let newest = |key: &Bytes| {
            self.changes.iter().rev().find(|(revision, k, _)| k == key && *revision <= at)
        };
        let inside = names.into_iter().filter(|key| keys.contains(key));
        inside.filter_map(|key| newest(key)?.2.clone()).collect()
    }

    /// How many changes a fully reclaimed store keeps: those that history tells, and below it what
    /// a read at the compact revision sees.
    pub(crate) fn kept_rows(&self) -> usize {
        let told = self.changes.iter().filter(|(revision, ..)| *revision >= self.compact).count();
        let seen = self.seen(&KeyRange::all(), self.compact);
        told + seen.iter().filter(|kv| kv.mod_revision.as_i64() < self.compact).count()
    }

    pub(crate) fn range(&self, range: &Range) -> Result<RangeResponse, ApplyError> {
        let named = range.revision.map(Revision::as_i64).filter(|named| *named > 0);
        let at = named.unwrap_or_else(|| self.current());
        if at > self.current() {
            return Err(self.future(at));
        }
        if at < self.compact {
            return Err(self.compacted(at));
        }
        let mut kvs = self.seen(&range.keys, at);
        let count = u64::try_from(kvs.len()).unwrap();
        let revision = rev(self.current());
        if range.count_only {
            return Ok(RangeResponse { revision, count, ..Default::default() });
        }
        let limit = range.limit.map_or(usize::MAX, |limit| usize::try_from(limit.get()).unwrap());
        // etcd sorts only what it fetched, and it fetches all only for an order or bounds.
        if range.sort.order == SortOrder::None && range.bounds.is_open() {
            kvs.truncate(limit.saturating_add(1));
        }
        kvs.retain(|kv| range.bounds.admit(kv.create_revision, kv.mod_revision));
        let number = |kv: &KeyValue| match range.sort.target {
            SortTarget::Version => kv.version,
            SortTarget::Create => kv.create_revision.as_i64(),
            SortTarget::Mod => kv.mod_revision.as_i64(),
            SortTarget::Key | SortTarget::Value => 0,
        };
        let text = |kv: &KeyValue| match range.sort.target {
            SortTarget::Key => kv.key.clone(),
            SortTarget::Value => kv.value.clone(),
            _ => Bytes::new(),
        };
        match range.sort.order {
            SortOrder::Descend => kvs.sort_by_key(|kv| Reverse((number(kv), text(kv)))),
            SortOrder::None | SortOrder::Ascend => kvs.sort_by_key(|kv| (number(kv), text(kv))),
        }
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResponse { revision, kvs, more, count })
    }

    fn grant(&mut self, grant: LeaseGrant) -> Result<LeaseGrantResponse, ApplyError> {
        let LeaseGrant { id, ttl, ttl_min } = grant;
        if ttl > LEASE_TTL_MAX {
            return Err(ApplyError::LeaseTtlTooLarge { ttl });
        }
        if self.leases.contains_key(&id) {
            return Err(ApplyError::LeaseExists { lease: id });
        }
        let ttl = ttl.max(i64::from(ttl_min)).max(1);
        self.leases.insert(id, (ttl, self.time_ms));
        Ok(LeaseGrantResponse { id, ttl })
    }

    fn renew(&mut self, id: i64) -> i64 {
        if self.remaining(id).is_none_or(|remaining| remaining == 0) {
            return 0;
        }
        let lease = self.leases.get_mut(&id).unwrap();
        lease.1 = self.time_ms;
        lease.0
    }

    fn end_lease(&mut self, id: i64, before: &Self) -> u64 {
        let keys = self.lease_keys(id);
        for key in &keys {
            self.changes.push((before.revision + 1, key.clone(), None));
        }
        self.leases.remove(&id);
        u64::try_from(keys.len()).unwrap()
    }

    /// The keys attached to a lease: those that say so themselves.
    pub(crate) fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        let live = self.seen(&KeyRange::all(), i64::MAX);
        live.into_iter().filter(|kv| kv.lease == id).map(|kv| kv.key).collect()
    }

    /// Milliseconds a lease has left.
    pub(crate) fn remaining(&self, id: i64) -> Option<u64> {
        let (ttl, since) = self.leases.get(&id)?;
        Some((u64::try_from(*ttl).unwrap() * 1000).saturating_sub(self.time_ms - since))
    }

    /// All leases, those due first before others.
    pub(crate) fn leases_in_order(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.leases.keys().copied().collect();
        ids.sort_by_key(|id| self.remaining_exactly(*id));
        ids
    }

    /// Milliseconds a lease has left; below 0 if it is over.
    pub(crate) fn remaining_exactly(&self, id: i64) -> i128 {
        let (ttl, since) = self.leases[&id];
        i128::from(ttl) * 1000 + i128::from(since) - i128::from(self.time_ms)
    }

    fn lease(&self, put: &Put) -> Result<(), ApplyError> {
        match put.lease {
            Assign::Set(lease) if lease != 0 && self.remaining(lease).unwrap_or(0) == 0 => {
                Err(ApplyError::LeaseNotFound { lease })
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, put: &Put, before: &Self) -> Result<PutResponse, ApplyError> {
        let single = KeyRange::Single(put.key.clone());
        let former = self.seen(&single, i64::MAX).pop();
        let needs = put.value == Assign::Keep || put.lease == Assign::Keep;
        if needs && former.is_none() {
            return Err(ApplyError::KeyNotFound);
        }
        let old = former.clone().unwrap_or_default();
        let revision = rev(before.revision + 1);
        let kv = KeyValue {
            key: put.key.as_bytes().clone(),
            value: if let Assign::Set(value) = &put.value { value.clone() } else { old.value },
            lease: if let Assign::Set(lease) = put.lease { lease } else { old.lease },
            create_revision: if former.is_some() { old.create_revision } else { revision },
            mod_revision: revision,
            version: old.version + 1,
        };
        self.changes.push((revision.as_i64(), kv.key.clone(), Some(kv)));
        Ok(PutResponse { revision, prev_kv: former.filter(|_| put.prev_kv) })
    }

    fn delete(&mut self, delete: &DeleteRange, before: &Self) -> DeleteRangeResponse {
        let found = self.seen(&delete.keys, i64::MAX);
        for kv in &found {
            self.changes.push((before.revision + 1, kv.key.clone(), None));
        }
        DeleteRangeResponse {
            revision: rev(self.current()),
            deleted: u64::try_from(found.len()).unwrap(),
            prev_kvs: if delete.prev_kv { found } else { Vec::new() },
        }
    }

    pub(crate) fn txn(&mut self, txn: &Txn, before: &Self) -> Result<TxnResponse, ApplyError> {
        before.check(txn, true)?;
        before.check(txn, false)?;
        let mut response = self.operations(txn, before);
        response.revision = rev(self.current());
        Ok(response)
    }

    fn operations(&mut self, txn: &Txn, before: &Self) -> TxnResponse {
        let (succeeded, ops) = before.branch(txn);
        let mut answer = |op: &Op| match op {
            Op::Range(range) => OpResponse::Range(self.range(range).unwrap()),
            Op::Put(put) => OpResponse::Put(self.put(put, before).unwrap()),
            Op::DeleteRange(delete) => OpResponse::DeleteRange(self.delete(delete, before)),
            Op::Txn(nested) => OpResponse::Txn(self.operations(nested, before)),
        };
        let responses = ops.iter().map(&mut answer).collect();
        TxnResponse { revision: Revision::ZERO, succeeded, responses }
    }

    fn branch<'a>(&self, txn: &'a Txn) -> (bool, &'a [Op]) {
        let succeeded = txn.compares().iter().all(|compare| self.holds(compare));
        (succeeded, if succeeded { txn.success() } else { txn.failure() })
    }

    /// Checks the puts, or the ranges, on the path this state leads to.
    fn check(&self, txn: &Txn, puts: bool) -> Result<(), ApplyError> {
        for op in self.branch(txn).1 {
            match op {
                Op::Put(put) if puts => {
                    self.clone().put(put, self)?;
                    self.lease(put)?;
                }
                Op::Range(range) if !puts => {
                    let named = range.revision.unwrap_or_default().as_i64();
                    if named > self.revision {
                        return Err(self.future(named));
                    }
                    if named != 0 && named < self.compact {
                        return Err(self.compacted(named));
                    }
                }
                Op::Txn(nested) => self.check(nested, puts)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let mut kvs = self.seen(&compare.keys, i64::MAX);
        if kvs.is_empty() {
            if matches!(compare.target, Target::Value(_)) {
                return false;
            }
            kvs.push(KeyValue::default());
        }
        kvs.iter().all(|kv| {
            let ordering = match &compare.target {
                Target::Version(version) => kv.version.cmp(version),
                Target::Create(revision) => kv.create_revision.as_i64().cmp(revision),
                Target::Mod(revision) => kv.mod_revision.as_i64().cmp(revision),
                Target::Value(value) => kv.value.cmp(value),
                Target::Lease(lease) => kv.lease.cmp(lease),
            };
            match compare.comparison {
                Comparison::Equal => ordering.is_eq(),
                Comparison::NotEqual => ordering.is_ne(),
                Comparison::Greater => ordering.is_gt(),
                Comparison::Less => ordering.is_lt(),
            }
        })
    }

    fn compacted(&self, requested: i64) -> ApplyError {
        ApplyError::Compacted { requested: rev(requested), compacted: rev(self.compact) }
    }

    fn future(&self, requested: i64) -> ApplyError {
        ApplyError::FutureRevision { requested: rev(requested), current: rev(self.current()) }
    }
}

pub(crate) fn rev(revision: i64) -> Revision {
    Revision::new(revision)
}
