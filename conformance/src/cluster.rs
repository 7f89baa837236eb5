//! Three members as real processes, of Synod or of etcd: both take the same flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use rustix::process::Signal;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_etcd::proto::etcdserverpb::{RangeRequest, StatusRequest, StatusResponse};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::ports;
use crate::process::{POLL, Process};

/// How many members a cluster here has.
pub const MEMBERS: usize = 3;

/// The longest wait for a member to serve.
const READY_MAX: Duration = Duration::from_secs(60);

/// A program that serves etcd's API.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file to run.
    pub path: PathBuf,
    /// What comes before the flags.
    pub before: &'static [&'static str],
    /// Flags of this program alone.
    pub extra: Vec<String>,
    /// What it is called in reports and folder names.
    pub name: &'static str,
}

impl Program {
    /// The command `synod`.
    #[must_use]
    pub fn synod(path: &Path) -> Self {
        Self { path: path.to_owned(), before: &["server"], extra: Vec::new(), name: "synod" }
    }

    /// A real etcd.
    #[must_use]
    pub fn etcd(path: &Path) -> Self {
        let quiet = ["--logger=zap", "--log-level=error"].map(str::to_owned).to_vec();
        Self { path: path.to_owned(), before: &[], extra: quiet, name: "etcd" }
    }

    /// The program with more flags.
    #[must_use]
    pub fn with(mut self, flags: &[&str]) -> Self {
        self.extra.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// The program that a file's name says it is.
    #[must_use]
    pub fn by_file_name(path: &Path) -> Self {
        let is_etcd = path.file_name().is_some_and(|name| name == "etcd");
        if is_etcd { Self::etcd(path) } else { Self::synod(path) }
    }
}

/// A member: where it listens and lives, and its process while it runs.
#[derive(Debug)]
pub struct Member {
    /// Its name in the cluster.
    pub name: String,
    /// Where clients reach it.
    pub client_port: u16,
    /// Where members reach it.
    pub peer_port: u16,
    /// Its data folder.
    pub folder: PathBuf,
    process: Option<Process>,
}

/// Three members, in a folder of their own that goes away with them.
#[derive(Debug)]
pub struct Cluster {
    program: Program,
    members: Vec<Member>,
    token: String,
    folder: TempDir,
}

impl Cluster {
    /// What members are called, before their number.
    pub const NAME: &str = "m";

    /// Starts three fresh members in a new folder below `parent`, and waits until each serves.
    pub async fn start(program: &Program, parent: &Path) -> anyhow::Result<Self> {
        Self::start_named(program, parent, Self::NAME).await
    }

    /// The same, with members called `name` and a number.
    pub async fn start_named(program: &Program, parent: &Path, name: &str) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare_named(program, parent, name)?;
        for at in 0..MEMBERS {
            cluster.start_member(at)?;
        }
        for at in 0..MEMBERS {
            cluster.wait_ready(at).await?;
        }
        Ok(cluster)
    }

    /// Chooses ports and folders, and starts nothing.
    pub fn prepare(program: &Program, parent: &Path) -> anyhow::Result<Self> {
        Self::prepare_named(program, parent, Self::NAME)
    }

    fn prepare_named(program: &Program, parent: &Path, name: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-", program.name))
            .tempdir_in(parent)
            .with_context(|| format!("making a folder in {}", parent.display()))?;
        let ports = ports::free(2 * MEMBERS)?;
        let members = (0..MEMBERS).map(|at| Member {
            name: format!("{name}{}", at + 1),
            client_port: ports[2 * at],
            peer_port: ports[2 * at + 1],
            folder: folder.path().join(format!("{name}{}", at + 1)),
            process: None,
        });
        let token = format!("conformance-{}", ports[0]);
        Ok(Self { program: program.clone(), members: members.collect(), token, folder })
    }

    /// The members, running or not.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Which program it runs.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// The folder that holds the members' folders.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of a member for clients.
    #[must_use]
    pub fn url(&self, at: usize) -> String {
        format!("http://127.0.0.1:{}", self.members[at].client_port)
    }

    /// The URLs of all members, in a list with commas.
    #[must_use]
    pub fn urls(&self) -> String {
        (0..MEMBERS).map(|at| self.url(at)).collect::<Vec<_>>().join(",")
    }

