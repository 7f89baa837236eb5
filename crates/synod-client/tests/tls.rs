//! The client over TLS: whom it trusts, and whom the member does.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../synod-server/tests/tls/certificates.rs"]
mod certificates;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use certificates::{Authority, Pair, Subject};
use clap::Parser;
use synod_client::{Client, Error, Get, Options, Put, Tls};
use synod_server::{Server, ServerFlags};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

/// A cluster of one that asks for certificates of this authority.
async fn member(folder: &Path, authority: &Path, pair: &Pair) -> Server {
    let socket = socket(folder);
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = format!("http://{}", held.local_addr().unwrap());
    let line = [
        "synod".to_owned(),
        format!("--data-dir={}", folder.join("data").display()),
        format!("--listen-client-urls=https://127.0.0.1:0,{socket}"),
        "--advertise-client-urls=https://127.0.0.1:2379".to_owned(),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        format!("--cert-file={}", pair.cert.display()),
        format!("--key-file={}", pair.key.display()),
        format!("--trusted-ca-file={}", authority.display()),
        "--client-cert-auth".to_owned(),
    ];
    let config = Line::try_parse_from(line).ok().unwrap().flags.check().unwrap();
    drop(held);
    let server = Server::start(config).await.unwrap();
    timeout(PATIENCE, server.ready()).await.expect("a leader in time");
    server
}

/// Where it listens beside the port; the name is one that certificates of tests are for.
fn socket(folder: &Path) -> String {
    format!("unixs://{}", folder.join("localhost").display())
}

/// One certificate for everything, as `openssl req -x509` makes it: members show it, and clients
/// and members trust it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_a_client_trusts_may_speak_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_, pair) = Authority::showing_itself(folder, "itself", &Subject::default());
    let server = member(folder, &pair.cert, &pair).await;
    let port = server.client_addresses()[0].port();
    let pem = fs::read(&pair.cert).unwrap();
    let tls = Tls::new().with_authorities(pem.clone());
    let tls = tls.with_identity(pem, fs::read(&pair.key).unwrap());
    let options = |tls| Options::default().with_tls(tls).with_rounds_max(1);
    for endpoint in [format!("https://localhost:{port}"), socket(folder)] {
        let client = Client::connect([endpoint], options(tls.clone())).await.unwrap();
        client.put(Put::new("k", "v")).await.unwrap();
    }
    // It is good for the names in it, and for no others.
    let other = options(tls.with_server_name("other.example"));
    let client = Client::connect([socket(folder)], other).await.unwrap();
    let reason = client.put(Put::new("k", "x")).await.unwrap_err().to_string();
    assert!(reason.contains("not valid for name"), "{reason}");
    timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_trusts_whom_its_authority_signed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let authority = ours.file(folder, "ours.pem");
    let other = fs::read(theirs.file(folder, "theirs.pem")).unwrap();
    let server_pair = ours.sign(folder, "server", &Subject::default());
    let client_pair = ours.sign(folder, "client", &Subject { serial: 2, ..Subject::default() });
    let strange = theirs.sign(folder, "strange", &Subject { serial: 3, ..Subject::default() });
    let server = member(folder, &authority, &server_pair).await;
    let address = server.client_addresses()[0].to_string();
    let port = server.client_addresses()[0].port();

    let read = |path: &Path| fs::read(path).unwrap();
    let trusting = || Tls::new().with_authorities(read(&authority));
    let shown = |tls: Tls, pair: &Pair| tls.with_identity(read(&pair.cert), read(&pair.key));
    let options = |tls| {
        let limit = Duration::from_secs(2);
        Options::default().with_tls(tls).with_rounds_max(1).with_call_timeout(limit)
    };
    let connect = async |tls| Client::connect([address.clone()], options(tls)).await.unwrap();

    let client = connect(shown(trusting(), &client_pair)).await;
    client.put(Put::new("k", "v")).await.unwrap();
    let endpoints =
        [format!("https://{address}"), format!("https://localhost:{port}"), socket(folder)];
    for endpoint in endpoints {
        let tls = shown(trusting(), &client_pair);
        let client = Client::connect([endpoint], options(tls)).await.unwrap();
        assert_eq!(client.get(Get::key("k")).await.unwrap().kvs[0].value, "v");
    }
    let insecure = shown(Tls::new().without_verification(), &client_pair);
    assert_eq!(connect(insecure).await.get(Get::key("k")).await.unwrap().count, 1);

    let refused = async |tls| connect(tls).await.put(Put::new("k", "x")).await.unwrap_err();
    let not_ours = shown(Tls::new().with_authorities(other), &client_pair);
    let reason = refused(not_ours).await.to_string();
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    let other_name = shown(trusting(), &client_pair).with_server_name("other.example");
    let reason = refused(other_name).await.to_string();
    assert!(reason.contains("not valid for name"), "{reason}");
    // Whom the member does not trust it cuts off: in TLS 1.3 after the client has begun to write.
    for tls in [trusting(), shown(trusting(), &strange)] {
        let error = refused(tls).await;
        let is_cut = matches!(error, Error::Unreachable { .. } | Error::OutcomeUnknown(_));
        assert!(is_cut, "{error}");
    }
    let found = client.get(Get::key("k")).await.unwrap();
    assert_eq!((found.kvs[0].version, &found.kvs[0].value[..]), (1, &b"v"[..]));

    let no_key = Tls::new().with_identity("no certificate", "no key");
    let refused = Client::connect([address.clone()], options(no_key)).await.unwrap_err();
    let says = refused.to_string();
    assert!(matches!(refused, Error::Endpoint { .. }) && says.contains("TLS: "), "{says}");
    timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
}
