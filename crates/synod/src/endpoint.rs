//! `synod endpoint`, `synod alarm`, `synod defrag`, `synod move-leader`: looking after members.

use std::time::Instant;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use synod_client::{Client, Error, EtcdError, Get};
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;

use crate::cli::{ClientArgs, Output};
use crate::{client, json, status};

/// `synod endpoint`
#[derive(Args, Debug)]
pub(crate) struct EndpointArgs {
    #[command(subcommand)]
    command: EndpointCommand,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum EndpointCommand {
    /// Say whether each endpoint answers a read that a majority confirms.
    Health,
    /// Show what each endpoint says of itself.
    Status,
    /// Show the hash of the history of each endpoint: equal ones hold the same.
    Hashkv {
        /// Up to this revision; 0 for the newest.
        #[arg(long, default_value_t = 0)]
        rev: i64,
    },
}

/// `synod alarm`
#[derive(Args, Debug)]
pub(crate) struct AlarmArgs {
    #[command(subcommand)]
    command: AlarmCommand,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum AlarmCommand {
    /// List the alarms that stand.
    List,
    /// Clear all alarms.
    Disarm,
}

/// `synod defrag`
#[derive(Args, Debug)]
pub(crate) struct DefragArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// `synod move-leader`
#[derive(Args, Debug)]
pub(crate) struct MoveLeaderArgs {
    /// The member that shall lead, in hexadecimal.
    #[arg(value_parser = member)]
    member: u64,
    #[command(flatten)]
    client: ClientArgs,
}

fn member(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| format!("{text:?} is no member's id in hexadecimal"))
}

/// Runs `synod endpoint`.
pub(crate) fn endpoint(args: &EndpointArgs) -> anyhow::Result<()> {
    let output = args.client.output;
    match args.command {
        EndpointCommand::Health => {
            client::ask(&args.client, async |client| health(client, output).await)
        }
        EndpointCommand::Status => status::show(&args.client),
        EndpointCommand::Hashkv { rev } => {
            client::ask(&args.client, async |client| hash_kv(client, rev, output).await)
        }
    }
}

async fn health(client: &Client, output: Output) -> anyhow::Result<()> {
    let mut all = Vec::new();
    let mut sick = 0;
    for endpoint in client.endpoints() {
        let asked = Instant::now();
        let answer = client.only(endpoint)?.get(Get::key("health")).await.map(|_| ());
        let took = asked.elapsed();
        // Who is not allowed to read is told so by a member that could.
        let answer = match answer {
            Err(error) if error.etcd() == Some(EtcdError::PermissionDenied) => Ok(()),
            answer => answer,
        };
        sick += usize::from(answer.is_err());
        match (output, &answer) {
            (Output::Json, _) => all.push(health_entry(endpoint, answer.as_ref().err(), took)),
            (Output::Simple, Ok(())) => {
                println!("{endpoint} is healthy: successfully committed proposal: took = {took:?}");
            }
            (Output::Simple, Err(error)) => {
                println!("{endpoint} is unhealthy: failed to commit proposal: {error}");
            }
        }
    }
    if output == Output::Json {
        json::print(&Value::Array(all))?;
    }
    if sick > 0 {
        bail!("unhealthy cluster");
    }
    Ok(())
}

fn health_entry(endpoint: &str, error: Option<&Error>, took: std::time::Duration) -> Value {
    let mut entry = json!({
        "endpoint": endpoint,
        "health": error.is_none(),
        "took": format!("{took:?}"),
    });
    if let Some(error) = error {
        entry["error"] = json!(error.to_string());
    }
    entry
}

async fn hash_kv(client: &Client, revision: i64, output: Output) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for endpoint in client.endpoints() {
        let asked = client.only(endpoint)?;
        let answer = asked
            .read(|service| async move {
                MaintenanceClient::new(service).hash_kv(pb::HashKvRequest { revision }).await
            })
            .await?;
        match output {
            Output::Simple => println!("{endpoint}, {}", answer.hash),
            Output::Json => {
                let fields = [
                    ("hash", json!(answer.hash)),
                    ("compact_revision", json!(answer.compact_revision)),
                    ("hash_revision", json!(answer.hash_revision)),
                ];
                let hash = json::headed(answer.header.as_ref(), fields);
                all.push(json!({ "Endpoint": endpoint, "HashKV": hash }));
            }
        }
    }
    if output == Output::Json {
        json::print(&Value::Array(all))?;
    }
    Ok(())
}

