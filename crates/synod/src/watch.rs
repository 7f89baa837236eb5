//! `synod watch`: prints what happens to keys, as it happens.

use std::io::Write;

use clap::Args;
use serde_json::json;
use synod_client::{Update, Watch};
use synod_etcd::proto::mvccpb::Event;
use synod_etcd::proto::mvccpb::event::EventType;

use crate::cli::{ClientArgs, Output};
use crate::keys::KeysArgs;
use crate::{client, json, text};

/// `synod watch`
#[derive(Args, Debug)]
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
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command: to the end of the watch, which only an error brings.
pub(crate) fn run(args: WatchArgs) -> anyhow::Result<()> {
    let WatchArgs { keys, rev, prev_kv, progress_notify, client: asked } = args;
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
            print(&update?, asked.output)?;
        }
        Ok(())
    })
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
