//! A stream with its first bytes put back, and with what is wrong in HTTP/2's headers put right.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::authority::Authorities;

/// The stream. Once all is put right, reading it costs nothing more.
pub(super) struct Rewound<S> {
    /// What is to be read before the rest.
    bytes: Vec<u8>,
    stream: S,
    authorities: Option<Authorities>,
}

impl<S> Rewound<S> {
    /// The stream with these bytes before it; of HTTP/2 they are the preface.
    pub(super) fn new(bytes: Vec<u8>, stream: S, is_http2: bool) -> Self {
        Self { bytes, stream, authorities: is_http2.then(Authorities::default) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(authorities) = this.authorities.as_mut().filter(|_| this.bytes.is_empty()) {
            if authorities.is_done() {
                this.authorities = None;
                break;
            }
            let mut chunk = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut chunk))?;
            authorities.take(chunk.filled(), &mut this.bytes);
            if chunk.filled().is_empty() {
                authorities.rest(&mut this.bytes);
                this.authorities = None;
            }
        }
        if this.bytes.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let count = this.bytes.len().min(buffer.remaining());
        buffer.put_slice(&this.bytes[..count]);
        this.bytes.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Read at a time as long as frames are looked at.
const CHUNK: usize = 4096;
