//! `alerts`: the alert rules on figures of three real members, well and not so well.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Parser;
use conformance::alerts::{
    ONE_DOWN, OVERWRITTEN, Phase, Recording, TWO_DOWN, judge, other_types, readable, record,
};
use conformance::cluster::{Cluster, MEMBERS, Program};
use conformance::http::ask;

/// Scrape three members, kill two of them one after the other, and see what the rules make of it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to examine.
    #[arg(long, default_value = "target/release/synod")]
    synod: PathBuf,
    /// The etcd whose types of metrics are compared.
    #[arg(long, default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// Prometheus' tool.
    #[arg(long, default_value = "/usr/bin/promtool")]
    promtool: PathBuf,
    /// The rules; more than once for several files with the same alerts.
    #[arg(long, default_values_os_t = [PathBuf::from("deploy/alerts.yaml")])]
    rules: Vec<PathBuf>,
    /// Where the members' folders are made.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    compare_types(&arguments).await?;
    let texts: Result<Vec<String>, _> =
        arguments.rules.iter().map(std::fs::read_to_string).collect();
    let mut recording = Recording::of(&texts?.join("\n"));
    let mut cluster =
        Cluster::start(&Program::by_file_name(&arguments.synod), &arguments.folder).await?;
    let folder = tempfile::tempdir_in(&arguments.folder)?;

    let all: Vec<usize> = (0..MEMBERS).collect();
    let slow = record(&cluster, &all, true, &mut recording).await?;
    let mut phases = vec![Phase { alerts: &[], slow }];
    let page = ask(cluster.members()[0].client_port, "GET", "/metrics", "")?.body;
    readable(&arguments.promtool, &page, folder.path())?;
    println!("Prometheus reads the page");
    let well = recording.clone();

    let leader = cluster.leader().await?;
    cluster.kill_member(leader)?;
    let up: Vec<usize> = all.into_iter().filter(|at| *at != leader).collect();
    for at in &up {
        cluster.wait_ready(*at).await?;
    }
    let slow = record(&cluster, &up, true, &mut recording).await?;
    phases.push(Phase { alerts: ONE_DOWN, slow });
    let second = cluster.leader().await?;
    cluster.kill_member(second)?;
    let up: Vec<usize> = up.into_iter().filter(|at| *at != second).collect();
    no_leader(&cluster, up[0]).await?;
    let slow = record(&cluster, &up, false, &mut recording).await?;
    phases.push(Phase { alerts: TWO_DOWN, slow });

    for rules in &arguments.rules {
        let judged = |recording: &Recording, phases: &[Phase]| {
            judge(&arguments.promtool, rules, recording, phases, folder.path())
        };
        judged(&recording, &phases)?;
        println!("{}: silent when all is well, right with one and two down", rules.display());
        judged(&well.overwritten(), &[Phase { alerts: OVERWRITTEN, slow: false }])?;
        println!("{}: right with everything slow, full and failing", rules.display());
    }
    Ok(())
}

/// Waits until a member has noticed that it is alone.
async fn no_leader(cluster: &Cluster, at: usize) -> anyhow::Result<()> {
    for _ in 0..100 {
        if cluster.status(at).await?.leader == 0 {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("a member that is alone still follows a leader after ten seconds")
}

/// Families that etcd has, too, have etcd's types.
async fn compare_types(arguments: &Arguments) -> anyhow::Result<()> {
    let etcd = page(&Program::etcd(&arguments.etcd), &arguments.folder).await?;
    let synod = page(&Program::by_file_name(&arguments.synod), &arguments.folder).await?;
    let others = other_types(&etcd, &synod);
    ensure!(others.is_empty(), "types differ: {others:#?}");
    println!("families that etcd has, too, have its types");
    Ok(())
}

async fn page(program: &Program, folder: &Path) -> anyhow::Result<String> {
    let cluster = Cluster::start(program, folder).await?;
    Ok(ask(cluster.members()[0].client_port, "GET", "/metrics", "")?.body)
}
