//! The development cluster as a newcomer meets it: put and get through the command line, a member
//! killed and started at the prompt, all of it stopped and started again.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

#[path = "../../synod-server/tests/members/ports.rs"]
mod ports;

use std::io::{BufRead, BufReader, Write};
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
    ports::held(count).iter().map(|listener| listener.local_addr().unwrap().port()).collect()
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

    /// A client command of any member, with the endpoints in the environment.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = synod();
        command.args(args).env("SYNOD_ENDPOINTS", self.endpoints.join(","));
        command
    }

    /// What such a command prints.
    fn tell(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The first lines that a command prints that does not end by itself.
    fn first_lines(&self, count: usize, args: &[&str]) -> Vec<String> {
        let mut running = Killed(self.command(args).stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        lines.take(count).map(Result::unwrap).collect()
    }

    fn quit(mut self) {
        self.type_line("quit");
        assert!(self.process.wait().unwrap().success());
    }
}

/// A process that ends when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
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

/// etcdctl's verbs, and its words.
#[test]
fn the_commands_of_a_client() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), &free_ports(6));

    let granted = dev.tell(&["lease", "grant", "60"]);
    let id = granted.split(' ').nth(1).unwrap();
    assert_eq!(granted, format!("lease {id} granted with TTL(60s)\n"));
    assert_eq!(dev.tell(&["put", "--lease", id, "k", "v"]), "OK\n");
    assert!(dev.tell(&["lease", "timetolive", id, "--keys"]).ends_with("attached keys([k])\n"));
    assert_eq!(dev.tell(&["lease", "list"]), format!("found 1 leases\n{id}\n"));
    let renewed = format!("lease {id} keepalived with TTL(60)\n");
    assert_eq!(dev.tell(&["lease", "keep-alive", "--once", id]), renewed);
    assert_eq!(dev.tell(&["lease", "revoke", id]), format!("lease {id} revoked\n"));
    let expired = format!("lease {id} already expired\n");
    assert_eq!(dev.tell(&["lease", "timetolive", id]), expired);

    let told = dev.first_lines(5, &["watch", "k", "--rev", "2"]);
    assert_eq!(told, ["PUT", "k", "v", "DELETE", "k"]);
    let show = "echo $ETCD_WATCH_EVENT_TYPE of $ETCD_WATCH_KEY";
    let told = dev.first_lines(8, &["watch", "k", "--rev", "2", "--", "sh", "-c", show]);
    let said = |kind: &str| told.contains(&format!("{kind:?} of \"k\""));
    assert!(said("PUT") && said("DELETE"), "{told:?}");

    let stands = dev.command(&["elect", "office", "me"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut holder = Killed(stands);
    let stdout = holder.0.stdout.as_mut().unwrap();
    let held: Vec<_> = BufReader::new(stdout).lines().take(2).map(Result::unwrap).collect();
    assert!(held[0].starts_with("office/") && held[1] == "me", "{held:?}");
    assert_eq!(dev.first_lines(2, &["elect", "office", "-l"]), held);

    let show = "echo $SYNOD_LOCK_TOKEN; exit 7";
    let lock = |shell| ["lock", "jobs", "--", "sh", "-c", shell];
    let first = dev.command(&lock(show)).output().unwrap();
    assert_eq!(first.status.code(), Some(7), "{first:?}");
    let token = |text: &[u8]| std::str::from_utf8(text).unwrap().trim().parse::<i64>().unwrap();
    let second = dev.command(&lock(show)).output().unwrap();
    assert!(token(&second.stdout) > token(&first.stdout), "it rises from holder to holder");
    assert!(dev.tell(&lock("echo $ETCD_LOCK_KEY")).starts_with("jobs/"));

    assert_eq!(dev.tell(&["user", "add", "root:pw"]), "User root created\n");
    assert_eq!(dev.tell(&["role", "add", "r"]), "Role r created\n");
    let grant = ["role", "grant-permission", "r", "readwrite", "p/", "--prefix"];
    assert_eq!(dev.tell(&grant), "Role r updated\n");
    let may = "Role r\nKV Read:\n\t[p/, p0)\nKV Write:\n\t[p/, p0)\n";
    assert_eq!(dev.tell(&["role", "get", "r"]), may);
    dev.tell(&["user", "grant-role", "root", "root"]);
    assert_eq!(dev.tell(&["auth", "enable"]), "Authentication Enabled\n");
    assert!(!dev.command(&["get", "k"]).output().unwrap().status.success());
    let users = dev.tell(&["user", "list", "-w", "json", "--user", "root:pw"]);
    assert!(users.contains("\"users\":[\"root\"]"), "{users}");
    let status = dev.tell(&["auth", "status", "-w", "json"]);
    assert!(status.contains("\"enabled\":true"), "{status}");
    assert_eq!(dev.tell(&["put", "k", "2", "--user", "root:pw"]), "OK\n");
    let disable = ["auth", "disable", "--user", "root", "--password", "pw"];
    assert_eq!(dev.tell(&disable), "Authentication Disabled\n");

    let health = dev.tell(&["endpoint", "health"]);
    assert_eq!(health.matches("is healthy").count(), 3, "{health}");
    let hashes = dev.tell(&["endpoint", "hashkv", "--rev", "3"]);
    let hashes: Vec<_> = hashes.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(hashes, [hashes[0]; 3]);
    assert_eq!(dev.tell(&["alarm", "list"]), "");

    for (args, reason) in [
        (["get", "k", "--cacert", "no/such.pem"], "cannot read no/such.pem"),
        (["get", "k", "--cert", "only.pem"], "--key"),
    ] {
        let refused = dev.command(&args).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(reason), "{said}");
    }
    dev.quit();
}
