//! Queues for locks and offices, as the recipes of etcd's own clients keep them, so that both see
//! each other: one key for each lease that waits, `NAME/LEASE` in hexadecimal; the one created
//! first has its turn.
//!
//! Whoever waits is woken when one of two keys is deleted: its own, which its lease may have taken,
//! or that of the one before it. Whatever else is applied costs those who wait nothing.

use std::sync::Arc;

use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::ResponseHeader;
use synod_etcd::watch::Flavor;
use synod_etcd::{EtcdError, Refusal, lease};
use synod_kv::{
    Assign, Bounds, Command, Compare, Comparison, DeleteRange, Key, KeyRange, KeyValue, LeaseGrant,
    Op, OpResponse, Put, Range, Response as StoreResponse, Revision, Sort, SortOrder, SortTarget,
    Target, Txn, TxnResponse,
};
use tonic::{Code, Status};

use super::access::{Caller, mismatch};
use super::{Context, refusal};

/// A place in a queue.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: Key,
    /// The revision that created it.
    pub(super) create: Revision,
}

/// What taking a place found.
pub(super) struct Taken {
    pub(super) waiting: Waiting,
    /// Of the answer to the command that took it.
    pub(super) header: ResponseHeader,
    /// What the key held, if the lease had this place already.
    pub(super) former: Option<Bytes>,
}

/// One who waits: who goes before its turn loses its place.
pub(super) struct Waiting {
    context: Arc<Context>,
    caller: Caller,
    place: Place,
    /// Whether it goes without its place. Not if it had it before and its turn may have come: who
    /// asks again for what it holds, and goes, goes on holding it.
    leaves: bool,
}

/// The TTL of a lease that a client did not bring, in seconds; that of a session in etcd.
const SESSION_TTL: i64 = 60;

/// A refusal as etcd's own services of this kind give it: its text, under a code that says nothing.
pub(super) fn in_etcds_code(refusal: Refusal) -> Status {
    match refusal.detail() {
        Some(detail) => Refusal::own(Code::Unknown, refusal.text()).with_detail(detail).into(),
        None => Refusal::own(Code::Unknown, refusal.text()).into(),
    }
}

/// The lease to use: the client's own, or a new one.
pub(super) async fn session(
    context: &Context,
    caller: &Caller,
    lease: i64,
) -> Result<i64, Refusal> {
    if lease != 0 {
        return Ok(lease);
    }
    let grant = LeaseGrant { id: 0, ttl: SESSION_TTL, ttl_min: context.lease_ttl_min() };
    match context.propose(caller, &Command::LeaseGrant(grant)).await? {
        StoreResponse::LeaseGrant(granted) => Ok(granted.id),
        other => Err(Refusal::from_status(&mismatch(&other))),
    }
}

/// All places of a queue.
pub(super) fn all(name: &Bytes) -> KeyRange {
    KeyRange::prefix(folder(name)).expect("a slash is in it")
}

fn folder(name: &Bytes) -> Bytes {
    [name, &b"/"[..]].concat().into()
}

/// The key of a lease in a queue, as Go prints numbers: negative ones with a sign.
fn key_of(name: &Bytes, lease: i64) -> Key {
    let sign = if lease < 0 { "-" } else { "" };
    let number = format!("{sign}{:x}", lease.unsigned_abs());
    Key::new([&folder(name)[..], number.as_bytes()].concat().into()).expect("a slash is in it")
}

fn created(key: &Key, revision: i64) -> Compare {
    let (keys, comparison) = (KeyRange::Single(key.clone()), Comparison::Equal);
    Compare { keys, comparison, target: Target::Create(revision) }
}

/// Puts a key of a lease.
pub(super) fn put(key: &Key, value: Bytes, lease: i64) -> Op {
    Op::Put(Put { lease: Assign::Set(lease), ..Put::new(key.clone(), value) })
}

/// Deletes a key.
pub(super) fn delete(key: &Key) -> Op {
    Op::DeleteRange(DeleteRange { keys: KeyRange::Single(key.clone()), prev_kv: false })
}

/// Does it if the key was created by that revision.
pub(super) async fn if_created(
    context: &Context,
    caller: &Caller,
    (key, create): (&Key, i64),
    (success, failure): (Op, Vec<Op>),
) -> Result<TxnResponse, Refusal> {
    let txn = Txn::new(vec![created(key, create)], vec![success], failure)?;
    match context.propose(caller, &Command::Txn(txn)).await? {
        StoreResponse::Txn(answer) => Ok(answer),
        other => Err(Refusal::from_status(&mismatch(&other))),
    }
}

/// Takes a place, or finds the one that the lease has.
///
/// It runs to its end even if who asked goes meanwhile: only then is it known which place there is
/// to leave.
pub(super) async fn take(
    context: &Arc<Context>,
    caller: &Caller,
    name: &Bytes,
    (lease, value): (i64, Bytes),
) -> Result<Taken, Refusal> {
    let (context, caller, key) = (Arc::clone(context), caller.clone(), key_of(name, lease));
    let taking = tokio::spawn(async move { take_key(context, caller, key, (lease, value)).await });
    taking.await.unwrap_or_else(|_| Err(EtcdError::Stopped.into()))
}

