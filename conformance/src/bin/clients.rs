//! `clients`: real clients against a real etcd and against Synod, and what differs.
//!
//! Most of what the suites do is waiting: for a lease to end, for a member to come back. So several
//! run beside each other, each on clusters of its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::{Parser, ValueEnum};
use conformance::clients::machine::Machine;
use conformance::clients::pair::Programs;
use conformance::clients::report::{Report, Test, known};
use conformance::clients::{crate_tests, errors, etcdctl, npm, patroni, python};
use conformance::cluster::Program;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};

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
    /// How many suites run beside each other.
    #[arg(long, default_value_t = 2)]
    together: usize,
    /// Play only the scenarios of etcdctl whose name contains this text.
    #[arg(long)]
    only: Option<String>,
}

/// In the order in which they begin: the longest first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Suite {
    /// PostgreSQL kept alive by Patroni.
    Patroni,
    /// The command-line client, from processes and streams on.
    Etcdctl,
    /// The Rust client's own tests.
    Rust,
    /// The Python client's own tests.
    Python,
    /// The tests of OpenStack's coordination.
    Tooz,
    /// The JavaScript client.
    Npm,
    /// The asynchronous Python client's own tests.
    Aetcd,
    /// The own tests of the Python client of the JSON gateway.
    Etcd3gw,
    /// Each error that can be provoked.
    Errors,
}

/// As without it, but for what is started here: who is run in the background may ignore interrupts,
/// and what it starts would inherit that, while what is caught is not inherited. Clients are
/// ended by interrupts.
fn end_on_interrupt() -> anyhow::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        interrupts.recv().await;
        std::process::exit(130);
    });
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    end_on_interrupt()?;
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
    let mut running = JoinSet::new();
    for &suite in suites {
        while running.len() >= arguments.together.max(1) {
            tell(&mut report, running.join_next().await)?;
        }
        println!("- {} begins", suite.name());
        let (machine, programs, only) = (machine.clone(), programs.clone(), arguments.only.clone());
        running.spawn(timed(suite, machine, programs, only));
    }
    while !running.is_empty() {
        tell(&mut report, running.join_next().await)?;
    }
    println!("\n{}", report.table());
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Ended = (Suite, anyhow::Result<Vec<Test>>, Duration);

/// Runs a suite, and ends it where it hangs.
async fn timed(suite: Suite, machine: Machine, programs: Programs, only: Option<String>) -> Ended {
    let began = Instant::now();
    let tests = tokio::time::timeout(SUITE_MAX, run(suite, &machine, &programs, only)).await;
    let tests = tests.unwrap_or_else(|_| Err(anyhow!("it still runs after {SUITE_MAX:?}")));
    (suite, tests, began.elapsed())
}

/// Tells what a suite has found.
fn tell(report: &mut Report, ended: Option<Result<Ended, JoinError>>) -> anyhow::Result<()> {
    let (suite, tests, took) = ended.context("no suite runs")??;
    let text = match tests {
        Ok(tests) => report.add(&suite.name(), &tests, took),
        Err(error) => report.add_failure(&suite.name(), &error, took),
    };
    print!("- {} took {} s\n{text}", suite.name(), took.as_secs());
    Ok(())
}

/// The longest that a suite may take, with all that it installs. It ends with an answer much
/// earlier, or hangs.
const SUITE_MAX: Duration = Duration::from_secs(900);

impl Suite {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

async fn run(
    suite: Suite,
    machine: &Machine,
    programs: &Programs,
    only: Option<String>,
) -> anyhow::Result<Vec<Test>> {
    match suite {
        Suite::Patroni => patroni::run(machine, programs).await,
        Suite::Etcdctl => etcdctl::run(programs, only.as_deref()).await,
        Suite::Rust => crate_tests::run(machine, programs).await,
        Suite::Python => python::run(machine, programs, python::ETCD3).await,
        Suite::Tooz => python::run(machine, programs, python::TOOZ).await,
        Suite::Npm => npm::run(machine, programs).await,
        Suite::Aetcd => python::run(machine, programs, python::AETCD).await,
        Suite::Etcd3gw => python::run(machine, programs, python::ETCD3GW).await,
        Suite::Errors => errors::run(programs).await,
    }
}
