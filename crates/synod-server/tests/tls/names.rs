//! The common name of a client's certificate as the name of a user, with real clients.

use super::certificates::{Authority, Pair, Subject};
use super::{CLIENTS, Files, alone, run, stop};

/// One who asks with a certificate.
struct Asker<'a> {
    endpoint: &'a str,
    ca: &'a str,
    pair: &'a Pair,
}

impl Asker<'_> {
    /// What `etcdctl` says, and whether it succeeds; none if it is not installed.
    async fn etcdctl(&self, words: &[&str]) -> Option<(bool, String)> {
        let (cert, key) = (self.pair.cert.to_str().unwrap(), self.pair.key.to_str().unwrap());
        let base =
            ["--endpoints", self.endpoint, "--cacert", self.ca, "--cert", cert, "--key", key];
        let patient = ["--dial-timeout=25s", "--command-timeout=25s"];
        run("etcdctl", &[&base[..], &patient, words].concat()).await
    }

    /// What the gateway says to this, with more headers.
    async fn gateway(&self, path: &str, json: &str, more: &[&str]) -> Option<String> {
        let (cert, key) = (self.pair.cert.to_str().unwrap(), self.pair.key.to_str().unwrap());
        let url = format!("{}{path}", self.endpoint);
        let base = ["-sS", "-m", "20", "--cacert", self.ca, "--cert", cert, "--key", key];
        let words = [&base[..], &["-d", json], more, &[&url]].concat();
        Some(run("curl", &words).await?.1)
    }
}

/// With --client-cert-auth the name in a certificate is the user of a gRPC call without a token,
/// and of nothing that comes through the gateway (CVE-2018-16886).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_in_a_certificate_is_a_user_over_grpc_and_nobody_over_the_gateway() {
    let files = Files::new();
    let root = files.ca.sign(
        files.dir(),
        "root",
        &Subject { name: "root", serial: 13, ..Subject::default() },
    );
    let mut flags = files.flags(&[CLIENTS]);
    flags.push("--bcrypt-cost=4".to_owned());
    let server = alone(files.dir(), &flags).await;
    let endpoint = format!("https://{}", server.client_addresses()[0]);
    let by = |pair| Asker { endpoint: &endpoint, ca: &files.ca_file, pair };
    let (root, good, bad) = (by(&root), by(&files.good), by(&files.bad));
    for words in [
        &["user", "add", "root:pw"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "good", "--no-password"],
        &["role", "add", "r"],
        &["role", "grant-permission", "r", "readwrite", "k"],
        &["user", "grant-role", "good", "r"],
        &["auth", "enable"],
    ] {
        let Some((ok, said)) = root.etcdctl(words).await else { return stop(server).await };
        assert!(ok, "{words:?}: {said}");
    }
    const DENIED: &str = "etcdserver: permission denied";
    let table: [(&Asker<'_>, &[&str], &str); 8] = [
        (&good, &["put", "k", "v"], "OK"),
        (&good, &["get", "k"], "k\nv"),
        (&good, &["put", "x", "v"], DENIED),
        (&good, &["user", "list"], DENIED),
        (&bad, &["put", "k", "v"], DENIED),
        (&root, &["put", "x", "v"], "OK"),
        // A token goes before the certificate.
        (&good, &["--user=root:pw", "put", "x", "v"], "OK"),
        (&root, &["lease", "grant", "60"], "granted"),
    ];
    for (asker, words, expected) in table {
        let (_, said) = asker.etcdctl(words).await.unwrap();
        assert!(said.contains(expected), "{words:?}: {said}");
    }

    let put = r#"{"key":"eA==","value":"eA=="}"#;
    if let Some(said) = root.gateway("/v3/kv/put", put, &[]).await {
        assert!(said.contains("etcdserver: user name is empty"), "{said}");
        let login = r#"{"name":"root","password":"pw"}"#;
        let said = root.gateway("/v3/auth/authenticate", login, &[]).await.unwrap();
        let token = said.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let header = format!("Authorization: {}", token.expect("a token"));
        let said = good.gateway("/v3/kv/put", put, &["-H", &header]).await.unwrap();
        assert!(said.contains("revision") && !said.contains("error"), "{said}");
        // Nor does a client become root by claiming to be a gateway.
        let header = "Grpc-Metadata-grpcgateway-authorization: root";
        let said = good.gateway("/v3/kv/put", put, &["-H", header]).await.unwrap();
        assert!(said.contains("etcdserver: user name is empty"), "{said}");
    }
    stop(server).await;
}

/// One certificate, signed by itself, is the authority, the server's and the client's, and its name
/// is a user: so etcd's own tests have it. While users come and go, writes go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_itself_may_be_who_asks() {
    let temp = tempfile::tempdir().unwrap();
    let subject = Subject { name: "root", ..Subject::default() };
    let (_, pair) = Authority::showing_itself(temp.path(), "root", &subject);
    let (cert, key) = (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap());
    let flags = [
        CLIENTS.to_owned(),
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={cert}"),
        format!("--cert-file={cert}"),
        format!("--key-file={key}"),
        "--bcrypt-cost=4".to_owned(),
    ];
    let server = alone(temp.path(), &flags).await;
    let endpoint = format!("https://{}", server.client_addresses()[0]);
    let root = Asker { endpoint: &endpoint, ca: cert, pair: &pair };
    let all = async |lines: &[&[&str]]| {
        for words in lines {
            let Some((ok, said)) = root.etcdctl(words).await else { return false };
            assert!(ok, "{words:?}: {said}");
        }
        true
    };
    let enable: [&[&str]; 3] =
        [&["user", "add", "root:pw"], &["user", "grant-role", "root", "root"], &["auth", "enable"]];
    if all(&enable).await {
        let users: [&[&str]; 2] = [&["user", "add", "x:y"], &["user", "delete", "x"]];
        let keys: [&[&str]; 2] = [&["put", "k", "v"], &["del", "k"]];
        let (users, keys) = (users.repeat(5), keys.repeat(5));
        tokio::join!(all(&users), all(&keys));
    }
    stop(server).await;
}
