//! `synod get`: reads a key or a range of keys.

use std::num::NonZeroU64;

use clap::{Args, ValueEnum};
use synod_etcd::request::Read;
use synod_kv::{Bounds, Range, Revision, Sort, SortOrder, SortTarget};

use crate::cli::{ClientArgs, Output};
use crate::keys::KeysArgs;
use crate::text::RangeForm;
use crate::{client, json, text};

/// `synod get`
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) op: GetOp,
    /// Print values only.
    #[arg(long)]
    print_value_only: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// What is read; also a line of `synod txn`.
#[derive(Args, Clone, Debug)]
pub(crate) struct GetOp {
    #[command(flatten)]
    keys: KeysArgs,
    /// At most so many keys; 0 for all.
    #[arg(long, default_value_t = 0)]
    limit: u64,
    /// Read as of this revision; 0 for now.
    #[arg(long, default_value_t = 0)]
    rev: i64,
    /// Up or down.
    #[arg(long, value_enum, ignore_case = true)]
    order: Option<Order>,
    /// What to sort by.
    #[arg(long, value_enum, ignore_case = true, default_value = "key")]
    sort_by: Target,
    /// Only count the keys.
    #[arg(long)]
    count_only: bool,
    /// Leave the values out.
    #[arg(long)]
    keys_only: bool,
    /// Take the member's own state for good, which may be behind.
    #[arg(long)]
    serializable: bool,
    /// `l` for the newest state of the cluster, `s` as --serializable.
    #[arg(long, value_name = "l|s", value_parser = ["l", "s"], conflicts_with = "serializable")]
    consistency: Option<String>,
    /// Only keys changed at this revision or later.
    #[arg(long, value_name = "REV", default_value_t = 0)]
    min_mod_rev: i64,
    /// Only keys changed at this revision or before.
    #[arg(long, value_name = "REV", default_value_t = 0)]
    max_mod_rev: i64,
    /// Only keys created at this revision or later.
    #[arg(long, value_name = "REV", default_value_t = 0)]
    min_create_rev: i64,
    /// Only keys created at this revision or before.
    #[arg(long, value_name = "REV", default_value_t = 0)]
    max_create_rev: i64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Ascend,
    Descend,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    Key,
    Version,
    Create,
    #[value(alias = "mod")]
    Modify,
    Value,
}

impl GetOp {
    /// The range, and how fresh it must be.
    pub(crate) fn read(self) -> anyhow::Result<Read> {
        let order = match self.order {
            None => SortOrder::None,
            Some(Order::Ascend) => SortOrder::Ascend,
            Some(Order::Descend) => SortOrder::Descend,
        };
        let target = match self.sort_by {
            Target::Key => SortTarget::Key,
            Target::Version => SortTarget::Version,
            Target::Create => SortTarget::Create,
            Target::Modify => SortTarget::Mod,
            Target::Value => SortTarget::Value,
        };
        let range = Range {
            keys: self.keys.range()?,
            limit: NonZeroU64::new(self.limit),
            revision: Revision::named(self.rev),
            sort: Sort { order, target },
            keys_only: self.keys_only,
            count_only: self.count_only,
            bounds: Bounds {
                min_mod: Revision::named(self.min_mod_rev),
                max_mod: Revision::named(self.max_mod_rev),
                min_create: Revision::named(self.min_create_rev),
                max_create: Revision::named(self.max_create_rev),
            },
        };
        let serializable = self.serializable || self.consistency.as_deref() == Some("s");
        Ok(Read { range, serializable })
    }
}

/// Runs the command.
pub(crate) fn run(args: GetArgs) -> anyhow::Result<()> {
    let read = args.op.read()?;
    let form = RangeForm {
        count_only: read.range.count_only,
        keys_only: read.range.keys_only,
        values_only: args.print_value_only,
    };
    let answer = client::ask(&args.client, async |client| Ok(client.get(read).await?))?;
    match args.client.output {
        Output::Simple => text::print(|out| text::range(out, &answer, form)),
        Output::Json => json::print(&json::range(&answer)),
    }
}
