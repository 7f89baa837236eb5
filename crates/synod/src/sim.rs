//! `synod sim`: whole clusters in virtual time, one from each seed.
//!
//! Many seeds run on all cores, until one fails. What a seed does depends on nothing but the seed
//! and the options, so a failure prints the command that repeats it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use synod_sim::{FaultSet, Options};

/// `synod sim`
#[derive(Args, Debug)]
pub(crate) struct SimArgs {
    /// Run this seed and tell what happened.
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Run the seeds from A up to B, without B.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// How many seeds run at the same time [default: one on each core].
    #[arg(long)]
    threads: Option<usize>,
    /// Virtual seconds with faults.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many members, instead of what the seed draws.
    #[arg(long, value_parser = members)]
    members: Option<usize>,
    /// Faults to leave out, with commas between.
    #[arg(long, value_name = "FAULTS", default_value = "")]
    without: FaultSet,
    /// Print every event.
    #[arg(long, requires = "seed")]
    trace: bool,
}

/// Runs the command: fails with the first violation.
pub(crate) fn run(args: SimArgs) -> anyhow::Result<()> {
    // Set apart, for whether there are further fields depends on the features of the simulator.
    let mut options = Options {
        duration: Duration::from_secs(args.seconds),
        members: args.members,
        without: args.without,
        ..Options::default()
    };
    options.trace = args.trace;
    match (args.seed, args.seeds) {
        (Some(seed), _) => println!("{}", synod_sim::run(seed, &options)?),
        (None, Some(seeds)) => {
            let cores = || thread::available_parallelism().map_or(1, usize::from);
            sweep(seeds, args.threads.unwrap_or_else(cores).max(1), &options)?;
        }
        (None, None) => bail!("--seed or --seeds is needed"),
    }
    Ok(())
}

fn sweep(seeds: Range<u64>, threads: usize, options: &Options) -> anyhow::Result<()> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec}, {eta} left")?;
    let count = seeds.end - seeds.start;
    let bar = ProgressBar::new(count).with_message("simulating").with_style(style);
    let (writes, leaders, crashes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let result = synod_sim::sweep(seeds.clone(), threads, options, |report| {
        writes.fetch_add(report.acknowledged, Ordering::Relaxed);
        leaders.fetch_add(report.leader_changes, Ordering::Relaxed);
        crashes.fetch_add(report.crashes, Ordering::Relaxed);
        bar.inc(1);
    });
    bar.finish_and_clear();
    if let Err(violation) = result {
        eprintln!("seed {}: {}\nlooking for a smaller run", violation.seed, violation.message);
        return Err(synod_sim::shrink(violation, options).into());
    }
    let (writes, leaders, crashes) =
        (writes.into_inner(), leaders.into_inner(), crashes.into_inner());
    println!(
        "{count} seeds from {} on: no violation; {writes} writes answered, {leaders} leaders, \
         {crashes} crashes",
        seeds.start
    );
    // Checkers that saw nothing happen prove nothing. Single seeds may be unlucky, many may not.
    if count >= MANY && (writes < count * 20 || leaders < count || crashes < count) {
        bail!("too little happened in {count} seeds to prove anything");
    }
    Ok(())
}

/// So many seeds are not all unlucky.
const MANY: u64 = 100;

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text
        .split_once("..")
        .and_then(|(start, end)| Some(start.parse::<u64>().ok()?..end.parse::<u64>().ok()?));
    range
        .filter(|range| !range.is_empty())
        .ok_or_else(|| format!("{text:?} is not a range of seeds such as 0..2000"))
}

fn members(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(members @ 1..=5) => Ok(members),
        _ => Err(format!("{text:?} is not a number of members from 1 to 5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_seeds() {
        assert_eq!(seeds("0..2000"), Ok(0..2000));
        for text in ["", "7", "..", "5..5", "9..3", "-1..3", "a..b"] {
            assert!(seeds(text).is_err(), "{text}");
        }
    }
}
