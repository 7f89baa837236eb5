//! How long it takes to a member and back: asked every few seconds, answered at once.
//!
//! A frame between members begins with the version of its codec, which is never 0. One that does
//! is of this file: an asking frame with the asker's own clock in it, or that frame come back.
//! It waits in the same queues as everything else, so what it measures is what messages wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use synod_transport::{Lane, TransportHandle};
use tokio::time::{MissedTickBehavior, interval};

use crate::comparison;
use crate::service::Context;

/// Between questions, as in etcd.
const INTERVAL: Duration = Duration::from_secs(5);
/// What these frames begin with.
pub(crate) const MARK: u8 = 0;
const ASKED: u8 = 1;
const ANSWERED: u8 = 2;
const FRAME_BYTES: usize = 2 + 8;

/// The clock that is in the frames: nobody but its owner reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundTrips(Instant);

/// What a frame of this file is.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// A question, with the answer to send.
    Question(Bytes),
    /// An answer, with how long it took.
    Answer(Duration),
    /// Neither: made by somebody else.
    Nonsense,
}

impl RoundTrips {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    fn question(self) -> Bytes {
        let sent = u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX);
        frame(ASKED, sent)
    }

    /// What a frame is; none if it is for others.
    pub(crate) fn find(self, from: &Bytes) -> Option<Found> {
        if from.first() != Some(&MARK) {
            return None;
        }
        let clock = from.get(2..).and_then(|clock| clock.try_into().ok()).map(u64::from_le_bytes);
        let Some(clock) = clock else { return Some(Found::Nonsense) };
        Some(match from[1] {
            ASKED => Found::Question(frame(ANSWERED, clock)),
            ANSWERED => {
                let took = self.0.elapsed().checked_sub(Duration::from_micros(clock));
                took.map_or(Found::Nonsense, Found::Answer)
            }
            _ => Found::Nonsense,
        })
    }

    /// Asks all members, again and again, and tells them what was applied here. A task of this ends
    /// when it is aborted.
    pub(crate) async fn ask(self, context: Arc<Context>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(transport) = context.transport.get() else { continue };
            let notes = context.comparison.frame();
            for peer in connected(transport) {
                transport.send(peer, Lane::Control, self.question());
                if let Some(notes) = &notes {
                    transport.send(peer, Lane::Control, notes.clone());
                }
            }
            comparison::raise_alarm(&context).await;
        }
    }
}

/// Who can be asked: a question to somebody who is away is only one more lost frame.
fn connected(transport: &TransportHandle) -> Vec<u64> {
    let lanes = transport.stats().lanes.into_iter();
    let open = lanes.filter(|lane| lane.connected && lane.lane == Lane::Control);
    open.map(|lane| lane.peer).collect()
}

fn frame(kind: u8, clock: u64) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME_BYTES);
    frame.put_u8(MARK);
    frame.put_u8(kind);
    frame.put_u64_le(clock);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_back_as_its_answer() {
        let (asker, other) = (RoundTrips::new(), RoundTrips::new());
        let Some(Found::Question(answer)) = other.find(&asker.question()) else {
            panic!("it is a question")
        };
        assert!(matches!(asker.find(&answer), Some(Found::Answer(took)) if took < INTERVAL));
    }

    #[test]
    fn what_is_for_others_is_left_to_them_and_nonsense_is_named() {
        let trips = RoundTrips::new();
        assert_eq!(trips.find(&Bytes::from_static(&[1, 2, 3])), None);
        assert_eq!(trips.find(&Bytes::new()), None);
        let of_the_future = frame(ANSWERED, u64::MAX);
        for frame in
            [&[MARK][..], &[MARK, ASKED], &[MARK, 9, 0, 0, 0, 0, 0, 0, 0, 0], &of_the_future]
        {
            let frame = Bytes::copy_from_slice(frame);
            assert_eq!(trips.find(&frame), Some(Found::Nonsense), "{frame:?}");
        }
    }
}
