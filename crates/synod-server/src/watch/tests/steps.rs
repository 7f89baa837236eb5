//! Which steps of the hub may take long, and are taken where that disturbs nobody.

use super::super::hub::{HubOptions, TOLD_MAX};
use super::world::{World, create, single};

#[test]
fn a_step_that_reads_history_is_long() {
    let mut world = World::small();
    world.watching(create(single("a"), 0));
    world.settle();
    world.put("a", "1");
    assert!(!world.hub.next_step_is_long(), "what was just applied is in memory");
    world.settle();
    let late = world.open();
    world.ask(late, create(single("a"), 1));
    assert!(world.hub.next_step_is_long(), "a watch begins in the past");
    world.settle();
    assert!(!world.hub.next_step_is_long());
    // More than one read of history holds.
    for round in 0..10 {
        world.put("b", &round.to_string());
    }
    assert!(world.step() && world.hub.next_step_is_long(), "it has fallen behind");
    world.settle();
    assert!(!world.hub.next_step_is_long());
}

#[test]
fn a_step_after_one_that_told_many_is_long() {
    let mut world = World::new(HubOptions::default());
    let client = world.watching(create(single("a"), 0));
    for _ in 0..TOLD_MAX {
        world.ask(client, create(single("a"), 0));
    }
    world.settle();
    world.put("a", "1");
    assert!(!world.hub.next_step_is_long());
    world.step();
    assert!(world.hub.next_step_is_long());
    world.step();
    assert!(!world.hub.next_step_is_long(), "nothing came");
}
