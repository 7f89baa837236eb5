//! `clients`: real clients against a real etcd and against Synod, and what differs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use conformance::clients::machine::Machine;
use conformance::clients::pair::Programs;
use conformance::clients::report::{Report, Test, known};
use conformance::clients::{crate_tests, errors, etcdctl, npm, patroni, python};
use conformance::cluster::Program;

/// Install real clients, run them against a real etcd and against Synod, and report differences.
#[derive(Debug, Parser)]
struct Arguments {
    /// The suites to run; all of them if none is named.
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// The program to examine.
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
    /// Where installed clients are kept; a folder of the user's cache if not given.
    #[arg(long, env = "SYNOD_CONFORMANCE_CACHE")]
    cache: Option<PathBuf>,
    /// Play only the scenarios of etcdctl whose name contains this text.
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Suite {
    /// The command-line client, from processes and streams on.
    Etcdctl,
    /// Each error that can be provoked.
    Errors,
    /// The Python client's own tests.
    Python,
    /// The JavaScript client.
    Npm,
    /// The Rust client's own tests.
    Rust,
    /// PostgreSQL kept alive by Patroni.
    Patroni,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let machine = Machine::new(arguments.cache.clone())?;
    machine.packages(&[("etcd", "etcd-server"), ("etcdctl", "etcd-client")]).await?;
    let programs = Programs {
        synod: Program::by_file_name(&arguments.synod),
        etcd: Program::etcd(&arguments.etcd),
        etcdctl: arguments.etcdctl.clone(),
        folder: arguments.folder.clone(),
    };
    let all = Suite::value_variants();
    let suites = if arguments.suites.is_empty() { all } else { &arguments.suites };
    let mut report = Report::new(known()?);
    for &suite in suites {
        let name = format!("{suite:?}").to_lowercase();
        println!("- {name}");
        let began = Instant::now();
        let text = match run(suite, &machine, &programs, arguments.only.as_deref()).await {
            Ok(tests) => report.add(&name, &tests, began.elapsed()),
            Err(error) => report.add_failure(&name, &error, began.elapsed()),
        };
        print!("{text}");
    }
    println!("\n{}", report.table());
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(
    suite: Suite,
    machine: &Machine,
    programs: &Programs,
    only: Option<&str>,
) -> anyhow::Result<Vec<Test>> {
    match suite {
        Suite::Etcdctl => etcdctl::run(programs, only).await,
        Suite::Errors => errors::run(programs).await,
        Suite::Python => python::run(machine, programs).await,
        Suite::Npm => npm::run(machine, programs).await,
        Suite::Rust => crate_tests::run(machine, programs).await,
        Suite::Patroni => patroni::run(machine, programs).await,
    }
}
