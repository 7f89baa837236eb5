//! Free ports of the loopback address.

use std::net::{Ipv4Addr, TcpListener};

/// As many different ports as asked for, free at the moment of asking.
///
/// All are held until all are found, so none is given twice. Another process could take one before
/// it is used; then a member says that its port is in use, and the command is run again.
pub fn free(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<Vec<_>, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
