//! TLS towards real clients and among members: `curl`, `openssl` and `etcdctl` over loopback.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "tls/certificates.rs"]
mod certificates;
#[path = "tls/floods.rs"]
mod floods;
#[path = "tls/names.rs"]
mod names;
#[path = "members/ports.rs"]
mod ports;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use certificates::{Authority, Pair, Subject};
use clap::Parser;
use synod_server::{Server, ServerConfig, ServerFlags};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

/// Long enough for any machine; only a hang waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

fn config(flags: &[String]) -> ServerConfig {
    let line = [&["synod".to_owned()][..], flags].concat();
    Line::try_parse_from(line).ok().unwrap().flags.check().unwrap()
}

/// A cluster of one, with these listeners and flags.
async fn alone(folder: &Path, flags: &[String]) -> Server {
    let held = ports::one();
    let peer = format!("http://{}", held.local_addr().unwrap());
    let base = [
        format!("--data-dir={}", folder.join("data").display()),
        "--advertise-client-urls=https://127.0.0.1:2379".to_owned(),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        "--heartbeat-interval=100".to_owned(),
        "--election-timeout=5000".to_owned(),
    ];
    let config = config(&[&base, flags].concat());
    drop(held);
    let server = ports::start(config).await;
    timeout(PATIENCE, server.ready()).await.expect("a leader in time");
    server
}

async fn stop(server: Server) {
    timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
}

/// What a program prints, and whether it succeeds; nothing if it is not installed.
async fn run(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    command.args(arguments).env("ETCDCTL_API", "3").stdin(Stdio::null()).kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await.expect("ended in time") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        output => {
            let output = output.unwrap();
            let said = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
    }
}

/// Certificates for a server and two clients, of one authority.
struct Files {
    temp: TempDir,
    ca: Authority,
    ca_file: String,
    server: Pair,
    good: Pair,
    bad: Pair,
}

impl Files {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (dir, ca) = (temp.path(), Authority::new("clients and server"));
        let ca_file = ca.file(dir, "ca.pem").display().to_string();
        let sign = |file: &str, serial| {
            ca.sign(dir, file, &Subject { name: file, serial, ..Subject::default() })
        };
        let (server, good, bad) = (sign("server", 10), sign("good", 11), sign("bad", 12));
        Self { temp, ca, ca_file, server, good, bad }
    }

    fn dir(&self) -> &Path {
        self.temp.path()
    }

    /// The flags of a server that asks for certificates.
    fn flags(&self, urls: &[&str]) -> Vec<String> {
        let mut flags = vec![
            format!("--cert-file={}", self.server.cert.display()),
            format!("--key-file={}", self.server.key.display()),
            format!("--trusted-ca-file={}", self.ca_file),
            "--client-cert-auth".to_owned(),
        ];
        flags.extend(urls.iter().map(|url| (*url).to_owned()));
        flags
    }

    /// Asks with `curl`; true if there is an answer.
    async fn curl(&self, pair: Option<&Pair>, address: SocketAddr, more: &[&str]) -> Option<bool> {
        let url = format!("https://{address}/health");
        let mut arguments = vec!["-sS", "-m", "20", "--cacert", &self.ca_file];
        let paths = pair.map(|pair| (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap()));
        if let Some((cert, key)) = paths {
            arguments.extend(["--cert", cert, "--key", key]);
        }
        arguments.extend(more);
        arguments.push(&url);
        let (ok, said) = run("curl", &arguments).await?;
        assert_eq!(ok, said.contains(r#""health":"true""#), "{said}");
        Some(ok)
    }
}

const CLIENTS: &str = "--listen-client-urls=https://127.0.0.1:0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_clients_speak_tls_with_one_port() {
    let files = Files::new();
    let server = alone(files.dir(), &files.flags(&[CLIENTS])).await;
    let address = server.client_addresses()[0];
    for more in [&["--http1.1"][..], &["--http2"], &["--tls-max", "1.2"], &["--tlsv1.3"]] {
        if let Some(answered) = files.curl(Some(&files.good), address, more).await {
            assert!(answered, "{more:?}");
        }
    }
    assert_ne!(files.curl(None, address, &[]).await, Some(true), "without a certificate");

    let (endpoint, ca) = (format!("https://{address}"), &files.ca_file);
    let (cert, key) = (files.good.cert.to_str().unwrap(), files.good.key.to_str().unwrap());
    let base = ["--endpoints", &endpoint, "--cacert", ca, "--cert", cert, "--key", key];
    for (words, expected) in [(&["put", "k", "v"][..], "OK"), (&["get", "k"], "k\nv")] {
        if let Some((ok, said)) = run("etcdctl", &[&base, words].concat()).await {
            assert!(ok && said.contains(expected), "{said}");
        }
    }
    let plain = ["--endpoints", &endpoint, "--cacert", ca, "--dial-timeout=2s", "get", "k"];
    if let Some((ok, said)) = run("etcdctl", &plain).await {
        assert!(!ok, "{said}");
    }
    let alpn = ["s_client", "-connect", &address.to_string(), "-alpn", "h2", "-CAfile", ca];
    let alpn = [&alpn[..], &["-cert", cert, "-key", key]].concat();
    if let Some((_, said)) = run("openssl", &alpn).await {
        assert!(said.contains("ALPN protocol: h2"), "{said}");
        assert!(said.contains("Verify return code: 0"), "{said}");
    }
    stop(server).await;
}

