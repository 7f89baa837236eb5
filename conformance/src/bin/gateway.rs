//! `gateway`: the JSON gateways of a real etcd and of Synod side by side.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use conformance::cluster::{Cluster, Program};
use conformance::gateway::{REQUESTS, compare};

/// Send the same JSON to a real etcd and to Synod, and report each difference.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to examine.
    #[arg(long, default_value = "target/release/synod")]
    synod: PathBuf,
    /// The etcd to compare with.
    #[arg(long, default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// Where the members' folders are made.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let etcd = Cluster::start(&Program::etcd(&arguments.etcd), &arguments.folder).await?;
    let program = Program::by_file_name(&arguments.synod);
    let synod = Cluster::start(&program, &arguments.folder).await?;
    let (etcd, synod) = (etcd.members()[0].client_port, synod.members()[0].client_port);
    let differences = compare(etcd, synod)?;
    for difference in &differences {
        println!("DIFFERS: {} {}", difference.path, difference.body);
        println!("  etcd:  {} {}", difference.etcd.0, difference.etcd.1);
        println!("  synod: {} {}", difference.synod.0, difference.synod.1);
    }
    println!("{} requests, {} differences", REQUESTS.len(), differences.len());
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
