//! The checkers can fail: every wrong variant of the protocol is caught.
#![cfg(feature = "mutants")]

use std::time::Duration;

use synod_sim::{Options, run};

/// A mutant that survives so many seeds is not caught.
const SEEDS_MAX: u64 = 3000;

#[test]
fn every_mutant_is_caught() {
    let mut survivors = Vec::new();
    for mutant in synod_paxos::Mutant::ALL {
        let options = Options {
            duration: Duration::from_secs(60),
            mutant: Some(mutant),
            ..Options::default()
        };
        // A run in which nothing happened catches nobody.
        let caught = |seed| {
            run(seed, &options).err().filter(|it| !it.message.starts_with("the run proves nothing"))
        };
        match (0..SEEDS_MAX).find_map(caught) {
            Some(violation) => {
                println!("{mutant:?}: caught by seed {}: {}", violation.seed, violation.message);
            }
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "not caught by {SEEDS_MAX} seeds each: {survivors:?}");
}
