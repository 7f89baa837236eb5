//! `synod put`: stores a value under a key.

use std::ffi::OsString;
use std::io::{self, Read};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use synod_etcd::Refusal;
use synod_kv::{Assign, Key, Put};

use crate::cli::{ClientArgs, Output};
use crate::{client, json, keys, text};

/// `synod put`
#[derive(Args, Debug)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    pub(crate) op: PutOp,
    #[command(flatten)]
    client: ClientArgs,
}

/// What is put; also a line of `synod txn`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PutOp {
    /// The key.
    key: OsString,
    /// The value; read from standard input if it is not given.
    value: Option<OsString>,
    /// Attach the key to this lease, in hexadecimal.
    #[arg(long, value_name = "ID", value_parser = keys::lease, default_value = "0")]
    lease: i64,
    /// Answer what the key held before.
    #[arg(long)]
    prev_kv: bool,
    /// Keep the value that the key has.
    #[arg(long, conflicts_with = "value")]
    ignore_value: bool,
    /// Keep the lease that the key has.
    #[arg(long)]
    ignore_lease: bool,
}

impl PutOp {
    /// The put, with the value from `input` if there is none here.
    pub(crate) fn put(self, input: impl FnOnce() -> anyhow::Result<Bytes>) -> anyhow::Result<Put> {
        let Self { key, value, lease, prev_kv, ignore_value, ignore_lease } = self;
        let key = Key::new(keys::bytes(key)).map_err(Refusal::from)?;
        let value = match value {
            _ if ignore_value => Assign::Keep,
            Some(value) => Assign::Set(keys::bytes(value)),
            None => Assign::Set(input()?),
        };
        let lease = if ignore_lease { Assign::Keep } else { Assign::Set(lease) };
        Ok(Put { key, value, lease, prev_kv })
    }
}

/// Runs the command.
pub(crate) fn run(args: PutArgs) -> anyhow::Result<()> {
    let put = args.op.put(standard_input)?;
    let answer = client::ask(&args.client, async |client| Ok(client.put(put).await?))?;
    match args.client.output {
        Output::Simple => text::print(|out| text::put(out, &answer)),
        Output::Json => json::print(&json::put(&answer)),
    }
}

fn standard_input() -> anyhow::Result<Bytes> {
    let mut value = Vec::new();
    io::stdin().read_to_end(&mut value).context("cannot read the value from standard input")?;
    Ok(Bytes::from(value))
}
