//! What one writer changes and many readers read: the index, the rows not yet flushed, and where
//! the store stands.
//!
//! All of it is behind one lock. The writer holds it for one command, a reader for a chunk of
//! keys, the flusher for a chunk of rows.

use bytes::Bytes;

use crate::alarm::{Alarm, AlarmKind};
use crate::alarms::{self, Alarms};
use crate::auth::{Auth, AuthCommand, AuthError};
use crate::caller::{Caller, Need};
use crate::digest::Digest;
use crate::garbage::Graveyard;
use crate::key::KeyRange;
use crate::leases::{LeaseChange, Leases, Terms};
use crate::overlay::{Overlay, Plan};
use crate::response::ApplyError;
use crate::revision::{Position, Revision};
use crate::row::{self, Meta, Row};
use crate::space::{LEASE_SPACE, VERSION_SPACE};
use crate::tree::Tree;
use crate::versions::{Live, Version};

/// The store in memory.
///
/// Invariants:
///
/// * Every version in the index has its row in the overlay or in the engine, until
///   [`State::reclaim`] takes it from the index and the flusher from the engine.
/// * A version is reclaimed only if no read at the *durable* compact revision or later sees it and
///   its own revision is below: so the engine never lacks a row that its own metadata promises.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) leases: Leases,
    pub(crate) auth: Auth,
    pub(crate) alarms: Alarms,
    pub(crate) meta: Meta,
    pub(crate) overlay: Overlay,
    /// Changes made by the command under way: they belong to the next revision.
    changes: u32,
    graveyard: Graveyard,
    /// What the engine holds.
    durable: Meta,
    /// Up to where rows have been reclaimed: from this revision on, all of history is there.
    reclaimed: Revision,
    live_bytes: u64,
    /// Live keys that have a lease.
    leased_keys: u64,
}

impl State {
    /// The state the engine holds, before its rows are read.
    pub(crate) fn new(meta: Meta) -> Self {
        Self {
            tree: Tree::default(),
            leases: Leases::default(),
            auth: Auth::default(),
            alarms: Alarms::default(),
            meta,
            overlay: Overlay::default(),
            changes: 0,
            graveyard: Graveyard::default(),
            durable: meta,
            reclaimed: meta.compact,
            live_bytes: 0,
            leased_keys: 0,
        }
    }

    /// The revision a read sees now: within a command that has made changes, the next one.
    pub(crate) const fn current(&self) -> Revision {
        if self.changes == 0 { self.meta.revision } else { self.meta.revision.next() }
    }

    /// How many keys of a range live at a revision, if that is the newest one: the tree counts
    /// those only.
    pub(crate) fn count_live(&self, keys: &KeyRange, at: Revision) -> Option<u64> {
        let live = || self.tree.live_between(keys.start().as_bytes(), keys.end_bound());
        (at == self.current()).then(|| u64::try_from(live()).unwrap_or(u64::MAX))
    }

    /// The next slot to replay after a crash.
    pub(crate) const fn durable_slot(&self) -> u64 {
        self.durable.applied_slot
    }

    /// Length of all live keys and values. The same on every member.
    pub(crate) const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The space in use, as the quota counts it: see [`crate::space`]. The same on every member,
    /// as it does not heed what is reclaimed.
    pub(crate) fn used_bytes(&self) -> u64 {
        let live = VERSION_SPACE * u64::try_from(self.tree.live()).unwrap_or(u64::MAX);
        let leases = LEASE_SPACE * u64::try_from(self.leases.len()).unwrap_or(u64::MAX);
        self.live_bytes + live + leases + self.graveyard.kept()
    }

    /// The first revision from which on all of history is there. Not above the compact revision,
    /// and not the same on every member.
    pub(crate) const fn reclaimed(&self) -> Revision {
        self.reclaimed
    }

    /// Live keys that have a lease: all of them are attached to one that exists.
    pub(crate) const fn leased_keys(&self) -> u64 {
        self.leased_keys
    }

    /// Stores a value.
    pub(crate) fn put(&mut self, key: &Bytes, value: Bytes, lease: i64) {
        let at = self.next_position();
        let bytes = row::live_bytes(key, &value);
        let version = self.index(key, at, |former| match former {
            Some(former) => Some(Live { version: former.version + 1, lease, bytes, ..former }),
            None => Some(Live { create: at.revision, version: 1, lease, bytes }),
        });
        self.record(Row { key: key.clone(), value, version });
    }

    /// Deletes a key that exists.
    pub(crate) fn delete(&mut self, key: &Bytes) {
        let at = self.next_position();
        let version = self.index(key, at, |_| None);
        self.record(Row { key: key.clone(), value: Bytes::new(), version });
    }

    /// Makes a lease, which begins now.
    pub(crate) fn grant_lease(&mut self, id: i64, ttl: i64) {
        assert!(self.leases.terms(id).is_none(), "lease {id:x} is granted twice");
        self.meta.digest.pair(id.cast_unsigned(), 4);
        self.begin_lease(id, ttl);
    }

