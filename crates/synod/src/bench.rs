//! `synod bench`: a cluster under load.
//!
//! A closed loop: each client sends its next request when the last is answered. All clients of
//! one endpoint share one connection, and everything runs on one thread, so that the measuring
//! leaves the machine to what is measured.

mod load;
mod processes;
mod report;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::bench::load::Operation;
use crate::cli::{ClientArgs, Output, duration};
use crate::json;

/// `synod bench`
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Write keys.
    Put(LoadArgs),
    /// Read keys that were written before the measuring begins.
    Get(GetArgs),
    /// Sign in as --user, again and again, after having done so once.
    Login(LoadArgs),
}

#[derive(Args, Debug)]
struct GetArgs {
    /// Take each member's own state for good, which may be behind.
    #[arg(long)]
    serializable: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// How much load, for how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// How many clients ask at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// How many requests in all.
    #[arg(long, default_value_t = 10_000, conflicts_with = "duration")]
    total: u64,
    /// For how long, instead of how many requests.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// The bytes of each value.
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    value_size: usize,
    /// How many different keys.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// What the keys begin with.
    #[arg(long, default_value = "bench/")]
    key_prefix: String,
    /// Tell the CPU time per operation of these processes.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pids: Vec<u32>,
    /// Print JSON, as --output json does.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) fn run(args: BenchArgs) -> anyhow::Result<()> {
    let (operation, args) = match args.command {
        BenchCommand::Put(load) => (Operation::Put, load),
        BenchCommand::Login(load) if load.client.user.is_none() => {
            bail!("--user NAME:PASSWORD is missing: who signs in?")
        }
        BenchCommand::Login(load) => (Operation::Login, load),
        BenchCommand::Get(get) => (Operation::Get { serializable: get.serializable }, get.load),
    };
    let report = crate::client::block_on(load::run(operation, &args))?;
    if args.json || args.client.output == Output::Json {
        json::print(&report.to_json())?;
    } else {
        println!("{report}");
    }
    if report.succeeded() == 0 {
        bail!("no request succeeded");
    }
    Ok(())
}
