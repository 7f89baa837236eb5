//! What begins and does not go on. Each ends within its time; they run side by side, since waiting
//! is all there is to do.

use std::net::Ipv4Addr;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;

use super::victim::{Port, Victim};
use super::{gateway, http2, read_to_end};

/// A beginning, and what is said to it before the end.
struct Half {
    name: &'static str,
    port: Port,
    /// Below TLS, where the port speaks it.
    raw: bool,
    bytes: Vec<u8>,
    answer: &'static str,
}

/// All of them at once.
pub(super) async fn all(victim: &Victim) -> anyhow::Result<String> {
    let halves = halves();
    let (count, mut waiting) = (halves.len(), Vec::new());
    for half in &halves {
        waiting.push(one(victim, half));
    }
    let mut wrong = Vec::new();
    let (ended, call) = tokio::join!(join(waiting), gateway::without_end(victim));
    let call = call.err().context("a call without a message is answered")?;
    ensure!(call.message().contains(UNFINISHED), "a call without a message is told {call}");
    for (half, ended) in halves.iter().zip(ended) {
        if let Err(error) = ended {
            wrong.push(format!("{} {}: {error:#}", half.name, half.port.name()));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    let unfinished = victim.figure("synod_requests_cut_off_total{reason=\"unfinished\"}")?;
    ensure!(unfinished >= 3, "{unfinished} requests are counted as unfinished");
    let silent = victim.figure("synod_client_connections_refused_total{reason=\"silence\"}")?;
    ensure!(silent >= 2, "{silent} connections are counted as silent");
    Ok(format!("{count} beginnings came to an end"))
}

async fn one(victim: &Victim, half: &Half) -> anyhow::Result<()> {
    let said = if half.raw {
        let mut stream = victim.raw(half.port, Ipv4Addr::LOCALHOST).await?;
        stream.write_all(&half.bytes).await?;
        read_to_end(&mut stream).await?
    } else {
        let mut stream = victim.connect(half.port).await?;
        stream.write_all(&half.bytes).await?;
        read_to_end(&mut stream).await?
    };
    let said = String::from_utf8_lossy(&said);
    ensure!(said.contains(half.answer), "it was told {said:?}");
    Ok(())
}

/// Waits for all of them, side by side.
async fn join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|one| Some(Box::pin(one))).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, done) in waiting.iter_mut().zip(&mut done) {
            if let Some(std::task::Poll::Ready(output)) =
                one.as_mut().map(|one| one.as_mut().poll(context))
            {
                (*one, *done) = (None, Some(output));
            }
        }
        let all = waiting.iter().all(Option::is_none);
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

fn halves() -> Vec<Half> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let hello = [http2::PREFACE, &settings].concat();
    let after_hello = |bytes: Vec<u8>| [&hello[..], &bytes].concat();
    let client_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let mut halves = Vec::new();
    for port in [Port::Plain, Port::Tls] {
        let of = |name, bytes, answer| Half { name, port, raw: false, bytes, answer };
        halves.extend([
            of("half a preface", http2::PREFACE[..9].to_vec(), ""),
            of("half a head", b"GET /version HTTP/1.1\r\nhost: ".to_vec(), ""),
            of("a head in frames that stop", after_hello(http2::half_a_head()), ""),
            of("a connection without answers to PING", hello.clone(), ""),
            of("half a body", half_a_body("POST", 1000), UNFINISHED),
        ]);
    }
    let raw = |name, port, bytes: &[u8]| Half {
        name,
        port,
        raw: true,
        bytes: bytes.to_vec(),
        answer: "",
    };
    halves.extend([
        raw("half a TLS handshake", Port::Tls, &client_hello),
        raw("half a TLS handshake", Port::Peer, &client_hello),
        raw("the clear where TLS is spoken", Port::Tls, b"GET / HTTP/1.1\r\n\r\n"),
        raw("the clear where TLS is spoken", Port::Peer, b"synod/px\x01\x00\x01"),
    ]);
    let peer = |name, bytes: &[u8]| Half {
        name,
        port: Port::Peer,
        raw: false,
        bytes: bytes.to_vec(),
        answer: "",
    };
    halves.extend([
        peer("half a greeting", b"synod/px\x01\x00\x01\x19\x00half"),
        peer("a greeting without an end", b"synod/px\x01\x00\x01\xff\xff"),
        peer("half a word", b"syn"),
        peer("nothing", b""),
    ]);
    halves
}

fn half_a_body(method: &str, length: usize) -> Vec<u8> {
    let head = format!(
        "{method} /v3/kv/put HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{{\"key\":"
    );
    head.into_bytes()
}

const UNFINISHED: &str = "the request did not end within 60s";
