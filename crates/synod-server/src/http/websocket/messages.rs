//! The messages of a client, as the body of a request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tonic::Status;

use super::super::gateway::too_long;
use super::super::objects::{Objects, TooLong};
use crate::intake::Share;

/// A body of what comes.
pub(super) struct Messages {
    received: mpsc::Receiver<Result<Bytes, Status>>,
    /// For a call that has one request: the body ends with it.
    first: Option<First>,
    ended: bool,
}

/// The first object, as far as it has come.
struct First {
    objects: Objects,
    share: Share,
}

impl Messages {
    /// One request after the other.
    pub(super) const fn all(received: mpsc::Receiver<Result<Bytes, Status>>) -> Self {
        Self { received, first: None, ended: false }
    }

    /// One request.
    pub(super) fn first(
        received: mpsc::Receiver<Result<Bytes, Status>>,
        bytes_max: usize,
        share: Share,
    ) -> Self {
        let first = Some(First { objects: Objects::new(bytes_max), share });
        Self { received, first, ended: false }
    }
}

impl First {
    /// Takes a piece; the object, if it is whole with it.
    fn take(&mut self, piece: &[u8]) -> Result<Option<Bytes>, Status> {
        self.objects.push(piece);
        self.share.hold(self.objects.held())?;
        self.objects.next().map_err(|TooLong { bytes_max }| too_long(bytes_max))
    }
}

impl hyper::body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            let piece = match (ready!(this.received.poll_recv(context)), &mut this.first) {
                (Some(Ok(piece)), None) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                (Some(Ok(piece)), Some(first)) => match first.take(&piece).transpose() {
                    Some(piece) => Some(piece),
                    None => continue,
                },
                (other, _) => other,
            };
            this.ended = true;
            return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use super::*;
    use crate::intake::Intake;

    async fn next(body: &mut Messages) -> Option<Result<Bytes, String>> {
        use hyper::body::Body as _;
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        Some(frame.map(|frame| frame.into_data().ok().unwrap()).map_err(|s| s.message().to_owned()))
    }

    #[tokio::test]
    async fn a_call_with_one_request_does_not_wait_for_more() {
        let intake = Arc::new(Intake::default());
        let (pieces, received) = mpsc::channel(4);
        let mut body = Messages::first(received, 100, Share::new(intake.pipe()));
        for piece in ["{\"key\":", "\n", "\"YQ==\"}", "\n"] {
            pieces.send(Ok(Bytes::from_static(piece.as_bytes()))).await.unwrap();
        }
        assert_eq!(next(&mut body).await, Some(Ok("{\"key\":\n\"YQ==\"}".into())));
        assert_eq!(next(&mut body).await, None, "though the client is still there");
        drop(body);
        assert_eq!(intake.bytes(), 0);
    }

    #[tokio::test]
    async fn a_request_that_is_too_long_is_refused() {
        let intake = Arc::new(Intake::default());
        let (pieces, received) = mpsc::channel(1);
        let mut body = Messages::first(received, 10, Share::new(intake.pipe()));
        pieces.send(Ok(Bytes::from_static(b"{\"key\":\"YQ=="))).await.unwrap();
        let refused = next(&mut body).await.unwrap().unwrap_err();
        assert_eq!(refused, "etcdserver: request is too large");
        assert_eq!(next(&mut body).await, None);
    }
}