    /// Starts the time of a lease anew, if it is not over; then, its TTL.
    pub(crate) fn renew_lease(&mut self, id: i64) -> Option<i64> {
        self.meta.digest.pair(id.cast_unsigned(), 5);
        let terms = self.lease_not_over(id)?;
        self.begin_lease(id, terms.ttl);
        Some(terms.ttl)
    }

    /// Ends a lease that exists, and deletes its keys; how many there were.
    pub(crate) fn end_lease(&mut self, id: i64) -> u64 {
        let keys = self.leases.keys(id, None, usize::MAX);
        for key in &keys {
            self.delete(key);
        }
        self.leases.remove(id);
        self.meta.digest.pair(id.cast_unsigned(), 6);
        self.overlay.push_lease(LeaseChange { id, terms: None });
        u64::try_from(keys.len()).unwrap_or(u64::MAX)
    }

    /// The terms of a lease whose deadline is ahead in log time.
    pub(crate) fn lease_not_over(&self, id: i64) -> Option<Terms> {
        self.leases.terms(id).filter(|terms| !terms.is_over(self.meta.time_ms))
    }

    fn begin_lease(&mut self, id: i64, ttl: i64) {
        let terms = Terms::beginning(ttl, self.meta.time_ms);
        self.leases.set(id, terms);
        self.meta.digest.pair(ttl.cast_unsigned(), terms.deadline_ms);
        self.overlay.push_lease(LeaseChange { id, terms: Some(terms) });
    }

    /// Whether the caller has what is needed, now.
    pub(crate) fn permit(&self, caller: &Caller, needs: &[Need]) -> Result<(), AuthError> {
        self.auth.check(caller, needs, &self.leases)
    }

    /// Changes users, roles or permissions.
    pub(crate) fn change_auth(&mut self, command: &AuthCommand) -> Result<(), AuthError> {
        for (key, value) in self.auth.execute(command)? {
            self.meta.digest.bytes(&key);
            self.meta.digest.bytes(value.as_deref().unwrap_or_default());
            self.overlay.push_pair(key, value);
        }
        Ok(())
    }

    /// Sets the reasons of an alarm, which stands then, or without reasons does not.
    pub(crate) fn set_alarm(&mut self, alarm: &Alarm) {
        let Alarm { kind, member, reasons } = *alarm;
        if self.alarms.reasons(kind, member) == reasons {
            return;
        }
        self.alarms.set(alarm);
        let (flags, quota) = alarms::reasons_code(reasons);
        self.meta.digest.pair(u64::from(alarms::kind_code(kind)), 9);
        self.meta.digest.pair(member, u64::from(flags));
        self.meta.digest.pair(quota, 10);
        self.overlay.push_pair(alarms::alarm_key(kind, member), alarms::encode_alarm(reasons));
    }

    /// Folds users, roles and alarms in, as they are now.
    pub(crate) fn fold_settings(&self, digest: &mut Digest) {
        for (key, value) in self.auth.rows() {
            digest.bytes(&key);
            digest.bytes(&value);
        }
        for Alarm { kind, member, reasons } in self.alarms.all() {
            let (flags, quota) = alarms::reasons_code(reasons);
            digest.pair(member, u64::from(alarms::kind_code(kind)));
            digest.pair(quota, u64::from(flags));
        }
    }

    /// Whether an alarm of this kind stands, of whichever member.
    pub(crate) fn is_alarmed(&self, kind: AlarmKind) -> bool {
        self.alarms.has(kind)
    }

    /// Moves the watermark; reads below it fail from now on.
    pub(crate) fn compact(&mut self, revision: Revision) {
        assert!(self.meta.compact < revision, "{} then {revision}", self.meta.compact);
        assert!(revision <= self.meta.revision, "{revision} above {}", self.meta.revision);
        self.meta.compact = revision;
        self.graveyard.compacted(revision);
        self.meta.digest.pair(revision.as_i64().cast_unsigned(), 2);
    }

    /// Notes that a command was refused: a member that does not refuse it differs.
    pub(crate) fn refuse(&mut self, error: &ApplyError) {
        assert_eq!(self.changes, 0, "refused after it made changes: {error}");
        let code = match error {
            ApplyError::Compacted { .. } => 1,
            ApplyError::FutureRevision { .. } => 2,
            ApplyError::KeyNotFound => 3,
            ApplyError::LeaseNotFound { .. } => 4,
            ApplyError::Malformed(_) => 5,
            ApplyError::LeaseExists { .. } => 6,
            ApplyError::LeaseTtlTooLarge { .. } => 7,
            ApplyError::Auth(error) => 0x100 + error.code(),
            ApplyError::NoSpace => 8,
            ApplyError::Corrupt => 9,
            ApplyError::TooManyAlarms => 10,
            ApplyError::AnswerTooLarge { .. } => 11,
        };
        self.meta.digest.pair(code, 3);
    }

