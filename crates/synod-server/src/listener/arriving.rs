//! Requests as they arrive: what has not come to its end is counted, and has a time to.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::Request;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use synod_etcd::json::{self, Call, Streaming};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::intake::{Pipe, REQUEST, Share};
use crate::service::is_grpc;

/// A body that is counted while it arrives.
pub(super) struct Arriving<B> {
    body: B,
    form: Form,
    head: Head,
    /// Bytes of one message that may ever be held: the rest is refused elsewhere.
    message_bytes_max: usize,
    share: Share,
    /// Bytes that have come or are announced of what is not whole.
    held: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

/// What makes up a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// One message of gRPC: it is held until the body ends.
    Message,
    /// Messages of gRPC, each taken when it is whole.
    Messages,
    /// Anything else, collected as it comes.
    Whole,
    /// JSON objects: the gateway takes them apart, and counts them.
    Objects,
}

/// The request, counted as it arrives.
pub(super) fn counted<B>(
    mut request: Request<B>,
    pipe: &Arc<Pipe>,
    message_bytes_max: usize,
) -> Request<Arriving<B>> {
    let form = Form::of(&request);
    let share = Share::new(Arc::clone(pipe));
    if form == Form::Objects {
        request.extensions_mut().insert(Arc::clone(pipe));
    }
    request.map(|body| Arriving {
        body,
        form,
        head: Head::default(),
        message_bytes_max,
        share,
        held: 0,
        deadline: None,
        ended: false,
    })
}

impl Form {
    fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        if is_grpc(request) {
            return if GRPC_STREAMS.contains(&path) { Self::Messages } else { Self::Message };
        }
        match json::routed(&path.replacen("/v3beta/", "/v3/", 1)).map(Call::streaming) {
            Some(Streaming::Both) => Self::Objects,
            _ => Self::Whole,
        }
    }
}

impl<B: HttpBody<Data = Bytes>> Arriving<B> {
    /// Counts a piece.
    fn take(&mut self, piece: &Bytes) -> Result<(), Status> {
        self.held = match self.form {
            Form::Message => {
                let announced = self.head.take(piece);
                self.held.saturating_add(announced.min(self.message_bytes_max))
            }
            Form::Messages => {
                self.head.take(piece);
                self.head.unfinished().min(self.message_bytes_max)
            }
            Form::Whole => self.held.saturating_add(piece.len()),
            Form::Objects => 0,
        };
        if self.body.is_end_stream() {
            self.held = 0;
        }
        if self.held == 0 {
            self.deadline = None;
        }
        self.share.hold(self.held)
    }

    /// Whether something has begun that others wait for.
    const fn is_waited_for(&self) -> bool {
        match self.form {
            Form::Message | Form::Whole => true,
            Form::Messages => self.held > 0,
            Form::Objects => false,
        }
    }

    /// Nothing has come: what has begun goes on to count, and its time to run.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if !self.is_waited_for() {
            return Poll::Pending;
        }
        if self.deadline.is_none() {
            if let Err(refused) = self.share.hold(self.held + BASE_BYTES) {
                return Poll::Ready(refused);
            }
            self.deadline = Some(Box::pin(sleep(REQUEST)));
        }
        ready!(self.deadline.as_mut().expect("set above").as_mut().poll(context));
        Poll::Ready(self.share.too_slow())
    }
}

