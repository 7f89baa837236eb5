//! `/health`, `/livez` and `/readyz`.

use hyper::{Method, StatusCode};

use super::Member;
use super::client::Client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_serves_is_alive_and_ready() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    for path in ["/livez", "/readyz", "/readyz/linearizable_read", "/livez/event_loop"] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "ok\n"), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    let verbose = client.get("/readyz?verbose&exclude=non_learner&exclude=unheard_of").await;
    let expected = "[+]data_corruption ok\n[+]formed ok\n[+]leader_known ok\n\
                    [+]applied_caught_up ok\n[+]store_flusher ok\n\
                    [+]serializable_read ok\n[+]linearizable_read ok\nok\n";
    assert_eq!(verbose.text, expected);
    for path in ["/health", "/health?serializable=true", "/health?exclude=NOSPACE"] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.text, r#"{"health":"true","reason":""}"#);
    }
    let post = client.ask(Method::POST, "/readyz", &[], "").await;
    assert_eq!(
        (post.status, &post.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET".parse().unwrap())
    );
    assert_eq!(client.get("/readyz/nonsense").await.status, StatusCode::NOT_FOUND);
    let metrics = client.get("/metrics").await.text;
    for line in [
        "\netcd_server_health_success 3\n",
        "\netcd_server_healthcheck{type=\"livez\",name=\"event_loop\"} 1\n",
        "\netcd_server_healthchecks_total{type=\"readyz\",name=\"linearizable_read\",\
         status=\"success\"} 3\n",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in {metrics}");
    }
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_quorum_is_alive_and_not_ready() {
    let member = Member::start(true).await;
    let mut client = Client::one(member.address()).await;
    assert_eq!(client.get("/livez").await.status, StatusCode::OK);
    let path = "/readyz?exclude=linearizable_read";
    let ready = client.get(path).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text.contains("[-]leader_known failed: no leader is known\n"), "{ready:?}");
    assert!(ready.text.contains("[+]serializable_read ok\n"), "what passed is shown, too");
    let formed = client.get("/readyz/formed").await;
    assert_eq!(formed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(formed.text.ends_with("have met; still to meet: n, o\n\n"), "{formed:?}");
    let without = client.get("/readyz?exclude=formed&exclude=linearizable_read").await;
    assert!(!without.text.contains("formed"), "{without:?}");
    assert!(client.get("/metrics").await.text.contains("\nsynod_formed 0\n"));
    let health = client.get("/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.text, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n");
    assert_eq!(client.get("/health?serializable=true").await.status, StatusCode::OK);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_for_metrics_serves_nothing_else() {
    let flags = ["--listen-metrics-urls=http://127.0.0.1:0", "--host-whitelist=db.example"];
    let member = Member::start_with(false, &flags).await;
    let mut client = Client::one(member.server.metrics_addresses()[0]).await;
    for path in ["/metrics", "/health", "/livez", "/readyz"] {
        assert_eq!(client.get(path).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/version", "/v3/kv/range", "/"] {
        assert_eq!(client.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let put = client.post("/v3/kv/put", r#"{"key":"Zm9v"}"#).await;
    assert_eq!(put.status, StatusCode::NOT_FOUND);
    let grpc = [("content-type", "application/grpc")];
    let range = client.ask(Method::POST, "/etcdserverpb.KV/Range", &grpc, "").await;
    assert_eq!(range.status, StatusCode::NOT_FOUND);
    let mut client = Client::one(member.address()).await;
    let rebound = client.get("/health").await;
    assert_eq!(rebound.status, StatusCode::MISDIRECTED_REQUEST, "the client port asks for a name");
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_variables_of_etcd_are_told() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    let vars = client.get("/debug/vars").await;
    assert_eq!(vars.status, StatusCode::OK);
    let vars = vars.json();
    assert!(vars["file_descriptor_limit"].as_u64().unwrap() > 0, "{vars}");
    assert!(vars["cmdline"][0].is_string(), "{vars}");
    let status = &vars["raft.status"];
    assert_eq!((&status["raftState"], &status["lead"]), (&"StateLeader".into(), &status["id"]));
    assert!(status["applied"].as_u64().unwrap() > 0, "{vars}");
    let post = client.ask(Method::POST, "/debug/vars", &[], "").await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_can_be_switched_off() {
    let member = Member::start_with(false, &["--enable-grpc-gateway=false"]).await;
    let mut client = Client::one(member.address()).await;
    let put = client.post("/v3/kv/put", r#"{"key":"Zm9v"}"#).await;
    assert_eq!((put.status, put.text.as_str()), (StatusCode::NOT_FOUND, "404 page not found\n"));
    assert_eq!(client.get("/health").await.status, StatusCode::OK);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_make_a_member_unhealthy_and_only_corruption_makes_it_unready() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    let list = client.post("/v3/cluster/member/list", "{}").await.json();
    let id = list["members"][0]["ID"].as_str().unwrap().to_owned();
    for (alarm, ready) in
        [("NOSPACE", StatusCode::OK), ("CORRUPT", StatusCode::SERVICE_UNAVAILABLE)]
    {
        let raise = format!(r#"{{"action":"ACTIVATE","memberID":"{id}","alarm":"{alarm}"}}"#);
        let raised = client.post("/v3/maintenance/alarm", &raise).await;
        assert_eq!(raised.json()["alarms"][0]["alarm"], alarm, "{raised:?}");
        let health = client.get("/health").await;
        assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE, "{alarm}");
        let text = format!("{{\"health\":\"false\",\"reason\":\"ALARM {alarm}\"}}\n");
        assert_eq!(health.text, text);
        let excluded = client.get(&format!("/health?exclude={alarm}")).await;
        assert_eq!(excluded.status, StatusCode::OK, "{alarm}");
        let checked = client.get("/readyz/data_corruption").await;
        assert_eq!(checked.status, ready, "{checked:?}");
        assert_eq!(client.get("/livez").await.status, StatusCode::OK, "{alarm}");
        let lower = raise.replace("ACTIVATE", "DEACTIVATE");
        assert_eq!(client.post("/v3/maintenance/alarm", &lower).await.status, StatusCode::OK);
    }
    assert_eq!(client.get("/health").await.status, StatusCode::OK);
    member.stop().await;
}
