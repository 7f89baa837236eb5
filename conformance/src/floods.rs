//! Floods and half-open things: what costs a client little and could cost a member much.
//!
//! Each case says what the member has to do: end the connection, refuse in clear words, or bear it.
//! Beside that, in every case, its memory stays within a bound and somebody else is served. The
//! member runs as a process of its own, with a client port in the clear, one with TLS, and a peer
//! port with TLS.

mod certificates;
mod crowds;
mod gateway;
mod halves;
mod http2;
mod victim;

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use anyhow::ensure;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use crate::bad_input::Finding;
use crate::cluster::Program;
use victim::{Port, Victim};

/// The longest wait for anything; only what hangs waits for it.
const PATIENCE: Duration = Duration::from_secs(90);

/// A connection to a victim.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
type Connection = Box<dyn Stream>;

type Case<'a> = Pin<Box<dyn Future<Output = anyhow::Result<String>> + Send + 'a>>;

/// Tries every flood on a member of its own, in a folder below `parent`.
pub async fn run(program: &Program, parent: &Path) -> anyhow::Result<Vec<Finding>> {
    let victim = &Victim::start(program, parent).await?;
    let mut findings = Vec::new();
    for port in [Port::Plain, Port::Tls] {
        for flood in http2::ALL {
            let input = format!("{}, {}", flood.name, port.name());
            findings.push(tried(victim, input, Box::pin(flood.send(victim, port))).await);
        }
        let name = format!("streams that announce and do not send, {}", port.name());
        findings.push(tried(victim, name, Box::pin(http2::announced(victim, port))).await);
    }
    for bad in gateway::ALL {
        let input = format!("{}, on the gateway", bad.name);
        findings.push(tried(victim, input, Box::pin(bad.send(victim))).await);
    }
    let cases: [(&str, Case<'_>); 7] = [
        ("messages that are no protobuf", Box::pin(gateway::no_protobuf(victim))),
        ("certificates that are no good", Box::pin(certificates::refused(victim))),
        ("idle connections", Box::pin(crowds::idle(victim, Port::Plain))),
        ("idle connections with TLS", Box::pin(crowds::idle(victim, Port::Tls))),
        ("silent connections to the client port", Box::pin(crowds::silent_clients(victim))),
        ("silent connections to the peer port", Box::pin(crowds::silent_peers(victim))),
        ("things half said", Box::pin(halves::all(victim))),
    ];
    for (input, case) in cases {
        findings.push(tried(victim, input.to_owned(), case).await);
    }
    Ok(findings)
}

/// What a case came to; wrong if it took much memory, or if nobody else was served meanwhile.
async fn tried(victim: &Victim, input: String, case: Case<'_>) -> Finding {
    let outcome = async {
        let memory = victim.memory()?;
        let served = victim.served();
        let answer = timeout(2 * PATIENCE, case).await??;
        victim.serves_on(served).await?;
        let grown = memory.grown()?;
        ensure!(grown <= GROWTH_MAX, "{answer}; but memory grew by {grown} bytes at the most");
        Ok(format!("{answer}; memory grew by {} KiB at the most", grown >> 10))
    };
    Finding { input, outcome: outcome.await }
}

/// Reads until the other side ends the connection; what it said.
async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    let reading = async {
        // A reset is an end, too.
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            if said.len() < SAID_MAX {
                said.extend_from_slice(&piece[..count]);
            }
        }
    };
    ensure!(timeout(PATIENCE, reading).await.is_ok(), "the connection stays open");
    Ok(said)
}

/// What a case may cost the member at any time, in bytes.
const GROWTH_MAX: u64 = 192 << 20;
/// Of what a member says, so much is kept.
const SAID_MAX: usize = 64 << 10;
