//! The same commands on a real etcd and on Synod, and every difference between their answers.
//!
//! Each command runs against each member in turn and in each output format, on both clusters, so
//! both go through the same states. Before each run a linearizable read through the same member
//! makes sure that it has applied what the others have; a serializable read then has one answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::cluster_client::ClusterClient;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::{MemberListRequest, RangeRequest};
use tonic::transport::Channel;

use crate::cluster::{Cluster, MEMBERS, connect};
use crate::commands::{Case, Line};
use crate::etcdctl::{self, Answer};
use crate::normal::Names;

/// The output formats that are compared.
pub const FORMATS: [&str; 3] = ["simple", "json", "fields"];

/// A command whose answers differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The command.
    pub command: String,
    /// Which member was asked, from 1.
    pub member: usize,
    /// In which format.
    pub format: &'static str,
    /// Etcd's answer, made comparable.
    pub etcd: Answer,
    /// Synod's.
    pub synod: Answer,
}

/// A cluster with what is needed to ask it.
#[derive(Debug)]
pub struct Side {
    cluster: Cluster,
    names: Names,
    clients: Vec<KvClient<Channel>>,
    etcdctl: PathBuf,
}

impl Side {
    /// Learns a running cluster's own numbers.
    pub async fn new(cluster: Cluster, etcdctl: &Path) -> anyhow::Result<Self> {
        let mut names = Names::default();
        let mut clients = Vec::new();
        for (at, member) in cluster.members().iter().enumerate() {
            names.add(format!("127.0.0.1:{}", member.client_port), format!("CLIENT{}", at + 1));
            names.add(format!("127.0.0.1:{}", member.peer_port), format!("PEER{}", at + 1));
            clients.push(KvClient::new(connect(&cluster.url(at), CALL_MAX).await?));
        }
        let mut members = ClusterClient::new(connect(&cluster.url(0), CALL_MAX).await?);
        let list = members.member_list(MemberListRequest::default()).await?.into_inner();
        for member in &list.members {
            names.add(member.id.to_string(), format!("ID-{}", member.name));
            names.add(format!("{:x}", member.id), format!("ID-{}", member.name));
        }
        let id = list.header.context("a list without a header")?.cluster_id;
        names.add(id.to_string(), "ID-OF-CLUSTER");
        names.add(format!("{id:x}"), "ID-OF-CLUSTER");
        Ok(Self { cluster, names, clients, etcdctl: etcdctl.to_owned() })
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The names of the cluster's own numbers.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// The command-line client.
    #[must_use]
    pub fn etcdctl(&self) -> &Path {
        &self.etcdctl
    }

    /// A client of a member.
    #[must_use]
    pub fn client(&self, member: usize) -> KvClient<Channel> {
        self.clients[member].clone()
    }

    /// Lets a member catch up, and tells the store's revision.
    pub async fn settle(&mut self, member: usize) -> anyhow::Result<i64> {
        let key = Bytes::from_static(b"settled?");
        let request = RangeRequest { key, ..RangeRequest::default() };
        let answer = self.clients[member].range(request).await?.into_inner();
        Ok(answer.header.context("an answer without a header")?.revision)
    }

    /// Runs a case against a member and gives its answer, made comparable.
    async fn run(
        &mut self,
        case: &Case,
        member: usize,
        format: &'static str,
    ) -> anyhow::Result<Answer> {
        for line in &case.before {
            self.run_line(line, member, "simple").await?;
        }
        let answer = self.run_line(&case.line, member, format).await?;
        let any_order = case.line.words.first().is_some_and(|word| word == "member");
        Ok(self.names.apply(&answer, any_order))
    }

    async fn run_line(
        &mut self,
        line: &Line,
        member: usize,
        format: &'static str,
    ) -> anyhow::Result<Answer> {
        let revision = self.settle(member).await?;
        let line = line.at(revision)?;
        let mut arguments = line.words;
        arguments.insert(0, format!("--write-out={format}"));
        let (etcdctl, endpoint) = (self.etcdctl.clone(), self.cluster.url(member));
        let endpoint = endpoint.trim_start_matches("http://").to_owned();
        let run = move || etcdctl::run(&etcdctl, &endpoint, &arguments, &line.stdin);
        tokio::task::spawn_blocking(run).await?
    }
}

/// The longest wait for one call.
pub const CALL_MAX: Duration = Duration::from_secs(10);

/// Runs a case on both sides, against each member in each format.
pub async fn compare(
    etcd: &mut Side,
    synod: &mut Side,
    case: &Case,
) -> anyhow::Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for member in 0..MEMBERS {
        for format in FORMATS {
            let answers =
                tokio::try_join!(etcd.run(case, member, format), synod.run(case, member, format));
            let (etcd, synod) = answers.with_context(|| case.line.text())?;
            if etcd != synod {
                let command = case.line.text();
                differences.push(Difference { command, member: member + 1, format, etcd, synod });
            }
        }
    }
    Ok(differences)
}
