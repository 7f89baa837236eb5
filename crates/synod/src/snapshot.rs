//! `synod snapshot`: saves the store of a member to a file, looks at such a file, and makes data
//! folders of it.

mod restore;
mod save;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::json;
use synod_kv::SnapshotFacts;

use crate::json;

/// `synod snapshot`
#[derive(Args, Debug)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Save everything that a member holds to a file.
    Save(save::SaveArgs),
    /// Check such a file, and say what is in it.
    Status(StatusArgs),
    /// Make the data folder of a member of a new cluster.
    Restore(restore::RestoreArgs),
}

#[derive(Args, Debug)]
struct StatusArgs {
    /// The file.
    file: PathBuf,
    /// How to print the answer.
    #[arg(long, short = 'w', visible_alias = "write-out", value_enum, default_value = "simple")]
    output: Output,
    /// Take the file though its hash does not fit.
    #[arg(long)]
    skip_hash_check: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// One line: hash, revision, rows of the history of keys, size.
    Simple,
    /// etcdctl's fields, and ours.
    Json,
    /// A table.
    Table,
}

/// Runs the command.
pub(crate) fn run(args: SnapshotArgs) -> anyhow::Result<()> {
    match args.command {
        SnapshotCommand::Save(args) => save::run(args),
        SnapshotCommand::Status(args) => status(&args),
        SnapshotCommand::Restore(args) => restore::run(args),
    }
}

fn status(args: &StatusArgs) -> anyhow::Result<()> {
    let facts = synod_server::snapshot::verify(&args.file, args.skip_hash_check)?;
    let columns = [
        format!("{:08x}", short_hash(&facts)),
        facts.point.revision.to_string(),
        facts.history_rows.to_string(),
        size(facts.bytes),
    ];
    match args.output {
        Output::Simple => println!("{}", columns.join(", ")),
        Output::Json => json::print(&json!({
            "hash": short_hash(&facts),
            "revision": facts.point.revision.as_i64(),
            "totalKey": facts.history_rows,
            "totalSize": facts.bytes,
            "version": synod_server::ETCD_CLUSTER_VERSION,
            "compactRevision": facts.point.compact_revision.as_i64().max(0),
            "appliedIndex": facts.point.applied_slot - 1,
            "clusterId": facts.origin.cluster,
            "memberId": facts.origin.member,
            "blake3": facts.hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        }))?,
        Output::Table => {
            let mut table = Table::new();
            table.load_style(UTF8_FULL_CONDENSED);
            table.set_header(["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"]);
            table.add_row(columns);
            println!("{table}");
        }
    }
    Ok(())
}

/// As many bits as etcdctl shows.
fn short_hash(facts: &SnapshotFacts) -> u32 {
    let [a, b, c, d, ..] = facts.hash;
    u32::from_be_bytes([a, b, c, d])
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
