//! `bench`: Synod beside a real etcd, three members each, in turn, and a table of both.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use conformance::cluster::{Cluster, Program};
use conformance::measure::{Load, Measured, machine, measure, table};
use conformance::range_load::{self, RangeLoad};
use conformance::space_load::{self, SpaceLoad};
use conformance::watch_load::{self, WatchLoad, Watched};

/// Measure writes on both and write a table.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to examine, which also makes the load.
    #[arg(long, default_value = "target/release/synod")]
    synod: PathBuf,
    /// The peer.
    #[arg(long, default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// Where both clusters' folders are made: one disk for both.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// How often each load is measured on each side.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// The numbers of clients.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    clients: Vec<u32>,
    /// Write the tables to a file of this folder, named by date and time; without it only print
    /// them.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

/// What to measure instead of writes.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum What {
    /// Large ranges by many clients at once, and the memory they take.
    Range {
        /// MiB of all values.
        #[arg(long, default_value_t = 500)]
        mib: usize,
        /// KiB of one value.
        #[arg(long, default_value_t = 256)]
        value_kib: usize,
        /// Clients that ask at the same time.
        #[arg(long, default_value_t = 8)]
        at_once: usize,
    },
    /// Many watches of one key, and then many of different keys that nothing happens to.
    Watch {
        /// Watches of the one key.
        #[arg(long, default_value_t = 1000)]
        watches: usize,
        /// Streams that share the watches.
        #[arg(long, default_value_t = 20)]
        streams: usize,
        /// Connections that share the streams.
        #[arg(long, default_value_t = 20)]
        connections: usize,
        /// Watches of different keys.
        #[arg(long, default_value_t = 10_000)]
        idle: usize,
        /// Streams that share those.
        #[arg(long, default_value_t = 10)]
        idle_streams: usize,
        /// Connections that share these streams.
        #[arg(long, default_value_t = 10)]
        idle_connections: usize,
    },
    /// Writes beside a snapshot, a compaction and a defragmentation.
    Compaction {
        /// Revisions to write first, and to compact.
        #[arg(long, default_value_t = 1_000_000)]
        revisions: u64,
        /// Bytes of each value.
        #[arg(long, default_value_t = 512)]
        value_size: usize,
        /// Writes per second meanwhile.
        #[arg(long, default_value_t = 500)]
        rate: u32,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut text = String::from("# Synod beside etcd\n\n");
    text.push_str(&machine(&arguments.synod, &arguments.etcd, &arguments.folder)?);
    text.push_str(
        "- both: three members on this machine, default settings; load through all members\n\n",
    );
    let seconds = arguments.seconds;
    match arguments.what {
        Some(What::Watch {
            watches,
            streams,
            connections,
            idle,
            idle_streams,
            idle_connections,
        }) => {
            let load = WatchLoad {
                watches,
                streams,
                connections,
                idle,
                idle_streams,
                idle_connections,
                seconds,
            };
            let (etcd, synod) = watch_side_by_side(&arguments, load).await?;
            text.push_str(&watch_load::table(load, &etcd, &synod)?);
            return keep(&arguments, &text);
        }
        Some(What::Compaction { revisions, value_size: value_bytes, rate }) => {
            let load = SpaceLoad { revisions, value_bytes, rate, seconds };
            let mut runs = [Vec::new(), Vec::new()];
            for _ in 0..arguments.repeats {
                for (program, all) in programs(&arguments).iter().zip(&mut runs) {
                    let cluster = Cluster::start(program, &arguments.folder).await?;
                    all.push(space_load::measure(&cluster, load).await?);
                }
            }
            text.push_str(&space_load::table(load, &runs[0], &runs[1])?);
            return keep(&arguments, &text);
        }
        Some(What::Range { mib, value_kib, at_once: clients }) => {
            let load = RangeLoad { mib, value_kib, clients };
            let mut runs = [Vec::new(), Vec::new()];
            for _ in 0..arguments.repeats {
                for (program, all) in programs(&arguments).iter().zip(&mut runs) {
                    let cluster = Cluster::start(program, &arguments.folder).await?;
                    all.push(range_load::measure(&cluster, load).await?);
                }
            }
            text.push_str(&range_load::table(load, &runs[0], &runs[1])?);
            return keep(&arguments, &text);
        }
        None => {}
    }
    for &clients in &arguments.clients {
        let load = Load { clients, seconds: arguments.seconds };
        let (etcd, synod) = side_by_side(&arguments, load).await?;
        text.push_str(&table(load, &etcd, &synod)?);
        text.push('\n');
    }
    keep(&arguments, &text)
}

/// Prints the report, and writes it where it is to stay.
fn keep(arguments: &Arguments, text: &str) -> anyhow::Result<()> {
    print!("{text}");
    if let Some(folder) = &arguments.out {
        let file = folder.join(file_name(text).context("the report has no date")?);
        std::fs::create_dir_all(folder)?;
        std::fs::write(&file, text)?;
        println!("kept in {}", file.display());
    }
    Ok(())
}

/// Repeats of a load of watches, etcd and Synod in turn, each on a fresh cluster.
async fn watch_side_by_side(
    arguments: &Arguments,
    load: WatchLoad,
) -> anyhow::Result<(Vec<Watched>, Vec<Watched>)> {
    let (mut etcd, mut synod) = (Vec::new(), Vec::new());
    for run in 1..=arguments.repeats {
        for (program, all) in programs(arguments).iter().zip([&mut etcd, &mut synod]) {
            let cluster = Cluster::start(program, &arguments.folder).await?;
            let one = watch_load::measure(&cluster, load).await?;
            eprintln!("{}, run {run}: {:.0} events/s", program.name, one.per_second);
            all.push(one);
        }
    }
    Ok((etcd, synod))
}

/// Repeats of a load, etcd and Synod in turn, each on a fresh cluster while the other is not there.
async fn side_by_side(
    arguments: &Arguments,
    load: Load,
) -> anyhow::Result<(Vec<Measured>, Vec<Measured>)> {
    let (mut etcd, mut synod) = (Vec::new(), Vec::new());
    for run in 1..=arguments.repeats {
        for (program, all) in programs(arguments).iter().zip([&mut etcd, &mut synod]) {
            let cluster = Cluster::start(program, &arguments.folder).await?;
            let one = measure(&arguments.synod, &cluster, load)?;
            let (name, clients) = (program.name, load.clients);
            eprintln!("{name}, {clients} clients, run {run}: {:.0} puts/s", one.per_second);
            all.push(one);
        }
    }
    Ok((etcd, synod))
}

/// etcd first.
fn programs(arguments: &Arguments) -> [Program; 2] {
    [Program::etcd(&arguments.etcd), Program::by_file_name(&arguments.synod)]
}

/// `2026-01-31-1504.md`, from the date in the report.
fn file_name(text: &str) -> Option<String> {
    let date = text.lines().find_map(|line| line.strip_prefix("- date: "))?;
    Some(format!("{}.md", date.trim_end_matches(" UTC").replace(' ', "-").replace(':', "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_by_the_date() {
        let text = "# a\n- date: 2026-01-31 15:04 UTC\n";
        assert_eq!(file_name(text).unwrap(), "2026-01-31-1504.md");
        assert_eq!(file_name("# a"), None);
    }
}
