//! A connection to whichever member can be reached, over the generated clients.
//!
//! A read that gets no answer is asked again of the next member. A write is sent once: only if no
//! connection came about is it certain that nobody has it, and the next member may be tried.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use synod_etcd::Refusal;
use synod_etcd::proto::etcdserverpb::cluster_client::ClusterClient;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use crate::cli::ClientArgs;

/// How long a member may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The most an answer may have, etcdctl's limit too: 2 GiB.
const ANSWER_BYTES_MAX: usize = 0x7fff_ffff;

/// Asks the members of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    endpoints: Vec<String>,
    timeout: Duration,
}

impl Client {
    /// A client for these endpoints; nothing is connected yet.
    pub(crate) fn new(args: &ClientArgs) -> Self {
        let endpoints = args.endpoints.iter().map(|endpoint| url(endpoint)).collect();
        Self { endpoints, timeout: args.timeout }
    }

    /// The endpoints, as URLs.
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Asks the first member that answers.
    pub(crate) async fn read<T, F, Asked>(&self, ask: F) -> anyhow::Result<T>
    where
        F: Fn(Channel) -> Asked,
        Asked: Future<Output = Result<Response<T>, Status>>,
    {
        let mut failure = None;
        for endpoint in &self.endpoints {
            let error = match self.ask(endpoint, &ask).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Refused(refusal)) if !may_answer_elsewhere(&refusal) => {
                    return Err(refusal.into());
                }
                Err(failed) => anyhow::Error::from(failed).context(endpoint.clone()),
            };
            failure.get_or_insert(error);
        }
        Err(failure.unwrap_or_else(|| anyhow!("no endpoints given")))
    }

    /// Sends a write to the first member that can be connected to, once.
    pub(crate) async fn write<T, F, Asked>(&self, ask: F) -> anyhow::Result<T>
    where
        F: Fn(Channel) -> Asked,
        Asked: Future<Output = Result<Response<T>, Status>>,
    {
        let mut failure = None;
        for endpoint in &self.endpoints {
            match self.ask(endpoint, &ask).await {
                Ok(answer) => return Ok(answer),
                Err(failed @ Failed::Unreached(_)) => {
                    let error = anyhow::Error::from(failed).context(endpoint.clone());
                    failure.get_or_insert(error);
                }
                Err(Failed::Refused(refusal)) if was_answered(&refusal) => {
                    return Err(refusal.into());
                }
                Err(failed) => {
                    return Err(failed)
                        .with_context(|| endpoint.clone())
                        .context("no answer: the write may have taken effect or not");
                }
            }
        }
        Err(failure.unwrap_or_else(|| anyhow!("no endpoints given")))
    }

    /// Asks one member.
    pub(crate) async fn ask<T, Asked>(
        &self,
        endpoint: &str,
        ask: impl Fn(Channel) -> Asked,
    ) -> Result<T, Failed>
    where
        Asked: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = connect(endpoint, CONNECT_TIMEOUT.min(self.timeout)).await?;
        match timeout(self.timeout, ask(channel)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Failed::Refused(Refusal::from_status(&status))),
            Err(_) => Err(Failed::TimedOut(self.timeout)),
        }
    }
}

/// Why a member did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// There is no connection; nothing was sent.
    #[error("cannot connect: {}", root(.0))]
    Unreached(tonic::transport::Error),
    /// It answered that it will not, or the connection broke.
    #[error("{0}")]
    Refused(Refusal),
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Connects to an endpoint.
pub(crate) async fn connect(endpoint: &str, limit: Duration) -> Result<Channel, Failed> {
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).map_err(Failed::Unreached)?;
    endpoint.tcp_nodelay(true).connect_timeout(limit).connect().await.map_err(Failed::Unreached)
}

/// The store's client.
pub(crate) fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

/// The client for looking after a member.
pub(crate) fn maintenance(channel: Channel) -> MaintenanceClient<Channel> {
    MaintenanceClient::new(channel)
}

/// The client for members.
pub(crate) fn cluster(channel: Channel) -> ClusterClient<Channel> {
    ClusterClient::new(channel)
}

/// Runs a client command to its end, on this thread.
pub(crate) fn block_on<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(task)
}

fn url(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") }
}

/// Whether another member may know what this one does not.
fn may_answer_elsewhere(refusal: &Refusal) -> bool {
    matches!(refusal.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
}

/// Whether a member said it. A connection that broke is unavailable too, in no words of etcd's.
fn was_answered(refusal: &Refusal) -> bool {
    refusal.etcd().is_some() || refusal.code() != Code::Unavailable
}

/// The last cause of an error: what the transport says first says nothing.
fn root(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = error.to_string();
        source = error.source();
    }
    words
}