    /// Ends a command: its changes become visible, all at once.
    pub(crate) const fn finish_command(&mut self) {
        self.meta.revision = self.current();
        self.changes = 0;
    }

    /// Ends a slot: what it changed may be flushed.
    pub(crate) fn finish_slot(&mut self, slot: u64, time_ms: u64, barrier: [u64; 2]) {
        assert_eq!(slot, self.meta.applied_slot, "slots apply in order");
        assert_eq!(self.changes, 0, "a slot ends after its commands");
        self.meta.applied_slot += 1;
        self.meta.time_ms = self.meta.time_ms.max(time_ms);
        self.meta.barrier = barrier;
        self.meta.digest.pair(slot, self.meta.time_ms);
        self.overlay.finish_slot(self.meta);
    }

    /// Takes up a row of the engine. Rows come in the order of their positions.
    pub(crate) fn load(&mut self, row: &Row) {
        self.index(&row.key, row.version.at, |_| row.version.live);
    }

    /// All rows are taken up: what of them is not reclaimed yet does not count as history.
    pub(crate) fn loaded(&mut self) {
        self.graveyard.compacted(self.meta.compact);
        self.leases.loaded();
    }

    /// A planned batch is durable, and its rows are forgotten.
    pub(crate) fn flushed(&mut self, plan: &Plan) {
        self.overlay.forget_slots(plan.slots);
        self.durable = plan.meta;
    }

    /// Takes up to `rows_max` dead versions from the index; their rows may go from the engine.
    /// What a read at revision `held` or later sees stays.
    pub(crate) fn reclaim(&mut self, rows_max: usize, held: Revision) -> Vec<Position> {
        let up_to = self.durable.compact.min(held);
        let mut reclaimed = Vec::new();
        while reclaimed.len() < rows_max
            && let Some(dead) = self.graveyard.pop_dead(up_to)
        {
            let known = self.tree.edit(&dead.key, |versions| versions.forget(dead.at));
            assert_eq!(known, Some(true), "a dead version stays until it is reclaimed once");
            reclaimed.push(dead.at);
        }
        if !reclaimed.is_empty() {
            self.reclaimed = self.reclaimed.max(up_to);
        }
        reclaimed
    }

    /// Whether [`State::reclaim`] has something to do.
    pub(crate) fn has_garbage(&self, held: Revision) -> bool {
        self.graveyard.has_dead(self.durable.compact.min(held))
    }

    /// The compact revision below which nothing is left to reclaim. That of the engine, once all
    /// that is dead to it has gone.
    pub(crate) fn reclaimed_below(&self) -> Option<Revision> {
        (!self.graveyard.has_dead(self.durable.compact)).then_some(self.durable.compact)
    }

    fn next_position(&mut self) -> Position {
        let at = Position { revision: self.meta.revision.next(), sub: self.changes };
        self.changes = self.changes.checked_add(1).expect("fewer than 2^32 changes in a command");
        at
    }

    fn record(&mut self, row: Row) {
        self.meta.digest.change(&row.key, &row.value, &row.version);
        self.overlay.push(row);
    }

    /// Enters a version into the index, as it follows from what the key was, and notes what it
    /// makes invisible.
    fn index(
        &mut self,
        key: &[u8],
        at: Position,
        follow: impl FnOnce(Option<Live>) -> Option<Live>,
    ) -> Version {
        let (version, former, stored_key) = self.tree.upsert(key, |stored_key, versions| {
            let former = versions.newest();
            let live = follow(former.and_then(|former| former.live));
            versions.push(Version { at, live });
            let is_leased = live.is_some_and(|live| live.lease != 0);
            let wants_key = former.is_some() || live.is_none() || is_leased;
            (Version { at, live }, former, wants_key.then(|| stored_key.clone()))
        });
        self.live_bytes += version.live.map_or(0, |live| live.bytes);
        let Some(key) = stored_key else { return version };
        self.move_to_lease(&key, former.and_then(|former| former.live), version.live);
        if let Some(Version { at: former_at, live: Some(live) }) = former {
            self.live_bytes -= live.bytes;
            self.graveyard.replaced(at, former_at, key.clone(), live.bytes + VERSION_SPACE);
        }
        if version.live.is_none() {
            let bytes = row::live_bytes(&key, &[]) + VERSION_SPACE;
            self.graveyard.deleted(at, key, bytes);
        }
        version
    }

    /// Attaches a key to the lease it has now, and detaches it from the one it had.
    fn move_to_lease(&mut self, key: &Bytes, former: Option<Live>, live: Option<Live>) {
        let [from, to] = [former, live].map(|live| live.map_or(0, |live| live.lease));
        if from == to {
            return;
        }
        if from != 0 {
            self.leased_keys -= 1;
            self.leases.detach(from, key);
        }
        if to != 0 {
            self.leased_keys += 1;
            self.leases.attach(to, key.clone());
        }
    }
}
