//! What a stream of watches is sent: its messages as pieces of a body.
//!
//! The gRPC library would copy each message into a buffer of each stream. Here small events are
//! copied once, behind their head; large ones are not copied: all streams share their bytes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::Frame;
use synod_etcd::watch::WatchReply;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::codegen::tokio_stream::Stream;

use crate::service::carried::trailers;
use crate::watch::Feed;

/// The body. Dropped when the client goes away, and its watches with it.
pub(super) struct WatchBody {
    feed: Feed,
    reader: JoinHandle<()>,
    /// What is to be sent before more is asked for.
    pieces: VecDeque<Bytes>,
    end: Option<Status>,
    has_ended: bool,
}

/// What comes before each message: no compression, and its length.
const HEAD_BYTES: usize = 5;
/// Events from this size on are pieces of their own.
const LARGE_BYTES: usize = 4 << 10;
/// Messages share a piece up to this size.
const PIECE_BYTES: usize = 32 << 10;

impl WatchBody {
    /// The messages of a feed, for as long as somebody reads what the client asks.
    pub(super) const fn new(feed: Feed, reader: JoinHandle<()>) -> Self {
        Self { feed, reader, pieces: VecDeque::new(), end: None, has_ended: false }
    }

    /// The next piece; none if there is nothing to say now, or at the end.
    fn next_piece(&mut self, context: &mut Context<'_>) -> Option<Bytes> {
        if self.pieces.is_empty() && self.end.is_none() {
            self.gather(context);
        }
        self.pieces.pop_front()
    }

    /// Makes pieces of what is there.
    fn gather(&mut self, context: &mut Context<'_>) {
        let mut piece = BytesMut::new();
        while self.pieces.is_empty() && piece.len() < PIECE_BYTES {
            match Pin::new(&mut self.feed).poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(reply))) => write(&reply, &mut piece, &mut self.pieces),
                Poll::Ready(Some(Err(status))) => {
                    self.end = Some(status);
                    break;
                }
                Poll::Ready(None) => {
                    self.end = Some(Status::ok(""));
                    break;
                }
            }
        }
        if !piece.is_empty() {
            self.pieces.push_back(piece.freeze());
        }
    }
}

/// Writes a message behind those of the piece. If it has large events, the piece ends before them.
fn write(reply: &WatchReply, piece: &mut BytesMut, pieces: &mut VecDeque<Bytes>) {
    let length = reply.encoded_len();
    let large = reply.events.iter().filter(|event| event.len() >= LARGE_BYTES);
    piece.reserve(HEAD_BYTES + length - large.map(Bytes::len).sum::<usize>());
    piece.put_u8(0);
    piece.put_u32(u32::try_from(length).expect("an outlet holds less than 4 GiB"));
    reply.write_head(piece);
    for event in &reply.events {
        if event.len() < LARGE_BYTES {
            piece.put_slice(event);
        } else {
            if !piece.is_empty() {
                pieces.push_back(piece.split().freeze());
            }
            pieces.push_back(event.clone());
        }
    }
}

impl hyper::body::Body for WatchBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Some(piece) = self.next_piece(context) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.end.take() {
            None => Poll::Pending,
            Some(status) => {
                self.has_ended = true;
                Poll::Ready(Some(trailers(Err(status)).map(Frame::trailers)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }
}

impl Drop for WatchBody {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_events_are_copied_and_large_ones_shared() {
        let small = || Bytes::from_static(b"small");
        let large = Bytes::from(vec![7; LARGE_BYTES]);
        let all = [small(), large.clone(), large.clone(), small(), large.clone(), small()];
        for count in 0..=all.len() {
            let reply = WatchReply { events: all[..count].to_vec(), ..WatchReply::default() };
            let (mut piece, mut pieces) = (BytesMut::new(), VecDeque::new());
            write(&reply, &mut piece, &mut pieces);
            pieces.push_back(piece.freeze());
            let sent = Vec::from(pieces).concat();
            let (head, message) = sent.split_at(HEAD_BYTES);
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            assert_eq!((head[0], &head[1..]), (0, &length[..]));
            assert_eq!(message, all[..count].concat(), "an empty head takes no bytes");
        }
        let (mut piece, mut pieces) = (BytesMut::new(), VecDeque::new());
        let reply = WatchReply { events: all.to_vec(), ..WatchReply::default() };
        write(&reply, &mut piece, &mut pieces);
        let shared = pieces.iter().filter(|piece| piece.as_ptr() == large.as_ptr());
        assert_eq!(shared.count(), 3);
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
    }
}
