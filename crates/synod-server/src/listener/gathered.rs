//! Many small writes of a connection as few large ones.
//!
//! The HTTP/2 library gives each frame to the socket by itself once it has some hundred bytes. A
//! connection whose thousand streams watch one key has a thousand frames to send at a time, and
//! each would be a call of the system of its own, on both ends.
//!
//! So what is written is gathered, and goes out when the connection has nothing more to do. Before
//! that it steps back once behind the tasks that are ready: those of its own streams among them,
//! which were woken together with it and are about to write, too. Nothing waits for time.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::crew::Hands;

/// The half that the HTTP/2 library reads from and writes to.
pub(super) struct Gathered<S>(Arc<Mutex<Gathering<S>>>);

/// The half that sends what was gathered.
pub(super) struct Sender<S>(Arc<Mutex<Gathering<S>>>);

/// A socket, and what waits for it.
struct Gathering<S> {
    stream: S,
    bytes: Vec<u8>,
    /// How much of that is sent.
    sent: usize,
    /// The connection waits for the socket.
    is_waited_for: bool,
}

/// What waits at most. More goes to the socket at once.
const BYTES_MAX: usize = 64 << 10;
/// Of what comes in such parts there is more.
const LARGE_BYTES: usize = 8 << 10;
/// A connection that has nothing to send keeps no more than this.
const IDLE_BYTES_MAX: usize = 512;

