//! `synod compact`: forgets the history before a revision.

use clap::Args;
use synod_etcd::request::Compaction;
use synod_kv::{Compact, Revision};
use tonic::Request;

use crate::cli::{ClientArgs, Output};
use crate::client::{self, Client};
use crate::json;

/// `synod compact`
#[derive(Args, Debug)]
pub(crate) struct CompactArgs {
    /// The oldest revision that stays readable.
    revision: i64,
    /// Wait until the space is reclaimed.
    #[arg(long)]
    physical: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) fn run(args: CompactArgs) -> anyhow::Result<()> {
    let compact = Compact { revision: Revision::new(args.revision) };
    let compaction = Compaction { compact, physical: args.physical };
    let client = Client::new(&args.client);
    let answer = client::block_on(client.write(|channel| {
        let request = Request::new(compaction.into());
        async move { client::kv(channel).compact(request).await }
    }))?;
    match args.client.output {
        Output::Simple => println!("compacted revision {}", args.revision),
        Output::Json => json::print(&json::compaction(&answer))?,
    }
    Ok(())
}
