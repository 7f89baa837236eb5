//! The common name of a client's certificate as the name of a user, with real clients.

use super::certificates::{Pair, Subject};
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
        run("etcdctl", &[&base[..], words].concat()).await
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
