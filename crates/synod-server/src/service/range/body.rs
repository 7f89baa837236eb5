//! The body of an answer that was encoded here: pieces of one message or of many, then trailers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tonic::Status;

use crate::service::carried::trailers;

/// What a feed hands over.
#[derive(Debug)]
pub(super) enum Item {
    /// More of the body.
    Data(Bytes),
    /// The end, and how it was reached.
    End(Result<(), Status>),
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct RangeBody {
    /// What comes next.
    next: Option<Item>,
    /// Where more comes from.
    rest: Option<mpsc::Receiver<Item>>,
    ended: bool,
}

impl RangeBody {
    /// All of it is there.
    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self { next: Some(Item::Data(bytes)), rest: None, ended: false }
    }

    /// It begins with this, and goes on with what is fed.
    pub(super) const fn fed(first: Item, rest: mpsc::Receiver<Item>) -> Self {
        Self { next: Some(first), rest: Some(rest), ended: false }
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        if let Some(item) = self.next.take() {
            return Poll::Ready(item);
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(Item::End(Ok(()))) };
        let given_up = || Item::End(Err(Status::aborted("synod: the answer was given up")));
        Poll::Ready(ready!(rest.poll_recv(cx)).unwrap_or_else(given_up))
    }
}

impl hyper::body::Body for RangeBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(self.poll_item(cx)) {
            Item::Data(bytes) => Frame::data(bytes),
            Item::End(result) => {
                self.ended = true;
                Frame::trailers(trailers(result)?)
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