/// Runs `synod alarm`.
pub(crate) fn alarm(args: &AlarmArgs) -> anyhow::Result<()> {
    use pb::alarm_request::AlarmAction;
    client::ask(&args.client, async |client| {
        let standing = ask_alarm(client, AlarmAction::Get, 0, 0).await?;
        let mut shown = standing.clone();
        if matches!(args.command, AlarmCommand::Disarm) {
            shown.alarms.clear();
            for alarm in &standing.alarms {
                let (kind, member) = (alarm.alarm, alarm.member_id);
                let cleared = ask_alarm(client, AlarmAction::Deactivate, kind, member).await?;
                shown.alarms.extend(cleared.alarms);
            }
        }
        match args.client.output {
            Output::Simple => {
                for alarm in &shown.alarms {
                    let kind = alarm.alarm().as_str_name();
                    println!("memberID:{} alarm:{kind} ", alarm.member_id);
                }
                Ok(())
            }
            Output::Json => json::print(&json::headed(
                shown.header.as_ref(),
                [("alarms", shown.alarms.iter().map(alarm_entry).collect())],
            )),
        }
    })
}

fn alarm_entry(alarm: &pb::AlarmMember) -> Value {
    json!({ "memberID": alarm.member_id, "alarm": alarm.alarm })
}

async fn ask_alarm(
    client: &Client,
    action: pb::alarm_request::AlarmAction,
    alarm: i32,
    member_id: u64,
) -> Result<pb::AlarmResponse, Error> {
    let request = pb::AlarmRequest { action: action.into(), member_id, alarm };
    // To clear an alarm twice is as good as once.
    client.read(|service| async move { MaintenanceClient::new(service).alarm(request).await }).await
}

/// Runs `synod defrag`.
pub(crate) fn defrag(args: &DefragArgs) -> anyhow::Result<()> {
    client::ask(&args.client, async |client| {
        for endpoint in client.endpoints() {
            let asked = client.only(endpoint)?;
            let answer = asked
                .write(|service| async move {
                    MaintenanceClient::new(service).defragment(pb::DefragmentRequest {}).await
                })
                .await?;
            let line = format!("Finished defragmenting etcd member[{endpoint}]");
            args.client.output.say(&line, || {
                let answer = json::headed(answer.header.as_ref(), []);
                json!({ "Endpoint": endpoint, "Defragment": answer })
            })?;
        }
        Ok(())
    })
}

/// Runs `synod move-leader`: asks the leader, whichever endpoint that is.
pub(crate) fn move_leader(args: &MoveLeaderArgs) -> anyhow::Result<()> {
    let request = pb::MoveLeaderRequest { target_id: args.member };
    client::ask(&args.client, async |client| {
        for endpoint in client.endpoints() {
            let asked = client.only(endpoint)?;
            let Ok(status) = client::status(&asked).await else { continue };
            let member = status.header.map_or(0, |header| header.member_id);
            if status.leader != member {
                continue;
            }
            let answer = asked
                .write(|service| async move {
                    MaintenanceClient::new(service).move_leader(request).await
                })
                .await?;
            let line = format!("Leadership transferred from {member:x} to {:x}", args.member);
            let answer = || json::headed(answer.header.as_ref(), []);
            return args.client.output.say(&line, answer);
        }
        bail!("no leader endpoint given at {}", args.client.endpoints.join(","))
    })
}
