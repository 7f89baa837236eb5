//! Many connections that do little: idle ones, and ones that never say a word.

use std::net::Ipv4Addr;

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::victim::{Port, Victim};
use super::{Connection, PATIENCE, http2};

/// Another host, as far as the member can tell.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Connections that have said hello and want nothing. What one costs tells what as many cost as the
/// member takes by default.
pub(super) async fn idle(victim: &Victim, port: Port) -> anyhow::Result<String> {
    const CONNECTIONS: u64 = 1000;
    const KIB_MAX: u64 = 64;
    let memory = victim.memory()?;
    let mut held: Vec<Connection> = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = http2::hello(victim, port).await?;
        // Its settings: it has understood the hello.
        let mut settings = [0; 9];
        timeout(PATIENCE, stream.read_exact(&mut settings)).await??;
        held.push(stream);
    }
    let here = victim.figure(OPEN)?;
    ensure!(here >= CONNECTIONS, "{here} of {CONNECTIONS} are counted");
    let each = (memory.kept()? / CONNECTIONS) >> 10;
    ensure!(each <= KIB_MAX, "an idle connection costs {each} KiB");
    let all = (each * 100_000) >> 10;
    Ok(format!("{CONNECTIONS} are held at {each} KiB each: 100,000 would take {all} MiB"))
}

/// Who connects to the client port and says nothing.
pub(super) async fn silent_clients(victim: &Victim) -> anyhow::Result<String> {
    let refused = "synod_client_connections_refused_total{reason=\"crowd\"}";
    let before = victim.figure(refused)?;
    let held = silent(victim, Port::Plain, 4600).await?;
    let strangers = victim.figure("synod_client_strangers")?;
    ensure!(strangers <= 4096, "{strangers} strangers are let in");
    let refused = victim.figure(refused)? - before;
    ensure!(refused >= 500, "{refused} are counted as refused");
    // Somebody comes from elsewhere, and makes them one fewer.
    let mut other = victim.raw(Port::Plain, Ipv4Addr::LOCALHOST).await?;
    other.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let said = super::read_to_end(&mut other).await?;
    ensure!(String::from_utf8_lossy(&said).contains("etcdserver"), "others are not served");
    drop(held);
    Ok(format!("{refused} of 4600 were closed, others are served"))
}

/// Who connects to the peer port and says nothing.
pub(super) async fn silent_peers(victim: &Victim) -> anyhow::Result<String> {
    let before = victim.figure("synod_peer_refused_total")?;
    let held = silent(victim, Port::Peer, 500).await?;
    let strangers = victim.figure("synod_peer_strangers")?;
    ensure!(strangers <= 128, "{strangers} strangers are let in");
    let refused = victim.figure("synod_peer_refused_total")? - before;
    ensure!(refused >= 300, "{refused} are counted as refused");
    // A member comes from elsewhere: it shakes hands with a good certificate.
    victim.connect(Port::Peer).await?;
    drop(held);
    Ok(format!("{refused} of 500 were closed, a member gets in"))
}

async fn silent(victim: &Victim, port: Port, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(victim.raw(port, ELSEWHERE).await?);
    }
    // The last one has been judged when it, or one before it, is closed.
    let closed = async {
        loop {
            for stream in held.iter().rev() {
                let mut byte = [0; 1];
                if matches!(stream.try_read(&mut byte), Ok(0)) {
                    return;
                }
            }
            tokio::time::sleep(crate::process::POLL).await;
        }
    };
    ensure!(timeout(PATIENCE, closed).await.is_ok(), "all {count} are let in");
    Ok(held)
}

const OPEN: &str = "synod_client_connections ";
