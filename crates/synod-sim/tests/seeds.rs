//! Whole clusters under faults, one from each seed.

use std::time::Duration;

use synod_sim::{Options, Report, run};

fn short() -> Options {
    Options { duration: Duration::from_secs(15), ..Options::default() }
}

#[test]
fn seeds_hold_what_synod_promises() {
    let mut total = Report::default();
    for seed in 0..80 {
        let report = run(seed, &short()).unwrap_or_else(|violation| panic!("{violation}"));
        total.acknowledged += report.acknowledged;
        total.reads += report.reads;
        total.unknown += report.unknown;
        total.leader_changes += report.leader_changes;
        total.crashes += report.crashes;
        total.pauses += report.pauses;
        total.partitions += report.partitions;
        total.wipes += report.wipes;
        total.lost += report.lost;
        total.served += report.served;
        total.trims += report.trims;
        total.expired += report.expired;
    }
    // Seeds in which nothing happens prove nothing.
    assert!(total.acknowledged > 5_000, "{total:?}");
    assert!(total.reads > 3_000, "{total:?}");
    assert!(total.leader_changes > 200, "{total:?}");
    assert!(total.crashes > 200, "{total:?}");
    assert!(total.pauses > 50, "{total:?}");
    assert!(total.partitions > 100, "{total:?}");
    assert!(total.wipes > 10, "{total:?}");
    assert!(total.unknown > 100 && total.lost > 1_000, "{total:?}");
    assert!(total.served > 10 && total.trims > 50, "{total:?}");
    assert!(total.expired > 100, "{total:?}");
}

/// A member must be away for a while to need a snapshot: so these runs are longer.
#[test]
fn members_that_lag_too_far_get_snapshots() {
    let (mut pages, mut installs) = (0, 0);
    for seed in 200..320 {
        let report = run(seed, &Options::default());
        let report = report.unwrap_or_else(|violation| panic!("{violation}"));
        pages += report.pages;
        installs += report.installs;
    }
    assert!(pages > 300 && installs > 10, "{pages} pages, {installs} installed");
}

/// A sync that was begun on a slow disk lasted for half a minute, past the healing of everything.
#[test]
fn a_disk_that_is_fast_again_ends_what_it_is_at_work_on() {
    let report = run(17_952_938_101_910, &Options::default());
    let report = report.unwrap_or_else(|violation| panic!("{violation}"));
    assert!(report.acknowledged > 0, "{report:?}");
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 100..110 {
        let reports = [(); 2].map(|()| run(seed, &short()));
        assert_eq!(reports[0], reports[1], "seed {seed}");
    }
    let hash = |seed| run(seed, &short()).map(|report| report.hash);
    assert_ne!(hash(100), hash(101));
}
