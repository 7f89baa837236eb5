//! What a stream of watches is sent: its messages as pieces of a body.
//!
//! The gRPC library would copy each message into a buffer of each stream. Here streams that are
//! sent the same message share it; else small events are copied once, behind their head, and large
//! ones not at all: all streams share their bytes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::Frame;
use synod_etcd::watch::{Heads, PREFIX_BYTES, WatchReply, put_prefix};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::codegen::tokio_stream::Stream;

use crate::service::carried::trailers;
use crate::watch::{Feed, Told};

/// The body. Dropped when the client goes away, and its watches with it.
pub(crate) struct WatchBody {
    feed: Feed,
    reader: JoinHandle<()>,
    /// Whose messages are not all written. Boxed: most streams have none, and there are many.
    sending: Option<Box<Sending>>,
    /// What is to be sent before more is asked for.
    pieces: VecDeque<Bytes>,
    end: Option<Status>,
    has_ended: bool,
}

/// A reply on its way.
struct Sending {
    reply: WatchReply,
    heads: Heads,
    /// The length of its events, and of those among them that are copied.
    events_bytes: usize,
    small_bytes: usize,
    /// How many of its messages are written.
    written: usize,
}

/// Events from this size on are pieces of their own.
const LARGE_BYTES: usize = 4 << 10;
/// Messages share a piece up to this size.
const PIECE_BYTES: usize = 32 << 10;

impl WatchBody {
    /// The messages of a feed, for as long as somebody reads what the client asks.
    pub(super) const fn new(feed: Feed, reader: JoinHandle<()>) -> Self {
        let pieces = VecDeque::new();
        Self { feed, reader, sending: None, pieces, end: None, has_ended: false }
    }

    /// The next piece; none if there is nothing to say now, or at the end.
    fn next_piece(&mut self, context: &mut Context<'_>) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop_front() {
            return Some(piece);
        }
        if self.end.is_some() {
            return None;
        }
        self.gather(context)
    }

    /// Makes pieces of what is there; the first of them.
    fn gather(&mut self, context: &mut Context<'_>) -> Option<Bytes> {
        let mut piece = BytesMut::new();
        if let Some(mut sending) = self.sending.take() {
            sending.write_on(&mut piece, &mut self.pieces);
            self.sending = Some(sending).filter(|sending| !sending.is_written());
        }
        while self.pieces.is_empty() && self.sending.is_none() && piece.len() < PIECE_BYTES {
            match Pin::new(&mut self.feed).poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(Told::Message(message)))) if piece.is_empty() => {
                    return Some(message);
                }
                Poll::Ready(Some(Ok(Told::Message(message)))) => piece.put_slice(&message),
                Poll::Ready(Some(Ok(Told::Reply(reply)))) => {
                    let mut sending = Sending::new(reply);
                    sending.write_on(&mut piece, &mut self.pieces);
                    if !sending.is_written() {
                        self.sending = Some(Box::new(sending));
                    }
                }
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
        self.pieces.pop_front()
    }
}

impl Sending {
    fn new(mut reply: WatchReply) -> Self {
        let heads = reply.heads();
        let lengths = || reply.events.iter().map(Bytes::len);
        let events_bytes = lengths().sum();
        let small_bytes = lengths().filter(|length| *length < LARGE_BYTES).sum();
        Self { heads, events_bytes, small_bytes, written: 0, reply }
    }

    fn is_written(&self) -> bool {
        self.written == self.reply.messages()
    }

    /// Writes messages behind those of the piece until it is full: all, or at least one.
    fn write_on(&mut self, piece: &mut BytesMut, pieces: &mut VecDeque<Bytes>) {
        let each = PREFIX_BYTES + self.heads.len_max() + self.small_bytes;
        let left = self.reply.messages() - self.written;
        let has_large = self.small_bytes < self.events_bytes;
        let room = if has_large { 0 } else { PIECE_BYTES.saturating_sub(piece.len()) };
        let fit = (room / each).clamp(1, left);
        piece.reserve(fit * each);
        for _ in 0..fit {
            self.write_next(piece, pieces);
        }
    }

    /// Writes a message. If it has large events, the piece ends before them.
    fn write_next(&mut self, piece: &mut BytesMut, pieces: &mut VecDeque<Bytes>) {
        let watch_id = self.reply.watch_id(self.written);
        self.written += 1;
        let length = self.heads.len_for(watch_id) + self.events_bytes;
        put_prefix(length, piece);
        self.heads.write(watch_id, piece);
        for event in &self.reply.events {
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
    use prost::Message;
    use synod_etcd::proto::etcdserverpb as pb;

    use super::*;

    /// All pieces of a reply.
    fn written(reply: WatchReply) -> VecDeque<Bytes> {
        let (mut sending, mut all) = (Sending::new(reply), VecDeque::new());
        while !sending.is_written() {
            let (mut piece, mut pieces) = (BytesMut::new(), VecDeque::new());
            let before = sending.written;
            sending.write_on(&mut piece, &mut pieces);
            assert!(sending.written > before);
            if !piece.is_empty() {
                pieces.push_back(piece.freeze());
            }
            all.append(&mut pieces);
        }
        all
    }

    #[test]
    fn each_watch_gets_its_message_in_pieces_of_bounded_size() {
        let event = Bytes::from(vec![7; 300]);
        for length in [300, LARGE_BYTES] {
            let events = vec![event.clone(), vec![8; length].into()];
            let others: Vec<i64> = (1..1000).collect();
            let reply = WatchReply { others, events: events.clone(), ..WatchReply::default() };
            let pieces = written(reply);
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES.max(length)));
            let mut expected = Vec::new();
            for watch_id in 0..1000 {
                let head = pb::WatchResponse { watch_id, ..Default::default() }.encode_to_vec();
                let message = [head, events.concat()].concat();
                expected.put_u8(0);
                expected.put_u32(u32::try_from(message.len()).unwrap());
                expected.extend(message);
            }
            assert!(Vec::from(pieces).concat() == expected);
        }
    }

    #[test]
    fn small_events_are_copied_and_large_ones_shared() {
        let small = || Bytes::from_static(b"small");
        let large = Bytes::from(vec![7; LARGE_BYTES]);
        let all = [small(), large.clone(), large.clone(), small(), large.clone(), small()];
        for count in 0..=all.len() {
            let reply = WatchReply { events: all[..count].to_vec(), ..WatchReply::default() };
            let sent = Vec::from(written(reply)).concat();
            let (head, message) = sent.split_at(PREFIX_BYTES);
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            assert_eq!((head[0], &head[1..]), (0, &length[..]));
            assert_eq!(message, all[..count].concat(), "an empty head takes no bytes");
        }
        let pieces = written(WatchReply { events: all.to_vec(), ..WatchReply::default() });
        let shared = pieces.iter().filter(|piece| piece.as_ptr() == large.as_ptr());
        assert_eq!(shared.count(), 3);
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
    }
}
