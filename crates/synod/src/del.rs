//! `synod del`: deletes a key or a range of keys.

use clap::Args;
use synod_kv::DeleteRange;

use crate::cli::{ClientArgs, Output};
use crate::keys::KeysArgs;
use crate::{client, json, text};

/// `synod del`
#[derive(Args, Debug)]
pub(crate) struct DelArgs {
    #[command(flatten)]
    pub(crate) op: DelOp,
    #[command(flatten)]
    client: ClientArgs,
}

/// What is deleted; also a line of `synod txn`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DelOp {
    #[command(flatten)]
    keys: KeysArgs,
    /// Answer what the keys held.
    #[arg(long)]
    prev_kv: bool,
}

impl DelOp {
    /// The delete.
    pub(crate) fn delete(self) -> anyhow::Result<DeleteRange> {
        let Self { keys, prev_kv } = self;
        Ok(DeleteRange { keys: keys.range()?, prev_kv })
    }
}

/// Runs the command.
pub(crate) fn run(args: DelArgs) -> anyhow::Result<()> {
    let delete = args.op.delete()?;
    let answer = client::ask(&args.client, async |client| Ok(client.delete(delete).await?))?;
    match args.client.output {
        Output::Simple => text::print(|out| text::delete_range(out, &answer)),
        Output::Json => json::print(&json::delete_range(&answer)),
    }
}
