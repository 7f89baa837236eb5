//! A conformance suite for those who bring a [`StateMachine`].

use std::fmt::Debug;

use bytes::Bytes;
use synod_paxos::{LogTime, Slot};

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
    let mut slot = one.applied_watermark();
    assert_eq!(slot, other.applied_watermark(), "fresh machines are alike");
    assert_eq!(observe(&one), observe(&other), "fresh machines are alike");
    let mut time = one.log_time();
    for commands in slots {
        // A second a slot: machines that look at a clock of their own do not see it pass.
        time = LogTime::from_millis(time.as_millis() + 1000);
        let replies = apply_slot(&mut one, slot, time, commands);
        let again = apply_slot(&mut other, slot, time, commands);
        assert_eq!(replies, again, "the replies of slot {slot} differ");
        assert_eq!(observe(&one), observe(&other), "the machines differ after slot {slot}");
        slot = slot.next();
        let stable = one.stable_watermark();
        assert!(stable <= slot, "stable up to {stable}, but applied only up to {slot}");
    }
}

fn apply_slot<M: StateMachine>(
    machine: &mut M,
    slot: Slot,
    time: LogTime,
    commands: &[Bytes],
) -> Vec<M::Reply> {
    let replies =
        commands.iter().map(|payload| machine.apply(Entry { slot, time, payload })).collect();
    machine.slot_applied(slot, time);
    replies
}
