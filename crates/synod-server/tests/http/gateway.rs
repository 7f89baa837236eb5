//! The JSON gateway.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::Member;
use super::client::{Answer, Client};

/// The answer without its header, which must be there.
fn content(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    let mut json = answer.json();
    let header = json.as_object_mut().unwrap().remove("header").expect("a header");
    for name in ["cluster_id", "member_id", "raft_term"] {
        let number: u64 = header[name].as_str().unwrap().parse().unwrap();
        assert!(number > 0, "{name}");
    }
    json
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_can_be_used_with_json_alone() {
    let member = Member::start(false).await;
    for mut client in [Client::one(member.address()).await, Client::two(member.address()).await] {
        let begin = client.post("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#).await;
        let revision: i64 = begin.json()["header"]["revision"].as_str().unwrap().parse().unwrap();
        assert_eq!(content(&begin), json!({}));

        let path = "/v3/kv/put";
        let put = client.post(path, r#"{"key":"Zm9v","value":"YmF6","prevKv":true}"#).await;
        assert_eq!(content(&put)["prev_kv"]["value"], "YmFy");
        for path in ["/v3/kv/range", "/v3beta/kv/range"] {
            let range = client.post(path, "{\"key\":\"Zm9v\",\"unheard_of\":1}\0").await;
            let range = content(&range);
            assert_eq!(range["count"], "1");
            assert_eq!(range["kvs"][0]["key"], "Zm9v");
            assert_eq!(range["kvs"][0]["value"], "YmF6");
            assert_eq!(range["kvs"][0]["mod_revision"], (revision + 1).to_string());
            assert_eq!(range["kvs"][0].get("lease"), None, "nothing for zero");
        }
        let txn = r#"{"compare":[{"target":"VALUE","key":"Zm9v","value":"YmF6"}],
            "success":[{"requestRange":{"key":"Zm9v"}},
                       {"request_put":{"key":"YQ==","value":"YQ=="}}]}"#;
        let txn = content(&client.post("/v3/kv/txn", txn).await);
        assert_eq!(txn["succeeded"], true);
        assert_eq!(txn["responses"][0]["response_range"]["count"], "1");
        assert!(txn["responses"][1]["response_put"].is_object());
        let delete = client.post("/v3/kv/deleterange", r#"{"key":"AA==","range_end":"AA=="}"#);
        assert_eq!(content(&delete.await), json!({"deleted": "2"}));
        let status = content(&client.post("/v3/maintenance/status", "{}").await);
        assert!(status["dbSize"].is_string() && status["raftTerm"].is_string(), "{status}");
        let members = content(&client.post("/v3/cluster/member/list", "").await);
        assert_eq!(members["members"][0]["name"], "m");
    }
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_etcds_code_text_and_status() {
    let member = Member::start(false).await;
    // One connection for all: none of it is worth ending one.
    let mut client = Client::one(member.address()).await;
    let garbage = "invalid";
    let table = [
        ("/v3/kv/range", "{}", 400, 3, "etcdserver: key is not provided"),
        ("/v3/kv/range", "", 400, 3, "etcdserver: key is not provided"),
        (
            "/v3/kv/range",
            r#"{"key":"YQ==","revision":"99"}"#,
            400,
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        ("/v3/kv/range", r#"{"key":"!!"}"#, 400, 3, garbage),
        ("/v3/kv/range", r#"{"key":"YQ=="#, 400, 3, "EOF"),
        ("/v3/kv/range", "[]", 400, 3, garbage),
        ("/v3/kv/nonsense", "{}", 404, 5, "Not Found"),
    ];
    for (path, body, status, code, text) in table {
        let answer = client.post(path, body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let json = answer.json();
        assert_eq!(json["code"], code, "{body}");
        assert!(json["message"].as_str().unwrap().contains(text), "{body}: {json}");
        assert_eq!(json["error"], json["message"]);
    }
    let get = client.get("/v3/kv/range").await;
    assert_eq!((get.status, &get.json()["code"]), (StatusCode::NOT_IMPLEMENTED, &12.into()));
    let many =
        r#"{"success":["#.to_owned() + &[r#"{"request_range":{"key":"YQ=="}}"#; 129].join(",");
    let many = client.post("/v3/kv/txn", &(many + "]}")).await;
    assert_eq!(many.json()["message"], "etcdserver: too many operations in txn request");
    let detail = many.headers["grpc-metadata-synod-detail"].to_str().unwrap();
    assert!(detail.contains("129"), "{detail}");
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_pass_and_larger_ones_are_refused() {
    let member = Member::start(false).await;
    let mut client = Client::two(member.address()).await;
    let put = |bytes: usize| format!(r#"{{"key":"YQ==","value":"{}"}}"#, "YWFh".repeat(bytes / 3));
    assert_eq!(client.post("/v3/kv/put", &put(1_500_000)).await.status, StatusCode::OK);
    let text = "etcdserver: request is too large";
    for bytes in [1_600_000, 9_000_000] {
        let answer = client.post("/v3/kv/put", &put(bytes)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.json()["message"], text, "{bytes}");
    }
    let range = client.post("/v3/kv/range", r#"{"key":"YQ=="}"#).await;
    assert_eq!(content(&range)["kvs"][0]["value"].as_str().unwrap().len(), 2_000_000);
    let delete = client.post("/v3/kv/deleterange", r#"{"key":"YQ==","prev_kv":true}"#).await;
    assert_eq!(content(&delete)["prev_kvs"][0]["value"].as_str().unwrap().len(), 2_000_000);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_begins_with_garbage_is_refused_as_a_whole() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    for body in [r#"{"create_request":{"key":"!!"}}"#, r#"{"create_request":"#] {
        let answer = client.post("/v3/watch", body).await;
        assert!(!answer.status.is_success(), "{answer:?}");
        assert!(!answer.json()["message"].as_str().unwrap().is_empty());
    }
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_may_ask_first() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    let origin = [("origin", "http://page.example")];
    let answer = client.ask(Method::OPTIONS, "/v3/kv/range", &origin, "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let allowed = answer.headers["access-control-allow-headers"].to_str().unwrap();
    assert!(allowed.contains("authorization"));
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_takes_objects_as_they_come_and_answers_each_with_a_line() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    let grant = client.post("/v3/lease/grant", r#"{"TTL":"60","ID":"7"}"#).await;
    assert_eq!(content(&grant), json!({"ID": "7", "TTL": "60"}));
    let (requests, mut answers) =
        client.stream("/v3/lease/keepalive", r#"{"ID":"7"}{"ID":"8"}{"I"#).await;
    assert_eq!(answers.status, StatusCode::OK);
    assert_eq!(answers.headers["transfer-encoding"], "chunked");
    let line = answers.line().await.unwrap();
    assert_eq!((&line["result"]["ID"], &line["result"]["TTL"]), (&json!("7"), &json!("60")));
    let line = answers.line().await.unwrap();
    assert_eq!((&line["result"]["ID"], line["result"].get("TTL")), (&json!("8"), None));
    requests.send(r#"D":"7"}"#.into()).unwrap();
    assert_eq!(answers.line().await.unwrap()["result"]["TTL"], "60");
    requests.send("garbage}".into()).unwrap();
    let line = answers.line().await.unwrap();
    assert_eq!((&line["error"]["code"], &line["error"]["http_code"]), (&json!(3), &json!(400)));
    assert_eq!(answers.line().await, None);

    let mut client = Client::one(member.address()).await;
    let both = client.post("/v3/lease/keepalive", r#"{"ID":"7"} {"ID":"7"}"#).await;
    assert_eq!(both.text.lines().count(), 2, "a body that ends, ends the stream: {both:?}");
    member.stop().await;
}

/// As `curl -d` asks: the request is complete, and events go on to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_its_request_has_ended() {
    let member = Member::start(false).await;
    let mut writer = Client::one(member.address()).await;
    for mut client in [Client::one(member.address()).await, Client::two(member.address()).await] {
        let create = r#"{"create_request":{"key":"a2V5"}}"#;
        let (request, mut answers) = client.stream("/v3/watch", create).await;
        drop(request);
        let created = answers.line().await.unwrap();
        assert_eq!(created["result"]["created"], true, "{created}");
        for _ in 0..3 {
            writer.post("/v3/kv/put", r#"{"key":"a2V5","value":"dg=="}"#).await;
            let told = answers.line().await.unwrap();
            assert_eq!(told["result"]["events"][0]["kv"]["key"], "a2V5", "{told}");
        }
    }
    member.stop().await;
}
