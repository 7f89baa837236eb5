//! The command `synod`: one binary for the server, a development cluster, a client and the tools.
//!
//! One file per command, named as the command. Usage errors exit with 2, all others with 1.

mod args;
mod auth;
mod bench;
mod cli;
mod client;
mod compact;
mod del;
mod dev;
mod endpoint;
mod family;
mod get;
mod json;
mod keys;
mod lease;
mod lock;
mod member;
mod put;
mod server;
mod sim;
mod snapshot;
mod status;
mod text;
mod txn;
mod version;
mod wal;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use synod_server::FlagError;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse_from(args::rewrite(std::env::args_os().collect()));
    let outcome = family::follow_parent().and_then(|()| run(cli.command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // As Go's flags do: what is wrong, and where to look.
            if error.downcast_ref::<FlagError>().is_some_and(FlagError::is_usage) {
                eprintln!(
                    "{error}\nUsage:\n\n  etcd [flags], synod server [flags]; --help lists them"
                );
                return ExitCode::from(USAGE);
            }
            eprintln!("synod: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Server(flags) => server::run(&flags),
        Command::Dev(args) => dev::run(args),
        Command::Put(args) => put::run(args),
        Command::Get(args) => get::run(args),
        Command::Del(args) => del::run(args),
        Command::Txn(args) => txn::run(args),
        Command::Compact(args) => compact::run(args),
        Command::Status(args) => status::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Lease(args) => lease::run(args),
        Command::Lock(args) => lock::lock(args),
        Command::Elect(args) => lock::elect(args),
        Command::Auth(args) => auth::auth(&args),
        Command::User(args) => auth::user(args),
        Command::Role(args) => auth::role(args),
        Command::Endpoint(args) => endpoint::endpoint(&args),
        Command::Alarm(args) => endpoint::alarm(&args),
        Command::Defrag(args) => endpoint::defrag(&args),
        Command::MoveLeader(args) => endpoint::move_leader(&args),
        Command::Member(args) => member::run(args),
        Command::Snapshot(args) => snapshot::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Sim(args) => sim::run(args),
        Command::Wal(args) => wal::run(args),
        Command::Version => {
            version::run();
            Ok(())
        }
    }
}

/// An error and its causes, each said once: some errors repeat theirs.
fn with_causes(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

/// The exit status of a command line that makes no sense.
const USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("port in use").context("cannot listen: port in use");
        assert_eq!(with_causes(&error.context("m1")), "m1: cannot listen: port in use");
    }
}
