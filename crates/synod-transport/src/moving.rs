//! A socket that moves from the runtime that greeted it to the one that reads it.

use std::net;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{io, mem};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A socket and where it is. What waits in it moves along.
#[derive(Debug)]
pub(crate) enum Moving {
    /// In a runtime.
    Here(TcpStream),
    /// In none.
    Between(net::TcpStream),
    /// A runtime did not give it back, or did not take it.
    Lost,
}

/// What holds such a socket, by itself or inside of TLS.
pub(crate) trait Movable {
    fn socket(&mut self) -> &mut Moving;
}

impl Movable for Moving {
    fn socket(&mut self) -> &mut Moving {
        self
    }
}

impl Movable for TlsStream<Moving> {
    fn socket(&mut self) -> &mut Moving {
        self.get_mut().0
    }
}

impl Moving {
    /// Leaves its runtime.
    pub(crate) fn leave(&mut self) -> io::Result<()> {
        if let Self::Here(stream) = mem::replace(self, Self::Lost) {
            *self = Self::Between(stream.into_std()?);
        }
        Ok(())
    }

    /// Enters the runtime that this is called in.
    pub(crate) fn arrive(&mut self) -> io::Result<()> {
        if let Self::Between(stream) = mem::replace(self, Self::Lost) {
            *self = Self::Here(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    fn here(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        match self {
            Self::Here(stream) => Ok(Pin::new(stream)),
            Self::Between(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Moving {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.here()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Moving {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_shutdown(context)
    }
}
