//! `synod compact`: forgets the history before a revision.

use clap::Args;
use synod_etcd::request::Compaction;
use synod_kv::{Compact, Revision};

use crate::cli::{ClientArgs, Output};
use crate::{client, json};

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
    let answer = client::ask(&args.client, async |client| Ok(client.compact(compaction).await?))?;
    match args.client.output {
        Output::Simple => println!("compacted revision {}", args.revision),
        Output::Json => json::print(&json::compaction(&answer))?,
    }
    Ok(())
}
