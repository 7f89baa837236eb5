//! `synod status`: what each endpoint says of itself.

use anyhow::bail;
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::{Value, json};
use synod_client::{Client, Error};
use synod_etcd::proto::etcdserverpb::StatusResponse;

use crate::cli::{ClientArgs, Output};
use crate::{client, json};

/// `synod status`
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) fn run(args: StatusArgs) -> anyhow::Result<()> {
    show(&args.client)
}

/// Shows all endpoints; fails if none answered.
pub(crate) fn show(args: &ClientArgs) -> anyhow::Result<()> {
    let answers = client::ask(args, async |client| ask_each(client).await)?;
    match args.output {
        Output::Simple => println!("{}", table(&answers)),
        Output::Json => json::print(&answers.iter().map(entry).collect::<Value>())?,
    }
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        bail!("no endpoint answered");
    }
    Ok(())
}

type Answer = (String, Result<StatusResponse, Error>);

async fn ask_each(client: &Client) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for endpoint in client.endpoints() {
        let asked = client.only(endpoint)?;
        answers.push((endpoint.to_owned(), client::status(&asked).await));
    }
    Ok(answers)
}

fn table(answers: &[Answer]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "endpoint", "member", "version", "data", "leader", "round", "chosen", "applied", "errors",
    ]);
    for (endpoint, answer) in answers {
        let row = match answer {
            Ok(status) => row(endpoint, status),
            Err(error) => {
                let mut row = vec![String::new(); 9];
                row[0].clone_from(endpoint);
                row[8] = error.to_string();
                row
            }
        };
        table.add_row(row);
    }
    table
}

fn row(endpoint: &str, status: &StatusResponse) -> Vec<String> {
    let member = status.header.map_or(0, |header| header.member_id);
    vec![
        endpoint.to_owned(),
        format!("{member:x}"),
        status.version.clone(),
        indicatif::BinaryBytes(u64::try_from(status.db_size).unwrap_or(0)).to_string(),
        (status.leader == member && member != 0).to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
    ]
}

fn entry((endpoint, answer): &Answer) -> Value {
    match answer {
        Ok(status) => json!({ "Endpoint": endpoint, "Status": json::status(status) }),
        Err(error) => json!({ "Endpoint": endpoint, "Error": error.to_string() }),
    }
}
