//! What the commands share of asking a cluster.

use std::path::Path;

use anyhow::{Context, bail};
use synod_client::{Client, Error, Options, Tls};
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;

use crate::cli::{ClientArgs, TlsArgs};

/// Somebody waits at a terminal: twice around is enough to get past a change of leader.
const ROUNDS_MAX: u32 = 2;

/// A client as the arguments say.
pub(crate) async fn connect(args: &ClientArgs) -> anyhow::Result<Client> {
    let options = Options::default()
        .with_call_timeout(args.timeout)
        .with_connect_timeout(args.dial_timeout.min(args.timeout))
        .with_rounds_max(ROUNDS_MAX);
    let options = match user(args)? {
        Some((name, password)) => options.with_user(name, password),
        None => options,
    };
    let options = match tls(&args.tls)? {
        Some(tls) => options.with_tls(tls),
        None => options,
    };
    Ok(Client::connect(args.endpoints.iter().cloned(), options).await?)
}

/// Asks a cluster, and waits for the answer.
pub(crate) fn ask<T>(
    args: &ClientArgs,
    task: impl AsyncFnOnce(&Client) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    block_on(async { task(&connect(args).await?).await })
}

/// Runs a client command to its end, on this thread.
pub(crate) fn block_on<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(task)
}

/// What the arguments say of TLS; `None` if nothing.
fn tls(args: &TlsArgs) -> anyhow::Result<Option<Tls>> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let TlsArgs { cacert, cert, key, tls_server_name, insecure_skip_tls_verify } = args;
    let mut tls = Tls::new();
    if let Some(cacert) = cacert {
        tls = tls.with_authorities(read(cacert)?);
    }
    if let (Some(cert), Some(key)) = (cert, key) {
        tls = tls.with_identity(read(cert)?, read(key)?);
    }
    if let Some(name) = tls_server_name {
        tls = tls.with_server_name(name);
    }
    if *insecure_skip_tls_verify {
        tls = tls.without_verification();
    }
    Ok((tls != Tls::new()).then_some(tls))
}

/// `NAME:PASSWORD`, or the password apart: then a colon belongs to the name.
pub(crate) fn user(args: &ClientArgs) -> anyhow::Result<Option<(String, String)>> {
    let Some(user) = &args.user else { return Ok(None) };
    match (user.split_once(':'), &args.password) {
        (_, Some(password)) => Ok(Some((user.clone(), password.clone()))),
        (Some((name, password)), None) => Ok(Some((name.to_owned(), password.to_owned()))),
        (None, None) => bail!("the password of {user} is missing: --user {user}:PASSWORD"),
    }
}

/// What a member says of itself.
pub(crate) async fn status(member: &Client) -> Result<pb::StatusResponse, Error> {
    let asked = async |service| MaintenanceClient::new(service).status(pb::StatusRequest {}).await;
    member.read(asked).await
}