/// etcd takes a port once for both schemes, and tells clients apart by what they begin with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_speaks_both_with_and_without_tls_where_both_are_asked_for() {
    let files = Files::new();
    let held = ports::one();
    let address = held.local_addr().unwrap();
    drop(held);
    let urls = format!("--listen-client-urls=http://{address},https://{address}");
    let server = alone(files.dir(), &files.flags(&[&urls])).await;
    assert_eq!(server.client_addresses(), [address]);
    for version in ["--http1.1", "--http2"] {
        if let Some(answered) = files.curl(Some(&files.good), address, &[version]).await {
            assert!(answered, "{version}");
        }
    }
    assert_ne!(files.curl(None, address, &[]).await, Some(true), "without a certificate");
    let plain = format!("http://{address}/health");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        if let Some((_, said)) = run("curl", &["-sS", "-m", "20", version, &plain]).await {
            assert!(said.contains(r#""health":"true""#), "{version}: {said}");
        }
    }
    stop(server).await;
}

/// GHSA-3wh4-j44w-pg92: with a separate HTTP listener, etcd's gRPC port let revoked clients in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_clients_are_refused_on_every_listener() {
    let files = Files::new();
    let crl = files.ca.revoke(files.dir(), "crl.pem", &[12]);
    let mut flags = files.flags(&[
        CLIENTS,
        "--listen-client-http-urls=https://127.0.0.1:0",
        "--listen-metrics-urls=https://127.0.0.1:0",
    ]);
    flags.push(format!("--client-crl-file={}", crl.display()));
    let server = alone(files.dir(), &flags).await;
    let [grpc, http] = server.client_addresses()[..] else { panic!("two listeners") };
    let metrics = server.metrics_addresses()[0];
    for address in [http, metrics] {
        assert_ne!(files.curl(Some(&files.good), address, &[]).await, Some(false));
        assert_ne!(files.curl(Some(&files.bad), address, &[]).await, Some(true));
    }
    let endpoint = format!("https://{grpc}");
    for (pair, welcome) in [(&files.good, true), (&files.bad, false)] {
        let (cert, key) = (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap());
        let base = ["--endpoints", &endpoint, "--cacert", &files.ca_file, "--dial-timeout=2s"];
        let rest = ["--cert", cert, "--key", key, "get", "k"];
        if let Some((ok, said)) = run("etcdctl", &[&base[..], &rest].concat()).await {
            assert_eq!(ok, welcome, "{said}");
        }
    }
    // Nobody needs a restart to be shut out, or let in again.
    let rounds: [(&[u64], &Pair, bool); 2] =
        [(&[11, 12], &files.good, false), (&[], &files.bad, true)];
    for (serials, pair, welcome) in rounds {
        files.ca.revoke(files.dir(), "crl.pem", serials);
        let begun = Instant::now();
        while let Some(answered) = files.curl(Some(pair), http, &[]).await {
            if answered == welcome {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{serials:?} was never taken up");
        }
    }
    stop(server).await;
}

