//! Streams of the gateway: JSON objects in, one line `{"result":…}` for each answer out.
//!
//! Both directions are bodies that turn pieces of one form into pieces of the other when they are
//! asked for them: nothing is stored, and who reads slowly is sent slowly.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as _, Frame};
use synod_etcd::json::Call;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;

use super::frames::{self, Frames};
use super::gateway::{bad_json, ended, too_long};
use super::objects::{Objects, TooLong};
use super::refused;
use crate::intake::Share;

/// The requests of a stream, as gRPC frames.
pub(super) struct Requests {
    call: &'static Call,
    body: Body,
    objects: Objects,
    /// What counts of the objects that are not whole.
    share: Option<Share>,
    /// Told once, when something comes that is no request: the answers then end with it.
    failed: Option<oneshot::Sender<Status>>,
}

impl Requests {
    /// Of a body; and where the reason comes out if it is no stream of requests.
    pub(super) fn new(
        call: &'static Call,
        body: Body,
        bytes_max: usize,
        share: Option<Share>,
    ) -> (Self, oneshot::Receiver<Status>) {
        let (failed, reason) = oneshot::channel();
        let objects = Objects::new(bytes_max);
        (Self { call, body, objects, share, failed: Some(failed) }, reason)
    }

    /// The next request that is here already.
    fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let object = self.objects.next();
        let object = object.map_err(|TooLong { bytes_max }| too_long(bytes_max))?;
        object.map(|json| self.encoded(&json)).transpose()
    }

    fn count(&mut self) -> Result<(), Status> {
        let held = self.objects.held();
        self.share.as_mut().map_or(Ok(()), |share| share.hold(held))
    }

    fn encoded(&self, json: &[u8]) -> Result<Bytes, Status> {
        let message = self.call.request(json).map_err(|error| bad_json(&error))?;
        Ok(frames::frame(&message))
    }

    fn fail(&mut self, status: Status) -> Status {
        if let Some(failed) = self.failed.take() {
            // The answers may have ended.
            let _ = failed.send(status.clone());
        }
        status
    }
}

impl hyper::body::Body for Requests {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            match this.next() {
                Ok(Some(frame)) => {
                    // It is less than before.
                    let _ = this.count();
                    return Poll::Ready(Some(Ok(Frame::data(frame))));
                }
                Ok(None) => {}
                Err(status) => return Poll::Ready(Some(Err(this.fail(status)))),
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        this.objects.push(piece);
                        if let Err(status) = this.count() {
                            return Poll::Ready(Some(Err(this.fail(status))));
                        }
                    }
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(this.fail(status)))),
                None => {
                    let Some(rest) = this.objects.rest() else { return Poll::Ready(None) };
                    let result = this.encoded(&rest).map(Frame::data);
                    return Poll::Ready(Some(result.map_err(|status| this.fail(status))));
                }
            }
        }
    }
}

/// The answers of a stream, as lines.
pub(super) struct Lines {
    call: &'static Call,
    body: Body,
    frames: Frames,
    /// Where the reason comes out if the requests fail.
    failed: Option<oneshot::Receiver<Status>>,
    /// Read already, to see whether the stream begins.
    first: Option<Bytes>,
    ended: bool,
}

impl Lines {
    /// Waits for the first answer, so that an error instead of it is one of the whole request.
    pub(super) async fn begin(
        call: &'static Call,
        body: Body,
        failed: Option<oneshot::Receiver<Status>>,
    ) -> Result<Self, Status> {
        let frames = Frames::default();
        let mut lines = Self { call, body, frames, failed, first: None, ended: false };
        lines.first = std::future::poll_fn(|cx| lines.poll_line(cx)).await?;
        lines.ended = lines.first.is_none();
        Ok(lines)
    }

    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        if let Some(failed) = &mut self.failed {
            match Pin::new(failed).poll(cx) {
                Poll::Ready(Ok(status)) => return Poll::Ready(Err(status)),
                // The requests have ended well.
                Poll::Ready(Err(_)) => self.failed = None,
                Poll::Pending => {}
            }
        }
        loop {
            if let Some(answer) = self.frames.next() {
                return Poll::Ready(self.line(answer).map(Some));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(frame) => match frame?.into_data() {
                    Ok(piece) => self.frames.push(&piece),
                    Err(frame) => ended(frame.trailers_ref())?,
                },
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    fn line(&self, answer: Bytes) -> Result<Bytes, Status> {
        let mut line = br#"{"result":"#.to_vec();
        let answered = self.call.answer(answer, &mut line);
        answered.map_err(|error| Status::internal(error.to_string()))?;
        line.extend_from_slice(b"}\n");
        Ok(line.into())
    }
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let line = match ready!(this.poll_line(cx)) {
            Ok(Some(line)) => line,
            Ok(None) => {
                this.ended = true;
                return Poll::Ready(None);
            }
            Err(status) => {
                this.ended = true;
                Bytes::from(format!("{}\n", refused::line(&status)))
            }
        };
        Poll::Ready(Some(Ok(Frame::data(line))))
    }
}

#[cfg(test)]
mod tests;
