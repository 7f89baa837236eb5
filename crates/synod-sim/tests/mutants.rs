//! The checkers can fail: every wrong variant of the protocol and of leases is caught.
#![cfg(feature = "mutants")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use synod_paxos::Mutant;
use synod_sim::{LeaseMutant, Options, Violation, run};

/// A mutant that survives so many seeds is not caught.
const SEEDS_MAX: u64 = 1000;

#[test]
fn every_mutant_is_caught() {
    let of_protocol = Mutant::ALL.map(|mutant| {
        (format!("{mutant:?}"), Options { mutant: Some(mutant), ..Options::default() })
    });
    let of_leases = LeaseMutant::ALL.map(|mutant| {
        (format!("{mutant:?}"), Options { lease_mutant: Some(mutant), ..Options::default() })
    });
    let all: Vec<(String, Options)> = of_protocol.into_iter().chain(of_leases).collect();
    let (next, survivors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((name, options)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            match first_caught(options) {
                Some(it) => println!("{name}: caught by seed {}: {}", it.seed, it.message),
                None => survivors.lock().unwrap().push(name),
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let survivors = survivors.into_inner().unwrap();
    assert!(survivors.is_empty(), "not caught by {SEEDS_MAX} seeds each: {survivors:?}");
}

/// The violation of the first seed that has one. A run in which nothing happened catches nobody.
fn first_caught(options: &Options) -> Option<Violation> {
    let caught = |seed| run(seed, options).err();
    (0..SEEDS_MAX).filter_map(caught).find(|it| !it.message.starts_with("the run proves nothing"))
}
