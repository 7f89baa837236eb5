//! One member of the development cluster: its process.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::dev::log_tail;
use crate::family;

/// A member and, while it runs, its process.
#[derive(Debug)]
pub(super) struct Member {
    name: String,
    arguments: Vec<String>,
    endpoint: String,
    log: PathBuf,
    state: State,
}

/// Whether there is a process. Only the owner of a [`Child`] reaps it, so its id stays its own.
#[derive(Debug)]
enum State {
    Stopped,
    Running(Child),
    Paused(Child),
    /// It ended without being told to.
    Died(ExitStatus),
}

impl Member {
    /// A member that does not run yet. `cluster` is etcd's `name=url,…`.
    pub(super) fn new(
        folder: &Path,
        name: &str,
        client_port: u16,
        peer_url: &str,
        cluster: &str,
    ) -> Self {
        let endpoint = format!("http://127.0.0.1:{client_port}");
        let data = folder.join(name).to_string_lossy().into_owned();
        let arguments = [
            ("--name", name),
            ("--data-dir", &data),
            ("--listen-client-urls", &endpoint),
            ("--advertise-client-urls", &endpoint),
            ("--listen-peer-urls", peer_url),
            ("--initial-advertise-peer-urls", peer_url),
            ("--initial-cluster", cluster),
            ("--initial-cluster-token", "synod-dev"),
            ("--initial-cluster-state", "new"),
            // It is people who read it here.
            ("--log-format", "console"),
        ];
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag, value]);
        Self {
            name: name.to_owned(),
            arguments: arguments.map(str::to_owned).collect(),
            endpoint,
            log: folder.join(format!("{name}.log")),
            state: State::Stopped,
        }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it does, in a word or two.
    pub(super) fn state(&self) -> String {
        match &self.state {
            State::Stopped => "stopped".to_owned(),
            State::Running(child) => format!("running, pid {}", child.id()),
            State::Paused(child) => format!("paused, pid {}", child.id()),
            State::Died(status) => format!("died, {status}"),
        }
    }

    /// Whether it may answer.
    pub(super) const fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// Starts its process.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        if self.child().is_some() {
            bail!("{} is {}", self.name, self.state());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let program = std::env::current_exe().context("cannot find the program of synod")?;
        let mut command = Command::new(program);
        command.arg("server").args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        family::tie(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        self.state = State::Running(child);
        Ok(())
    }

    /// Ends its process at once, as a power cut would.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Running(mut child) | State::Paused(mut child) => {
                child.kill().with_context(|| format!("cannot kill {}", self.name))?;
                child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
                Ok(())
            }
            State::Stopped | State::Died(_) => bail!("{} does not run", self.name),
        }
    }

    /// Stops the clock of its process.
    pub(super) fn pause(&mut self) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Running(child) => {
                let sent = signal(&child, Signal::STOP);
                self.state =
                    if sent.is_ok() { State::Paused(child) } else { State::Running(child) };
                sent
            }
            other => {
                self.state = other;
                bail!("{} is {}", self.name, self.state());
            }
        }
    }

    /// Lets its process go on.
    pub(super) fn resume(&mut self) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Paused(child) => {
                let sent = signal(&child, Signal::CONT);
                self.state =
                    if sent.is_ok() { State::Running(child) } else { State::Paused(child) };
                sent
            }
            other => {
                self.state = other;
                bail!("{} is {}", self.name, self.state());
            }
        }
    }

    /// Asks its process to end in good order.
    pub(super) fn ask_to_stop(&mut self) {
        // A paused process must run to hear it. One that cannot be asked is killed later.
        drop(self.resume());
        if let Some(child) = self.child() {
            drop(signal(child, Signal::TERM));
        }
    }

    /// Whether its process ended after it was asked to.
    pub(super) fn has_stopped(&mut self) -> bool {
        match self.child().map(Child::try_wait) {
            Some(Ok(None)) => false,
            Some(_) => {
                self.state = State::Stopped;
                true
            }
            None => true,
        }
    }

    /// If its process ended by itself: that it did, and what it said last.
    pub(super) fn find_ended(&mut self) -> Option<String> {
        let status = self.child()?.try_wait().ok().flatten()?;
        self.state = State::Died(status);
        let said = fs::File::open(&self.log).and_then(log_tail::last_lines);
        let said = said.unwrap_or_else(|error| format!("its log cannot be read: {error}"));
        Some(format!("{} died: {status}\n{said}  (all of it: {})", self.name, self.log.display()))
    }

    const fn child(&mut self) -> Option<&mut Child> {
        match &mut self.state {
            State::Running(child) | State::Paused(child) => Some(child),
            State::Stopped | State::Died(_) => None,
        }
    }
}

fn signal(child: &Child, signal: Signal) -> anyhow::Result<()> {
    kill_process(Pid::from_child(child), signal).context("cannot signal the process")
}
