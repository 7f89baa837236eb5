//! How much of requests may be here that have begun to arrive and have not ended.
//!
//! A request costs its sender five bytes that announce megabytes, on each of ten thousand streams
//! of each connection. So what is announced or has come counts until the request is whole, for its
//! connection and for the member, and who begins what has no room is refused. A request also has a
//! time in which it comes to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use synod_etcd::{EtcdError, Refusal};
use tonic::Status;

/// What all connections share.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    bytes: AtomicUsize,
    /// Requests that had no room.
    pub(crate) without_room: AtomicU64,
    /// Requests that did not come to their end.
    pub(crate) unfinished: AtomicU64,
}

/// What the requests of one connection share.
#[derive(Debug)]
pub(crate) struct Pipe {
    intake: Arc<Intake>,
    bytes: AtomicUsize,
}

/// What one request holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    pipe: Arc<Pipe>,
    bytes: usize,
}

/// A request, or a message of a stream, is here as a whole within this time of its beginning.
pub(crate) const REQUEST: Duration = Duration::from_secs(60);
/// What a connection may hold.
const PIPE_BYTES_MAX: usize = 64 << 20;
/// What all of them may.
const MEMBER_BYTES_MAX: usize = 512 << 20;

impl Intake {
    /// Bytes that count now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// For a new connection.
    pub(crate) fn pipe(self: &Arc<Self>) -> Arc<Pipe> {
        Arc::new(Pipe { intake: Arc::clone(self), bytes: AtomicUsize::new(0) })
    }
}

impl Share {
    /// Of nothing yet.
    pub(crate) const fn new(pipe: Arc<Pipe>) -> Self {
        Self { pipe, bytes: 0 }
    }

    /// Holds so much from now on, or is refused and holds what it held.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            take(&self.pipe.bytes, more, PIPE_BYTES_MAX)
                .map_err(|held| self.refuse("of this connection", held, PIPE_BYTES_MAX))?;
            take(&self.pipe.intake.bytes, more, MEMBER_BYTES_MAX).map_err(|held| {
                self.pipe.bytes.fetch_sub(more, Ordering::Relaxed);
                self.refuse("of all connections", held, MEMBER_BYTES_MAX)
            })?;
        } else {
            let less = self.bytes - bytes;
            self.pipe.bytes.fetch_sub(less, Ordering::Relaxed);
            self.pipe.intake.bytes.fetch_sub(less, Ordering::Relaxed);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Holds nothing any more.
    pub(crate) fn give_back(&mut self) {
        if self.bytes > 0 {
            self.hold(0).expect("less is never refused");
        }
    }

    /// The refusal of a request that took too long to come.
    pub(crate) fn too_slow(&self) -> Status {
        self.pipe.intake.unfinished.fetch_add(1, Ordering::Relaxed);
        Status::deadline_exceeded(format!("synod: the request did not end within {REQUEST:?}"))
    }

    fn refuse(&self, of: &str, held: usize, bytes_max: usize) -> Status {
        self.pipe.intake.without_room.fetch_add(1, Ordering::Relaxed);
        let detail = format!(
            "requests {of} that have not ended hold {held} bytes, and at most {bytes_max}: \
             send fewer at a time"
        );
        Refusal::new(EtcdError::TooManyRequests).with_detail(detail).into()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Adds to what is held, within the bound; else tells what is held.
fn take(held: &AtomicUsize, more: usize, max: usize) -> Result<(), usize> {
    let before = held.fetch_add(more, Ordering::Relaxed);
    if before.saturating_add(more) > max {
        held.fetch_sub(more, Ordering::Relaxed);
        return Err(before);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_refused_and_all_is_given_back() {
        let intake = Arc::new(Intake::default());
        let pipes: Vec<_> = (0..9).map(|_| intake.pipe()).collect();
        let mut shares = Vec::new();
        for pipe in &pipes[..8] {
            let mut share = Share::new(Arc::clone(pipe));
            share.hold(PIPE_BYTES_MAX).unwrap();
            shares.push(share);
        }
        let mut last = Share::new(Arc::clone(&pipes[8]));
        let refused = last.hold(1).unwrap_err();
        assert_eq!(refused.message(), "etcdserver: too many requests");
        shares[0].hold(PIPE_BYTES_MAX - 1).unwrap();
        last.hold(1).unwrap();
        assert!(shares[1].hold(PIPE_BYTES_MAX + 1).is_err());
        assert_eq!(intake.bytes(), MEMBER_BYTES_MAX);
        drop((shares, last));
        assert_eq!(intake.bytes(), 0);
        assert!(pipes.iter().all(|pipe| pipe.bytes.load(Ordering::Relaxed) == 0));
        assert_eq!(intake.without_room.load(Ordering::Relaxed), 2);
    }
}
