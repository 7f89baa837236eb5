//! Many seeds at once, and the smallest run that still fails.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::faults::Fault;
use crate::report::{Options, Report, Violation};
use crate::run::run;

/// Runs all seeds on so many threads, until one fails. `on_progress` is called with each report.
///
/// # Errors
/// With the violation of the lowest seed that failed.
pub fn sweep(
    seeds: Range<u64>,
    threads: usize,
    options: &Options,
    on_progress: impl Fn(&Report) + Sync,
) -> Result<(), Violation> {
    let next = AtomicU64::new(seeds.start);
    let found: Mutex<Option<Violation>> = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            match run(seed, options) {
                Ok(report) => on_progress(&report),
                Err(violation) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if found.as_ref().is_none_or(|other| violation.seed < other.seed) {
                        *found = Some(violation);
                    }
                    return;
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.map_or(Ok(()), Err)
}

/// Looks for the smallest run of a failing seed that still fails: leaves out one kind of fault
/// after the other, then shortens the time. At most some sixty runs.
#[must_use]
pub fn shrink(violation: Violation, options: &Options) -> Violation {
    let seed = violation.seed;
    let mut options = Options { trace: false, ..options.clone() };
    let mut smallest = violation;
    for fault in Fault::ALL {
        if options.without.contains(fault) {
            continue;
        }
        let fewer = Options { without: options.without.with(fault), ..options.clone() };
        if let Err(violation) = run(seed, &fewer) {
            (smallest, options) = (violation, fewer);
        }
    }
    for eighths in [1, 2, 3, 4, 5, 6, 7] {
        let seconds = (options.duration.as_secs() * eighths).div_ceil(8);
        let shorter = Options { duration: Duration::from_secs(seconds), ..options.clone() };
        if let Err(violation) = run(seed, &shorter) {
            return violation;
        }
    }
    smallest
}
