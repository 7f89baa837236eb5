//! The members together: starting, asking, stopping them.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, bail};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use indicatif::ProgressBar;
use synod_client::{Client, Options};
use synod_etcd::proto::etcdserverpb::StatusResponse;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::client;
use crate::dev::member::Member;
use crate::dev::prompt::{Command, HELP};

/// How long the members may take until they have a leader. Making a log's first segments takes
/// most of it.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a member may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the members may take to stop in good order; those that take longer are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to look whether something expected has happened.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Three members, or as many as there are ports.
#[derive(Debug)]
pub(super) struct Cluster {
    folder: PathBuf,
    had_data: bool,
    members: Vec<Member>,
}

impl Cluster {
    /// A cluster in a folder; nothing runs yet.
    pub(super) fn new(
        folder: &Path,
        client_ports: &[u16],
        peer_ports: &[u16],
    ) -> anyhow::Result<Self> {
        let had_data = folder.join("m1").exists();
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let names: Vec<_> = (1..=client_ports.len()).map(|at| format!("m{at}")).collect();
        let peer_urls: Vec<_> =
            peer_ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let peers: Vec<_> =
            names.iter().zip(&peer_urls).map(|(name, url)| format!("{name}={url}")).collect();
        let peers = peers.join(",");
        let members = names.iter().zip(client_ports).zip(&peer_urls);
        let members = members
            .map(|((name, port), url)| Member::new(&folder, name, *port, url, &peers))
            .collect();
        Ok(Self { folder, had_data, members })
    }

    /// Starts every member.
    pub(super) fn start_all(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(Member::start)
    }

    /// Waits until every member answers and follows a leader.
    pub(super) async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let spinner = ProgressBar::new_spinner().with_message("starting three members");
        spinner.enable_steady_tick(Duration::from_millis(100));
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut look = interval(LOOK_INTERVAL);
        while !self.all_follow_a_leader().await {
            if let [news, ..] = self.find_ended().as_slice() {
                bail!("{news}");
            }
            if Instant::now() > deadline {
                bail!(
                    "no leader within {READY_TIMEOUT:?}; the members' logs are in {}",
                    self.folder.display()
                );
            }
            look.tick().await;
        }
        spinner.finish_and_clear();
        Ok(())
    }

    async fn all_follow_a_leader(&self) -> bool {
        for member in &self.members {
            match ask(member).await {
                Some(status) if status.leader != 0 => {}
                _ => return false,
            }
        }
        true
    }

    /// Where everything is, and what to try.
    pub(super) fn banner(&self) -> String {
        let endpoints: Vec<_> = self.members.iter().map(Member::endpoint).collect();
        let first = endpoints.first().copied().unwrap_or_default();
        let last = endpoints.last().copied().unwrap_or_default();
        let found = if self.had_data { " (found again)" } else { "" };
        let synod = program_as_typed();
        format!(
            "synod: {} members are ready to serve client requests\n\
             endpoints:  {}\n\
             data:       {}{found}\n\
             try, in another terminal:\n  \
               {synod} put greeting hello --endpoints {first}\n  \
               {synod} get greeting --endpoints {last}\n  \
               ETCDCTL_API=3 etcdctl get greeting --endpoints {last}\n\
             here: kill 2, start 2, pause 2, resume 2, status, help, quit",
            self.members.len(),
            endpoints.join(","),
            self.folder.display(),
        )
    }

    /// Does what was asked for at the prompt; tells what came of it.
    pub(super) async fn obey(&mut self, command: Command) -> String {
        let done = match command {
            Command::Kill(at) => self.member(at).and_then(Member::kill),
            Command::Start(at) => self.member(at).and_then(Member::start),
            Command::Pause(at) => self.member(at).and_then(Member::pause),
            Command::Resume(at) => self.member(at).and_then(Member::resume),
            Command::Status => return self.status().await.to_string(),
            Command::Help => return HELP.to_owned(),
            Command::Quit => Ok(()),
        };
        match (done, command.member()) {
            (Err(error), _) => format!("{error:#}"),
            (Ok(()), Some(at)) => match self.member(at) {
                Ok(member) => format!("{}: {}", member.name(), member.state()),
                Err(error) => format!("{error:#}"),
            },
            (Ok(()), None) => String::new(),
        }
    }

    /// Which members ended by themselves since the last look.
    pub(super) fn find_ended(&mut self) -> Vec<String> {
        self.members.iter_mut().filter_map(Member::find_ended).collect()
    }

    /// Stops all: in good order if they do so in time.
    pub(super) async fn stop(&mut self) {
        self.members.iter_mut().for_each(Member::ask_to_stop);
        let stopped = async {
            while !self.members.iter_mut().all(Member::has_stopped) {
                sleep(LOOK_INTERVAL).await;
            }
        };
        if timeout(STOP_TIMEOUT, stopped).await.is_err() {
            for member in &mut self.members {
                // It fails for those that have stopped.
                drop(member.kill());
            }
        }
    }

    fn member(&mut self, at: usize) -> anyhow::Result<&mut Member> {
        let count = self.members.len();
        let member = at.checked_sub(1).and_then(|at| self.members.get_mut(at));
        member.with_context(|| format!("there is no member {at}, only 1 to {count}"))
    }

    async fn status(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["member", "process", "endpoint", "role", "round", "chosen", "revision"]);
        for member in &self.members {
            let mut row = vec![member.name().to_owned(), member.state()];
            row.push(member.endpoint().to_owned());
            if let Some(status) = ask(member).await {
                let header = status.header.unwrap_or_default();
                let role = match status.leader {
                    0 => "no leader",
                    leader if leader == header.member_id => "leader",
                    _ => "follower",
                };
                row.push(role.to_owned());
                row.push(status.raft_term.to_string());
                row.push(status.raft_index.to_string());
                row.push(header.revision.to_string());
            }
            table.add_row(row);
        }
        table
    }
}

/// How to call this program from here; it may not be where the shell looks.
fn program_as_typed() -> String {
    let found = || {
        let program = env::current_exe().ok()?;
        let here = env::current_dir().ok()?;
        Some(program.strip_prefix(here).unwrap_or(&program).display().to_string())
    };
    found().unwrap_or_else(|| "synod".to_owned())
}

async fn ask(member: &Member) -> Option<StatusResponse> {
    if !member.is_running() {
        return None;
    }
    let options = Options::default().with_call_timeout(ASK_TIMEOUT).with_rounds_max(1);
    let asked = Client::connect([member.endpoint()], options).await.ok()?;
    client::status(&asked).await.ok()
}