impl<B> HttpBody for Arriving<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let refused = match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Pending => ready!(this.wait(context)),
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref().map(|piece| this.take(piece)) {
                Some(Err(refused)) => refused,
                _ => return Poll::Ready(Some(Ok(frame))),
            },
            Poll::Ready(other) => {
                this.share.give_back();
                return Poll::Ready(other.map(|frame| frame.map_err(Into::into)));
            }
        };
        this.ended = true;
        this.share.give_back();
        Poll::Ready(Some(Err(refused.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where a stream of gRPC's messages is: a byte of flags, four of length, the message.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    bytes: [u8; 5],
    len: usize,
    /// Of the message that is under way, and how much of it is to come.
    size: usize,
    rest: usize,
}

impl Head {
    /// Takes the next piece; the bytes that are announced in it.
    fn take(&mut self, mut piece: &[u8]) -> usize {
        let mut announced = 0_usize;
        while !piece.is_empty() {
            let is_head = self.rest == 0;
            let wanted = if is_head { self.bytes.len() - self.len } else { self.rest };
            let (taken, others) = piece.split_at(wanted.min(piece.len()));
            piece = others;
            if !is_head {
                self.rest -= taken.len();
                continue;
            }
            self.bytes[self.len..self.len + taken.len()].copy_from_slice(taken);
            self.len += taken.len();
            if self.len == self.bytes.len() {
                let [_, length @ ..] = self.bytes;
                self.size = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                (self.rest, self.len) = (self.size, 0);
                announced = announced.saturating_add(self.size);
            }
        }
        announced
    }

    /// Bytes of a message that has begun and not ended.
    const fn unfinished(&self) -> usize {
        if self.rest > 0 { self.size } else { self.len }
    }
}

/// What a request costs that has begun and not ended: its stream and its task.
const BASE_BYTES: usize = 4 << 10;
/// Calls in which clients send one message after another.
const GRPC_STREAMS: [&str; 2] = ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"];

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use synod_etcd::json::calls;

    use super::*;
    use crate::intake::Intake;

    /// A body in pieces that never ends.
    struct Pieces(Vec<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.pop().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
        }
    }

    fn request(path: &str, is_grpc: bool, pieces: &[&[u8]]) -> Request<Pieces> {
        let pieces = pieces.iter().rev().map(|piece| Bytes::copy_from_slice(piece)).collect();
        let request = Request::post(path);
        let kind = if is_grpc { "application/grpc" } else { "application/json" };
        request.header("content-type", kind).body(Pieces(pieces)).unwrap()
    }

    /// What is held after all has come that comes.
    async fn held(intake: &Arc<Intake>, request: Request<Pieces>) -> usize {
        let mut body = counted(request, &intake.pipe(), 1000).into_body();
        poll_fn(|context| {
            while let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(context) {
                frame.unwrap().unwrap();
            }
            Poll::Ready(())
        })
        .await;
        let held = intake.bytes();
        drop(body);
        assert_eq!(intake.bytes(), 0, "all is given back");
        held
    }

    #[tokio::test]
    async fn what_is_announced_is_held_until_it_has_come() {
        let intake = Arc::new(Intake::default());
        let (put, watch) = ("/etcdserverpb.KV/Put", GRPC_STREAMS[0]);
        let announced = [0, 0, 0, 0, 100];
        let huge = [0, 255, 255, 255, 255];
        let whole = [&announced[..], &[7; 100]].concat();
        let table: [(&str, bool, &[&[u8]], usize); 9] = [
            (put, true, &[], BASE_BYTES),
            (put, true, &[&announced[..2]], BASE_BYTES),
            (put, true, &[&announced[..2], &announced[2..]], BASE_BYTES + 100),
            (put, true, &[&whole], BASE_BYTES + 100),
            (put, true, &[&huge], BASE_BYTES + 1000),
            (watch, true, &[&whole], 0),
            (watch, true, &[&whole[..50], &whole[50..], &announced], BASE_BYTES + 100),
            ("/v3/kv/put", false, &[b"{\"key\":", b"\"a"], BASE_BYTES + 9),
            ("/v3/watch", false, &[b"{\"key\":"], 0),
        ];
        for (path, is_grpc, pieces, expected) in table {
            let found = held(&intake, request(path, is_grpc, pieces)).await;
            assert_eq!(found, expected, "{path} {pieces:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_begun_ends_in_time_or_is_refused() {
        let intake = Arc::new(Intake::default());
        let unfinished: [(&str, &[u8]); 2] =
            [("/etcdserverpb.KV/Put", &[]), (GRPC_STREAMS[1], &[0, 0])];
        for (path, piece) in unfinished {
            let pieces: &[&[u8]] = if piece.is_empty() { &[] } else { &[piece] };
            let mut body = counted(request(path, true, pieces), &intake.pipe(), 1000).into_body();
            let mut frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            if !piece.is_empty() {
                assert!(frame.unwrap().is_ok());
                frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            }
            let refused = Status::from_error(frame.unwrap().unwrap_err());
            assert_eq!(refused.message(), "synod: the request did not end within 60s");
        }
        assert_eq!(intake.bytes(), 0);
    }

    #[test]
    fn the_calls_of_many_messages_are_those_of_the_interface() {
        let streams = calls().iter().filter(|call| call.streaming() == Streaming::Both);
        let paths: Vec<&str> = streams.map(Call::path).collect();
        for path in &paths {
            assert!(GRPC_STREAMS.contains(path), "{path}");
        }
        assert_eq!(paths.len(), GRPC_STREAMS.len());
    }
}
