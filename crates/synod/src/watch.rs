//! `synod watch`: prints what happens to keys, as it happens.

use std::ffi::OsString;
use std::io::Write;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use synod_client::{Update, Watch};
use synod_etcd::proto::mvccpb::Event;
use synod_etcd::proto::mvccpb::event::EventType;
use tokio::process::Command;

use crate::cli::{ClientArgs, Output};
use crate::keys::KeysArgs;
use crate::{client, json, text};

/// `synod watch`
#[derive(Args, Debug)]
#[command(after_help = "\
A command after -- is run for each event. It finds it in ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE,
ETCD_WATCH_KEY and ETCD_WATCH_VALUE, the last three in quotes.")]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    keys: KeysArgs,
    /// Begin with this revision; else with what happens from now on.
    #[arg(long, value_name = "REV", default_value_t = 0)]
    rev: i64,
    /// Print what the keys held before, too.
    #[arg(long)]
    prev_kv: bool,
    /// Also tell up to which revision nothing more is to come.
    #[arg(long)]
    progress_notify: bool,
    /// What to run for each event, one after the other.
    #[arg(last = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command: to the end of the watch, which only an error brings.
pub(crate) fn run(args: WatchArgs) -> anyhow::Result<()> {
    let WatchArgs { keys, rev, prev_kv, progress_notify, command, client: asked } = args;
    let (key, end) = keys.wire()?;
    let mut watch = Watch::range(key, end).from_revision(rev);
    if prev_kv {
        watch = watch.prev_kv();
    }
    if progress_notify {
        watch = watch.progress();
    }
    client::ask(&asked, async |client| {
        let mut watcher = client.watch(watch).await?;
        while let Some(update) = watcher.next().await {
            let update = update?;
            print(&update, asked.output)?;
            for event in &update.events {
                run_for(&command, event, update.revision).await?;
            }
        }
        Ok(())
    })
}

/// Runs the command for an event, and waits for its end; what it returns is its own affair.
async fn run_for(command: &[OsString], event: &Event, revision: i64) -> anyhow::Result<()> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let quoted = |bytes: Option<&Bytes>| {
        format!("{:?}", String::from_utf8_lossy(bytes.map_or(&[], |bytes| &bytes[..])))
    };
    let kv = event.kv.as_ref();
    let mut running = Command::new(program)
        .args(arguments)
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", format!("{:?}", event.r#type().as_str_name()))
        .env("ETCD_WATCH_KEY", quoted(kv.map(|kv| &kv.key)))
        .env("ETCD_WATCH_VALUE", quoted(kv.map(|kv| &kv.value)))
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    running.wait().await?;
    Ok(())
}

fn print(update: &Update, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Simple => text::print(|out| {
            if update.events.is_empty() {
                return writeln!(out, "progress notify: {}", update.revision);
            }
            update.events.iter().try_for_each(|event| lines(out, event))
        }),
        Output::Json => json::print(&json!({
            "Header": { "revision": update.revision },
            "Events": update.events.iter().map(json::event).collect::<Vec<_>>(),
        })),
    }
}

/// The kind, what was there before, and what is there now.
fn lines(out: &mut Vec<u8>, event: &Event) -> std::io::Result<()> {
    let is_put = event.r#type() == EventType::Put;
    writeln!(out, "{}", if is_put { "PUT" } else { "DELETE" })?;
    for kv in event.prev_kv.iter().chain(&event.kv) {
        text::pair(out, kv)?;
    }
    Ok(())
}
