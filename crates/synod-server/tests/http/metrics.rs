//! `/metrics`, against the table in `docs/metrics.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::Member;
use super::client::Client;

/// Name, type and meaning of every family on the page.
fn families(page: &str) -> BTreeMap<String, (String, String)> {
    let mut families = BTreeMap::new();
    let mut help = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let (named, meaning) = help.take().expect("HELP comes before TYPE");
            assert_eq!(named, name);
            let known = families.insert(name.to_owned(), (kind.to_owned(), meaning.to_owned()));
            assert_eq!(known, None, "{name} is there twice");
        }
    }
    families
}

/// The same in the document.
fn documented() -> BTreeMap<String, (String, String)> {
    let document = include_str!("../../../../docs/metrics.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [name, kind, meaning] = cells[..] else { panic!("{row:?} has not three cells") };
        (name.trim_end_matches('`').to_owned(), (kind.to_owned(), meaning.to_owned()))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_family_is_documented_and_every_line_belongs_to_one() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    client.post("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#).await;
    client.get("/readyz").await;
    let answer = client.get("/metrics").await;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let (families, documented) = (families(&answer.text), documented());
    let missing: Vec<String> = families
        .iter()
        .filter(|(name, what)| documented.get(*name) != Some(what))
        .map(|(name, (kind, meaning))| format!("| `{name}` | {kind} | {meaning} |"))
        .collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks:\n{}", missing.join("\n"));
    for name in documented.keys() {
        assert!(families.contains_key(name), "docs/metrics.md has {name}, the page has not");
    }
    for line in answer.text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap_or_else(|_| panic!("{line:?} has no number"));
        let name = series.split('{').next().unwrap();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|end| {
            let family = name.strip_suffix(end).and_then(|name| families.get(name));
            family.is_some_and(|(kind, _)| kind == "histogram")
        });
        assert!(families.contains_key(name) || of_histogram, "{line:?} belongs to no family");
    }
    member.stop().await;
}

/// As in etcd a member knows itself, too, so that their number is the size of the cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_among_those_that_it_knows() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    let page = client.get("/metrics").await.text;
    let known = |line: &&str| line.starts_with("etcd_network_known_peers{");
    let [known] = page.lines().filter(known).collect::<Vec<_>>()[..] else { panic!("{page}") };
    let [_, local, _, remote, one] = known.split('"').collect::<Vec<_>>()[..] else {
        panic!("{known}");
    };
    assert_eq!((local, one), (remote, "} 1"));
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_from_begin_to_end_and_by_what_they_carry() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    for _ in 0..3 {
        client.post("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#).await;
    }
    client.post("/v3/kv/range", "{}").await;
    let with_version = [("grpc-metadata-client-api-version", "3.6")];
    client.first_line("/v3/lease/keepalive", &with_version, r#"{"ID":"1"}"#).await;
    let page = client.get("/metrics").await.text;
    let labels = |method| {
        format!("grpc_method=\"{method}\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}}")
    };
    let (put, range) = (labels("Put"), labels("Range"));
    for line in [
        format!("grpc_server_started_total{{{put} 3\n"),
        format!("grpc_server_msg_received_total{{{put} 3\n"),
        format!("grpc_server_msg_sent_total{{{put} 3\n"),
        format!("grpc_server_handled_total{{grpc_code=\"OK\",{put} 3\n"),
        format!("grpc_server_handling_seconds_count{{{put} 3\n"),
        format!("grpc_server_handled_total{{grpc_code=\"InvalidArgument\",{range} 1\n"),
        format!("grpc_server_msg_sent_total{{{range} 0\n"),
        format!("grpc_server_handled_total{{grpc_code=\"OK\",{range} 0\n"),
        // Three puts of ten bytes and a keep-alive of two; the range is empty.
        "\netcd_network_client_grpc_received_bytes_total 32\n".to_owned(),
        "etcd_server_client_requests_total{client_api_version=\"3.6\",type=\"stream\"} 1\n"
            .to_owned(),
        "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"} 4\n"
            .to_owned(),
        "grpc_server_started_total{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",\
         grpc_type=\"bidi_stream\"} 0\n"
            .to_owned(),
    ] {
        assert!(page.contains(&line), "{line:?} is not on the page");
    }
    member.stop().await;
}

