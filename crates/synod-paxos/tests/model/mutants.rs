//! The model checker finds the wrong variants of the protocol that its worlds reach. Those that
//! need three ballots or a long story are caught by the random schedules in `tests/schedules.rs`.

use stateright::Checker;
use synod_paxos::Mutant;

use crate::replica::{Bounds, World};

/// The mutant breaks the world within these bounds.
fn is_caught(mutant: Mutant, bounds: Bounds) {
    let mut world = World::new(bounds);
    world.options.mutant = Some(mutant);
    let search = world.search();
    let found = search.discovery("safety").map(|path| path.last_state().violation);
    println!("{mutant:?}: {found:?} after {} states", search.unique_state_count());
    assert!(found.is_some(), "{mutant:?} is not caught in {bounds:?}");
}

const TWO_LEADERS: Bounds =
    Bounds { candidacies: 2, commands: 0, crashes: 0, states: 600_000, led: false };

#[test]
fn no_phase1() {
    is_caught(Mutant::NoPhase1, TWO_LEADERS);
}

#[test]
fn accept_by_accepted() {
    is_caught(Mutant::AcceptByAccepted, TWO_LEADERS);
}

#[test]
fn fill_holes_alone() {
    is_caught(Mutant::FillHolesAlone, TWO_LEADERS);
}
