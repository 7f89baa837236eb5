//! `synod txn`: compares, then does one of two lists of operations, all in one revision.
//!
//! Reads three blocks of lines from standard input, each ended by an empty line: conditions, what
//! to do if all hold, what to do if one does not. It is etcdctl's form:
//!
//! ```text
//! mod("key1") > "0"
//!
//! put key1 "overwritten"
//!
//! put key1 "created"
//! get key1
//! ```

mod parse;

use std::io::{self, IsTerminal, Read};

use anyhow::Context;
use clap::Args;
use synod_etcd::proto::etcdserverpb::TxnRequest;

use crate::cli::{ClientArgs, Output};
use crate::{client, json, text};

/// `synod txn`
#[derive(Args, Debug)]
#[command(after_help = "\
Three blocks on standard input, each ended by an empty line: conditions, what to do if all hold,
what to do if one does not. For example:

  value(\"k\") = \"old\"

  put k new

  get k

Conditions are create, mod, version, value or lease of a key, compared by =, !=, < or >.
Operations are put, get and del with their options.")]
pub(crate) struct TxnArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) fn run(args: TxnArgs) -> anyhow::Result<()> {
    if io::stdin().is_terminal() {
        eprintln!("conditions, an empty line, operations if all hold, an empty line, else these:");
    }
    let mut input = String::new();
    io::stdin().read_to_string(&mut input).context("cannot read standard input")?;
    let request: TxnRequest = parse::txn(&input)?;
    let answer = client::ask(&args.client, async |client| Ok(client.txn(request).await?))?;
    match args.client.output {
        Output::Simple => text::print(|out| text::txn(out, &answer)),
        Output::Json => json::print(&json::txn(&answer)),
    }
}
