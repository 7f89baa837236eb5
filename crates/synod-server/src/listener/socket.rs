//! Sockets that wait for clients: TCP and unix.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use synod_transport::Host;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::config::{SocketConfig, Url};

/// A socket that waits.
#[derive(Debug)]
pub(super) enum Socket {
    /// On a port.
    Tcp(TcpListener),
    /// On a path, which goes away with it.
    Unix(UnixListener, PathBuf),
}

/// A client.
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) async fn bind(url: &Url, options: SocketConfig) -> io::Result<Self> {
        if url.is_unix() {
            let path = PathBuf::from(url.address());
            remove_stale(&path).await?;
            return Ok(Self::Unix(UnixListener::bind(&path)?, path));
        }
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in tokio::net::lookup_host(url.address()).await? {
            match listen(address, options) {
                Ok(socket) => return Ok(Self::Tcp(socket)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The port; a unix socket has none.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// A client, its host, and where it comes from.
    pub(super) async fn accept(&self) -> io::Result<(Accepted, Host, String)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, from) = socket.accept().await?;
                stream.set_nodelay(true)?;
                // A client whose host is gone says nothing, in HTTP/1.1 for ever.
                let probes = TcpKeepalive::new().with_time(PROBE).with_interval(PROBE);
                SockRef::from(&stream).set_tcp_keepalive(&probes)?;
                Ok((Accepted::Tcp(stream), Host::of(from.ip()), from.to_string()))
            }
            Self::Unix(socket, path) => {
                let (stream, _) = socket.accept().await?;
                Ok((Accepted::Unix(stream), Host::Local, path.display().to_string()))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Whoever starts next removes what is left.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn listen(address: SocketAddr, options: SocketConfig) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As the standard library and Go do; --socket-reuse-address asks for what is so anyway.
    socket.set_reuseaddr(true)?;
    if options.reuse_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Removes a socket that nobody listens on any more, and nothing else.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        // Whatever else is wrong with the path, listening there will tell.
        _ => return Ok(()),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

const BACKLOG: u32 = 1024;
/// Before a silent client's host is asked, and between questions.
const PROBE: Duration = Duration::from_secs(15);
