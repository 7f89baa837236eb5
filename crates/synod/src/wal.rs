//! `synod wal inspect`: what a log on disk holds, for people and as JSON.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use synod_replica::codec::decode_record;
use synod_wal::inspect::inspect;

/// `synod wal`
#[derive(Args, Debug)]
pub(crate) struct WalArgs {
    #[command(subcommand)]
    command: WalCommand,
}

#[derive(Debug, Subcommand)]
enum WalCommand {
    /// Print every record, and where and why the records stop. Changes nothing, so it may be done
    /// to a running member.
    Inspect(InspectArgs),
}

#[derive(Args, Debug)]
struct InspectArgs {
    /// A member's data folder, or the log's folder within.
    folder: PathBuf,
    /// Print one JSON object for each line.
    #[arg(long)]
    json: bool,
}

/// Runs the command: fails if the log is damaged.
pub(crate) fn run(args: WalArgs) -> anyhow::Result<()> {
    let WalCommand::Inspect(args) = args.command;
    let folder = log_folder(&args.folder);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut damages = 0;
    let lines = inspect(&folder, describe);
    for line in lines.with_context(|| format!("cannot read {}", folder.display()))? {
        let line = line.with_context(|| format!("cannot read {}", folder.display()))?;
        damages += u32::from(line.is_damage());
        if args.json {
            writeln!(out, "{}", line.to_json())?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    if damages > 0 {
        bail!("{} is damaged in {damages} places", folder.display());
    }
    Ok(())
}

/// Where the log is: in a data folder it is `member/wal`.
fn log_folder(folder: &Path) -> PathBuf {
    let within = folder.join("member").join("wal");
    if within.is_dir() { within } else { folder.to_owned() }
}

/// A record of the replica in a few words.
fn describe(kind: u8, payload: &[u8]) -> String {
    match decode_record(kind, Bytes::copy_from_slice(payload)) {
        Ok(record) => record.to_string(),
        Err(error) => format!("not a record of this version: {error}"),
    }
}
