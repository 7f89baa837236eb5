//! `synod member list`: who belongs to the cluster.

use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use synod_etcd::proto::etcdserverpb::cluster_client::ClusterClient;
use synod_etcd::proto::etcdserverpb::{Member, MemberListRequest};

use crate::cli::{ClientArgs, Output};
use crate::{client, json};

/// `synod member`
#[derive(Args, Debug)]
pub(crate) struct MemberArgs {
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(Debug, Subcommand)]
enum MemberCommand {
    /// List the members.
    List(ListArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) fn run(args: MemberArgs) -> anyhow::Result<()> {
    match args.command {
        MemberCommand::List(args) => list(&args),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let request = MemberListRequest { linearizable: true };
    let answer = client::ask(&args.client, async |client| {
        let asked = client
            .read(|service| async move { ClusterClient::new(service).member_list(request).await });
        Ok(asked.await?)
    })?;
    match args.client.output {
        Output::Simple => println!("{}", table(&answer.members)),
        Output::Json => json::print(&json::member_list(&answer))?,
    }
    Ok(())
}

fn table(members: &[Member]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["id", "status", "name", "peer addresses", "client addresses", "learner"]);
    for member in members {
        table.add_row([
            format!("{:x}", member.id),
            if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
            member.name.clone(),
            member.peer_ur_ls.join(","),
            member.client_ur_ls.join(","),
            member.is_learner.to_string(),
        ]);
    }
    table
}
