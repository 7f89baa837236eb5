//! Free ports of the loopback address, below those that connections that go out are given.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::ensure;

const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;
/// Where the next search begins; processes side by side begin apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// As many different ports as asked for, free at the moment of asking.
///
/// Each is given out once in a process. Another process could listen on one before it is used;
/// then a member says that its port is in use, and the command is run again.
///
/// # Errors
/// If so many are not free.
pub fn free(count: usize) -> anyhow::Result<Vec<u16>> {
    let begin = std::process::id().wrapping_mul(977);
    let mut ports = Vec::new();
    for _ in 0..COUNT {
        if ports.len() == count {
            break;
        }
        let at = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + at)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
    }
    ensure!(ports.len() == count, "{} ports of {COUNT} are free; needed are {count}", ports.len());
    Ok(ports)
}