    /// The process ids of the members that run.
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.process.as_ref()).map(Process::id).collect()
    }

    /// The command line of a member, without the program itself.
    #[must_use]
    pub fn arguments(&self, at: usize) -> Vec<OsString> {
        let member = &self.members[at];
        let peer_url = |member: &Member| format!("http://127.0.0.1:{}", member.peer_port);
        let all: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}={}", member.name, peer_url(member)))
            .collect();
        let flags = [
            format!("--name={}", member.name),
            format!("--data-dir={}", member.folder.display()),
            format!("--listen-client-urls={}", self.url(at)),
            format!("--advertise-client-urls={}", self.url(at)),
            format!("--listen-peer-urls={}", peer_url(member)),
            format!("--initial-advertise-peer-urls={}", peer_url(member)),
            format!("--initial-cluster={}", all.join(",")),
            "--initial-cluster-state=new".to_owned(),
            format!("--initial-cluster-token={}", self.token),
        ];
        let before = self.program.before.iter().map(OsString::from);
        let words = before.chain(self.program.extra.iter().map(OsString::from));
        words.chain(flags.into_iter().map(OsString::from)).collect()
    }

    /// Starts a member that does not run, on the folder it left.
    pub fn start_member(&mut self, at: usize) -> anyhow::Result<()> {
        let arguments = self.arguments(at);
        let log = self.folder.path().join(format!("{}.log", self.members[at].name));
        let process = Process::start(&self.program.path, &arguments, &log)?;
        self.members[at].process = Some(process);
        Ok(())
    }

    /// Ends a member with SIGKILL. Does nothing if it does not run.
    pub fn kill_member(&mut self, at: usize) -> anyhow::Result<()> {
        self.members[at].process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Sends a signal to a member that runs: SIGSTOP lets it stand still, SIGCONT go on.
    pub fn signal_member(&self, at: usize, signal: Signal) -> anyhow::Result<()> {
        let process = self.members[at].process.as_ref().context("the member does not run")?;
        process.signal(signal)
    }

    /// Asks a member to stop, and gives its process to wait for.
    pub fn terminate_member(&mut self, at: usize) -> anyhow::Result<Process> {
        let process = self.members[at].process.take().context("the member does not run")?;
        process.terminate()?;
        Ok(process)
    }

    /// Waits until a linearizable read through the member is answered.
    pub async fn wait_ready(&mut self, at: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        let mut last = String::new();
        while Instant::now() < deadline {
            self.check_running(at)?;
            match self.read(at).await {
                Ok(()) => return Ok(()),
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(POLL * 5).await;
        }
        let name = &self.members[at].name;
        bail!("{} {name} does not serve after {READY_MAX:?}: {last}", self.program.name)
    }

    /// Fails with a member's own last words if it has ended by itself.
    pub fn check_running(&mut self, at: usize) -> anyhow::Result<()> {
        let member = &mut self.members[at];
        let process = member.process.as_mut().context("the member was not started")?;
        if !process.is_running()? {
            let said = process.said()?;
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            bail!("{} {} ended by itself, saying: {last:#?}", self.program.name, member.name);
        }
        Ok(())
    }

    async fn read(&self, at: usize) -> anyhow::Result<()> {
        let mut client = KvClient::new(connect(&self.url(at), Duration::from_secs(2)).await?);
        let key = Bytes::from_static(b"ready?");
        client.range(RangeRequest { key, ..RangeRequest::default() }).await?;
        Ok(())
    }

    /// What a member says about itself.
    pub async fn status(&self, at: usize) -> anyhow::Result<StatusResponse> {
        let channel = connect(&self.url(at), Duration::from_secs(2)).await?;
        let answer = MaintenanceClient::new(channel).status(StatusRequest {}).await?;
        Ok(answer.into_inner())
    }

    /// The member that leads, as the running members say; waits until one does.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + READY_MAX;
        while Instant::now() < deadline {
            for at in (0..MEMBERS).filter(|&at| self.members[at].process.is_some()) {
                let leads = |status: StatusResponse| {
                    status.header.is_some_and(|header| header.member_id == status.leader)
                };
                if self.status(at).await.is_ok_and(leads) {
                    return Ok(at);
                }
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("no member says that it leads")
    }
}

/// Connects to a member; calls through the channel give up after `patience`.
pub async fn connect(url: &str, patience: Duration) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    let endpoint = endpoint.connect_timeout(patience).timeout(patience).tcp_nodelay(true);
    Ok(endpoint.connect().await?)
}
