//! What must not be in the log is not, whatever is called: passwords, tokens, keys.

use std::io::{self, Write};
use std::sync::Mutex;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tracing::Level;

use super::client::Client as Http;
use super::table::{go_through_as_root, prepare};
use super::{Client, PASSWORD, configs_with, shutdown, start};

/// All that was logged in this process.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct ToLog;

impl Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_holds(text: &str) -> bool {
    let log = LOG.lock().unwrap();
    log.windows(text.len()).any(|window| window == text.as_bytes())
}

/// CVE-2021-28235, GHSA-528j-9r78-wffx and their like: a password that a request carries ends where
/// requests are shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2021_28235_no_password_token_or_key_reaches_the_log() {
    let subscriber = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_writer(|| ToLog);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let key = "key-canary-8fQ2mXv1";
    std::fs::write(temp.path().join("key"), key).unwrap();
    let jwt = format!("--auth-token=jwt,sign-method=HS256,priv-key={}/key", temp.path().display());
    let flags = [&jwt, "--auto-tls", "--listen-client-urls=http://127.0.0.1:0,https://127.0.0.1:0"];
    let configs = configs_with(temp.path(), 1, &flags);
    let servers = start(&configs).await;
    let client = Client::of(&servers[0]).await;
    prepare(&client).await;
    let hash = bcrypt::hash("hashed-canary-1", 4).unwrap();
    let token = client.login("root", PASSWORD).await.unwrap();
    let root = client.with(&token);
    let mut secrets =
        vec![PASSWORD, key, "wrong-canary-77", "new-canary-55", "token-canary-99", &hash];

    client.login("root", "wrong-canary-77").await.unwrap_err();
    root.change_password("both", "new-canary-55").await.unwrap();
    client.with("token-canary-99").put("a").await.unwrap_err();
    let claims = json!({ "username": "root", "revision": 1, "exp": 1 });
    let secret = EncodingKey::from_secret(key.as_bytes());
    let old = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret).unwrap();
    client.with(&old).put("a").await.unwrap_err();
    let mut http = Http::one(client.address).await;
    for (path, json) in [
        ("/v3/auth/user/add", json!({ "name": "h", "hashedPassword": base64(&hash) })),
        ("/v3/auth/authenticate", json!({ "name": "root", "password": PASSWORD })),
        ("/v3/auth/user/add", json!({ "name": 5, "password": "new-canary-55" })),
    ] {
        let headers = [("authorization", token.as_str())];
        http.ask(hyper::Method::POST, path, &headers, json.to_string()).await;
    }
    go_through_as_root(&client, token.clone()).await;
    shutdown(servers).await;

    let fixtures = temp.path().join("m0/fixtures/client");
    let made: Vec<String> = std::fs::read_dir(fixtures)
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .filter(|text| text.contains("PRIVATE KEY"))
        .collect();
    assert!(!made.is_empty(), "a key was made");
    let lines = made.iter().flat_map(|pem| pem.lines()).filter(|line| !line.starts_with('-'));
    secrets.extend(lines);
    let signature = token.rsplit('.').next().unwrap();
    secrets.extend([signature, old.rsplit('.').next().unwrap()]);
    for secret in secrets {
        assert!(!log_holds(secret), "the log holds {secret}");
        assert!(!log_holds(&base64(secret)), "the log holds {secret} in base64");
    }
    // It would have been seen.
    assert!(log_holds("DEBUG"), "nothing was logged");
    tracing::debug!(password = "control-canary", "as a careless line would have it");
    assert!(log_holds("control-canary"));
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(text)
}