/// Both halves.
pub(super) fn gather<S>(stream: S) -> (Gathered<S>, Sender<S>) {
    let shared = Arc::new(Mutex::new(Gathering {
        stream,
        bytes: Vec::new(),
        sent: 0,
        is_waited_for: false,
    }));
    (Gathered(Arc::clone(&shared)), Sender(shared))
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    /// Notes whether the connection waits for what it asked.
    fn noted<T>(&mut self, polled: Poll<T>) -> Poll<T> {
        self.is_waited_for = polled.is_pending();
        polled
    }

    /// Takes all of it, or nothing until there is room.
    fn poll_take(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.len() + bytes.len() > BYTES_MAX {
            ready!(self.poll_send(context))?;
            if bytes.len() > BYTES_MAX {
                return Pin::new(&mut self.stream).poll_write(context, bytes);
            }
        }
        // More will follow: growing step by step would copy what is there each time.
        if bytes.len() >= LARGE_BYTES {
            self.bytes.reserve_exact(BYTES_MAX - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Sends what waits.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.bytes.len() {
            let rest = &self.bytes[self.sent..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.sent = 0;
        self.bytes.clear();
        if self.bytes.capacity() > IDLE_BYTES_MAX {
            self.bytes = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shut(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncWrite + Unpin> Sender<S> {
    /// Polls a connection and its crew to its end, and sends what it writes. To be called again
    /// with the same `end` if it was dropped before.
    pub(super) async fn drive<C, E>(
        &self,
        mut connection: Pin<&mut C>,
        hands: &mut Hands,
        end: &mut Option<Result<(), E>>,
    ) -> io::Result<()>
    where
        C: Future<Output = Result<(), E>>,
    {
        let mut has_stepped_back = false;
        hands.ring();
        poll_fn(|context| {
            // The socket wakes this task, and not the connection.
            if self.0.lock().is_waited_for {
                hands.ring();
            }
            if end.is_none()
                && let Poll::Ready(result) = hands.poll(connection.as_mut(), context)
            {
                *end = Some(result);
            }
            let mut gathering = self.0.lock();
            let others_write = end.is_none() && !hands.have_all_streams();
            let steps_back = others_write && !gathering.bytes.is_empty() && !has_stepped_back;
            has_stepped_back = steps_back;
            if steps_back {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(gathering.poll_send(context))?;
            if end.is_some() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut gathering = self.0.lock();
        let polled = gathering.poll_take(context, bytes);
        gathering.noted(polled)
    }

    /// What was taken goes out by [`Sender::drive`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        let polled = gathering.poll_shut(context);
        gathering.noted(polled)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::AsyncWriteExt;

    use super::super::crew::Crew;
    use super::*;

    /// A socket that takes so many bytes until it is told to take more.
    #[derive(Debug, Default)]
    struct Narrow {
        room: usize,
        writes: Vec<Vec<u8>>,
        is_shut: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Poll::Pending;
            }
            self.room -= taken;
            self.writes.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_shut = true;
            Poll::Ready(Ok(()))
        }
    }

    fn narrow(room: usize) -> (Gathered<Narrow>, Sender<Narrow>) {
        gather(Narrow { room, ..Narrow::default() })
    }

    /// No stream of the connection has a task of its own.
    fn hands() -> Hands {
        Hands::new(Crew::new())
    }

    fn look<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_a_connection_writes_until_it_waits_is_sent_at_once() {
        let (mut gathered, sender) = narrow(usize::MAX);
        let connection = async move {
            for byte in 0..100 {
                gathered.write_all(&[byte; 300]).await?;
            }
            std::future::pending::<io::Result<()>>().await
        };
        let crew = Crew::new();
        let elsewhere = crew.elsewhere();
        let (mut connection, mut hands, mut end) = (pin!(connection), Hands::new(crew), None);
        let mut drive = pin!(sender.drive(connection.as_mut(), &mut hands, &mut end));
        assert!(look(drive.as_mut()).is_pending());
        assert!(sender.0.lock().stream.writes.is_empty(), "others may write first");
        assert!(look(drive.as_mut()).is_pending());
        let gathering = sender.0.lock();
        let [all] = &gathering.stream.writes[..] else { panic!("{:?}", gathering.stream) };
        let expected: Vec<u8> = (0..100).flat_map(|byte| [byte; 300]).collect();
        assert!(*all == expected);
        assert!(gathering.bytes.capacity() <= IDLE_BYTES_MAX, "its memory is given back");
        drop(elsewhere);
    }

    #[test]
    fn a_connection_that_polls_all_its_streams_waits_for_nobody() {
        let (mut gathered, sender) = narrow(usize::MAX);
        let connection = async move {
            gathered.write_all(b"news").await?;
            std::future::pending::<io::Result<()>>().await
        };
        let (mut connection, mut hands, mut end) = (pin!(connection), hands(), None);
        let drive = pin!(sender.drive(connection.as_mut(), &mut hands, &mut end));
        assert!(look(drive).is_pending());
        assert_eq!(sender.0.lock().stream.writes, [b"news"]);
    }

    #[test]
    fn a_socket_that_takes_no_more_holds_the_connection_back() {
        let (mut gathered, sender) = narrow(1000);
        let written = Arc::new(Mutex::new(0));
        let connection = {
            let written = Arc::clone(&written);
            async move {
                while *written.lock() < 10 * BYTES_MAX {
                    *written.lock() += gathered.write(&[7; 999]).await?;
                }
                gathered.shutdown().await
            }
        };
        let (mut connection, mut hands, mut end) = (pin!(connection), hands(), None);
        let mut drive = pin!(sender.drive(connection.as_mut(), &mut hands, &mut end));
        for _ in 0..10 {
            assert!(look(drive.as_mut()).is_pending());
        }
        assert!(*written.lock() <= BYTES_MAX + 1000, "{}", written.lock());
        let mut turns = 0;
        while look(drive.as_mut()).is_pending() {
            sender.0.lock().stream.room = 10_000;
            turns += 1;
            assert!(turns < 1000, "it goes on when there is room");
        }
        let gathering = sender.0.lock();
        let sent: usize = gathering.stream.writes.iter().map(Vec::len).sum();
        assert_eq!(sent, *written.lock(), "all of it, once");
        assert!(gathering.stream.is_shut && gathering.bytes.is_empty());
    }

    #[test]
    fn what_a_connection_wrote_last_is_sent_after_its_end() {
        let (mut gathered, sender) = narrow(0);
        let connection = async move { gathered.write_all(b"bye").await };
        let (mut connection, mut hands, mut end) = (pin!(connection), hands(), None);
        let first = look(pin!(sender.drive(connection.as_mut(), &mut hands, &mut end)));
        assert!(first.is_pending());
        assert!(matches!(end, Some(Ok(()))));
        sender.0.lock().stream.room = 10;
        // The connection has ended, and is not polled again.
        let sent = look(pin!(sender.drive(connection, &mut hands, &mut end)));
        assert!(matches!(sent, Poll::Ready(Ok(()))));
        assert_eq!(sender.0.lock().stream.writes, [b"bye"]);
    }
}
