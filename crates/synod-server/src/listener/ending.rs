//! Answers that end when the server does.
//!
//! An answer that has begun and goes on is a stream: a watch, leases kept alive, a snapshot. It
//! would outlive the server's patience, so it is ended with a status that tells clients to go
//! elsewhere. Answers that are complete are not touched; and a watch is ended by who tells it of
//! everything else.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};

use super::crew::Elsewhere;
use crate::metrics::Followed;
use crate::service::AnswerBody;

/// A body that ends in time.
pub(super) enum Ending {
    /// When it is told to.
    Told(Told),
    /// By itself: a stream that the connection polls.
    ByItself(Followed<AnswerBody>),
}

/// A body that ends when told to.
pub(super) struct Told {
    body: Body,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    /// Its stream has a task of its own.
    _elsewhere: Elsewhere,
}

impl Ending {
    /// A body that ends by this.
    pub(super) fn new(body: Body, stop: CancellationToken, elsewhere: Elsewhere) -> Self {
        let stop = Box::pin(stop.cancelled_owned());
        Self::Told(Told { body, stop, ended: false, _elsewhere: elsewhere })
    }
}

impl Told {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // What is there goes out first.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.stop.as_mut().poll(context));
        self.ended = true;
        let stopped = Status::new(Code::Unavailable, "etcdserver: server stopped");
        let mut trailers = hyper::HeaderMap::new();
        match stopped.add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Told(told) => told.poll_frame(context),
            Self::ByItself(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Told(told) => told.ended || told.body.is_end_stream(),
            Self::ByItself(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Told(told) => told.body.size_hint(),
            Self::ByItself(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::crew::Crew;
    use super::*;

    /// A body that has begun and never goes on.
    struct Stuck;

    impl HttpBody for Stuck {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_a_status_when_the_server_stops() {
        let stop = CancellationToken::new();
        let mut body = Ending::new(Body::new(Stuck), stop.clone(), Crew::new().elsewhere());
        let mut next = look(&mut body);
        assert!(next.is_pending());
        stop.cancel();
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let trailers = frame.unwrap().unwrap().into_trailers().ok().unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        next = look(&mut body);
        assert!(matches!(next, Poll::Ready(None)) && body.is_end_stream());
    }

    /// Asks once, without waiting.
    fn look(body: &mut Ending) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        Pin::new(body).poll_frame(&mut context)
    }
}
