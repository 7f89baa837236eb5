//! `synod dev`: three members on this machine.
//!
//! Real processes with real data folders: what it shows is what a cluster does. At its prompt
//! members can be killed, paused and started again. Its members end with it, however it ends:
//! see [`crate::family`].

mod cluster;
mod log_tail;
mod member;
mod prompt;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::dev::cluster::Cluster;
use crate::dev::prompt::{Command, Prompt};

/// `synod dev`
#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Where the members keep their data; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "synod-dev")]
    data_dir: PathBuf,
    /// The members' ports for clients.
    #[arg(long, hide = true, value_delimiter = ',', num_args = 1)]
    #[arg(default_value = "2379,22379,32379")]
    client_ports: Vec<u16>,
    /// The members' ports for each other.
    #[arg(long, hide = true, value_delimiter = ',', num_args = 1)]
    #[arg(default_value = "2380,22380,32380")]
    peer_ports: Vec<u16>,
}

/// Runs the cluster until it is told to stop.
pub(crate) fn run(args: DevArgs) -> anyhow::Result<()> {
    if args.client_ports.len() != args.peer_ports.len() || args.client_ports.is_empty() {
        bail!("--client-ports and --peer-ports name as many ports, at least one");
    }
    // The members end with the thread that starts them, so that must be this one.
    crate::client::block_on(async {
        let mut cluster = Cluster::new(&args.data_dir, &args.client_ports, &args.peer_ports)?;
        let outcome = serve(&mut cluster).await;
        cluster.stop().await;
        outcome
    })
}

async fn serve(cluster: &mut Cluster) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut child = signal(SignalKind::child()).context("cannot wait for the members")?;

    cluster.start_all()?;
    tokio::select! {
        ready = cluster.wait_until_ready() => ready?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    }
    println!("{}", cluster.banner());

    let mut prompt = Prompt::open();
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = child.recv() => {
                for news in cluster.find_ended() {
                    prompt.print(news);
                }
            }
            Some((command, answer)) = prompt.next() => {
                match command {
                    Ok(Command::Quit) => return Ok(()),
                    Ok(command) => println!("{}", cluster.obey(command).await),
                    Err(error) => println!("{error}"),
                }
                // The prompt thread waits for this; it may be gone with its input.
                let _gone = answer.send(());
            }
        }
    }
}
