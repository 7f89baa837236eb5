//! `synod lease`: grants leases, renews them, ends them.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use synod_client::Client;
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
            print(
                output,
                &format!("lease {id:016x} granted with TTL({ttl}s)"),
                || json!({ "ID": id, "TTL": ttl }),
            )
        }
        LeaseCommand::Revoke(Id { id }) => {
            let answer = client.revoke(id).await?;
            print(output, &format!("lease {id:016x} revoked"), || {
                json::headed(answer.header.as_ref(), [])
            })
        }
        LeaseCommand::KeepAlive { id: Id { id }, once } => keep_alive(client, id, once).await,
        LeaseCommand::Timetolive { id: Id { id }, keys } => {
            time_to_live(client, (id, keys), output).await
        }
        LeaseCommand::List => {
            let answer = client.leases().await?;
            let ids = answer.leases.iter().map(|lease| lease.id);
            let mut lines = format!("found {} leases", answer.leases.len());
            ids.clone().for_each(|id| lines = format!("{lines}\n{id:016x}"));
            print(output, &lines, || {
                let ids: Value = ids.map(|id| json!({ "id": id })).collect();
                json::headed(answer.header.as_ref(), [("leases", ids)])
            })
        }
    })
}

async fn keep_alive(client: &Client, id: i64, once: bool) -> anyhow::Result<()> {
    loop {
        let answer = client.keep_alive_once(id).await?;
        println!("lease {id:016x} keepalived with TTL({})", answer.ttl);
        if once {
            return Ok(());
        }
        let ttl = u64::try_from(answer.ttl).unwrap_or(0);
        sleep(Duration::from_secs(ttl).max(Duration::from_secs(1)) / 3).await;
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
    print(output, &line, || {
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

fn print(output: Output, line: &str, json: impl FnOnce() -> Value) -> anyhow::Result<()> {
    match output {
        Output::Simple => {
            println!("{line}");
            Ok(())
        }
        Output::Json => json::print(&json()),
    }
}
