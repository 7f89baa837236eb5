//! The development cluster as a newcomer meets it: put and get through the command line, a member
//! killed and started at the prompt, all of it stopped and started again.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// `synod dev` on ports of its own.
struct Dev {
    process: Child,
    prompt: ChildStdin,
    output: BufReader<ChildStdout>,
    endpoints: Vec<String>,
}

fn synod() -> Command {
    Command::new(env!("CARGO_BIN_EXE_synod"))
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn join(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

impl Dev {
    /// Starts it, and waits until it is ready.
    fn start(folder: &Path, ports: &[u16]) -> Self {
        let (client, peer) = ports.split_at(ports.len() / 2);
        let mut process = synod()
            .args(["dev", "--client-ports", &join(client), "--peer-ports", &join(peer)])
            .arg("--data-dir")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut dev = Self {
            prompt: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
            endpoints: client.iter().map(|port| format!("127.0.0.1:{port}")).collect(),
        };
        dev.wait_for("here: ");
        dev
    }

    /// The next line of output that contains this.
    fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let start = seen.len();
            let read = self.output.read_line(&mut seen).unwrap();
            assert_ne!(read, 0, "the output ended without {text:?}:\n{seen}");
            if seen[start..].contains(text) {
                return seen[start..].to_owned();
            }
        }
    }

    /// Types a line at the prompt.
    fn type_line(&mut self, line: &str) {
        writeln!(self.prompt, "{line}").unwrap();
    }

    /// What a client command prints, asked of one member, or of all in order of the ports.
    fn ask(&self, member: Option<usize>, args: &[&str]) -> String {
        let endpoints = match member {
            Some(at) => self.endpoints[at - 1].clone(),
            None => self.endpoints.join(","),
        };
        let output = synod().args(args).args(["--endpoints", &endpoints]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn quit(mut self) {
        self.type_line("quit");
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // After a failed assertion it still runs. Its members end with it.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

#[test]
fn data_survives_a_killed_member_and_a_restart_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports(6);

    let mut dev = Dev::start(folder.path(), &ports);
    assert_eq!(dev.ask(Some(1), &["put", "greeting", "hello"]), "OK\n");
    for member in 1..=3 {
        assert_eq!(dev.ask(Some(member), &["get", "greeting"]), "greeting\nhello\n");
    }

    dev.type_line("kill 1");
    assert_eq!(dev.wait_for("m1"), "m1: stopped\n");
    // The first endpoint is dead: the next one is asked.
    assert_eq!(dev.ask(None, &["put", "while", "away"]), "OK\n");

    dev.type_line("start 1");
    dev.wait_for("m1: running");
    dev.type_line("status");
    dev.wait_for("m3");
    dev.quit();

    let dev = Dev::start(folder.path(), &ports);
    for member in 1..=3 {
        let all = dev.ask(Some(member), &["get", "", "--prefix"]);
        assert_eq!(all, "greeting\nhello\nwhile\naway\n");
    }
    dev.quit();
}

#[test]
fn members_end_with_a_cluster_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports(6);
    let mut dev = Dev::start(folder.path(), &ports);
    dev.type_line("pause 2");
    let paused = dev.wait_for("m2: paused");
    let pid: u32 = paused.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
    drop(dev);
    // The kernel has told the members before it let the test see the end of their parent; a
    // process that is killed may still take a moment to leave.
    let gone = (0..1_000_000).any(|_| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        std::thread::yield_now();
        stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
    });
    assert!(gone, "process {pid} is still there");
}
