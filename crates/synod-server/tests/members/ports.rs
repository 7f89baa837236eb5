//! Ports for members of tests: each must be known to the others before anybody listens on it.
//!
//! One of the system's choosing may be gone again between the moment it is let go and the moment a
//! member takes it, since each connection that goes out takes such a port, too. These lie below
//! them, and each is given out once in a process; processes side by side begin apart.
#![allow(dead_code, reason = "each test program uses its part")]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use synod_server::{Server, ServerConfig, StartError};
use tokio::time::timeout;

/// For a child's way to its own program.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// So many, held until they are dropped.
pub(crate) fn held(count: usize) -> Vec<TcpListener> {
    (0..count).map(|_| one()).collect()
}

/// One of them.
pub(crate) fn one() -> TcpListener {
    let begin = std::process::id().wrapping_mul(977);
    for _ in 0..COUNT {
        let at = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + at).expect("all of them are ports");
        // Somebody else may have it.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener;
        }
    }
    panic!("no port of {COUNT} is free");
}

/// Starts a server on ports that were held a moment ago.
///
/// A program that another test starts right then shares all that this process holds until it
/// becomes its own, the listener that was dropped included: for that moment the port is taken.
/// The ports are the first that a server asks for, so a try that fails leaves nothing behind.
pub(crate) async fn start(config: ServerConfig) -> Server {
    let started = async {
        loop {
            match Server::start(config.clone()).await {
                Err(StartError::Peers(_) | StartError::Listen(_)) => {
                    tokio::task::yield_now().await;
                }
                ended => return ended.unwrap(),
            }
        }
    };
    timeout(PATIENCE, started).await.expect("ports that nobody else has")
}