async fn take_key(
    context: Arc<Context>,
    caller: Caller,
    key: Key,
    (lease, value): (i64, Bytes),
) -> Result<Taken, Refusal> {
    let get = Op::Range(Range::new(KeyRange::Single(key.clone())));
    let ops = (put(&key, value, lease), vec![get]);
    let answer = if_created(&context, &caller, (&key, 0), ops).await?;
    let header = context.stamp().header(answer.revision);
    let found = answer.responses.into_iter().find_map(|response| match response {
        OpResponse::Range(range) => range.kvs.into_iter().next(),
        _ => None,
    });
    let (create, former) = match found {
        Some(kv) => (kv.create_revision, Some(kv.value)),
        None => (answer.revision, None),
    };
    let (place, leaves) = (Place { key, create }, former.is_none());
    Ok(Taken { waiting: Waiting { context, caller, place, leaves }, header, former })
}

/// The first or the last place of a queue, of those created at `max_create` or before.
async fn edge(
    context: &Arc<Context>,
    caller: &Caller,
    keys: KeyRange,
    (order, max_create): (SortOrder, Option<Revision>),
) -> Result<(Revision, Option<KeyValue>), Refusal> {
    let range = Range {
        limit: std::num::NonZeroU64::new(1),
        sort: Sort { order, target: SortTarget::Create },
        bounds: Bounds { max_create, ..Bounds::default() },
        ..Range::new(keys)
    };
    context
        .read(caller, false, move |context, who| {
            let found = context.reader.range(who, &range);
            let found = found.map_err(|error| context.refuse(refusal::of_range(error)))?;
            Ok((found.revision, found.kvs.into_iter().next()))
        })
        .await
}

/// Who has its turn in a queue, as this member has applied it, and at which revision.
pub(super) async fn owner(
    context: &Arc<Context>,
    caller: &Caller,
    name: &Bytes,
) -> Result<(Revision, Option<KeyValue>), Refusal> {
    edge(context, caller, all(name), (SortOrder::Ascend, None)).await
}

impl Waiting {
    /// Where it waits.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// From now on it goes without its place.
    pub(super) fn risk(&mut self) {
        self.leaves = true;
    }

    /// Waits for the turn of a place; the revision at which it has come.
    ///
    /// `gone` is the refusal if the place is lost before: its lease has ended, or somebody has
    /// deleted its key.
    pub(super) async fn turn(mut self, name: &Bytes, gone: Refusal) -> Result<Revision, Refusal> {
        let place = self.place.clone();
        let before = Some(Revision::new(place.create.as_i64() - 1));
        let mut waited = false;
        loop {
            let order = (SortOrder::Descend, before);
            let (_, last) = edge(&self.context, &self.caller, all(name), order).await?;
            let Some(last) = last else { break };
            (waited, self.leaves) = (true, true);
            if !self.outlives(&place, &last).await? {
                return Err(gone);
            }
        }
        if waited {
            // What was seen here may be old, and the place lost meanwhile.
            self.context.linearize(&self.caller).await?;
        }
        let (at, mine) = self.look(&place.key, place.create).await?;
        if !mine {
            return Err(gone);
        }
        self.leaves = false;
        Ok(at)
    }

    /// Waits until the one before is gone; false if the own place is gone first.
    async fn outlives(&self, place: &Place, before: &KeyValue) -> Result<bool, Refusal> {
        let key = Key::new(before.key.clone())?;
        let deletions = Flavor { no_put: true, ..Flavor::default() };
        loop {
            let (at, mine) = self.look(&place.key, place.create).await?;
            if !mine {
                return Ok(false);
            }
            if !self.look(&key, before.create_revision).await?.1 {
                return Ok(true);
            }
            let keys = [place.key.clone(), key.clone()].map(KeyRange::Single);
            tokio::select! {
                changed = self.context.watches.changed(keys, deletions, at.next()) => changed?,
                () = self.context.stopping.cancelled() => return Err(EtcdError::Stopped.into()),
            }
        }
    }

    /// The revision here, and whether the key is still the one that was created then.
    async fn look(&self, key: &Key, create: Revision) -> Result<(Revision, bool), Refusal> {
        let range = Range { keys_only: true, ..Range::new(KeyRange::Single(key.clone())) };
        let look = move |context: &Context, who: &synod_kv::Caller| {
            let found = context.reader.range(who, &range);
            let found = found.map_err(|error| context.refuse(refusal::of_range(error)))?;
            Ok((found.revision, found.kvs.iter().any(|kv| kv.create_revision == create)))
        };
        self.context.read(&self.caller, true, look).await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.leaves {
            return;
        }
        let (context, caller) = (Arc::clone(&self.context), self.caller.clone());
        let place = self.place.clone();
        // Without a runtime the process ends, and the lease will.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let (key, create) = (&place.key, place.create.as_i64());
                let ops = (delete(key), Vec::new());
                // If it fails, the lease takes the key when it ends.
                let _ = if_created(&context, &caller, (key, create), ops).await;
            });
        }
    }
}

impl Context {
    /// The shortest TTL that this member grants, in seconds.
    pub(super) fn lease_ttl_min(&self) -> u32 {
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(0);
        let (heartbeat, election) = (self.config.heartbeat_interval, self.config.election_timeout);
        lease::ttl_min(millis(heartbeat), millis(election))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_etcds_clients() {
        let key = |name: &'static str, lease| key_of(&Bytes::from(name), lease);
        for (name, lease, expected) in [
            ("L", 100, "L/64"),
            ("M", -26, "M/-1a"),
            ("", 1, "/1"),
            ("a/", i64::MIN, "a//-8000000000000000"),
        ] {
            assert_eq!(key(name, lease).as_bytes(), expected.as_bytes());
        }
    }
}
