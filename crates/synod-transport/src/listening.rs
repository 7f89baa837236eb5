//! Ports, taken before anything else starts, so that a port in use is told at once.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Bound sockets that wait for peers.
#[derive(Debug)]
pub struct Listening {
    pub(crate) sockets: Vec<TcpListener>,
}

/// A port could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for peers on {address}: {reason}")]
pub struct BindError {
    /// What was asked for.
    pub address: String,
    /// Why not. It is in the text, so it is not named as a source again.
    pub reason: io::Error,
}

impl Listening {
    /// Takes the ports, each given as `host:port`.
    ///
    /// # Errors
    /// If one of them cannot be had.
    pub async fn bind(addresses: &[String]) -> Result<Self, BindError> {
        let mut sockets = Vec::with_capacity(addresses.len());
        for address in addresses {
            let socket = TcpListener::bind(address)
                .await
                .map_err(|reason| BindError { address: address.clone(), reason })?;
            sockets.push(socket);
        }
        Ok(Self { sockets })
    }

    /// Where they ended up, for ports given as 0.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}
