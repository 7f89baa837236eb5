//! A conformance suite for those who bring a [`StateMachine`].

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use synod_paxos::{Prefix, Slot};

use crate::machine::{Entry, StateMachine};

/// Applies the same slots, each a list of commands, to two machines that `fresh` makes, and checks
/// that they give the same replies and look the same to `observe` after each slot.
///
/// # Panics
/// If the machines differ, or break another rule of [`StateMachine`].
pub fn check_deterministic<M, T>(
    fresh: impl Fn() -> M,
    slots: &[Vec<Bytes>],
    observe: impl Fn(&M) -> T,
) where
    M: StateMachine<Reply: Debug + PartialEq>,
    T: Debug + PartialEq,
{
    let (mut one, mut other) = (fresh(), fresh());
    let mut applied = one.applied();
    assert_eq!(applied, other.applied(), "fresh machines are alike");
    assert_eq!(observe(&one), observe(&other), "fresh machines are alike");
    for commands in slots {
        // A second a slot: machines that look at a clock of their own do not see it pass.
        let (slot, time) = (applied.end, applied.time.plus(Duration::from_secs(1)));
        applied = Prefix { end: slot.next(), time, ..applied };
        let replies = apply_slot(&mut one, slot, applied, commands);
        let again = apply_slot(&mut other, slot, applied, commands);
        assert_eq!(replies, again, "the replies of slot {slot} differ");
        assert_eq!(observe(&one), observe(&other), "the machines differ after slot {slot}");
        let (stable, end) = (one.stable_watermark(), applied.end);
        assert!(stable <= end, "stable up to {stable}, but applied only up to {end}");
    }
}

fn apply_slot<M: StateMachine>(
    machine: &mut M,
    slot: Slot,
    applied: Prefix,
    commands: &[Bytes],
) -> Vec<M::Reply> {
    let (time, is_awaited) = (applied.time, true);
    let entry = |payload| Entry { slot, time, payload, is_awaited };
    let replies = commands.iter().map(|payload| machine.apply(entry(payload))).collect();
    machine.slot_applied(applied);
    replies
}
