//! `compare`: a real etcd and Synod side by side, answer by answer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use conformance::cluster::{Cluster, Program};
use conformance::compare::{Difference, Side, compare};
use conformance::migration::Tools;
use conformance::{commands, migration, normal, requests, watches};

/// Run one list of commands against a real etcd and against Synod, and report each difference.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to examine; built with `cargo build --release -p synod`.
    #[arg(long, default_value = "target/release/synod")]
    synod: PathBuf,
    /// The etcd to compare with.
    #[arg(long, default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// The client.
    #[arg(long, default_value = "/usr/bin/etcdctl")]
    etcdctl: PathBuf,
    /// Where the members' folders are made.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Run only commands that contain this text, and what prepares them; or only `watches`,
    /// or `migration`.
    #[arg(long)]
    only: Option<String>,
    /// Tell what is not compared, and why, and stop.
    #[arg(long)]
    list_opaque: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list_opaque {
        for (field, reason) in normal::OPAQUE {
            println!("{field:<22} {reason}");
        }
        for (what, reason) in normal::LEFT_OUT {
            println!("not asked: {what}: {reason}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.only.as_deref() == Some("migration") {
        let differences = migrate(&arguments).await?;
        println!("{differences} differences");
        return Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut etcd = side(&Program::etcd(&arguments.etcd), &arguments).await?;
    let mut synod = side(&Program::by_file_name(&arguments.synod), &arguments).await?;
    let mut differences = run(&mut etcd, &mut synod, arguments.only.as_deref()).await?;
    drop((etcd, synod));
    if arguments.only.is_none() {
        differences += migrate(&arguments).await?;
    }
    println!("{differences} differences");
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn migrate(arguments: &Arguments) -> anyhow::Result<usize> {
    println!("- from one to the other and back, by snapshots");
    let tools = Tools {
        etcd: arguments.etcd.clone(),
        etcdctl: arguments.etcdctl.clone(),
        synod: arguments.synod.clone(),
        folder: arguments.folder.clone(),
    };
    let differences = migration::compare(&tools).await?;
    differences.iter().for_each(|text| println!("{text}"));
    Ok(differences.len())
}

async fn side(program: &Program, arguments: &Arguments) -> anyhow::Result<Side> {
    let folder: &Path = &arguments.folder;
    let cluster = Cluster::start(program, folder).await?;
    println!(
        "{} serves at {}, {}, {}",
        program.name,
        cluster.url(0),
        cluster.url(1),
        cluster.url(2)
    );
    Side::new(cluster, &arguments.etcdctl).await
}

async fn run(etcd: &mut Side, synod: &mut Side, only: Option<&str>) -> anyhow::Result<usize> {
    let cases = commands::parse(include_str!("../../commands.txt"))?;
    let wanted = |text: &str| only.is_none_or(|only| text.contains(only));
    let (mut heading, mut total, mut count) = ("", 0, 0);
    for case in cases.iter().filter(|case| wanted(&case.line.text())) {
        if case.heading != heading {
            heading = &case.heading;
            println!("- {heading}");
        }
        let differences = compare(etcd, synod, case).await?;
        count += 1;
        total += differences.len();
        differences.iter().for_each(print);
    }
    println!("{count} commands of etcdctl, each against 3 members in 3 formats");
    if only.is_none() {
        println!("- requests that etcdctl cannot express");
        let (count, differences) = requests::compare(etcd, synod).await?;
        differences.iter().for_each(|text| println!("{text}"));
        total += differences.len();
        println!("{count} requests, each to 3 members");
    }
    if only.is_none_or(|only| only == "watches") {
        println!("- watches");
        let (one, other) = (etcd.cluster().url(0), synod.cluster().url(0));
        let (count, differences) = watches::compare(&one, &other).await?;
        differences.iter().for_each(|text| println!("{text}"));
        total += differences.len();
        println!("{count} cases of watches");
    }
    Ok(total)
}

fn print(difference: &Difference) {
    let Difference { command, member, format, etcd, synod } = difference;
    println!("DIFFERS at member {member}, --write-out={format}: {command}");
    let pairs = [("stdout", &etcd.stdout, &synod.stdout), ("stderr", &etcd.stderr, &synod.stderr)];
    for (stream, etcd, synod) in pairs.into_iter().filter(|(_, etcd, synod)| etcd != synod) {
        let from = first_difference(etcd, synod);
        println!("  etcd  {stream}: {}", shortened(etcd, from));
        println!("  synod {stream}: {}", shortened(synod, from));
    }
    if etcd.code != synod.code {
        println!("  exit codes: etcd {}, synod {}", etcd.code, synod.code);
    }
}

/// At which character two texts begin to differ.
fn first_difference(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count()
}

/// Enough of a text around a character to see what is wrong there.
fn shortened(text: &str, at: usize) -> String {
    const BEFORE: usize = 60;
    const SHOWN_MAX: usize = 400;
    let from = at.saturating_sub(BEFORE);
    let shown: String = text.chars().skip(from).take(SHOWN_MAX).collect();
    let begin = if from > 0 { "…" } else { "" };
    let end = if text.chars().count() > from + SHOWN_MAX { "…" } else { "" };
    format!("{begin}{shown:?}{end}")
}
