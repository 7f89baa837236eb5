//! Whether members that have applied the same slots are the same.
//!
//! Each folds what it applies into a digest. Every so many slots it notes the digest, and every few
//! seconds it tells the others its last notes. Who finds that one of its own differs says so in the
//! log and in `/metrics`; with `--corrupt-check-time` the leader raises the alarm CORRUPT, which
//! keeps all from writing on. Nobody is asked to read anything again, so it costs next to nothing.
//!
//! ```text
//!   frame := 0 3 note*        see `round_trip` for the first byte
//!   note  := slot:u64 digest:u64
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use synod_kv::{AlarmAction, AlarmChange, AlarmKind, Command};
use tracing::{error, info};

use crate::round_trip::MARK;
use crate::service::Context;

/// What this member has applied, and who has applied something else.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    notes: Mutex<VecDeque<Note>>,
    /// Members that differ from this one, and the first slot after which that was found.
    differing: Mutex<BTreeMap<u64, u64>>,
    compared: AtomicU64,
}

/// The digest of all that was applied up to a slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Note {
    slot: u64,
    digest: u64,
}

/// Slots between notes.
const INTERVAL: u64 = 256;
/// Notes kept: a member that is behind finds its slots here for a while.
const NOTES_MAX: usize = 256;
/// Notes in a frame, the last ones.
const TOLD_MAX: usize = 16;
/// What the frame is, after the mark.
const NOTES: u8 = 3;
const NOTE_BYTES: usize = 16;

impl Comparison {
    /// A slot was applied.
    pub(crate) fn applied(&self, slot: u64, digest: impl FnOnce() -> u64) {
        if !slot.is_multiple_of(INTERVAL) {
            return;
        }
        let mut notes = self.notes.lock();
        if notes.len() == NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(Note { slot, digest: digest() });
    }

    /// What to tell the others; nothing as long as there is nothing.
    pub(crate) fn frame(&self) -> Option<Bytes> {
        let notes = self.notes.lock();
        let told = notes.iter().rev().take(TOLD_MAX);
        let mut frame = BytesMut::with_capacity(2 + TOLD_MAX * NOTE_BYTES);
        frame.put_slice(&[MARK, NOTES]);
        for note in told {
            frame.put_u64_le(note.slot);
            frame.put_u64_le(note.digest);
        }
        (frame.len() > 2).then(|| frame.freeze())
    }

    /// Compares what a peer has told; none if the frame is for others. A digest is of everything
    /// before it, so the newest that both have says what is so now: a member that was healed by a
    /// snapshot is the same again.
    pub(crate) fn compare(&self, peer: u64, frame: &Bytes) -> Option<()> {
        let theirs = frame.strip_prefix(&[MARK, NOTES])?;
        let notes = self.notes.lock();
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        // The newest note comes first.
        let common = theirs.chunks_exact(NOTE_BYTES).take(TOLD_MAX).filter_map(|bytes| {
            let (slot, digest) = (number(&bytes[..8]), number(&bytes[8..]));
            let own = notes.iter().find(|note| note.slot == slot)?;
            Some((slot, own.digest, digest))
        });
        let common: Vec<_> = common.collect();
        let count = u64::try_from(common.len()).unwrap_or_default();
        self.compared.fetch_add(count, Ordering::Relaxed);
        match common.iter().take_while(|(_, own, theirs)| own != theirs).last() {
            Some(&(slot, own, theirs)) => self.differs(peer, slot, own, theirs),
            None if count > 0 => self.agrees(peer),
            None => {}
        }
        Some(())
    }

    fn agrees(&self, peer: u64) {
        if self.differing.lock().remove(&peer).is_some() {
            info!(peer = format!("{peer:x}"), "a member that differed from this one is the same");
        }
    }

    fn differs(&self, peer: u64, slot: u64, own: u64, theirs: u64) {
        if self.differing.lock().insert(peer, slot).is_none() {
            error!(
                peer = format!("{peer:x}"),
                slot,
                own = format!("{own:016x}"),
                theirs = format!("{theirs:016x}"),
                "a member has applied something else than this one: the data of one is corrupt"
            );
        }
    }

    /// Members that differ from this one.
    pub(crate) fn differing(&self) -> Vec<u64> {
        self.differing.lock().keys().copied().collect()
    }

