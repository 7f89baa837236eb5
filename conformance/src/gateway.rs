//! The JSON gateways of a real etcd and of Synod, field by field.

use serde_json::Value;

use crate::http::{Answer, ask};

/// What is sent, in this order, to both.
pub const REQUESTS: &[(&str, &str)] = &[
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmF6","prevKv":true}"#),
    ("/v3/kv/put", r#"{"key":"Zm9vMg==","value":"","prev_kv":true}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","ignore_value":true}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YQ==","ignore_value":true}"#),
    ("/v3/kv/put", r#"{"value":"YQ=="}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","lease":"77"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","unheard_of":{"deep":[1,2]}}"#),
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA=="}"#),
    ("/v3/kv/range", r#"{"key":"AA==","rangeEnd":"AA==","limit":"1"}"#),
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","limit":1,"keys_only":true}"#),
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","count_only":true}"#),
    (
        "/v3/kv/range",
        r#"{"key":"AA==","range_end":"AA==","sort_order":"DESCEND","sort_target":"MOD"}"#,
    ),
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","sortOrder":2,"sortTarget":3}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"2"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"9999"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"x"}"#),
    ("/v3/kv/range", r#"{"key":"!!"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v""#),
    ("/v3/kv/range", r#"{"key":null}"#),
    ("/v3/kv/range", ""),
    ("/v3/kv/range", "{}"),
    ("/v3/kv/range", r#""text""#),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"target":"VALUE","key":"Zm9v","value":"YmF6"}],
            "success":[{"requestRange":{"key":"Zm9v"}},
                       {"request_put":{"key":"YQ==","value":"YQ=="}}],
            "failure":[{"request_delete_range":{"key":"Zm9v"}}]}"#,
    ),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"target":"CREATE","result":"GREATER","key":"Zm9v","create_revision":"0"}],
            "success":[{"request_delete_range":{"key":"YQ==","prev_kv":true}}]}"#,
    ),
    (
        "/v3/kv/txn",
        r#"{"success":[{"request_txn":{"success":[{"request_range":{"key":"YQ=="}}]}}]}"#,
    ),
    (
        "/v3/kv/txn",
        r#"{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}"#,
    ),
    ("/v3/kv/txn", "{}"),
    ("/v3/kv/deleterange", r#"{"key":"Zm9v","prev_kv":true}"#),
    ("/v3/kv/deleterange", r#"{"key":"Zm9v"}"#),
    ("/v3/kv/deleterange", "{}"),
    ("/v3/kv/compaction", r#"{"revision":"3"}"#),
    ("/v3/kv/compaction", r#"{"revision":"3"}"#),
    ("/v3/kv/compaction", r#"{"revision":"99","physical":true}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"2"}"#),
    ("/v3beta/kv/range", r#"{"key":"Zm9v"}"#),
    ("/v3/cluster/member/list", "{}"),
];

/// A request whose answers differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Where it was sent.
    pub path: &'static str,
    /// What was sent.
    pub body: &'static str,
    /// etcd's answer, without what must differ.
    pub etcd: (u16, Value),
    /// Synod's.
    pub synod: (u16, Value),
}

/// Sends everything to both ports.
pub fn compare(etcd: u16, synod: u16) -> anyhow::Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (path, body) in REQUESTS.iter().copied() {
        let etcd = content(&ask(etcd, "POST", path, body)?)?;
        let synod = content(&ask(synod, "POST", path, body)?)?;
        if etcd != synod {
            differences.push(Difference { path, body, etcd, synod });
        }
    }
    Ok(differences)
}

fn content(answer: &Answer) -> anyhow::Result<(u16, Value)> {
    let mut json: Value = serde_json::from_str(&answer.body)?;
    hide(&mut json);
    // The words about bad JSON are those of a library; that they are refused is what counts.
    let ours = json["message"].as_str().is_some_and(|text| text.starts_with("etcdserver: "));
    if answer.status == 400 && !ours {
        json["message"] = "about the JSON".into();
        json["error"] = "about the JSON".into();
    }
    Ok((answer.status, json))
}

/// Leaves out what no two clusters share.
fn hide(json: &mut Value) {
    const OWN: [&str; 7] =
        ["cluster_id", "member_id", "raft_term", "ID", "peerURLs", "clientURLs", "name"];
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                if OWN.contains(&name.as_str()) {
                    *value = Value::from("there");
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        _ => {}
    }
}