/// Counted as etcd 3.4 counts the same requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_on_keys_are_counted_in_transactions_and_outside() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    for key in ["YQ==", "Yg==", "Yw=="] {
        client.post("/v3/kv/put", &format!(r#"{{"key":"{key}","value":"YmFy"}}"#)).await;
    }
    client.post("/v3/kv/range", r#"{"key":"YQ=="}"#).await;
    client.post("/v3/kv/deleterange", r#"{"key":"YQ=="}"#).await;
    let branch = r#"[{"request_put":{"key":"ZA==","value":"YQ=="}},
        {"request_range":{"key":"Yg=="}},{"request_delete_range":{"key":"Yw=="}}]"#;
    client.post("/v3/kv/txn", &format!(r#"{{"success":{branch}}}"#)).await;
    let page = client.get("/metrics").await.text;
    for (name, count) in [("range", 2), ("put", 4), ("delete", 2), ("txn", 1)] {
        let line = format!("\netcd_mvcc_{name}_total {count}\n");
        assert!(page.contains(&line), "{line:?} is not on the page");
    }
    assert!(page.contains("\netcd_debugging_mvcc_compact_revision "));
    member.stop().await;
}

/// As etcd names them, and with its idea of what succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_applied_read_and_hashed_is_timed() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    for body in [r#"{"key":"YQ==","value":"YQ=="}"#, r#"{"key":"YQ==","lease":"7"}"#] {
        client.post("/v3/kv/put", body).await;
    }
    client.post("/v3/kv/compaction", r#"{"revision":"2"}"#).await;
    client.post("/v3/kv/compaction", r#"{"revision":"1"}"#).await;
    client.post("/v3/kv/range", r#"{"key":"YQ=="}"#).await;
    client.post("/v3/kv/range", r#"{"key":"YQ==","revision":"99"}"#).await;
    client.post("/v3/maintenance/hash", "{}").await;
    client.post("/v3/maintenance/hashkv", "{}").await;
    client.post("/v3/maintenance/snapshot", "{}").await;
    client.post("/v3/maintenance/alarm", r#"{"action":1,"memberID":"255","alarm":1}"#).await;
    let page = client.get("/metrics").await.text;
    let applied = |op, success, count| {
        let labels = format!("version=\"v3\",op=\"{op}\",success=\"{success}\"");
        format!("etcd_server_apply_duration_seconds_count{{{labels}}} {count}")
    };
    for line in [
        applied("Put", true, 1),
        applied("Put", false, 1),
        applied("Compaction", true, 2),
        applied("Alarm", true, 1),
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds_count 1".to_owned(),
        "etcd_server_range_duration_seconds_count{success=\"true\"} 1".to_owned(),
        "etcd_server_range_duration_seconds_count{success=\"false\"} 1".to_owned(),
        "etcd_mvcc_hash_duration_seconds_count 1".to_owned(),
        "etcd_mvcc_hash_rev_duration_seconds_count 1".to_owned(),
        "etcd_disk_backend_snapshot_duration_seconds_count 1".to_owned(),
        "etcd_debugging_server_alarms{alarm_type=\"NOSPACE\",server_id=\"ff\"} 1".to_owned(),
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "{line:?} is not in {page}");
    }
    member.stop().await;
}

/// Names of metrics in expressions of Prometheus, whatever surrounds them.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let ours = |word: &&str| {
        let prefixes = ["etcd_", "grpc_server_", "process_", "os_", "synod_"];
        prefixes.iter().any(|prefix| word.starts_with(prefix))
    };
    words.filter(ours).map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

/// What the alert rules and the dashboard that etcd publishes are made of.
const PUBLISHED: &str = "
    etcd_disk_backend_commit_duration_seconds_bucket etcd_disk_wal_fsync_duration_seconds_bucket
    etcd_mvcc_db_total_size_in_bytes etcd_mvcc_db_total_size_in_use_in_bytes
    etcd_network_client_grpc_received_bytes_total etcd_network_client_grpc_sent_bytes_total
    etcd_network_peer_received_bytes_total etcd_network_peer_round_trip_time_seconds_bucket
    etcd_network_peer_sent_bytes_total etcd_network_peer_sent_failures_total
    etcd_server_has_leader etcd_server_leader_changes_seen_total
    etcd_server_proposals_applied_total etcd_server_proposals_committed_total
    etcd_server_proposals_failed_total etcd_server_proposals_pending
    etcd_server_quota_backend_bytes grpc_server_handled_total grpc_server_handling_seconds_bucket
    grpc_server_started_total process_resident_memory_bytes";

#[test]
fn alerts_and_dashboards_are_made_of_metrics_that_there_are() {
    let documented = documented();
    for (whose, text) in [
        ("etcd's rules and dashboard", PUBLISHED),
        ("deploy/alerts.yaml", include_str!("../../../../deploy/alerts.yaml")),
        ("deploy/grafana/synod.json", include_str!("../../../../deploy/grafana/synod.json")),
    ] {
        let names = names(text);
        assert!(names.len() > 10, "{whose}");
        for name in names {
            assert!(documented.contains_key(&name), "{whose} has {name}, /metrics has not");
        }
    }
}

#[test]
fn every_alert_leads_to_its_page() {
    let runbooks = include_str!("../../../../docs/runbooks.md");
    let rules = include_str!("../../../../deploy/alerts.yaml");
    let mut alerts = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap().trim();
        assert!(runbooks.contains(&format!("\n## {name}\n")), "{name} has no page");
        let link = format!("runbook_url: docs/runbooks.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&link), "{name} does not lead to its page");
        alerts += 1;
    }
    assert_eq!(alerts, 15, "as many as etcd has");
}
