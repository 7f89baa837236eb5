//! What can be done to HTTP/2 with frames that cost the sender little. Each flood ends its own
//! connection, or costs nothing, and others are served meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{PATIENCE, alone, stop};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
/// The error of a stream that was one too many.
const REFUSED_STREAM: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET / http`, as the static table of HPACK has it.
const REQUEST: &[u8] = &[0x82, 0x84, 0x86];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Says hello, then sends what it is told to; true if the server ended the connection.
async fn flood(address: SocketAddr, mut next: impl FnMut(u32) -> Vec<u8>, rounds: u32) -> bool {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    // A flood does not wait for answers, but a reader keeps the server's side from filling up.
    let drain = tokio::spawn(async move {
        let mut bytes = vec![0; 1 << 16];
        while matches!(reader.read(&mut bytes).await, Ok(read) if read > 0) {}
    });
    let sent = async {
        writer.write_all(PREFACE).await?;
        writer.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        for round in 0..rounds {
            writer.write_all(&next(round)).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let broke = timeout(PATIENCE, sent).await.expect("taken or refused in time").is_err();
    let ended = broke || drain.is_finished();
    // What was written last may still be on its way to its answer.
    let ended = ended || timeout(std::time::Duration::from_secs(2), drain).await.is_ok();
    is_served(address).await;
    ended
}

/// Somebody else's request.
async fn is_served(address: SocketAddr) {
    let answer = page(address, "/version").await;
    assert!(answer.contains("etcdserver"), "{answer}");
}

/// What is at a path.
async fn page(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("answered in time").unwrap();
    answer
}

const fn odd(round: u32) -> u32 {
    2 * round + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_their_own_connection() {
    let temp = tempfile::tempdir().unwrap();
    let server = alone(temp.path(), &["--listen-client-urls=http://127.0.0.1:0".to_owned()]).await;
    let address = server.client_addresses()[0];

    let endless = |round| match round {
        0 => frame(HEADERS, END_STREAM, 1, REQUEST),
        // A header without indexing, again and again, and never an end.
        _ => frame(CONTINUATION, 0, 1, &[&[0, 1, b'a', 127, 128, 7][..], &[b'x'; 1023]].concat()),
    };
    assert!(flood(address, endless, 20_000).await, "endless CONTINUATION");

    let reset = |round| {
        let stream = odd(round);
        let open = frame(HEADERS, END_STREAM | END_HEADERS, stream, REQUEST);
        [open, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    // Reset faster than they are looked at, the connection ends; else each cost next to nothing.
    let _ = flood(address, reset, 50_000).await;

    let empty = |round| match round {
        0 => frame(HEADERS, END_HEADERS, 1, REQUEST),
        _ => frame(DATA, 0, 1, &[]),
    };
    let _ = flood(address, empty, 50_000).await;
    let _ = flood(address, |_| frame(PING, 0, 0, &[0; 8]), 50_000).await;
    let _ = flood(address, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]), 50_000).await;
    let half = |round| frame(HEADERS, END_HEADERS, odd(round), REQUEST);
    let _ = flood(address, half, 20_000).await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_preface_and_slow_headers_hold_nobody_up() {
    let temp = tempfile::tempdir().unwrap();
    let server = alone(temp.path(), &["--listen-client-urls=http://127.0.0.1:0".to_owned()]).await;
    let address = server.client_addresses()[0];
    let mut held = Vec::new();
    for beginning in [&PREFACE[..7], b"GET / HT", b"", b"GET / HTTP/1.1\r\nhost:"] {
        for _ in 0..25 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            held.push(stream);
        }
    }
    is_served(address).await;
    // None of them holds up the end, either.
    stop(server).await;
}

/// A stream of the gateway is one of its connection, and its watch is one of the member's watches:
/// as many of both as gRPC may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_the_gateway_have_the_bound_of_all_streams() {
    let temp = tempfile::tempdir().unwrap();
    let flags = ["--listen-client-urls=http://127.0.0.1:0", "--max-concurrent-streams=2"];
    let server = alone(temp.path(), &flags.map(str::to_owned)).await;
    let address = server.client_addresses()[0];

    // `POST http` and a literal path.
    let request = [&[0x83, 0x86, 0x04, 9][..], b"/v3/watch"].concat();
    let create = br#"{"create_request":{"key":"YQ=="}}"#;
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for id in [1, 3, 5] {
        bytes.extend(frame(HEADERS, END_HEADERS, id, &request));
        bytes.extend(frame(DATA, 0, id, create));
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let (mut created, mut refused) = (BTreeSet::new(), Vec::new());
    while created.len() < 2 || refused.is_empty() {
        let (kind, id, payload) =
            timeout(PATIENCE, next_frame(&mut stream)).await.expect("a frame in time");
        match kind {
            DATA if String::from_utf8_lossy(&payload).contains("\"created\":true") => {
                created.insert(id);
            }
            RST_STREAM => refused.push((id, payload)),
            _ => {}
        }
    }
    assert_eq!(created, BTreeSet::from([1, 3]));
    assert_eq!(refused[0], (5, vec![0, 0, 0, REFUSED_STREAM]));
    let metrics = page(address, "/metrics").await;
    for line in ["\netcd_debugging_mvcc_watcher_total 2\n", "watch_stream_total 2\n"] {
        assert!(metrics.contains(line), "{line:?} is not in {metrics}");
    }
    drop(stream);
    stop(server).await;
}

/// Its kind, its stream and what it holds.
async fn next_frame(stream: &mut TcpStream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let [long, middle, short, kind, _, id @ ..] = head;
    let length = u32::from_be_bytes([0, long, middle, short]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.unwrap();
    (kind, u32::from_be_bytes(id), payload)
}
