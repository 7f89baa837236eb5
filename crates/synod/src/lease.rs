//! `synod lease`: grants leases, renews them, ends them.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use synod_client::{Client, Error};
use tokio::time::sleep;

use crate::cli::{ClientArgs, Output};
use crate::{client, json, keys};

/// `synod lease`
#[derive(Args, Debug)]
pub(crate) struct LeaseArgs {
    #[command(subcommand)]
    command: LeaseCommand,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum LeaseCommand {
    /// Grant a lease of so many seconds.
    Grant {
        /// How long it lasts without a renewal.
        ttl: u64,
    },
    /// End a lease, and with it its keys.
    Revoke(Id),
    /// Renew a lease until it ends, or this command does.
    KeepAlive {
        #[command(flatten)]
        id: Id,
        /// Renew it once.
        #[arg(long)]
        once: bool,
    },
    /// Say what is left of a lease.
    Timetolive {
        #[command(flatten)]
        id: Id,
        /// List its keys.
        #[arg(long)]
        keys: bool,
    },
    /// List the leases.
    List,
}

#[derive(Args, Clone, Copy, Debug)]
struct Id {
    /// The lease, in hexadecimal.
    #[arg(value_parser = keys::lease)]
    id: i64,
}

/// Runs the command.
pub(crate) fn run(args: LeaseArgs) -> anyhow::Result<()> {
    let output = args.client.output;
    client::ask(&args.client, async |client| match args.command {
        LeaseCommand::Grant { ttl } => {
            let lease = client.grant(Duration::from_secs(ttl)).await?;
            let (id, ttl) = (lease.id, lease.ttl.as_secs());
            let line = format!("lease {id:016x} granted with TTL({ttl}s)");
            output.say(&line, || json!({ "ID": id, "TTL": ttl }))
        }
        LeaseCommand::Revoke(Id { id }) => {
            let answer = client.revoke(id).await?;
            output.say(&format!("lease {id:016x} revoked"), || {
                json::headed(answer.header.as_ref(), [])
            })
        }
        LeaseCommand::KeepAlive { id: Id { id }, once } => {
            keep_alive(client, id, once, output).await
        }
        LeaseCommand::Timetolive { id: Id { id }, keys } => {
            time_to_live(client, (id, keys), output).await
        }
        LeaseCommand::List => {
            let answer = client.leases().await?;
            let ids = answer.leases.iter().map(|lease| lease.id);
            let mut lines = format!("found {} leases", answer.leases.len());
            ids.clone().for_each(|id| lines = format!("{lines}\n{id:016x}"));
            output.say(&lines, || {
                let ids: Value = ids.map(|id| json!({ "id": id })).collect();
                json::headed(answer.header.as_ref(), [("leases", ids)])
            })
        }
    })
}

/// Renews it three times in its TTL. What fails meanwhile is told, and tried again as long as the
/// lease can stand.
async fn keep_alive(client: &Client, id: i64, once: bool, output: Output) -> anyhow::Result<()> {
    let mut ends = Instant::now();
    loop {
        let pause = match client.keep_alive_once(id).await {
            Ok(answer) => {
                let ttl = Duration::from_secs(u64::try_from(answer.ttl).unwrap_or(0));
                let line = format!("lease {id:016x} keepalived with TTL({})", answer.ttl);
                output.say(&line, || {
                    let fields = [("ID", json!(answer.id)), ("TTL", json!(answer.ttl))];
                    json::headed(answer.header.as_ref(), fields)
                })?;
                ends = Instant::now() + ttl;
                ttl / 3
            }
            Err(Error::LeaseLost { .. }) => bail!("lease {id:016x} expired or revoked."),
            Err(error) if once || Instant::now() >= ends => return Err(error.into()),
            Err(error) => {
                eprintln!("not renewed yet, trying again: {error}");
                ends.saturating_duration_since(Instant::now()) / 10
            }
        };
        if once {
            return Ok(());
        }
        sleep(pause.max(Duration::from_millis(300))).await;
    }
}

async fn time_to_live(
    client: &Client,
    (id, keys): (i64, bool),
    output: Output,
) -> anyhow::Result<()> {
    let answer = client.time_to_live(id, keys).await?;
    let line = if answer.ttl < 0 {
        format!("lease {id:016x} already expired")
    } else {
        let names: Vec<_> = answer.keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
        let names =
            if keys { format!(", attached keys([{}])", names.join(" ")) } else { String::new() };
        let (granted, left) = (answer.granted_ttl, answer.ttl);
        format!("lease {id:016x} granted with TTL({granted}s), remaining({left}s){names}")
    };
    output.say(&line, || {
        json::headed(
            answer.header.as_ref(),
            [
                ("id", json!(answer.id)),
                ("ttl", json!(answer.ttl)),
                ("granted-ttl", json!(answer.granted_ttl)),
                ("keys", json::keys(&answer.keys)),
            ],
        )
    })
}
