//! The JSON gateway over WebSocket. What is expected is what etcd does, unless a line says more.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use super::client::Client;
use super::{Member, PATIENCE};

const WATCH: &str = r#"{"create_request":{"key":"aw=="}}"#;

/// A conversation.
struct Talk(WebSocketStream<TcpStream>);

/// What comes next.
#[derive(Debug, PartialEq)]
enum Heard {
    Json(Value),
    Close(CloseCode),
}

impl Talk {
    async fn begin(address: SocketAddr, path: &str) -> Self {
        Self::begin_with(address, path, "").await.0
    }

    /// With more headers; and the answer to them.
    async fn begin_with(address: SocketAddr, path: &str, headers: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = ask(&mut stream, path, headers).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let accept = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";
        assert!(head.to_ascii_lowercase().contains(accept), "{head}");
        (Self(WebSocketStream::from_raw_socket(stream, Role::Client, None).await), head)
    }

    async fn say(&mut self, text: &str) {
        let sent = self.0.send(Message::text(text));
        timeout(PATIENCE, sent).await.expect("sent in time").unwrap();
    }

    async fn hear(&mut self) -> Heard {
        let message = timeout(PATIENCE, self.0.next()).await.expect("a message in time");
        match message.expect("an end is told").unwrap() {
            Message::Text(text) => Heard::Json(serde_json::from_str(&text).unwrap()),
            Message::Close(frame) => Heard::Close(frame.unwrap().code),
            other => panic!("{other:?}"),
        }
    }

    async fn json(&mut self) -> Value {
        match self.hear().await {
            Heard::Json(mut json) => {
                let result = json.get_mut("result").map(Value::take);
                let mut content = result.unwrap_or(json);
                content.as_object_mut().unwrap().remove("header");
                content
            }
            Heard::Close(code) => panic!("closed: {code:?}"),
        }
    }
}