    /// Notes of others that were compared.
    pub(crate) fn compared(&self) -> u64 {
        self.compared.load(Ordering::Relaxed)
    }

    /// The member whose data is corrupt, as far as this one can tell: who differs; or itself, if
    /// more than half of the others do.
    fn corrupt(&self, me: u64, others: usize) -> Option<u64> {
        let differing = self.differing.lock();
        let first = *differing.keys().next()?;
        Some(if 2 * differing.len() > others && others > 1 { me } else { first })
    }
}

/// Raises the alarm if this member leads, is told to, and has found one that differs.
pub(crate) async fn raise_alarm(context: &Context) {
    let (config, others) = (&context.config, context.config.members.len() - 1);
    if config.corrupt_check_time.is_zero() || !context.leadership.is_leader() {
        return;
    }
    let Some(member) = context.comparison.corrupt(config.member_id, others) else { return };
    let raised = context.reader.alarms();
    let kind = AlarmKind::Corrupt;
    if raised.iter().any(|alarm| alarm.kind == kind && alarm.member == member) {
        return;
    }
    let change = AlarmChange { action: AlarmAction::Activate, kind, member };
    if let Err(refusal) = context.propose_own(&Command::Alarm(change)).await {
        error!(%refusal, "cannot raise the alarm CORRUPT: will try again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member that has applied so many slots, and something else from a slot on.
    fn member(slots: u64, other_from: u64) -> Comparison {
        let comparison = Comparison::default();
        for slot in 1..=slots {
            comparison.applied(slot, || if slot >= other_from { !slot } else { slot });
        }
        comparison
    }

    #[test]
    fn who_has_applied_the_same_is_the_same_however_far_it_is() {
        let (one, behind) = (member(10_000, u64::MAX), member(7_000, u64::MAX));
        one.compare(2, &behind.frame().unwrap()).unwrap();
        behind.compare(1, &one.frame().unwrap()).unwrap();
        assert_eq!((one.differing(), behind.differing()), (vec![], vec![]));
        assert_eq!((one.compared(), behind.compared()), (16, 4), "those that both have");
        assert!(member(INTERVAL - 1, u64::MAX).frame().is_none(), "nothing to tell yet");
    }

    #[test]
    fn who_differs_is_found_and_named() {
        let (one, other) = (member(10_000, u64::MAX), member(10_000, 9_000));
        one.compare(2, &other.frame().unwrap()).unwrap();
        assert_eq!(one.differing(), [2]);
        assert_eq!(one.differing.lock()[&2], 9_216, "the first note after it");
        assert_eq!(one.corrupt(1, 2), Some(2));
        // Two of two others differ from it: then it is itself.
        other.compare(1, &one.frame().unwrap()).unwrap();
        other.compare(3, &one.frame().unwrap()).unwrap();
        assert_eq!(other.corrupt(2, 2), Some(2));
        // Of two members either may be wrong.
        assert_eq!(one.corrupt(1, 1), Some(2));
        assert_eq!(member(300, u64::MAX).corrupt(1, 2), None);
    }

    #[test]
    fn who_was_healed_is_the_same_again() {
        let (one, other) = (member(10_000, u64::MAX), member(10_000, 9_000));
        one.compare(2, &other.frame().unwrap()).unwrap();
        assert_eq!(one.differing(), [2]);
        // Both go on from the same state: older notes still differ.
        for slot in 10_001..=10_240 {
            one.applied(slot, || slot);
            other.applied(slot, || slot);
        }
        one.compare(2, &other.frame().unwrap()).unwrap();
        assert!(one.differing().is_empty());
        assert_eq!(one.corrupt(1, 2), None);
    }

    #[test]
    fn notes_have_a_bound_and_no_frame_panics() {
        let one = member(INTERVAL * 1000, u64::MAX);
        assert_eq!(one.notes.lock().len(), NOTES_MAX);
        let frame = one.frame().unwrap();
        for end in 0..frame.len() {
            let _ = one.compare(2, &frame.slice(..end));
        }
        assert_eq!(one.compare(2, &Bytes::from_static(&[1, 2, 3])), None);
        assert!(one.differing().is_empty());
    }
}