/// Who looks at night must see it before clients do: also of a certificate taken up while running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_until_a_certificate_ends_is_a_metric() {
    let files = Files::new();
    let flags = files.flags(&[CLIENTS, "--listen-metrics-urls=http://127.0.0.1:0"]);
    let server = alone(files.dir(), &flags).await;
    let address = server.metrics_addresses()[0];
    let left = seconds_left(address).await;
    assert!(left > 24 * 60 * 60, "{left} s");
    let ended = Subject { name: "server", serial: 13, has_ended: true, ..Subject::default() };
    files.ca.sign(files.dir(), "server", &ended);
    let taken_up = async { while seconds_left(address).await > 0 {} };
    timeout(PATIENCE, taken_up).await.expect("taken up in time");
    stop(server).await;
}

/// What the metrics say of the certificate for clients.
async fn seconds_left(metrics: SocketAddr) -> u64 {
    const NAME: &str = "synod_tls_certificate_expiry_seconds{role=\"client\"} ";
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(NAME));
    line.unwrap_or_else(|| panic!("no {NAME} in {page}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_sockets_and_plain_ports_stand_beside_tls() {
    let files = Files::new();
    let (plain, sealed) = (files.dir().join("plain.sock"), files.dir().join("sealed.sock"));
    let urls = format!(
        "--listen-client-urls=http://127.0.0.1:0,unix://{},unixs://{}",
        plain.display(),
        sealed.display()
    );
    // Left behind by somebody who was killed.
    drop(std::os::unix::net::UnixListener::bind(&plain).unwrap());
    let server = alone(files.dir(), &files.flags(&[&urls])).await;
    let address = server.client_addresses()[0].to_string();
    let (plain_path, sealed_path) = (plain.to_str().unwrap(), sealed.to_str().unwrap());
    let (cert, key) = (files.good.cert.to_str().unwrap(), files.good.key.to_str().unwrap());
    let by_port = format!("http://{address}/health");
    let with_tls =
        ["--cacert", &files.ca_file, "--cert", cert, "--key", key, "https://localhost/health"];
    let lines: [&[&str]; 3] = [
        &[&by_port],
        &["--unix-socket", plain_path, "http://localhost/health"],
        &[&["--unix-socket", sealed_path][..], &with_tls].concat(),
    ];
    for line in lines {
        if let Some((ok, said)) = run("curl", &[&["-sS", "-m", "20"], line].concat()).await {
            assert!(ok && said.contains("true"), "{line:?}: {said}");
        }
    }
    stop(server).await;
    assert!(!plain.exists(), "the path goes away with the server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_form_a_cluster_over_mutual_tls() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, ca) = (temp.path(), Authority::new("members"));
    let ca_file = ca.file(dir, "ca.pem");
    let held = ports::held(3);
    let urls: Vec<String> =
        held.iter().map(|socket| format!("https://{}", socket.local_addr().unwrap())).collect();
    let cluster: Vec<String> = (0..3).map(|at| format!("m{at}={}", urls[at])).collect();
    let mut configs = Vec::new();
    for (at, url) in urls.iter().enumerate() {
        let pair = ca.sign(dir, &format!("m{at}"), &Subject::default());
        configs.push(config(&[
            format!("--name=m{at}"),
            format!("--data-dir={}", dir.join(format!("d{at}")).display()),
            "--listen-client-urls=http://127.0.0.1:0".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            format!("--listen-peer-urls={url}"),
            format!("--initial-advertise-peer-urls={url}"),
            format!("--initial-cluster={}", cluster.join(",")),
            "--heartbeat-interval=100".to_owned(),
            "--election-timeout=5000".to_owned(),
            format!("--peer-cert-file={}", pair.cert.display()),
            format!("--peer-key-file={}", pair.key.display()),
            format!("--peer-trusted-ca-file={}", ca_file.display()),
            "--peer-client-cert-auth".to_owned(),
            "--peer-cert-allowed-cn=m".to_owned(),
        ]));
    }
    drop(held);
    let mut servers = Vec::new();
    for config in configs {
        servers.push(ports::start(config).await);
    }
    for server in &servers {
        timeout(PATIENCE, server.ready()).await.expect("a leader in time");
    }
    for server in servers {
        stop(server).await;
    }
}