/// Sends a handshake, and takes the head of the answer. The key is the one of the RFC.
async fn ask(stream: &mut TcpStream, path: &str, headers: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: keep-alive, Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("an answer in time");
        head.push(byte.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_message_by_message() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    // The method is the gateway's own affair, as in etcd.
    for path in ["/v3/watch?method=POST", "/v3/watch", "/v3beta/watch?method=PUT"] {
        let mut talk = Talk::begin(member.address(), path).await;
        talk.say("").await;
        talk.say(WATCH).await;
        assert_eq!(talk.json().await, json!({"created": true}));
        // Two in one message, and one in two frames: what counts is where objects end.
        talk.say(&format!("{WATCH} {WATCH}")).await;
        assert_eq!(talk.json().await, json!({"created": true, "watch_id": "1"}));
        assert_eq!(talk.json().await, json!({"created": true, "watch_id": "2"}));
        talk.say(r#"{"cancel_request":{"watch_id":2}}"#).await;
        assert_eq!(talk.json().await, json!({"canceled": true, "watch_id": "2"}));
        let (first, second) = (r#"{"cancel_request": "#, r#"{"watch_id":1}}"#);
        let first = Frame::message(first, OpCode::Data(Data::Text), false);
        let second = Frame::message(second, OpCode::Data(Data::Continue), true);
        talk.0.send(Message::Frame(first)).await.unwrap();
        talk.0.send(Message::Frame(second)).await.unwrap();
        assert_eq!(talk.json().await, json!({"canceled": true, "watch_id": "1"}));

        client.post("/v3/kv/put", r#"{"key":"aw==","value":"dg=="}"#).await;
        assert_eq!(talk.json().await["events"][0]["kv"]["value"], "dg==");

        talk.0.close(None).await.unwrap();
        let end = timeout(PATIENCE, talk.0.next()).await.expect("an end in time");
        assert!(matches!(end, None | Some(Ok(Message::Close(_)))), "{end:?}");
    }
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_one_answer_ends_with_it() {
    let member = Member::start(false).await;
    let put = r#"{"key":"aw==","value":"dg=="}"#;
    let table = [
        ("/v3/kv/put?method=POST", put, json!({})),
        ("/v3/kv/range", r#"{"key":"aw==","count_only":true}"#, json!({"count": "1"})),
    ];
    for (path, request, expected) in table {
        let mut talk = Talk::begin(member.address(), path).await;
        talk.say(request).await;
        assert_eq!(talk.json().await, expected, "{path}");
        assert_eq!(talk.hear().await, Heard::Close(CloseCode::Normal));
    }
    let mut talk = Talk::begin(member.address(), "/v3/lease/keepalive?method=POST").await;
    for id in ["77", "78"] {
        talk.0.send(Message::binary(format!(r#"{{"ID":"{id}"}}"#))).await.unwrap();
        assert_eq!(talk.json().await, json!({ "ID": id }), "leases that there are not");
    }
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_a_message_and_then_the_end() {
    let member = Member::start(false).await;
    let long = format!(r#"{{"create_request":{{"key":"{}"}}}}"#, "A".repeat(5 << 20));
    let table = [
        ("/v3/nonsense", "{}", 5, "Not Found"),
        ("/v3/kv/range", "{}", 3, "etcdserver: key is not provided"),
        ("/v3/kv/range", "hello", 3, ""),
        ("/v3/kv/range", r#"{"key":"!!"}"#, 3, ""),
        ("/v3/watch", "hello", 3, ""),
        ("/v3/watch", r#"{"create_request":{"key":"!!"}}"#, 3, ""),
        ("/v3/watch", r#"{"create_request":{"key":"aw"#, 3, ""),
        ("/v3/watch", &long, 3, "etcdserver: request is too large"),
        ("/v3/kv/range", &long, 3, "etcdserver: request is too large"),
    ];
    for (path, request, code, message) in table {
        let what = &request[..request.len().min(40)];
        let mut talk = Talk::begin(member.address(), path).await;
        talk.say(request).await;
        let refused = talk.json().await;
        assert_eq!(refused["code"], code, "{path} {what}: {refused}");
        let told = refused["message"].as_str().unwrap();
        assert!(told.contains(message) && !told.is_empty(), "{path} {what}: {refused}");
        assert_eq!(talk.hear().await, Heard::Close(CloseCode::Normal), "{path} {what}");
    }
    // After something was answered, the refusal has the form that the last line of a stream has.
    let mut talk = Talk::begin(member.address(), "/v3/watch").await;
    talk.say(WATCH).await;
    talk.json().await;
    talk.say("hello").await;
    assert_eq!(talk.json().await["error"]["grpc_code"], 3);
    assert_eq!(talk.hear().await, Heard::Close(CloseCode::Normal));
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_late_misses_nothing() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    let mut talk = Talk::begin(member.address(), "/v3/watch").await;
    talk.say(WATCH).await;
    talk.json().await;
    let value = "A".repeat(256 << 10);
    let put = format!(r#"{{"key":"aw==","value":"{value}"}}"#);
    for _ in 0..40 {
        assert_eq!(client.post("/v3/kv/put", &put).await.status, StatusCode::OK);
    }
    let mut versions = 0;
    while versions < 40 {
        for event in talk.json().await["events"].as_array().unwrap() {
            versions += 1;
            assert_eq!(event["kv"]["version"], versions.to_string());
        }
    }
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_comes_as_a_protocol() {
    let member = Member::start(false).await;
    let mut client = Client::one(member.address()).await;
    for (path, json) in [
        ("/v3/auth/user/add", r#"{"name":"root","password":"r"}"#),
        ("/v3/auth/role/add", r#"{"name":"root"}"#),
        ("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#),
        ("/v3/auth/enable", "{}"),
    ] {
        assert_eq!(client.post(path, json).await.status, StatusCode::OK, "{path}");
    }
    let login = r#"{"name":"root","password":"r"}"#;
    let token = client.post("/v3/auth/authenticate", login).await.json()["token"].clone();
    let token = token.as_str().unwrap();
    let headers = format!("sec-websocket-protocol: Bearer, {token}\r\n");
    let (mut talk, head) = Talk::begin_with(member.address(), "/v3/watch", &headers).await;
    assert!(head.to_ascii_lowercase().contains("sec-websocket-protocol: bearer\r\n"), "{head}");
    talk.say(WATCH).await;
    assert_eq!(talk.json().await, json!({"created": true}));
    let mut talk = Talk::begin(member.address(), "/v3/watch").await;
    talk.say(WATCH).await;
    let refused = talk.json().await;
    assert_eq!((&refused["created"], &refused["canceled"]), (&json!(true), &json!(true)));
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_conversation_stays_a_request() {
    let member = Member::start_with(false, &["--cors=https://ui.example"]).await;
    let table = [
        ("/version", "", "200 "),
        ("/health", "", "200 "),
        ("/v3/watch", "origin: https://evil.example\r\n", "403 "),
        ("/v3/watch", "origin: https://ui.example\r\n", "101 "),
        ("/v3/watch", "sec-websocket-version: 8\r\n", "101 "),
    ];
    for (path, headers, expected) in table {
        let mut stream = TcpStream::connect(member.address()).await.unwrap();
        let head = ask(&mut stream, path, headers).await;
        assert!(head[9..].starts_with(expected), "{path} {headers}: {head}");
    }
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stops_says_so() {
    let member = Member::start(false).await;
    let mut talk = Talk::begin(member.address(), "/v3/watch").await;
    talk.say(WATCH).await;
    talk.json().await;
    let stopping = tokio::spawn(member.stop());
    // The watch may tell of it first.
    loop {
        if let Heard::Close(code) = talk.hear().await {
            assert!(matches!(code, CloseCode::Away | CloseCode::Normal), "{code:?}");
            break;
        }
    }
    stopping.await.unwrap();
}
