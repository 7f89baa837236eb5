//! `synod lock` and `synod elect`: hold a lock or an office, for a while or for a command.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use clap::Args;
use tokio::process::Command;
use tokio::signal;
use tokio::signal::unix::SignalKind;

use crate::cli::ClientArgs;
use crate::{client, keys, text};

/// `synod lock`
#[derive(Args, Debug)]
#[command(after_help = "\
Without a command it prints the key of the lock and its fencing token, and holds the lock until it
is told to end. The command finds them in ETCD_LOCK_KEY and SYNOD_LOCK_TOKEN; it is killed if the
lock is lost. Whatever the lock protects should refuse tokens below the highest it has seen.")]
pub(crate) struct LockArgs {
    /// The name of the lock.
    name: OsString,
    /// How long others wait if this holder disappears, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    ttl: u64,
    /// What to run while the lock is held.
    #[arg(last = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    client: ClientArgs,
}

/// `synod elect`
#[derive(Args, Debug)]
pub(crate) struct ElectArgs {
    /// The name of the office.
    name: OsString,
    /// What to proclaim in it.
    #[arg(required_unless_present = "listen")]
    proposal: Option<OsString>,
    /// Do not stand: print who holds it, and whoever comes after.
    #[arg(long, short, conflicts_with = "proposal")]
    listen: bool,
    /// How long others wait if this holder disappears, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    ttl: u64,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs `synod lock`.
pub(crate) fn lock(args: LockArgs) -> anyhow::Result<()> {
    let LockArgs { name, ttl, command, client: asked } = args;
    let status = client::ask(&asked, async |client| {
        let waiting = client.lock(keys::bytes(name), Duration::from_secs(ttl));
        let lock = tokio::select! {
            lock = waiting => lock?,
            () = told_to_end() => bail!("told to end before the lock was free"),
        };
        let mut status = None;
        let held = if command.is_empty() {
            text::print(|out| {
                out.extend_from_slice(lock.key());
                writeln!(out, "\n{}", lock.token())
            })?;
            tokio::select! {
                () = told_to_end() => true,
                () = lock.lost() => false,
            }
        } else {
            let key = String::from_utf8_lossy(lock.key()).into_owned();
            let mut child = Command::new(&command[0])
                .args(&command[1..])
                .env("ETCD_LOCK_KEY", key)
                .env("ETCD_LOCK_REV", client.revision().to_string())
                .env("SYNOD_LOCK_TOKEN", lock.token().to_string())
                .kill_on_drop(true)
                .spawn()?;
            tokio::select! {
                ended = child.wait() => { status = Some(ended?); true }
                () = lock.lost() => { child.kill().await?; false }
            }
        };
        if !held {
            bail!("the lock is lost: its lease could not be renewed in time");
        }
        lock.unlock().await?;
        Ok(status)
    })?;
    match status.map(|status| status.code()) {
        None | Some(Some(0)) => Ok(()),
        Some(code) => std::process::exit(code.unwrap_or(1)),
    }
}

/// Runs `synod elect`.
pub(crate) fn elect(args: ElectArgs) -> anyhow::Result<()> {
    let ElectArgs { name, proposal, ttl, client: asked, .. } = args;
    let name = keys::bytes(name);
    let Some(proposal) = proposal else { return listen(name, &asked) };
    let value = keys::bytes(proposal);
    client::ask(&asked, async |client| {
        let waiting = client.campaign(name, value.clone(), Duration::from_secs(ttl));
        let office = tokio::select! {
            office = waiting => office?,
            () = told_to_end() => bail!("told to end before the office was free"),
        };
        text::print(|out| {
            for bytes in [office.key(), &value] {
                out.extend_from_slice(bytes);
                out.push(b'\n');
            }
            Ok(())
        })?;
        tokio::select! {
            () = told_to_end() => Ok(office.resign().await?),
            () = office.lost() => bail!("the office is lost: its lease was not renewed in time"),
        }
    })
}

/// Prints who holds an office, to the end of it, which only an error brings.
fn listen(name: Bytes, asked: &ClientArgs) -> anyhow::Result<()> {
    client::ask(asked, async |client| {
        let mut seen = client.observe(name).await?;
        while let Some(holder) = seen.next().await {
            let holder = holder?;
            text::print(|out| text::pair(out, &holder))?;
        }
        Ok(())
    })
}

/// Waits until somebody wants this process to end.
async fn told_to_end() {
    let terminated = async {
        match signal::unix::signal(SignalKind::terminate()) {
            Ok(mut signals) => signals.recv().await,
            // Then the signal ends the process as it is.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = signal::ctrl_c() => {}
        _ = terminated => {}
    }
}
