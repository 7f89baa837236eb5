//! A cluster whose members a client's tests may kill and start: one line each way on a socket.
//!
//! `kill 2` and `start 2` act on a member, `leader` tells which one leads; the answer is `ok`, the
//! number, or `error` with its reason. A member that was started is waited for.

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::Cluster;

/// Takes commands for a cluster until dropped. The address goes to the tests.
#[derive(Debug)]
pub struct Control {
    listener: TcpListener,
}

impl Control {
    /// Listens on a free port.
    pub async fn new() -> anyhow::Result<Self> {
        Ok(Self { listener: TcpListener::bind("127.0.0.1:0").await? })
    }

    /// The port.
    pub fn port(&self) -> anyhow::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Serves one connection after the other, for ever.
    pub async fn serve(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            // A client that goes away in the middle of a line has what it wanted.
            let _ = connection(stream, cluster).await;
        }
    }
}

async fn connection(stream: TcpStream, cluster: &mut Cluster) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match obey(&line, cluster).await {
            Ok(answer) => answer,
            Err(error) => format!("error {error:#}"),
        };
        write.write_all(format!("{}\n", answer.replace('\n', " ")).as_bytes()).await?;
    }
    Ok(())
}

async fn obey(line: &str, cluster: &mut Cluster) -> anyhow::Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["kill", member] => cluster.kill_member(number(member, cluster)?)?,
        ["start", member] => {
            let at = number(member, cluster)?;
            cluster.start_member(at)?;
            cluster.wait_ready(at).await?;
        }
        ["leader"] => return Ok((cluster.leader().await? + 1).to_string()),
        _ => bail!("no command {line:?}"),
    }
    Ok("ok".to_owned())
}

fn number(word: &str, cluster: &Cluster) -> anyhow::Result<usize> {
    let number: usize = word.parse()?;
    let at = number.checked_sub(1).filter(|&at| at < cluster.members().len());
    at.with_context(|| format!("no member {number}"))
}
