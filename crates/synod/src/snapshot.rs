//! `synod snapshot`: saves the store of a member to a file, looks at such a file or one of etcd's,
//! and makes data folders of it.

mod restore;
mod save;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::json;
use synod_server::snapshot::SnapshotFacts;

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
    /// One line: hash, revision, entries, size.
    Simple,
    /// etcdutl's fields, and ours.
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
    // What etcd's tools print, for the same file.
    let columns = [
        format!("{:x}", facts.hash),
        facts.revision.to_string(),
        facts.total_keys.to_string(),
        size(facts.total_bytes),
    ];
    match args.output {
        Output::Simple => println!("{}", columns.join(", ")),
        Output::Json => json::print(&fields(&facts))?,
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

/// etcdutl's fields, and ours.
fn fields(facts: &SnapshotFacts) -> serde_json::Value {
    let mut fields = json!({
        "hash": facts.hash,
        "revision": facts.revision.as_i64(),
        "totalKey": facts.total_keys,
        "totalSize": facts.total_bytes,
        "version": facts.version,
        "compactRevision": facts.compact_revision.as_i64().max(0),
        "sha256": facts.sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    });
    if let Some((origin, point)) = &facts.taken {
        fields["appliedIndex"] = json!(point.applied_slot - 1);
        fields["clusterId"] = json!(origin.cluster);
        fields["memberId"] = json!(origin.member);
    }
    fields
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
