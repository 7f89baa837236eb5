//! `synod snapshot save`: into a file beside, checked, and then under its name.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use synod_etcd::Refusal;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_etcd::proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};
use tokio::time::timeout;
use tonic::Streaming;

use super::size;
use crate::cli::ClientArgs;
use crate::client;

/// `synod snapshot save`
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// The file to make. One that is there is replaced, at the end and all at once.
    file: PathBuf,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(super) fn run(args: SaveArgs) -> anyhow::Result<()> {
    let part = beside(&args.file);
    let saved = save(&args, &part);
    if saved.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(&part);
    }
    saved
}

fn save(args: &SaveArgs, part: &Path) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(part).with_context(|| part.display().to_string())?;
    client::block_on(receive(args, &mut file))?;
    file.sync_all().with_context(|| part.display().to_string())?;
    drop(file);
    let facts = synod_server::snapshot::verify(part, false)?;
    fs::rename(part, &args.file).with_context(|| args.file.display().to_string())?;
    let folder = args.file.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    println!(
        "saved revision {} to {}: {}, checked",
        facts.revision,
        args.file.display(),
        size(facts.total_bytes)
    );
    Ok(())
}

async fn receive(args: &SaveArgs, file: &mut File) -> anyhow::Result<()> {
    let client = client::connect(&args.client).await?;
    let mut stream = client
        .read(|service| async {
            MaintenanceClient::new(service).snapshot(SnapshotRequest {}).await
        })
        .await?;
    let bar = ProgressBar::no_length();
    bar.set_style(
        ProgressStyle::with_template("{wide_bar} {binary_bytes}/{binary_total_bytes} {eta}")
            .context("the style of the progress bar")?,
    );
    let mut received = 0;
    while let Some(chunk) = next(args, &mut stream).await? {
        file.write_all(&chunk.blob).context("write the file")?;
        received += u64::try_from(chunk.blob.len())?;
        bar.set_length(received + chunk.remaining_bytes);
        bar.set_position(received);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn next(
    args: &SaveArgs,
    stream: &mut Streaming<SnapshotResponse>,
) -> anyhow::Result<Option<SnapshotResponse>> {
    match timeout(args.client.timeout, stream.message()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(status)) => Err(Refusal::from_status(&status).into()),
        Err(_) => bail!("nothing came for {:?}: the snapshot is not whole", args.client.timeout),
    }
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    file.with_file_name(name)
}
